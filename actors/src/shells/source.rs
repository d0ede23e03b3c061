// SPDX-License-Identifier: Apache-2.0
//! A source actor: has one power source read on its own thread at each tick; the answer goes to the attribution.

use super::Courier;
use crate::bridge::chair::Chair;
use crate::clock::Clock;
use crate::health::Lifeline;
use crate::messages::{EnergyReady, Stop, Tick};
use crate::slot::{Shared, Slot};
use crate::splice::Splice;
use crate::worker::Worker;
use actix::{Actor, ActorContext, Context, Handler};
use attribution::model::{Report, ReporterId, Section, TickId};
use power_sources::PowerSource;
use std::sync::Arc;

/// See the module's head.
pub struct SourceShell {
    reader: Worker<TickId>,
    _lifeline: Lifeline,
}

impl SourceShell {
    /// A shell for a source's thread.
    #[must_use]
    pub fn new(reader: Worker<TickId>, lifeline: Lifeline) -> Self {
        Self {
            reader,
            _lifeline: lifeline,
        }
    }

    /// The work of the source's thread. Whoever is put into `next` takes the meter's place at a tick, right after its last
    /// reading; `splice` has the totals of both go on as one.
    pub fn work(
        meter: Box<dyn PowerSource>,
        next: Slot<Box<dyn PowerSource>>,
        splice: Shared<Splice>,
        clock: Clock,
        to: Courier<EnergyReady>,
    ) -> impl FnMut(TickId) + Send {
        let source = meter.id();
        let reporter = ReporterId::new(source.0);
        let mut detail: Arc<str> = Arc::from(meter.detail());
        let mut chair = Chair::new(meter, next, splice);
        move |tick| {
            let began = clock();
            let body = chair.read(began, &clock);
            let section = Section {
                began,
                ended: clock(),
            };
            let newest = chair.detail();
            if *detail != *newest {
                detail = Arc::from(newest);
            }
            to.send(EnergyReady {
                source,
                // With every report, since one may be lost.
                detail: Some(Arc::clone(&detail)),
                report: Report {
                    tick,
                    reporter: reporter.clone(),
                    section,
                    body,
                },
            });
        }
    }
}

impl Actor for SourceShell {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // One tick, and one more while the thread is busy.
        ctx.set_mailbox_capacity(2);
    }
}

impl Handler<Tick> for SourceShell {
    type Result = ();

    fn handle(&mut self, tick: Tick, _: &mut Self::Context) {
        self.reader.ask(tick.id);
    }
}

impl Handler<Stop> for SourceShell {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}
