// SPDX-License-Identifier: Apache-2.0
//! Writes the engine's state down as a snapshot.

use super::{Engine, Paid};
use crate::model::snapshot::Retired;
use crate::model::{LostEvents, MonotonicNanos, Section, Snapshot};
use std::sync::Arc;

impl Engine {
    /// What probes lost, and what found no room here.
    fn lost(&self) -> Vec<LostEvents> {
        let refused = LostEvents {
            probe: "attribution",
            reason: "zone beyond the bound",
            count: self.refused,
        };
        let ours = (self.refused > 0).then_some(refused);
        self.lost.iter().copied().chain(ours).collect()
    }

    /// Everything that is known at `now`, at the close of a window that was paid.
    #[must_use]
    pub fn snapshot(&self, paid: Paid, now: MonotonicNanos) -> Snapshot {
        let closed = paid.window;
        Snapshot {
            tick: closed.tick,
            window: Section {
                began: closed.began,
                ended: now,
            },
            zones: self.zones.iter().map(|zone| zone.row(now)).collect(),
            packages: self.packages.clone(),
            cpus: self.cpus.clone(),
            softirqs: self.softirqs.clone(),
            counted: self.counted,
            smt_weight: self.smt_weight(),
            processes: self.processes.rows(),
            other_processes: self.processes.other().clone(),
            containers: self.levels.containers.rows(),
            pods: self.levels.pods.rows(),
            vms: self.levels.vms.rows(),
            units: self.levels.units.rows(),
            retired: Retired {
                processes: self.processes.retired().clone(),
                containers: self.levels.containers.retired().clone(),
                pods: self.levels.pods.retired().clone(),
                vms: self.levels.vms.retired().clone(),
                units: self.levels.units.retired().clone(),
            },
            coverage: self.coverage,
            sources: self
                .sources
                .iter()
                .map(|(account, last)| {
                    let mut account = account.clone();
                    account.age = last.map(|last| now.since(last));
                    account
                })
                .collect(),
            facts: Arc::clone(&self.facts),
            windows: self.window.counters(),
            lost: self.lost(),
            tallies: self.tallies.clone(),
            // Queues belong to the actors; whoever publishes the snapshot writes their counters in.
            dropped: Vec::new(),
        }
    }
}
