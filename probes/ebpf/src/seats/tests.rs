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
    /// Of the hash, charged already.
    known: BTreeMap<Name, u64>,
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

    fn run(&mut self, name: Name, ns: u64) {
        match self.seat_with(name) {
            Some(seat) => {
                self.word(seat, offset_of!(Seat, value.cpu_ns))
                    .fetch_add(ns, Ordering::Relaxed);
                self.word(seat, offset_of!(Seat, value.events.switches))
                    .fetch_add(1, Ordering::Relaxed);
            }
            None => *self.hash.entry(name).or_default() += ns,
        }
    }

    fn drain(&mut self) {
        self.drain += 1;
        let charged = &mut self.charged;
        self.seats.read(&self.words, |sitting| {
            let name = (sitting.key.tgid, sitting.key.package);
            *charged.entry(name).or_default() += sitting.rise.cpu_ns;
        });
        let mut seated = Vec::new();
        for (name, ns) in &self.hash {
            let known = self.known.insert(*name, *ns).unwrap_or_default();
            *self.charged.entry(*name).or_default() += ns - known;
            if self.seats.seat(&self.words, &key(*name), self.drain) {
                seated.push(*name);
            }
        }
        for name in seated {
            self.hash.remove(&name);
            self.known.remove(&name);
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

proptest! {
    #[test]
    fn every_slice_is_charged_once_to_who_ran_it(
        steps in prop::collection::vec((1_u32..12, 0_u32..2, 1_u64..1_000, any::<bool>()), 1..200),
    ) {
        let mut kernel = Kernel::new();
        let mut truth = BTreeMap::<Name, u64>::new();
        for (tgid, package, ns, drains) in steps {
            kernel.run((tgid, package), ns);
            *truth.entry((tgid, package)).or_default() += ns;
            if drains {
                kernel.drain();
            }
        }
        kernel.drain();
        prop_assert_eq!(kernel.charged, truth);
    }
}
