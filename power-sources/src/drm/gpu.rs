// SPDX-License-Identifier: Apache-2.0
//! One GPU: owns its open channels, its total and the time that it was busy, and finds neither cards nor processes.
//!
//! A device that sleeps is not asked: asking would wake it up, every second, and cost the watts that are measured. Its
//! power is taken as nothing (a device in D3 draws less than these meters resolve); a counter of energy is left alone, and
//! what it counted meanwhile is paid by its next reading.

use super::cards::Card;
use crate::files::{Fault, OpenNumber};
use crate::moment::Slept;
use crate::sensors::channel::{Answer, Channel, Files, Plausible};
use attribution::model::{
    Component, DeviceNanos, ErrorReason, Microjoules, MonotonicNanos, Place, Provenance, Zone,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Longest time between two looks at how busy a device is that is joined by a straight line; as for its power.
const LONGEST_GAP: Duration = Duration::from_secs(180);

/// Where a card's energy is read: folders and files, to be added up.
pub(crate) type Plan = Vec<(PathBuf, Files)>;

/// Time that a device was busy, from percentages.
#[derive(Debug)]
struct Busy {
    file: Option<OpenNumber>,
    last: Option<(MonotonicNanos, u64)>,
    /// Hundredths of nanoseconds, times two.
    total: u128,
}

impl Busy {
    fn read(&mut self, now: MonotonicNanos) {
        let percent = self.file.as_ref().and_then(|file| file.read().ok());
        // What is no percentage leaves a gap, which is not joined over.
        match percent.filter(|percent| *percent <= 100) {
            Some(percent) => self.sample(now, percent),
            None => self.last = None,
        }
    }

    fn sample(&mut self, now: MonotonicNanos, percent: u64) {
        if let Some((since, before)) = self.last
            && now.since(since) <= LONGEST_GAP
        {
            self.total += u128::from(before + percent) * now.since(since).as_nanos();
        }
        self.last = Some((now, percent));
    }

    fn total(&self) -> DeviceNanos {
        DeviceNanos::from_nanos(u64::try_from(self.total / 200).unwrap_or(u64::MAX))
    }
}

/// A card and its meters.
#[derive(Debug)]
pub(crate) struct Gpu {
    pub(crate) card: Card,
    pub(crate) zone: Zone,
    pub(crate) sleeps: bool,
    plausible: Plausible,
    slept: Slept,
    plan: Plan,
    channels: Vec<Channel>,
    /// What was used by channels that the card does not have any more.
    before: Microjoules,
    busy_file: Option<&'static str>,
    busy: Option<Busy>,
}

/// What came of a look at a card.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// Total, how it came about, and the moment that it is about; `None` when it did not answer.
    pub(crate) reading: Option<(Microjoules, Provenance, MonotonicNanos)>,
    pub(crate) faults: Vec<Fault>,
}

impl Gpu {
    /// A card with nothing open. `busy_file` tells, below its device, how many percent it is busy.
    pub(crate) fn new(
        card: Card,
        plan: Plan,
        plausible: Plausible,
        busy_file: Option<&'static str>,
        slept: Slept,
    ) -> Self {
        let zone = Zone {
            component: Component::Gpu,
            place: Place::Named(Arc::clone(&card.place)),
        };
        let channels = channels(&plan, plausible, slept);
        Self {
            sleeps: card.sleeps(),
            card,
            zone,
            plausible,
            slept,
            plan,
            channels,
            before: Microjoules::ZERO,
            busy_file,
            busy: None,
        }
    }

    /// Opens its meters, unless it sleeps.
    pub(crate) fn attach(&mut self) -> Result<(), Fault> {
        if self.sleeps {
            return Ok(());
        }
        for (channel, (dir, _)) in self.channels.iter_mut().zip(&self.plan) {
            channel.attach(dir)?;
        }
        let file = self.busy_file.map(|file| self.card.dir.join(file));
        let file = file.and_then(|path| OpenNumber::open(path).ok());
        // A file that cannot be read now (some amdgpu answer EBUSY or EOPNOTSUPP for ever) tells nothing.
        let file = file.filter(|file| file.read().is_ok_and(|percent| percent <= 100));
        match (&mut self.busy, file) {
            (Some(busy), file) => busy.file = file,
            (None, None) => {}
            (None, file) => {
                self.busy = Some(Busy {
                    file,
                    last: None,
                    total: 0,
                });
            }
        }
        Ok(())
    }

    /// The card is where a new scan has it.
    pub(crate) fn found_again(&mut self, card: Card, plan: Plan) -> Result<(), Fault> {
        let files = |plan: &Plan| plan.iter().map(|(_, files)| files.clone()).collect::<Vec<_>>();
        if files(&plan) != files(&self.plan) {
            self.before = self.total();
            self.channels = channels(&plan, self.plausible, self.slept);
        }
        self.sleeps = card.sleeps();
        self.card = card;
        self.plan = plan;
        self.attach()
    }

    /// Whether it is time to look where it is now.
    pub(crate) fn is_lost(&self, now: MonotonicNanos) -> bool {
        !self.sleeps && self.channels.iter().any(|channel| channel.is_lost(now))
    }

    /// A look for it at `now` did not find it.
    pub(crate) fn stays_lost(&mut self, now: MonotonicNanos) {
        for channel in &mut self.channels {
            if channel.is_lost(now) {
                channel.stays_lost(now);
            }
        }
    }

    /// Reads it where it is.
    pub(crate) fn read(&mut self, now: MonotonicNanos) -> Look {
        self.sleeps = self.card.sleeps();
        let mut look = Look::default();
        let mut answered = true;
        for channel in &mut self.channels {
            if self.sleeps {
                channel.slept(now);
                continue;
            }
            match channel.read(now) {
                Answer::Good(complaint) => look.faults.extend(complaint),
                Answer::Bad(fault) => {
                    answered = false;
                    look.faults.push(fault);
                }
                Answer::Silent => answered = false,
            }
        }
        match &mut self.busy {
            Some(busy) if self.sleeps => busy.sample(now, 0),
            Some(busy) => busy.read(now),
            None => {}
        }
        if answered {
            // Asleep since it was opened: nothing was counted yet, as of now.
            let at = self.channels.iter().filter_map(Channel::at).max().unwrap_or(now);
            look.reading = Some((self.total(), self.provenance(), at));
        }
        look
    }

    /// Time that it was busy; `None` when it does not tell.
    pub(crate) fn busy(&self) -> Option<DeviceNanos> {
        self.busy.as_ref().map(Busy::total)
    }

    /// What is read, for people.
    pub(crate) fn detail(&self) -> String {
        let files: Vec<_> = self.plan.iter().map(|(_, files)| files.main()).collect();
        format!("{} of {}: {}", self.zone, self.card.title(), files.join(" + "))
    }

    /// It is not below the root any more.
    pub(crate) fn vanished(&self, root: &Path) -> Fault {
        Fault {
            reason: ErrorReason::Gone,
            words: format!(
                "{}: no card is {}; {} vanished",
                root.display(),
                self.zone.place,
                self.card.title()
            ),
        }
    }

    fn total(&self) -> Microjoules {
        self.before + self.channels.iter().map(Channel::total).sum::<Microjoules>()
    }

    fn provenance(&self) -> Provenance {
        let counted = |channel: &Channel| channel.provenance() == Provenance::Counted;
        if self.channels.iter().all(counted) {
            Provenance::Counted
        } else {
            Provenance::Integrated
        }
    }
}

/// None of the drivers tells how often its power is measured, so every tick asks.
fn channels(plan: &Plan, plausible: Plausible, slept: Slept) -> Vec<Channel> {
    let channel = |(_, files): &(PathBuf, Files)| Channel::new(files.clone(), plausible, None, slept);
    plan.iter().map(channel).collect()
}
