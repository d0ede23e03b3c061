// SPDX-License-Identifier: Apache-2.0
//! What a row of the kernel rose by since it was read last, wherever the row is. Pure.

use crate::abi::TaskMapValue;
use attribution::model::EventCounts;

/// A row as last read; its time as the highest that was read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Total {
    pub(crate) cpu_ns: u64,
    pub(crate) events: EventCounts,
}

/// What a row rose by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rise {
    pub(crate) cpu_ns: u64,
    pub(crate) events: EventCounts,
}

impl Total {
    /// Takes a reading in. Time that goes back takes back what a flush had charged too much: the next slices pay for it.
    pub(crate) fn advance(&mut self, value: &TaskMapValue) -> Rise {
        let events = value.events.counts();
        let rise = Rise {
            cpu_ns: value.cpu_ns.saturating_sub(self.cpu_ns),
            events: events.since(&self.events),
        };
        self.cpu_ns = value.cpu_ns.max(self.cpu_ns);
        self.events = events;
        rise
    }
}
