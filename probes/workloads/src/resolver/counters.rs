// SPDX-License-Identifier: Apache-2.0
//! What the resolver counts of itself, and how the daemon says it.

use super::namer::Tallies;
use attribution::model::TallyKind;

/// Its name among the probes.
const PROBE: &str = "resolver";

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

impl ResolverCounters {
    pub(super) fn count(&self, tallies: &mut Tallies) {
        let done = [
            ("walks", self.walks),
            ("walked directories", self.walked_directories),
            ("cgroups found", self.cgroups_found),
            ("events", self.events),
            ("found when gone", self.found_when_gone),
            ("tasks read", self.tasks_read),
            ("tasks deferred", self.tasks_deferred),
        ];
        let lost = [
            ("truncated walks", self.truncated_walks),
            ("unreadable directories", self.unreadable_directories),
            ("cgroups missed", self.cgroups_missed),
            ("events refused", self.events_refused),
            ("event queue overflows", self.overflows),
            ("cgroups unplaced", self.unplaced),
            ("tasks vanished", self.tasks_vanished),
            ("tasks denied", self.tasks_denied),
            ("tasks unparsable", self.tasks_unparsable),
        ];
        tallies.add(PROBE, TallyKind::Done, &done);
        tallies.add(PROBE, TallyKind::Lost, &lost);
    }
}

impl Held {
    pub(super) fn count(&self, tallies: &mut Tallies) {
        let whole = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let held = [
            ("cgroups", whole(self.cgroups)),
            ("paths", whole(self.paths)),
            ("paths of the gone", whole(self.gone)),
            ("tasks asked themselves", whole(self.tasks)),
            ("distinct owners", whole(self.distinct)),
            ("owners", whole(self.owners)),
        ];
        tallies.add(PROBE, TallyKind::Held, &held);
    }
}
