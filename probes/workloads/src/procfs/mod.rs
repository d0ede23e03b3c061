// SPDX-License-Identifier: Apache-2.0
//! `/proc`: pure parsers over bytes, and a reader with a root path.
//!
//! A process that vanished is `Ok(None)`; one that may not be read is an error that concerns it alone.

mod cgroup_file;
mod clock;
#[cfg(feature = "fuzzing")]
pub mod fuzz;
mod load;
mod reader;
mod stat;
mod status;
mod system;

pub use cgroup_file::CgroupLine;
pub use clock::{ClockReading, KernelClock, ProcessClock};
pub use load::Load;
pub use reader::ProcFs;
pub use stat::PidStat;
pub use system::CpuTimes;

use attribution::model::CpuNanos;

/// Nanoseconds in a clock tick. `USER_HZ` is 100 on every Linux architecture that this daemon runs on (proc(5) speaks
/// of `sysconf(_SC_CLK_TCK)`; the kernel's include/asm-generic/param.h fixes it).
pub(crate) const NANOS_PER_TICK: u64 = 10_000_000;

/// Clock ticks as CPU time.
#[must_use]
pub const fn ticks_to_nanos(ticks: u64) -> CpuNanos {
    CpuNanos::from_nanos(ticks.saturating_mul(NANOS_PER_TICK))
}
