// SPDX-License-Identifier: Apache-2.0
//! What one task did in one place, and the entries of the kernel that this adds up. Pure.

use crate::abi::TaskMapKey;
use crate::counters::Tally;
use crate::places::Placed;
use crate::totals::Total;
use attribution::model::{CpuNanos, EventCounts};

/// What one task did in one cgroup on one package.
#[derive(Debug)]
pub(crate) struct Row {
    /// When the kernel read its newest name, which it does when it makes an entry: of the rows that rose between two
    /// reports the one that was made last has the newest.
    pub(crate) stamp_ns: u64,
    pub(crate) total: CpuNanos,
    pub(crate) events: EventCounts,
    pub(crate) counter: Counter,
    /// Entries that differ from `counter` in nothing but nanoseconds of the same clock tick: a pid that was used twice
    /// within 10 ms. To everyone else it is one task.
    pub(crate) twins: Vec<Counter>,
}

/// One entry of the kernel's hash, as last read; zeros while there is none.
#[derive(Debug)]
pub(crate) struct Counter {
    pub(crate) started_ns: u64,
    pub(crate) total: Total,
    /// Only where there are hardware counters.
    pub(crate) hardware: Option<Box<Tally>>,
}

impl Counter {
    fn new(started_ns: u64) -> Self {
        Self {
            started_ns,
            total: Total::default(),
            hardware: None,
        }
    }
}

impl Row {
    /// Nothing yet, in the entry of `key`.
    pub(crate) fn new(key: &TaskMapKey) -> Self {
        Self {
            stamp_ns: 0,
            total: CpuNanos::ZERO,
            events: EventCounts::ZERO,
            counter: Counter::new(key.started_ns),
            twins: Vec::new(),
        }
    }

    pub(crate) fn counter(&mut self, started_ns: u64) -> Option<&mut Counter> {
        std::iter::once(&mut self.counter)
            .chain(&mut self.twins)
            .find(|counter| counter.started_ns == started_ns)
    }

    pub(crate) fn counter_or_new(&mut self, started_ns: u64) -> &mut Counter {
        if self.counter.started_ns == started_ns {
            return &mut self.counter;
        }
        let at = match self.twins.iter().position(|twin| twin.started_ns == started_ns) {
            Some(at) => at,
            None => {
                self.twins.push(Counter::new(started_ns));
                self.twins.len() - 1
            }
        };
        self.twins.get_mut(at).unwrap_or(&mut self.counter)
    }
}

impl Placed<Row> {
    /// Adds events, which are news as time is.
    pub(crate) fn count(&mut self, events: &EventCounts) {
        if *events != EventCounts::ZERO {
            self.held.events.absorb(events);
            self.listing.rise();
        }
    }

    /// The keys of its entries, in the row of `tgid`.
    pub(crate) fn map_keys(&self, tgid: u32) -> impl Iterator<Item = TaskMapKey> {
        let place = self.place;
        std::iter::once(&self.held.counter)
            .chain(&self.held.twins)
            .map(move |counter| TaskMapKey {
                started_ns: counter.started_ns,
                cgroup_id: place.cgroup,
                tgid,
                package: place.package,
            })
    }
}
