// SPDX-License-Identifier: Apache-2.0
//! Guests fed by their host: a folder in the shape of `/sys/class/powercap` for each virtual machine, to be shared into it.
//!
//! Owns what is in these folders and how they change under their readers (docs/vm-passthrough.md). Refuses to show an estimate
//! as a meter, unless that is asked for, and then the zone says so itself (`provenance`). Refuses to follow a link and to write
//! where an id would lead out of the folder: ids come from command lines that others chose, and a share that was not made
//! read-only is the guest's to write into.
//!
//! `plan` is the pure part, from a snapshot to figures; `share` is the file system; `writer` puts them together.

mod config;
mod health;
mod plan;
mod share;
#[cfg(test)]
mod tests;
mod writer;

pub use config::{PassthroughConfig, PassthroughDir};
pub(crate) use health::{Health, metrics};
pub use writer::Writer;
