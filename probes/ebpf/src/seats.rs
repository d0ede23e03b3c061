// SPDX-License-Identifier: Apache-2.0
//! Who has a seat: a row of the kernel's array that a context switch finds without hashing, and a drain without a system
//! call.
//!
//! Pure: the array is a slice of words, time is a number of drains. The rules, which make every slice land in exactly one
//! place:
//!
//! - Only this module writes a key into a seat; programs compare it and add beside it.
//! - A process begins in the hash. Found there alive, it gets the seat that its pid and package lead to, if nobody has it.
//!   Programs use the seat from then on, and one drain later nobody can still be adding to the entry in the hash: what it
//!   holds is final, and it may be deleted.
//! - Who did nothing since the last drain, and came before it, gives way to somebody who waits in the hash. The key is taken away first; what
//!   is read one drain later is final; then the seat is free. Who sleeps on is in neither, and costs nothing.
//!
//! A drain is many system calls after the last one, a program some hundred nanoseconds with interrupts off: so "one drain
//! later" is after every program that saw the old key.

use crate::abi::{Events, Seat, TaskMapKey, TaskMapValue};
use crate::totals::{Rise, Total, time};
use attribution::model::Event;
use std::mem::{offset_of, size_of};
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Words of a seat.
pub(crate) const SEAT_WORDS: usize = size_of::<Seat>() / WORD;

const WORD: usize = size_of::<u64>();

/// As SEAT_STRIDE in bpf/charge.h.
const STRIDE: u32 = 0x2aab;

/// Seats, by the size of the hash: half as many as it has entries, so that a process finds its seat taken with a chance of
/// one in eight at most (four rows of the hash for each process), and one in sixteen on a machine with 1,000. A power of
/// two; 128 bytes each, so 1 MiB to 4 MiB.
pub(crate) const fn seats_for(max_tasks: u32) -> u32 {
    let half = max_tasks / 2;
    if half < 2 {
        1
    } else {
        1 << (31 - half.leading_zeros())
    }
}

/// A seat that rose since it was read last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sitting {
    pub(crate) key: TaskMapKey,
    pub(crate) value: TaskMapValue,
    pub(crate) rise: Rise,
}

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    /// By seat: 0, or the place in `sitters` plus one.
    by_seat: Vec<u32>,
    sitters: Vec<Sitter>,
}

#[derive(Debug)]
struct Sitter {
    seat: u32,
    key: TaskMapKey,
    /// What was read last.
    last: Total,
    flags: u64,
    /// In which drain it came.
    since: u64,
    stay: Stay,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stay {
    /// Did something since the last drain.
    Active,
    /// Did not.
    Silent,
    /// Has no key any more; is read once more.
    Leaving,
    /// Has no key any more, and was forgotten: nothing of it counts any more.
    Forgotten,
}

impl Seats {
    /// All seats free.
    pub(crate) fn new(seats: u32) -> Self {
        Self {
            by_seat: vec![0; usize::try_from(seats).unwrap_or(0)],
            sitters: Vec::new(),
        }
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> u32 {
        u32::try_from(self.sitters.len()).unwrap_or(u32::MAX)
    }

    /// Shows what every seat rose by, those that did not rise left out. Frees the seats of those that had to leave.
    pub(crate) fn read(&mut self, words: &[AtomicU64], mut visit: impl FnMut(&Sitting)) {
        for sitter in &mut self.sitters {
            if sitter.stay == Stay::Forgotten {
                continue;
            }
            let sitting = sitter.advance(words);
            if sitter.stay != Stay::Leaving {
                sitter.stay = if sitting.is_some() {
                    Stay::Active
                } else {
                    Stay::Silent
                };
            }
            if let Some(sitting) = sitting {
                visit(&sitting);
            }
        }
        self.free_those_who_left();
    }

    fn free_those_who_left(&mut self) {
        let by_seat = &mut self.by_seat;
        let mut kept = 0;
        self.sitters.retain(|sitter| {
            let stays = matches!(sitter.stay, Stay::Active | Stay::Silent);
            kept += u32::from(stays);
            set(by_seat, sitter.seat, if stays { kept } else { 0 });
            stays
        });
    }

    /// A living process was found in the hash in the drain number `drain`. `true`: it has a seat since an earlier one,
    /// and its entry in the hash may be deleted.
    pub(crate) fn seat(&mut self, words: &[AtomicU64], key: &TaskMapKey, drain: u64) -> bool {
        let Some(seat) = self.seat_of(key) else {
            return false;
        };
        let Some(sitter) = self.sitter(seat) else {
            self.take(words, seat, key, drain);
            return false;
        };
        if sitter.key == *key {
            return sitter.stay != Stay::Leaving && sitter.since < drain;
        }
        // Not in the drain in which its entry in the hash goes: between its seat and its entry a slice would be lost.
        if sitter.stay == Stay::Silent && sitter.since.saturating_add(1) < drain {
            sitter.stay = Stay::Leaving;
            unlock(words, seat);
        }
        false
    }

    /// A process is forgotten: it did nothing for a whole drain after its end.
    pub(crate) fn forget(&mut self, words: &[AtomicU64], key: &TaskMapKey) {
        let Some(seat) = self.seat_of(key) else { return };
        if let Some(sitter) = self.sitter(seat).filter(|sitter| sitter.key == *key) {
            sitter.stay = Stay::Forgotten;
            unlock(words, seat);
        }
    }

    /// A row of a living process leaves the report. What was added until its key was gone is shown in the next drain, and
    /// then the seat is free.
    pub(crate) fn leave(&mut self, words: &[AtomicU64], key: &TaskMapKey) {
        let Some(seat) = self.seat_of(key) else { return };
        if let Some(sitter) = self.sitter(seat).filter(|sitter| sitter.key == *key) {
            sitter.stay = Stay::Leaving;
            unlock(words, seat);
        }
    }

    fn take(&mut self, words: &[AtomicU64], seat: u32, key: &TaskMapKey, since: u64) {
        if !lock(words, seat, key) {
            return;
        }
        self.sitters.push(Sitter {
            seat,
            key: *key,
            last: Total::default(),
            flags: 0,
            since,
            stay: Stay::Active,
        });
        let place = self.taken();
        set(&mut self.by_seat, seat, place);
    }

    fn seat_of(&self, key: &TaskMapKey) -> Option<u32> {
        let seats = u32::try_from(self.by_seat.len()).ok()?;
        let at = key.tgid.wrapping_add(key.package.wrapping_mul(STRIDE));
        Some(at & seats.checked_sub(1)?)
    }

    fn sitter(&mut self, seat: u32) -> Option<&mut Sitter> {
        let place = *self.by_seat.get(usize::try_from(seat).ok()?)?;
        self.sitters.get_mut(usize::try_from(place.checked_sub(1)?).ok()?)
    }
}

impl Sitter {
    /// Reads the seat; `None` when nothing was added. Only the first cache line is looked at for that: whatever changes in
    /// the second one comes with a slice, or is followed by one.
    fn advance(&mut self, words: &[AtomicU64]) -> Option<Sitting> {
        let words = words_of(words, self.seat)?;
        let word = |at: usize| {
            words
                .get(at / WORD)
                .map_or(0, |word| word.load(Ordering::Relaxed))
        };
        let quiet = time(word(offset_of!(Seat, value.cpu_ns))) <= self.last.cpu_ns
            && word(offset_of!(Seat, value.events.switches)) == self.last.events.get(Event::Switches)
            && word(offset_of!(Seat, value.flags)) == self.flags;
        if quiet {
            return None;
        }
        let value = value_of(word);
        self.flags = value.flags;
        Some(Sitting {
            key: self.key,
            value,
            rise: self.last.advance(value.cpu_ns, &value.events),
        })
    }
}

/// A value out of its words, each read once. The stamp is read before the name: programs write it after, so a stamp that
/// is new comes with a name that is whole.
fn value_of(word: impl Fn(usize) -> u64) -> TaskMapValue {
    let event = |at: usize| word(offset_of!(Seat, value.events) + at);
    let comm_stamp_ns = word(offset_of!(Seat, value.comm_stamp_ns));
    fence(Ordering::Acquire);
    let mut comm = [0; 16];
    for (at, bytes) in comm.chunks_exact_mut(WORD).enumerate() {
        bytes.copy_from_slice(&word(offset_of!(Seat, value.comm) + at * WORD).to_ne_bytes());
    }
    TaskMapValue {
        cpu_ns: word(offset_of!(Seat, value.cpu_ns)),
        flags: word(offset_of!(Seat, value.flags)),
        events: Events {
            switches: event(offset_of!(Events, switches)),
            smt_ns: event(offset_of!(Events, smt_ns)),
            page_cache: event(offset_of!(Events, page_cache)),
            net_tx: event(offset_of!(Events, net_tx)),
            net_rx: event(offset_of!(Events, net_rx)),
            block: event(offset_of!(Events, block)),
        },
        comm_stamp_ns,
        comm,
    }
}

/// The words of a seat.
fn words_of(words: &[AtomicU64], seat: u32) -> Option<&[AtomicU64]> {
    let first = usize::try_from(seat).ok()?.checked_mul(SEAT_WORDS)?;
    words.get(first..first.checked_add(SEAT_WORDS)?)
}

/// Lets a process sit down: zeros, and its key. The word with the thread group comes last, for it is what makes a key
/// match.
fn lock(words: &[AtomicU64], seat: u32, key: &TaskMapKey) -> bool {
    let Some(words) = words_of(words, seat) else {
        return false;
    };
    let value = words.get(size_of::<TaskMapKey>() / WORD..).unwrap_or_default();
    for word in value {
        word.store(0, Ordering::Relaxed);
    }
    let put = |at: usize, what: u64, order| {
        if let Some(word) = words.get(at / WORD) {
            word.store(what, order);
        }
    };
    put(
        offset_of!(TaskMapKey, started_ns),
        key.started_ns,
        Ordering::Relaxed,
    );
    put(
        offset_of!(TaskMapKey, cgroup_id),
        key.cgroup_id,
        Ordering::Relaxed,
    );
    put(
        offset_of!(TaskMapKey, tgid),
        who(key.tgid, key.package),
        Ordering::Release,
    );
    true
}

/// Takes the key away, so that no program finds it any more.
fn unlock(words: &[AtomicU64], seat: u32) {
    let word = words_of(words, seat).and_then(|words| words.get(offset_of!(TaskMapKey, tgid) / WORD));
    if let Some(word) = word {
        word.store(0, Ordering::Release);
    }
}

/// Thread group and package as the one word that they share in memory.
const fn who(tgid: u32, package: u32) -> u64 {
    let ([a, b, c, d], [e, f, g, h]) = (tgid.to_ne_bytes(), package.to_ne_bytes());
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

fn set(by_seat: &mut [u32], seat: u32, place: u32) {
    if let Some(entry) = usize::try_from(seat).ok().and_then(|seat| by_seat.get_mut(seat)) {
        *entry = place;
    }
}

#[cfg(test)]
mod tests;
