// SPDX-License-Identifier: Apache-2.0
//! The eBPF era's Kepler (0.7 to 0.9) as its formulas say: the lowest energy of an interval is the idle energy, what is
//! above goes by CPU time, all sockets and all components alike, every three seconds, rounded up to a milliwatt each.
//!
//! As it samples: CPU time comes from context switches; the first slice of a process after each reading is lost, and a
//! slice counts when it ends; the idle task counts as a process, with one stamp for all CPUs; microseconds are cut to
//! milliseconds; an interval in which a counter went back is dropped; the GPU's energy is shared alike. That is how its
//! source reads; it was not run. Version 0.8 and later, at their defaults, have no idle energy at all: they are let off.
//!
//! By formula: the same split of exact energy by exact CPU time of everybody but the idle task, and of the GPU by use.

use super::Rule;
use crate::bill::Bill;
use crate::ledgers::ProcessId;
use crate::node::Node;
use crate::tasks::{Nanos, Place, S};
use std::collections::{BTreeMap, BTreeSet};

/// As it samples.
pub const SAMPLED: &str = "eBPF-era Kepler";
/// By its formula alone.
pub const FORMULA: &str = "eBPF-era, formula";

/// Its default interval, which is also what it takes every interval to be.
const EVERY: Nanos = 3 * S;
const SECONDS: f64 = 3.0;

/// See the module's head.
pub struct KeplerEbpf {
    next: Nanos,
    probe: Probe,
    sampled: Books,
    formula: Books,
    counters: Vec<Option<u64>>,
    totals: Vec<f64>,
    cpu: Vec<Nanos>,
    gpu: (u64, Vec<f64>),
}

/// What the probe holds between two readings.
#[derive(Default)]
struct Probe {
    /// Microseconds by process; an entry is made after the first slice.
    entries: BTreeMap<ProcessId, u64>,
    /// The idle task has an entry, too.
    idle: Option<u64>,
    /// The one stamp of the idle task.
    stamp: Option<Nanos>,
}

impl Probe {
    fn watch(&mut self, node: &mut Node) {
        for switch in std::mem::take(&mut node.switches) {
            match switch.left {
                Some((process, ran)) => match self.entries.get_mut(&process) {
                    Some(micros) => *micros += ran / 1_000,
                    None => drop(self.entries.insert(process, 0)),
                },
                None => {
                    let ran = self.stamp.take().map_or(0, |stamp| switch.at - stamp) / 1_000;
                    self.idle = Some(self.idle.map_or(0, |micros| micros + ran));
                }
            }
            if !switch.came {
                self.stamp = Some(switch.at);
            }
        }
    }

    /// Milliseconds by process and of the idle task; all entries go.
    fn drain(&mut self) -> (BTreeMap<ProcessId, u64>, u64) {
        let entries = std::mem::take(&mut self.entries);
        let idle = self.idle.take().unwrap_or(0);
        (
            entries
                .into_iter()
                .map(|(process, micros)| (process, micros / 1_000))
                .collect(),
            idle / 1_000,
        )
    }
}

/// The lowest energy of an interval that was no busier than the one before that had it.
#[derive(Clone, Copy, Default)]
struct Lowest {
    millijoules: u64,
    cpu: f64,
    is_seeded: bool,
}

impl Lowest {
    fn see(&mut self, millijoules: u64, cpu: f64) -> u64 {
        let is_lower = cpu <= self.cpu && millijoules <= self.millijoules;
        if millijoules > 0 && (!self.is_seeded || is_lower) {
            *self = Self {
                millijoules,
                cpu,
                is_seeded: true,
            };
        }
        self.millijoules
    }
}

#[derive(Default)]
struct Books {
    bill: Bill,
    lowest: Vec<Lowest>,
    /// Processes it holds objects of.
    held: BTreeSet<ProcessId>,
}

/// What one interval says.
struct Interval<'a> {
    /// CPU time by process, in any unit.
    cpu: &'a BTreeMap<ProcessId, f64>,
    /// CPU time of the idle task, which the kernel's row gets.
    idle_task: f64,
    /// Millijoules: packages, memories; `None` is a counter that cannot be read.
    millijoules: &'a [Option<u64>],
    gpu: Option<(u64, Vec<f64>)>,
    gpu_by_use: bool,
}

impl Books {
    fn new(node: &Node) -> Self {
        Self {
            bill: Bill::new(node.workloads.len()),
            lowest: vec![Lowest::default(); node.sockets.len() * 2 + 1],
            held: BTreeSet::new(),
        }
    }

    fn enter(&mut self, node: &Node, interval: &Interval<'_>) {
        self.held.extend(interval.cpu.keys());
        let lives = |id: &ProcessId| node.processes[id.0].ended.is_none() || interval.cpu.contains_key(id);
        self.held.retain(lives);
        let mut by_workload = vec![0.0; node.workloads.len()];
        let kernel = node.workloads.iter().position(|it| it.place == Place::Kernel);
        for (process, cpu) in interval.cpu {
            by_workload[node.processes[process.0].workload.0] += cpu;
        }
        let used: f64 = by_workload.iter().sum::<f64>() + interval.idle_task;
        let (mut idles, mut dynamic) = ([0_u64; 2], [0_u64; 2]);
        for (zone, millijoules) in interval.millijoules.iter().enumerate() {
            let Some(millijoules) = *millijoules else { continue };
            let idle = self.lowest[zone].see(millijoules, used).min(millijoules);
            idles[zone % 2] += idle;
            dynamic[zone % 2] += millijoules - idle;
        }
        for millijoules in idles {
            // Every process alike, rounded up.
            let (watts, processes) = (millijoules as f64 / SECONDS, self.held.len().max(1) as f64);
            self.bill.idle += (watts / processes).ceil() * processes * SECONDS / 1e3;
        }
        for (part, millijoules) in dynamic.into_iter().enumerate() {
            let watts = millijoules as f64 / SECONDS;
            for process in &self.held {
                let share = match interval.cpu.get(process) {
                    Some(cpu) if used > 0.0 => cpu / used,
                    _ if used > 0.0 => 0.0,
                    _ => 1.0 / self.held.len() as f64,
                };
                pay(&mut self.bill, node, *process, part, (share * watts).ceil());
            }
            if let Some(kernel) = kernel
                && used > 0.0
            {
                self.bill.dynamic[kernel][part] += (interval.idle_task / used * watts).ceil() * SECONDS / 1e3;
            }
        }
        self.enter_gpu(node, interval);
    }

    fn enter_gpu(&mut self, node: &Node, interval: &Interval<'_>) {
        let (Some((millijoules, used)), Some(gpu)) = (&interval.gpu, &node.gpu) else {
            return;
        };
        let all: f64 = used.iter().sum();
        let last = self.lowest.len() - 1;
        let idle = self.lowest[last].see(*millijoules, all).min(*millijoules);
        self.bill.idle += joules(idle);
        let watts = (millijoules - idle) as f64 / SECONDS;
        if interval.gpu_by_use && all > 0.0 {
            for (job, used) in gpu.jobs.iter().zip(used) {
                pay(&mut self.bill, node, job.process, 2, (used / all * watts).ceil());
            }
        } else {
            for process in &self.held {
                pay(
                    &mut self.bill,
                    node,
                    *process,
                    2,
                    (watts / self.held.len() as f64).ceil(),
                );
            }
        }
    }
}

fn pay(bill: &mut Bill, node: &Node, process: ProcessId, part: usize, milliwatts: f64) {
    bill.dynamic[node.processes[process.0].workload.0][part] += milliwatts * SECONDS / 1e3;
}

fn joules(millijoules: u64) -> f64 {
    millijoules as f64 / 1e3
}

impl KeplerEbpf {
    /// Begins at zero.
    #[must_use]
    pub fn new(node: &Node) -> Self {
        Self {
            next: 0,
            probe: Probe::default(),
            sampled: Books::new(node),
            formula: Books::new(node),
            counters: Vec::new(),
            totals: Vec::new(),
            cpu: Vec::new(),
            gpu: (0, Vec::new()),
        }
    }

    /// Steps of the counters in millijoules since the last reading; a counter that went back gives nothing.
    fn counters(&mut self, node: &mut Node) -> Vec<Option<u64>> {
        let now = node.now;
        let read = |socket: &mut crate::node::Socket| [socket.package.read(now), socket.dram.read(now)];
        let values: Vec<Option<u64>> = node
            .sockets
            .iter_mut()
            .flat_map(read)
            .map(|it| Some(it?.microjoules / 1_000))
            .collect();
        let steps = values
            .iter()
            .zip(&self.counters)
            .map(|(now, then)| now.as_ref()?.checked_sub((*then)?));
        let steps = steps.collect();
        self.counters.resize(values.len(), None);
        for (known, value) in self.counters.iter_mut().zip(values) {
            *known = value.or(*known);
        }
        steps
    }

    fn true_steps(&mut self, node: &Node) -> Vec<Option<u64>> {
        let totals: Vec<f64> = node
            .sockets
            .iter()
            .flat_map(|it| [it.package.total(), it.dram.total()])
            .collect();
        let steps = totals
            .iter()
            .zip(&self.totals)
            .map(|(now, then)| Some(((now - then) * 1e3) as u64));
        let steps = steps.collect();
        self.totals = totals;
        steps
    }

    fn true_cpu(&mut self, node: &Node) -> BTreeMap<ProcessId, f64> {
        self.cpu.resize(node.processes.len(), 0);
        let mut cpu = BTreeMap::new();
        for (index, (process, then)) in node.processes.iter().zip(&mut self.cpu).enumerate() {
            let total = process.cpu();
            if total > *then {
                cpu.insert(ProcessId(index), (total - *then) as f64);
                *then = total;
            }
        }
        cpu
    }

    fn gpu(&mut self, node: &Node) -> Option<(u64, Vec<f64>)> {
        let gpu = node.gpu.as_ref()?;
        let then = std::mem::replace(&mut self.gpu, (gpu.millijoules(), gpu.used.clone()));
        let used = gpu
            .used
            .iter()
            .enumerate()
            .map(|(job, used)| used - then.1.get(job).unwrap_or(&0.0));
        Some((gpu.millijoules() - then.0, used.collect()))
    }
}

impl Rule for KeplerEbpf {
    fn next(&self) -> Nanos {
        self.next
    }

    fn act(&mut self, node: &mut Node) {
        self.next += EVERY;
        self.probe.watch(node);
        let is_first = self.counters.is_empty();
        let (milliseconds, idle_task) = self.probe.drain();
        let cpu: BTreeMap<_, _> = milliseconds.into_iter().map(|(id, ms)| (id, ms as f64)).collect();
        let (steps, true_steps, true_cpu) = (self.counters(node), self.true_steps(node), self.true_cpu(node));
        let gpu = self.gpu(node);
        if is_first {
            return;
        }
        let mut interval = Interval {
            cpu: &cpu,
            idle_task: idle_task as f64,
            millijoules: &steps,
            gpu: gpu.clone(),
            gpu_by_use: false,
        };
        self.sampled.enter(node, &interval);
        interval = Interval {
            cpu: &true_cpu,
            idle_task: 0.0,
            millijoules: &true_steps,
            gpu,
            gpu_by_use: true,
        };
        self.formula.enter(node, &interval);
    }

    fn bills(&self) -> Vec<(&'static str, Bill)> {
        vec![
            (SAMPLED, self.sampled.bill.clone()),
            (FORMULA, self.formula.bill.clone()),
        ]
    }
}
