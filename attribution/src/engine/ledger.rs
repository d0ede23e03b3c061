// SPDX-License-Identifier: Apache-2.0
//! Arithmetic on ledgers: adding a charge, folding one ledger into another. Nothing is ever taken out but whole.

use crate::model::snapshot::{Charge, Ledger};
use crate::model::{CpuNanos, EventCounts, Microjoules};

impl Ledger {
    /// Adds energy in one zone.
    pub(crate) fn charge(&mut self, zone: usize, charge: Charge) {
        if self.charges.len() <= zone {
            self.charges.resize(zone + 1, Charge::default());
        }
        if let Some(total) = self.charges.get_mut(zone) {
            total.dynamic += charge.dynamic;
            total.idle += charge.idle;
            total.used += charge.used;
        }
    }

    /// Adds dynamic energy in microjoules, by zone.
    pub(crate) fn charge_all(&mut self, dynamic: impl Iterator<Item = (usize, u64)>) {
        // No empty entries: a ledger is as long as the last zone that it was charged in.
        for (zone, micro) in dynamic.filter(|(_, micro)| *micro > 0) {
            if self.charges.len() <= zone {
                self.charges.resize(zone + 1, Charge::default());
            }
            if let Some(total) = self.charges.get_mut(zone) {
                total.dynamic += Microjoules::from_micro(micro);
            }
        }
    }

    /// Adds CPU time.
    pub(crate) fn ran(&mut self, time: CpuNanos) {
        self.cpu += time;
    }

    /// Adds events.
    pub(crate) fn counted(&mut self, events: &EventCounts) {
        self.events.absorb(events);
    }

    /// Adds all of `other`.
    pub(crate) fn absorb(&mut self, other: &Self) {
        for (zone, charge) in other.charges.iter().enumerate() {
            self.charge(zone, *charge);
        }
        self.cpu += other.cpu;
        self.events.absorb(&other.events);
    }

    /// Takes everything out and keeps the room.
    pub(crate) fn clear(&mut self) {
        self.charges.clear();
        self.cpu = CpuNanos::ZERO;
        self.events = EventCounts::ZERO;
    }

    /// Takes out what was absorbed before.
    pub(crate) fn release(&mut self, other: &Self) {
        for (total, charge) in self.charges.iter_mut().zip(&other.charges) {
            total.dynamic = total.dynamic.saturating_sub(charge.dynamic);
            total.idle = total.idle.saturating_sub(charge.idle);
            total.used = total.used.saturating_sub(charge.used);
        }
        self.cpu = self.cpu.saturating_sub(other.cpu);
        self.events.release(&other.events);
    }
}
