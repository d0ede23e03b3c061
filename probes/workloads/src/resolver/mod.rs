// SPDX-License-Identifier: Apache-2.0
//! Says who owns what ran: cgroup ids to owners, and single processes where the unified hierarchy does not tell.
//!
//! Looks files up only for what is new, and asks the kernel what is ([`crate::cgroup`]'s tree) where it may. In the steady state a call costs one hash lookup for each row and hands out the
//! same `Arc` as before. Starts no thread and keeps no clock.

mod cgroups;
mod counters;
mod namer;
mod tasks;

#[cfg(test)]
mod tests;

pub use counters::{Held, ResolverCounters};
pub use namer::{Namer, Tallies};

use crate::procfs::ProcFs;
use crate::roots::Roots;
use attribution::model::{CgroupId, Identity, Tally, TaskKey, TaskKind, TaskUsage, Usage};
use cgroups::CgroupBook;
use std::sync::Arc;
use std::time::Duration;
use tasks::{Finding, TaskBook};

/// Resolves owners. One for the whole life of the daemon.
pub struct Resolver {
    proc: ProcFs,
    cgroups: CgroupBook,
    /// Whether there is a unified hierarchy. Without one all processes are asked one by one.
    unified: bool,
    /// Whether hierarchies of version 1 with controllers are mounted beside it.
    hybrid: bool,
    round: u64,
    tasks: TaskBook,
    /// In the order in which they add to each other.
    namers: Vec<Box<dyn Namer>>,
    identity: Arc<Identity>,
    counters: ResolverCounters,
}

impl Resolver {
    /// A resolver that knows nobody yet.
    #[must_use]
    pub fn new(roots: Roots) -> Self {
        Self {
            proc: ProcFs::new(&roots.proc),
            cgroups: CgroupBook::new(roots.cgroup_mounts.accounting()),
            unified: roots.cgroup_mounts.unified.is_some(),
            hybrid: roots.cgroup_mounts.is_hybrid(),
            round: 0,
            tasks: TaskBook::default(),
            namers: Vec::new(),
            identity: Arc::default(),
            counters: ResolverCounters::default(),
        }
    }

    /// Adds one that knows more; see [`Namer`].
    #[must_use]
    pub fn with(mut self, namer: Box<dyn Namer>) -> Self {
        self.namers.push(namer);
        self
    }

    /// What it did since it began.
    #[must_use]
    pub const fn counters(&self) -> &ResolverCounters {
        &self.counters
    }

    /// What it holds now.
    #[must_use]
    pub fn held(&self) -> Held {
        let (cgroups, (paths, gone)) = self.cgroups.len();
        Held {
            cgroups,
            paths,
            gone,
            tasks: self.tasks.tasks.len(),
            distinct: self.tasks.distinct(),
            owners: self.identity.cgroups.len() + self.identity.tasks.len(),
        }
    }

    /// What it and those who know names count of themselves.
    #[must_use]
    pub fn tallies(&self) -> Vec<Tally> {
        let mut tallies = Tallies::default();
        self.counters.count(&mut tallies);
        self.held().count(&mut tallies);
        for namer in &self.namers {
            namer.count(&mut tallies);
        }
        tallies.into_inner()
    }

    /// Owners of all that `usage` lists; the same `Arc` as last time when nothing changed. `now` is `CLOCK_BOOTTIME`, the
    /// clock of start times: young processes are asked again, for runtimes move them after the fork.
    pub fn resolve(&mut self, usage: &Usage, now: Duration) -> Arc<Identity> {
        let since_boot = now;
        let now = boot_ticks(now);
        self.round += 1;
        self.cgroups
            .update(&usage.tasks, since_boot, &mut self.identity, &mut self.counters);
        self.note_tasks(&usage.tasks, now);
        for finding in self.tasks.read_due(&mut self.proc, now, &mut self.counters) {
            self.apply(finding);
        }
        for namer in &mut self.namers {
            namer.name(usage, &mut self.identity, since_boot);
        }
        Arc::clone(&self.identity)
    }

    /// Marks the processes that have to be asked themselves: those in the root of the unified hierarchy (version 1 may
    /// know better), all where there is none, and those in a cgroup that our mount does not show. Where both versions are
    /// in use, also those whose cgroup is no container's: runc before 1.1, Slurm and others move a process in version 1
    /// only, and in version 2 it stays with its runtime (`0::/system.slice/containerd.service`).
    fn note_tasks(&mut self, rows: &[TaskUsage], now: u64) {
        for row in rows {
            let (Some(task), TaskKind::User) = (row.task, row.kind) else {
                continue;
            };
            let unknown =
                row.cgroup == CgroupId::ROOT || !self.unified || self.cgroups.is_missing(row.cgroup);
            let beside = !unknown && self.hybrid && !self.is_container(row.cgroup);
            if unknown || beside {
                self.tasks.note(task, beside, row.ended, self.round, now);
            }
        }
        for task in self.tasks.forget(self.round) {
            self.apply(Finding { task, owner: None });
        }
    }

    fn is_container(&self, cgroup: CgroupId) -> bool {
        let owner = self.identity.cgroups.get(&cgroup);
        owner.is_some_and(|owner| owner.container.is_some())
    }

    fn apply(&mut self, finding: Finding) {
        let tasks = &mut Arc::make_mut(&mut self.identity).tasks;
        match finding.owner {
            Some(owner) => tasks.insert(finding.task, owner),
            None => tasks.remove(&finding.task),
        };
    }
}

/// Start of a process in clock ticks for a moment on the boot clock.
fn boot_ticks(now: Duration) -> u64 {
    let nanos = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    TaskKey::from_boot_nanos(0, nanos).start_ticks
}
