// SPDX-License-Identifier: Apache-2.0
//! The scan: which processes there are, what each rose by, who is gone.
//!
//! Two passes. First the clocks of all processes in the book, and what else there is to read of those that ran; then the
//! list of pids, whose strangers are read and whose absentees are buried. In this order a child time is always older than
//! the list that tells who died (see `children`).

use super::children::{ChildTime, Room};
use super::groups::Groups;
use super::kin::{self, Parent};
use super::processes::Process;
use crate::cgroup::Hierarchy;
use crate::error::WorkloadError;
use crate::machine::Machine;
use crate::procfs::{CgroupLine, ClockReading, PidStat, ProcFs, ProcessClock, ticks_to_nanos};
use attribution::model::{CgroupId, CpuNanos, TaskUsage};
use std::collections::HashMap;

/// What could not be read, by reason.
#[derive(Default)]
pub(super) struct Lost {
    pub(super) denied: u64,
    pub(super) unparsable: u64,
    pub(super) clock_refused: u64,
}

impl Lost {
    /// Counts a failure by its reason; it costs what it concerns and nothing else.
    pub(super) fn count<T>(&mut self, result: Result<T, WorkloadError>) -> Option<T> {
        match result {
            Ok(value) => return Some(value),
            Err(WorkloadError::Denied { .. }) => self.denied += 1,
            Err(error) => {
                self.unparsable += 1;
                tracing::debug!(%error, "skipped while reading proc");
            }
        }
        None
    }
}

/// Which of the two passes looks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// Over the book, before the listing.
    Known,
    /// Over the listing.
    Listed,
}

/// The book of processes.
pub(super) struct Scan {
    pub(super) proc: ProcFs,
    /// Without one, time comes from `stat`.
    clock: Option<Box<dyn ProcessClock>>,
    pub(super) machine: Machine,
    /// By pid; as many as the kernel has processes (`pid_max`, at most 4 million, each some 250 bytes).
    processes: HashMap<u32, Process>,
    round: u64,
    /// The latest start of a process that the first scan saw. One that shows up later and is older was there already and was
    /// missed (it could not be read then): its past is not ours to pay. One of the same clock tick was most likely born
    /// behind the scan's back, and all of its life is.
    newest_at_open: u64,
    /// Charged to anyone since the last settlement.
    pub(super) charged: CpuNanos,
    /// Found dead in this scan.
    dead: Vec<Process>,
    pub(super) lost: Lost,
    /// Kept for its room.
    pids: Vec<u32>,
}

impl Scan {
    /// An empty book; the first scan takes what it finds as the base.
    pub(super) fn new(proc: ProcFs, machine: Machine, clock: Option<Box<dyn ProcessClock>>) -> Self {
        Self {
            proc,
            clock,
            machine,
            processes: HashMap::new(),
            round: 0,
            newest_at_open: u64::MAX,
            charged: CpuNanos::ZERO,
            dead: Vec::new(),
            lost: Lost::default(),
            pids: Vec::new(),
        }
    }

    /// The first scan is done: who is younger from now on counts whole.
    pub(super) fn begin(&mut self) {
        let starts = self.processes.values().map(|process| process.key.start_ticks);
        self.newest_at_open = starts.max().unwrap_or(0);
        self.dead.clear();
    }

    /// Scans all processes and explains their time to their cgroups.
    pub(super) fn run(&mut self, groups: &mut Groups) -> Result<(), WorkloadError> {
        self.round += 1;
        let mut pids = std::mem::take(&mut self.pids);
        pids.clear();
        pids.extend(self.processes.keys());
        for pid in &pids {
            self.look(groups, *pid, Pass::Known);
        }
        let listed = self.proc.pids(&mut pids);
        for pid in &pids {
            let is_read = |process: &&mut Process| process.looked == self.round;
            if self.processes.get_mut(pid).filter(is_read).is_none() {
                self.look(groups, *pid, Pass::Listed);
            }
            if let Some(process) = self.processes.get_mut(pid)
                && process.looked == self.round
            {
                process.listed = self.round;
            }
        }
        self.pids = pids;
        listed?;
        self.bury(groups);
        Ok(())
    }

    /// Charges what children ran that nobody saw, as far as the node was busy with time that
    /// nobody is charged for (`room`).
    pub(super) fn settle(&mut self, groups: &mut Groups, room: &mut Room) {
        for process in self.processes.values_mut() {
            let unpaid = process.children.unpaid();
            if unpaid.is_zero() {
                continue;
            }
            if groups.counts(process.cgroup) {
                process.children.leave_to_the_cgroup();
                continue;
            }
            let paid = room.take(unpaid);
            if !paid.is_zero() {
                groups.charge_unseen(process.cgroup, process.package, paid);
                process.children.pay(paid);
            }
        }
    }

    /// Rows of the living.
    pub(super) fn report(&self, rows: &mut Vec<TaskUsage>) {
        for process in self.processes.values() {
            rows.extend(process.report(false));
        }
    }

    /// Rows of those that this scan found dead.
    pub(super) fn take_dead(&mut self) -> impl Iterator<Item = TaskUsage> {
        self.dead
            .drain(..)
            .flat_map(|process| process.report(true).collect::<Vec<_>>())
    }

    /// Reads one process. Its clock comes first, so that what it runs while the rest is read counts next time. That a pid
    /// changes hands between two of these calls, or between the passes, would take the kernel's pid counter to come by in
    /// that very moment; `settle` holds what that could cost.
    fn look(&mut self, groups: &mut Groups, pid: u32, pass: Pass) {
        let mut time = None;
        match self.clock.as_ref().map(|clock| clock.read(pid)) {
            None => {}
            Some(ClockReading::Time(reading)) => {
                if let Some(process) = self.processes.get_mut(&pid)
                    && process.stood_still(reading)
                {
                    process.looked = self.round;
                    return;
                }
                time = Some(reading);
            }
            Some(ClockReading::Gone) => {
                if pass == Pass::Listed {
                    self.keep_if_alive(pid);
                }
                return;
            }
            Some(ClockReading::Refused) => {
                self.lost.clock_refused += 1;
                self.keep(pid);
                return;
            }
        }
        let stat = self.proc.stat(pid);
        match self.lost.count(stat) {
            Some(Some(stat)) => {
                let time = time.unwrap_or_else(|| ticks_to_nanos(stat.cpu_ticks()));
                self.observe(groups, &stat, time, pass);
            }
            Some(None) => {} // died since
            None => self.keep(pid),
        }
    }

    /// It lives, it just cannot be read now: what it was charged stays.
    fn keep(&mut self, pid: u32) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.looked = self.round;
        }
    }

    /// A clock that is gone while the pid is listed is a death in between, or one of the moments in which an older kernel
    /// finds no leader of the group (a thread that is not the leader calls exec). Who is buried and comes back counts
    /// whole, and has been paid; so it has to be sure.
    fn keep_if_alive(&mut self, pid: u32) {
        let Some(key) = self.processes.get(&pid).map(|process| process.key) else {
            return;
        };
        let stat = self.proc.stat(pid);
        match self.lost.count(stat) {
            Some(Some(stat)) if stat.key() != key => {}
            Some(None) => {}
            Some(Some(_)) | None => self.keep(pid),
        }
    }

    /// Takes one process in.
    fn observe(&mut self, groups: &mut Groups, stat: &PidStat, time: CpuNanos, pass: Pass) {
        let was_there = stat.start_ticks < self.newest_at_open;
        let mut process = match self.processes.remove(&stat.pid) {
            Some(process) if process.key == stat.key() => process,
            other => {
                // The pid is in new hands.
                self.dead.extend(other);
                let children = if was_there {
                    ChildTime::since(ticks_to_nanos(stat.child_ticks()))
                } else {
                    ChildTime::from_birth()
                };
                Process::new(stat, children)
            }
        };
        process.parent = self.parent_of(stat);
        let is_new = process.is_new();
        // Version 1 shows `/` for a dying process, whatever it was in.
        let is_nowhere = stat.exiting() && groups.hierarchy() == Some(Hierarchy::Version1);
        if is_new && is_nowhere && !was_there {
            // Its cgroup or its parent's child time pays for it; the root would do so once more.
            return;
        }
        let due = !is_nowhere && process.check_is_due(time);
        let found = if due {
            self.cgroup_of(groups, &process)
        } else {
            None
        };
        let mut rise = process.advance(stat, time, self.round);
        if is_new && was_there {
            rise = CpuNanos::ZERO;
        }
        if let Some(id) = found {
            if id != process.cgroup && !is_new {
                // Some of this last rise may have run where it was: that cgroup is not to pay it again. What did
                // not is taken back at the next reading.
                groups.credit(process.cgroup, rise);
            }
            process.cgroup = id;
        }
        if pass == Pass::Known && !is_new {
            process.children.read(ticks_to_nanos(stat.child_ticks()));
        }
        let package = self.machine.package_of(stat.processor);
        process.charge(package, rise);
        self.charged += rise;
        groups.explain(process.cgroup, package, rise, self.clock.is_none());
        self.processes.insert(stat.pid, process);
    }

    /// The cgroup that a process is in now, in the hierarchy that counts.
    fn cgroup_of(&mut self, groups: &mut Groups, process: &Process) -> Option<CgroupId> {
        let hierarchy = groups.hierarchy()?;
        let lines = self.proc.cgroups(process.key.tgid);
        let lines = self.lost.count(lines)??;
        let counts = |line: &&CgroupLine| match hierarchy {
            Hierarchy::Unified => line.unified(),
            Hierarchy::Version1 => line.has("cpuacct"),
        };
        let line = lines.iter().find(counts)?;
        if let Some(id) = (!line.is_gone).then(|| groups.enter(&line.path)).flatten() {
            return Some(id);
        }
        // A zombie may outlive its cgroup. It stays in it, and one that was never seen is in the one that pays for it: the
        // root would pay once more.
        let heir = groups.enter_gone(&line.path)?;
        if process.is_new() {
            return Some(heir);
        }
        groups.inherit(process.cgroup, heir);
        None
    }

    /// Takes those out of the book that the list does not have, and tells their parents what is known of them.
    fn bury(&mut self, groups: &Groups) {
        let round = self.round;
        let dead = self.processes.extract_if(|_, process| process.listed != round);
        self.dead.extend(dead.map(|(_, process)| process));
        let (proc, lost) = (&mut self.proc, &mut self.lost);
        // A process that exits loses its children, and may be listed as a zombie for long. It costs one file for each parent
        // of a known dead to see that it had not come to that when the list was made.
        let may_wait = |process: &Process| {
            let stat = lost.count(proc.stat(process.key.tgid)).flatten();
            stat.is_some_and(|stat| stat.key() == process.key && !stat.exiting())
        };
        kin::tell(&mut self.processes, &self.dead, |id| groups.counts(id), may_wait);
    }

    /// The parent, if the book knows it. It is no younger than the child; if it is, the pid is in new hands.
    fn parent_of(&self, stat: &PidStat) -> Parent {
        if stat.parent == 0 {
            return Parent::None;
        }
        let key = self.processes.get(&stat.parent).map(|process| process.key);
        key.filter(|key| key.start_ticks <= stat.start_ticks)
            .map_or(Parent::Unknown, Parent::Known)
    }
}
