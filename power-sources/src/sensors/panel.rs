// SPDX-License-Identifier: Apache-2.0
//! Zones made of channels: owns reading them together, finding them again and saying what failed. Which channel belongs to
//! which zone is its caller's business.
//!
//! A zone of several channels is their sum. A channel that does not answer costs only itself: the zone shows what the
//! others say, and what is missing follows when it answers again. A zone is left out when none of its channels answered.

use super::channel::{Answer, Channel};
use super::chip::{Chip, ChipId, Chips, chips};
use crate::errors::ErrorLedger;
use crate::files::Fault;
use attribution::model::{
    Component, Energy, ErrorReason, Microjoules, MonotonicNanos, Provenance, SourceId, Zone, ZoneReading,
};
use std::path::PathBuf;

/// A channel and the chip that it is found on.
#[derive(Debug)]
pub(crate) struct Part {
    /// The chip.
    pub(crate) chip: ChipId,
    /// The channel.
    pub(crate) channel: Channel,
}

/// A zone and what it is the sum of.
#[derive(Debug)]
pub(crate) struct Metered {
    /// What is metered.
    pub(crate) zone: Zone,
    /// Its channels; never empty.
    pub(crate) parts: Vec<Part>,
}

/// Open zones of one source.
#[derive(Debug)]
pub(crate) struct Panel {
    source: SourceId,
    root: PathBuf,
    /// Bounded by what a scan returns.
    zones: Vec<Metered>,
    errors: ErrorLedger,
}

impl Part {
    /// Opens it where `found` has its chip.
    fn attach(&mut self, found: &[Chip]) -> Result<(), Fault> {
        // Never the old folder as such: after a driver was loaded again it may be another chip's.
        match found.iter().find(|chip| chip.id == self.chip) {
            Some(chip) => self.channel.attach(&chip.dir),
            None => Err(Fault {
                reason: ErrorReason::Gone,
                words: format!(
                    "{}: vanished, and no chip is {} of device {:?}",
                    self.channel.path().display(),
                    self.chip.name,
                    self.chip.device
                ),
            }),
        }
    }

    /// Reads it where it is, or where `scanned` has it now.
    fn read(&mut self, now: MonotonicNanos, scanned: &mut Scanned<'_>) -> Answer {
        match self.channel.read(now) {
            Answer::Silent if self.channel.is_lost(now) => {}
            answer => return answer,
        }
        let attached = match scanned.chips() {
            Ok(chips) => self.attach(&chips.found),
            Err(fault) => Err(fault.clone()),
        };
        match attached {
            Ok(()) => self.channel.read(now),
            Err(fault) => {
                self.channel.stays_lost(now);
                Answer::Bad(fault)
            }
        }
    }
}

/// One look at the tree for all channels that are lost, and only when one is.
struct Scanned<'a> {
    root: &'a PathBuf,
    chips: Option<Result<Chips, Fault>>,
}

impl Scanned<'_> {
    fn chips(&mut self) -> Result<&Chips, &Fault> {
        self.chips.get_or_insert_with(|| chips(self.root)).as_ref()
    }
}

impl Metered {
    /// A reading, unless no channel has one, and what went wrong.
    fn read(&mut self, now: MonotonicNanos, scanned: &mut Scanned<'_>) -> (Option<ZoneReading>, Vec<Fault>) {
        let mut faults = Vec::new();
        let mut answered = false;
        for part in &mut self.parts {
            match part.read(now, scanned) {
                Answer::Silent => {}
                Answer::Good(complaint) => {
                    answered = true;
                    faults.extend(complaint);
                }
                Answer::Bad(fault) => faults.push(fault),
            }
        }
        (answered.then(|| self.reading()).flatten(), faults)
    }

    /// The sum. Its moment is that of the latest part: what a slower part has used by then follows with its own reading.
    fn reading(&self) -> Option<ZoneReading> {
        let channels = || self.parts.iter().map(|part| &part.channel);
        let counted = channels().all(|channel| channel.provenance() == Provenance::Counted);
        Some(ZoneReading {
            zone: self.zone.clone(),
            total: channels().map(Channel::total).sum::<Microjoules>(),
            idle: None,
            provenance: if counted {
                Provenance::Counted
            } else {
                Provenance::Integrated
            },
            at: channels().filter_map(Channel::at).max()?,
            device: None,
        })
    }
}

impl Panel {
    /// Opens the channels of `zones` on the chips that were `found` below `root`. A channel that cannot be read is tried
    /// again later.
    ///
    /// # Errors
    /// When none can be read: why, for people.
    pub(crate) fn open(
        source: SourceId,
        root: PathBuf,
        zones: Vec<Metered>,
        found: &[Chip],
    ) -> Result<Self, String> {
        let mut panel = Self {
            source,
            root,
            zones,
            errors: ErrorLedger::default(),
        };
        let (mut first_fault, mut any) = (None, false);
        for metered in &mut panel.zones {
            for part in &mut metered.parts {
                match part.attach(found) {
                    Ok(()) => any = true,
                    Err(fault) => {
                        panel
                            .errors
                            .note(source, Some(&metered.zone), fault.reason, &fault.words);
                        first_fault.get_or_insert(fault);
                    }
                }
            }
        }
        match first_fault {
            Some(fault) if !any => Err(format!(
                "{}: no wanted zone can be read: {}",
                panel.root.display(),
                fault.words
            )),
            _ => Ok(panel),
        }
    }

    /// Counts what was wrong with the tree as such.
    pub(crate) fn note(&mut self, faults: &[Fault]) {
        for fault in faults {
            self.errors.note(self.source, None, fault.reason, &fault.words);
        }
    }

    /// The `source` label.
    pub(crate) const fn source(&self) -> SourceId {
        self.source
    }

    /// Those with a zone, in the order of the metrics contract.
    pub(crate) fn components(&self) -> Vec<Component> {
        let here = |component: &Component| {
            self.zones
                .iter()
                .any(|metered| metered.zone.component == *component)
        };
        Component::ALL.into_iter().filter(here).collect()
    }

    /// The tree, and each zone with the files that it comes from.
    pub(crate) fn detail(&self) -> String {
        let part = |part: &Part| {
            let device = if part.chip.device.is_empty() {
                "no device"
            } else {
                &part.chip.device
            };
            format!("{} of {} ({device})", part.channel.main_file(), part.chip.name)
        };
        let zone = |metered: &Metered| {
            let parts: Vec<_> = metered.parts.iter().map(part).collect();
            format!("{} = {}", metered.zone, parts.join(" + "))
        };
        let zones: Vec<_> = self.zones.iter().map(zone).collect();
        format!("{}: {}", self.root.display(), zones.join(", "))
    }

    /// Reads every zone; see [`crate::PowerSource::read`].
    pub(crate) fn read(&mut self, now: MonotonicNanos) -> Energy {
        let mut scanned = Scanned {
            root: &self.root,
            chips: None,
        };
        let mut readings = Vec::with_capacity(self.zones.len());
        for metered in &mut self.zones {
            let (reading, faults) = metered.read(now, &mut scanned);
            readings.extend(reading);
            for fault in faults {
                self.errors
                    .note(self.source, Some(&metered.zone), fault.reason, &fault.words);
            }
        }
        Energy {
            zones: readings,
            errors: self.errors.rows(),
        }
    }
}
