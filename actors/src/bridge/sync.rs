// SPDX-License-Identifier: Apache-2.0
//! What the bridge is made of. `tests/bridge` puts a scheduler's own in its place.

pub(super) use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
pub(super) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
pub(super) use std::sync::{Arc, Mutex, PoisonError};
pub(super) use std::thread::{Builder, JoinHandle};
