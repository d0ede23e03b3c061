// SPDX-License-Identifier: Apache-2.0
//! What the node writes down: who did what, when CPUs changed hands, and what it truly cost.

use crate::tasks::{Nanos, WorkloadId};

/// A process's place in [`crate::node::Node::processes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProcessId(pub usize);

/// What a process did on one socket since it began, as the kernel and a PMU would have counted it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// CPU time.
    pub cpu: Nanos,
    /// Part of it while the core's other hardware thread was busy.
    pub overlap: Nanos,
    /// Cycles that were not halted.
    pub cycles: f64,
    /// Instructions.
    pub instructions: f64,
    /// Misses of the last-level cache.
    pub misses: f64,
}

/// A process.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its pid; never used twice.
    pub pid: u32,
    /// Whose it is.
    pub workload: WorkloadId,
    /// When it began.
    pub began: Nanos,
    /// When its last thread exited.
    pub ended: Option<Nanos>,
    /// What it did, by socket.
    pub done: Vec<Done>,
    /// Threads that have not exited.
    pub(crate) threads: usize,
}

impl Process {
    /// CPU time on all sockets.
    #[must_use]
    pub fn cpu(&self) -> Nanos {
        self.done.iter().map(|done| done.cpu).sum()
    }
}

/// A context switch, for those who watch them.
#[derive(Clone, Copy, Debug)]
pub struct Switch {
    /// When.
    pub at: Nanos,
    /// Who left the CPU, and how long it had been on it; `None` is the idle task.
    pub left: Option<(ProcessId, Nanos)>,
    /// Whether somebody came; else the idle task did.
    pub came: bool,
}

/// True dynamic energy of one workload in joules, by [`crate::physics::Truth::ALL`], and what it is made of.
#[derive(Clone, Copy, Debug, Default)]
pub struct True {
    /// In packages, by definition of the truth.
    pub package: [f64; 3],
    /// In memory.
    pub dram: f64,
    /// In the GPU.
    pub gpu: f64,
}
