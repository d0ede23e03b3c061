// SPDX-License-Identifier: Apache-2.0
//! What the benchmarks share: settings of this machine, medians, and a consumer that charges what drains report.
#![allow(dead_code, reason = "each benchmark is a crate of its own and uses a part")]

use attribution::model::{CgroupId, PackageId, Section, TaskKey, TaskUsage, TickId, Usage};
use probe_ebpf::{Probe, ProbeError, SchedulerProbe, Settings};
use rustix::thread::{CpuSet, Timespec, nanosleep, sched_setaffinity};
use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

pub(crate) mod cgroup;

/// Whether anything can be measured; if not, says why.
pub(crate) fn may_run() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: needs root (CAP_BPF, CAP_PERFMON, and CAP_SYS_ADMIN for the kernel's statistics)");
    }
    root
}

pub(crate) fn online_cpus() -> Vec<u32> {
    aya::util::online_cpus().expect("the kernel lists its CPUs")
}

/// All CPUs of this machine as one package.
pub(crate) fn settings(max_tasks: u32) -> Settings {
    Settings {
        packages_of_cpu: online_cpus().into_iter().map(|cpu| (cpu, PackageId(0))).collect(),
        max_tasks,
        ..Settings::default()
    }
}

/// One way of accounting CPU time.
pub(crate) trait Meter {
    fn drain(
        &mut self,
        tick: TickId,
        acked: TickId,
        recycled: Vec<TaskUsage>,
    ) -> Result<(Section, Usage), ProbeError>;
}

impl Meter for Probe {
    fn drain(
        &mut self,
        tick: TickId,
        acked: TickId,
        recycled: Vec<TaskUsage>,
    ) -> Result<(Section, Usage), ProbeError> {
        Self::drain(self, tick, acked, recycled)
    }
}

impl Meter for SchedulerProbe {
    fn drain(
        &mut self,
        tick: TickId,
        acked: TickId,
        recycled: Vec<TaskUsage>,
    ) -> Result<(Section, Usage), ProbeError> {
        Self::drain(self, tick, acked, recycled)
    }
}

/// A way of accounting: its name in the tables, and how it is opened.
pub(crate) type Accountant = (&'static str, fn() -> Result<Box<dyn Meter>, ProbeError>);

/// Each of them is measured alone.
pub(crate) const ACCOUNTANTS: [Accountant; 2] = [
    ("switch", || Ok(Box::new(Probe::open(&settings(16_384))?))),
    ("scheduler", || {
        Ok(Box::new(SchedulerProbe::open(&settings(16_384))?))
    }),
];

/// A row's name.
type Name = (Option<TaskKey>, CgroupId, PackageId);

/// Drains and charges the rises, as the attribution engine does: a row that was not in the last report is new.
pub(crate) struct Consumer {
    meter: Box<dyn Meter>,
    tick: u64,
    rows: Vec<TaskUsage>,
    seen: HashMap<Name, u64>,
    charged: HashMap<Name, u64>,
}

impl Consumer {
    pub(crate) fn new(meter: Box<dyn Meter>) -> Self {
        Self {
            meter,
            tick: 0,
            rows: Vec::new(),
            seen: HashMap::new(),
            charged: HashMap::new(),
        }
    }

    pub(crate) fn drain(&mut self) {
        self.tick += 1;
        let recycled = std::mem::take(&mut self.rows);
        let usage = self
            .meter
            .drain(TickId(self.tick), TickId(self.tick - 1), recycled);
        self.rows = usage.expect("a probe that opened can be drained").1.tasks;
        let mut now = HashMap::with_capacity(self.rows.len());
        for row in &self.rows {
            let name = (row.task, row.cgroup, row.package);
            let cpu = row.cpu.as_nanos();
            let before = self.seen.get(&name).copied().unwrap_or(0);
            *self.charged.entry(name).or_default() += cpu.saturating_sub(before);
            now.insert(name, cpu);
        }
        self.seen = now;
    }

    /// Charged so far to a process, in nanoseconds.
    pub(crate) fn charged_to(&self, pid: u32) -> u64 {
        let rows = self.charged.iter();
        rows.filter(|(name, _)| name.0.is_some_and(|task| task.tgid == pid))
            .map(|(_, nanos)| nanos)
            .sum()
    }

    /// Charged so far to a cgroup, in nanoseconds, and to how many processes.
    pub(crate) fn charged_in(&self, cgroup: CgroupId) -> (u64, usize) {
        let rows = || self.charged.iter().filter(|(name, _)| name.1 == cgroup);
        let processes = rows().filter(|(name, _)| name.0.is_some()).count();
        (rows().map(|(_, nanos)| nanos).sum(), processes)
    }
}

/// A process that is killed when this is dropped.
pub(crate) struct Guarded(pub(crate) Child);

impl Guarded {
    pub(crate) fn start(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Self(child.expect("a process can be started"))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

pub(crate) fn pause(milliseconds: u32) {
    let time = Timespec {
        tv_sec: i64::from(milliseconds / 1_000),
        tv_nsec: i64::from(milliseconds % 1_000) * 1_000_000,
    };
    drop(nanosleep(&time));
}

/// Keeps the calling thread, and what it starts, on one CPU.
pub(crate) fn pin(cpu: u32) {
    let mut set = CpuSet::new();
    set.set(usize::try_from(cpu).unwrap_or(0));
    sched_setaffinity(None, &set).expect("the CPU is online");
}

/// Time that the hypervisor took from all CPUs since boot, in nanoseconds (proc(5): field `steal`, 100 a second).
pub(crate) fn stolen() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let field = text
        .lines()
        .next()
        .and_then(|line| line.split_whitespace().nth(8));
    field.and_then(|field| field.parse::<u64>().ok()).unwrap_or(0) * 10_000_000
}

/// This program's own file, to be started as a load.
pub(crate) fn myself() -> PathBuf {
    std::env::current_exe().expect("a running program has a path")
}

/// The middle of what was measured; of an even number the higher of the two.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// For ratios and means of counts that lie far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "see above")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}
