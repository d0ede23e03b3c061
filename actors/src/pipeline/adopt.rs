// SPDX-License-Identifier: Apache-2.0
//! Takes a reload over while everything runs: who is not concerned goes on, and who takes another one's place does so in that one's
//! thread, between two readings.
//!
//! In this order: all threads are started, and nothing has changed if one cannot be; new readers begin to read, before anybody waits
//! for them; the attribution takes rules and reporters over once no window is open; all others take their places, and pages come
//! last. Those who are read no more stop when nobody waits for them (`part`).

use super::Pipeline;
use super::builder::{FeederSeat, SaverSeat, Seat};
use super::part::Parting;
use crate::health::Leave;
use crate::shells::{Adopt, Adoption, Resolve, Restyle, ShowAgain, UsageReader};
use crate::splice::Splice;
use crate::state::Keeper;
use anyhow::Context as _;
use attribution::engine::Settings;
use attribution::model::{Component, NodeFacts, SourceId};
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

/// Threads that were started for it, which end with the leave that they are given if it comes to nothing.
#[derive(Default)]
struct Started {
    meters: Vec<Seat>,
    saver: Option<SaverSeat>,
    feeder: Option<FeederSeat>,
}

impl Started {
    fn give_leave(&self) {
        let meters = self.meters.iter().map(|seat| &seat.leave);
        let saver = self.saver.iter().map(|seat| &seat.leave);
        let feeder = self.feeder.iter().map(|seat| &seat.leave);
        meters.chain(saver).chain(feeder).for_each(Leave::give);
    }
}

impl Pipeline {
    /// Takes it over; done when it is in force. What is read no more is read on until [`Pipeline::part`].
    ///
    /// # Errors
    /// When the kernel gives no thread, or the attribution does not answer: then nothing has changed.
    pub async fn adopt(&mut self, mut changes: Changes) -> anyhow::Result<()> {
        self.part_first().await?;
        let mut adoption = Adoption {
            rules: changes.rules.clone(),
            facts: Arc::clone(&changes.facts),
            dismissed: self.dismissed_by(&changes),
            expected: Vec::new(),
            saver: None,
            told: None,
        };
        let mut started = Started::default();
        if let Err(error) = self.start_those_of(&mut changes, &mut started, &mut adoption) {
            started.give_leave();
            return Err(error);
        }
        let begins = self.seats.estimated.is_empty() && matches!(changes.estimator, Some(Some(_)));
        adoption.expected = started.meters.iter().map(|seat| seat.id).collect();
        adoption.expected.extend(begins.then_some(ESTIMATED));
        match self.hand_in(adoption, &started).await {
            Ok(parted) => self.seat(changes, started, parted).await,
            Err(error) => {
                started.give_leave();
                // Nobody asks them any more, and that ends them.
                drop(started);
                self.tell_ticker(&[]).await?;
                Err(error)
            }
        }
    }

    /// Shows the newest page anew.
    pub async fn show_again(&self) {
        if self.exporter.send(ShowAgain).await.is_err() {
            tracing::debug!("the exporter is gone");
        }
    }

    /// Sources that are read no more then.
    fn dismissed_by(&self, changes: &Changes) -> Vec<SourceId> {
        let read = |id: SourceId| {
            let meters = changes.meters.as_ref();
            meters.is_none_or(|meters| meters.iter().any(|(of, _)| *of == id))
        };
        let sources = self.seats.meters.iter().map(|seat| seat.id);
        let ends = !self.seats.estimated.is_empty() && matches!(changes.estimator, Some(None));
        let dismissed = sources.filter(|id| !read(*id));
        dismissed.chain(ends.then_some(ESTIMATED)).collect()
    }

    /// Starts whatever needs a thread: all of this that may fail.
    fn start_those_of(
        &mut self,
        changes: &mut Changes,
        started: &mut Started,
        adoption: &mut Adoption,
    ) -> anyhow::Result<()> {
        for (id, meter) in changes.meters.iter_mut().flatten() {
            if self.seats.meters.iter().any(|seat| seat.id == *id) {
                continue;
            }
            let Some(meter) = meter.take() else { continue };
            let left = self.seats.left.iter().find(|(of, _)| of == id);
            let splice = left.map_or_else(Splice::default, |(_, splice)| splice.clone());
            let seat = self.builder.source(meter, splice, &self.attribution)?;
            started.meters.push(seat);
        }
        if self.seats.keeper.is_none()
            && let Some(keeper) = changes.keeper.take().flatten()
        {
            let (saver, seat) = self.builder.saver(keeper)?;
            (adoption.saver, started.saver) = (Some(saver), Some(seat));
        }
        if self.seats.passthrough.is_none()
            && let Some(writer) = changes.passthrough.take().flatten()
        {
            let (told, seat) = self.builder.passthrough(writer.after(None))?;
            (adoption.told, started.feeder) = (Some(told), Some(seat));
        }
        Ok(())
    }

    /// Has the attribution take it over. Gives who says when nobody waits for those that leave.
    async fn hand_in(
        &mut self,
        adoption: Adoption,
        started: &Started,
    ) -> anyhow::Result<oneshot::Receiver<()>> {
        self.tell_ticker(&started.meters).await?;
        let (done, mut adopted) = oneshot::channel();
        let (parted, parts) = oneshot::channel();
        let adopt = Adopt {
            adoption: Box::new(adoption),
            adopted: done,
            parted,
        };
        self.attribution
            .send(adopt)
            .await
            .context("the attribution is gone")?;
        let answered = match timeout(self.beaten.period + GRACE, &mut adopted).await {
            Ok(answered) => answered.is_ok(),
            Err(_) => {
                adopted.close();
                adopted.try_recv().is_ok()
            }
        };
        anyhow::ensure!(answered, "the attribution does not answer");
        Ok(parts)
    }

    /// Everybody takes a place. Nothing of this fails unless an actor is gone, and then the process ends.
    async fn seat(
        &mut self,
        changes: Changes,
        started: Started,
        parted: oneshot::Receiver<()>,
    ) -> anyhow::Result<()> {
        let mut parting = Parting::new(parted);
        if let Some(meters) = changes.meters {
            self.seat_meters(meters, started.meters, &mut parting);
        }
        if let Some(estimator) = changes.estimator {
            self.seat_estimator(estimator, &mut parting);
        }
        if let Some(seat) = started.saver {
            self.builder.save_by(seat, &mut self.seats);
        }
        if let Some(seat) = started.feeder {
            self.builder.feed_by(seat, &mut self.seats);
        }
        if let Some(usage) = changes.usage {
            self.seats.usage.put(usage);
        }
        if let Some(resolver) = changes.resolver {
            self.seats.resolver.put(resolver);
        }
        if let (Some(keeper), Some(seat)) = (changes.keeper, &self.seats.keeper) {
            seat.put(keeper);
        }
        if let (Some(writer), Some(seat)) = (changes.passthrough, &self.seats.passthrough) {
            seat.put(writer);
        }
        self.parting = Some(parting);
        self.beaten.period = changes.tick.unwrap_or(self.beaten.period);
        self.tell_ticker(&[]).await?;
        if let Some(render) = changes.render {
            self.exporter
                .send(Restyle(render))
                .await
                .context("the exporter is gone")?;
        }
        Ok(())
    }

    /// Seats new sources and has others take a place. Who only reads less than the one before comes once that is handed over.
    fn seat_meters(&mut self, meters: Vec<Reader>, started: Vec<Seat>, parting: &mut Parting) {
        let kept: Vec<SourceId> = meters.iter().map(|(id, _)| *id).collect();
        let (stay, left): (Vec<Seat>, Vec<Seat>) = std::mem::take(&mut self.seats.meters)
            .into_iter()
            .partition(|seat| kept.contains(&seat.id));
        self.seats.meters = stay;
        self.seats.leaving.extend(left);
        for (id, meter) in meters {
            let seat = self.seats.meters.iter_mut().find(|seat| seat.id == id);
            let (Some(meter), Some(seat)) = (meter, seat) else {
                continue;
            };
            let before = std::mem::replace(&mut seat.components, meter.components());
            match is_only_less(&before, &seat.components) {
                true => parting.meters.push((seat.next.clone(), meter)),
                false => seat.next.put(meter),
            }
        }
        let is_back = |id: &SourceId| started.iter().any(|seat| seat.id == *id);
        self.seats.left.retain(|(id, _)| !is_back(id));
        self.seats.meters.extend(started);
    }

    fn seat_estimator(&mut self, estimator: Option<Estimator>, parting: &mut Parting) {
        let now = estimator.as_ref().map_or_else(Vec::new, Estimator::components);
        let before = std::mem::replace(&mut self.seats.estimated, now);
        match is_only_less(&before, &self.seats.estimated) {
            true => parting.estimator = Some(estimator),
            false => self.seats.estimator.put(estimator),
        }
    }

    /// Whom the ticker tells: all who are read, and `more`.
    pub(super) async fn tell_ticker(&self, more: &[Seat]) -> anyhow::Result<()> {
        let read = self.seats.meters.iter().chain(&self.seats.leaving);
        let score = self.beaten.score(read.chain(more));
        self.ticker.send(score).await.context("the ticker is gone")
    }
}

fn is_only_less(before: &[Component], now: &[Component]) -> bool {
    now.len() < before.len() && now.iter().all(|of| before.contains(of))
}

#[cfg(test)]
mod tests;
