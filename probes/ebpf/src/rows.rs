// SPDX-License-Identifier: Apache-2.0
//! The rows of one task, by cgroup and package, and the entries of the kernel that each adds up. Pure.

use crate::abi::TaskMapKey;
use crate::counters::Tally;
use crate::listing::Listing;
use crate::totals::Total;
use attribution::model::{CpuNanos, EventCounts};

/// What one task did in one cgroup on one package.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) cgroup: u64,
    pub(crate) package: u32,
    /// When the kernel read its newest name, which it does when it makes an entry: of the rows that rose between two
    /// reports the one that was made last has the newest.
    pub(crate) stamp_ns: u64,
    pub(crate) total: CpuNanos,
    pub(crate) events: EventCounts,
    pub(crate) listing: Listing,
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

/// Where the row of `key` is, or belongs.
pub(crate) fn place_of(rows: &[Row], key: &TaskMapKey) -> Result<usize, usize> {
    rows.binary_search_by_key(&(key.cgroup_id, key.package), |row| (row.cgroup, row.package))
}

/// The row of `key`, made where there is none.
pub(crate) fn row_of<'a>(rows: &'a mut Vec<Row>, key: &TaskMapKey) -> &'a mut Row {
    let at = place_of(rows, key).unwrap_or_else(|at| {
        rows.insert(at, Row::new(key));
        at
    });
    #[expect(clippy::indexing_slicing, reason = "found or inserted just now")]
    &mut rows[at]
}

impl Row {
    fn new(key: &TaskMapKey) -> Self {
        Self {
            cgroup: key.cgroup_id,
            package: key.package,
            stamp_ns: 0,
            total: CpuNanos::ZERO,
            events: EventCounts::ZERO,
            listing: Listing::new(),
            counter: Counter::new(key.started_ns),
            twins: Vec::new(),
        }
    }

    /// Adds events, which are news as time is.
    pub(crate) fn count(&mut self, events: &EventCounts) {
        if *events != EventCounts::ZERO {
            self.events.absorb(events);
            self.listing.rise();
        }
    }

    pub(crate) fn map_keys(&self, tgid: u32) -> impl Iterator<Item = TaskMapKey> {
        std::iter::once(&self.counter)
            .chain(&self.twins)
            .map(move |counter| TaskMapKey {
                started_ns: counter.started_ns,
                cgroup_id: self.cgroup,
                tgid,
                package: self.package,
            })
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
