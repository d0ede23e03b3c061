// SPDX-License-Identifier: Apache-2.0
//! The history of the workloads of one level that use most, a fixed number of them.
//!
//! Everybody gets in while there is room. Then a workload that uses half as much again as the least of those inside takes
//! its place, and its record begins there: what it used before is not known, and not told. Energy in a record is exact.

use super::node::{Payment, Slots};
use super::rates::Rates;
use super::rows::{Row, rows};
use super::{KEPT, spread};
use crate::config::Level;
use attribution::model::snapshot::ZoneAccount;
use attribution::model::{Microjoules, MonotonicNanos, Snapshot};
use std::time::Duration;

/// Zones whose late energy is spread for a workload, too: two sockets, memory, eight GPUs, twice over. Energy of further
/// ones counts in the slot in which it comes.
const MOST_ZONES: usize = 32;

/// Weight of a slot in the mean that decides who stays.
const MEMORY: u64 = 32;

/// What is remembered of a level.
#[derive(Debug)]
pub(crate) struct Largest {
    level: Level,
    capacity: usize,
    kept: Vec<Series>,
}

/// One workload's record.
#[derive(Debug)]
pub(crate) struct Series {
    /// As in [`Row::id`].
    pub(crate) id: String,
    /// As in [`Row::name`], as it was told last.
    pub(crate) name: String,
    /// As in [`Row::group`].
    pub(crate) group: String,
    /// As in [`Row::detail`].
    pub(crate) detail: String,
    /// Whether it has ended.
    pub(crate) ended: bool,
    /// Number of the first slot that it has energy of.
    pub(crate) first: u64,
    hash: u64,
    began: MonotonicNanos,
    /// Whether it is in the newest snapshot.
    present: bool,
    /// Mean energy of a slot, times [`MEMORY`].
    score: u64,
    before: Vec<Cell>,
    cells: Box<[Cell]>,
}

/// Energy of one workload in one slot, or in one zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    /// Above the idle floor.
    pub(crate) dynamic: Microjoules,
    /// Of the idle floor.
    pub(crate) idle: Microjoules,
}

impl Cell {
    fn less(self, before: Self) -> Self {
        Self {
            dynamic: self.dynamic.saturating_sub(before.dynamic),
            idle: self.idle.saturating_sub(before.idle),
        }
    }

    fn part(self, whole: Duration, from: Duration, to: Duration) -> Self {
        let part =
            |energy: Microjoules| Microjoules::from_micro(spread::part(energy.as_micro(), whole, from, to));
        Self {
            dynamic: part(self.dynamic),
            idle: part(self.idle),
        }
    }

    fn add(&mut self, other: Self) {
        self.dynamic += other.dynamic;
        self.idle += other.idle;
    }
}

impl Largest {
    pub(super) const fn new(level: Level, capacity: usize) -> Self {
        Self {
            level,
            capacity,
            kept: Vec::new(),
        }
    }

    pub(crate) const fn level(&self) -> Level {
        self.level
    }

    /// Who is remembered, in no order.
    pub(crate) fn kept(&self) -> &[Series] {
        &self.kept
    }

    /// One of them.
    pub(crate) fn find(&self, id: &str) -> Option<&Series> {
        self.kept.iter().find(|series| series.id == id)
    }

    /// Pays the newest slot, and lets in who uses more than those inside.
    pub(super) fn pay(&mut self, snapshot: &Snapshot, paid: &[Payment], slots: &Slots, rates: &Rates) {
        let newest = slots.newest();
        let oldest = slots.iter().next().map_or(newest, |slot| slot.number);
        for series in &mut self.kept {
            series.present = false;
            // The cell was of a slot that has left.
            if let Some(cell) = series.cell_mut(newest) {
                *cell = Cell::default();
            }
            series.first = series.first.max(oldest);
            series.score = series.score.saturating_sub(series.score / MEMORY);
        }
        let mut outside = Vec::new();
        for row in rows(snapshot, self.level) {
            let hash = row.hash();
            match self.kept.iter_mut().find(|series| series.hash == hash) {
                Some(series) => series.pay(&row, &snapshot.zones, paid, slots),
                None => outside.push(row),
            }
        }
        self.kept.retain(|series| series.present || !series.is_empty());
        self.admit(outside, snapshot, paid, slots, rates);
    }

    fn admit(
        &mut self,
        outside: Vec<Row<'_>>,
        snapshot: &Snapshot,
        paid: &[Payment],
        slots: &Slots,
        rates: &Rates,
    ) {
        let Some(slot) = slots.iter().next_back() else {
            return;
        };
        let least = self.kept.iter().map(|series| series.score).min();
        let bar = least
            .filter(|_| self.kept.len() >= KEPT)
            .map(|score| score.saturating_add(score / 2));
        let mut outside: Vec<_> = outside
            .into_iter()
            .filter(|row| !row.ended())
            .map(|row| {
                let rate = rates
                    .of(&row, row.energy(&snapshot.zones))
                    .unwrap_or_default();
                let in_slot = (rate.dynamic.energy_over(slot.length())
                    + rate.idle.energy_over(slot.length()))
                .as_micro()
                .saturating_mul(MEMORY);
                (in_slot, row)
            })
            // Who does not get past the least of those inside now will not later: each that gets in raises the bar.
            .filter(|(score, _)| bar.is_none_or(|bar| *score > bar))
            .collect();
        outside.sort_by_key(|(score, _)| std::cmp::Reverse(*score));
        for (score, row) in outside {
            if self.kept.len() >= KEPT {
                let weakest = self
                    .kept
                    .iter()
                    .enumerate()
                    .min_by_key(|(_, series)| series.score);
                let Some((position, weakest)) = weakest else {
                    return;
                };
                if score <= weakest.score.saturating_add(weakest.score / 2) {
                    return;
                }
                self.kept.swap_remove(position);
            }
            self.kept.reserve_exact(KEPT.saturating_sub(self.kept.len()));
            let mut series = Series::new(&row, self.capacity, slots, score);
            if rates.is_new(&row) {
                series.first = slot.number;
                series.began = slot.began;
                series.pay(&row, &snapshot.zones, paid, slots);
            } else {
                series.begin(&row, &snapshot.zones);
            }
            self.kept.push(series);
        }
    }
}

impl Series {
    fn new(row: &Row<'_>, capacity: usize, slots: &Slots, score: u64) -> Self {
        Self {
            id: row.id(),
            name: String::new(),
            group: String::new(),
            detail: String::new(),
            ended: row.ended(),
            first: slots.newest().saturating_add(1),
            hash: row.hash(),
            began: slots.ended().unwrap_or_default(),
            present: true,
            score,
            before: Vec::new(),
            cells: vec![Cell::default(); capacity].into_boxed_slice(),
        }
    }

    /// Energy in the slot of this number, which must be one of the ring.
    pub(crate) fn cell(&self, number: u64) -> Option<Cell> {
        (number >= self.first)
            .then(|| self.cells.get(self.position(number)).copied())
            .flatten()
    }

    fn cell_mut(&mut self, number: u64) -> Option<&mut Cell> {
        let position = self.position(number);
        self.cells.get_mut(position)
    }

    fn position(&self, number: u64) -> usize {
        let length = u64::try_from(self.cells.len()).unwrap_or(u64::MAX).max(1);
        usize::try_from(number % length).unwrap_or(usize::MAX)
    }

    fn is_empty(&self) -> bool {
        self.cells.iter().all(|cell| *cell == Cell::default())
    }

    /// Totals that belong to a time before the record.
    fn begin(&mut self, row: &Row<'_>, zones: &[ZoneAccount]) {
        self.name_after(row);
        self.before = totals(row, zones);
    }

    fn pay(&mut self, row: &Row<'_>, zones: &[ZoneAccount], paid: &[Payment], slots: &Slots) {
        self.present = true;
        self.name_after(row);
        let now = totals(row, zones);
        let mut spent = 0_u64;
        for (position, total) in now.iter().enumerate() {
            let used = total.less(self.before.get(position).copied().unwrap_or_default());
            if used == Cell::default() {
                continue;
            }
            spent = spent.saturating_add((used.dynamic + used.idle).as_micro());
            // The last place may hold several zones; what it holds counts now.
            let several = position.saturating_add(1) >= MOST_ZONES;
            let since = paid
                .get(position)
                .filter(|_| !several)
                .and_then(|payment| payment.since);
            self.spread(used, since, slots);
        }
        self.score = self.score.saturating_add(spent);
        self.before = now;
    }

    /// Into the slots since the zone was paid, but not into any before the record.
    fn spread(&mut self, used: Cell, since: Option<MonotonicNanos>, slots: &Slots) {
        let newest = slots.iter().next_back().map_or(self.began, |slot| slot.began);
        let since = since.unwrap_or(newest).max(self.began);
        let Some(whole) = slots.ended().map(|ended| ended.since(since)) else {
            return;
        };
        for (number, from, to) in slots.since(since) {
            let part = used.part(whole, from, to);
            if let Some(cell) = self.cell_mut(number) {
                cell.add(part);
            }
        }
    }

    fn name_after(&mut self, row: &Row<'_>) {
        self.ended = row.ended();
        // Most names never change; one that does not is not written again.
        for (mine, now) in [
            (&mut self.name, row.name()),
            (&mut self.group, row.group()),
            (&mut self.detail, row.detail()),
        ] {
            if *mine != now {
                *mine = now;
            }
        }
    }
}

/// Totals by zone, of those that count into the node's; zones beyond the last place are summed there.
fn totals(row: &Row<'_>, zones: &[ZoneAccount]) -> Vec<Cell> {
    let charges = &row.ledger().charges;
    let mut totals = vec![Cell::default(); charges.len().min(zones.len()).min(MOST_ZONES)];
    let last = totals.len().saturating_sub(1);
    for (position, (charge, zone)) in charges.iter().zip(zones).enumerate() {
        if let Some(total) = totals.get_mut(position.min(last))
            && zone.zone.component.counts_into_total()
        {
            total.add(Cell {
                dynamic: charge.dynamic,
                idle: charge.idle,
            });
        }
    }
    totals
}
