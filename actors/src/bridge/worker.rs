// SPDX-License-Identifier: Apache-2.0
//! Threads for what blocks: one named thread per reader, behind a channel of one.
//!
//! Used instead of actix's `SyncArbiter`, whose queue has no bound. A request that finds the channel full is dropped and
//! counted: the reader still works on the one before, and its next answer is cumulative anyway. The thread ends when
//! its [`Worker`] is dropped.

use super::health::{Drops, Leave, Queue, Vitals};
use super::sync::{Builder, JoinHandle, Receiver, Sender, TrySendError, bounded};
use anyhow::Context as _;

/// Stack of a reader thread. Readers recurse only into directories (bounded by the walkers) and format short strings.
const STACK: usize = 512 * 1024;

/// The way to a reader thread.
#[derive(Debug)]
pub struct Worker<Q> {
    requests: Sender<Q>,
    drops: Drops,
    queue: Queue,
}

/// The thread's end of it, before there is a thread.
#[derive(Debug)]
pub struct Inbox<Q>(Receiver<Q>);

impl<Q: Send + 'static> Worker<Q> {
    /// The way to a reader, and what its thread is made of. Overflow is counted for `queue`.
    #[must_use]
    pub fn new(queue: Queue, drops: &Drops) -> (Self, Inbox<Q>) {
        // One request may wait while one is worked on; a second one would only be older when its turn comes.
        let (requests, inbox) = bounded(1);
        let worker = Self {
            requests,
            drops: drops.clone(),
            queue,
        };
        (worker, Inbox(inbox))
    }

    /// Asks; `false` when the thread is still busy (counted) or gone (its lifeline has told).
    pub fn ask(&self, request: Q) -> bool {
        match self.requests.try_send(request) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.drops.count(self.queue);
                false
            }
            Err(TrySendError::Disconnected(_)) => false,
        }
    }
}

impl<Q: Send + 'static> Inbox<Q> {
    /// Starts the thread, which may end once it has this leave. `work` is called for each request, in order.
    ///
    /// # Errors
    /// When the kernel gives no thread.
    pub fn spawn(
        self,
        vitals: &Vitals,
        name: &str,
        leave: &Leave,
        mut work: impl FnMut(Q) + Send + 'static,
    ) -> anyhow::Result<JoinHandle<()>> {
        let thread = Builder::new().name(name.to_owned()).stack_size(STACK);
        let lifeline = vitals.lifeline_until(&format!("{name} reader"), leave);
        // A thread that the kernel does not give has not died.
        leave.give();
        let thread = thread.spawn(move || {
            let _lifeline = lifeline;
            for request in self.0 {
                work(request);
            }
        });
        let thread = thread.with_context(|| format!("cannot start the thread {name}"))?;
        leave.take_back();
        Ok(thread)
    }
}
