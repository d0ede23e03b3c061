// SPDX-License-Identifier: Apache-2.0
//! What the daemon remembers from run to run: the learned idle floors, in one small file of the state directory.
//!
//! `machine` says whose they are, `format` what the file holds, `file` how it is read and replaced, `keeper` who
//! writes and who warns. Whatever is wrong with any of it costs the memory and nothing else: the daemon then learns as
//! if it ran for the first time.

mod file;
mod format;
#[cfg(feature = "fuzzing")]
pub mod fuzz;
mod keeper;
mod machine;

pub use file::StateError;
pub use keeper::{Keeper, Memory, Plan};
pub use machine::{Conditions, Identity, Unidentified};
