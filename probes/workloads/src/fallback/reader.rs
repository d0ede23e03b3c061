// SPDX-License-Identifier: Apache-2.0
//! The scan: which processes there are, what each rose by, and the report made of it.

use super::PROBE;
use super::groups::Groups;
use super::packages::PackageBook;
use super::processes::Process;
use crate::cgroup::Hierarchy;
use crate::error::WorkloadError;
use crate::machine::Machine;
use crate::procfs::{CgroupLine, CpuTimes, PidStat, ProcFs};
use crate::roots::Roots;
use attribution::model::{CgroupId, CpuNanos, LostEvents, MonotonicNanos, Section, TaskUsage, TickId, Usage};
use std::collections::{HashMap, VecDeque};

/// Rows of the dead that wait to be acknowledged. A tick's dead were alive at the tick before, some thousands on a busy
/// node; this holds sixteen such ticks. Beyond it the oldest leave unpaid and are counted.
const ENDED: usize = 65_536;

#[derive(Default)]
struct Lost {
    denied: u64,
    unparsable: u64,
    ended: u64,
}

/// CPU time from `/proc` and the cgroups.
pub struct ProcReader {
    proc: ProcFs,
    machine: Machine,
    /// By pid; as many as the kernel has processes (`pid_max`, at most 4 million, each some 200 bytes).
    processes: HashMap<u32, Process>,
    groups: Groups,
    packages: PackageBook,
    ended: VecDeque<(TickId, TaskUsage)>,
    lost: Lost,
    round: u64,
    /// The latest start of a process that `open` saw. One that shows up later and is no younger was there already and was
    /// missed (it could not be read then): its past is not ours to pay.
    newest_at_open: u64,
    /// Kept for their room.
    pids: Vec<u32>,
    lines: Vec<CpuTimes>,
}

impl ProcReader {
    /// Begins to count: what processes and cgroups have on their counters now is the base.
    ///
    /// # Errors
    /// When the proc mount or its `stat` cannot be read.
    pub fn open(roots: &Roots, machine: &Machine) -> Result<Self, WorkloadError> {
        let mut reader = Self {
            proc: ProcFs::new(&roots.proc),
            machine: machine.clone(),
            processes: HashMap::new(),
            groups: Groups::new(roots.cgroup_mounts.accounting()),
            packages: PackageBook::default(),
            ended: VecDeque::new(),
            lost: Lost::default(),
            round: 0,
            newest_at_open: 0,
            pids: Vec::new(),
            lines: Vec::new(),
        };
        reader.proc.cpu_times(&mut reader.lines)?;
        reader.packages.add(&reader.lines, &reader.machine);
        reader.scan(TickId(0))?;
        for process in reader.processes.values_mut() {
            process.begin();
            reader.newest_at_open = reader.newest_at_open.max(process.key.start_ticks);
        }
        reader.ended.clear();
        reader.groups.begin();
        Ok(reader)
    }

    /// The hierarchy whose inode numbers are the cgroup ids of the report; `None` where there is neither a unified
    /// hierarchy nor cpuacct, and all is in the root.
    #[must_use]
    pub fn hierarchy(&self) -> Option<Hierarchy> {
        self.groups.hierarchy()
    }

    /// Reads everything. `acked` is the newest tick whose window has closed: the dead that were listed in it leave.
    /// `now` is `CLOCK_MONOTONIC`; `recycled` is an old report's rows, for their room.
    ///
    /// # Errors
    /// When the proc mount cannot be listed; totals are kept and the next report pays.
    pub fn drain(
        &mut self,
        tick: TickId,
        acked: TickId,
        now: &mut dyn FnMut() -> MonotonicNanos,
        recycled: Vec<TaskUsage>,
    ) -> Result<(Section, Usage), WorkloadError> {
        let began = now();
        while self.ended.front().is_some_and(|(listed, _)| *listed <= acked) {
            self.ended.pop_front();
        }
        let mut gone = Vec::new();
        let groups = self.groups.read(&mut gone);
        self.count(groups);
        for row in gone {
            self.end(tick, row);
        }
        self.scan(tick)?;
        self.groups.settle();
        let times = self.proc.cpu_times(&mut self.lines);
        if self.count(times).is_some() {
            self.packages.add(&self.lines, &self.machine);
        }
        let section = Section { began, ended: now() };
        Ok((section, self.report(recycled)))
    }

    fn scan(&mut self, tick: TickId) -> Result<(), WorkloadError> {
        self.round += 1;
        let mut pids = std::mem::take(&mut self.pids);
        let listed = self.proc.pids(&mut pids);
        for pid in &pids {
            let stat = self.proc.stat(*pid);
            match self.count(stat) {
                Some(Some(stat)) => self.observe(&stat, tick),
                Some(None) => {} // died since it was listed
                None => {
                    // It lives, it just cannot be read now: what it was charged stays.
                    if let Some(process) = self.processes.get_mut(pid) {
                        process.round = self.round;
                    }
                }
            }
        }
        self.pids = pids;
        listed?;
        self.bury(tick);
        Ok(())
    }

    /// Takes one process in.
    fn observe(&mut self, stat: &PidStat, tick: TickId) {
        let mut process = match self.processes.remove(&stat.pid) {
            Some(process) if process.key == stat.key() => process,
            other => {
                // The pid is in new hands.
                if let Some(dead) = other {
                    self.end_process(&dead, tick);
                }
                Process::new(stat, CgroupId::ROOT)
            }
        };
        let found = if process.check_is_due(stat) {
            self.cgroup_of(stat.pid)
        } else {
            None
        };
        let is_new = process.round == 0;
        let mut rise = process.advance(stat, self.round);
        if is_new && stat.start_ticks <= self.newest_at_open {
            rise = CpuNanos::ZERO;
        }
        if let Some(id) = found {
            if id != process.cgroup && !is_new {
                // Some of this last rise may have run where it was: that cgroup is not to pay it again.
                self.groups.credit(process.cgroup, rise);
            }
            process.cgroup = id;
        }
        let package = self.machine.package_of(stat.processor);
        process.charge(package, rise);
        self.groups.explain(process.cgroup, package, rise);
        self.processes.insert(stat.pid, process);
    }

    /// The cgroup that a process is in now, in the hierarchy that counts.
    fn cgroup_of(&mut self, pid: u32) -> Option<CgroupId> {
        let hierarchy = self.groups.hierarchy()?;
        let lines = self.proc.cgroups(pid);
        let lines = self.count(lines)??;
        let counts = |line: &&CgroupLine| match hierarchy {
            Hierarchy::Unified => line.unified(),
            Hierarchy::Version1 => line.has("cpuacct"),
        };
        self.groups.enter(&lines.iter().find(counts)?.path)
    }

    /// Lists those that the scan did not see as ended.
    fn bury(&mut self, tick: TickId) {
        let round = self.round;
        let dead: Vec<Process> = self
            .processes
            .extract_if(|_, process| process.round != round)
            .map(|(_, process)| process)
            .collect();
        for process in dead {
            self.end_process(&process, tick);
        }
    }

    fn end_process(&mut self, process: &Process, tick: TickId) {
        for row in process.report(true) {
            self.end(tick, row);
        }
    }

    fn end(&mut self, tick: TickId, row: TaskUsage) {
        if self.ended.len() >= ENDED {
            self.ended.pop_front();
            self.lost.ended += 1;
        }
        self.ended.push_back((tick, row));
    }

    /// Counts a failure by its reason; it costs what it concerns and nothing else.
    fn count<T>(&mut self, result: Result<T, WorkloadError>) -> Option<T> {
        match result {
            Ok(value) => return Some(value),
            Err(WorkloadError::Denied { .. }) => self.lost.denied += 1,
            Err(error) => {
                self.lost.unparsable += 1;
                tracing::debug!(%error, "skipped while reading proc");
            }
        }
        None
    }

    fn report(&self, mut tasks: Vec<TaskUsage>) -> Usage {
        tasks.clear();
        for process in self.processes.values() {
            tasks.extend(process.report(false));
        }
        self.groups.report(&mut tasks);
        tasks.extend(self.ended.iter().map(|(_, row)| *row));
        let lost = [
            ("denied", self.lost.denied),
            ("unparsable", self.lost.unparsable),
            ("ended overflow", self.lost.ended),
            ("cgroup overflow", self.groups.overflow),
        ];
        Usage {
            tasks,
            packages: self.packages.report(),
            lost: lost
                .into_iter()
                .map(|(reason, count)| LostEvents {
                    probe: PROBE,
                    reason,
                    count,
                })
                .collect(),
            ..Usage::default()
        }
    }
}
