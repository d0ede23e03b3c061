// SPDX-License-Identifier: Apache-2.0
//! Rows without a task: time of a cgroup that belongs to no process known by name, by package.

use attribution::model::{CgroupId, Comm, CpuNanos, EventCounts, PackageId, TaskKind, TaskUsage};

/// Such time of one cgroup. It only grows; as many entries as the node has packages.
#[derive(Debug, Default)]
pub(super) struct Residue(Vec<(PackageId, CpuNanos)>);

impl Residue {
    /// Adds time on one package.
    pub(super) fn add(&mut self, package: PackageId, time: CpuNanos) {
        match self.0.iter_mut().find(|(known, _)| *known == package) {
            Some((_, total)) => *total += time,
            None => self.0.push((package, time)),
        }
    }

    /// All packages together.
    pub(super) fn total(&self) -> CpuNanos {
        self.0.iter().map(|(_, time)| *time).sum()
    }

    /// As a report lists it.
    pub(super) fn rows(&self, cgroup: CgroupId, ended: bool) -> impl Iterator<Item = TaskUsage> {
        self.0.iter().map(move |(package, cpu)| TaskUsage {
            task: None,
            cgroup,
            package: *package,
            cpu: *cpu,
            events: EventCounts::ZERO,
            comm: Comm::default(),
            kind: TaskKind::User,
            ended,
        })
    }
}
