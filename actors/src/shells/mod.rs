// SPDX-License-Identifier: Apache-2.0
//! One file per actor. Each reads top to bottom: what it owns, its state, its handlers, its tests.

mod attribution;
mod estimator;
mod exporter;
mod passthrough;
mod resolver;
mod source;
mod ticker;
mod usage;
#[cfg(test)]
mod virtual_time;

pub use self::attribution::{Adopt, Adoption, AttributionShell, PayTo, Saver};
pub use self::estimator::EstimatorShell;
pub use self::exporter::{ExporterShell, Restyle, ShowAgain};
pub use self::passthrough::PassthroughShell;
pub use self::resolver::{Resolve, ResolverShell};
pub use self::source::SourceShell;
pub use self::ticker::{Score, Ticker};
pub use self::usage::{UsageReader, UsageShell};

use crate::health::{Drops, Queue};
use actix::Recipient;
use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Message};

/// The way to one kind of message of one actor: sends or counts.
///
/// Each producer keeps its own courier for good. The bound of an actix mailbox is per sender and a fresh clone brings a
/// fresh slot, so cloning one for every send would have no bound at all.
#[derive(Clone)]
pub struct Courier<M: Message + Send>
where
    M::Result: Send,
{
    to: Recipient<M>,
    queue: Queue,
    drops: Drops,
}

impl<M: Message + Send + 'static> Courier<M>
where
    M::Result: Send,
{
    /// A courier to `actor`.
    pub fn new<A>(actor: &Addr<A>, queue: Queue, drops: &Drops) -> Self
    where
        A: Actor + Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        Self {
            to: actor.clone().recipient(),
            queue,
            drops: drops.clone(),
        }
    }

    /// Sends; counts when the mailbox is full. A dead actor has told through its lifeline.
    pub fn send(&self, message: M) {
        if self.to.try_send(message).is_err() {
            self.drops.count(self.queue);
        }
    }
}
