// SPDX-License-Identifier: Apache-2.0
//! The resolver actor: gives each usage report to the resolver's thread, whose answer goes to the attribution.

use super::Courier;
use crate::clock::Clock;
use crate::health::Lifeline;
use crate::messages::{IdentityReady, Stop, UsageReady};
use crate::slot::Slot;
use crate::splice::TallySplice;
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

    /// The work of the resolver thread. Whoever is put into `next` answers, too, and takes the resolver's place once it knows the
    /// names that it waits for: until then workloads would be called otherwise.
    pub fn work(
        mut resolver: Box<dyn Resolve>,
        next: Slot<Box<dyn Resolve>>,
        clock: Clock,
        to: Courier<IdentityReady>,
    ) -> impl FnMut(Question) + Send {
        let reporter = ReporterId::new(RESOLVER);
        let mut splice = TallySplice::default();
        let mut heir: Option<Heir> = None;
        move |Question { tick, usage }| {
            let began = clock();
            let body = resolver.resolve(&usage);
            if let Some(next) = next.take() {
                heir = Some(Heir::new(next));
            }
            let ready = heir.take_if(|heir| heir.is_ready(&usage, &body));
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
            to.send(IdentityReady(report, splice.tell(resolver.tallies())));
            if let Some(Heir { resolver: next, .. }) = ready {
                splice.turn();
                resolver = next;
            }
        }
    }
}

/// Questions after which another resolver takes over with the names that it has. Pods are known after two or three; an API server
/// that does not answer must not keep what was asked for from being done for ever.
const PATIENCE: u32 = 30;

/// A resolver that is to take another one's place.
struct Heir {
    resolver: Box<dyn Resolve>,
    asked: u32,
}

impl Heir {
    const fn new(resolver: Box<dyn Resolve>) -> Self {
        Self { resolver, asked: 0 }
    }

    /// Whether it may: it waits for no name beyond those that are waited for now.
    fn is_ready(&mut self, usage: &Usage, now: &Identity) -> bool {
        self.asked += 1;
        let waits = |identity: &Identity| {
            let awaited = &identity.awaited;
            awaited.containers.len() + awaited.pods.len()
        };
        waits(&self.resolver.resolve(usage)) <= waits(now) || self.asked >= PATIENCE
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
