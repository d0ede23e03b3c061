// SPDX-License-Identifier: Apache-2.0
//! The resolver actor: gives each usage report to the resolver's thread, whose answer goes to the attribution.

use super::Courier;
use crate::clock::Clock;
use crate::health::Lifeline;
use crate::messages::{IdentityReady, Stop, UsageReady};
use crate::worker::Worker;
use actix::{Actor, ActorContext, Context, Handler};
use attribution::engine::RESOLVER;
use attribution::model::{Identity, Report, ReporterId, Section, Tally, TickId, Usage};
use std::sync::Arc;

/// Finds out who is who. Blocks on files; lives on its own thread.
pub trait Resolve: Send {
    /// Owners of everything in `usage`; the same `Arc` as before while nothing changed.
    fn resolve(&mut self, usage: &Usage) -> Arc<Identity>;

    /// What it counts of itself.
    fn tallies(&self) -> Vec<Tally> {
        Vec::new()
    }
}

/// What the resolver thread is asked.
#[derive(Debug)]
pub struct Question {
    tick: TickId,
    usage: Arc<Usage>,
}

/// See the module's head.
pub struct ResolverShell {
    reader: Worker<Question>,
    _lifeline: Lifeline,
}

impl ResolverShell {
    /// A shell for a resolver's thread.
    #[must_use]
    pub fn new(reader: Worker<Question>, lifeline: Lifeline) -> Self {
        Self {
            reader,
            _lifeline: lifeline,
        }
    }

    /// The work of the resolver thread.
    pub fn work(
        mut resolver: Box<dyn Resolve>,
        clock: Clock,
        to: Courier<IdentityReady>,
    ) -> impl FnMut(Question) + Send {
        let reporter = ReporterId::new(RESOLVER);
        move |Question { tick, usage }| {
            let began = clock();
            let body = resolver.resolve(&usage);
            // The list is wanted back for the next drain.
            drop(usage);
            let section = Section {
                began,
                ended: clock(),
            };
            let report = Report {
                tick,
                reporter: reporter.clone(),
                section,
                body,
            };
            to.send(IdentityReady(report, resolver.tallies()));
        }
    }
}

impl Actor for ResolverShell {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // One report per tick, and one more while the thread is busy.
        ctx.set_mailbox_capacity(2);
    }
}

impl Handler<UsageReady> for ResolverShell {
    type Result = ();

    fn handle(&mut self, UsageReady(report): UsageReady, _: &mut Self::Context) {
        self.reader.ask(Question {
            tick: report.tick,
            usage: report.body,
        });
    }
}

impl Handler<Stop> for ResolverShell {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}
