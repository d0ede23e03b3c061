// SPDX-License-Identifier: Apache-2.0
//! A GPU and its jobs: what it draws, who uses it, and what its driver tells.

use crate::ledgers::ProcessId;
use crate::tasks::Nanos;

/// A job on the GPU from one moment to another.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// Whose.
    pub process: ProcessId,
    /// First moment.
    pub from: Nanos,
    /// First moment after.
    pub to: Nanos,
    /// Share of time that it keeps the device busy.
    pub busy: f64,
    /// Power above idle while it is the one that runs.
    pub watts: f64,
}

/// See the module's head.
#[derive(Clone, Debug)]
pub struct Gpu {
    /// Power when nobody uses it.
    pub idle: f64,
    /// Its jobs; no two ask for more than the whole device together.
    pub jobs: Vec<Job>,
    /// Time that each job used it.
    pub used: Vec<f64>,
    since: Nanos,
    joules: f64,
}

impl Gpu {
    /// A GPU with its jobs. 50 W at rest are in the range of NVIDIA's A100 and H100 (`docs/gpu.md`).
    #[must_use]
    pub fn new(jobs: Vec<Job>) -> Self {
        Self {
            idle: 50.0,
            used: vec![0.0; jobs.len()],
            jobs,
            since: 0,
            joules: 0.0,
        }
    }

    /// Moments at which something changes.
    #[must_use]
    pub fn changes(&self) -> Vec<Nanos> {
        self.jobs.iter().flat_map(|job| [job.from, job.to]).collect()
    }

    /// What its energy counter says, in millijoules.
    #[must_use]
    pub fn millijoules(&self) -> u64 {
        (self.joules * 1_000.0) as u64
    }

    /// Enters the time until `now`; nothing changed meanwhile. Gives the dynamic joules of each job.
    pub fn settle(&mut self, now: Nanos) -> Vec<(ProcessId, f64)> {
        let (from, seconds) = (self.since, (now - self.since) as f64 / 1e9);
        self.since = now;
        self.joules += self.idle * seconds;
        let mut spent = Vec::new();
        for (job, used) in self.jobs.iter().zip(&mut self.used) {
            if job.from <= from && from < job.to {
                *used += job.busy * seconds;
                let joules = job.watts * job.busy * seconds;
                self.joules += joules;
                spent.push((job.process, joules));
            }
        }
        spent
    }
}
