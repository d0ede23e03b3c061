// SPDX-License-Identifier: Apache-2.0
//! The process level: which processes get a row of their own, and one row for all the others.
//!
//! A process gets a row when it is among the most expensive of a window while a row is free, keeps it while it lives
//! and for a while after its death, and counts from the window in which it got it. Everything else goes to `other`. So
//! the level adds up, its size is bounded, and no counter falls.
//!
//! A process that is not listed any more is taken for dead, too, and may only sleep: an accountant of CPU time that takes
//! another one's place lists who has run since it came. So its row goes on where it stopped when the process runs again.

use super::accounts::Account;
use crate::model::snapshot::{Ledger, ProcessRow};
use crate::model::{CgroupId, CgroupOwner, Comm, ContainerId, MonotonicNanos, TaskKey, TaskKind, VmId};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Duration;

/// Somebody who ran, as the newest report has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Runner<'a> {
    task: Option<TaskKey>,
    comm: Comm,
    cgroup: CgroupId,
    owner: Option<&'a Arc<CgroupOwner>>,
    lives: bool,
}

impl<'a> From<&'a Account> for Runner<'a> {
    fn from(account: &'a Account) -> Self {
        Self {
            task: account.task,
            comm: account.comm,
            cgroup: account.cgroup,
            owner: account.owner.as_ref(),
            lives: account.lives(),
        }
    }
}

/// Rows remembered after they left, of processes of which nobody said that they have ended: 1,024 of 8 zones are 300 KiB.
/// Where the accountant is exchanged as many leave as have a row, 200 if nothing else is configured; beyond the bound the
/// oldest are forgotten, and a process that had one of those begins anew.
const SHELF: usize = 1_024;

#[derive(Debug)]
struct Tracked {
    row: ProcessRow,
    ended_at: Option<MonotonicNanos>,
    /// A report said so. One that is only not listed any more may run again.
    is_dead: bool,
}

impl Tracked {
    const fn living(row: ProcessRow) -> Self {
        Self {
            row,
            ended_at: None,
            is_dead: false,
        }
    }
}

/// Mixes the two numbers of a [`TaskKey`]. Every process that ran is looked up, and keys are the kernel's own: nobody can
/// choose them so that they meet.
#[derive(Debug, Default)]
pub(crate) struct TaskHasher(u64);

impl Hasher for TaskHasher {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        // 2^64 over the golden ratio: neighbours land far apart.
        self.0 = (self.0.rotate_left(23) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// All rows of the process level.
#[derive(Debug)]
pub(crate) struct Processes {
    most: usize,
    rows: HashMap<TaskKey, Tracked, BuildHasherDefault<TaskHasher>>,
    living: usize,
    other: Ledger,
    retired: Ledger,
    /// Rows that left and may come back, the oldest first.
    shelf: VecDeque<(TaskKey, Ledger, MonotonicNanos)>,
    /// Up to when CPU time was booked: what a new row counts is later than that.
    booked: MonotonicNanos,
}

impl Processes {
    /// At most `most` rows are given to the living and as many are kept of the ended, so twice as many there are: an ended
    /// row that lives again takes nobody's place.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            rows: HashMap::default(),
            living: 0,
            other: Ledger::default(),
            retired: Ledger::default(),
            shelf: VecDeque::new(),
            booked: MonotonicNanos::ZERO,
        }
    }

    /// Another bound from now on. Who has a row keeps it for as long as it lives.
    pub(crate) const fn bound(&mut self, most: usize) {
        self.most = most;
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
            row.began = self.booked;
            if let Some((ledger, began)) = self.take_back(row.task).or_else(|| self.namesake(&row)) {
                (row.ledger, row.began) = (ledger, began);
            }
            if self.rows.insert(row.task, Tracked::living(row)).is_none() {
                self.living += 1;
            }
        }
    }

    /// Takes what a process had when its row left, if it may go on with that.
    fn take_back(&mut self, task: TaskKey) -> Option<(Ledger, MonotonicNanos)> {
        let at = self.shelf.iter().position(|(shelved, ..)| *shelved == task)?;
        let (_, ledger, began) = self.shelf.remove(at)?;
        self.retired.release(&ledger);
        Some((ledger, began))
    }

    /// Takes out an ended row that outside, where rows have no start time, is one series with a new one. It goes on where
    /// it stopped, or it would fall when the old row leaves.
    fn namesake(&mut self, row: &ProcessRow) -> Option<(Ledger, MonotonicNanos)> {
        let same = |old: &&Tracked| old.ended_at.is_some() && is_one_series(&old.row, row);
        // The oldest, so that it does not depend on the order of a hash map which one it is.
        let tasks = self.rows.values().filter(same).map(|old| old.row.task);
        let task = tasks.min()?;
        let before = self.rows.remove(&task)?;
        Some((before.row.ledger, before.row.began))
    }

    /// The ledger of a process, or of all others, to make entries.
    pub(crate) fn ledger(&mut self, task: Option<TaskKey>) -> &mut Ledger {
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

    /// The ledger of all that have no row.
    pub(crate) const fn others(&mut self) -> &mut Ledger {
        &mut self.other
    }

    /// The ledger of a process that ran, if it has a row. Takes over the process's newest name, cgroup and owner. A row that
    /// was taken for dead, because no report listed it for a while, lives again, also beyond the bound: otherwise it would
    /// leave in the middle of its counting and begin again at zero.
    pub(crate) fn of_runner(&mut self, runner: Runner<'_>) -> Option<&mut Ledger> {
        let tracked = runner.task.and_then(|task| self.rows.get_mut(&task))?;
        let row = &mut tracked.row;
        row.comm = runner.comm;
        row.cgroup = runner.cgroup;
        if row.owner.as_ref() != runner.owner {
            row.owner = runner.owner.cloned();
        }
        if row.ended && runner.lives {
            row.ended = false;
            (tracked.ended_at, tracked.is_dead) = (None, false);
            self.living += 1;
        }
        Some(&mut row.ledger)
    }

    /// Marks a process as dead.
    pub(crate) fn end(&mut self, task: TaskKey, now: MonotonicNanos) {
        self.miss(task, now);
        if let Some(tracked) = self.rows.get_mut(&task) {
            tracked.is_dead = true;
        }
    }

    /// Marks a process as one that is not listed any more: dead for all that is known, and if it runs again its row goes on.
    pub(crate) fn miss(&mut self, task: TaskKey, now: MonotonicNanos) {
        if let Some(tracked) = self.rows.get_mut(&task)
            && tracked.ended_at.is_none()
        {
            tracked.ended_at = Some(now);
            tracked.row.ended = true;
            self.living = self.living.saturating_sub(1);
        }
    }

    /// CPU time up to this window's end has been booked. Where it was not, it will be in a later window, and what is new then
    /// counts from here on.
    pub(crate) const fn booked(&mut self, now: MonotonicNanos) {
        self.booked = now;
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
            let Some(Tracked { row, is_dead, .. }) = self.rows.remove(&task) else {
                continue;
            };
            // One that was renamed or moved since may be called as this one was: the series that both are goes on.
            let same = |heir: &&mut Tracked| is_one_series(&heir.row, &row);
            let heir = self
                .rows
                .values_mut()
                .filter(same)
                .min_by_key(|heir| heir.row.task);
            match heir {
                Some(heir) => {
                    heir.row.ledger.absorb(&row.ledger);
                    heir.row.began = heir.row.began.min(row.began);
                }
                None => {
                    self.retired.absorb(&row.ledger);
                    if !is_dead {
                        self.put_on_shelf(row);
                    }
                }
            }
        }
    }

    fn put_on_shelf(&mut self, row: ProcessRow) {
        if self.shelf.len() == SHELF {
            self.shelf.pop_front();
        }
        self.shelf.push_back((row.task, row.ledger, row.began));
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

    /// How many are remembered after they left.
    pub(crate) fn shelved(&self) -> usize {
        self.shelf.len()
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

/// Whether both have the same pid, name and place, which is all that is shown of a process.
fn is_one_series(a: &ProcessRow, b: &ProcessRow) -> bool {
    fn place(row: &ProcessRow) -> (TaskKind, Option<&ContainerId>, Option<&VmId>) {
        let owner = row.owner.as_ref();
        let container = owner.and_then(|owner| owner.container.as_ref());
        (row.kind, container, owner.and_then(|owner| owner.vm.as_ref()))
    }
    a.task.tgid == b.task.tgid && a.comm == b.comm && place(a) == place(b)
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
            began: MonotonicNanos::ZERO,
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
        level.ledger(Some(task(1))).charge(0, joule());
        level.promote(&mut vec![(1, row(1))]);
        level.ledger(Some(task(1))).charge(0, joule());
        level.ledger(None).charge(0, joule());
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
        level.ledger(Some(task(1))).charge(0, joule());
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
        level.ledger(Some(task(1))).charge(0, joule());
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
        level.ledger(Some(again)).charge(0, joule());
        assert_eq!(pids(&level), [(1, 1, false)]);
        let joules = level
            .rows()
            .first()
            .map(|row| row.ledger.charges.iter().map(|c| c.dynamic.as_micro()).sum());
        assert_eq!(joules, Some(2_000_000_u64));
        level.booked(at(1_000));
        level.retire(at(1_000), KEEP);
        assert_eq!(level.rows().len(), 1);
        assert_eq!(
            level.rows().first().map(|row| row.began),
            Some(MonotonicNanos::ZERO),
            "as its series"
        );
        level.promote(&mut vec![(1, row(7))]);
        assert_eq!(level.rows().last().map(|row| row.began), Some(at(1_000)));
    }

    fn again(tgid: u32) -> ProcessRow {
        let start_ticks = 99;
        ProcessRow {
            task: TaskKey { tgid, start_ticks },
            ..row(tgid)
        }
    }

    fn joules(level: &Processes) -> Vec<u64> {
        let of_row = |row: &ProcessRow| {
            row.ledger
                .charges
                .iter()
                .map(|c| c.dynamic.as_micro())
                .sum::<u64>()
        };
        level.rows().iter().map(|row| of_row(row) / 1_000_000).collect()
    }

    #[test]
    fn a_pid_that_comes_back_elsewhere_owes_nothing_of_the_old_one() {
        let container = CgroupOwner {
            container: Some(ContainerId::new("a")),
            ..CgroupOwner::default()
        };
        let vm = CgroupOwner {
            vm: Some(VmId::new("a")),
            ..CgroupOwner::default()
        };
        let others = [
            ProcessRow {
                owner: Some(Arc::new(container)),
                ..again(1)
            },
            ProcessRow {
                owner: Some(Arc::new(vm)),
                ..again(1)
            },
            ProcessRow {
                kind: TaskKind::Kernel,
                ..again(1)
            },
            ProcessRow {
                comm: Comm::from_bytes(b"sh"),
                ..again(1)
            },
            again(2),
        ];
        for other in others {
            let mut level = Processes::new(2);
            level.promote(&mut vec![(1, row(1))]);
            level.ledger(Some(task(1))).charge(0, joule());
            level.end(task(1), at(1));
            level.promote(&mut vec![(1, other)]);
            assert_eq!(joules(&level), [1, 0]);
            level.retire(at(1_000), KEEP);
            assert_eq!(joules(&level), [0]);
            assert_eq!(level.retired().charges, [joule()]);
        }
    }

    #[test]
    fn a_process_that_takes_the_name_of_an_ended_one_of_its_pid_goes_on_with_its_series() {
        let mut level = Processes::new(2);
        level.promote(&mut vec![(1, row(1))]);
        level.ledger(Some(task(1))).charge(0, joule());
        level.end(task(1), at(1));
        let shell = ProcessRow {
            comm: Comm::from_bytes(b"sh"),
            ..again(1)
        };
        level.promote(&mut vec![(1, shell)]);
        level.of_runner(Runner {
            task: Some(again(1).task),
            comm: again(1).comm,
            cgroup: again(1).cgroup,
            owner: None,
            lives: true,
        });
        level.ledger(Some(again(1).task)).charge(0, joule());
        assert_eq!(joules(&level), [1, 1]);
        level.retire(at(1_000), KEEP);
        assert_eq!(joules(&level), [2], "it is shown with 2 J before and after");
        assert_eq!(level.retired().charges, []);
    }

    #[test]
    fn a_process_of_the_same_pid_takes_nothing_of_one_that_lives() {
        let mut level = Processes::new(2);
        level.promote(&mut vec![(1, row(1))]);
        level.ledger(Some(task(1))).charge(0, joule());
        level.promote(&mut vec![(1, again(1))]);
        assert_eq!(joules(&level), [1, 0]);
    }

    #[test]
    fn who_ended_first_leaves_first() {
        let mut level = Processes::new(50);
        let mut all: Vec<_> = (0..50).map(|pid| (1, row(pid))).collect();
        level.promote(&mut all);
        (0..50).for_each(|pid| level.end(task(pid), at(u64::from(pid))));
        level.retire(at(KEEP.as_secs() + 25), KEEP);
        let left: Vec<_> = pids(&level).iter().map(|(pid, ..)| *pid).collect();
        assert_eq!(left, (25..50).collect::<Vec<_>>());
    }

    #[test]
    fn a_row_that_was_taken_for_dead_lives_again_also_beyond_the_bound() {
        let mut level = Processes::new(1);
        level.promote(&mut vec![(1, row(1))]);
        level.ledger(Some(task(1))).charge(0, joule());
        level.end(task(1), at(1));
        let ran = |lives| Runner {
            task: Some(task(1)),
            comm: Comm::default(),
            cgroup: CgroupId::ROOT,
            owner: None,
            lives,
        };
        level.of_runner(ran(false));
        assert_eq!(
            pids(&level),
            [(1, 1, true)],
            "a dead process's last slice wakes nobody"
        );
        level.promote(&mut vec![(1, row(2))]);
        level.of_runner(ran(true));
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
    fn a_row_that_left_because_no_report_listed_it_goes_on_when_its_process_runs_again() {
        let mut level = Processes::new(1);
        level.booked(at(7));
        level.promote(&mut vec![(1, row(1))]);
        level.ledger(Some(task(1))).charge(0, joule());
        level.miss(task(1), at(10));
        level.retire(at(1_000), KEEP);
        assert_eq!(pids(&level), []);
        assert_eq!(level.retired().charges, [joule()]);
        level.booked(at(1_000));
        level.promote(&mut vec![(1, row(1))]);
        level.ledger(Some(task(1))).charge(0, joule());
        assert_eq!(joules(&level), [2]);
        assert_eq!(level.retired().charges, [Charge::default()]);
        assert_eq!(level.rows().first().map(|row| row.began), Some(at(7)));
        assert_eq!(level.shelved(), 0);
        // It is not listed again, and then a report says that it has ended: nobody goes on with it.
        level.miss(task(1), at(1_010));
        level.end(task(1), at(1_011));
        level.retire(at(2_000), KEEP);
        level.promote(&mut vec![(1, row(1))]);
        assert_eq!(joules(&level), [0]);
    }

    #[test]
    fn of_those_that_left_without_a_word_the_newest_are_remembered() {
        let mut level = Processes::new(1);
        let most = u32::try_from(SHELF).unwrap();
        let mut run = |pid, second| {
            level.promote(&mut vec![(1, row(pid))]);
            level.ledger(Some(task(pid))).charge(0, joule());
            let joules = joules(&level);
            level.miss(task(pid), at(second));
            level.retire(at(second + 1_000), KEEP);
            (joules, level.shelved(), level.retired().charges.clone())
        };
        (0..=most).for_each(|pid| assert_eq!(run(pid, 0).0, [1]));
        let again = [0, most].map(|pid| run(pid, 2_000));
        assert_eq!(again.each_ref().map(|(joules, ..)| joules[0]), [1, 2]);
        let all = Charge {
            dynamic: Microjoules::from_micro(u64::from(most + 3) * 1_000_000),
            ..Charge::default()
        };
        assert_eq!(
            again.last().map(|(_, kept, all)| (*kept, all)),
            Some((SHELF, &vec![all]))
        );
    }

    #[test]
    fn a_storm_of_promoted_and_ended_processes_is_bounded() {
        let mut level = Processes::new(10);
        for pid in 0..1_000 {
            level.promote(&mut vec![(1, row(pid))]);
            level.ledger(Some(task(pid))).charge(0, joule());
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
