// SPDX-License-Identifier: Apache-2.0
//! Nobody dies in silence and nothing is dropped uncounted.
//!
//! actix lets a panicking handler take its actor away while the process lives on. So every shell and every thread holds a
//! [`Lifeline`]; when it is dropped before the shutdown began, the pipeline ends with exit code 70.

use super::sync::{Arc, AtomicBool, AtomicU64, Ordering};
use std::fmt;
use tokio::sync::mpsc;

/// Exit code when an actor or a thread died: `EX_SOFTWARE` of sysexits.h.
pub const EXIT_DIED: u8 = 70;

/// Hands out lifelines and hears when one breaks.
#[derive(Clone, Debug)]
pub struct Vitals {
    stopping: Arc<AtomicBool>,
    deaths: mpsc::Sender<String>,
}

impl Vitals {
    /// Vitals, and the receiver of the names of the dead. The first name ends the process, so a queue of eight holds all
    /// that can matter.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<String>) {
        let (deaths, heard) = mpsc::channel(8);
        (
            Self {
                stopping: Arc::new(AtomicBool::new(false)),
                deaths,
            },
            heard,
        )
    }

    /// A lifeline for `name`.
    #[must_use]
    pub fn lifeline(&self, name: &str) -> Lifeline {
        self.lifeline_until(name, &Leave::default())
    }

    /// A lifeline for `name`, who may go once it has this leave.
    #[must_use]
    pub fn lifeline_until(&self, name: &str, leave: &Leave) -> Lifeline {
        Lifeline {
            name: name.to_owned(),
            vitals: self.clone(),
            leave: leave.clone(),
        }
    }

    /// From now on an end is orderly.
    pub fn begin_shutdown(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }
}

/// Leave to end while all others go on.
#[derive(Clone, Debug, Default)]
pub struct Leave(Arc<AtomicBool>);

impl Leave {
    /// Gives it.
    pub fn give(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Takes it back: who has begun may not end.
    pub fn take_back(&self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// Held by whatever must not end before the shutdown.
#[derive(Debug)]
pub struct Lifeline {
    name: String,
    vitals: Vitals,
    leave: Leave,
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        if self.vitals.stopping.load(Ordering::SeqCst) || self.leave.0.load(Ordering::SeqCst) {
            return;
        }
        tracing::error!(actor = %self.name, "actor died");
        if self.vitals.deaths.try_send(self.name.clone()).is_err() {
            tracing::debug!(actor = %self.name, "another death was heard first");
        }
    }
}

/// Queues whose overflow is counted: the `queue` label of `kepler_dropped_messages_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Mailbox of the attribution actor.
    Attribution,
    /// Mailbox of the usage actor.
    Usage,
    /// Channel to the thread that drains the probe.
    UsageReader,
    /// Mailbox of the resolver actor.
    Resolver,
    /// Channel to the thread that resolves.
    ResolverReader,
    /// Mailboxes of the source actors.
    Source,
    /// Channels to the threads that read meters.
    SourceReader,
    /// Mailbox of the estimator actor.
    Estimator,
    /// Mailbox of the exporter actor.
    Exporter,
    /// Channel to the thread that writes the state directory.
    State,
    /// Channel to the thread that writes a recording.
    Recorder,
    /// Mailbox of the actor that feeds guests.
    Passthrough,
    /// Channel to the thread that writes their folders.
    PassthroughWriter,
}

pub(super) const QUEUES: [(Queue, &str); 13] = [
    (Queue::Attribution, "attribution"),
    (Queue::Usage, "usage"),
    (Queue::UsageReader, "usage-reader"),
    (Queue::Resolver, "resolver"),
    (Queue::ResolverReader, "resolver-reader"),
    (Queue::Source, "source"),
    (Queue::SourceReader, "source-reader"),
    (Queue::Estimator, "estimator"),
    (Queue::Exporter, "exporter"),
    (Queue::State, "state"),
    (Queue::Recorder, "recorder"),
    (Queue::Passthrough, "vm-passthrough"),
    (Queue::PassthroughWriter, "vm-passthrough-writer"),
];

/// Counts what found a queue full.
#[derive(Clone, Default)]
pub struct Drops(Arc<[AtomicU64; QUEUES.len()]>);

impl fmt::Debug for Drops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.totals()).finish()
    }
}

impl Drops {
    /// Counts one.
    pub fn count(&self, queue: Queue) {
        let slot = QUEUES
            .iter()
            .position(|(of, _)| *of == queue)
            .and_then(|index| self.0.get(index));
        if let Some(slot) = slot {
            slot.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// All totals by label.
    #[must_use]
    pub fn totals(&self) -> Vec<(&'static str, u64)> {
        QUEUES
            .iter()
            .zip(self.0.iter())
            .map(|((_, name), count)| (*name, count.load(Ordering::Relaxed)))
            .collect()
    }
}
