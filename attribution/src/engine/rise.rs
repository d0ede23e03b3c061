// SPDX-License-Identifier: Apache-2.0
//! What an account did in one window, as far as anything is paid by it.
//!
//! Everything that a split may look at is kept side by side, so that a zone that is late can still be split by the
//! feature that is right for it, and so that a feature that stops being counted half-way costs accuracy and not energy.

use crate::model::{CpuNanos, Event, EventCounts};

/// What one account did since the window before. All saturating: a rise is a weight and no bill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rise {
    /// CPU time in nanoseconds.
    pub(crate) time: u64,
    /// Part of `time` while the other hardware thread of the core was busy, too.
    pub(crate) overlap: u64,
    /// Cycles of the CPU clock that were not halted.
    pub(crate) cycles: u64,
    /// Instructions retired.
    pub(crate) instructions: u64,
    /// Misses of the last-level cache.
    pub(crate) misses: u64,
    /// Dynamic energy that was charged for package, memory, accelerators and the rest, in microjoules: what a platform's
    /// energy is split by. Not known yet when those are paid.
    pub(crate) charged: u64,
}

impl Rise {
    /// Of CPU time and what was counted meanwhile.
    pub(crate) fn of(time: CpuNanos, events: &EventCounts) -> Self {
        Self {
            time: time.as_nanos(),
            overlap: events.get(Event::SmtOverlap),
            cycles: events.get(Event::CpuCycles),
            instructions: events.get(Event::Instructions),
            misses: events.get(Event::CacheMisses),
            charged: 0,
        }
    }

    /// Adds another window's.
    pub(crate) fn add(&mut self, more: &Self) {
        self.time = self.time.saturating_add(more.time);
        self.overlap = self.overlap.saturating_add(more.overlap);
        self.cycles = self.cycles.saturating_add(more.cycles);
        self.instructions = self.instructions.saturating_add(more.instructions);
        self.misses = self.misses.saturating_add(more.misses);
        self.charged = self.charged.saturating_add(more.charged);
    }
}
