// SPDX-License-Identifier: Apache-2.0
//! One level of workloads (containers, pods, virtual machines or units): rows by key, who is alive in them, and how ended ones leave.
//!
//! A row whose last member is gone keeps its final total for a fixed time, for every scraper, and then leaves for the
//! shelf. A key that comes back from the shelf goes on where it stopped, so its counters do not fall.

use crate::model::snapshot::{Charge, GroupRow, Ledger, Names};
use crate::model::{CgroupOwner, CpuNanos, EventCounts, MonotonicNanos};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

/// Handle of a row; valid while an account is a member of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RowId(u32);

/// Rows that a level shows at most, the ended ones among them: beyond it the oldest ended ones leave early. Living rows
/// are bounded by the kernel's own cgroups. 16,384 rows of 8 zones are 5 MiB of ledgers.
const MOST_ROWS: usize = 16_384;
/// Rows remembered after they left, for keys that come back (a restarted container, an hourly unit): 1,024 of 8 zones
/// are 300 KiB.
const SHELF: usize = 1_024;

#[derive(Debug)]
struct Row<K> {
    key: K,
    owner: Option<Arc<CgroupOwner>>,
    names: Names,
    ledger: Ledger,
    members: u32,
    ended_at: Option<MonotonicNanos>,
}

/// All rows of one level.
#[derive(Debug)]
pub(crate) struct Level<K> {
    rows: BTreeMap<RowId, Row<K>>,
    by_key: HashMap<K, RowId>,
    next: u32,
    has_new: bool,
    shelf: VecDeque<(K, Ledger)>,
    retired: Ledger,
}

impl<K> Default for Level<K> {
    fn default() -> Self {
        Self {
            rows: BTreeMap::new(),
            by_key: HashMap::new(),
            next: 0,
            has_new: false,
            shelf: VecDeque::new(),
            retired: Ledger::default(),
        }
    }
}

impl<K: Clone + Eq + Hash + Ord> Level<K> {
    /// Adds one member to the row of `key`, made or revived if need be.
    pub(crate) fn join(&mut self, key: &K, owner: Option<&Arc<CgroupOwner>>) -> RowId {
        let id = match self.by_key.get(key) {
            Some(id) => *id,
            None => self.create(key),
        };
        if let Some(row) = self.rows.get_mut(&id) {
            row.members += 1;
            row.ended_at = None;
            if let Some(owner) = owner {
                row.owner = Some(Arc::clone(owner));
            }
        }
        id
    }

    fn create(&mut self, key: &K) -> RowId {
        let id = RowId(self.next);
        self.next = self.next.wrapping_add(1);
        let shelved = self.shelf.iter().position(|(shelved, _)| shelved == key);
        let ledger = shelved
            .and_then(|at| self.shelf.remove(at))
            .map(|(_, ledger)| ledger)
            .unwrap_or_default();
        self.retired.release(&ledger);
        self.rows.insert(
            id,
            Row {
                key: key.clone(),
                owner: None,
                names: Names::default(),
                ledger,
                members: 0,
                ended_at: None,
            },
        );
        self.by_key.insert(key.clone(), id);
        self.has_new = true;
        id
    }

    /// Whether rows were made since the last call of [`Self::name`].
    pub(crate) const fn has_new(&self) -> bool {
        self.has_new
    }

    /// Writes the names of all rows anew; `name` gets what a row is, its owner and the names that it has.
    pub(crate) fn name(&mut self, name: impl Fn(&K, Option<&Arc<CgroupOwner>>, &mut Names)) {
        self.has_new = false;
        for row in self.rows.values_mut() {
            name(&row.key, row.owner.as_ref(), &mut row.names);
        }
    }

    /// Shows what is known of each row.
    pub(crate) fn known(&self) -> impl Iterator<Item = (Option<&Arc<CgroupOwner>>, &Names)> {
        self.rows.values().map(|row| (row.owner.as_ref(), &row.names))
    }

    /// Takes one member away.
    pub(crate) fn leave(&mut self, id: RowId, now: MonotonicNanos) {
        if let Some(row) = self.rows.get_mut(&id) {
            row.members = row.members.saturating_sub(1);
            if row.members == 0 {
                row.ended_at = Some(now);
            }
        }
    }

    /// Charges a row.
    pub(crate) fn charge(&mut self, id: RowId, zone: usize, charge: Charge) {
        if let Some(row) = self.rows.get_mut(&id) {
            row.ledger.charge(zone, charge);
        }
    }

    /// Books CPU time on a row.
    pub(crate) fn ran(&mut self, id: RowId, time: CpuNanos) {
        if let Some(row) = self.rows.get_mut(&id) {
            row.ledger.ran(time);
        }
    }

    /// Books events on a row.
    pub(crate) fn counted(&mut self, id: RowId, events: &EventCounts) {
        if let Some(row) = self.rows.get_mut(&id) {
            row.ledger.counted(events);
        }
    }

    /// Lets rows go that ended longer than `keep` ago, and the oldest ended ones beyond the bound.
    pub(crate) fn retire(&mut self, now: MonotonicNanos, keep: Duration) {
        let mut ended: Vec<(MonotonicNanos, RowId)> = self
            .rows
            .iter()
            .filter_map(|(id, row)| Some((row.ended_at?, *id)))
            .collect();
        ended.sort_unstable_by_key(|(at, _)| *at);
        let mut surplus = self.rows.len().saturating_sub(MOST_ROWS);
        for (at, id) in ended {
            if now.since(at) <= keep && surplus == 0 {
                break;
            }
            surplus = surplus.saturating_sub(1);
            if let Some(row) = self.rows.remove(&id) {
                self.by_key.remove(&row.key);
                self.retired.absorb(&row.ledger);
                self.put_on_shelf(row.key, row.ledger);
            }
        }
    }

    fn put_on_shelf(&mut self, key: K, ledger: Ledger) {
        if self.shelf.len() == SHELF {
            self.shelf.pop_front();
        }
        self.shelf.push_back((key, ledger));
    }

    /// Rows for a snapshot, by key.
    pub(crate) fn rows(&self) -> Vec<GroupRow<K>> {
        let mut rows: Vec<_> = self
            .rows
            .values()
            .map(|row| GroupRow {
                key: row.key.clone(),
                owner: row.owner.clone(),
                names: row.names.clone(),
                ledger: row.ledger.clone(),
                ended: row.ended_at.is_some(),
            })
            .collect();
        rows.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        rows
    }

    /// Rows that are shown, and rows remembered after they left.
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.rows.len(), self.shelf.len())
    }

    /// What left.
    pub(crate) const fn retired(&self) -> &Ledger {
        &self.retired
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Microjoules;

    const KEEP: Duration = Duration::from_secs(180);

    fn at(seconds: u64) -> MonotonicNanos {
        MonotonicNanos::from_nanos(seconds * 1_000_000_000)
    }

    fn joule(joules: u64) -> Charge {
        Charge {
            dynamic: Microjoules::from_micro(joules * 1_000_000),
            ..Charge::default()
        }
    }

    fn totals(level: &Level<&'static str>) -> Vec<(&'static str, u64, bool)> {
        let dynamic = |ledger: &Ledger| {
            ledger
                .charges
                .iter()
                .map(|c| c.dynamic.as_micro() / 1_000_000)
                .sum()
        };
        level
            .rows()
            .iter()
            .map(|row| (row.key, dynamic(&row.ledger), row.ended))
            .collect()
    }

    #[test]
    fn an_ended_row_stays_for_the_keep_time_with_its_final_total_and_then_leaves() {
        let mut level = Level::default();
        let id = level.join(&"a", None);
        level.charge(id, 0, joule(5));
        level.leave(id, at(10));
        level.retire(at(190), KEEP);
        assert_eq!(totals(&level), [("a", 5, true)]);
        level.retire(at(191), KEEP);
        assert_eq!(totals(&level), []);
        assert_eq!(level.retired().charges, [joule(5)]);
    }

    #[test]
    fn a_key_that_comes_back_goes_on_where_it_stopped() {
        let mut level = Level::default();
        let id = level.join(&"a", None);
        level.charge(id, 0, joule(5));
        level.leave(id, at(0));
        level.retire(at(1_000), KEEP);
        let id = level.join(&"a", None);
        level.charge(id, 0, joule(1));
        assert_eq!(totals(&level), [("a", 6, false)]);
        assert_eq!(level.retired().charges, [joule(0)]);
    }

    #[test]
    fn a_flood_of_short_lived_rows_stays_bounded_and_nothing_is_lost() {
        let mut level = Level::default();
        for key in 0..20_000_u32 {
            let id = level.join(&key, None);
            level.charge(id, 0, joule(1));
            level.leave(id, at(1));
            if key % 1_000 == 999 {
                level.retire(at(2), KEEP);
            }
        }
        let shown = level.rows();
        assert_eq!(shown.len(), MOST_ROWS);
        assert_eq!(level.shelf.len(), SHELF);
        let mut all = level.retired().clone();
        shown.iter().for_each(|row| all.absorb(&row.ledger));
        assert_eq!(all.charges, [joule(20_000)]);
    }
}
