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
        reader: Box<dyn UsageReader>,
        next: Slot<Box<dyn UsageReader>>,
        home: Courier<UsageReady>,
    ) -> impl FnMut(Drain) + Send {
        let mut seat = Seat::new(reader, next);
        move |drain| {
            let tick = drain.tick;
            if let Some(report) = seat.drain(drain) {
                home.send(UsageReady(report));
            }
            seat.turn(tick);
        }
    }
}

/// Who reads, and whoever takes that one's place between two drains, so that their totals go on as one.
struct Seat {
    reader: Box<dyn UsageReader>,
    next: Slot<Box<dyn UsageReader>>,
    /// One that could not be read when its turn came, and is asked again after each drain. For good: the configuration and the
    /// figures name it, and whoever reloads again puts another one in its place.
    waiting: Option<Box<dyn UsageReader>>,
    splice: UsageSplice,
    failing: bool,
}

impl Seat {
    fn new(reader: Box<dyn UsageReader>, next: Slot<Box<dyn UsageReader>>) -> Self {
        Self {
            reader,
            next,
            waiting: None,
            splice: UsageSplice::default(),
            failing: false,
        }
    }

    fn drain(&mut self, drain: Drain) -> Option<Report<Arc<Usage>>> {
        let Drain {
            tick,
            acked,
            recycled,
        } = drain;
        match self.reader.drain(tick, acked, recycled) {
            Ok((section, usage)) => {
                self.failing = false;
                Some(Report {
                    tick,
                    reporter: ReporterId::new(USAGE),
                    section,
                    body: Arc::new(self.splice.tell(usage)),
                })
            }
            Err(error) => {
                // Said once per outage; the missing report is counted as late in every window.
                if !self.failing {
                    let error = format!("{error:#}");
                    tracing::error!(error, "usage cannot be read; its windows wait");
                }
                self.failing = true;
                None
            }
        }
    }

    /// Whoever waits takes the place.
    fn turn(&mut self, tick: TickId) {
        let (waited, comes) = (self.waiting.take(), self.next.take());
        let is_new = comes.is_some();
        let Some(mut other) = comes.or(waited) else {
            return;
        };
        // What it has counted so far the reader before it has counted, too.
        match other.drain(tick, TickId(0), Vec::new()) {
            Ok((_, base)) => {
                self.splice.turn(base);
                self.reader = other;
                self.failing = false;
                if !is_new {
                    tracing::info!("the new probe can be read by now and counts");
                }
            }
            Err(error) => {
                if is_new {
                    let error = format!("{error:#}");
                    tracing::warn!(
                        error,
                        "the new probe cannot be read; until it can, the one before it counts under its name"
                    );
                }
                self.waiting = Some(other);
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

#[cfg(test)]
mod tests {
    use super::*;
    use attribution::model::MonotonicNanos;
    use std::collections::VecDeque;

    /// Answers or fails as it is told; then it answers.
    struct Scripted(VecDeque<bool>);

    impl UsageReader for Scripted {
        fn drain(&mut self, _: TickId, _: TickId, _: Vec<TaskUsage>) -> anyhow::Result<(Section, Usage)> {
            anyhow::ensure!(self.0.pop_front().unwrap_or(true), "the map is gone");
            let (began, ended) = (MonotonicNanos::ZERO, MonotonicNanos::ZERO);
            Ok((Section { began, ended }, Usage::default()))
        }
    }

    fn reader(script: &[bool]) -> Box<dyn UsageReader> {
        Box::new(Scripted(script.iter().copied().collect()))
    }

    /// The era of the report of one tick.
    fn era(seat: &mut Seat) -> Option<u32> {
        let drain = Drain {
            tick: TickId(1),
            acked: TickId(0),
            recycled: Vec::new(),
        };
        let report = seat.drain(drain);
        seat.turn(TickId(1));
        report.map(|report| report.body.era)
    }

    #[test]
    fn one_that_cannot_be_read_when_its_turn_comes_has_it_with_a_later_tick() {
        let next = Slot::default();
        let mut seat = Seat::new(reader(&[true, true, false]), next.clone());
        let mut other = reader(&[true, false, true]);
        other
            .drain(TickId(0), TickId(0), Vec::new())
            .expect("it was tried");
        next.put(other);
        assert_eq!(era(&mut seat), Some(0), "it fails");
        assert_eq!(era(&mut seat), Some(0), "it takes the place");
        assert_eq!(era(&mut seat), Some(1));
        assert!(seat.waiting.is_none());
    }

    #[test]
    fn one_that_waits_gives_way_to_a_newer_one_and_an_outage_ends_with_the_exchange() {
        let next = Slot::default();
        let mut seat = Seat::new(reader(&[false, false]), next.clone());
        next.put(reader(&[false]));
        assert_eq!((era(&mut seat), seat.failing), (None, true));
        next.put(reader(&[true, false]));
        assert_eq!((era(&mut seat), seat.failing), (None, false));
        assert_eq!(
            (era(&mut seat), seat.failing),
            (None, true),
            "the newer one, for itself"
        );
        assert_eq!((era(&mut seat), seat.waiting.is_none()), (Some(1), true));
    }
}
