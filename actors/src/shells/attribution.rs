// SPDX-License-Identifier: Apache-2.0
//! The attribution actor: opens a window at each tick, closes it when everybody is in or at the deadline, publishes.

use super::Courier;
use crate::clock::{Clock, Sleep};
use crate::driven::Driven;
use crate::health::{Drops, Lifeline};
use crate::messages::{CloseNow, EnergyReady, IdentityReady, Paid, Publish, Stop, Tick, UsageReady};
use crate::worker::Worker;
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, SpawnHandle};
use attribution::engine::{LearnedZone, Settings};
use attribution::model::{MonotonicNanos, NodeFacts, SourceId};
use attribution::recording::Entry;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// Time between two saves of what was learned: a power cut costs at most this much of it.
const SAVED_EVERY: Duration = Duration::from_secs(300);

/// The way to the thread that saves what was learned.
#[derive(Debug)]
pub struct Saver {
    thread: Worker<Vec<LearnedZone>>,
    saved: Option<MonotonicNanos>,
}

impl Saver {
    /// Saves on `thread`.
    #[must_use]
    pub const fn new(thread: Worker<Vec<LearnedZone>>) -> Self {
        Self { thread, saved: None }
    }

    /// Saves if the last time is long enough ago.
    fn save_now_and_then(&mut self, engine: &Driven, now: MonotonicNanos) {
        let saved = *self.saved.get_or_insert(now);
        if now.since(saved) >= SAVED_EVERY {
            self.saved = Some(now);
            self.save(engine);
        }
    }

    fn save(&self, engine: &Driven) {
        // One that finds the thread still at the one before is counted as dropped, and the next one says it all again.
        self.thread.ask(engine.learned_floors());
    }
}

/// What changes at the end of a window.
pub struct Adoption {
    /// Rules of the split.
    pub rules: Settings,
    /// What was decided.
    pub facts: Arc<NodeFacts>,
    /// Sources that are read no more.
    pub dismissed: Vec<SourceId>,
    /// Sources that are read from now on.
    pub expected: Vec<SourceId>,
    /// Who saves what was learned, where nobody did before.
    pub saver: Option<Saver>,
    /// Who is told of windows from now on, too.
    pub told: Option<Courier<Publish>>,
}

/// Take this over once no window is open.
pub struct Adopt {
    /// What is taken over.
    pub adoption: Box<Adoption>,
    /// Who waits for that. Where nobody does any more, nothing is taken over.
    pub adopted: oneshot::Sender<()>,
    /// Who waits until nobody waits for the sources that are dismissed.
    pub parted: oneshot::Sender<()>,
}

impl actix::Message for Adopt {
    type Result = ();
}

/// See the module's head.
pub struct AttributionShell {
    engine: Driven,
    clock: Clock,
    drops: Drops,
    told: Vec<Courier<Publish>>,
    usage: Option<Courier<Paid>>,
    deadline: Option<SpawnHandle>,
    sleep: Option<Sleep>,
    saver: Option<Saver>,
    /// Waits for the end of the window. One at a time: who sends it waits until it is done.
    adopts: Option<Adopt>,
    parts: Option<oneshot::Sender<()>>,
    _lifeline: Lifeline,
}

impl AttributionShell {
    /// A shell for an engine that knows its reporters. Everyone in `told` is told of each window that closes.
    #[must_use]
    pub fn new(
        engine: Driven,
        clock: Clock,
        drops: Drops,
        told: Vec<Courier<Publish>>,
        saver: Option<Saver>,
        lifeline: Lifeline,
    ) -> Self {
        Self {
            engine,
            clock,
            drops,
            told,
            usage: None,
            deadline: None,
            sleep: None,
            saver,
            adopts: None,
            parts: None,
            _lifeline: lifeline,
        }
    }

    /// Tells the engine from now on when the machine has slept.
    #[must_use]
    pub fn watching(self, sleep: Sleep) -> Self {
        Self {
            sleep: Some(sleep),
            ..self
        }
    }

    /// Before a reading is heard that may be of after a night.
    fn look_at_sleep(&mut self) {
        if let Some(total) = self.sleep.as_mut().and_then(Sleep::news) {
            tracing::info!(
                slept_seconds = total.as_secs(),
                "the machine slept; total since the start"
            );
            self.engine.call(Entry::Slept { total });
        }
    }

    fn adopt(&mut self) {
        if self.engine.is_open() {
            return;
        }
        self.part();
        let Some(Adopt {
            adoption,
            adopted,
            parted,
        }) = self.adopts.take()
        else {
            return;
        };
        // Whatever is sent here because of it comes after it. Who has given up on it has undone what was prepared for it.
        if adopted.send(()).is_err() {
            return;
        }
        let Adoption {
            rules,
            facts,
            dismissed,
            expected,
            saver,
            told,
        } = *adoption;
        self.engine.adopt(rules, facts);
        dismissed
            .into_iter()
            .for_each(|source| self.engine.dismiss(source));
        for source in expected {
            self.engine.call(Entry::ExpectSource(source));
        }
        if saver.is_some() {
            self.saver = saver;
        }
        self.told.extend(told);
        self.parts = Some(parted);
        self.part();
    }

    /// Says so once nothing is being handed over.
    fn part(&mut self) {
        if let Some(parted) = self.parts.take_if(|_| !self.engine.hands_over()) {
            // When we are stopping nobody listens.
            let _ = parted.send(());
        }
    }

    fn close_if_complete(&mut self, ctx: &mut Context<Self>) {
        if self.engine.complete() {
            self.close(ctx);
        }
    }

    /// Closes the window that is open, if one is. Its deadline goes with it: a timer that found nothing left to do would
    /// wake the thread once more at each tick.
    fn close(&mut self, ctx: &mut Context<Self>) {
        if let Some(deadline) = self.deadline.take() {
            ctx.cancel_future(deadline);
        }
        let now = (self.clock)();
        let close = Entry::Close {
            at: now,
            dropped: self.drops.totals(),
        };
        let Some(closed) = self.engine.call(close) else {
            self.adopt();
            return;
        };
        if let Some(saver) = &mut self.saver {
            saver.save_now_and_then(&self.engine, now);
        }
        if let (Some(usage), Some(tick)) = (&self.usage, closed.acked) {
            usage.send(Paid(tick));
        }
        let snapshot = Arc::new(closed.snapshot);
        for told in &self.told {
            told.send(Publish(Arc::clone(&snapshot)));
        }
        self.adopt();
    }
}

impl Handler<Adopt> for AttributionShell {
    type Result = ();

    fn handle(&mut self, adopt: Adopt, _: &mut Self::Context) {
        self.adopts = Some(adopt);
        self.adopt();
    }
}

impl Actor for AttributionShell {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // The bound is per sender. Each sends one message per tick; four let a sender be three windows ahead, which is
        // when it counts as stale anyway.
        ctx.set_mailbox_capacity(4);
    }
}

/// The usage actor's address is known only after this actor was started, since that one reports to this one.
#[derive(Clone)]
pub struct PayTo(pub Courier<Paid>);

impl actix::Message for PayTo {
    type Result = ();
}

impl Handler<PayTo> for AttributionShell {
    type Result = ();

    fn handle(&mut self, PayTo(usage): PayTo, _: &mut Self::Context) {
        self.usage = Some(usage);
    }
}

impl Handler<Tick> for AttributionShell {
    type Result = ();

    fn handle(&mut self, tick: Tick, ctx: &mut Self::Context) {
        self.close(ctx);
        self.engine.call(Entry::Open {
            tick: tick.id,
            at: tick.at,
            deadline: tick.due,
        });
        let wait = tick.deadline.since((self.clock)());
        self.deadline = Some(ctx.run_later(wait, Self::close));
    }
}

impl Handler<UsageReady> for AttributionShell {
    type Result = ();

    fn handle(&mut self, UsageReady(report): UsageReady, ctx: &mut Self::Context) {
        self.engine.call(Entry::Usage(report));
        self.close_if_complete(ctx);
    }
}

impl Handler<IdentityReady> for AttributionShell {
    type Result = ();

    fn handle(&mut self, IdentityReady(report, tallies): IdentityReady, ctx: &mut Self::Context) {
        self.engine.call(Entry::Identity(report));
        self.engine.call(Entry::Tallies(tallies));
        self.close_if_complete(ctx);
    }
}

impl Handler<EnergyReady> for AttributionShell {
    type Result = ();

    fn handle(&mut self, ready: EnergyReady, ctx: &mut Self::Context) {
        let EnergyReady {
            source,
            report,
            detail,
        } = ready;
        if let Some(detail) = detail {
            self.engine.call(Entry::Describe { source, detail });
        }
        self.look_at_sleep();
        self.engine.call(Entry::Energy { source, report });
        self.close_if_complete(ctx);
    }
}

impl Handler<CloseNow> for AttributionShell {
    type Result = ();

    fn handle(&mut self, _: CloseNow, ctx: &mut Self::Context) {
        self.close(ctx);
        if let Some(saver) = &self.saver {
            saver.save(&self.engine);
        }
    }
}

impl Handler<Stop> for AttributionShell {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}
