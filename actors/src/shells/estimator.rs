// SPDX-License-Identifier: Apache-2.0
//! The estimator actor: answers for the components that no meter answers for, from the same usage report that the
//! attribution gets. The model is arithmetic on a few numbers, so it needs no thread of its own.

use super::Courier;
use crate::health::Lifeline;
use crate::messages::{EnergyReady, Stop, UsageReady};
use actix::{Actor, ActorContext, Context, Handler};
use attribution::model::{Report, ReporterId};
use power_sources::estimator::{Estimator, SOURCE};

/// See the module's head.
pub struct EstimatorShell {
    estimator: Estimator,
    to: Courier<EnergyReady>,
    _lifeline: Lifeline,
}

impl EstimatorShell {
    /// A shell for an estimator.
    #[must_use]
    pub fn new(estimator: Estimator, to: Courier<EnergyReady>, lifeline: Lifeline) -> Self {
        Self {
            estimator,
            to,
            _lifeline: lifeline,
        }
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
        let body = self.estimator.observe(usage.section.ended, &usage.body.packages);
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
