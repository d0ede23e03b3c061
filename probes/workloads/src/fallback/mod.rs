// SPDX-License-Identifier: Apache-2.0
//! CPU time without eBPF: the processes' CPU clocks, the cgroups' own counters, and the child times of `/proc/PID/stat`.
//!
//! - A **living process** has a clock that costs one system call without a file, in nanoseconds. `stat` and `cgroup` are read
//!   only of those whose clock moved. Where the clock cannot be had (another pid namespace's `/proc`, a seccomp filter) time
//!   comes from `stat` in ticks of 10 ms, of all processes in each scan, and [`ProcReader::no_clock`] says why. Not from
//!   `schedstat`: that tells of living threads one by one, a file each, and of the dead ones nothing.
//! - A **cgroup**'s counter is the truth of what ran in it. What it has beyond the processes known, those that lived between
//!   two scans, is a row without a task of that cgroup. What one that is gone ran after the last look
//!   is a row of the nearest that is left above, which is watched from then on.
//! - Where **no counter counts** (the root cgroup), short lives show in the child time of whoever waited for them, as a row
//!   without a task of the parent's cgroup.
//!
//! Still coarser than the probes: a process's time goes to the CPU that it was last on, and what no one waited for and no
//! cgroup counts is lost. Everything counts from `open`, and no row ever falls.
//!
//! What it costs, as `cargo run --release -p probe-workloads --example fallback_cost` had it on two CPUs of an AMD EPYC guest
//! with Linux 6.18 (CPU time of the reading thread a drain, median of 31, 1,076 processes):
//!
//! | ran since the last drain | with clocks | in ticks, every `stat` read |
//! |---|---|---|
//! | none | 0.84 ms, 0.8 us a process | 9.3 ms, 8.7 us a process |
//! | 50 | 1.7 ms | 9.1 to 9.8 ms |
//! | 1,000 | 19 to 21 ms: `stat` and `cgroup` of each | 9.8 to 10.9 ms: `cgroup` only after a whole tick |
//!
//! Two inaccuracies are left as they are. What a process ran in its runtime's cgroup before it was moved and first seen (some
//! milliseconds for a container) is charged to where it was first seen and may show once more as the runtime's residue.
//! And time may be charged to the parent, too, of a child that nobody saw enter a cgroup that counts (`docker exec`), or to
//! the init of a pid namespace that inherits the child of one put in from outside; but never more than the node was busy
//! with what nobody is charged for.

mod children;
mod counter;
mod folders;
mod group;
mod groups;
mod kin;
mod noted;
mod processes;
mod reader;
mod residue;
mod scan;

#[cfg(test)]
mod tests;

pub use reader::ProcReader;

use attribution::model::CpuNanos;

/// Its name in `kepler_probe_up`.
pub const PROBE: &str = "proc_fallback";

/// What two counters can hide that are each cut to whole ticks of 10 ms: user and system time.
const HIDDEN_BY_TICKS: CpuNanos = CpuNanos::from_nanos(20_000_000);
