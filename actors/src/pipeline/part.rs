// SPDX-License-Identifier: Apache-2.0
//! The second half of a reload: what is handed over from one source to another is read by both for a window or a few, and only then
//! those stop who are read no more.

use super::Pipeline;
use crate::messages::Stop;
use crate::slot::Slot;
use anyhow::Context as _;
use power_sources::PowerSource;
use power_sources::estimator::Estimator;
use tokio::sync::oneshot;

/// A seat of a reader, and who takes it.
type Successor = (Slot<Box<dyn PowerSource>>, Box<dyn PowerSource>);

/// Who comes once nobody waits for those that leave.
pub(super) struct Parting {
    parted: oneshot::Receiver<()>,
    /// Readers of less than those whose places they take.
    pub(super) meters: Vec<Successor>,
    /// An estimator of less than the one before, or none.
    pub(super) estimator: Option<Option<Estimator>>,
}

impl Parting {
    pub(super) const fn new(parted: oneshot::Receiver<()>) -> Self {
        Self {
            parted,
            meters: Vec::new(),
            estimator: None,
        }
    }
}

/// What has become of a pipeline that runs.
#[derive(Debug)]
pub enum News {
    /// This actor or reader is dead.
    Died(String),
    /// Nobody waits any more for those that leave.
    Parted,
}

/// Done when nobody waits for those that leave; never where nobody does.
async fn parted(parting: &mut Option<Parting>) {
    match parting {
        // Where the attribution is gone they may leave, too.
        Some(parting) => drop((&mut parting.parted).await),
        None => std::future::pending().await,
    }
}

impl Pipeline {
    /// Whether somebody is still read who is to leave: for four windows at most. Nothing else is taken over meanwhile.
    #[must_use]
    pub const fn is_parting(&self) -> bool {
        self.parting.is_some()
    }

    /// Waits until an actor or a reader dies, or those who are to leave may: then [`Pipeline::part`] is wanted. May be dropped and
    /// called again at any time.
    pub async fn news(&mut self) -> News {
        tokio::select! {
            // The pipeline holds vitals itself, so the channel stays open.
            name = self.deaths.recv() => News::Died(name.unwrap_or_default()),
            () = parted(&mut self.parting) => News::Parted,
        }
    }

    /// Parts as soon as it may.
    pub(super) async fn part_first(&mut self) -> anyhow::Result<()> {
        if self.is_parting() {
            parted(&mut self.parting).await;
        }
        self.part().await
    }

    /// Parts with them.
    ///
    /// # Errors
    /// When an actor is gone: the process ends then.
    pub async fn part(&mut self) -> anyhow::Result<()> {
        let Some(parting) = self.parting.take() else {
            return Ok(());
        };
        for (place, meter) in parting.meters {
            place.put(meter);
        }
        if let Some(estimator) = parting.estimator {
            self.seats.estimator.put(estimator);
        }
        for seat in &self.seats.leaving {
            // What it told last counts when it is read again; its thread may be in a file that hangs.
            let told = seat.splice.with(|splice| {
                let mut told = splice.clone();
                told.turn(&[]);
                told
            });
            self.seats.left.push((seat.id, told));
            seat.leave.give();
        }
        let leaving = std::mem::take(&mut self.seats.leaving);
        self.tell_ticker(&[]).await?;
        for seat in leaving {
            seat.shell.send(Stop).await.context("a source is gone")?;
        }
        Ok(())
    }
}
