// SPDX-License-Identifier: Apache-2.0
//! The usage actor: asks the probe's thread to drain at each tick and hands the report to everybody who needs it.

use super::Courier;
use crate::health::Lifeline;
use crate::messages::{Paid, Stop, Tick, UsageReady};
use crate::slot::Slot;
use crate::splice::UsageSplice;
use crate::worker::Worker;
use actix::{Actor, ActorContext, Context, Handler};
use attribution::engine::USAGE;
use attribution::model::{Report, ReporterId, Section, TaskUsage, TickId, Usage};
use std::sync::Arc;

/// Reads who ran. Blocks; lives on its own thread.
pub trait UsageReader: Send {
    /// All CPU time since the reader began. Tasks that were listed as ended in a report up to `acked` may be forgotten.
    /// `recycled` is an old list whose memory may be used again.
    ///
    /// # Errors
    /// When nothing could be read; the next drain makes up for it.
    fn drain(
        &mut self,
        tick: TickId,
        acked: TickId,
        recycled: Vec<TaskUsage>,
    ) -> anyhow::Result<(Section, Usage)>;
}

/// What the reader thread is asked.
#[derive(Debug)]
pub struct Drain {
    tick: TickId,
    acked: TickId,
    recycled: Vec<TaskUsage>,
}

/// See the module's head.
pub struct UsageShell {
    reader: Worker<Drain>,
    listeners: Vec<Courier<UsageReady>>,
    acked: TickId,
    last: Option<Arc<Usage>>,
    _lifeline: Lifeline,
}

impl UsageShell {
    /// `listeners` hear each report in their order.
    #[must_use]
    pub fn new(reader: Worker<Drain>, listeners: Vec<Courier<UsageReady>>, lifeline: Lifeline) -> Self {
        Self {
            reader,
            listeners,
            acked: TickId(0),
            last: None,
            _lifeline: lifeline,
        }
    }

    /// The work of the reader thread: drain and send home. Whoever is put into `next` takes the reader's place right after a drain.
    pub fn work(
        mut reader: Box<dyn UsageReader>,
        next: Slot<Box<dyn UsageReader>>,
        home: Courier<UsageReady>,
    ) -> impl FnMut(Drain) + Send {
        let mut splice = UsageSplice::default();
        let reporter = ReporterId::new(USAGE);
        let mut failing = false;
        move |Drain {
                  tick,
                  acked,
                  recycled,
              }| {
            match reader.drain(tick, acked, recycled) {
                Ok((section, usage)) => {
                    failing = false;
                    let report = Report {
                        tick,
                        reporter: reporter.clone(),
                        section,
                        body: Arc::new(splice.tell(usage)),
                    };
                    home.send(UsageReady(report));
                }
                // Said once per outage; the missing report is counted as late in every window.
                Err(error) if !failing => {
                    failing = true;
                    tracing::error!(
                        error = format!("{error:#}"),
                        "usage cannot be read; its windows wait"
                    );
                }
                Err(_) => {}
            }
            let Some(mut other) = next.take() else {
                return;
            };
            // What it has counted so far the reader before it has counted, too.
            match other.drain(tick, TickId(0), Vec::new()) {
                Ok((_, base)) => {
                    splice.turn(base);
                    reader = other;
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::error!(error, "the new probe cannot be read; the one before it goes on");
                }
            }
        }
    }
}

impl Actor for UsageShell {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // One tick, one report and one acknowledgement per window; twice that when a window is late.
        ctx.set_mailbox_capacity(6);
    }
}

impl Handler<Tick> for UsageShell {
    type Result = ();

    fn handle(&mut self, tick: Tick, _: &mut Self::Context) {
        // The list of two reports ago is free again unless somebody is late with it.
        let recycled = self
            .last
            .take()
            .and_then(Arc::into_inner)
            .map(|usage| usage.tasks)
            .unwrap_or_default();
        self.reader.ask(Drain {
            tick: tick.id,
            acked: self.acked,
            recycled,
        });
    }
}

impl Handler<UsageReady> for UsageShell {
    type Result = ();

    fn handle(&mut self, ready: UsageReady, _: &mut Self::Context) {
        self.last = Some(Arc::clone(&ready.0.body));
        self.listeners
            .iter()
            .for_each(|listener| listener.send(ready.clone()));
    }
}

impl Handler<Paid> for UsageShell {
    type Result = ();

    fn handle(&mut self, Paid(tick): Paid, _: &mut Self::Context) {
        self.acked = self.acked.max(tick);
    }
}

impl Handler<Stop> for UsageShell {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}
