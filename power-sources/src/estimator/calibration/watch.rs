// SPDX-License-Identifier: Apache-2.0
//! Puts meters' readings beside the load of just the time that they cover.
//!
//! Fed with what reporters say, in the order in which they say it: live, or out of a recording. A reading is used when
//! the busy time around its moment is known; one that says again what was said before is nothing new. Zones that nobody
//! would estimate (core, uncore, GPU, other) are passed by, and so is every estimate.

use super::samples::{Profile, Sample, ZoneSamples};
use super::timeline::Timeline;
use attribution::model::{
    Component, CpuNanos, Energy, Microjoules, MonotonicNanos, PackageId, PackageTime, Place, Provenance,
    Section, SourceId, Zone, ZoneReading,
};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Shortest interval that is a sample: the energy unit (61 µJ) and the jitter of a counter's update (about 1 ms) are a
/// thousandth of it. Readings that come faster are joined.
const SHORTEST: Duration = Duration::from_millis(950);
/// Samples kept of a zone: two days and a half at one a second, some 30 MB. A curve learns nothing more after it.
const MOST_SAMPLES: usize = 200_000;
/// Zones: 8 sockets of 8 dies, package and memory each, and some for the platform.
const MOST_ZONES: usize = 144;
/// Packages: as many as the largest machines have sockets (32), and again for those that a guest is told of.
const MOST_PACKAGES: usize = 64;
/// Readings that wait for the usage report after them. It comes at the same tick; a minute at ten a second.
const MOST_WAITING: usize = 600;

/// What was passed by, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Readings without the load beside them: before the first usage report, or over a gap in these.
    pub unmatched: u64,
    /// Intervals in which a meter counted nothing at all. A machine that runs uses power: that is a reset, or no meter.
    pub empty: u64,
    /// Readings of estimates, which are no meters.
    pub estimates: u64,
    /// Samples, zones and packages beyond what is kept.
    pub overflow: u64,
}

/// One zone as it comes.
#[derive(Debug)]
struct Watching {
    source: SourceId,
    integrated: bool,
    /// Where the next sample begins.
    base: Option<(MonotonicNanos, Microjoules)>,
    /// Readings whose load is not known yet.
    waiting: VecDeque<(MonotonicNanos, Microjoules)>,
    samples: Vec<Sample>,
}

/// See the module's head.
#[derive(Debug, Default)]
pub struct Watch {
    packages: BTreeMap<PackageId, (Timeline, u32)>,
    whole: Timeline,
    zones: BTreeMap<Zone, Watching>,
    tally: Tally,
}

/// What was seen of the machine.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Zones of meters, also those without a sample.
    pub zones: Vec<ZoneSamples>,
    /// Packages with their hardware threads.
    pub packages: Vec<(PackageId, u32)>,
    /// What was passed by.
    pub tally: Tally,
}

impl Watch {
    /// Takes a usage report.
    pub fn usage(&mut self, section: Section, packages: &[PackageTime]) {
        // The figures belong to a moment inside the section; the middle is wrong by half of it at most.
        let at = section.began.after(section.ended.since(section.began) / 2);
        let mut all = (CpuNanos::ZERO, 0_u32);
        for row in packages {
            all = (all.0 + row.busy, all.1.saturating_add(row.cpus));
            if self.packages.len() == MOST_PACKAGES && !self.packages.contains_key(&row.package) {
                self.tally.overflow += 1;
                continue;
            }
            let (timeline, cpus) = self.packages.entry(row.package).or_default();
            timeline.add(at, row.busy, row.cpus);
            *cpus = (*cpus).max(row.cpus);
        }
        self.whole.add(at, all.0, all.1);
        self.match_up();
    }

    /// Takes an energy report.
    pub fn energy(&mut self, source: SourceId, energy: &Energy) {
        for reading in &energy.zones {
            if matches!(reading.provenance, Provenance::Estimated { .. }) {
                self.tally.estimates += 1;
            } else if can_be_modelled(&reading.zone) {
                self.reading(source, reading);
            }
        }
    }

    fn reading(&mut self, source: SourceId, reading: &ZoneReading) {
        if self.zones.len() == MOST_ZONES && !self.zones.contains_key(&reading.zone) {
            self.tally.overflow += 1;
            return;
        }
        let zone = self
            .zones
            .entry(reading.zone.clone())
            .or_insert_with(|| Watching {
                source,
                integrated: reading.provenance == Provenance::Integrated,
                base: None,
                waiting: VecDeque::new(),
                samples: Vec::new(),
            });
        let newest = zone.waiting.back().copied().or(zone.base);
        match newest {
            // Where the first sample begins.
            None => zone.base = Some((reading.at, reading.total)),
            // What was said before, with the moment that it had before.
            Some((at, _)) if reading.at <= at => {}
            Some(_) => {
                if zone.waiting.len() == MOST_WAITING {
                    // Totals are cumulative: the next sample is longer.
                    zone.waiting.pop_front();
                    self.tally.overflow += 1;
                }
                zone.waiting.push_back((reading.at, reading.total));
            }
        }
    }

    /// Each zone with its meter and its samples so far.
    pub fn progress(&self) -> impl Iterator<Item = (&Zone, SourceId, usize)> {
        let zones = self.zones.iter();
        zones.map(|(zone, watching)| (zone, watching.source, watching.samples.len()))
    }

    /// The newest sample of each zone.
    pub fn newest(&self) -> impl Iterator<Item = (&Zone, &Sample)> {
        let zones = self.zones.iter();
        zones.filter_map(|(zone, watching)| watching.samples.last().map(|sample| (zone, sample)))
    }

    /// Makes samples of the readings whose load is known by now.
    fn match_up(&mut self) {
        let Some(known) = self.whole.newest() else {
            return;
        };
        for (zone, watching) in &mut self.zones {
            let timeline = match package_of(zone) {
                Some(package) => self.packages.get(&package).map(|(timeline, _)| timeline),
                None => Some(&self.whole),
            };
            while let Some((at, total)) = watching.waiting.front().copied().filter(|(at, _)| *at <= known) {
                watching.waiting.pop_front();
                let profile = |began| timeline.and_then(|timeline| timeline.profile(began, at));
                watching.take(at, total, profile, &mut self.tally);
            }
        }
        self.forget();
    }

    /// Forgets busy time that no reading will ask for.
    fn forget(&mut self) {
        let zones = &self.zones;
        let needed = |by: Option<PackageId>| {
            let asking = zones.iter().filter(|(zone, _)| package_of(zone) == by);
            asking
                .filter_map(|(_, watching)| watching.base.map(|(at, _)| at))
                .min()
        };
        if let Some(since) = needed(None) {
            self.whole.forget_before(since);
        }
        for (package, (timeline, _)) in &mut self.packages {
            if let Some(since) = needed(Some(*package)) {
                timeline.forget_before(since);
            }
        }
    }

    /// Everything that was seen.
    #[must_use]
    pub fn finish(self) -> Watched {
        let zones = self.zones.into_iter().map(|(zone, watching)| ZoneSamples {
            zone,
            source: watching.source.0.to_owned(),
            integrated: watching.integrated,
            samples: watching.samples,
        });
        let packages = self.packages.iter().map(|(package, (_, cpus))| (*package, *cpus));
        Watched {
            zones: zones.collect(),
            packages: packages.collect(),
            tally: self.tally,
        }
    }
}

impl Watching {
    fn take(
        &mut self,
        at: MonotonicNanos,
        total: Microjoules,
        profile: impl FnOnce(MonotonicNanos) -> Option<Profile>,
        tally: &mut Tally,
    ) {
        let Some((began, before)) = self.base else {
            self.base = Some((at, total));
            return;
        };
        if at.since(began) < SHORTEST {
            return;
        }
        self.base = Some((at, total));
        let Some(profile) = profile(began) else {
            tally.unmatched += 1;
            return;
        };
        let used = total.saturating_sub(before);
        if used.is_zero() {
            tally.empty += 1;
        } else if self.samples.len() == MOST_SAMPLES {
            tally.overflow += 1;
        } else {
            self.samples.push(Sample {
                began,
                ended: at,
                // Microjoules as microseconds: seconds of the one are joules of the other.
                watts: Duration::from_micros(used.as_micro()).as_secs_f64() / at.since(began).as_secs_f64(),
                profile,
            });
        }
    }
}

/// The package whose load a zone is paid by; `None` of what all of them pay.
const fn package_of(zone: &Zone) -> Option<PackageId> {
    match (&zone.place, zone.component) {
        (_, Component::Platform) | (Place::Named(_), _) => None,
        (Place::Socket { package, .. }, _) => Some(*package),
    }
}

/// Whether an estimator answers for such a zone.
fn can_be_modelled(zone: &Zone) -> bool {
    matches!(
        zone.component,
        Component::Package | Component::Dram | Component::Platform
    )
}
