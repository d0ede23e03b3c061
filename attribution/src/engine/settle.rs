// SPDX-License-Identifier: Apache-2.0
//! The close of a window: CPU time is booked, every zone is split, bills go to rows.

use super::accounts::{Account, AccountId};
use super::carry::Carry;
use super::columns::paying;
use super::feature::{Smt, Weighing};
use super::idle_share::{Idle, one_account_per_process};
use super::reserved::Capacity;
use super::rise::Rise;
use super::share::largest_remainder;
use super::zones::{Due, Stage, ZoneState};
use super::{Bill, Engine, IdleShare, Work};
use crate::model::snapshot::{Ledger, ProcessRow};
use crate::model::{
    CpuNanos, DeviceNanos, Event, Microjoules, MonotonicNanos, PackageId, PackageTime, Permille, TaskKey,
    Usage,
};
use std::collections::HashMap;

impl Engine {
    /// Books a usage report's CPU time and events on the accounts and finds the rows that they pay into.
    pub(super) fn book(&mut self, usage: &Usage, now: MonotonicNanos) {
        let work = &mut self.work;
        self.accounts.enter_era(usage.era, &usage.base);
        let charged = self
            .accounts
            .book(&usage.tasks, &mut work.deltas, &mut work.counts);
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

    /// Splits what every zone has counted since it was last paid. Fills the bills. What the platform uses beside its
    /// components comes after them, and the platform as a whole last: both are split by what was charged before.
    pub(super) fn settle(&mut self, now: MonotonicNanos) {
        self.work.charges.clear();
        self.work.spent.begin(self.accounts.slots());
        // Once for all stages: what packages teach in this window counts from the next one on.
        let smt = self.settings.split.smt(self.learned_smt());
        let Work { columns, deltas, .. } = &mut self.work;
        columns.fill(deltas, smt);
        let tenants =
            (self.settings.idle_share == IdleShare::Equal).then(|| one_account_per_process(&self.accounts));
        if self.settings.idle_share == IdleShare::Reserved {
            let capacity = Capacity::of(&self.packages, self.facts.memory);
            self.reserved
                .begin(&self.accounts, &self.work.deltas, &self.processes, capacity);
        }
        self.settle_stage(Stage::Component, smt, tenants.as_ref(), now);
        self.remainder.derive(&mut self.zones, now);
        // It makes a zone that no source reports, and such a one had a floor before a restart, too.
        self.hand_out_restored();
        for stage in [Stage::Other, Stage::Platform] {
            if self.zones.iter().any(|zone| zone.stage() == stage) {
                self.work.sum_up(&self.zones);
                self.settle_stage(stage, smt, tenants.as_ref(), now);
            }
        }
    }

    fn settle_stage(
        &mut self,
        stage: Stage,
        smt: Smt,
        tenants: Option<&Vec<AccountId>>,
        now: MonotonicNanos,
    ) {
        let rule = self.settings.idle_share;
        let by = Weighing {
            rules: &self.settings.split,
            counted: self.counted,
            smt,
        };
        for (index, zone) in self.zones.iter_mut().enumerate() {
            if zone.stage() != stage {
                continue;
            }
            let work = &mut self.work;
            zone.find_users(&self.accounts, &work.deltas, now);
            let Some(due) = due(zone, work, &self.packages, &self.settings.floor, now) else {
                continue;
            };
            // Idle energy by use is split by the same weights, which the short way does not write down.
            let socket = zone
                .socket()
                .filter(|_| zone.is_plain(by) && rule != IdleShare::Usage);
            let (nobody, unknown) = match socket {
                Some(socket) => (work.split_plain(index, zone, socket, due.dynamic, by), 0),
                None => work.split_weighed(index, zone, due, by),
            };
            zone.account.unattributed += nobody;
            work.spent.unattributed(zone, nobody);
            let idle = Idle {
                zone: index,
                amount: due.idle,
                device: !zone.is_paid_by_cpu_time(),
                unknown,
            };
            let component = zone.account.zone.component;
            zone.account.unreserved_idle += match rule {
                IdleShare::Reserved => self.reserved.share(component, index, due.idle, &mut work.charges),
                _ => idle.share(rule, tenants, work),
            };
        }
    }

    /// What overlapped time costs by what all packages say that say it.
    fn learned_smt(&self) -> Option<Permille> {
        let said = self.zones.iter().filter_map(|zone| zone.smt.weight());
        let (sum, count) = said.fold((0_u32, 0_u32), |(sum, count), weight| (sum + weight.0, count + 1));
        sum.checked_div(count).map(Permille)
    }

    /// What overlapped time weighs now, where it is counted and weighed.
    pub(super) fn smt_weight(&self) -> Option<Permille> {
        let is_weighed = self.counted.has(Event::SmtOverlap) && !self.settings.split.by_time_alone;
        is_weighed.then(|| self.settings.split.smt(self.learned_smt()).0)
    }

    /// Gives rows to the most expensive processes of this window that live and have none.
    pub(super) fn promote(&mut self) {
        if !self.processes.has_room() {
            return;
        }
        let mut spent: HashMap<TaskKey, (u64, AccountId)> = HashMap::new();
        let work = &self.work;
        let bills = work
            .charges
            .iter()
            .filter(|bill| !bill.for_others)
            .map(|bill| (bill.id, (bill.dynamic + bill.idle).as_micro()));
        let lines = work.columns.lines(&work.deltas).map(|(delta, line)| {
            let all = line
                .charges()
                .fold(0_u64, |sum, (_, micro)| sum.saturating_add(micro));
            (delta.id, all)
        });
        for (id, energy) in bills.chain(lines) {
            let Some(account) = self.accounts.get(id) else {
                continue;
            };
            if let Some(task) = account.task
                && account.lives()
                && !self.processes.has_row(task)
            {
                let entry = spent.entry(task).or_insert((0, id));
                entry.0 = entry.0.saturating_add(energy);
            }
        }
        let mut candidates: Vec<(u64, ProcessRow)> = spent
            .into_iter()
            .filter(|(_, (energy, _))| *energy > 0)
            .filter_map(|(task, (energy, id))| Some((energy, process_row(task, self.accounts.get(id)?))))
            .collect();
        self.processes.promote(&mut candidates);
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
            if ended {
                self.processes.end(task, now);
            } else if !lives() {
                self.processes.miss(task, now);
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

/// What a zone has to be paid for now; else who ran is carried until it has a reading.
fn due(
    zone: &mut ZoneState,
    work: &Work,
    packages: &[PackageTime],
    policy: &super::FloorPolicy,
    now: MonotonicNanos,
) -> Option<Due> {
    if zone.debt.is_some() {
        let busy = zone.busy_of(packages);
        return zone.pay_debt(busy, policy);
    }
    if zone.has_left() || zone.begins() {
        return None;
    }
    if !zone.is_due() || zone.is_held() {
        if !zone.has_base() || !zone.is_paid_by_cpu_time() {
            return None;
        }
        if zone.stage() == Stage::Component {
            zone.carry
                .add(paying(zone.socket(), &work.deltas), &Rise::default(), now);
        } else {
            let (spenders, nobody) = work.spenders();
            zone.carry.add(spenders, nobody, now);
        }
        return None;
    }
    let busy = zone.busy_of(packages);
    zone.settle(busy, policy)
}

/// Fills in who pays for a zone; returns what of it belongs to nobody known.
fn take_weights(zone: &mut ZoneState, due: Due, by: Weighing<'_>, work: &mut Work) -> u64 {
    let (mut ids, mut weights) = (std::mem::take(&mut work.ids), std::mem::take(&mut work.weights));
    let unknown = if zone.stage() == Stage::Component {
        let deltas = paying(zone.socket(), &work.deltas);
        zone.take_weights(deltas, &Rise::default(), due, by, &mut ids, &mut weights)
    } else {
        let (spenders, nobody) = work.spenders();
        zone.take_weights(spenders, nobody, due, by, &mut ids, &mut weights)
    };
    (work.ids, work.weights) = (ids, weights);
    unknown
}

impl Work {
    /// Splits a zone's dynamic energy over this window's own time, into the columns; returns nobody's part.
    fn split_plain(
        &mut self,
        index: usize,
        zone: &mut ZoneState,
        socket: PackageId,
        dynamic: Microjoules,
        by: Weighing<'_>,
    ) -> Microjoules {
        let wanted = by.rules.feature(zone.account.zone.component, by.counted);
        let (nobody, feature) = self
            .columns
            .split(index, socket, wanted, dynamic, &mut self.scratch);
        zone.account.feature = feature;
        zone.carry = Carry::default();
        self.ids.clear();
        self.weights.clear();
        nobody
    }

    /// Splits a zone's dynamic energy over whoever pays for it, into bills; returns nobody's part and nobody's weight. The
    /// weights stay at hand.
    fn split_weighed(
        &mut self,
        index: usize,
        zone: &mut ZoneState,
        due: Due,
        by: Weighing<'_>,
    ) -> (Microjoules, u64) {
        let unknown = take_weights(zone, due, by, self);
        let nobody = split(self, due.dynamic, unknown, |id, part| Bill {
            dynamic: part,
            ..Bill::nothing(id, index)
        });
        if !zone.is_paid_by_cpu_time() {
            let used = self.ids.iter().zip(&self.weights);
            self.charges.extend(used.map(|(id, used)| Bill {
                used: DeviceNanos::from_nanos(*used),
                ..Bill::nothing(*id, index)
            }));
        }
        (nobody, unknown)
    }
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
        // Written by whoever gives it the row.
        began: MonotonicNanos::ZERO,
        ended: !account.lives(),
    }
}
