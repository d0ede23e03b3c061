// SPDX-License-Identifier: Apache-2.0
//! The ticker: beats at a fixed period, tells the attribution first and then every producer.
//!
//! A beat that could not be sent in time is skipped and never sent late: two windows in a row would only measure noise. The first one
//! after it says by when its window was due, so that a gap is in the lateness of windows.
//! Who needs a window now asks for a [`Beat`] out of turn; the period begins anew with it.

use super::Courier;
use crate::clock::Clock;
use crate::health::Lifeline;
use crate::messages::{Beat, Stop, Tick};
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, WrapFuture};
use attribution::model::{MonotonicNanos, TickId};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// The window closes at the latest after this part of the tick, in percent: what is left is for the snapshot to be
/// rendered before the next beat.
const DEADLINE_PERCENT: u32 = 80;

/// How it beats, and who hears it.
#[derive(Clone)]
pub struct Score {
    /// Time between two beats.
    pub period: Duration,
    /// In their order.
    pub listeners: Vec<Courier<Tick>>,
}

impl Message for Score {
    type Result = ();
}

/// See the module's head.
pub struct Ticker {
    score: watch::Sender<Score>,
    clock: Clock,
    /// Somebody wants one out of turn.
    wanted: Arc<Notify>,
    _lifeline: Lifeline,
}

impl Ticker {
    /// Beats every `period` once started; `listeners` hear it in their order. Another [`Score`] holds from the next beat on.
    #[must_use]
    pub fn new(period: Duration, clock: Clock, listeners: Vec<Courier<Tick>>, lifeline: Lifeline) -> Self {
        Self {
            score: watch::channel(Score { period, listeners }).0,
            clock,
            wanted: Arc::default(),
            _lifeline: lifeline,
        }
    }
}

/// Beats from `first` on.
fn beats(first: Instant, period: Duration) -> Interval {
    let mut beats = interval_at(first, period);
    beats.set_missed_tick_behavior(MissedTickBehavior::Skip);
    beats
}

impl Actor for Ticker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (clock, mut score) = (Clock::clone(&self.clock), self.score.subscribe());
        let wanted = Arc::clone(&self.wanted);
        let beat = async move {
            let mut now = score.borrow_and_update().clone();
            let (mut beat, mut last) = (beats(Instant::now(), now.period), Instant::now());
            let mut id = 0;
            loop {
                let scheduled;
                tokio::select! {
                    biased;
                    changed = score.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        let next = score.borrow_and_update().clone();
                        if next.period != now.period {
                            // The next one comes as long after the last one as those after it come after each other; where that is
                            // over, at once, and those after it count from there.
                            beat = beats((last + next.period).max(Instant::now()), next.period);
                        }
                        now = next;
                        continue;
                    }
                    () = wanted.notified() => {
                        beat.reset();
                        scheduled = Instant::now();
                    }
                    at = beat.tick() => scheduled = at,
                }
                last = Instant::now();
                id += 1;
                let (at, open) = (clock(), now.period * DEADLINE_PERCENT / 100);
                let behind = last.saturating_duration_since(scheduled);
                let beat = at.since(MonotonicNanos::ZERO).saturating_sub(behind);
                let tick = Tick {
                    id: TickId(id),
                    at,
                    deadline: at.after(open),
                    due: MonotonicNanos::ZERO.after(beat + open),
                };
                now.listeners.iter().for_each(|listener| listener.send(tick));
            }
        };
        ctx.spawn(beat.into_actor(self));
    }
}

impl Handler<Score> for Ticker {
    type Result = ();

    fn handle(&mut self, score: Score, _: &mut Self::Context) {
        self.score.send_replace(score);
    }
}

impl Handler<Beat> for Ticker {
    type Result = ();

    fn handle(&mut self, _: Beat, _: &mut Self::Context) {
        // Several that come at once want the same window.
        self.wanted.notify_one();
    }
}

impl Handler<Stop> for Ticker {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}
