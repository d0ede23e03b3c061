// SPDX-License-Identifier: Apache-2.0
//! CPU time without eBPF, from `/proc/PID/stat` and the cgroups' own counters.
//!
//! Coarser than the probes: ticks of 10 ms, a process's time goes to the CPU it was last on, and processes that live
//! between two scans are seen only as what their cgroup counted beyond the processes known (a row without a task).
//! Everything counts from `open`, and no row ever falls.
//!
//! One inaccuracy is left as it is: what a process ran in its runtime's cgroup before it was moved and first seen (some
//! milliseconds for a container) is charged to where it was first seen and may show once more as the runtime's residue.

mod groups;
mod packages;
mod processes;
mod reader;

#[cfg(test)]
mod tests;

pub use reader::ProcReader;

/// Its name in `kepler_probe_up`.
pub const PROBE: &str = "proc_fallback";
