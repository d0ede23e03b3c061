// SPDX-License-Identifier: Apache-2.0
//! The laboratory: a simulated node whose truth is known, and what rules of attribution make of it.
//!
//! Owns the physics, the scheduler, the meters, the scenarios, the rules that are compared and the score. Says nothing
//! about real machines beyond what its figures are taken from (`docs/lab.md`); what the daemon costs and whether its
//! readers read right is measured elsewhere.

#![forbid(unsafe_code)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    reason = "a simulation: its figures are small, positive and of its own making, and a wrong index is a failed run"
)]

pub mod bill;
pub mod gpu;
pub mod ledgers;
pub mod meters;
pub mod node;
pub mod page;
pub mod physics;
pub mod plot;
pub mod rng;
pub mod rules;
pub mod run;
pub mod scenarios;
pub mod score;
pub mod table;
pub mod tasks;
pub mod vary;
pub mod verdict;
