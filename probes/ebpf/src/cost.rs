// SPDX-License-Identifier: Apache-2.0
//! What programs cost, by the kernel's own statistics.

use crate::error::ProbeError;
use aya::Ebpf;
use aya::sys::Stats;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// What the kernel counted for one program while statistics were on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramCost {
    /// The program's name.
    pub program: &'static str,
    /// Runs.
    pub run_count: u64,
    /// Time inside, of all CPUs together.
    pub run_time: Duration,
}

/// Keeps the kernel's statistics on while it lives. They are the kernel's, not ours: every program on the machine pays
/// two clock reads a run.
#[derive(Debug)]
pub struct StatsGuard {
    _descriptor: OwnedFd,
}

/// Switches the kernel's run-time statistics on, as long as the guard lives. Needs `CAP_SYS_ADMIN`.
///
/// # Errors
/// [`ProbeError::Stats`] when the kernel refuses.
pub fn enable_stats() -> Result<StatsGuard, ProbeError> {
    aya::sys::enable_stats(Stats::RunTime)
        .map(|descriptor| StatsGuard {
            _descriptor: descriptor,
        })
        .map_err(ProbeError::Stats)
}

/// What the kernel counted for these programs while its statistics were on; those that are not loaded are left out.
pub(crate) fn cost_of(ebpf: &Ebpf, programs: &[&'static str]) -> Vec<ProgramCost> {
    programs
        .iter()
        .filter_map(|name| {
            let info = ebpf.program(name)?.info().ok()?;
            Some(ProgramCost {
                program: name,
                run_count: info.run_count(),
                run_time: info.run_time(),
            })
        })
        .collect()
}
