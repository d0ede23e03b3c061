// SPDX-License-Identifier: Apache-2.0
//! The last fifteen minutes, kept for people who look: power of the node by component, and of the largest workloads of
//! each level.
//!
//! Owns a ring of slots and what it takes to fill it from cumulative totals. It is a pure function of the snapshots it is
//! shown: time comes with them, a snapshot that is never shown costs resolution and no energy. Refuses to know who asks,
//! and to keep anything beyond its bounds.
//!
//! **Slots.** One per tick, or for ticks below a second the smallest number of ticks that is a second: 900 at most, and
//! they follow each other without gaps. A slot holds energy, so that its mean power is exact.
//!
//! **Late energy.** A meter that is read every ten seconds pays nothing in nine slots and ten seconds' worth in the
//! tenth. Such energy belongs to the time since that zone was paid last, and is spread over the slots of that time, to the
//! microjoule; until it comes, the zone is missing in these slots, and not zero.
//!
//! **Memory**, at most 4 MiB: 901 slots of the node of 248 bytes are 223 kB; 5 levels of [`KEPT`] workloads with 901 cells
//! of 16 bytes are 2,883 kB, their totals by zone 102 kB and their names 120 kB; two tables of [`MOST_ROWS`] totals of 24
//! bytes are 393 kB, and a list of who was there 66 kB. Together 3.8 MB. A test fills all of it and counts what is allocated.

mod largest;
mod node;
mod rates;
mod rows;
mod spread;
#[cfg(test)]
mod tests;

pub(crate) use largest::{Largest, Series};
pub(crate) use node::{Part, Slot};
pub(crate) use rates::Rate;
pub(crate) use rows::{Energy, Row, WORKLOADS, rows};

use crate::config::Level;
use attribution::model::{Component, MonotonicNanos, Snapshot};
use node::{Node, Slots};
use rates::Rates;
use std::time::Duration;

/// How far back it goes.
pub(crate) const SPAN: Duration = Duration::from_secs(15 * 60);

/// Workloads of each level that are remembered.
pub(crate) const KEPT: usize = 40;

/// Rows whose power can be told, over all levels; with the default of 200 processes a node has some hundreds.
pub(crate) const MOST_ROWS: usize = 8_192;

/// What all of it may take.
#[cfg(test)]
pub(crate) const MOST_BYTES: usize = 4 << 20;

/// Shortest slot: nobody can look at more.
const SHORTEST_SLOT: Duration = Duration::from_secs(1);

/// See the module's head.
#[derive(Debug)]
pub(crate) struct History {
    tick: Duration,
    slot: Duration,
    slots: Slots,
    node: Node,
    largest: [Largest; WORKLOADS.len()],
    rates: Rates,
}

impl History {
    /// An empty one for snapshots that come every `tick`.
    pub(crate) fn new(tick: Duration) -> Self {
        let tick = tick.max(Duration::from_millis(1));
        let ticks = SHORTEST_SLOT.as_nanos().div_ceil(tick.as_nanos());
        let slot = tick.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX));
        let capacity = SPAN.as_nanos().div_ceil(slot.as_nanos()).saturating_add(1);
        let capacity = usize::try_from(capacity).unwrap_or(1);
        Self {
            tick,
            slot,
            slots: Slots::new(capacity),
            node: Node::default(),
            largest: WORKLOADS.map(|level| Largest::new(level, capacity)),
            rates: Rates::default(),
        }
    }

    /// Snapshots come every `tick` from now on. Where that makes slots of another length it begins anew; numbers of slots go on.
    pub(crate) fn retime(&mut self, tick: Duration) {
        let fresh = Self::new(tick);
        if fresh.tick == self.tick {
            return;
        }
        if fresh.slot == self.slot {
            self.tick = fresh.tick;
            return;
        }
        let newest = self.slots.newest();
        *self = fresh;
        self.slots.go_on_after(newest);
    }

    /// Takes in a snapshot. Says whether a slot ended with it.
    pub(crate) fn record(&mut self, snapshot: &Snapshot) -> bool {
        let now = snapshot.window.ended;
        if snapshot.tick.0 == 0 {
            return false;
        }
        let Some(last) = self.slots.ended() else {
            self.begin(snapshot);
            return true;
        };
        // Half a tick of grace: windows close a little early and a little late.
        if now.since(last).saturating_add(self.tick / 2) < self.slot {
            return false;
        }
        self.slot(snapshot);
        true
    }

    /// The first snapshot. Of a run's first window everything belongs to that window; of a later one nothing is known
    /// about when it was used.
    fn begin(&mut self, snapshot: &Snapshot) {
        if snapshot.windows.closed > 1 {
            self.slots.begin(snapshot.window.ended);
            self.node.begin(snapshot);
            self.rates.begin(snapshot, snapshot.window.ended);
            return;
        }
        self.slots.begin(snapshot.window.began);
        self.rates.begin(&Snapshot::default(), snapshot.window.began);
        self.slot(snapshot);
    }

    fn slot(&mut self, snapshot: &Snapshot) {
        let now = snapshot.window.ended;
        self.slots.push(now);
        let paid = self.node.pay(snapshot, &mut self.slots);
        self.rates.at(snapshot, now, &paid);
        for largest in &mut self.largest {
            largest.pay(snapshot, &paid, &self.slots, &self.rates);
        }
        self.rates.turn(snapshot, self.slot);
    }

    /// Length of a slot, as configured; each slot has its own, measured one.
    pub(crate) const fn slot_length(&self) -> Duration {
        self.slot
    }

    /// Slots, the oldest first, from the one with this number on.
    pub(crate) fn slots(&self, from: u64) -> impl Iterator<Item = &Slot> + Clone {
        self.slots.iter().filter(move |slot| slot.number >= from)
    }

    /// Number of the newest slot; 0 before the first.
    pub(crate) fn newest(&self) -> u64 {
        self.slots.newest()
    }

    /// When the record begins, also where its first slots have left; `None` before the first snapshot.
    pub(crate) const fn began(&self) -> Option<MonotonicNanos> {
        self.slots.began()
    }

    /// The newest slot in which all of this component is known, not older than `limit` before the newest slot.
    pub(crate) fn newest_known(&self, component: Component, limit: Duration) -> Option<(&Slot, Part)> {
        let newest = self.slots.ended()?;
        let recent = self.slots.iter().rev();
        recent
            .take_while(|slot| newest.since(slot.ended) <= limit)
            .find_map(|slot| slot.part(component).map(|part| (slot, part)))
    }

    /// What is remembered of a level's workloads; `None` for the node's.
    pub(crate) fn largest(&self, level: Level) -> Option<&Largest> {
        self.largest.iter().find(|largest| largest.level() == level)
    }

    /// Power over the last seconds of a row that has used so much up to now.
    pub(crate) fn rate(&self, row: &Row<'_>, energy: Energy) -> Option<Rate> {
        self.rates.of(row, energy)
    }
}
