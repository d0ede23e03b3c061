// SPDX-License-Identifier: Apache-2.0
//! Who ran: the eBPF programs, their loader and the drain.
//!
//! [`Probe::open`] loads and attaches; [`Probe::drain`] reads everything that ran since. [`SchedulerProbe`] gives the same
//! report from the scheduler's own figures, and [`cheaper`] says which of the two to take. Owns what the kernel counts and
//! its translation into the words of `attribution::model`; knows nothing of containers, energy or ticks' timing, starts
//! no thread and keeps no history beyond the tasks that the kernel's own hash holds.

mod abi;
mod accounts;
mod clock;
mod cost;
pub mod counters;
mod cpus;
mod error;
#[cfg(test)]
mod layout;
mod listing;
mod object;
mod packages;
mod parts;
mod perf;
mod places;
pub mod preflight;
mod probe;
mod rows;
mod scheduler;
mod seats;
mod settings;
mod sys;
mod totals;
mod unnamed;

pub use cost::{ProgramCost, StatsGuard, enable_stats};
pub use error::ProbeError;
pub use perf::PerfEvent;
pub use probe::Probe;
pub use scheduler::{Accountant, Choice, Machine, SchedulerProbe, cheaper};
pub use settings::Settings;
