// SPDX-License-Identifier: Apache-2.0
//! Says who owns what ran: cgroup ids to owners, and single processes where the unified hierarchy does not tell.
//!
//! Looks files up only for what is new. In the steady state a call costs one hash lookup for each row and hands out the
//! same `Arc` as before. Starts no thread and keeps no clock.

mod namer;
mod tasks;

#[cfg(test)]
mod tests;

pub use namer::Namer;

use crate::cgroup::{self, Accounting, WalkOutcome};
use crate::procfs::ProcFs;
use crate::roots::Roots;
use attribution::model::{CgroupId, Identity, TaskKey, TaskKind, TaskUsage, Usage};
use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};
use std::collections::hash_map::Entry;
use std::ops::ControlFlow;
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
    /// Walks that ended at a bound of [`cgroup::walk`].
    pub truncated_walks: u64,
    /// Folders that a walk could not read.
    pub unreadable_directories: u64,
    /// Ids that a walk found.
    pub cgroups_found: u64,
    /// Ids that no walk found: the cgroup was gone before anybody asked, or is not below our mount.
    pub cgroups_missed: u64,
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

/// A cgroup that the newest reports speak of.
struct CgroupState {
    /// The call that last saw it.
    round: u64,
    /// Whether a walk found it.
    found: bool,
}

/// Resolves owners. One for the whole life of the daemon.
pub struct Resolver {
    proc: ProcFs,
    accounting: Option<Accounting>,
    /// Whether there is a unified hierarchy. Without one all processes are asked one by one.
    unified: bool,
    round: u64,
    /// Cgroups in the newest report: as many as its rows at most, which the probe bounds. Others are dropped.
    cgroups: HashMap<CgroupId, CgroupState>,
    /// Ids that the newest report named first. Empty between calls; kept for its room.
    wanted: HashSet<CgroupId>,
    missing: usize,
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
            accounting: roots.cgroup_mounts.accounting(),
            unified: roots.cgroup_mounts.unified.is_some(),
            round: 0,
            cgroups: HashMap::new(),
            wanted: HashSet::new(),
            missing: 0,
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

    /// Owners of all that `usage` lists; the same `Arc` as last time when nothing changed. `now` is `CLOCK_BOOTTIME`, the
    /// clock of start times: young processes are asked again, for runtimes move them after the fork.
    pub fn resolve(&mut self, usage: &Usage, now: Duration) -> Arc<Identity> {
        let since_boot = now;
        let now = boot_ticks(now);
        self.round += 1;
        self.note_cgroups(&usage.tasks);
        if !self.wanted.is_empty() {
            self.walk();
        }
        self.note_tasks(&usage.tasks, now);
        for finding in self.tasks.read_due(&mut self.proc, now, &mut self.counters) {
            self.apply(finding);
        }
        for namer in &mut self.namers {
            namer.name(usage, &mut self.identity, since_boot);
        }
        Arc::clone(&self.identity)
    }

    /// Marks the cgroups of the report, collects the unknown ones and forgets those that it no longer names.
    fn note_cgroups(&mut self, rows: &[TaskUsage]) {
        let mut named = 0;
        let mut last = None;
        for row in rows {
            // Probes list a process's rows together, so neighbours often share the cgroup.
            if last == Some(row.cgroup) {
                continue;
            }
            last = Some(row.cgroup);
            match self.cgroups.get_mut(&row.cgroup) {
                Some(state) if state.round == self.round => {}
                Some(state) => {
                    state.round = self.round;
                    named += 1;
                }
                None => {
                    self.wanted.insert(row.cgroup);
                }
            }
        }
        if named < self.cgroups.len() {
            self.forget_cgroups();
        }
    }

    fn forget_cgroups(&mut self) {
        let (round, identity) = (self.round, &mut self.identity);
        self.cgroups.retain(|id, state| {
            let kept = state.round == round;
            if !kept && state.found {
                Arc::make_mut(identity).cgroups.remove(id);
            }
            kept
        });
        self.missing = self.cgroups.values().filter(|state| !state.found).count();
    }

    /// Finds the wanted ids, all in one walk that ends with the last of them. Ids missed before ride along: an id that no
    /// walk finds costs no walk of its own again.
    fn walk(&mut self) {
        if self.wanted.remove(&CgroupId::ROOT) {
            // The root has this number in every hierarchy, also where only a part of it is mounted.
            self.found(CgroupId::ROOT, "/");
        }
        let Some(accounting) = self.accounting.clone().filter(|_| !self.wanted.is_empty()) else {
            self.give_up();
            return;
        };
        self.wanted.extend(
            self.cgroups
                .iter()
                .filter(|(_, state)| !state.found)
                .map(|(id, _)| *id),
        );
        let outcome = cgroup::walk(&accounting.mount, &mut |id, path| {
            if self.wanted.remove(&id) {
                self.found(id, path);
            }
            if self.wanted.is_empty() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        self.count_walk(outcome);
        self.give_up();
    }

    fn count_walk(&mut self, outcome: WalkOutcome) {
        self.counters.walks += 1;
        self.counters.walked_directories += outcome.directories;
        self.counters.unreadable_directories += outcome.unreadable;
        self.counters.truncated_walks += u64::from(outcome.truncated);
    }

    fn found(&mut self, id: CgroupId, path: &str) {
        self.counters.cgroups_found += 1;
        let state = CgroupState {
            round: self.round,
            found: true,
        };
        if self.cgroups.insert(id, state).is_some() {
            self.missing = self.missing.saturating_sub(1);
        }
        Arc::make_mut(&mut self.identity)
            .cgroups
            .insert(id, Arc::new(cgroup::owner_of(path)));
    }

    /// What is still wanted is not there: remembered, so that it causes no further walk.
    fn give_up(&mut self) {
        for id in self.wanted.drain() {
            if let Entry::Vacant(entry) = self.cgroups.entry(id) {
                self.counters.cgroups_missed += 1;
                self.missing += 1;
                entry.insert(CgroupState {
                    round: self.round,
                    found: false,
                });
            }
        }
    }

    /// Marks the processes that have to be asked themselves: those in the root of the unified hierarchy (version 1 may
    /// know better), all where there is none, and those in a cgroup that our mount does not show.
    fn note_tasks(&mut self, rows: &[TaskUsage], now: u64) {
        for row in rows {
            let (Some(task), TaskKind::User) = (row.task, row.kind) else {
                continue;
            };
            let unknown =
                || self.missing > 0 && self.cgroups.get(&row.cgroup).is_some_and(|state| !state.found);
            if row.cgroup == CgroupId::ROOT || !self.unified || unknown() {
                self.tasks.note(task, row.ended, self.round, now);
            }
        }
        for task in self.tasks.forget(self.round) {
            self.apply(Finding { task, owner: None });
        }
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
