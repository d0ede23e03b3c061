// SPDX-License-Identifier: Apache-2.0
//! HTTP over the newest page: routes, the connections they come in by, and who has to leave when it is full.
//!
//! A request reads the watch channel and shares the page's bytes; it sends no message and waits for nobody. Routes are a
//! pure function of the request and the newest page, so that they are tested without a socket.

pub(crate) mod answers;
mod connections;
mod crowd;
mod entrance;
#[cfg(test)]
mod fuzz;
mod limits;
pub(crate) mod negotiate;
pub(crate) mod origin;
mod paced;
mod reload;
#[cfg(test)]
pub(crate) mod rig;
mod routes;
pub(crate) mod scribe;
#[cfg(test)]
mod siege;
mod socket_file;
#[cfg(test)]
mod tests;

pub use connections::serve;
pub use entrance::{Checked, Entrance};
pub use reload::{ReloadAnswer, ReloadRequest, Reloader};

pub(crate) use limits::Limits;

use crate::page::Page;
use attribution::model::MonotonicNanos;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// What the routes look at. Time is an argument.
#[derive(Clone, Debug)]
pub struct Context {
    /// The newest page; one of an empty snapshot before the first window has closed.
    pub pages: watch::Receiver<Arc<Page>>,
    /// `CLOCK_MONOTONIC`, the clock of the snapshots.
    pub now: fn() -> MonotonicNanos,
    /// The configured tick: a snapshot older than three of them is not ready.
    pub tick: Duration,
    /// Who reloads the configuration when a request asks for it.
    pub reloader: Reloader,
}

impl Context {
    fn page(&self) -> Arc<Page> {
        Arc::clone(&self.pages.borrow())
    }
}
