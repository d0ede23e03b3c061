// SPDX-License-Identifier: Apache-2.0
//! The reader: counters, then processes, then what is left, and the report made of it.

use super::PROBE;
use super::children::Room;
use super::groups::Groups;
use super::scan::Scan;
use crate::cgroup::Hierarchy;
use crate::cpus::CpuBook;
use crate::error::WorkloadError;
use crate::machine::Machine;
use crate::procfs::{CpuTimes, KernelClock, ProcFs, ProcessClock};
use crate::roots::Roots;
use attribution::model::{LostEvents, MonotonicNanos, Section, TaskUsage, TickId, Usage};
use std::collections::VecDeque;

/// Rows of the dead that wait to be acknowledged. A tick's dead were alive at the tick before, some thousands on a busy
/// node; this holds sixteen such ticks. Beyond it the oldest leave unpaid and are counted.
const ENDED: usize = 65_536;

/// CPU time from `/proc` and the cgroups.
pub struct ProcReader {
    scan: Scan,
    groups: Groups,
    cpus: CpuBook,
    room: Room,
    ended: VecDeque<(TickId, TaskUsage)>,
    ended_overflow: u64,
    /// CPUs that count to the first package because nobody knows theirs.
    unknown_package: u64,
    no_clock: Option<String>,
    /// Kept for its room.
    lines: Vec<CpuTimes>,
}

impl ProcReader {
    /// Begins to count: what processes and cgroups have on their counters now is the base. Time comes from the kernel's
    /// CPU clocks where `roots` is the proc mount of our own pid namespace, else from ticks.
    ///
    /// # Errors
    /// When the proc mount or its `stat` cannot be read.
    pub fn open(roots: &Roots, machine: &Machine) -> Result<Self, WorkloadError> {
        match KernelClock::of(&roots.proc) {
            Ok(clock) => Self::open_with(roots, machine, Ok(Box::new(clock))),
            Err(reason) => {
                tracing::warn!(
                    reason,
                    "no CPU clocks of processes: time comes from /proc in ticks of 10 ms"
                );
                Self::open_with(roots, machine, Err(reason))
            }
        }
    }

    /// As [`open`](Self::open), with the clock given, or the reason why there is none.
    ///
    /// # Errors
    /// When the proc mount or its `stat` cannot be read.
    pub fn open_with(
        roots: &Roots,
        machine: &Machine,
        clock: Result<Box<dyn ProcessClock>, String>,
    ) -> Result<Self, WorkloadError> {
        let (clock, no_clock) = match clock {
            Ok(clock) => (Some(clock), None),
            Err(reason) => (None, Some(reason)),
        };
        let mut reader = Self {
            scan: Scan::new(ProcFs::new(&roots.proc), machine.clone(), clock),
            groups: Groups::new(roots.cgroup_mounts.accounting()),
            cpus: CpuBook::new(machine.hypervisor == Some(true)),
            room: Room::default(),
            ended: VecDeque::new(),
            ended_overflow: 0,
            unknown_package: 0,
            no_clock,
            lines: Vec::new(),
        };
        reader.scan.proc.cpu_times(&mut reader.lines)?;
        reader.notice_cpus();
        reader.cpus.add(&reader.lines, &reader.scan.machine);
        reader.scan.run(&mut reader.groups)?;
        reader.scan.begin();
        reader.groups.begin();
        Ok(reader)
    }

    /// The hierarchy whose inode numbers are the cgroup ids of the report; `None` where there is neither a unified
    /// hierarchy nor cpuacct, and all is in the root.
    #[must_use]
    pub fn hierarchy(&self) -> Option<Hierarchy> {
        self.groups.hierarchy()
    }

    /// Why time comes from ticks of 10 ms, which is coarser and loses nothing; `None` where the processes' CPU clocks tell it.
    #[must_use]
    pub fn no_clock(&self) -> Option<&str> {
        self.no_clock.as_deref()
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
        self.groups.read(&mut gone, &mut self.scan.lost);
        for row in gone {
            self.end(tick, row);
        }
        self.scan.run(&mut self.groups)?;
        self.scan.charged += self.groups.settle();
        let times = self.scan.proc.cpu_times(&mut self.lines);
        if self.scan.lost.count(times).is_some() {
            self.notice_cpus();
            let busy = self.cpus.add(&self.lines, &self.scan.machine);
            let charged = std::mem::take(&mut self.scan.charged);
            self.room.open(busy, charged, self.lines.len());
            self.scan.settle(&mut self.groups, &mut self.room);
        }
        let dead: Vec<TaskUsage> = self.scan.take_dead().collect();
        for row in dead {
            self.end(tick, row);
        }
        let section = Section { began, ended: now() };
        Ok((section, self.report(recycled)))
    }

    /// CPUs that came online since the last reading of their lines: processes that were seen on one before that count to the
    /// first package.
    fn notice_cpus(&mut self) {
        for cpu in self.scan.machine.notice(self.lines.iter().map(|line| line.cpu)) {
            tracing::warn!(
                cpu,
                "a CPU came online and the kernel does not say on which package it is: it counts to the first one, and \
                 figures by package are wrong until a restart"
            );
            self.unknown_package += 1;
        }
    }

    /// Leaves room for so many watched cgroups, for tests.
    #[cfg(test)]
    pub(super) fn keep_room_for(&mut self, groups: usize) {
        self.groups.keep_room_for(groups);
    }

    fn end(&mut self, tick: TickId, row: TaskUsage) {
        if self.ended.len() >= ENDED {
            self.ended.pop_front();
            self.ended_overflow += 1;
        }
        self.ended.push_back((tick, row));
    }

    fn report(&self, mut tasks: Vec<TaskUsage>) -> Usage {
        tasks.clear();
        self.scan.report(&mut tasks);
        self.groups.report(&mut tasks);
        tasks.extend(self.ended.iter().map(|(_, row)| *row));
        let lost = [
            ("denied", self.scan.lost.denied),
            ("unparsable", self.scan.lost.unparsable),
            ("clock refused", self.scan.lost.clock_refused),
            ("ended overflow", self.ended_overflow),
            ("unknown_package", self.unknown_package),
            ("cgroup overflow", self.groups.overflow),
        ];
        Usage {
            tasks,
            packages: self.cpus.packages(),
            cpus: self.cpus.cpus(),
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
