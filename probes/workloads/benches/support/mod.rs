// SPDX-License-Identifier: Apache-2.0
//! A crowd of processes in cgroups that come and go, and a node that counts it.

mod cgroups;
mod node;

pub(crate) use cgroups::Cgroups;
pub(crate) use node::{Node, resolver};

use attribution::model::{
    CgroupId, Comm, CpuNanos, EventCounts, PackageId, PackageTime, TaskKey, TaskKind, TaskUsage, Usage,
};
use rustix::time::{ClockId, clock_gettime};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;
use std::collections::VecDeque;
use std::fs;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes asked for and not given back.
pub(crate) fn memory() -> usize {
    // Both counts include what reallocations added and took.
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated.saturating_sub(stats.bytes_deallocated)
}

/// What the kernel says that this process has of the machine's memory.
pub(crate) fn rss_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// CPU time of this thread in nanoseconds.
pub(crate) fn thread_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap()
}

pub(crate) fn median(figures: &[u64]) -> u64 {
    let mut sorted = figures.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

/// Processes and the containers that they are in.
pub(crate) struct Crowd {
    rows: VecDeque<TaskUsage>,
    /// Number and id, the oldest first.
    containers: VecDeque<(u64, CgroupId)>,
    containers_ever: u64,
    processes_ever: u64,
    since_boot: Duration,
    busy: u64,
    /// Containers of the last storm whose folders still have to go.
    doomed: Vec<u64>,
    /// Processes that no storm takes: the first rows.
    residents: usize,
}

impl Crowd {
    pub(crate) fn new(containers: u32, processes: u32, cgroups: &Cgroups) -> Self {
        let mut crowd = Self {
            rows: VecDeque::new(),
            containers: VecDeque::new(),
            containers_ever: 0,
            processes_ever: 0,
            since_boot: Duration::from_secs(86_400),
            busy: 0,
            doomed: Vec::new(),
            residents: usize::try_from(processes).unwrap(),
        };
        (0..containers).for_each(|_| crowd.open(cgroups));
        (0..processes).for_each(|_| crowd.birth());
        crowd.since_boot += Duration::from_secs(86_400);
        crowd
    }

    fn open(&mut self, cgroups: &Cgroups) {
        self.containers_ever += 1;
        self.containers
            .push_back((self.containers_ever, cgroups.make(self.containers_ever)));
    }

    fn birth(&mut self) {
        self.processes_ever += 1;
        let at = usize::try_from(self.processes_ever).unwrap() % self.containers.len();
        self.born_in(self.containers[at].1);
    }

    fn born_in(&mut self, cgroup: CgroupId) {
        let pid = 100 + self.processes_ever % 4_000_000;
        let start = u64::try_from(self.since_boot.as_millis() / 10).unwrap();
        self.rows.push_back(TaskUsage {
            task: Some(TaskKey {
                tgid: u32::try_from(pid).unwrap(),
                start_ticks: start,
            }),
            cgroup,
            package: PackageId(0),
            cpu: CpuNanos::from_nanos(1_000_000),
            events: EventCounts::ZERO,
            comm: Comm::from_bytes(b"work"),
            kind: TaskKind::User,
            ended: false,
        });
        self.busy += 1_000_000;
    }

    pub(crate) const fn now(&self) -> Duration {
        self.since_boot
    }

    pub(crate) fn tick(&mut self) {
        self.tick_of(Duration::from_secs(1));
    }

    pub(crate) fn tick_of(&mut self, time: Duration) {
        self.since_boot += time;
    }

    /// The oldest go, new ones come; with `containers` as many of these.
    pub(crate) fn births_and_deaths(&mut self, processes: u32, containers: u32, cgroups: &Cgroups) {
        for _ in 0..containers {
            self.open(cgroups);
            let (number, id) = self.containers.pop_front().unwrap();
            cgroups.remove(number);
            self.rows.retain(|row| row.cgroup != id);
        }
        for _ in 0..processes {
            if let Some(dead) = self.rows.pop_front().and_then(|row| row.task) {
                cgroups.remove_process(dead);
            }
            self.birth();
            let (task, number) = (self.rows.back().unwrap().task.unwrap(), self.containers[0].0);
            cgroups.write_process(task, number);
        }
    }

    /// Containers that are gone when the report is made, and processes that live in it, are dead in the next, and then in
    /// none any more.
    pub(crate) fn storm(&mut self, processes: u32, containers: u32, cgroups: &Cgroups) {
        self.rows.retain(|row| !row.ended);
        for row in self.rows.iter_mut().skip(self.residents) {
            row.ended = true;
        }
        self.doomed.drain(..).for_each(|number| cgroups.remove(number));
        for _ in 0..containers {
            self.containers_ever += 1;
            let (number, id) = (self.containers_ever, cgroups.make(self.containers_ever));
            for _ in 0..processes / containers {
                self.processes_ever += 1;
                self.born_in(id);
            }
            // The walk sees only what is still there.
            if cgroups.are_real() {
                cgroups.remove(number);
            } else {
                self.doomed.push(number);
            }
        }
    }

    /// As a probe would report it. Where there is no unified hierarchy all processes are in its root.
    pub(crate) fn usage(&self, unified: bool) -> Usage {
        let row = |row: &TaskUsage| TaskUsage {
            cgroup: if unified { row.cgroup } else { CgroupId::ROOT },
            ..*row
        };
        let time = u64::try_from(self.since_boot.as_nanos()).unwrap();
        Usage {
            tasks: self.rows.iter().map(row).collect(),
            packages: vec![PackageTime {
                package: PackageId(0),
                cpus: 1,
                busy: CpuNanos::from_nanos(self.busy),
                idle: CpuNanos::from_nanos(time.saturating_sub(self.busy)),
            }],
            ..Usage::default()
        }
    }
}

/// Files for all of them.
pub(crate) fn process_files(cgroups: &Cgroups, crowd: &Crowd) {
    for (index, row) in crowd.rows.iter().enumerate() {
        let (number, _) = crowd.containers[index % crowd.containers.len()];
        cgroups.write_process(row.task.unwrap(), number);
    }
}
