// SPDX-License-Identifier: Apache-2.0
//! The ticker: beats at a fixed period, tells the attribution first and then every producer.
//!
//! A beat that could not be sent in time is skipped and never sent late: two windows in a row would only measure noise.
//! Who needs a window now asks for a [`Beat`] out of turn; the period begins anew with it.

use super::Courier;
use crate::clock::Clock;
use crate::health::Lifeline;
use crate::messages::{Beat, Stop, Tick};
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, WrapFuture};
use attribution::model::TickId;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};

/// The window closes at the latest after this part of the tick, in percent: what is left is for the snapshot to be
/// rendered before the next beat.
const DEADLINE_PERCENT: u32 = 80;

/// See the module's head.
pub struct Ticker {
    period: Duration,
    clock: Clock,
    listeners: Vec<Courier<Tick>>,
    /// Somebody wants one out of turn.
    wanted: Arc<Notify>,
    _lifeline: Lifeline,
}

impl Ticker {
    /// Beats every `period` once started; `listeners` hear it in their order.
    #[must_use]
    pub fn new(period: Duration, clock: Clock, listeners: Vec<Courier<Tick>>, lifeline: Lifeline) -> Self {
        Self {
            period,
            clock,
            listeners,
            wanted: Arc::default(),
            _lifeline: lifeline,
        }
    }
}

impl Actor for Ticker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (period, clock, listeners, wanted) = (
            self.period,
            Clock::clone(&self.clock),
            std::mem::take(&mut self.listeners),
            Arc::clone(&self.wanted),
        );
        let beat = async move {
            let mut beat = interval(period);
            beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
            let mut id = 0;
            loop {
                tokio::select! {
                    _ = beat.tick() => {}
                    () = wanted.notified() => beat.reset(),
                }
                id += 1;
                let at = clock();
                let tick = Tick {
                    id: TickId(id),
                    at,
                    deadline: at.after(period * DEADLINE_PERCENT / 100),
                };
                listeners.iter().for_each(|listener| listener.send(tick));
            }
        };
        ctx.spawn(beat.into_actor(self));
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
