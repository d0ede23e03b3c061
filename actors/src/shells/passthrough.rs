// SPDX-License-Identifier: Apache-2.0
//! The actor that feeds guests: has each snapshot written into their folders, on a thread of its own, because files block.

use crate::clock::Clock;
use crate::health::Lifeline;
use crate::messages::{Publish, Stop};
use crate::pace::Pace;
use crate::slot::Slot;
use crate::worker::Worker;
use actix::{Actor, ActorContext, Context, Handler};
use attribution::model::Snapshot;
use exporter::passthrough::Writer;
use std::sync::Arc;

/// See the module's head.
pub struct PassthroughShell {
    writer: Worker<Arc<Snapshot>>,
    pace: Pace,
    _lifeline: Lifeline,
}

impl PassthroughShell {
    /// A shell for the writer's thread, which hears as often as `pace` lets it.
    #[must_use]
    pub const fn new(writer: Worker<Arc<Snapshot>>, pace: Pace, lifeline: Lifeline) -> Self {
        Self {
            writer,
            pace,
            _lifeline: lifeline,
        }
    }

    /// The work of that thread. Whoever is put into `next` takes the writer's place, or nobody does.
    pub fn work(
        writer: Writer,
        next: Slot<Option<Writer>>,
        clock: Clock,
    ) -> impl FnMut(Arc<Snapshot>) + Send {
        let mut writer = Some(writer);
        move |snapshot| {
            match next.take() {
                Some(Some(next)) => writer = Some(next.after(writer.take())),
                Some(None) => writer.take().into_iter().for_each(Writer::end),
                None => {}
            }
            if let Some(writer) = &mut writer {
                writer.write(&snapshot, clock());
            }
        }
    }
}

impl Actor for PassthroughShell {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // One snapshot, and one more while the thread is busy: the newer one says all that the older one said.
        ctx.set_mailbox_capacity(2);
    }
}

impl Handler<Publish> for PassthroughShell {
    type Result = ();

    fn handle(&mut self, Publish(snapshot): Publish, _: &mut Self::Context) {
        // One that finds the thread still writing is counted as dropped, and the next one pays for it.
        if let Some(snapshot) = self.pace.admit(snapshot) {
            self.writer.ask(snapshot);
        }
    }
}

impl Handler<Stop> for PassthroughShell {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}
