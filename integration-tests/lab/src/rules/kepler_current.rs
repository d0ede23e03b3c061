// SPDX-License-Identifier: Apache-2.0
//! Today's Kepler (0.10 and later) as its formulas say: energy split into active and idle by the busy ratio of all CPUs,
//! active energy split by CPU time out of `/proc`, all sockets and all zones alike, every five seconds.
//!
//! As it samples: CPU time in ticks of 10 ms; the whole life of a process counts when it is first seen; what vanishes
//! between two scans is nobody's and its share goes to the others; a counter that went back is always a wrap; a zone that
//! cannot be read costs that refresh, and the CPU time of it is gone. Where it was seen to do worse by accident (a refresh
//! that is given up because a process vanished, counters that return to zero), it is let off.
//!
//! By formula: the same split of exact energy by exact CPU time of everybody, the dead among them, every five seconds.

use super::Rule;
use crate::bill::Bill;
use crate::meters::Reading;
use crate::node::Node;
use crate::tasks::{MS, Nanos, S};
use std::collections::HashMap;

/// As it samples.
pub const SAMPLED: &str = "today's Kepler";
/// By its formula alone.
pub const FORMULA: &str = "today's, formula";

/// Its default interval.
const EVERY: Nanos = 5 * S;
/// `USER_HZ`.
const TICK: Nanos = 10 * MS;

/// See the module's head.
pub struct KeplerCurrent {
    next: Nanos,
    sampled: Sampled,
    formula: Formula,
}

#[derive(Default)]
struct Sampled {
    bill: Bill,
    seen: HashMap<u32, Nanos>,
    busy_idle: Option<(Nanos, Nanos)>,
    /// By socket: package, memory.
    zones: Vec<[Option<Reading>; 2]>,
    gpu: GpuWatch,
}

#[derive(Default)]
struct Formula {
    bill: Bill,
    cpu: Vec<Nanos>,
    busy_idle: Option<(Nanos, Nanos)>,
    energy: [f64; 2],
    gpu: GpuWatch,
}

/// Device energy above the lowest power seen without a job, by use.
#[derive(Default)]
struct GpuWatch {
    at: Nanos,
    millijoules: u64,
    used: Vec<f64>,
    idle: Option<f64>,
}

impl GpuWatch {
    fn watch(&mut self, node: &Node, bill: &mut Bill) {
        let Some(gpu) = &node.gpu else { return };
        let joules = (gpu.millijoules() - self.millijoules) as f64 / 1_000.0;
        let seconds = (node.now - self.at) as f64 / 1e9;
        self.used.resize(gpu.used.len(), 0.0);
        let used: Vec<f64> = gpu
            .used
            .iter()
            .zip(&self.used)
            .map(|(now, then)| now - then)
            .collect();
        let all: f64 = used.iter().sum();
        if all == 0.0 && seconds > 0.0 {
            self.idle = Some(self.idle.unwrap_or(f64::MAX).min(joules / seconds));
        }
        let idle = (self.idle.unwrap_or(0.0) * seconds).min(joules);
        let active = joules - idle;
        bill.idle += idle;
        if all > 0.0 {
            for (job, used) in gpu.jobs.iter().zip(&used) {
                bill.dynamic[node.processes[job.process.0].workload.0][2] += active * used / all;
            }
        }
        (self.at, self.millijoules) = (node.now, gpu.millijoules());
        self.used.clone_from(&gpu.used);
    }
}

impl KeplerCurrent {
    /// Begins at zero.
    #[must_use]
    pub fn new(node: &Node) -> Self {
        let bill = Bill::new(node.workloads.len());
        Self {
            next: 0,
            sampled: Sampled {
                bill: bill.clone(),
                zones: vec![[None; 2]; node.sockets.len()],
                ..Sampled::default()
            },
            formula: Formula {
                bill,
                ..Formula::default()
            },
        }
    }
}

impl Rule for KeplerCurrent {
    fn next(&self) -> Nanos {
        self.next
    }

    fn act(&mut self, node: &mut Node) {
        self.next += EVERY;
        self.sampled.refresh(node);
        self.formula.refresh(node);
    }

    fn bills(&self) -> Vec<(&'static str, Bill)> {
        vec![
            (SAMPLED, self.sampled.bill.clone()),
            (FORMULA, self.formula.bill.clone()),
        ]
    }
}

/// Busy and idle time of the whole node.
fn busy_idle(node: &Node) -> (Nanos, Nanos) {
    (0..node.sockets.len())
        .map(|socket| node.busy_idle(socket))
        .fold((0, 0), |(busy, idle), more| (busy + more.0, idle + more.1))
}

fn ratio(then: (Nanos, Nanos), now: (Nanos, Nanos)) -> f64 {
    let (busy, idle) = (now.0 - then.0, now.1 - then.1);
    busy as f64 / (busy + idle).max(1) as f64
}

impl Sampled {
    fn refresh(&mut self, node: &mut Node) {
        let (busy, idle) = busy_idle(node);
        let busy_idle = (busy / TICK * TICK, idle / TICK * TICK);
        let then = self.busy_idle.replace(busy_idle);
        let (by_workload, all) = self.scan(node);
        let now = node.now;
        let read: Vec<[Option<Reading>; 2]> = node
            .sockets
            .iter_mut()
            .map(|socket| [socket.package.read(now), socket.dram.read(now)])
            .collect();
        if read.iter().flatten().any(Option::is_none) {
            return;
        }
        let zones = std::mem::replace(&mut self.zones, read);
        let Some(then) = then else { return };
        let r = ratio(then, busy_idle);
        let pairs = zones.iter().flatten().zip(self.zones.iter().flatten());
        for (index, (then, now)) in pairs.enumerate() {
            let (Some(then), Some(now)) = (then, now) else {
                continue;
            };
            // Every step back is taken for a wrap.
            let step = match now.microjoules.checked_sub(then.microjoules) {
                Some(step) => step,
                None => (then.range - then.microjoules) + now.microjoules,
            };
            let joules = step as f64 / 1e6;
            self.bill.idle += joules * (1.0 - r);
            if all > 0 {
                for (bill, cpu) in self.bill.dynamic.iter_mut().zip(&by_workload) {
                    bill[index % 2] += joules * r * *cpu as f64 / all as f64;
                }
            }
        }
        self.gpu.watch(node, &mut self.bill);
    }

    /// CPU time that is new since the last scan, by workload and in all.
    fn scan(&mut self, node: &Node) -> (Vec<Nanos>, Nanos) {
        let mut by_workload = vec![0; node.workloads.len()];
        let mut seen = HashMap::new();
        let living = node
            .processes
            .iter()
            .filter(|it| it.ended.is_none() && it.began <= node.now);
        for process in living {
            let cpu = process.cpu() / TICK * TICK;
            let then = self.seen.get(&process.pid).copied().unwrap_or(0);
            by_workload[process.workload.0] += cpu - then;
            seen.insert(process.pid, cpu);
        }
        self.seen = seen;
        let all = by_workload.iter().sum();
        (by_workload, all)
    }
}

impl Formula {
    fn refresh(&mut self, node: &Node) {
        let mut cpu = vec![0; node.workloads.len()];
        for process in &node.processes {
            cpu[process.workload.0] += process.cpu();
        }
        let energy = node.sockets.iter().fold([0.0; 2], |[package, dram], socket| {
            [package + socket.package.total(), dram + socket.dram.total()]
        });
        let busy_idle = busy_idle(node);
        if let Some(then) = self.busy_idle.replace(busy_idle) {
            let r = ratio(then, busy_idle);
            let new: Vec<Nanos> = cpu.iter().zip(&self.cpu).map(|(now, then)| now - then).collect();
            let all: Nanos = new.iter().sum();
            for (part, joules) in energy
                .iter()
                .zip(self.energy)
                .map(|(now, then)| now - then)
                .enumerate()
            {
                self.bill.idle += joules * (1.0 - r);
                for (bill, new) in self.bill.dynamic.iter_mut().zip(&new) {
                    bill[part] += joules * r * *new as f64 / all.max(1) as f64;
                }
            }
        }
        self.cpu = cpu;
        self.energy = energy;
        self.gpu.watch(node, &mut self.bill);
    }
}
