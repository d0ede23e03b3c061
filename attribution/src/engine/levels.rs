// SPDX-License-Identifier: Apache-2.0
//! The three levels of groups: which rows an account pays into, and every entry made in all of them alike.

use super::accounts::Account;
use super::groups::{Level, RowId};
use crate::model::snapshot::{Charge, ContainerKey, UnitKey};
use crate::model::{CgroupOwner, CpuNanos, EventCounts, Identity, MonotonicNanos, TaskKind};
use std::sync::Arc;
use std::time::Duration;

/// The slice of a host process whose cgroup names none: systemd's own name for the root slice.
const ROOT_SLICE: &str = "-.slice";

/// Rows that an account pays into.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    container: RowId,
    pod: Option<RowId>,
    unit: Option<RowId>,
}

/// All groups.
#[derive(Debug, Default)]
pub(crate) struct Levels {
    pub(crate) containers: Level<ContainerKey>,
    pub(crate) pods: Level<String>,
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
            unit: unit_key(account.kind, owner).map(|key| self.units.join(&key, owner)),
        };
        if let Some(rows) = account.rows.replace(joined) {
            self.leave(rows, now);
        }
        let is_another = account.owner.as_ref() != owner;
        account.owner = owner.cloned();
        is_another
    }

    /// Takes one member away.
    pub(crate) fn leave(&mut self, rows: Rows, now: MonotonicNanos) {
        self.containers.leave(rows.container, now);
        rows.pod.into_iter().for_each(|pod| self.pods.leave(pod, now));
        rows.unit.into_iter().for_each(|unit| self.units.leave(unit, now));
    }

    /// Books CPU time.
    pub(crate) fn ran(&mut self, rows: Option<Rows>, time: CpuNanos) {
        let Some(rows) = rows else { return };
        self.containers.ran(rows.container, time);
        rows.pod.into_iter().for_each(|pod| self.pods.ran(pod, time));
        rows.unit.into_iter().for_each(|unit| self.units.ran(unit, time));
    }

    /// Books events.
    pub(crate) fn counted(&mut self, rows: Option<Rows>, events: &EventCounts) {
        let Some(rows) = rows else { return };
        self.containers.counted(rows.container, events);
        rows.pod
            .into_iter()
            .for_each(|pod| self.pods.counted(pod, events));
        rows.unit
            .into_iter()
            .for_each(|unit| self.units.counted(unit, events));
    }

    /// Charges energy.
    pub(crate) fn charge(&mut self, rows: Option<Rows>, zone: usize, charge: Charge) {
        let Some(rows) = rows else { return };
        self.containers.charge(rows.container, zone, charge);
        rows.pod
            .into_iter()
            .for_each(|pod| self.pods.charge(pod, zone, charge));
        rows.unit
            .into_iter()
            .for_each(|unit| self.units.charge(unit, zone, charge));
    }

    /// Lets rows go that ended longer than `keep` ago.
    pub(crate) fn retire(&mut self, now: MonotonicNanos, keep: Duration) {
        self.containers.retire(now, keep);
        self.pods.retire(now, keep);
        self.units.retire(now, keep);
    }
}

fn owner_of<'a>(account: &Account, identity: &'a Identity) -> Option<&'a Arc<CgroupOwner>> {
    // Kernel threads live in the root cgroup and belong to nobody else, whatever a hierarchy says.
    (account.kind == TaskKind::User)
        .then(|| identity.owner(account.task, account.cgroup))
        .flatten()
}

fn container_key(kind: TaskKind, owner: Option<&Arc<CgroupOwner>>) -> ContainerKey {
    match (kind, owner.and_then(|owner| owner.container.as_ref())) {
        (TaskKind::Kernel, _) => ContainerKey::Kernel,
        (TaskKind::User, Some(id)) => ContainerKey::Container(id.as_str().to_owned()),
        (TaskKind::User, None) => ContainerKey::System,
    }
}

/// The rows for what is outside of containers have many owners, so none is theirs.
fn container_owner(owner: Option<&Arc<CgroupOwner>>) -> Option<&Arc<CgroupOwner>> {
    owner.filter(|owner| owner.container.is_some())
}

/// A pod is the sum of its containers; a monitor that a runtime puts beside them is the host's.
fn pod_key(owner: Option<&Arc<CgroupOwner>>) -> Option<String> {
    let owner = container_owner(owner)?;
    owner.pod.as_ref().map(|pod| pod.as_str().to_owned())
}

/// The unit of a host process; kernel threads and containers are not on this level.
fn unit_key(kind: TaskKind, owner: Option<&Arc<CgroupOwner>>) -> Option<UnitKey> {
    if kind == TaskKind::Kernel || owner.is_some_and(|owner| owner.container.is_some()) {
        return None;
    }
    Some(UnitKey {
        unit: owner.and_then(|owner| owner.unit.clone()).unwrap_or_default(),
        slice: owner
            .and_then(|owner| owner.slice.clone())
            .unwrap_or_else(|| ROOT_SLICE.to_owned()),
    })
}
