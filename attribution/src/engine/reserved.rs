// SPDX-License-Identifier: Apache-2.0
//! Who pays idle energy for what they reserved.
//!
//! A tenant pays its reservation's share of the node: of its CPUs for every zone but memory, of its memory for memory. When
//! tenants have reserved more than there is, the sum takes the place of the capacity, so that nobody pays for what does not
//! exist; else the rest is nobody's and stays on the node. One tenant is held no more than all there is: a limit of 1 TiB
//! on a node with 64 GiB is as good as none, and takes nothing from the others. A reservation is of the node and of no
//! socket (a workload may run anywhere, and is held room for everywhere), so each socket's idle energy is split alike.
//!
//! Inside a tenant those pay who ran in this window, by their CPU time wherever that was; where nobody ran, all who
//! live pay alike. A tenant of whom nobody lives has nothing to pay with: it does not count, and its part stays on the
//! node. A GPU is reserved by nobody as far as is known here. Late energy is paid by the tenants that there are when it
//! comes: a reservation is held for hours, and what a late zone carries is only who ran.
//!
//! Tenants are looked up when identities change or accounts open. A window costs one look at each account and each zone
//! one step for each payer. All buffers stay.

use super::Bill;
use super::accounts::{Account, AccountId, Accounts, Delta};
use super::levels::{Rows, owner_of};
use super::processes::Processes;
use super::share::{Scratch, largest_remainder};
use crate::model::{CgroupOwner, Component, Identity, Microjoules, PackageTime, Reservation, Tenant};
use std::collections::HashMap;
use std::sync::Arc;

/// Position in [`Reserved::tenants`].
type Slot = u32;

/// What there is to be reserved; zero where that is not known, and then nobody has reserved any of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Capacity {
    /// Thousandths of a CPU.
    pub(super) millicpus: u64,
    /// Bytes.
    pub(super) memory: u64,
}

impl Capacity {
    /// Of the CPUs that are online now, and of so much memory.
    pub(super) fn of(packages: &[PackageTime], memory: Option<u64>) -> Self {
        Self {
            millicpus: packages
                .iter()
                .map(|package| u64::from(package.cpus) * 1_000)
                .sum(),
            memory: memory.unwrap_or(0),
        }
    }
}

/// One tenant in this window.
#[derive(Debug, Default)]
struct Tenancy {
    reserved: Reservation,
    /// Accounts that live, and what they ran in all.
    living: u32,
    ran: u64,
    /// Its payers in [`Reserved::payers`].
    first: usize,
    payers: usize,
}

/// Who pays a part of a tenant's part.
#[derive(Clone, Copy, Debug)]
struct Payer {
    id: AccountId,
    weight: u64,
    /// Stands for accounts that have no rows as processes and all their other rows in common.
    for_others: Option<Rows>,
}

/// Tenants, and who pays for them in this window.
#[derive(Debug, Default)]
pub(super) struct Reserved {
    tenants: Vec<Tenancy>,
    by_name: HashMap<Tenant, Slot>,
    /// The tenant of each account, by the account's slot.
    of_account: Vec<Option<Slot>>,
    /// CPU time in this window by the account's slot.
    ran: Vec<u64>,
    living: Vec<(Slot, AccountId)>,
    payers: Vec<Payer>,
    /// What tenants weigh, by resource, with what is nobody's at the end. Empty where the capacity is not known.
    cpu: Vec<u64>,
    memory: Vec<u64>,
    parts: Vec<u64>,
    weights: Vec<u64>,
    inner: Vec<u64>,
    scratch: Scratch,
}

impl Reserved {
    /// Takes over what `identity` says, and finds every account's tenant. Who is not known any more has none: while the probe
    /// is silent nothing else says that somebody is gone.
    pub(super) fn renew(&mut self, identity: &Identity, accounts: &Accounts) {
        self.tenants.clear();
        self.by_name.clear();
        self.of_account.clear();
        if identity.reserved.is_empty() {
            return;
        }
        // In an order of their own: ties of rounding go to the earlier one, and a map has another order in each run.
        let mut reserved: Vec<(&Tenant, &Reservation)> = identity.reserved.iter().collect();
        reserved.sort_unstable_by_key(|(tenant, _)| *tenant);
        for ((tenant, reserved), slot) in reserved.into_iter().zip(0..) {
            self.tenants.push(Tenancy {
                reserved: *reserved,
                ..Tenancy::default()
            });
            self.by_name.insert(tenant.clone(), slot);
        }
        self.of_account.resize(accounts.slots(), None);
        let mut last: Option<(&Arc<CgroupOwner>, Option<Slot>)> = None;
        for (id, account) in accounts.iter() {
            let Some(owner) = &account.owner else { continue };
            let slot = match last {
                // Rows of one cgroup are neighbours, and share their owner.
                Some((known, slot)) if Arc::ptr_eq(known, owner) => slot,
                _ => self.tenant_of(owner),
            };
            last = Some((owner, slot));
            let slot = slot.filter(|_| owner_of(account, identity) == Some(owner));
            if let Some(place) = self.of_account.get_mut(id.place()) {
                *place = slot;
            }
        }
    }

    /// Finds the tenant of an account that was opened.
    pub(super) fn place(&mut self, id: AccountId, account: &Account) {
        if self.tenants.is_empty() {
            return;
        }
        let tenant = account.owner.as_deref().and_then(|owner| self.tenant_of(owner));
        if self.of_account.len() <= id.place() {
            self.of_account.resize(id.place() + 1, None);
        }
        if let Some(place) = self.of_account.get_mut(id.place()) {
            *place = tenant;
        }
    }

    /// The container's before the machine's: what is inside of a container was reserved with it.
    fn tenant_of(&self, owner: &CgroupOwner) -> Option<Slot> {
        let container = owner.container.clone().map(Tenant::Container);
        let vm = || owner.vm.clone().map(Tenant::Vm);
        let find = |tenant: Tenant| self.by_name.get(&tenant).copied();
        container.and_then(find).or_else(|| vm().and_then(find))
    }

    /// Finds out who pays in this window.
    pub(super) fn begin(
        &mut self,
        accounts: &Accounts,
        deltas: &[Delta],
        processes: &Processes,
        capacity: Capacity,
    ) {
        self.cpu.clear();
        self.memory.clear();
        if self.tenants.is_empty() {
            return;
        }
        self.ran.clear();
        self.ran.resize(accounts.slots(), 0);
        for delta in deltas {
            if let Some(ran) = self.ran.get_mut(delta.id.place()) {
                *ran = ran.saturating_add(delta.rise.time);
            }
        }
        self.count(accounts);
        self.choose(accounts, processes);
        let here = |tenancy: &Tenancy, amount: u64| if tenancy.living > 0 { amount } else { 0 };
        let millicpus = self.tenants.iter().map(|it| here(it, it.reserved.millicpus));
        let memory = self.tenants.iter().map(|it| here(it, it.reserved.memory));
        weigh(millicpus, capacity.millicpus, &mut self.cpu);
        weigh(memory, capacity.memory, &mut self.memory);
    }

    /// Counts who lives in each tenant, and makes room for as many payers.
    fn count(&mut self, accounts: &Accounts) {
        for tenancy in &mut self.tenants {
            (tenancy.living, tenancy.ran, tenancy.payers) = (0, 0, 0);
        }
        self.living.clear();
        for ((id, account), ran) in accounts.iter().map(|it| (it, self.ran.get(it.0.place()))) {
            let slot = self.of_account.get(id.place()).copied().flatten();
            let Some(slot) = slot.filter(|_| account.lives()) else {
                continue;
            };
            if let Some(tenancy) = self.tenants.get_mut(at(slot)) {
                tenancy.living += 1;
                tenancy.ran = tenancy.ran.saturating_add(ran.copied().unwrap_or(0));
                self.living.push((slot, id));
            }
        }
        let mut first = 0;
        for tenancy in &mut self.tenants {
            tenancy.first = first;
            first += usize::try_from(tenancy.living).unwrap_or(0);
        }
    }

    /// Chooses those who ran, or all. Of those who did not run, the ones without a row of their own as processes are
    /// billed together: that is the same to every row, and 10,000 sleepers cost one bill and not 10,000.
    fn choose(&mut self, accounts: &Accounts, processes: &Processes) {
        self.payers.clear();
        let nobody = |id| Payer {
            id,
            weight: 0,
            for_others: None,
        };
        self.payers.extend(self.living.iter().map(|(_, id)| nobody(*id)));
        for (slot, id) in &self.living {
            let Some(tenancy) = self.tenants.get_mut(at(*slot)) else {
                continue;
            };
            let ran = self.ran.get(id.place()).copied().unwrap_or(0);
            if tenancy.ran > 0 && ran == 0 {
                continue;
            }
            let account = accounts.get(*id);
            let rows = account.and_then(|account| account.rows);
            let has_row = account
                .and_then(|account| account.task)
                .is_some_and(|task| processes.has_row(task));
            let for_others = rows.filter(|_| ran == 0 && !has_row);
            let end = tenancy.first + tenancy.payers;
            if for_others.is_some()
                && let Some(before) = end.checked_sub(1).filter(|_| tenancy.payers > 0)
                && let Some(before) = self.payers.get_mut(before)
                && before.for_others == for_others
            {
                before.weight += 1;
                continue;
            }
            if let Some(payer) = self.payers.get_mut(end) {
                *payer = Payer {
                    id: *id,
                    weight: ran.max(1),
                    for_others,
                };
                tenancy.payers += 1;
            }
        }
    }

    /// Splits the idle energy of a zone into bills; returns what stays on the node.
    pub(super) fn share(
        &mut self,
        component: Component,
        zone: usize,
        amount: Microjoules,
        bills: &mut Vec<Bill>,
    ) -> Microjoules {
        let weights = match component {
            Component::Dram => &self.memory,
            Component::Gpu => return amount,
            Component::Package
            | Component::Core
            | Component::Uncore
            | Component::Other
            | Component::Platform => &self.cpu,
        };
        if weights.is_empty() || amount.is_zero() {
            return amount;
        }
        let left = largest_remainder(amount.as_micro(), weights, &mut self.parts, &mut self.scratch);
        let nobody = self.parts.pop().unwrap_or(0).saturating_add(left);
        for (tenancy, part) in self.tenants.iter().zip(&self.parts) {
            let payers = self.payers.get(tenancy.first..).unwrap_or_default();
            let payers = payers.get(..tenancy.payers).unwrap_or_default();
            if *part == 0 || payers.is_empty() {
                continue;
            }
            self.weights.clear();
            self.weights.extend(payers.iter().map(|payer| payer.weight));
            largest_remainder(*part, &self.weights, &mut self.inner, &mut self.scratch);
            let paid = payers.iter().zip(&self.inner).filter(|(_, part)| **part > 0);
            bills.extend(paid.map(|(payer, part)| Bill {
                idle: Microjoules::from_micro(*part),
                for_others: payer.for_others.is_some(),
                ..Bill::nothing(payer.id, zone)
            }));
        }
        Microjoules::from_micro(nobody)
    }
}

#[cfg(test)]
impl Reserved {
    /// What its buffers have room for.
    pub(super) fn room(&self) -> [usize; 6] {
        [
            self.ran.capacity(),
            self.living.capacity(),
            self.payers.capacity(),
            self.weights.capacity(),
            self.parts.capacity(),
            self.inner.capacity(),
        ]
    }
}

/// Writes what each has reserved, and what is left of the capacity.
fn weigh(reserved: impl Iterator<Item = u64>, capacity: u64, weights: &mut Vec<u64>) {
    weights.clear();
    if capacity == 0 {
        return;
    }
    let mut left = capacity;
    let held = reserved.map(|reserved| reserved.min(capacity));
    weights.extend(held.inspect(|held| left = left.saturating_sub(*held)));
    weights.push(left);
}

fn at(slot: Slot) -> usize {
    usize::try_from(slot).unwrap_or(usize::MAX)
}
