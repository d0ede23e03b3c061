// SPDX-License-Identifier: Apache-2.0
//! Who ran: the eBPF programs, their loader and the drain.
//!
//! [`Probe::open`] loads and attaches; [`Probe::drain`] reads everything that ran since. Owns what the kernel counts and
//! its translation into the words of `attribution::model`; knows nothing of containers, energy or ticks' timing, starts
//! no thread and keeps no history beyond the tasks that the kernel's own hash holds.

mod abi;
mod accounts;
pub mod counters;
mod cpus;
mod error;
mod object;
mod perf;
pub mod preflight;
mod probe;
mod sys;

pub use error::ProbeError;
pub use object::{ProgramCost, StatsGuard, enable_stats};
pub use perf::PerfEvent;
pub use probe::{Probe, Settings};
