// SPDX-License-Identifier: Apache-2.0
//! Which owners cgroup ids have. Follows the hierarchy through the kernel's own events where it may; else walks it for
//! ids that it does not know, once for each report at most.

use super::ResolverCounters;
use crate::cgroup::{self, Accounting, Caught, Tree, WalkOutcome};
use attribution::model::{CgroupId, Identity, TaskUsage};
use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};
use std::collections::hash_map::Entry;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

/// A cgroup that the newest report speaks of.
struct CgroupState {
    /// The call that last saw it.
    round: u64,
    /// Whether its path is known.
    found: bool,
}

/// Where paths come from.
enum Paths {
    /// The kernel tells what comes and goes.
    Told(Box<Tree>),
    /// It does not: look when there is something new.
    Walked(Accounting),
    /// There is no hierarchy.
    None,
}

/// The cgroups of the newest report.
pub(super) struct CgroupBook {
    paths: Paths,
    round: u64,
    /// As many as the newest report's rows at most, which the probe bounds. Others are dropped.
    known: HashMap<CgroupId, CgroupState>,
    /// Ids that the newest report named first. Empty between calls; kept for its room.
    wanted: HashSet<CgroupId>,
    missing: usize,
}

impl CgroupBook {
    /// One that knows none yet. From here on nothing that happens to the hierarchy is missed, if the kernel allows that.
    pub(super) fn new(accounting: Option<Accounting>) -> Self {
        Self {
            paths: accounting.map_or(Paths::None, follow),
            round: 0,
            known: HashMap::new(),
            wanted: HashSet::new(),
            missing: 0,
        }
    }

    /// Whether the report names it and nobody knows what it is.
    pub(super) fn is_missing(&self, id: CgroupId) -> bool {
        self.missing > 0 && self.known.get(&id).is_some_and(|state| !state.found)
    }

    /// Cgroups of the newest report, and of the hierarchy: all that are known, and those of them that have gone.
    pub(super) fn len(&self) -> (usize, (usize, usize)) {
        let hierarchy = match &self.paths {
            Paths::Told(tree) => tree.len(),
            Paths::Walked(_) | Paths::None => (0, 0),
        };
        (self.known.len(), hierarchy)
    }

    /// Owners for all that `rows` name, and for nothing else. `now` is of any clock that does not go back.
    pub(super) fn update(
        &mut self,
        rows: &[TaskUsage],
        now: Duration,
        identity: &mut Arc<Identity>,
        counters: &mut ResolverCounters,
    ) {
        self.round += 1;
        self.note(rows, identity);
        self.catch_up(now, counters);
        if self.wanted.is_empty() {
            return;
        }
        if self.wanted.remove(&CgroupId::ROOT) {
            // The root has this number in every hierarchy, also where only a part of it is mounted.
            self.found(CgroupId::ROOT, "/", identity, counters);
        }
        match std::mem::replace(&mut self.paths, Paths::None) {
            Paths::Told(tree) => {
                self.look_up(&tree, identity, counters);
                self.paths = Paths::Told(tree);
            }
            Paths::Walked(accounting) => {
                if !self.wanted.is_empty() {
                    self.walk(&accounting, identity, counters);
                }
                self.paths = Paths::Walked(accounting);
            }
            Paths::None => {}
        }
        self.give_up(counters);
    }

    /// Marks the cgroups of the report, collects the unknown ones and forgets those that it no longer names.
    fn note(&mut self, rows: &[TaskUsage], identity: &mut Arc<Identity>) {
        let mut named = 0;
        let mut last = None;
        for row in rows {
            // Probes list a process's rows together, so neighbours often share the cgroup.
            if last == Some(row.cgroup) {
                continue;
            }
            last = Some(row.cgroup);
            match self.known.get_mut(&row.cgroup) {
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
        if named < self.known.len() {
            self.forget(identity);
        }
    }

    fn forget(&mut self, identity: &mut Arc<Identity>) {
        let round = self.round;
        self.known.retain(|id, state| {
            let kept = state.round == round;
            if !kept && state.found {
                Arc::make_mut(identity).cgroups.remove(id);
            }
            kept
        });
        self.missing = self.known.values().filter(|state| !state.found).count();
    }

    /// Takes in what the kernel told. The queue is emptied at each call, so that it does not overflow.
    fn catch_up(&mut self, now: Duration, counters: &mut ResolverCounters) {
        let Paths::Told(tree) = &mut self.paths else {
            return;
        };
        match tree.catch_up(now) {
            Ok(caught) => {
                count_caught(caught, counters);
                // A process may be in a cgroup a moment before the kernel has told of it.
                if caught.new > 0 && self.missing > 0 {
                    self.want_the_missing();
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the kernel no longer tells which cgroups come and go: looking for them instead");
                self.paths = Paths::Walked(tree.accounting().clone());
            }
        }
    }

    fn want_the_missing(&mut self) {
        let missing = self.known.iter().filter(|(_, state)| !state.found);
        self.wanted.extend(missing.map(|(id, _)| *id));
    }

    fn look_up(&mut self, tree: &Tree, identity: &mut Arc<Identity>, counters: &mut ResolverCounters) {
        let wanted = std::mem::take(&mut self.wanted);
        for id in &wanted {
            match tree.path(*id) {
                Some(path) => self.found(*id, &path, identity, counters),
                None => {
                    self.wanted.insert(*id);
                }
            }
        }
    }

    /// Finds the wanted ids, all in one walk that ends with the last of them. Ids missed before ride along: an id that no
    /// walk finds costs no walk of its own again.
    fn walk(
        &mut self,
        accounting: &Accounting,
        identity: &mut Arc<Identity>,
        counters: &mut ResolverCounters,
    ) {
        self.want_the_missing();
        let outcome = cgroup::walk(&accounting.mount, &mut |id, path| {
            if self.wanted.remove(&id) {
                self.found(id, path, identity, counters);
            }
            if self.wanted.is_empty() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        count_walk(outcome, counters);
    }

    fn found(
        &mut self,
        id: CgroupId,
        path: &str,
        identity: &mut Arc<Identity>,
        counters: &mut ResolverCounters,
    ) {
        counters.cgroups_found += 1;
        let state = CgroupState {
            round: self.round,
            found: true,
        };
        if self.known.insert(id, state).is_some() {
            self.missing = self.missing.saturating_sub(1);
        }
        Arc::make_mut(identity)
            .cgroups
            .insert(id, Arc::new(cgroup::owner_of(path)));
    }

    /// What is still wanted is not there: remembered, so that it causes no further walk.
    fn give_up(&mut self, counters: &mut ResolverCounters) {
        for id in self.wanted.drain() {
            if let Entry::Vacant(entry) = self.known.entry(id) {
                counters.cgroups_missed += 1;
                self.missing += 1;
                entry.insert(CgroupState {
                    round: self.round,
                    found: false,
                });
            }
        }
    }
}

fn follow(accounting: Accounting) -> Paths {
    let point = accounting.mount.point.display().to_string();
    match Tree::open(&accounting) {
        Ok(tree) => {
            tracing::info!(mount = point, "the kernel tells which cgroups come and go");
            Paths::Told(Box::new(tree))
        }
        Err(error) => {
            tracing::info!(
                mount = point,
                %error,
                "the kernel does not tell which cgroups come and go (that takes Linux 6.7 and CAP_SYS_ADMIN): looking for \
                 new ones at each tick, and one that is gone by then belongs to nobody"
            );
            Paths::Walked(accounting)
        }
    }
}

fn count_caught(caught: Caught, counters: &mut ResolverCounters) {
    counters.events += caught.changes;
    counters.events_refused += caught.refused;
    counters.overflows += u64::from(caught.overflowed);
    counters.found_when_gone += caught.new_and_gone;
    counters.unplaced += caught.unplaced;
    if let Some(outcome) = caught.walked {
        count_walk(outcome, counters);
    }
}

fn count_walk(outcome: WalkOutcome, counters: &mut ResolverCounters) {
    counters.walks += 1;
    counters.walked_directories += outcome.directories;
    counters.unreadable_directories += outcome.unreadable;
    counters.truncated_walks += u64::from(outcome.truncated);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_kernels_events_led_to_is_counted() {
        let mut counters = ResolverCounters::default();
        let walk = WalkOutcome {
            directories: 7,
            unreadable: 8,
            truncated: true,
        };
        let caught = Caught {
            changes: 1,
            new: 2,
            new_and_gone: 3,
            unplaced: 4,
            refused: 5,
            overflowed: true,
            walked: Some(walk),
        };
        count_caught(caught, &mut counters);
        let expected = ResolverCounters {
            events: 1,
            found_when_gone: 3,
            unplaced: 4,
            events_refused: 5,
            overflows: 1,
            walks: 1,
            walked_directories: 7,
            unreadable_directories: 8,
            truncated_walks: 1,
            ..ResolverCounters::default()
        };
        assert_eq!(counters, expected);
    }
}
