// SPDX-License-Identifier: Apache-2.0
//! A snapshot as Prometheus text, in the names of schema `kepler`.
//!
//! Owns the names, labels and order of the families. It promises that a page never holds the same series twice, that
//! every number is exact, and that a family without samples is not there at all. What belongs to one scrape and not to
//! the snapshot (our own process, the scrape itself) is written by [`crate::observer`].

mod health;
mod node;
#[cfg(test)]
mod tests;
mod workloads;
pub(crate) mod writer;

use crate::config::{Level, Schema};
use crate::page::RenderSettings;
use attribution::model::Snapshot;

/// Room for one sample: pages of a thousand and of ten thousand series had some 155 bytes for each.
const BYTES_A_SAMPLE: usize = 160;

/// The whole text.
pub(crate) fn render(snapshot: &Snapshot, settings: &RenderSettings) -> String {
    let mut out = String::new();
    if settings.schemas.contains(&Schema::Kepler) {
        kepler(&mut out, snapshot, settings);
    }
    // Bodies live as long as their page; what the estimate took too much goes back.
    out.shrink_to_fit();
    out
}

fn kepler(out: &mut String, snapshot: &Snapshot, settings: &RenderSettings) {
    let wanted = |level| settings.levels.contains(&level);
    let columns = workloads::Columns::of(snapshot);
    out.reserve(estimated_size(snapshot, columns.len()));
    if wanted(Level::Node) {
        node::write(out, snapshot);
    }
    if wanted(Level::Container) {
        workloads::write(out, "container", workloads::containers(snapshot), &columns);
    }
    if wanted(Level::Pod) {
        workloads::write(out, "pod", workloads::pods(snapshot), &columns);
    }
    if wanted(Level::Vm) {
        workloads::write(out, "vm", workloads::vms(snapshot), &columns);
    }
    if wanted(Level::Unit) {
        workloads::write(out, "unit", workloads::units(snapshot), &columns);
    }
    if wanted(Level::Process) {
        workloads::write(out, "process", workloads::processes(snapshot), &columns);
    }
    node::write_info(out, snapshot, settings);
    health::write(out, snapshot);
}

fn estimated_size(snapshot: &Snapshot, columns: usize) -> usize {
    let rows = snapshot.processes.len()
        + snapshot.containers.len()
        + snapshot.pods.len()
        + snapshot.vms.len()
        + snapshot.units.len();
    // One sample in each column, the total and CPU time; idle energy is rare, and the string grows where it is not.
    rows.saturating_add(32)
        .saturating_mul(columns.saturating_add(2))
        .saturating_mul(BYTES_A_SAMPLE)
}
