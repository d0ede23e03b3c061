// SPDX-License-Identifier: Apache-2.0
//! The exporter actor: puts each snapshot where the HTTP routes look. A scrape reads that place and never a mailbox.

use crate::health::Lifeline;
use crate::messages::{Publish, Stop};
use actix::{Actor, ActorContext, Context, Handler};
use exporter::Page;
use std::sync::Arc;
use tokio::sync::watch;

/// See the module's head.
pub struct ExporterShell {
    pages: watch::Sender<Arc<Page>>,
    settings: Arc<exporter::RenderSettings>,
    _lifeline: Lifeline,
}

impl ExporterShell {
    /// Publishes on `pages`.
    #[must_use]
    pub fn new(
        pages: watch::Sender<Arc<Page>>,
        settings: Arc<exporter::RenderSettings>,
        lifeline: Lifeline,
    ) -> Self {
        Self {
            pages,
            settings,
            _lifeline: lifeline,
        }
    }
}

impl Actor for ExporterShell {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // One snapshot per tick; of two that wait only the newer one matters, and it says all that the older one said.
        ctx.set_mailbox_capacity(2);
    }
}

impl Handler<Publish> for ExporterShell {
    type Result = ();

    fn handle(&mut self, Publish(snapshot): Publish, _: &mut Self::Context) {
        let page = Page::new(snapshot, Arc::clone(&self.settings));
        drop(self.pages.send_replace(Arc::new(page)));
    }
}

impl Handler<Stop> for ExporterShell {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}
