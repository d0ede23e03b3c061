// SPDX-License-Identifier: Apache-2.0
//! The four levels of groups: which rows an account pays into, and every entry made in all of them alike.

use super::accounts::Account;
use super::groups::{Level, RowId};
use crate::model::snapshot::{ContainerKey, Ledger, Names, UnitKey};
use crate::model::{CgroupOwner, Identity, MonotonicNanos, PodUid, Reservation, TaskKind, Tenant, VmId};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// The slice of a host process whose cgroup names none: systemd's own name for the root slice.
const ROOT_SLICE: &str = "-.slice";

/// Rows that an account pays into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rows {
    container: RowId,
    pod: Option<RowId>,
    vm: Option<RowId>,
    unit: Option<RowId>,
}

/// All groups.
#[derive(Debug, Default)]
pub(crate) struct Levels {
    pub(crate) containers: Level<ContainerKey>,
    pub(crate) pods: Level<PodUid>,
    pub(crate) vms: Level<VmId>,
    pub(crate) units: Level<UnitKey>,
}

impl Levels {
    /// Joins an account to the rows that its owner says, if it is not there yet. `true` when it has another owner now.
    /// One that is gone and owes still keeps the owner that it had: the resolver forgets cgroups as the probe does, but
    /// a meter may be late.
    pub(crate) fn assign(&mut self, account: &mut Account, identity: &Identity, now: MonotonicNanos) -> bool {
        let owner = owner_of(account, identity);
        let settled = account.owner.as_ref() == owner || (account.gone && account.owner.is_some());
        if account.rows.is_some() && settled {
            return false;
        }
        let joined = Rows {
            container: self
                .containers
                .join(&container_key(account.kind, owner), container_owner(owner)),
            pod: pod_key(owner).map(|pod| self.pods.join(&pod, owner)),
            vm: vm_key(owner).map(|vm| {
                self.vms
                    .join(&vm, owner.filter(|_| account.kind == TaskKind::User))
            }),
            unit: unit_key(account.kind, owner).map(|key| self.units.join(&key, owner)),
        };
        if let Some(rows) = account.rows.replace(joined) {
            self.leave(rows, now);
        }
        let is_another = account.owner.as_ref() != owner;
        account.owner = owner.cloned();
        is_another
    }

    /// Gives rows the names that `identity` has, when `identity` or a row is new. A name once known stays: the pod of a
    /// container that has ended is gone soon, and its row is shown for a while.
    pub(crate) fn name(&mut self, identity: &Identity, is_new: bool) {
        let has_new_containers = self.containers.has_new();
        if is_new || has_new_containers {
            self.containers
                .name(|key, owner, names| name_container(identity, key, owner, names));
        }
        if is_new || has_new_containers || self.pods.has_new() {
            let reserved = reserved_by_pods(&self.containers);
            self.pods.name(|uid, _, names| {
                names.reserved = reserved.get(uid).copied();
                keep_newest(&mut names.pod, identity.pods.get(uid));
                names.awaited = names.pod.is_none() && identity.awaited.pods.contains(uid);
            });
        }
        if is_new || self.vms.has_new() {
            self.vms.name(|id, _, names| {
                names.reserved = identity.reserved.get(&Tenant::Vm(id.clone())).copied();
                keep_newest(&mut names.vm, identity.vms.get(id));
            });
        }
    }

    /// Takes one member away.
    pub(crate) fn leave(&mut self, rows: Rows, now: MonotonicNanos) {
        self.containers.leave(rows.container, now);
        rows.pod.into_iter().for_each(|pod| self.pods.leave(pod, now));
        rows.vm.into_iter().for_each(|vm| self.vms.leave(vm, now));
        rows.unit.into_iter().for_each(|unit| self.units.leave(unit, now));
    }

    /// Makes an entry in every row that an account pays into.
    pub(crate) fn enter(&mut self, rows: Rows, mut entry: impl FnMut(&mut Ledger)) {
        self.containers
            .ledger(rows.container)
            .into_iter()
            .for_each(&mut entry);
        let pod = rows.pod.and_then(|pod| self.pods.ledger(pod));
        pod.into_iter().for_each(&mut entry);
        let vm = rows.vm.and_then(|vm| self.vms.ledger(vm));
        vm.into_iter().for_each(&mut entry);
        let unit = rows.unit.and_then(|unit| self.units.ledger(unit));
        unit.into_iter().for_each(&mut entry);
    }

    /// CPU time up to this window's end has been booked.
    pub(crate) const fn booked(&mut self, now: MonotonicNanos) {
        self.containers.booked(now);
        self.pods.booked(now);
        self.vms.booked(now);
        self.units.booked(now);
    }

    /// Lets rows go that ended longer than `keep` ago.
    pub(crate) fn retire(&mut self, now: MonotonicNanos, keep: Duration) {
        self.containers.retire(now, keep);
        self.pods.retire(now, keep);
        self.vms.retire(now, keep);
        self.units.retire(now, keep);
    }
}

fn name_container(
    identity: &Identity,
    key: &ContainerKey,
    owner: Option<&Arc<CgroupOwner>>,
    names: &mut Names,
) {
    let ContainerKey::Container(id) = key else { return };
    names.reserved = identity.reserved.get(&Tenant::Container(id.clone())).copied();
    keep_newest(&mut names.container, identity.containers.get(id));
    let pod = owner.and_then(|owner| owner.pod.as_ref());
    keep_newest(&mut names.pod, pod.and_then(|pod| identity.pods.get(pod)));
    let of_container = names.container.is_none() && identity.awaited.containers.contains(id);
    let of_pod = names.pod.is_none() && pod.is_some_and(|pod| identity.awaited.pods.contains(pod));
    names.awaited = of_container || of_pod;
}

/// What the containers of each pod have reserved together.
fn reserved_by_pods(containers: &Level<ContainerKey>) -> HashMap<PodUid, Reservation> {
    let mut reserved: HashMap<PodUid, Reservation> = HashMap::new();
    for (owner, names) in containers.known() {
        if let Some(uid) = owner.and_then(|owner| owner.pod.as_ref())
            && let Some(more) = names.reserved
        {
            let all = reserved.entry(uid.clone()).or_default();
            *all = all.and(more);
        }
    }
    reserved
}

fn keep_newest<T>(known: &mut Option<Arc<T>>, newest: Option<&Arc<T>>) {
    if let Some(newest) = newest {
        *known = Some(Arc::clone(newest));
    }
}

/// Who an account belongs to by what `identity` says.
pub(crate) fn owner_of<'a>(account: &Account, identity: &'a Identity) -> Option<&'a Arc<CgroupOwner>> {
    match account.kind {
        TaskKind::User => identity.owner(account.task, account.cgroup),
        // Kernel threads belong to nobody, whatever cgroup they are in; but some work for one machine, which has them as well.
        TaskKind::Kernel => account
            .task
            .and_then(|task| identity.tasks.get(&task))
            .filter(|owner| owner.vm.is_some() && owner.container.is_none()),
    }
}

fn container_key(kind: TaskKind, owner: Option<&Arc<CgroupOwner>>) -> ContainerKey {
    match (kind, owner.and_then(|owner| owner.container.as_ref())) {
        (TaskKind::Kernel, _) => ContainerKey::Kernel,
        (TaskKind::User, Some(id)) => ContainerKey::Container(id.clone()),
        (TaskKind::User, None) => ContainerKey::System,
    }
}

/// The rows for what is outside of containers have many owners, so none is theirs.
fn container_owner(owner: Option<&Arc<CgroupOwner>>) -> Option<&Arc<CgroupOwner>> {
    owner.filter(|owner| owner.container.is_some())
}

/// A pod is the sum of its containers; a monitor that a runtime puts beside them is the host's.
fn pod_key(owner: Option<&Arc<CgroupOwner>>) -> Option<PodUid> {
    container_owner(owner)?.pod.clone()
}

fn vm_key(owner: Option<&Arc<CgroupOwner>>) -> Option<VmId> {
    owner?.vm.clone()
}

/// The unit of a host process; kernel threads, containers and virtual machines are not on this level.
fn unit_key(kind: TaskKind, owner: Option<&Arc<CgroupOwner>>) -> Option<UnitKey> {
    if kind == TaskKind::Kernel || owner.is_some_and(|owner| owner.container.is_some() || owner.vm.is_some())
    {
        return None;
    }
    Some(UnitKey {
        unit: owner.and_then(|owner| owner.unit.clone()).unwrap_or_default(),
        slice: owner
            .and_then(|owner| owner.slice.clone())
            .unwrap_or_else(|| ROOT_SLICE.to_owned()),
    })
}
