// SPDX-License-Identifier: Apache-2.0
//! One level of workloads (containers, pods, virtual machines or units): rows by key, who is alive in them, and how ended ones leave.
//!
//! A row whose last member is gone keeps its final total for a fixed time, for every scraper, and then leaves for the
//! shelf. A key that comes back from the shelf goes on where it stopped, so its counters do not fall.

use crate::model::snapshot::{GroupRow, Ledger, Names};
use crate::model::{CgroupOwner, MonotonicNanos};
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

/// Handle of a row; valid while an account is a member of it, and then used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RowId(u32);

/// Rows that a level shows at most, the ended ones among them: beyond it the oldest ended ones leave early. Living rows
/// are no more than the newest usage report has, which the probe bounds, whatever cgroups a process goes through. 16,384
/// rows of 8 zones are 5 MiB of ledgers.
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
    began: MonotonicNanos,
    members: u32,
    ended_at: Option<MonotonicNanos>,
    /// Whether it was given what there is of names once. Who was shown then is shown from then on.
    was_named: bool,
}

/// All rows of one level.
#[derive(Debug)]
pub(crate) struct Level<K> {
    slots: Vec<Option<Row<K>>>,
    free: Vec<RowId>,
    by_key: HashMap<K, RowId>,
    has_new: bool,
    shelf: VecDeque<(K, Ledger, MonotonicNanos)>,
    /// Up to when CPU time was booked: what a new row counts is later than that.
    booked: MonotonicNanos,
    retired: Ledger,
}

impl<K> Default for Level<K> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::new(),
            has_new: false,
            shelf: VecDeque::new(),
            booked: MonotonicNanos::ZERO,
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
        if let Some(row) = self.row(id) {
            row.members += 1;
            row.ended_at = None;
            if let Some(owner) = owner {
                row.owner = Some(Arc::clone(owner));
            }
        }
        id
    }

    fn create(&mut self, key: &K) -> RowId {
        let shelved = self.shelf.iter().position(|(shelved, ..)| shelved == key);
        let (ledger, began) = shelved.and_then(|at| self.shelf.remove(at)).map_or_else(
            || (Ledger::default(), self.booked),
            |(_, ledger, began)| (ledger, began),
        );
        self.retired.release(&ledger);
        let id = self.place(Row {
            key: key.clone(),
            owner: None,
            names: Names::default(),
            ledger,
            began,
            members: 0,
            ended_at: None,
            was_named: false,
        });
        self.by_key.insert(key.clone(), id);
        self.has_new = true;
        id
    }

    fn place(&mut self, row: Row<K>) -> RowId {
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            // As many rows as there are cgroups, and those of the dead: far from 2^32.
            RowId(u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX))
        });
        if let Some(slot) = self.slots.get_mut(index(id)) {
            *slot = Some(row);
        }
        id
    }

    fn row(&mut self, id: RowId) -> Option<&mut Row<K>> {
        self.slots.get_mut(index(id)).and_then(Option::as_mut)
    }

    /// Whether rows were made since the last call of [`Self::name`].
    pub(crate) const fn has_new(&self) -> bool {
        self.has_new
    }

    /// Writes the names of all rows anew; `name` gets what a row is, its owner and the names that it has.
    pub(crate) fn name(&mut self, name: impl Fn(&K, Option<&Arc<CgroupOwner>>, &mut Names)) {
        self.has_new = false;
        for row in self.slots.iter_mut().flatten() {
            let waits = row.names.awaited || !row.was_named;
            name(&row.key, row.owner.as_ref(), &mut row.names);
            row.names.awaited &= waits;
            row.was_named = true;
        }
    }

    /// Shows what is known of each row.
    pub(crate) fn known(&self) -> impl Iterator<Item = (Option<&Arc<CgroupOwner>>, &Names)> {
        self.slots
            .iter()
            .flatten()
            .map(|row| (row.owner.as_ref(), &row.names))
    }

    /// Takes one member away.
    pub(crate) fn leave(&mut self, id: RowId, now: MonotonicNanos) {
        if let Some(row) = self.row(id) {
            row.members = row.members.saturating_sub(1);
            if row.members == 0 {
                row.ended_at = Some(now);
            }
        }
    }

    /// A row's ledger, to make entries.
    pub(crate) fn ledger(&mut self, id: RowId) -> Option<&mut Ledger> {
        self.row(id).map(|row| &mut row.ledger)
    }

    /// CPU time up to this window's end has been booked. Where it was not, it will be in a later window, and what is new then
    /// counts from here on.
    pub(crate) const fn booked(&mut self, now: MonotonicNanos) {
        self.booked = now;
    }

    /// Lets rows go that ended longer than `keep` ago, and the oldest ended ones beyond the bound. While a row's names are
    /// awaited nobody is shown it, so its time begins after that.
    pub(crate) fn retire(&mut self, now: MonotonicNanos, keep: Duration) {
        let ended = self.slots.iter_mut().flatten().filter(|row| row.names.awaited);
        ended.for_each(|row| row.ended_at = row.ended_at.map(|_| now));
        let mut ended: Vec<(MonotonicNanos, RowId)> = self
            .slots
            .iter()
            .zip(0_u32..)
            .filter_map(|(slot, id)| Some((slot.as_ref()?.ended_at?, RowId(id))))
            .collect();
        ended.sort_unstable();
        let mut surplus = self.by_key.len().saturating_sub(MOST_ROWS);
        for (at, id) in ended {
            if now.since(at) <= keep && surplus == 0 {
                break;
            }
            surplus = surplus.saturating_sub(1);
            if let Some(row) = self.slots.get_mut(index(id)).and_then(Option::take) {
                self.by_key.remove(&row.key);
                self.free.push(id);
                self.retired.absorb(&row.ledger);
                self.put_on_shelf(row.key, row.ledger, row.began);
            }
        }
    }

    fn put_on_shelf(&mut self, key: K, ledger: Ledger, began: MonotonicNanos) {
        if self.shelf.len() == SHELF {
            self.shelf.pop_front();
        }
        self.shelf.push_back((key, ledger, began));
    }

    /// Rows for a snapshot, by key.
    pub(crate) fn rows(&self) -> Vec<GroupRow<K>> {
        let mut rows: Vec<_> = self
            .slots
            .iter()
            .flatten()
            .map(|row| GroupRow {
                key: row.key.clone(),
                owner: row.owner.clone(),
                names: row.names.clone(),
                ledger: row.ledger.clone(),
                began: row.began,
                ended: row.ended_at.is_some(),
            })
            .collect();
        rows.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        rows
    }

    /// Rows that are shown, and rows remembered after they left.
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.by_key.len(), self.shelf.len())
    }

    /// What left.
    pub(crate) const fn retired(&self) -> &Ledger {
        &self.retired
    }
}

fn index(id: RowId) -> usize {
    usize::try_from(id.0).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Microjoules;
    use crate::model::snapshot::Charge;

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
        level.ledger(id).unwrap().charge(0, joule(5));
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
        level.ledger(id).unwrap().charge(0, joule(5));
        level.leave(id, at(0));
        level.retire(at(1_000), KEEP);
        let id = level.join(&"a", None);
        level.ledger(id).unwrap().charge(0, joule(1));
        assert_eq!(totals(&level), [("a", 6, false)]);
        assert_eq!(level.retired().charges, [joule(0)]);
    }

    #[test]
    fn a_row_counts_from_the_close_before_it_and_keeps_that_moment_when_it_comes_back() {
        let mut level = Level::default();
        let began = |level: &Level<&'static str>| -> Vec<u64> {
            level
                .rows()
                .iter()
                .map(|row| row.began.as_nanos() / 1_000_000_000)
                .collect()
        };
        level.join(&"first", None);
        level.booked(at(10));
        let id = level.join(&"second", None);
        assert_eq!(began(&level), [0, 10]);
        level.leave(id, at(20));
        level.retire(at(1_000), KEEP);
        assert_eq!(began(&level), [0]);
        level.join(&"second", None);
        assert_eq!(began(&level), [0, 10]);
    }

    #[test]
    fn a_row_that_ended_while_its_name_is_awaited_is_kept_from_the_moment_that_it_is_shown() {
        let mut level = Level::default();
        let id = level.join(&"a", None);
        level.name(|_, _, names| names.awaited = true);
        level.ledger(id).unwrap().charge(0, joule(5));
        level.leave(id, at(10));
        level.retire(at(700), KEEP);
        assert_eq!(totals(&level), [("a", 5, true)], "not yet shown to anybody");
        level.name(|_, _, names| names.awaited = false);
        level.retire(at(701), KEEP);
        level.retire(at(880), KEEP);
        assert_eq!(totals(&level), [("a", 5, true)], "for the whole time");
        level.retire(at(881), KEEP);
        assert_eq!(totals(&level), []);
    }

    #[test]
    fn a_row_that_was_shown_is_not_taken_back() {
        let mut level = Level::default();
        let awaited = |level: &Level<&str>| level.rows().first().is_some_and(|row| row.names.awaited);
        level.join(&"a", None);
        for (said, is) in [(true, true), (true, true), (false, false), (true, false)] {
            level.name(|_, _, names| names.awaited = said);
            assert_eq!(awaited(&level), is);
        }
    }

    #[test]
    fn a_row_has_the_newest_owner_that_was_told() {
        let owner = |path: &str| {
            Arc::new(CgroupOwner {
                path: path.to_owned(),
                ..CgroupOwner::default()
            })
        };
        let mut level = Level::default();
        level.join(&"a", Some(&owner("/1")));
        level.join(&"a", Some(&owner("/2")));
        level.join(&"a", None);
        let paths: Vec<_> = level
            .rows()
            .into_iter()
            .map(|row| row.owner.map(|owner| owner.path.clone()))
            .collect();
        assert_eq!(paths, [Some("/2".to_owned())]);
    }

    #[test]
    fn rows_are_new_until_they_were_named() {
        let mut level = Level::default();
        assert!(!level.has_new());
        level.join(&"a", None);
        assert!(level.has_new());
        level.name(|_, _, _| {});
        assert!(!level.has_new());
        level.join(&"a", None);
        assert!(!level.has_new(), "it has its name");
    }

    #[test]
    fn who_ended_first_leaves_first_whatever_came_first() {
        let mut level = Level::default();
        let [a, b] = ["a", "b"].map(|key| level.join(&key, None));
        level.leave(b, at(10));
        level.leave(a, at(100));
        level.retire(at(191), KEEP);
        assert_eq!(totals(&level), [("a", 0, true)]);
    }

    #[test]
    fn of_those_that_left_the_newest_are_remembered() {
        let mut level = Level::default();
        let most = u32::try_from(SHELF).unwrap();
        let mut live = |key: u32, second| {
            let id = level.join(&key, None);
            level.ledger(id).unwrap().charge(0, joule(1));
            level.leave(id, at(second));
            level.retire(at(second + 1_000), KEEP);
        };
        (0..=most).for_each(|key| live(key, 0));
        for (key, expected) in [(0, 1), (most, 2)] {
            let id = level.join(&key, None);
            level.ledger(id).unwrap().charge(0, joule(1));
            let row = level.rows().into_iter().find(|row| row.key == key).unwrap();
            assert_eq!(row.ledger.charges, [joule(expected)], "{key}");
        }
    }

    #[test]
    fn a_flood_of_short_lived_rows_stays_bounded_and_nothing_is_lost() {
        let mut level = Level::default();
        for key in 0..20_000_u32 {
            let id = level.join(&key, None);
            level.ledger(id).unwrap().charge(0, joule(1));
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
