// SPDX-License-Identifier: Apache-2.0
//! Who is who: procfs and cgroup readers, container ids, and CPU time without eBPF.
//!
//! Owns what the kernel's files say about the node, its processes and its cgroups. Knows nothing of energy, keeps no
//! clock and starts no thread: roots and moments come in as arguments, so everything runs on a fixture tree. Only
//! [`pods`] asks over a network, on a thread of its own.
#![forbid(unsafe_code)]

pub mod cgroup;
pub mod cpus;
mod error;
pub mod fallback;
mod files;
pub mod machine;
pub mod pods;
pub mod procfs;
pub mod reserved;
pub mod resolver;
mod roots;
pub mod runtimes;
pub mod vms;

pub use cpus::CpuBook;
pub use error::WorkloadError;
pub use fallback::ProcReader;
pub use machine::{CpuSignature, Machine};
pub use pods::PodNames;
pub use reserved::Quotas;
pub use resolver::{Namer, Resolver, Tallies};
pub use roots::Roots;
pub use runtimes::{DiskNames, RuntimesConfig};
pub use vms::VmNames;
