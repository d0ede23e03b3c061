// SPDX-License-Identifier: Apache-2.0
//! The process level: which processes get a row of their own, and one row for all the others.
//!
//! A process gets a row when it is among the most expensive of a window while a row is free, keeps it while it lives
//! and for a while after its death, and counts from the window in which it got it. Everything else goes to `other`. So
//! the level adds up, its size is bounded, and no counter falls.

use super::accounts::Account;
use crate::model::snapshot::{Charge, Ledger, ProcessRow};
use crate::model::{CpuNanos, EventCounts, MonotonicNanos, TaskKey};
use std::collections::HashMap;
use std::time::Duration;

#[derive(Debug)]
struct Tracked {
    row: ProcessRow,
    ended_at: Option<MonotonicNanos>,
}

/// All rows of the process level.
#[derive(Debug)]
pub(crate) struct Processes {
    most: usize,
    rows: HashMap<TaskKey, Tracked>,
    living: usize,
    other: Ledger,
    retired: Ledger,
}

impl Processes {
    /// At most `most` rows are given to the living and as many are kept of the ended, so twice as many there are: an ended
    /// row that lives again takes nobody's place.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            rows: HashMap::new(),
            living: 0,
            other: Ledger::default(),
            retired: Ledger::default(),
        }
    }

    /// Whether the process has a row.
    pub(crate) fn has_row(&self, task: TaskKey) -> bool {
        self.rows.contains_key(&task)
    }

    /// Whether a row is free.
    pub(crate) const fn has_room(&self) -> bool {
        self.living < self.most
    }

    /// Gives rows to the most expensive of `candidates` (energy of this window, and the row to begin with), as many as
    /// are free. Candidates live and have no row.
    pub(crate) fn promote(&mut self, candidates: &mut Vec<(u64, ProcessRow)>) {
        let free = self.most.saturating_sub(self.living);
        candidates.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.task.cmp(&b.1.task)));
        for (_, mut row) in candidates.drain(..).take(free) {
            if let Some(before) = self.namesake(&row) {
                row.ledger = before.row.ledger;
            }
            let tracked = Tracked { row, ended_at: None };
            if self.rows.insert(tracked.row.task, tracked).is_none() {
                self.living += 1;
            }
        }
    }

    /// Takes out the ended row whose pid and name a new one has again. Outside, where rows have no start time, both are
    /// one series; it goes on where it stopped, or it would fall when the old row leaves.
    fn namesake(&mut self, row: &ProcessRow) -> Option<Tracked> {
        let same = |old: &&Tracked| {
            old.ended_at.is_some() && old.row.task.tgid == row.task.tgid && old.row.comm == row.comm
        };
        // The oldest, so that it does not depend on the order of a hash map which one it is.
        let tasks = self.rows.values().filter(same).map(|old| old.row.task);
        let task = tasks.min()?;
        self.rows.remove(&task)
    }

    /// Charges a process, or `other`.
    pub(crate) fn charge(&mut self, task: Option<TaskKey>, zone: usize, charge: Charge) {
        self.ledger(task).charge(zone, charge);
    }

    /// Books events on a process, or on `other`.
    pub(crate) fn counted(&mut self, task: Option<TaskKey>, events: &EventCounts) {
        self.ledger(task).counted(events);
    }

    fn ledger(&mut self, task: Option<TaskKey>) -> &mut Ledger {
        match task.and_then(|task| self.rows.get_mut(&task)) {
            Some(tracked) => &mut tracked.row.ledger,
            None => &mut self.other,
        }
    }

    /// Takes over the owner of a process that may be asleep.
    pub(crate) fn belongs(&mut self, account: &Account) {
        if let Some(tracked) = account.task.and_then(|task| self.rows.get_mut(&task))
            && tracked.row.cgroup == account.cgroup
        {
            tracked.row.owner.clone_from(&account.owner);
        }
    }

    /// Takes over a process's newest name.
    pub(crate) fn rename(&mut self, account: &Account) {
        if let Some(tracked) = account.task.and_then(|task| self.rows.get_mut(&task)) {
            tracked.row.comm = account.comm;
        }
    }

    /// Books CPU time on a process, or on `other`, and takes over the process's newest name, cgroup and owner. A row that
    /// was taken for dead, because no report listed it for a while, lives again, also beyond the bound: otherwise it would
    /// leave in the middle of its counting and begin again at zero.
    pub(crate) fn ran(&mut self, process: Option<&ProcessRow>, time: CpuNanos) {
        let tracked = process.and_then(|newest| Some((newest, self.rows.get_mut(&newest.task)?)));
        let Some((newest, tracked)) = tracked else {
            self.other.ran(time);
            return;
        };
        tracked.row.ledger.ran(time);
        tracked.row.comm = newest.comm;
        tracked.row.cgroup = newest.cgroup;
        tracked.row.owner.clone_from(&newest.owner);
        if tracked.row.ended && !newest.ended {
            tracked.row.ended = false;
            tracked.ended_at = None;
            self.living += 1;
        }
    }

    /// Marks a process as dead.
    pub(crate) fn end(&mut self, task: TaskKey, now: MonotonicNanos) {
        if let Some(tracked) = self.rows.get_mut(&task)
            && tracked.ended_at.is_none()
        {
            tracked.ended_at = Some(now);
            tracked.row.ended = true;
            self.living = self.living.saturating_sub(1);
        }
    }

    /// Lets rows go that ended longer than `keep` ago, and the oldest ended ones beyond the bound.
    pub(crate) fn retire(&mut self, now: MonotonicNanos, keep: Duration) {
        let mut ended: Vec<(MonotonicNanos, TaskKey)> = self
            .rows
            .values()
            .filter_map(|tracked| Some((tracked.ended_at?, tracked.row.task)))
            .collect();
        ended.sort_unstable();
        let mut surplus = ended.len().saturating_sub(self.most);
        for (at, task) in ended {
            if now.since(at) <= keep && surplus == 0 {
                break;
            }
            surplus = surplus.saturating_sub(1);
            if let Some(tracked) = self.rows.remove(&task) {
                self.retired.absorb(&tracked.row.ledger);
            }
        }
    }

    /// Rows for a snapshot, by pid and start.
    pub(crate) fn rows(&self) -> Vec<ProcessRow> {
        let mut rows: Vec<_> = self.rows.values().map(|tracked| &tracked.row).collect();
        rows.sort_unstable_by_key(|row| row.task);
        rows.into_iter().cloned().collect()
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Everything without a row.
    pub(crate) const fn other(&self) -> &Ledger {
        &self.other
    }

    /// What left.
    pub(crate) const fn retired(&self) -> &Ledger {
        &self.retired
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CgroupId, Comm, Microjoules, TaskKind};

    const KEEP: Duration = Duration::from_secs(180);

    fn at(seconds: u64) -> MonotonicNanos {
        MonotonicNanos::from_nanos(seconds * 1_000_000_000)
    }

    fn task(tgid: u32) -> TaskKey {
        TaskKey { tgid, start_ticks: 1 }
    }

    fn row(tgid: u32) -> ProcessRow {
        ProcessRow {
            task: task(tgid),
            comm: Comm::default(),
            kind: TaskKind::User,
            cgroup: CgroupId::ROOT,
            owner: None,
            ledger: Ledger::default(),
            ended: false,
        }
    }

    fn joule() -> Charge {
        Charge {
            dynamic: Microjoules::from_micro(1_000_000),
            ..Charge::default()
        }
    }

    fn pids(level: &Processes) -> Vec<(u32, usize, bool)> {
        level
            .rows()
            .iter()
            .map(|row| (row.task.tgid, row.ledger.charges.len(), row.ended))
            .collect()
    }

    #[test]
    fn the_most_expensive_get_the_free_rows_and_keep_them() {
        let mut level = Processes::new(2);
        level.promote(&mut vec![(5, row(1)), (9, row(2)), (7, row(3))]);
        assert_eq!(pids(&level), [(2, 0, false), (3, 0, false)]);
        level.promote(&mut vec![(100, row(1))]);
        assert_eq!(pids(&level), [(2, 0, false), (3, 0, false)]);
    }

    #[test]
    fn what_has_no_row_is_in_other_and_a_row_counts_from_its_promotion() {
        let mut level = Processes::new(1);
        level.charge(Some(task(1)), 0, joule());
        level.promote(&mut vec![(1, row(1))]);
        level.charge(Some(task(1)), 0, joule());
        level.charge(None, 0, joule());
        assert_eq!(
            level.other().charges.first().map(|c| c.dynamic.as_micro()),
            Some(2_000_000)
        );
        assert_eq!(
            level.rows().first().map(|row| row.ledger.charges.clone()),
            Some(vec![joule()])
        );
    }

    #[test]
    fn a_dead_process_frees_its_row_at_once_but_stays_visible() {
        let mut level = Processes::new(1);
        level.promote(&mut vec![(1, row(1))]);
        level.charge(Some(task(1)), 0, joule());
        level.end(task(1), at(1));
        level.promote(&mut vec![(1, row(2))]);
        assert_eq!(pids(&level), [(1, 1, true), (2, 0, false)]);
        level.retire(at(182), KEEP);
        assert_eq!(pids(&level), [(2, 0, false)]);
        assert_eq!(level.retired().charges, [joule()]);
    }

    #[test]
    fn a_pid_that_comes_back_with_the_same_name_goes_on_where_it_stopped() {
        let mut level = Processes::new(2);
        level.promote(&mut vec![(1, row(1))]);
        level.charge(Some(task(1)), 0, joule());
        level.end(task(1), at(1));
        let again = TaskKey {
            tgid: 1,
            start_ticks: 99,
        };
        level.promote(&mut vec![(
            1,
            ProcessRow {
                task: again,
                ..row(1)
            },
        )]);
        level.charge(Some(again), 0, joule());
        assert_eq!(pids(&level), [(1, 1, false)]);
        let joules = level
            .rows()
            .first()
            .map(|row| row.ledger.charges.iter().map(|c| c.dynamic.as_micro()).sum());
        assert_eq!(joules, Some(2_000_000_u64));
        level.retire(at(1_000), KEEP);
        assert_eq!(level.rows().len(), 1);
    }

    #[test]
    fn a_row_that_was_taken_for_dead_lives_again_also_beyond_the_bound() {
        let mut level = Processes::new(1);
        level.promote(&mut vec![(1, row(1))]);
        level.charge(Some(task(1)), 0, joule());
        level.end(task(1), at(1));
        let dying = ProcessRow {
            ended: true,
            ..row(1)
        };
        level.ran(Some(&dying), CpuNanos::ZERO);
        assert_eq!(
            pids(&level),
            [(1, 1, true)],
            "a dead process's last slice wakes nobody"
        );
        level.promote(&mut vec![(1, row(2))]);
        level.ran(Some(&row(1)), CpuNanos::ZERO);
        assert_eq!(pids(&level), [(1, 1, false), (2, 0, false)]);
        assert!(!level.has_room());
        level.end(task(2), at(2));
        level.promote(&mut vec![(1, row(3))]);
        level.retire(at(1_000), KEEP);
        assert_eq!(
            pids(&level),
            [(1, 1, false)],
            "the room is taken, and the row does not leave"
        );
    }

    #[test]
    fn a_storm_of_promoted_and_ended_processes_is_bounded() {
        let mut level = Processes::new(10);
        for pid in 0..1_000 {
            level.promote(&mut vec![(1, row(pid))]);
            level.charge(Some(task(pid)), 0, joule());
            level.end(task(pid), at(1));
            level.retire(at(1), KEEP);
        }
        assert_eq!(level.rows().len(), 10);
        let kept: u64 = level
            .rows()
            .iter()
            .map(|row| row.ledger.charges.len() as u64)
            .sum();
        let retired = level
            .retired()
            .charges
            .first()
            .map_or(0, |c| c.dynamic.as_micro() / 1_000_000);
        assert_eq!(kept + retired, 1_000);
    }
}
