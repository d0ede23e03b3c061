// SPDX-License-Identifier: Apache-2.0
//! The thread that talks to the BMC: owns its life, and carries steps to the wire, answers to the machine, and what is known to
//! whoever reads. Decides nothing.

use super::client::Bmc;
use super::machine::Machine;
use super::policy::{Span, Step};
use crate::moment::{Asked, Slept};
use attribution::model::{MonotonicNanos, SourceError, ZoneReading};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::mpsc;
use std::task::Poll;
use std::thread::Builder;
use std::time::Duration;
use tokio::runtime;
use tokio::sync::{oneshot, watch};

/// Longest wait for the thread's end: for its session, which has two seconds, and a little.
const END: Duration = Duration::from_millis(2_500);

/// Who tells the time, and how long the machine has slept.
pub(super) type Clocks = (fn() -> MonotonicNanos, Slept);

/// What is known at present.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// The newest reading of each chassis, with the moment of its last answer.
    pub(super) readings: Vec<(ZoneReading, MonotonicNanos)>,
    pub(super) errors: Vec<SourceError>,
    /// What is read of which chassis.
    pub(super) chosen: String,
}

/// The way to the thread. It ends with this.
pub(super) struct Poller {
    /// Taken at the first read: a meter that is only looked at asks its BMC nothing.
    begin: Option<oneshot::Sender<()>>,
    /// A channel of one whose value is replaced: totals are cumulative, so only the newest matters.
    known: Option<watch::Receiver<Known>>,
    /// Closed by the thread's end; nothing is ever sent.
    ended: mpsc::Receiver<()>,
}

impl Poller {
    /// Starts the thread, which waits for the first read.
    pub(super) fn spawn(machine: Machine, bmc: Bmc, clocks: Clocks) -> io::Result<Self> {
        let (begin, begun) = oneshot::channel();
        let (tell, known) = watch::channel(Known::default());
        let (end, ended) = mpsc::sync_channel::<()>(0);
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            // For names that have to be looked up.
            .max_blocking_threads(1)
            .build()?;
        Builder::new().name("redfish".to_owned()).spawn(move || {
            runtime.block_on(async {
                if begun.await.is_ok() {
                    poll(machine, bmc, clocks, tell).await;
                }
            });
            // Without waiting for a name that is still being looked up.
            runtime.shutdown_background();
            drop(end);
        })?;
        Ok(Self {
            begin: Some(begin),
            known: Some(known),
            ended,
        })
    }

    /// What is known now; begins with the first call. Does not wait for the BMC.
    pub(super) fn known(&mut self) -> Known {
        if let Some(begin) = self.begin.take() {
            // It fails only if the thread has ended, and then there is nothing to begin.
            let _ = begin.send(());
        }
        self.peek()
    }

    /// What is known now, without beginning.
    pub(super) fn peek(&self) -> Known {
        self.known
            .as_ref()
            .map_or_else(Known::default, |known| known.borrow().clone())
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.begin = None;
        self.known = None;
        // Only an open session takes its time. If the BMC does not answer, the thread is left to itself.
        let _ = self.ended.recv_timeout(END);
    }
}

async fn poll(mut machine: Machine, mut bmc: Bmc, (clock, slept): Clocks, tell: watch::Sender<Known>) {
    let mut chosen = String::new();
    loop {
        let began = clock();
        let step = machine.next(began);
        if let Step::Wait(until) = step {
            let wait = tokio::time::timeout(until.since(began), tell.closed());
            if wait.await.is_ok() {
                break;
            }
            continue;
        }
        let asked = Asked::begin(began, slept);
        // A reader that has gone ends a request in flight: the connection is closed with it.
        let Some(outcome) = unless(tell.closed(), bmc.perform(&step)).await else {
            break;
        };
        let span = Span {
            began: asked.answered(),
            ended: clock(),
        };
        machine.take(&step, span, outcome);
        let now_chosen = machine.chosen();
        if now_chosen != chosen {
            chosen = now_chosen;
            tracing::info!(bmc = bmc.base(), chosen, "power is read from");
        }
        tell.send_replace(Known {
            readings: machine.readings(),
            errors: machine.errors(),
            chosen: chosen.clone(),
        });
    }
    bmc.log_out().await;
}

/// What `work` comes to, unless `end` comes first.
async fn unless<T>(end: impl Future<Output = ()>, work: impl Future<Output = T>) -> Option<T> {
    let (mut end, mut work) = (pin!(end), pin!(work));
    poll_fn(|context| {
        if end.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        work.as_mut().poll(context).map(Some)
    })
    .await
}
