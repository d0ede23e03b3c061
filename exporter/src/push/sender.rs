// SPDX-License-Identifier: Apache-2.0
//! The two halves of pushing to one receiver: one takes pages in its interval and fills the queue, the other empties it. A receiver that
//! hangs holds up the second one only.

use super::batch::{Batch, Gatherer};
use super::health::{Counts, Failure, Health, Loss};
use super::queue::{Queue, Ticket};
use super::verdict::{Backoff, Protocol, Verdict, judge};
use super::wire::Wire;
use crate::forms::Encoding;
use crate::page::Page;
use crate::text::writer::Format;
use attribution::model::{MonotonicNanos, TickId};
use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

/// How long the end of the daemon waits for what is left, all together: less than the second and a half that its last steps have.
const FLUSH: Duration = Duration::from_millis(1_200);

/// Where the time comes from.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// `CLOCK_MONOTONIC`, the clock of the snapshots.
    pub now: fn() -> MonotonicNanos,
    /// Unix time.
    pub unix: fn() -> Duration,
}

impl Clocks {
    /// Unix milliseconds of a moment that is not long ago. By the clock of now and not of the start: one that was wrong then may
    /// have been set since.
    fn millis(&self, moment: MonotonicNanos) -> i64 {
        let ago = (self.now)().since(moment);
        let then = (self.unix)().saturating_sub(ago).as_millis();
        i64::try_from(then).unwrap_or(i64::MAX)
    }
}

/// What both halves share; they take turns on one thread.
struct Shared {
    queue: RefCell<Queue>,
    /// Something came, or the end.
    news: Notify,
    ending: Cell<bool>,
}

/// Pushes to one receiver.
pub(super) struct Sender {
    pub(super) protocol: Protocol,
    pub(super) interval: Duration,
    pub(super) age: Duration,
    pub(super) gatherer: Gatherer,
    pub(super) queue: Queue,
    pub(super) wire: Wire,
    pub(super) health: Arc<Health>,
}

impl Sender {
    /// Pushes until there are no more pages, then what is left, for a bounded time.
    pub(super) async fn run(self, pages: watch::Receiver<Arc<Page>>, clocks: Clocks) {
        let (protocol, health) = (self.protocol, Arc::clone(&self.health));
        let counts = health.of(protocol);
        let age = self.age;
        let shared = Shared {
            queue: RefCell::new(self.queue),
            news: Notify::new(),
            ending: Cell::new(false),
        };
        let mut collector = Collector {
            shared: &shared,
            gatherer: self.gatherer,
            format: match protocol {
                // What the others say of families and beginnings has no place in version 1.0.
                Protocol::RemoteWrite1 => Format::Text,
                Protocol::RemoteWrite2 | Protocol::Otlp => Format::OpenMetrics,
            },
            pages,
            clocks,
            counts,
            receiver: protocol.name(),
            taken: TickId(0),
        };
        let mut deliverer = Deliverer {
            shared: &shared,
            protocol,
            wire: self.wire,
            age,
            clocks,
            counts,
            backoff: Backoff::default(),
        };
        let mut delivery = pin!(deliverer.run());
        tokio::select! {
            () = collector.run(self.interval) => {}
            () = &mut delivery => {}
        }
        collector.end();
        shared.ending.set(true);
        shared.news.notify_one();
        let flushed = timeout(FLUSH, delivery).await;
        let left = shared.queue.borrow_mut().clear();
        if left > 0 || flushed.is_err() {
            counts.lost(Loss::Stopped, left);
            tracing::warn!(
                receiver = protocol.name(),
                samples = left,
                "not all was pushed before the end"
            );
        }
    }
}

/// The half that takes pages.
struct Collector<'s> {
    shared: &'s Shared,
    gatherer: Gatherer,
    format: Format,
    pages: watch::Receiver<Arc<Page>>,
    clocks: Clocks,
    counts: &'s Counts,
    receiver: &'static str,
    /// The newest one that was taken.
    taken: TickId,
}

impl Collector<'_> {
    /// Until there are no more pages.
    async fn run(&mut self, every: Duration) {
        // Before the first window has closed there is nothing to say.
        while self.pages.borrow_and_update().snapshot().tick.0 == 0 {
            if self.pages.changed().await.is_err() {
                return;
            }
        }
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut pages = self.pages.clone();
        let mut closed = pin!(async { while pages.changed().await.is_ok() {} });
        loop {
            tokio::select! {
                _ = ticks.tick() => self.take(),
                () = &mut closed => return,
            }
        }
    }

    /// Takes the newest page, if it was not taken already.
    fn take(&mut self) {
        let page = Arc::clone(&self.pages.borrow_and_update());
        let tick = page.snapshot().tick;
        // Also where no window has closed yet.
        if tick == self.taken {
            self.count();
            return;
        }
        self.taken = tick;
        let at = self.clocks.millis(page.snapshot().window.ended);
        let (text, _) = page.scrape(self.format, Encoding::Identity);
        let batches = self.gatherer.take(text, at);
        self.put(batches);
    }

    /// The last page, and the end of all series behind it.
    fn end(&mut self) {
        self.take();
        let at = self.clocks.millis((self.clocks.now)());
        let batches = self.gatherer.end(at);
        self.put(batches);
    }

    fn put(&mut self, batches: Vec<Batch>) {
        if self.gatherer.has_gone_back() {
            self.counts.followed_back();
            tracing::warn!(
                receiver = self.receiver,
                "the clock was set back by more than five minutes; what is pushed follows it, and the receiver may refuse it until \
                 it is as late as it was"
            );
        }
        let now = (self.clocks.now)();
        for batch in batches {
            let lost = self.shared.queue.borrow_mut().push(batch, now);
            self.counts.lost(Loss::Full, lost);
        }
        self.count();
        self.shared.news.notify_one();
    }

    fn count(&self) {
        let mut queue = self.shared.queue.borrow_mut();
        self.counts.lost(Loss::Old, queue.expire((self.clocks.now)()));
        self.counts.waits(queue.samples(), queue.bytes());
    }
}

/// The half that sends.
struct Deliverer<'s> {
    shared: &'s Shared,
    protocol: Protocol,
    wire: Wire,
    age: Duration,
    clocks: Clocks,
    counts: &'s Counts,
    backoff: Backoff,
}

impl Deliverer<'_> {
    /// For ever; at the end of the daemon until nothing waits, or something fails.
    async fn run(&mut self) {
        loop {
            let front = self.shared.queue.borrow().front();
            let Some((ticket, body, samples)) = front else {
                if self.shared.ending.get() {
                    return;
                }
                self.shared.news.notified().await;
                continue;
            };
            let verdict = match self.wire.post(body).await {
                Ok(answer) => Ok(judge(self.protocol, &answer, samples, (self.clocks.unix)())),
                Err(none) => Err(none),
            };
            let after = match verdict {
                Ok(Verdict::Taken { rejected, words }) => {
                    self.taken(ticket, samples, rejected.min(samples), &words);
                    continue;
                }
                Ok(Verdict::Refused { words }) => {
                    self.refused(ticket, samples, &words);
                    continue;
                }
                Ok(Verdict::Again { after, words }) => {
                    self.failed(Failure::Busy, &words);
                    after
                }
                Err(none) => {
                    self.failed(none.failure, &none.words);
                    None
                }
            };
            if self.shared.ending.get() {
                return;
            }
            self.pause(after).await;
        }
    }

    /// Waits before the next try. The end of the daemon ends the wait: then there is one last try.
    async fn pause(&mut self, asked: Option<Duration>) {
        let pause = self.backoff.next(fastrand::f64(), asked, self.age);
        let mut pause = pin!(sleep(pause));
        while !self.shared.ending.get() {
            tokio::select! {
                () = &mut pause => return,
                () = self.shared.news.notified() => {}
            }
        }
    }

    /// `false` where it was dropped, and counted, while it was being sent.
    fn done(&self, ticket: Ticket) -> bool {
        let mut queue = self.shared.queue.borrow_mut();
        let done = queue.done(ticket);
        self.counts.waits(queue.samples(), queue.bytes());
        done
    }

    fn taken(&mut self, ticket: Ticket, samples: usize, rejected: usize, words: &str) {
        self.backoff.reset();
        if self.done(ticket) {
            self.counts.sent(samples.saturating_sub(rejected));
            self.counts.lost(Loss::Refused, rejected);
        }
        let (receiver, address) = (self.protocol.name(), self.wire.address());
        if rejected > 0 {
            tracing::warn!(
                receiver,
                address,
                rejected,
                detail = words,
                "a part of a push was refused"
            );
        }
        if self.counts.is_up(true) {
            tracing::info!(receiver, address, "pushing");
        }
    }

    fn refused(&mut self, ticket: Ticket, samples: usize, words: &str) {
        self.backoff.reset();
        self.failed(Failure::Refused, words);
        if self.done(ticket) {
            self.counts.lost(Loss::Refused, samples);
        }
    }

    /// Told once, until it works again; counted each time.
    fn failed(&self, failure: Failure, words: &str) {
        self.counts.failed(failure);
        let (receiver, address, reason) = (self.protocol.name(), self.wire.address(), failure.name());
        if self.counts.is_up(false) {
            tracing::warn!(receiver, address, reason, detail = words, "push failed");
        } else {
            tracing::debug!(receiver, address, reason, detail = words, "push failed");
        }
    }
}
