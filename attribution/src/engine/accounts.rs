// SPDX-License-Identifier: Apache-2.0
//! The accounts: one per process, cgroup and package that the usage reports list, with the CPU time and events already
//! booked and the rows that it pays into.
//!
//! An account holds no energy. Energy goes straight to the rows of each level, so an account can be forgotten as soon as
//! its process is gone and everything it owes is paid.

use super::levels::Rows;
use super::rise::Rise;
use crate::model::{
    CgroupId, CgroupOwner, Comm, CpuNanos, EventCounts, PackageId, TaskKey, TaskKind, TaskUsage,
};
use std::collections::HashMap;
use std::sync::Arc;

/// Handle of an account. Not reused while anything refers to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AccountId(u32);

impl AccountId {
    /// Its place, for tables by account: less than [`Accounts::slots`].
    pub(crate) fn place(self) -> usize {
        index(self)
    }
}

type Key = (Option<TaskKey>, CgroupId, PackageId);

/// One account.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) task: Option<TaskKey>,
    pub(crate) cgroup: CgroupId,
    pub(crate) package: PackageId,
    pub(crate) comm: Comm,
    pub(crate) kind: TaskKind,
    /// The process is dead.
    pub(crate) ended: bool,
    /// Not listed any more.
    pub(crate) gone: bool,
    pub(crate) owner: Option<Arc<CgroupOwner>>,
    pub(crate) rows: Option<Rows>,
    booked: CpuNanos,
    booked_events: EventCounts,
    seen: u64,
    /// Whose row followed this one's in the newest report: a guess at the next report's order, good for nothing else.
    next: Option<AccountId>,
}

impl Account {
    fn key(&self) -> Key {
        (self.task, self.cgroup, self.package)
    }

    /// Whether its process may still run.
    pub(crate) const fn lives(&self) -> bool {
        !self.ended && !self.gone && self.task.is_some()
    }
}

/// What one account did in one window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delta {
    pub(crate) id: AccountId,
    /// The report's row.
    pub(crate) row: u32,
    /// Its place in the columns of its package, once they are filled.
    pub(crate) place: usize,
    pub(crate) package: PackageId,
    pub(crate) rise: Rise,
}

impl Delta {
    pub(crate) const fn time(&self) -> CpuNanos {
        CpuNanos::from_nanos(self.rise.time)
    }
}

/// What was counted of one account in one window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    pub(crate) id: AccountId,
    /// The report's row.
    pub(crate) row: u32,
    pub(crate) events: EventCounts,
}

/// All accounts. As many as the newest usage report has rows (the probe bounds those), and those of the dead that a late
/// zone still has to bill.
///
/// Most rows of a report are those of the one before, in the same order, and did not run. Such a row is found without
/// the map, by guesses from the row before it, and costs a few comparisons.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    slots: Vec<Option<Account>>,
    free: Vec<u32>,
    by_key: HashMap<Key, AccountId>,
    round: u64,
    /// The account of the newest report's first row.
    first: Option<AccountId>,
    /// Rows of the newest report.
    listed: usize,
    opened: Vec<AccountId>,
    /// Those whose process has another name than in the report before.
    renamed: Vec<AccountId>,
    /// Which probe counts, by the order in which they came.
    era: u32,
    /// Those that the newest report says have ended, and those that are gone and not forgotten yet.
    ended: Vec<AccountId>,
    gone: Vec<AccountId>,
}

impl Accounts {
    /// Books a usage report: fills `deltas` with the CPU time that is new and `counts` with the events, and marks what is
    /// not listed any more. Returns all the CPU time that is new.
    pub(crate) fn book(
        &mut self,
        tasks: &[TaskUsage],
        deltas: &mut Vec<Delta>,
        counts: &mut Vec<Counted>,
    ) -> CpuNanos {
        deltas.clear();
        counts.clear();
        self.ended.clear();
        self.renamed.clear();
        self.round += 1;
        let (round, listed_before) = (self.round, std::mem::replace(&mut self.listed, tasks.len()));
        let mut still_listed = 0;
        let mut last = None;
        let mut charged = CpuNanos::ZERO;
        for (number, row) in (0_u32..).zip(tasks) {
            let id = match self.find(row, last) {
                Some(id) => id,
                None => self.open(row, self.after(last)),
            };
            let Some(account) = self.get_mut(id) else { continue };
            still_listed += usize::from(account.seen + 1 == round);
            account.seen = round;
            account.gone = false;
            account.ended = row.ended;
            // As numbers: a call that compares 16 bytes costs more than they do.
            let is_renamed = u128::from_ne_bytes(account.comm.0) != u128::from_ne_bytes(row.comm.0);
            account.comm = row.comm;
            // A total that went back was dropped by the probe and began again at zero: all of it is new.
            let time = row.cpu.checked_sub(account.booked).unwrap_or(row.cpu);
            account.booked = row.cpu;
            charged += time;
            let mut events = EventCounts::ZERO;
            if row.events != account.booked_events {
                events = row.events.since(&account.booked_events);
                counts.push(Counted {
                    id,
                    row: number,
                    events,
                });
                account.booked_events = row.events;
            }
            let rise = Rise::of(time, &events);
            if rise != Rise::default() {
                deltas.push(Delta {
                    id,
                    row: number,
                    place: 0,
                    package: row.package,
                    rise,
                });
            }
            if row.ended {
                self.ended.push(id);
            }
            if is_renamed {
                self.renamed.push(id);
            }
            match last.replace(id).and_then(|last| self.get_mut(last)) {
                Some(last) if last.next == Some(id) => {}
                Some(last) => last.next = Some(id),
                None => self.first = Some(id),
            }
        }
        if still_listed < listed_before {
            self.mark_gone();
        }
        charged
    }

    /// Has another probe go on, unless it is the same one: of its totals only what goes beyond `base` is new. Who is in `base` and not
    /// known was paid by a row of the probe before that is another one, or is dead and paid: it is entered so that it is not paid again.
    pub(crate) fn enter_era(&mut self, era: u32, base: &[TaskUsage]) {
        if std::mem::replace(&mut self.era, era) == era {
            return;
        }
        for account in self.iter_mut() {
            account.booked = CpuNanos::ZERO;
            account.booked_events = EventCounts::ZERO;
        }
        for row in base {
            let key = (row.task, row.cgroup, row.package);
            let id = self.by_key.get(&key).copied().unwrap_or_else(|| {
                // As if the report before had listed it: where the next one does not, it is gone.
                self.listed += 1;
                self.open(row, None)
            });
            if let Some(account) = self.get_mut(id) {
                account.booked = row.cpu;
                account.booked_events = row.events;
            }
        }
    }

    fn mark_gone(&mut self) {
        for (index, slot) in (0_u32..).zip(&mut self.slots) {
            if let Some(account) = slot
                && account.seen != self.round
                && !account.gone
            {
                account.gone = true;
                // What is not listed does not exist any more. Should the key come back while a late zone still holds the
                // account, its totals begin at zero.
                account.booked = CpuNanos::ZERO;
                account.booked_events = EventCounts::ZERO;
                self.gone.push(AccountId(index));
            }
        }
    }

    /// Whether a process of user space is listed in a cgroup or on a package where it had no account before. Kernel threads
    /// are nobody's, whatever a resolver says.
    pub(crate) fn lists_strangers(&self, tasks: &[TaskUsage]) -> bool {
        tasks.iter().any(|row| {
            row.kind == TaskKind::User && !self.by_key.contains_key(&(row.task, row.cgroup, row.package))
        })
    }

    /// The account of a row, by the account of the row before it. Accounts are opened in the order of rows, so it is mostly
    /// in the next place, which is known without waiting for memory; else it is the one that came next the last time.
    fn find(&self, row: &TaskUsage, last: Option<AccountId>) -> Option<AccountId> {
        let key = (row.task, row.cgroup, row.package);
        let is = |id: &AccountId| self.get(*id).is_some_and(|account| account.key() == key);
        last.map(|AccountId(last)| AccountId(last.wrapping_add(1)))
            .filter(is)
            .or_else(|| self.after(last).filter(is))
            .or_else(|| self.by_key.get(&key).copied())
    }

    /// Whose row followed in the report before.
    fn after(&self, last: Option<AccountId>) -> Option<AccountId> {
        last.map_or(self.first, |last| self.get(last)?.next)
    }

    /// A new account, whose row came where that of `next` was expected.
    fn open(&mut self, row: &TaskUsage, next: Option<AccountId>) -> AccountId {
        let account = Account {
            task: row.task,
            cgroup: row.cgroup,
            package: row.package,
            comm: row.comm,
            kind: row.kind,
            ended: row.ended,
            gone: false,
            owner: None,
            rows: None,
            booked: CpuNanos::ZERO,
            booked_events: EventCounts::ZERO,
            seen: self.round,
            next,
        };
        let key = account.key();
        let id = self.place(account);
        self.by_key.insert(key, id);
        self.opened.push(id);
        id
    }

    fn place(&mut self, account: Account) -> AccountId {
        if let Some(free) = self.free.pop()
            && let Some(slot) = self.slots.get_mut(index(AccountId(free)))
        {
            *slot = Some(account);
            return AccountId(free);
        }
        self.slots.push(Some(account));
        // 2^32 accounts do not fit into any machine's memory.
        AccountId(u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX))
    }

    /// An account.
    pub(crate) fn get(&self, id: AccountId) -> Option<&Account> {
        self.slots.get(index(id)).and_then(Option::as_ref)
    }

    /// An account, to change it.
    pub(crate) fn get_mut(&mut self, id: AccountId) -> Option<&mut Account> {
        self.slots.get_mut(index(id)).and_then(Option::as_mut)
    }

    /// Every account.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (AccountId, &Account)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let account = slot.as_ref()?;
            Some((AccountId(u32::try_from(index).ok()?), account))
        })
    }

    /// Every account, to change it.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Account> {
        self.slots.iter_mut().flatten()
    }

    /// Accounts that were opened since the last call.
    pub(crate) fn take_opened(&mut self) -> Vec<AccountId> {
        std::mem::take(&mut self.opened)
    }

    /// Accounts whose process has another name since the newest report. A name changes with `exec`, and whoever sleeps
    /// from then on may never be charged again.
    pub(crate) fn renamed(&self) -> impl Iterator<Item = &Account> {
        self.renamed.iter().filter_map(|id| self.get(*id))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// How many there is room for.
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Accounts that are ended or gone.
    pub(crate) fn left(&self) -> impl Iterator<Item = &Account> {
        self.left_ids()
            .filter_map(|id| self.get(id))
            // Since it was gone a report may have listed it again.
            .filter(|account| account.ended || account.gone)
    }

    /// Those of [`Self::left`], and some that a report has listed again since.
    pub(crate) fn left_ids(&self) -> impl Iterator<Item = AccountId> {
        self.ended.iter().chain(&self.gone).copied()
    }

    /// Forgets those that are gone and that `held` does not hold; `farewell` sees each one.
    pub(crate) fn forget(&mut self, held: impl Fn(AccountId) -> bool, mut farewell: impl FnMut(&Account)) {
        let mut gone = std::mem::take(&mut self.gone);
        gone.retain(|id| {
            let Some(slot) = self.slots.get_mut(index(*id)) else {
                return false;
            };
            if slot.as_ref().is_some_and(|account| account.gone) && held(*id) {
                return true;
            }
            if let Some(account) = slot.take_if(|account| account.gone) {
                self.by_key.remove(&account.key());
                self.free.push(id.0);
                farewell(&account);
            }
            false
        });
        self.gone = gone;
    }
}

fn index(id: AccountId) -> usize {
    usize::try_from(id.0).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Books a report of (pid, CPU time so far) and gives what was new as (pid, time), by pid.
    fn book(accounts: &mut Accounts, rows: &[(u32, u64)]) -> Vec<(u32, u64)> {
        let rows: Vec<_> = rows.iter().map(|(pid, nanos)| row(*pid, *nanos)).collect();
        let (mut deltas, mut counts) = (Vec::new(), Vec::new());
        accounts.book(&rows, &mut deltas, &mut counts);
        let mut news: Vec<_> = deltas
            .iter()
            .map(|delta| {
                let task = accounts.get(delta.id).and_then(|account| account.task);
                (task.map_or(0, |task| task.tgid), delta.rise.time)
            })
            .collect();
        news.sort_unstable();
        news
    }

    fn row(tgid: u32, nanos: u64) -> TaskUsage {
        TaskUsage {
            task: Some(TaskKey { tgid, start_ticks: 1 }),
            cgroup: CgroupId::ROOT,
            package: PackageId(0),
            cpu: CpuNanos::from_nanos(nanos),
            events: EventCounts::ZERO,
            comm: Comm::default(),
            kind: TaskKind::User,
            ended: nanos == 99,
        }
    }

    fn left(accounts: &Accounts) -> Vec<u32> {
        let mut left: Vec<_> = accounts
            .left()
            .filter_map(|account| Some(account.task?.tgid))
            .collect();
        left.sort_unstable();
        left
    }

    #[test]
    fn rows_are_booked_alike_in_whatever_order_they_come() {
        let mut accounts = Accounts::default();
        book(&mut accounts, &[(1, 10), (2, 20), (3, 30), (4, 40)]);
        assert_eq!(book(&mut accounts, &[(1, 10), (2, 20), (3, 30), (4, 40)]), []);
        assert_eq!(
            book(&mut accounts, &[(4, 41), (2, 22), (5, 50), (1, 13), (3, 34)]),
            [(1, 3), (2, 2), (3, 4), (4, 1), (5, 50)]
        );
        assert_eq!(
            book(&mut accounts, &[(2, 23), (5, 50), (3, 34), (4, 42)]),
            [(2, 1), (4, 1)]
        );
    }

    #[test]
    fn rows_in_the_order_of_the_report_before_are_guessed() {
        let mut accounts = Accounts::default();
        let rows = [1, 2, 3].map(|pid| row(pid, 1));
        let (mut deltas, mut counts) = (Vec::new(), Vec::new());
        accounts.book(&rows, &mut deltas, &mut counts);
        accounts.by_key.clear();
        accounts.book(&rows, &mut deltas, &mut counts);
        assert_eq!((accounts.slots.len(), accounts.take_opened().len()), (3, 3));
    }

    #[test]
    fn a_new_row_and_one_that_left_cost_the_others_no_guess() {
        let mut accounts = Accounts::default();
        book(&mut accounts, &[(1, 1), (2, 1), (3, 1), (4, 1)]);
        book(&mut accounts, &[(1, 1), (9, 1), (2, 1), (3, 1), (4, 1)]);
        // 1, 9 and 2 in a row by now.
        let known = accounts.by_key.clone();
        accounts.by_key.clear();
        assert_eq!(book(&mut accounts, &[(1, 1), (9, 1), (2, 1), (3, 1), (4, 1)]), []);
        accounts.by_key = known;
        book(&mut accounts, &[(1, 1), (2, 1), (3, 1), (4, 1)]);
        accounts.by_key.clear();
        assert_eq!(book(&mut accounts, &[(1, 1), (2, 1), (3, 1), (4, 1)]), []);
    }

    #[test]
    fn who_is_only_in_the_base_of_another_probe_is_gone_with_its_first_report() {
        let mut accounts = Accounts::default();
        book(&mut accounts, &[(1, 10)]);
        accounts.enter_era(1, &[row(1, 5), row(2, 50), row(3, 60)]);
        assert_eq!(book(&mut accounts, &[(1, 6), (2, 51)]), [(1, 1), (2, 1)]);
        assert_eq!(left(&accounts), [3]);
        assert_eq!(book(&mut accounts, &[(1, 6), (2, 51), (3, 7)]), [(3, 7)]);
    }

    #[test]
    fn who_is_not_listed_is_gone_until_listed_again_and_then_begins_at_zero() {
        let mut accounts = Accounts::default();
        book(&mut accounts, &[(1, 10), (2, 20), (3, 99)]);
        assert_eq!(left(&accounts), [3], "it has ended");
        book(&mut accounts, &[(2, 20), (3, 99)]);
        assert_eq!(left(&accounts), [1, 3]);
        accounts.forget(|_| true, |_| panic!("a late zone holds it"));
        assert_eq!(book(&mut accounts, &[(1, 7), (2, 20)]), [(1, 7)]);
        assert_eq!(left(&accounts), [3], "1 is back");
        let mut forgotten = Vec::new();
        accounts.forget(
            |_| false,
            |account| forgotten.push(account.task.map(|task| task.tgid)),
        );
        assert_eq!(forgotten, [Some(3)]);
        assert_eq!(left(&accounts), [0; 0]);
        assert_eq!(accounts.by_key.len(), 2);
    }
}
