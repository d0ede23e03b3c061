// SPDX-License-Identifier: Apache-2.0
//! Who owns a row, and what that one has reserved.

use super::views::Each;
use attribution::model::{CgroupOwner, ContainerId, Reservation};
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct OwnerView<'a> {
    path: &'a str,
    container: Option<&'a str>,
    runtime: &'static str,
    nested: Each<'a, ContainerId, &'a str>,
    pod: Option<&'a str>,
    vm: Option<&'a str>,
    unit: Option<&'a str>,
    slice: Option<&'a str>,
}

pub(super) fn owner(owner: &CgroupOwner) -> OwnerView<'_> {
    OwnerView {
        path: &owner.path,
        container: owner.container.as_ref().map(|id| id.as_str()),
        runtime: owner.runtime,
        nested: Each(&owner.nested, ContainerId::as_str),
        pod: owner.pod.as_ref().map(|uid| uid.as_str()),
        vm: owner.vm.as_ref().map(|id| id.as_str()),
        unit: owner.unit.as_deref(),
        slice: owner.slice.as_deref(),
    }
}

#[derive(Serialize)]
pub(super) struct ReservedView {
    millicpus: u64,
    memory: u64,
}

pub(super) const fn reserved(reserved: Reservation) -> ReservedView {
    ReservedView {
        millicpus: reserved.millicpus,
        memory: reserved.memory,
    }
}
