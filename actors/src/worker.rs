// SPDX-License-Identifier: Apache-2.0
//! Threads for what blocks: one named thread per reader, behind a channel of one.
//!
//! Used instead of actix's `SyncArbiter`, whose queue has no bound. A request that finds the channel full is dropped and
//! counted: the reader still works on the one before, and its next answer is cumulative anyway. The thread ends when
//! its [`Worker`] is dropped.

use crate::health::{Drops, Leave, Queue, Vitals};
use anyhow::Context as _;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use std::thread::{Builder, JoinHandle};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_reader_costs_a_counted_tick_and_the_thread_ends_with_its_worker() {
        let (vitals, _heard) = Vitals::new();
        let drops = Drops::default();
        let (gate, wait) = bounded::<()>(0);
        let (begin, began) = bounded::<u32>(8);
        let (worker, inbox) = Worker::new(Queue::SourceReader, &drops);
        let work = move |request: u32| {
            begin.send(request).expect("the test listens");
            wait.recv().expect("the test holds the gate");
        };
        let thread = inbox
            .spawn(&vitals, "rapl", &Leave::default(), work)
            .expect("a thread");
        assert!(worker.ask(1));
        assert_eq!(
            began.recv(),
            Ok(1),
            "the thread took request 1 out of the channel"
        );
        assert!(worker.ask(2));
        assert!(!worker.ask(3));
        assert!(drops.totals().contains(&("source-reader", 1)));
        gate.send(()).expect("the reader waits");
        gate.send(()).expect("the reader waits");
        assert_eq!(began.recv(), Ok(2), "3 was dropped");
        vitals.begin_shutdown();
        drop(worker);
        thread.join().expect("an orderly end");
    }

    #[test]
    fn a_reader_that_panics_is_heard() {
        let (vitals, mut heard) = Vitals::new();
        let (worker, inbox) = Worker::new(Queue::SourceReader, &Drops::default());
        let thread = inbox
            .spawn(&vitals, "rapl", &Leave::default(), |(): ()| panic!("a bug"))
            .expect("a thread");
        assert!(worker.ask(()));
        assert!(thread.join().is_err());
        assert_eq!(heard.try_recv().ok().as_deref(), Some("rapl reader"));
    }
}
