// SPDX-License-Identifier: Apache-2.0
//! What sources over the kernel's DRM class share: cards below `/sys/class/drm`, and who uses them by what
//! `/proc/PID/fdinfo` shows. It is no source itself and knows no vendor: which file is a card's energy is said by
//! `intel_gpu` and `amd_gpu`.

pub(crate) mod cards;
pub(crate) mod config;
pub(crate) mod fdinfo;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
pub(crate) mod gpu;
pub(crate) mod processes;
mod queue;
pub(crate) mod source;
mod step;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod unseen;
pub(crate) mod usage;
