// SPDX-License-Identifier: Apache-2.0
//! The kernel's programs are played by [`Kernel::run`]: compare the key, add beside it, else to the hash.

use super::*;
use crate::abi::{TASK_ENDED, TASK_KTHREAD};
use proptest::prelude::*;
use std::collections::BTreeMap;

const SEATS: u32 = 4;

type Name = (u32, u32);

fn key((tgid, package): Name) -> TaskMapKey {
    TaskMapKey {
        started_ns: u64::from(tgid) * 10,
        cgroup_id: 40,
        tgid,
        package,
    }
}

/// Seats, a hash, and what user space makes of both.
struct Kernel {
    words: Vec<AtomicU64>,
    hash: BTreeMap<Name, u64>,
    seats: Seats,
    drain: u64,
    charged: BTreeMap<Name, u64>,
    /// Of the hash, as last read.
    known: BTreeMap<Name, Total>,
}

impl Kernel {
    fn new() -> Self {
        Self {
            words: (0..usize::try_from(SEATS).unwrap() * SEAT_WORDS)
                .map(|_| AtomicU64::new(0))
                .collect(),
            hash: BTreeMap::new(),
            seats: Seats::new(SEATS),
            drain: 0,
            charged: BTreeMap::new(),
            known: BTreeMap::new(),
        }
    }

    fn word(&self, seat: u32, at: usize) -> &AtomicU64 {
        &words_of(&self.words, seat).unwrap()[at / WORD]
    }

    /// The seat with this key, as a program finds it.
    fn seat_with(&self, name: Name) -> Option<u32> {
        let key = key(name);
        let seat = key.tgid.wrapping_add(key.package.wrapping_mul(STRIDE)) & (SEATS - 1);
        let load = |at| self.word(seat, at).load(Ordering::Relaxed);
        let same = load(offset_of!(TaskMapKey, tgid)) == who(key.tgid, key.package)
            && load(offset_of!(TaskMapKey, started_ns)) == key.started_ns
            && load(offset_of!(TaskMapKey, cgroup_id)) == key.cgroup_id;
        same.then_some(seat)
    }

    /// A slice; below zero where a flush has charged too much.
    fn run(&mut self, name: Name, ns: i64) {
        let ns = ns.cast_unsigned();
        match self.seat_with(name) {
            Some(seat) => {
                self.word(seat, offset_of!(Seat, value.cpu_ns))
                    .fetch_add(ns, Ordering::Relaxed);
                self.word(seat, offset_of!(Seat, value.events.switches))
                    .fetch_add(1, Ordering::Relaxed);
            }
            None => {
                let row = self.hash.entry(name).or_default();
                *row = row.wrapping_add(ns);
            }
        }
    }

    fn drain(&mut self) {
        let seated = self.read();
        self.delete(&seated);
    }

    /// Returns whose entry is to be deleted.
    fn read(&mut self) -> Vec<Name> {
        self.drain += 1;
        let charged = &mut self.charged;
        self.seats.read(&self.words, |sitting| {
            let name = (sitting.key.tgid, sitting.key.package);
            *charged.entry(name).or_default() += sitting.rise.cpu_ns;
        });
        let mut seated = Vec::new();
        for (name, ns) in &self.hash {
            let rise = self
                .known
                .entry(*name)
                .or_default()
                .advance(*ns, &Events::default());
            *self.charged.entry(*name).or_default() += rise.cpu_ns;
            if self.seats.seat(&self.words, &key(*name), self.drain) {
                seated.push(*name);
            }
        }
        seated
    }

    fn delete(&mut self, seated: &[Name]) {
        for name in seated {
            self.hash.remove(name);
            self.known.remove(name);
        }
    }

    fn charged(&self, name: Name) -> u64 {
        self.charged.get(&name).copied().unwrap_or_default()
    }
}

#[test]
fn a_process_moves_from_the_hash_to_its_seat_and_nothing_of_it_is_lost() {
    let mut kernel = Kernel::new();
    kernel.run((5, 0), 100);
    kernel.drain();
    assert_eq!((kernel.hash.len(), kernel.seats.taken()), (1, 1));
    kernel.run((5, 0), 7);
    kernel.drain();
    assert_eq!((kernel.hash.len(), kernel.charged((5, 0))), (0, 107));
    kernel.run((5, 0), 1);
    kernel.drain();
    assert_eq!((kernel.hash.len(), kernel.charged((5, 0))), (0, 108));
}

#[test]
fn who_is_silent_gives_way_after_one_more_reading_and_who_runs_does_not() {
    let mut kernel = Kernel::new();
    kernel.run((1, 0), 10);
    kernel.drain();
    // 5 leads to the seat of 1, which still runs.
    kernel.run((1, 0), 10);
    kernel.run((5, 0), 3);
    kernel.drain();
    assert!(kernel.seat_with((1, 0)).is_some());
    // Now 1 is silent: it loses its key; what it added in the meantime is read all the same.
    kernel.run((5, 0), 3);
    kernel.drain();
    assert!(kernel.seat_with((1, 0)).is_none() && kernel.seat_with((5, 0)).is_none());
    kernel
        .word(1, offset_of!(Seat, value.cpu_ns))
        .fetch_add(4, Ordering::Relaxed);
    kernel.run((5, 0), 3);
    kernel.drain();
    assert!(kernel.seat_with((5, 0)).is_some());
    assert_eq!((kernel.charged((1, 0)), kernel.charged((5, 0))), (24, 9));
}

#[test]
fn the_packages_of_a_process_have_seats_of_their_own() {
    let mut kernel = Kernel::new();
    kernel.run((1, 0), 10);
    kernel.run((1, 1), 20);
    kernel.drain();
    assert!(kernel.seat_with((1, 0)).is_some() && kernel.seat_with((1, 1)).is_some());
    assert_ne!(kernel.seat_with((1, 0)), kernel.seat_with((1, 1)));
}

#[test]
fn the_forgotten_leave_at_once_and_count_no_more() {
    let mut kernel = Kernel::new();
    kernel.run((1, 0), 10);
    kernel.drain();
    kernel.seats.forget(&kernel.words, &key((1, 0)));
    kernel.hash.clear();
    assert!(kernel.seat_with((1, 0)).is_none());
    kernel
        .word(1, offset_of!(Seat, value.cpu_ns))
        .fetch_add(4, Ordering::Relaxed);
    kernel.drain();
    assert_eq!((kernel.seats.taken(), kernel.charged((1, 0))), (0, 10));
}

#[test]
fn a_reading_has_everything_and_what_was_taken_back_is_paid_later() {
    let mut kernel = Kernel::new();
    kernel.run((1, 0), 0);
    kernel.drain();
    let put = |at: usize, what: u64| kernel.word(1, at).store(what, Ordering::Relaxed);
    for event in 0..size_of::<Events>() / WORD {
        put(
            offset_of!(Seat, value.events) + event * WORD,
            10 + u64::try_from(event).unwrap(),
        );
    }
    put(offset_of!(Seat, value.cpu_ns), 900);
    put(offset_of!(Seat, value.flags), TASK_KTHREAD | TASK_ENDED);
    put(offset_of!(Seat, value.comm_stamp_ns), 77);
    put(offset_of!(Seat, value.comm), u64::from_ne_bytes(*b"a name o"));
    put(
        offset_of!(Seat, value.comm) + WORD,
        u64::from_ne_bytes(*b"f 16 by\0"),
    );
    let read = |kernel: &mut Kernel| {
        let mut seen = Vec::new();
        kernel.seats.read(&kernel.words, |sitting| seen.push(*sitting));
        seen.pop()
    };
    let expected = TaskMapValue {
        cpu_ns: 900,
        flags: TASK_KTHREAD | TASK_ENDED,
        events: Events {
            switches: 10,
            smt_ns: 11,
            page_cache: 12,
            net_tx: 13,
            net_rx: 14,
            block: 15,
        },
        comm_stamp_ns: 77,
        comm: *b"a name of 16 by\0",
    };
    let all = Rise {
        cpu_ns: 900,
        events: expected.events.counts(),
    };
    assert_eq!(
        read(&mut kernel).map(|sitting| (sitting.value, sitting.rise)),
        Some((expected, all))
    );
    assert_eq!(read(&mut kernel), None);
    let cpu_ns = offset_of!(Seat, value.cpu_ns);
    kernel.word(1, cpu_ns).store(880, Ordering::Relaxed);
    assert_eq!(read(&mut kernel).map(|sitting| sitting.rise.cpu_ns), None);
    kernel.word(1, cpu_ns).store(905, Ordering::Relaxed);
    assert_eq!(read(&mut kernel).map(|sitting| sitting.rise.cpu_ns), Some(5));
}

#[test]
fn there_are_half_as_many_seats_as_entries_and_always_a_power_of_two() {
    let sizes = [0, 1, 3, 16, 16_384, 20_000, 65_536];
    assert_eq!(sizes.map(seats_for), [1, 1, 1, 8, 8_192, 8_192, 32_768]);
}

#[test]
fn nobody_loses_a_seat_while_the_entry_in_the_hash_is_about_to_go() {
    let mut kernel = Kernel::new();
    kernel.run((1, 0), 10);
    kernel.drain();
    kernel.run((5, 0), 3);
    let seated = kernel.read();
    assert_eq!(seated, [(1, 0)]);
    kernel.run((1, 0), 20);
    kernel.delete(&seated);
    kernel.drain();
    assert_eq!(kernel.charged((1, 0)), 30);
}

#[test]
fn who_leaves_is_charged_what_came_until_its_key_was_gone_and_the_seat_is_free() {
    let mut kernel = Kernel::new();
    kernel.run((1, 0), 10);
    kernel.drain();
    kernel.drain();
    kernel.run((1, 0), 5);
    kernel.seats.leave(&kernel.words, &key((5, 0)));
    assert!(kernel.seat_with((1, 0)).is_some(), "somebody else's");
    kernel.seats.leave(&kernel.words, &key((1, 0)));
    assert_eq!(kernel.seat_with((1, 0)), None);
    kernel.run((1, 0), 7);
    assert_eq!(kernel.hash.get(&(1, 0)), Some(&7), "a row of its own");
    kernel.hash.clear();
    kernel.run((5, 0), 3);
    kernel.drain();
    assert_eq!(kernel.charged((1, 0)), 15);
    assert!(kernel.seat_with((5, 0)).is_some());
}

#[test]
fn what_a_flush_charged_too_much_is_taken_back_from_the_seat_and_the_next_slices_count() {
    let mut kernel = Kernel::new();
    kernel.run((1, 0), 110);
    kernel.drain();
    let charged = [-10, 500, 500].map(|ns| {
        kernel.run((1, 0), ns);
        kernel.drain();
        kernel.charged((1, 0))
    });
    assert_eq!(charged, [110, 600, 1_100]);
}

proptest! {
    // A slice of `ns`; before it, a flush may have charged `ahead` too much. Then perhaps a drain, in the middle of which
    // it runs again.
    #[test]
    fn every_slice_is_charged_once_to_who_ran_it(
        steps in prop::collection::vec(
            (1_u32..12, 0_u32..2, 100_i64..1_000, 0_i64..100, any::<bool>(), any::<bool>()),
            1..200,
        ),
    ) {
        let mut kernel = Kernel::new();
        let mut truth = BTreeMap::<Name, u64>::new();
        let mut ahead_of = BTreeMap::<Name, u64>::new();
        for (tgid, package, ns, ahead, flushed, drains) in steps {
            let name = (tgid, package);
            let mut run = |kernel: &mut Kernel, ns: i64| {
                kernel.run(name, ns);
                let ran = truth.entry(name).or_default();
                *ran = ran.saturating_add_signed(ns);
            };
            run(&mut kernel, ns);
            if flushed {
                run(&mut kernel, ahead);
                *ahead_of.entry(name).or_default() += ahead.cast_unsigned();
                kernel.drain();
                run(&mut kernel, -ahead);
            }
            if drains {
                let seated = kernel.read();
                run(&mut kernel, ns);
                kernel.delete(&seated);
            }
        }
        kernel.drain();
        prop_assert_eq!(kernel.charged.len(), truth.len());
        for (name, ran) in truth {
            // What is taken back from a row that goes before it has paid for it stays charged.
            let most = ran + ahead_of.get(&name).copied().unwrap_or_default();
            prop_assert!((ran..=most).contains(&kernel.charged(name)), "{name:?}: {} of {ran}", kernel.charged(name));
        }
    }
}
