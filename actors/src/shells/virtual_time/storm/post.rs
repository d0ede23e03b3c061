// SPDX-License-Identifier: Apache-2.0
//! A post office in front of an actor: loses messages, keeps them back, and so turns their order, as the dice say.

use super::super::scramble;
use crate::clock::Clock;
use crate::shells::Courier;
use actix::{Actor, AsyncContext, Context, Handler, Message};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// When the weather is fair again, on the clock of the test.
pub(super) const STORM_ENDS: Duration = Duration::from_secs(45);
/// Before that nothing happens either, so that everybody has begun.
const STORM_BEGINS: Duration = Duration::from_millis(900);
/// Three ticks and a half.
const LONGEST_MS: u64 = 3_500;

/// What became of messages, of all offices together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fates {
    pub(super) passed: u64,
    pub(super) lost: u64,
    pub(super) late: u64,
}

/// Delivers messages of one kind to one actor.
pub(super) struct Post<M: Message + Send + 'static>
where
    M::Result: Send,
{
    pub(super) to: Courier<M>,
    pub(super) clock: Clock,
    /// No two offices of a run have the same.
    pub(super) dice: u64,
    pub(super) fates: Arc<Mutex<Fates>>,
}

impl<M: Message + Send + Unpin + 'static> Actor for Post<M>
where
    M::Result: Send,
{
    type Context = Context<Self>;
}

impl<M: Message<Result = ()> + Send + Unpin + 'static> Handler<M> for Post<M> {
    type Result = ();

    fn handle(&mut self, message: M, ctx: &mut Self::Context) {
        self.dice = scramble(self.dice);
        let now = Duration::from_nanos((self.clock)().as_nanos());
        let is_stormy = now >= STORM_BEGINS && now < STORM_ENDS;
        let mut fates = self.fates.lock().expect("one thread");
        match self.dice % 100 {
            0..15 if is_stormy => fates.lost += 1,
            15..45 if is_stormy => {
                fates.late += 1;
                let late = Duration::from_millis((self.dice >> 20) % LONGEST_MS);
                ctx.run_later(late, move |this, _| this.to.send(message));
            }
            _ => {
                fates.passed += 1;
                self.to.send(message);
            }
        }
    }
}
