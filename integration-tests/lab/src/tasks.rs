// SPDX-License-Identifier: Apache-2.0
//! Who runs: kinds of work, workloads, processes, and the plans that their threads follow.

use crate::rng::Rng;

/// Nanoseconds since the simulated node began.
pub type Nanos = u64;
/// A millisecond.
pub const MS: Nanos = 1_000_000;
/// A second.
pub const S: Nanos = 1_000_000_000;

/// A kind of work: what a cycle of it does and costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work {
    /// Energy of a cycle relative to [`COMPUTE`]. No counter tells it.
    pub activity: f64,
    /// Instructions per cycle when alone on a core.
    pub ipc: f64,
    /// Misses of the last-level cache per thousand instructions.
    pub misses_per_kilo: f64,
}

/// Integer work out of the caches.
pub const COMPUTE: Work = Work {
    activity: 1.0,
    ipc: 2.0,
    misses_per_kilo: 0.05,
};
/// Wide vectors: costs more per cycle at fewer instructions per cycle.
pub const VECTOR: Work = Work {
    activity: 1.4,
    ipc: 1.5,
    misses_per_kilo: 0.5,
};
/// Waits for memory most of the time.
pub const MEMORY: Work = Work {
    activity: 0.55,
    ipc: 0.6,
    misses_per_kilo: 40.0,
};
/// Services: branches, some misses.
pub const SERVICE: Work = Work {
    activity: 0.8,
    ipc: 1.0,
    misses_per_kilo: 3.0,
};

/// A workload's place in [`crate::node::Node::workloads`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkloadId(pub usize);

/// What a workload is to the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A container in a pod of its own.
    Container,
    /// Processes of the host.
    System,
    /// Kernel threads.
    Kernel,
}

/// Somebody who pays.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Its name.
    pub name: String,
    /// What it is to the rules.
    pub place: Place,
}

/// How long a burst lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// So much CPU time.
    For(Nanos),
    /// Until that moment, however much CPU time there was.
    Until(Nanos),
}

/// A thread wakes and runs.
#[derive(Clone, Copy, Debug)]
pub struct Burst {
    /// When it wakes.
    pub at: Nanos,
    /// How long it runs.
    pub run: Run,
}

/// The bursts of a thread, in order; when there are no more, it exits.
pub type Plan = Box<dyn Iterator<Item = Burst>>;

/// Runs from one moment to another.
#[must_use]
pub fn busy(from: Nanos, to: Nanos) -> Plan {
    Box::new(std::iter::once(Burst {
        at: from,
        run: Run::Until(to),
    }))
}

/// Runs in several phases.
#[must_use]
pub fn phases(phases: Vec<(Nanos, Nanos)>) -> Plan {
    Box::new(phases.into_iter().map(|(from, to)| Burst {
        at: from,
        run: Run::Until(to),
    }))
}

/// Runs `on` of CPU time about every `period` from `from` to `to`; each beat comes up to a fifth of the period late.
#[must_use]
pub fn duty(mut rng: Rng, from: Nanos, to: Nanos, period: Nanos, on: Nanos) -> Plan {
    let beats = (from..to).step_by(usize::try_from(period).unwrap_or(usize::MAX));
    Box::new(beats.map(move |at| Burst {
        at: at + rng.below(period / 5),
        run: Run::For(on),
    }))
}

/// Runs `cpu` once and exits.
#[must_use]
pub fn once(at: Nanos, cpu: Nanos) -> Plan {
    Box::new(std::iter::once(Burst {
        at,
        run: Run::For(cpu),
    }))
}

/// Sleeps from the beginning to the end.
#[must_use]
pub fn asleep() -> Plan {
    Box::new(std::iter::once(Burst {
        at: Nanos::MAX,
        run: Run::For(1),
    }))
}
