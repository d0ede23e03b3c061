// SPDX-License-Identifier: Apache-2.0
//! The exporter actor: puts each snapshot where the HTTP routes look, or as many as may be shown. A scrape reads that place
//! and never a mailbox.

use crate::health::Lifeline;
use crate::messages::{Publish, Stop};
use crate::pace::Pace;
use actix::{Actor, ActorContext, Context, Handler, Message};
use exporter::{Page, RenderSettings};
use std::sync::Arc;
use tokio::sync::watch;

/// See the module's head.
pub struct ExporterShell {
    pages: watch::Sender<Arc<Page>>,
    settings: Arc<RenderSettings>,
    pace: Pace,
    _lifeline: Lifeline,
}

impl ExporterShell {
    /// Publishes on `pages`, as often as `pace` lets it.
    #[must_use]
    pub const fn new(
        pages: watch::Sender<Arc<Page>>,
        settings: Arc<RenderSettings>,
        pace: Pace,
        lifeline: Lifeline,
    ) -> Self {
        Self {
            pages,
            settings,
            pace,
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
        if let Some(snapshot) = self.pace.admit(snapshot) {
            let page = Page::new(snapshot, Arc::clone(&self.settings));
            drop(self.pages.send_replace(Arc::new(page)));
        }
    }
}

/// Show everything under these settings from now on, also the newest snapshot.
pub struct Restyle(pub Box<RenderSettings>);

/// Show the newest snapshot anew: what stands beside it has changed.
#[derive(Clone, Copy)]
pub struct ShowAgain;

impl Message for Restyle {
    type Result = ();
}

impl Message for ShowAgain {
    type Result = ();
}

impl Handler<Restyle> for ExporterShell {
    type Result = ();

    fn handle(&mut self, Restyle(settings): Restyle, _: &mut Self::Context) {
        let shown = Arc::clone(&self.pages.borrow());
        let (page, settings) = shown.under(*settings);
        self.settings = settings;
        drop(self.pages.send_replace(Arc::new(page)));
    }
}

impl Handler<ShowAgain> for ExporterShell {
    type Result = ();

    fn handle(&mut self, _: ShowAgain, _: &mut Self::Context) {
        let again = self.pages.borrow().again();
        drop(self.pages.send_replace(Arc::new(again)));
    }
}

impl Handler<Stop> for ExporterShell {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}
