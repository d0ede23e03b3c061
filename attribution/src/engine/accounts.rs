// SPDX-License-Identifier: Apache-2.0
//! The accounts: one per process, cgroup and package that the usage reports list, with the CPU time and events already
//! booked and the rows that it pays into.
//!
//! An account holds no energy. Energy goes straight to the rows of each level, so an account can be forgotten as soon as
//! its process is gone and everything it owes is paid.

use super::groups::RowId;
use crate::model::{
    CgroupId, CgroupOwner, Comm, CpuNanos, EventCounts, PackageId, TaskKey, TaskKind, TaskUsage,
};
use std::collections::HashMap;
use std::sync::Arc;

/// Handle of an account. Not reused while anything refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AccountId(u32);

type Key = (Option<TaskKey>, CgroupId, PackageId);

/// Rows that an account pays into.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    pub(crate) container: RowId,
    pub(crate) pod: Option<RowId>,
    pub(crate) unit: Option<RowId>,
}

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
}

impl Account {
    /// Whether its process may still run.
    pub(crate) const fn lives(&self) -> bool {
        !self.ended && !self.gone && self.task.is_some()
    }
}

/// CPU time of one account in one window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delta {
    pub(crate) id: AccountId,
    pub(crate) package: PackageId,
    pub(crate) time: CpuNanos,
}

/// All accounts. As many as the newest usage report has rows (the probe bounds those), and those of the dead that a late
/// zone still has to bill.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    slots: Vec<Option<Account>>,
    free: Vec<u32>,
    by_key: HashMap<Key, AccountId>,
    round: u64,
}

impl Accounts {
    /// Books a usage report: fills `deltas` with the CPU time that is new and `counts` with the events, and marks what is
    /// not listed any more.
    pub(crate) fn book(
        &mut self,
        tasks: &[TaskUsage],
        deltas: &mut Vec<Delta>,
        counts: &mut Vec<(AccountId, EventCounts)>,
    ) {
        deltas.clear();
        counts.clear();
        self.round += 1;
        for row in tasks {
            let id = self.find_or_open(row);
            let round = self.round;
            let Some(account) = self.get_mut(id) else { continue };
            account.seen = round;
            account.ended = row.ended;
            account.comm = row.comm;
            // A total that went back was dropped by the probe and began again at zero: all of it is new.
            let time = row.cpu.checked_sub(account.booked).unwrap_or(row.cpu);
            account.booked = row.cpu;
            let events = row.events.since(&account.booked_events);
            account.booked_events = row.events;
            if !events.is_zero() {
                counts.push((id, events));
            }
            if !time.is_zero() {
                deltas.push(Delta {
                    id,
                    package: row.package,
                    time,
                });
            }
        }
        let round = self.round;
        for account in self.slots.iter_mut().flatten() {
            account.gone = account.seen != round;
            if account.gone {
                // What is not listed does not exist any more. Should the key come back while a late zone still holds the
                // account, its totals begin at zero.
                account.booked = CpuNanos::ZERO;
                account.booked_events = EventCounts::ZERO;
            }
        }
    }

    fn find_or_open(&mut self, row: &TaskUsage) -> AccountId {
        let key = (row.task, row.cgroup, row.package);
        if let Some(id) = self.by_key.get(&key) {
            return *id;
        }
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
        };
        let id = self.place(account);
        self.by_key.insert(key, id);
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

    /// Forgets those that are gone and that `held` does not hold; `farewell` sees each one.
    pub(crate) fn forget(&mut self, held: impl Fn(AccountId) -> bool, mut farewell: impl FnMut(&Account)) {
        for (index, slot) in (0_u32..).zip(&mut self.slots) {
            if slot.as_ref().is_some_and(|account| account.gone)
                && !held(AccountId(index))
                && let Some(account) = slot.take()
            {
                self.by_key
                    .remove(&(account.task, account.cgroup, account.package));
                self.free.push(index);
                farewell(&account);
            }
        }
    }
}

fn index(id: AccountId) -> usize {
    usize::try_from(id.0).unwrap_or(usize::MAX)
}
