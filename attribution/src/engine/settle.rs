// SPDX-License-Identifier: Apache-2.0
//! The close of a window: CPU time is booked, every zone is split, bills go to rows.

use super::accounts::{Account, AccountId, Delta};
use super::idle_share::{Idle, one_account_per_process};
use super::reserved::Capacity;
use super::rise::Rise;
use super::share::largest_remainder;
use super::zones::{Due, ZoneState};
use super::{Bill, Engine, IdleShare, Work};
use crate::model::snapshot::{Charge, Ledger, ProcessRow};
use crate::model::{
    CpuNanos, DeviceNanos, Microjoules, MonotonicNanos, PackageId, PackageTime, Permille, TaskKey, Usage,
};
use std::collections::HashMap;

impl Engine {
    /// Books a usage report's CPU time and events on the accounts and finds the rows that they pay into.
    pub(super) fn book(&mut self, usage: &Usage, now: MonotonicNanos) {
        let work = &mut self.work;
        self.accounts
            .book(&usage.tasks, &mut work.deltas, &mut work.counts);
        let charged: CpuNanos = self.work.deltas.iter().map(Delta::time).sum();
        self.coverage = coverage(charged, &self.packages, &usage.packages);
        self.packages.clone_from(&usage.packages);
        self.cpus.clone_from(&usage.cpus);
        self.softirqs.clone_from(&usage.softirqs);
        // What was counted once stays a series, also when the probe that counted it is gone.
        self.counted = self.counted.union(usage.counted);
        self.lost.clone_from(&usage.lost);
        for account in self.accounts.renamed() {
            self.processes.rename(account);
        }
        self.assign(now);
    }

    /// Joins accounts to the rows that their owner says: new ones, and all when identities have changed. An account whose
    /// cgroup is not known yet pays into the rows for host processes until it is; what it paid there stays there, so that
    /// no total falls.
    fn assign(&mut self, now: MonotonicNanos) {
        let opened = self.accounts.take_opened();
        let is_new = std::mem::take(&mut self.identity_is_new);
        if is_new {
            for account in self.accounts.iter_mut() {
                if self.levels.assign(account, &self.identity, now) {
                    self.processes.belongs(account);
                }
            }
            self.reserved.renew(&self.identity, &self.accounts);
        } else {
            for id in opened {
                if let Some(account) = self.accounts.get_mut(id) {
                    self.levels.assign(account, &self.identity, now);
                    self.reserved.place(id, account);
                }
            }
        }
        self.levels.name(&self.identity, is_new);
    }

    /// Splits what every zone has counted since it was last paid. Fills the bills.
    pub(super) fn settle(&mut self, now: MonotonicNanos) {
        self.work.charges.clear();
        let rule = self.settings.idle_share;
        let living = (rule == IdleShare::Equal).then(|| one_account_per_process(&self.accounts));
        if rule == IdleShare::Reserved {
            let capacity = Capacity::of(&self.packages, self.facts.memory);
            self.reserved
                .begin(&self.accounts, &self.work.deltas, &self.processes, capacity);
        }
        for (index, zone) in self.zones.iter_mut().enumerate() {
            let work = &mut self.work;
            zone.find_users(&self.accounts, &work.deltas, now);
            let Some(due) = due(zone, &work.deltas, &self.packages, &self.settings.floor, now) else {
                continue;
            };
            let unknown = {
                let deltas = paying(zone.socket(), &work.deltas);
                let rules = &self.settings.split;
                zone.take_weights(deltas, rules, self.counted, &mut work.ids, &mut work.weights)
            };
            let nobody = split(work, due.dynamic, unknown, |id, part| Bill {
                dynamic: part,
                ..Bill::nothing(id, index)
            });
            zone.account.unattributed += nobody;
            let device = !zone.is_paid_by_cpu_time();
            if device {
                let used = work.ids.iter().zip(&work.weights);
                work.charges.extend(used.map(|(id, used)| Bill {
                    used: DeviceNanos::from_nanos(*used),
                    ..Bill::nothing(*id, index)
                }));
            }
            let idle = Idle {
                zone: index,
                amount: due.idle,
                device,
                unknown,
            };
            let component = zone.account.zone.component;
            zone.account.unreserved_idle += match rule {
                IdleShare::Reserved => self.reserved.share(component, index, due.idle, &mut work.charges),
                _ => idle.share(rule, living.as_ref(), work),
            };
        }
    }

    /// Gives rows to the most expensive processes of this window that live and have none.
    pub(super) fn promote(&mut self) {
        if !self.processes.has_room() {
            return;
        }
        let mut spent: HashMap<TaskKey, (u64, AccountId)> = HashMap::new();
        for bill in &self.work.charges {
            let Some(account) = self.accounts.get(bill.id) else {
                continue;
            };
            if let Some(task) = account.task.filter(|_| !bill.for_others)
                && account.lives()
                && !self.processes.has_row(task)
            {
                let entry = spent.entry(task).or_insert((0, bill.id));
                entry.0 = entry.0.saturating_add((bill.dynamic + bill.idle).as_micro());
            }
        }
        let mut candidates: Vec<(u64, ProcessRow)> = spent
            .into_iter()
            .filter(|(_, (energy, _))| *energy > 0)
            .filter_map(|(task, (energy, id))| Some((energy, process_row(task, self.accounts.get(id)?))))
            .collect();
        self.processes.promote(&mut candidates);
    }

    /// Books CPU time, events and bills on the rows of every level.
    pub(super) fn apply(&mut self) {
        let work = &mut self.work;
        for delta in work.deltas.drain(..) {
            let time = delta.time();
            if let Some(account) = self.accounts.get(delta.id) {
                let newest = account.task.map(|task| process_row(task, account));
                self.processes.ran(newest.as_ref(), time);
                self.levels.ran(account.rows, time);
            }
        }
        for (id, events) in work.counts.drain(..) {
            if let Some(account) = self.accounts.get(id) {
                self.processes.counted(account.task, &events);
                self.levels.counted(account.rows, &events);
            }
        }
        for bill in &work.charges {
            if let Some(account) = self.accounts.get(bill.id) {
                let charge = Charge {
                    dynamic: bill.dynamic,
                    idle: bill.idle,
                    used: bill.used,
                };
                let task = account.task.filter(|_| !bill.for_others);
                self.processes.charge(task, bill.zone, charge);
                self.levels.charge(account.rows, bill.zone, charge);
            }
        }
    }

    /// Marks the dead and forgets accounts that are gone and owe nothing.
    pub(super) fn farewell(&mut self, now: MonotonicNanos) {
        let left: Vec<(TaskKey, bool)> = self
            .accounts
            .left()
            .filter_map(|account| Some((account.task?, account.ended)))
            .filter(|(task, _)| self.processes.has_row(*task))
            .collect();
        for (task, ended) in left {
            // One account of a process may go while others live on: it moved to another cgroup or package.
            let lives = || {
                self.accounts
                    .iter()
                    .any(|(_, other)| other.task == Some(task) && other.lives())
            };
            if ended || !lives() {
                self.processes.end(task, now);
            }
        }
        let (zones, levels) = (&self.zones, &mut self.levels);
        self.accounts.forget(
            |id| zones.iter().any(|zone| zone.holds(id)),
            |account| {
                if let Some(rows) = account.rows {
                    levels.leave(rows, now);
                }
            },
        );
    }
}

/// What a zone has to be paid for now; else its CPU time is carried until it has a reading.
fn due(
    zone: &mut ZoneState,
    deltas: &[Delta],
    packages: &[PackageTime],
    policy: &super::FloorPolicy,
    now: MonotonicNanos,
) -> Option<Due> {
    if !zone.is_due() {
        if zone.has_base() && zone.is_paid_by_cpu_time() {
            zone.carry.add(paying(zone.socket(), deltas), now);
        }
        return None;
    }
    let busy = zone.busy_of(packages);
    zone.settle(busy, policy)
}

/// CPU time that pays for a zone: of one socket, or of all.
fn paying(socket: Option<PackageId>, deltas: &[Delta]) -> impl Iterator<Item = (AccountId, Rise)> + Clone {
    deltas
        .iter()
        .filter(move |delta| socket.is_none_or(|socket| socket == delta.package))
        .map(|delta| (delta.id, delta.rise))
}

/// Splits `amount` by the weights at hand into bills; returns the part that nobody can be named for.
pub(super) fn split(
    work: &mut Work,
    amount: Microjoules,
    unknown: u64,
    bill: impl Fn(AccountId, Microjoules) -> Bill,
) -> Microjoules {
    work.weights.push(unknown);
    let left = largest_remainder(
        amount.as_micro(),
        &work.weights,
        &mut work.parts,
        &mut work.scratch,
    );
    work.weights.pop();
    let nobody = work.parts.pop().unwrap_or(0).saturating_add(left);
    let bills = work.ids.iter().zip(&work.parts).filter(|(_, part)| **part > 0);
    work.charges
        .extend(bills.map(|(id, part)| bill(*id, Microjoules::from_micro(*part))));
    Microjoules::from_micro(nobody)
}

/// Charged time over the busy time of the same window. Both come from the same reader, so a value far from 1000 says
/// that time was lost or invented.
fn coverage(charged: CpuNanos, then: &[PackageTime], now: &[PackageTime]) -> Option<Permille> {
    let busy = |times: &[PackageTime]| times.iter().map(|time| time.busy).sum::<CpuNanos>().as_nanos();
    let busy = busy(now).saturating_sub(busy(then));
    let ratio = (u128::from(charged.as_nanos()) * 1_000).checked_div(u128::from(busy))?;
    u32::try_from(ratio).ok().map(Permille)
}

fn process_row(task: TaskKey, account: &Account) -> ProcessRow {
    ProcessRow {
        task,
        comm: account.comm,
        kind: account.kind,
        cgroup: account.cgroup,
        owner: account.owner.clone(),
        ledger: Ledger::default(),
        ended: !account.lives(),
    }
}
