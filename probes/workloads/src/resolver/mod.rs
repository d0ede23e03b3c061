// SPDX-License-Identifier: Apache-2.0
//! Says who owns what ran: cgroup ids to owners, and single processes where the unified hierarchy does not tell.
//!
//! Looks files up only for what is new, and asks the kernel what is ([`crate::cgroup`]'s tree) where it may. In the steady state a call costs one hash lookup for each row and hands out the
//! same `Arc` as before. Starts no thread and keeps no clock.

mod cgroups;
mod namer;
mod tasks;

#[cfg(test)]
mod tests;

pub use namer::Namer;

use crate::procfs::ProcFs;
use crate::roots::Roots;
use attribution::model::{CgroupId, Identity, TaskKey, TaskKind, TaskUsage, Usage};
use cgroups::CgroupBook;
use std::sync::Arc;
use std::time::Duration;
use tasks::{Finding, TaskBook};

/// What the resolver did since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResolverCounters {
    /// Walks of the cgroup mount; at most one for each call.
    pub walks: u64,
    /// Folders that those walks looked at.
    pub walked_directories: u64,
    /// Walks that ended at a bound of [`crate::cgroup::walk`].
    pub truncated_walks: u64,
    /// Folders that a walk could not read.
    pub unreadable_directories: u64,
    /// Ids that a walk found.
    pub cgroups_found: u64,
    /// Ids that nobody could find: the cgroup was gone before anybody asked, or is not below our mount.
    pub cgroups_missed: u64,
    /// Cgroups that came or went, as the kernel told.
    pub events: u64,
    /// Events that were not understood, or came when there were too many cgroups.
    pub events_refused: u64,
    /// How often the kernel dropped events because its queue was full. A walk follows.
    pub overflows: u64,
    /// Cgroups that had gone before anybody looked, and whose paths are known all the same.
    pub found_when_gone: u64,
    /// Cgroups of which the kernel told only the end, and nobody knows where they were.
    pub unplaced: u64,
    /// Processes whose cgroup file was read.
    pub tasks_read: u64,
    /// Of these: the process was gone, or its pid belonged to another one.
    pub tasks_vanished: u64,
    /// Of these: we were not allowed to.
    pub tasks_denied: u64,
    /// Of these: the file was none.
    pub tasks_unparsable: u64,
    /// Reads put off to the next call by the bound for one call.
    pub tasks_deferred: u64,
}

/// What a resolver holds at a time, for whoever wants to see that it is bounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Cgroups that the newest report names.
    pub cgroups: usize,
    /// Cgroups of the hierarchy, where the kernel tells of them: 65,536 and those that have gone at most.
    pub paths: usize,
    /// Of these: those that have gone; 4,096 at most.
    pub gone: usize,
    /// Processes that are asked themselves: no more than the newest report has rows.
    pub tasks: usize,
    /// Different owners of those, shared among them; some more of those that others still hold.
    pub distinct: usize,
    /// Owners by cgroup and by process that were handed out.
    pub owners: usize,
}

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

    /// Owners of all that `usage` lists; the same `Arc` as last time when nothing changed. `now` is `CLOCK_BOOTTIME`, the
    /// clock of start times: young processes are asked again, for runtimes move them after the fork.
    pub fn resolve(&mut self, usage: &Usage, now: Duration) -> Arc<Identity> {
        let since_boot = now;
        let now = boot_ticks(now);
        self.round += 1;
        self.cgroups
            .update(&usage.tasks, &mut self.identity, &mut self.counters);
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
