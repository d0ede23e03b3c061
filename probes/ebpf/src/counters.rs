// SPDX-License-Identifier: Apache-2.0
//! Which hardware counters this machine has, opened on every CPU, and what their readings mean.
//!
//! Each counter is optional on its own: it is used when it opens on every CPU and really counts. Refuses to guess: a
//! counter that a hypervisor offers and never moves is absent, not 0.

use crate::abi::{COUNTERS, HardwareValue};
use crate::perf::{self, PerfEvent};
use attribution::model::{Event, EventCounts, EventSet};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// `PERF_TYPE_HARDWARE`.
const HARDWARE: u32 = 0;

/// A counter to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// What it is called in reports.
    pub event: Event,
    /// What is opened for it.
    pub source: PerfEvent,
}

/// The generic events of perf_event_open(2), which every PMU driver maps to its own.
pub const GENERIC: [Counter; COUNTERS] = [
    generic(Event::CpuCycles, 0),
    generic(Event::RefCycles, 9),
    generic(Event::Instructions, 1),
    generic(Event::CacheMisses, 3),
];

const fn generic(event: Event, config: u64) -> Counter {
    Counter {
        event,
        source: PerfEvent {
            kind: HARDWARE,
            config,
        },
    }
}

/// Whether any of `wanted` can be opened on all of `online`.
#[must_use]
pub fn any(wanted: &[Counter], online: &[u32]) -> bool {
    Open::on(wanted, online).mask() != 0
}

/// Counters that are open.
#[derive(Debug, Default)]
pub(crate) struct Open {
    /// By their place in the object; a place that is not used is `None`.
    pub(crate) counters: [Option<Counter>; COUNTERS],
    /// What the others lack, in words.
    pub(crate) missing: Vec<String>,
    descriptors: Vec<(usize, u32, OwnedFd)>,
}

impl Open {
    /// Opens as many of `wanted` as can be had on all of `online`; not more than the object has room for.
    pub(crate) fn on(wanted: &[Counter], online: &[u32]) -> Self {
        let mut open = Self::default();
        for (place, counter) in wanted.iter().take(COUNTERS).enumerate() {
            let all: io::Result<Vec<_>> = online
                .iter()
                .map(|cpu| Ok((place, *cpu, perf::open(counter.source, *cpu)?)))
                .collect();
            match all {
                Ok(descriptors) => {
                    open.descriptors.extend(descriptors);
                    if let Some(slot) = open.counters.get_mut(place) {
                        *slot = Some(*counter);
                    }
                }
                Err(error) => open
                    .missing
                    .push(format!("{}: {}", counter.event.name(), explain(&error))),
            }
        }
        open
    }

    /// Drops those that opened and do not count. To be called after this process has worked for a while.
    pub(crate) fn drop_dead(&mut self) {
        for place in 0..COUNTERS {
            let readings = self.descriptors.iter().filter(|(of, ..)| *of == place);
            let counted: u64 = readings.map(|(.., event)| count_of(event)).sum();
            if counted == 0
                && let Some(counter) = self.counters.get_mut(place).and_then(Option::take)
            {
                self.missing.push(format!(
                    "{}: opens but does not count, as with a hypervisor that only pretends",
                    counter.event.name()
                ));
            }
        }
        let counters = self.counters;
        self.descriptors
            .retain(|(place, ..)| counters.get(*place).is_some_and(Option::is_some));
    }

    /// Gives all of them up, for a reason.
    pub(crate) fn give_up(&mut self, reason: &str) {
        self.counters = [None; COUNTERS];
        self.descriptors.clear();
        self.missing.push(reason.to_owned());
    }

    /// The flags of the object: bit by place.
    pub(crate) fn mask(&self) -> u32 {
        let places = self.counters.iter().enumerate();
        places
            .filter(|(_, counter)| counter.is_some())
            .fold(0, |mask, (place, _)| mask | 1 << place)
    }

    /// What is counted.
    pub(crate) fn events(&self) -> EventSet {
        let open = self.counters.iter().flatten();
        open.fold(EventSet::NONE, |set, counter| set.with(counter.event))
    }

    /// Hands the descriptors to the kernel's maps (by place), which keep the events; ours are closed.
    pub(crate) fn place(&mut self, maps: &[BorrowedFd<'_>]) -> io::Result<()> {
        for (place, cpu, event) in self.descriptors.drain(..) {
            if let Some(map) = maps.get(place) {
                perf::place(*map, cpu, event.as_fd())?;
            }
        }
        Ok(())
    }

    /// Opens all of them again on a CPU that came back: its events went away with it.
    pub(crate) fn place_again(&self, maps: &[BorrowedFd<'_>], cpu: u32) -> io::Result<()> {
        for (counter, map) in self.counters.iter().zip(maps) {
            if let Some(counter) = counter {
                let event = perf::open(counter.source, cpu)?;
                perf::place(*map, cpu, event.as_fd())?;
            }
        }
        Ok(())
    }
}

/// What an event has counted; 0 where it cannot be read.
fn count_of(event: &OwnedFd) -> u64 {
    let mut reading = [0_u8; 24];
    match rustix::io::read(event, &mut reading) {
        Ok(24) => reading
            .first_chunk()
            .map_or(0, |count| u64::from_ne_bytes(*count)),
        _ => 0,
    }
}

/// Why an event cannot be opened, and what to do.
fn explain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::EOPNOTSUPP | libc::ENODEV) => {
            "not counted by this processor, or not given to this virtual machine".to_owned()
        }
        Some(libc::EACCES | libc::EPERM) => {
            "not permitted: grant CAP_PERFMON; where kernel.perf_event_paranoid is 3 or more, \
             set it to 2 or grant CAP_SYS_ADMIN"
                .to_owned()
        }
        Some(libc::EMFILE | libc::ENFILE) => {
            "out of file descriptors: four are needed for each CPU while starting (LimitNOFILE=)".to_owned()
        }
        _ => error.to_string(),
    }
}

/// The hardware counts of one row: what was read last, and what waits for being scaled.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    last: HardwareValue,
    waiting: [Waiting; COUNTERS],
}

/// A rise that could not be paid yet, for its counter never had its turn.
#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    enabled_ns: u64,
    missed_ns: u64,
    count: u64,
}

/// The least part of the time that a counter must have run to speak for the rest: one in 50. Below that one rise in
/// count, of one moment, would be multiplied into a figure that nobody measured; it waits for more.
const LEAST_TURN: u64 = 50;

impl Waiting {
    /// What was counted, scaled to the whole time; `None` when it has to wait on.
    fn pay(self) -> Option<u64> {
        let turn = self.enabled_ns.saturating_sub(self.missed_ns);
        if self.missed_ns == 0 {
            return Some(self.count);
        }
        if turn == 0 || turn < self.enabled_ns / LEAST_TURN {
            return None;
        }
        let scaled = u128::from(self.count) * u128::from(self.enabled_ns) / u128::from(turn);
        u64::try_from(scaled).ok()
    }
}

impl Tally {
    /// Takes a reading in and returns what is to be added, by place. The rise of a drain is scaled by the part of its
    /// time in which the counter ran, as perf(1) does; so the sum never falls.
    pub(crate) fn advance(&mut self, now: &HardwareValue) -> [u64; COUNTERS] {
        // A row that went back was deleted and made again.
        if now
            .enabled_ns
            .iter()
            .zip(&self.last.enabled_ns)
            .any(|(now, last)| now < last)
        {
            self.last = HardwareValue::default();
        }
        let mut added = [0; COUNTERS];
        for (place, (added, waiting)) in added.iter_mut().zip(&mut self.waiting).enumerate() {
            let rise = |of: fn(&HardwareValue) -> &[u64; COUNTERS]| {
                let at = |value| of(value).get(place).copied().unwrap_or(0);
                at(now).saturating_sub(at(&self.last))
            };
            waiting.enabled_ns = waiting.enabled_ns.saturating_add(rise(|value| &value.enabled_ns));
            waiting.count = waiting.count.saturating_add(rise(|value| &value.count));
            waiting.missed_ns = waiting.missed_ns.saturating_add(rise(|value| &value.missed_ns));
            if let Some(paid) = waiting.pay() {
                *added = paid;
                *waiting = Waiting::default();
            }
        }
        self.last = *now;
        added
    }
}

/// Rises by place, in the model's words.
pub(crate) fn counts(counters: &[Option<Counter>; COUNTERS], rises: [u64; COUNTERS]) -> EventCounts {
    let mut counts = EventCounts::ZERO;
    for (counter, rise) in counters.iter().zip(rises) {
        if let Some(counter) = counter {
            counts.add(counter.event, rise);
        }
    }
    counts
}

#[cfg(test)]
mod tests;
