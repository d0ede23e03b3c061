// SPDX-License-Identifier: Apache-2.0
//! Control groups: where they are mounted, who owns a path, and which path an id has.

#[cfg(feature = "fuzzing")]
pub mod fuzz;
mod index;
mod mounts;
mod owner;
mod owner_scan;
mod owner_shapes;
#[cfg(test)]
mod owner_tests;
mod paths;
mod tree;
mod watch;

pub use index::{WALK_DEPTH, WALK_DIRECTORIES, WalkOutcome, walk};
pub use mounts::{Accounting, CgroupMount, CgroupMounts, Hierarchy, Mode, Version1Mount};
pub use owner::{container_root, owner_of};
pub(crate) use tree::{Caught, Tree};
