// SPDX-License-Identifier: Apache-2.0
//! What is counted beside CPU time, by workload: hardware counters, softirqs, page-cache hits, context switches.
//!
//! Which of them a machine can count is a set of its own ([`EventSet`]): what is not in it is **absent, not 0**.

/// One kind of thing that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// Cycles of the CPU clock while the workload ran (`PERF_COUNT_HW_CPU_CYCLES`).
    CpuCycles,
    /// Cycles of a clock that does not scale with frequency (`PERF_COUNT_HW_REF_CPU_CYCLES`).
    RefCycles,
    /// Instructions retired (`PERF_COUNT_HW_INSTRUCTIONS`).
    Instructions,
    /// Misses of the last-level cache (`PERF_COUNT_HW_CACHE_MISSES`).
    CacheMisses,
    /// Pages found in the page cache, or dirtied there, while the workload ran.
    PageCacheHits,
    /// Softirqs for sent packets that ran while the workload was on the CPU.
    NetTxIrqs,
    /// Softirqs for received packets that ran while the workload was on the CPU.
    NetRxIrqs,
    /// Softirqs of block devices that ran while the workload was on the CPU.
    BlockIrqs,
    /// How often a thread of the workload left a CPU.
    Switches,
    /// Nanoseconds during which the workload ran while the other hardware thread of its core was busy, too.
    SmtOverlap,
}

impl Event {
    /// How many there are.
    pub const COUNT: usize = 10;

    /// All, in the order of [`EventCounts`].
    pub const ALL: [Self; Self::COUNT] = [
        Self::CpuCycles,
        Self::RefCycles,
        Self::Instructions,
        Self::CacheMisses,
        Self::PageCacheHits,
        Self::NetTxIrqs,
        Self::NetRxIrqs,
        Self::BlockIrqs,
        Self::Switches,
        Self::SmtOverlap,
    ];

    /// A name for people and for JSON. The unit is a count but for [`Event::SmtOverlap`].
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CpuCycles => "cpu_cycles",
            Self::RefCycles => "ref_cycles",
            Self::Instructions => "cpu_instructions",
            Self::CacheMisses => "cache_miss",
            Self::PageCacheHits => "page_cache_hit",
            Self::NetTxIrqs => "net_tx_irq",
            Self::NetRxIrqs => "net_rx_irq",
            Self::BlockIrqs => "block_irq",
            Self::Switches => "context_switches",
            Self::SmtOverlap => "smt_overlap_ns",
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// Which events are counted on this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventSet(u16);

impl EventSet {
    /// Nothing.
    pub const NONE: Self = Self(0);

    /// With one more.
    #[must_use]
    pub const fn with(self, event: Event) -> Self {
        Self(self.0 | event.bit())
    }

    /// Whether it is counted.
    #[must_use]
    pub const fn has(self, event: Event) -> bool {
        self.0 & event.bit() != 0
    }

    /// Everything that is in one or the other.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The members, in order.
    pub fn iter(self) -> impl Iterator<Item = Event> {
        Event::ALL.into_iter().filter(move |event| self.has(*event))
    }
}

/// A total of each event. What is not in the [`EventSet`] beside it stays 0 and means nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventCounts([u64; Event::COUNT]);

impl EventCounts {
    /// None of anything.
    pub const ZERO: Self = Self([0; Event::COUNT]);

    /// The total of one event.
    #[must_use]
    pub fn get(&self, event: Event) -> u64 {
        self.0.get(event as usize).copied().unwrap_or(0)
    }

    /// Adds to one event.
    pub fn add(&mut self, event: Event, count: u64) {
        let total = self.get(event).saturating_add(count);
        *self = self.with(event, total);
    }

    /// With one total set.
    #[must_use]
    pub fn with(mut self, event: Event, count: u64) -> Self {
        // Every event has a place: a test goes through all of them.
        if let Some(total) = self.0.get_mut(event as usize) {
            *total = count;
        }
        self
    }

    /// Adds all of `other`.
    pub fn absorb(&mut self, other: &Self) {
        for (total, more) in self.0.iter_mut().zip(&other.0) {
            *total = total.saturating_add(*more);
        }
    }

    /// What was added since `before`. A total that went back began again at zero: all of it is new.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let mut rise = *self;
        for (now, before) in rise.0.iter_mut().zip(&before.0) {
            *now = now.checked_sub(*before).unwrap_or(*now);
        }
        rise
    }

    /// Takes out what was absorbed before.
    pub fn release(&mut self, other: &Self) {
        for (total, less) in self.0.iter_mut().zip(&other.0) {
            *total = total.saturating_sub(*less);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_a_place_of_its_own() {
        for (place, event) in Event::ALL.into_iter().enumerate() {
            assert_eq!(event as usize, place);
            let counts = EventCounts::ZERO.with(event, 7);
            assert!(
                Event::ALL
                    .into_iter()
                    .all(|other| (counts.get(other) == 7) == (other == event))
            );
            let mut added = counts;
            added.add(event, 1);
            added.add(event, u64::MAX);
            assert_eq!((counts.get(event), added.get(event)), (7, u64::MAX));
            let set = EventSet::NONE.with(event);
            assert_eq!(set.iter().collect::<Vec<_>>(), [event]);
        }
    }

    #[test]
    fn a_rise_is_what_was_added_and_all_of_a_counter_that_began_again() {
        let before = EventCounts::ZERO
            .with(Event::CpuCycles, 5)
            .with(Event::Switches, 9);
        let now = EventCounts::ZERO
            .with(Event::CpuCycles, 7)
            .with(Event::Switches, 4);
        let rise = now.since(&before);
        assert_eq!((rise.get(Event::CpuCycles), rise.get(Event::Switches)), (2, 4));
    }
}
