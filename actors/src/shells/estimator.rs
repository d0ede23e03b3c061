// SPDX-License-Identifier: Apache-2.0
//! The estimator actor: answers for the components that no meter answers for, from the same usage report that the
//! attribution gets. The model is arithmetic on a few numbers, so it needs no thread of its own.

use super::Courier;
use crate::health::Lifeline;
use crate::messages::{EnergyReady, Stop, UsageReady};
use crate::slot::Slot;
use crate::splice::Splice;
use actix::{Actor, ActorContext, Context, Handler};
use attribution::model::{Energy, Report, ReporterId, Usage};
use power_sources::estimator::{Estimator, SOURCE};
use std::sync::Arc;

/// See the module's head.
pub struct EstimatorShell {
    estimator: Option<Estimator>,
    /// Who takes its place, if anybody.
    next: Slot<Option<Estimator>>,
    splice: Splice,
    to: Courier<EnergyReady>,
    _lifeline: Lifeline,
}

impl EstimatorShell {
    /// A shell for an estimator, or for none as yet.
    #[must_use]
    pub fn new(
        estimator: Option<Estimator>,
        next: Slot<Option<Estimator>>,
        to: Courier<EnergyReady>,
        lifeline: Lifeline,
    ) -> Self {
        Self {
            estimator,
            next,
            splice: Splice::default(),
            to,
            _lifeline: lifeline,
        }
    }
}

impl EstimatorShell {
    /// What the estimator says of this usage. One that takes its place begins with the same usage, so nothing is between them.
    fn observe(&mut self, usage: &Report<Arc<Usage>>) -> Option<Energy> {
        let (at, packages) = (usage.section.ended, &usage.body.packages);
        let said = self.estimator.as_mut();
        let body = said.map(|estimator| estimator.observe(at, packages));
        let body = body.map(|body| self.splice.tell(body));
        let Some(next) = self.next.take() else {
            return body;
        };
        self.estimator = next;
        let Some(estimator) = &mut self.estimator else {
            self.splice.turn(&[]);
            return body;
        };
        let mut body = body.unwrap_or_default();
        self.splice
            .turn_to(&[], estimator.observe(at, packages), &mut body);
        Some(body)
    }
}

impl Actor for EstimatorShell {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // One report per tick, and one more when the arbiter was held up.
        ctx.set_mailbox_capacity(2);
    }
}

impl Handler<UsageReady> for EstimatorShell {
    type Result = ();

    fn handle(&mut self, UsageReady(usage): UsageReady, _: &mut Self::Context) {
        let Some(body) = self.observe(&usage) else {
            return;
        };
        let report = Report {
            tick: usage.tick,
            reporter: ReporterId::new(SOURCE.0),
            section: usage.section,
            body,
        };
        self.to.send(EnergyReady {
            source: SOURCE,
            detail: None,
            report,
        });
    }
}

impl Handler<Stop> for EstimatorShell {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}
