// SPDX-License-Identifier: Apache-2.0
//! Takes a reload over while everything runs: who is not concerned goes on, and who takes another one's place does so in that one's
//! thread, between two readings.
//!
//! In this order: new readers begin to read, before anybody waits for them; the attribution takes rules and reporters over once no
//! window is open; then those stop who are read no more; pages come last.

use super::Pipeline;
use super::builder::Seat;
use crate::messages::Stop;
use crate::shells::{Adopt, Adoption, Resolve, Restyle, ShowAgain, UsageReader};
use crate::splice::Splice;
use crate::state::Keeper;
use anyhow::Context as _;
use attribution::engine::Settings;
use attribution::model::{NodeFacts, SourceId};
use exporter::RenderSettings;
use exporter::passthrough::Writer;
use power_sources::PowerSource;
use power_sources::estimator::{Estimator, SOURCE as ESTIMATED};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// A source, and who reads it from now on; `None`: whoever does already.
pub type Reader = (SourceId, Option<Box<dyn PowerSource>>);

/// What is to be taken over. What is `None` stays as it is; of what may be absent, `Some(None)` ends it.
pub struct Changes {
    /// Period of the ticker.
    pub tick: Option<Duration>,
    /// Reads who ran.
    pub usage: Option<Box<dyn UsageReader>>,
    /// Finds out who is who.
    pub resolver: Option<Box<dyn Resolve>>,
    /// Everything that is read from now on: as it is, or by another reader.
    pub meters: Option<Vec<Reader>>,
    /// The model for components without a meter.
    pub estimator: Option<Option<Estimator>>,
    /// Rules of the split.
    pub rules: Settings,
    /// What was decided.
    pub facts: Arc<NodeFacts>,
    /// What is rendered, and how.
    pub render: Option<Box<RenderSettings>>,
    /// Keeps what is learned.
    pub keeper: Option<Option<Keeper>>,
    /// Feeds guests.
    pub passthrough: Option<Option<Writer>>,
}

/// Beyond the end of a window: time for actors to take in a message, on a machine that is busy.
const GRACE: Duration = Duration::from_secs(5);

impl Pipeline {
    /// Takes it over; done when it is in force.
    ///
    /// # Errors
    /// When the kernel gives no thread: then nothing has changed. When the attribution does not answer.
    pub async fn adopt(&mut self, changes: Changes) -> anyhow::Result<()> {
        let mut adoption = Adoption {
            rules: changes.rules,
            facts: changes.facts,
            dismissed: Vec::new(),
            expected: Vec::new(),
            saver: None,
            told: None,
        };
        self.seat_keeper(changes.keeper, &mut adoption)?;
        self.seat_passthrough(changes.passthrough, &mut adoption)?;
        let left = self.seat_meters(changes.meters, &mut adoption)?;
        if let Some(usage) = changes.usage {
            self.seats.usage.put(usage);
        }
        if let Some(resolver) = changes.resolver {
            self.seats.resolver.put(resolver);
        }
        let ends_estimator = self.seat_estimator(changes.estimator, &mut adoption);
        let before = self.beaten.period;
        self.beaten.period = changes.tick.unwrap_or(before);
        // Those who leave are still read until nobody waits for them.
        let score = self.beaten.score(self.seats.meters.iter().chain(&left));
        self.ticker.send(score).await.context("the ticker is gone")?;

        let (done, adopted) = oneshot::channel();
        self.attribution
            .send(Adopt(Box::new(adoption), done))
            .await
            .context("the attribution is gone")?;
        timeout(before.max(self.beaten.period) + GRACE, adopted)
            .await
            .context("the attribution does not answer")?
            .context("the attribution is gone")?;

        if ends_estimator {
            self.seats.estimator.put(None);
        }
        let score = self.beaten.score(self.seats.meters.iter());
        self.ticker.send(score).await.context("the ticker is gone")?;
        for seat in left {
            // What it told last counts when it is read again; its thread may be in a file that hangs.
            let told = seat.splice.with(|splice| {
                let mut told = splice.clone();
                told.turn(&[]);
                told
            });
            self.seats.left.push((seat.id, told));
            seat.leave.give();
            seat.shell.send(Stop).await.context("a source is gone")?;
        }
        if let Some(render) = changes.render {
            self.exporter
                .send(Restyle(render))
                .await
                .context("the exporter is gone")?;
        }
        Ok(())
    }

    /// Shows the newest page anew.
    pub async fn show_again(&self) {
        if self.exporter.send(ShowAgain).await.is_err() {
            tracing::debug!("the exporter is gone");
        }
    }

    /// Starts new sources and has others take a place; gives those that leave.
    fn seat_meters(
        &mut self,
        meters: Option<Vec<Reader>>,
        adoption: &mut Adoption,
    ) -> anyhow::Result<Vec<Seat>> {
        let Some(meters) = meters else {
            return Ok(Vec::new());
        };
        let mut started: Vec<Seat> = Vec::new();
        let mut follow = Vec::new();
        let kept: Vec<SourceId> = meters.iter().map(|(id, _)| *id).collect();
        for (id, meter) in meters {
            let Some(meter) = meter else { continue };
            if let Some(seat) = self.seats.meters.iter().find(|seat| seat.id == id) {
                follow.push((seat.next.clone(), meter));
                continue;
            }
            let left = self.seats.left.iter().find(|(of, _)| *of == id);
            let splice = left.map_or_else(Splice::default, |(_, splice)| splice.clone());
            match self.builder.source(meter, splice, &self.attribution) {
                Ok(seat) => started.push(seat),
                Err(error) => {
                    started.iter().for_each(|seat| seat.leave.give());
                    return Err(error);
                }
            }
        }
        // From here on nothing fails.
        follow.into_iter().for_each(|(next, meter)| next.put(meter));
        let (stay, left): (Vec<Seat>, Vec<Seat>) = std::mem::take(&mut self.seats.meters)
            .into_iter()
            .partition(|seat| kept.contains(&seat.id));
        self.seats.meters = stay;
        adoption.dismissed = left.iter().map(|seat| seat.id).collect();
        adoption.expected = started.iter().map(|seat| seat.id).collect();
        self.seats.left.retain(|(id, _)| !adoption.expected.contains(id));
        self.seats.meters.extend(started);
        Ok(left)
    }

    fn seat_keeper(&mut self, keeper: Option<Option<Keeper>>, adoption: &mut Adoption) -> anyhow::Result<()> {
        match (keeper, &self.seats.keeper) {
            (Some(keeper), Some(seat)) => seat.put(keeper),
            (Some(Some(keeper)), None) => {
                adoption.saver = Some(self.builder.saver(keeper, &mut self.seats)?);
            }
            (Some(None) | None, _) => {}
        }
        Ok(())
    }

    fn seat_passthrough(
        &mut self,
        passthrough: Option<Option<Writer>>,
        adoption: &mut Adoption,
    ) -> anyhow::Result<()> {
        match (passthrough, &self.seats.passthrough) {
            (Some(writer), Some(seat)) => seat.put(writer),
            (Some(Some(writer)), None) => {
                let writer = writer.after(None);
                adoption.told = Some(self.builder.passthrough(writer, &mut self.seats)?);
            }
            (Some(None) | None, _) => {}
        }
        Ok(())
    }

    /// Whether the estimator is to end once nobody waits for it; one that comes or changes is seated at once.
    fn seat_estimator(&mut self, estimator: Option<Option<Estimator>>, adoption: &mut Adoption) -> bool {
        match estimator {
            None => false,
            Some(None) => {
                let ends = std::mem::take(&mut self.seats.has_estimator);
                adoption.dismissed.extend(ends.then_some(ESTIMATED));
                ends
            }
            Some(next) => {
                let begins = !std::mem::replace(&mut self.seats.has_estimator, true);
                adoption.expected.extend(begins.then_some(ESTIMATED));
                self.seats.estimator.put(next);
                false
            }
        }
    }
}
