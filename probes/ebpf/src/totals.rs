// SPDX-License-Identifier: Apache-2.0
//! What a row of the kernel rose by since it was read last, wherever the row is. Pure.

use crate::abi::Events;
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
    pub(crate) fn advance(&mut self, cpu_ns: u64, events: &Events) -> Rise {
        let (now, events) = (time(cpu_ns), events.counts());
        let rise = Rise {
            cpu_ns: now.saturating_sub(self.cpu_ns),
            events: events.since(&self.events),
        };
        self.cpu_ns = now.max(self.cpu_ns);
        self.events = events;
        rise
    }
}

/// Time as the kernel holds it, which may be less than nothing: what a flush charged too much is taken back from the row
/// that the task has by then, and that one may be new.
pub(crate) fn time(raw_ns: u64) -> u64 {
    u64::try_from(raw_ns.cast_signed()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_back_from_a_new_row_is_paid_by_the_next_slice() {
        let mut total = Total::default();
        let events = Events::default();
        let mut rise = |raw_ns: i64| total.advance(raw_ns.cast_unsigned(), &events).cpu_ns;
        assert_eq!([-10, -4, 490, 480, 500].map(&mut rise), [0, 0, 490, 0, 10]);
    }
}
