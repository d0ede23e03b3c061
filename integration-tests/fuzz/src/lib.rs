// SPDX-License-Identifier: Apache-2.0
//! Fuzzing: one target for each parser of bytes that come from outside, with a corpus of small samples.
//!
//! What has to hold of a parser is said beside it (`fuzz.rs` of its room, in builds with the feature `fuzzing` alone), so that
//! nothing becomes public for this. Here is the list of them, the mutations of the ordinary tests, and the page of
//! `make fuzz` (docs/fuzzing.md). A package of the workspace and of its lock file, so that a parser that changes breaks the build of its target; only the engine is left
//! out of ordinary builds, because it is C++ and every crate wants other flags with it.
#![forbid(unsafe_code)]

pub mod corpus;
mod daemon;
pub mod mutate;
pub mod page;
pub mod targets;

pub use targets::{TARGETS, Target};
