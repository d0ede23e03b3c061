// SPDX-License-Identifier: Apache-2.0
//! What `src/bridge/sync.rs` takes from the machine, over the scheduler of the tests: each lock, message and look at a shared word
//! is a step after which another thread may go on.

pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU64, Ordering};
pub(crate) use shuttle::sync::mpsc::{Receiver, SyncSender as Sender, TrySendError, sync_channel as bounded};
pub(crate) use shuttle::sync::{Arc, Mutex};
pub(crate) use shuttle::thread::{Builder, JoinHandle};
pub(crate) use std::sync::PoisonError;
