// SPDX-License-Identifier: Apache-2.0
//! Where threads that block and actors that must not meet: requests to a thread, a place to be taken over, leave to end, and
//! deaths that are heard.
//!
//! All that waits, locks or is seen by two threads is in this room and comes through `sync`. `tests/bridge` compiles these very
//! files over a scheduler that tries their steps in every order; so they have no tests inside, and know nothing of actors.

pub mod chair;
pub mod health;
pub mod slot;
mod sync;
#[cfg(test)]
mod tests;
pub mod worker;
