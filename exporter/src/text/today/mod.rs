// SPDX-License-Identifier: Apache-2.0
//! Schema `kepler-0.11`: the names, labels and types of today's Kepler, filled from the same snapshot.
//!
//! What Kepler calls active is dynamic energy here, and workloads are charged for nothing else; all idle energy is the
//! node's, also what reservations pay for in schema `kepler`. A zone is a component, and its `path` is the meter and the
//! place that it has. Kepler has no level of systemd units, no rows for what is outside of containers, and no `other`.
//! Labels that this daemon knows nothing of are empty. Five names are in schema `kepler`, too, with other labels: where
//! both are on, each is one family with the samples of both.

mod names;
mod node;
mod workloads;

pub(super) use names::all;
pub(super) use node::{Node, write_info};
pub(super) use workloads::Workloads;

use attribution::model::Component;
use attribution::model::snapshot::ZoneAccount;

/// Kepler's name of a zone; `None` for what it does not count to the CPU side.
fn zone_name(account: &ZoneAccount) -> Option<&'static str> {
    match account.zone.component {
        Component::Package => Some("package"),
        Component::Core => Some("core"),
        Component::Uncore => Some("uncore"),
        Component::Dram => Some("dram"),
        Component::Platform if account.source.0.starts_with("rapl") => Some("psys"),
        Component::Gpu | Component::Other | Component::Platform => None,
    }
}
