// SPDX-License-Identifier: Apache-2.0
//! Power against busy share as one zone showed it: samples by how busy the place was, and what they say about rest.
//!
//! A bin keeps its newest samples and answers with their medians, so that it takes as many wild samples as honest ones
//! to move it. It is believed from [`BELIEVED`] samples on: three wild ones among them change nothing. A full bin takes a
//! new sample only every [`SPACING`], which makes its memory 8 minutes long: it follows temperature and a fan's
//! profile, and not one half minute of something else. Bins forget only by newer samples of the same busy share: a
//! day at full load takes nothing away from what is known about rest. Only what nobody has seen for [`OLD`] is no more than
//! a prior, used where nothing newer says anything.

use super::fit::{self, Estimate, Point, Slope, median, slope_within};
use super::saved::{LearnedPoint, Trust};
use crate::model::{FloorOrigin, Microwatts};
use std::time::Duration;

/// Lower edges of the bins in millionths of busy share. Fine at the bottom, where the floor is: one busy thread of a
/// hundred is 1 %, and wakes a socket.
const EDGES: [u32; 27] = [
    0, 1_000, 2_000, 5_000, 10_000, 20_000, 30_000, 50_000, 75_000, 100_000, 150_000, 200_000, 250_000,
    300_000, 350_000, 400_000, 450_000, 500_000, 550_000, 600_000, 650_000, 700_000, 750_000, 800_000,
    850_000, 900_000, 950_000,
];
/// Samples kept per bin: 256 bytes, 7 KiB for a zone that was seen at every load.
const KEPT: usize = 32;
/// Samples that a bin needs before it is believed.
const BELIEVED: usize = 7;
/// Time between samples that a full bin takes.
const SPACING: Duration = Duration::from_secs(15);
/// Nothing is believed for longer without being seen again, unless nothing else is known.
pub(super) const OLD: Duration = Duration::from_secs(90 * 24 * 3_600);

/// One interval: busy millionths and milliwatts.
#[derive(Clone, Copy, Debug)]
struct Sample {
    busy: u32,
    milliwatts: u32,
}

#[derive(Clone, Debug, Default)]
struct Bin {
    /// A ring.
    samples: Vec<Sample>,
    taken: usize,
    /// When the newest was taken, by the envelope's own clock.
    newest: Duration,
    /// Of the samples, once there are enough.
    own: Option<Medians>,
    /// From an earlier run, and how old it was at time 0.
    restored: Option<(Medians, Duration)>,
}

#[derive(Clone, Copy, Debug)]
struct Medians {
    busy: u32,
    milliwatts: u32,
    /// Standard error of the power, milliwatts.
    error: u32,
    samples: u32,
    slope: Option<Slope>,
}

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Envelope {
    /// Empty until something was learned.
    bins: Vec<Bin>,
    /// Time learned in so far.
    clock: Duration,
    estimate: Option<Estimate>,
}

impl Envelope {
    /// Lets time pass in which nothing could be learned.
    pub(super) fn pass(&mut self, elapsed: Duration) {
        self.clock = self.clock.saturating_add(elapsed);
    }

    /// Takes one interval into account: its busy share in millionths, and its mean power.
    pub(super) fn learn(&mut self, busy: u32, power: Microwatts) {
        let now = self.clock;
        let Some(bin) = self.bin(busy) else { return };
        let waits = bin.samples.len() == KEPT && now.saturating_sub(bin.newest) < SPACING;
        if !waits && bin.take(busy, power, now) {
            self.fit();
        }
    }

    /// What is known about rest.
    pub(super) const fn estimate(&self) -> Option<Estimate> {
        self.estimate
    }

    /// Everything that is worth keeping.
    pub(super) fn save(&self) -> Vec<LearnedPoint> {
        let bins = self.bins.iter();
        bins.filter_map(|bin| {
            let (medians, age, _) = bin.best(self.clock)?;
            Some(LearnedPoint {
                busy_ppm: medians.busy,
                power: from_milli(medians.milliwatts),
                error: from_milli(medians.error),
                samples: medians.samples,
                age,
            })
        })
        .collect()
    }

    /// Takes what an earlier run had saved. What this run has seen itself stays the better evidence.
    pub(super) fn restore(&mut self, points: &[LearnedPoint], trust: Trust) {
        let now = self.clock;
        for point in points {
            let (Some(milliwatts), Some(error)) = (to_milli(point.power), to_milli(point.error)) else {
                continue;
            };
            let age = match trust {
                Trust::Full => point.age,
                Trust::Prior => point.age.max(OLD),
            };
            let medians = Medians {
                busy: point.busy_ppm,
                milliwatts,
                error,
                samples: point.samples,
                slope: None,
            };
            if let Some(bin) = self.bin(point.busy_ppm) {
                bin.restored = Some((medians, age.saturating_sub(now)));
            }
        }
        self.fit();
    }

    fn bin(&mut self, busy: u32) -> Option<&mut Bin> {
        if busy > 1_000_000 {
            return None;
        }
        self.bins.resize(EDGES.len(), Bin::default());
        let index = EDGES.partition_point(|edge| *edge <= busy).checked_sub(1)?;
        self.bins.get_mut(index)
    }

    /// At most a few hundred pairs, and no more often than samples are taken.
    fn fit(&mut self) {
        let points = |old: bool| -> Vec<Point> {
            let bins = self.bins.iter().filter_map(|bin| bin.best(self.clock));
            bins.filter(|(_, age, _)| old || *age < OLD)
                .map(|(medians, age, restored)| Point {
                    busy: f64::from(medians.busy) / 1e6,
                    watts: f64::from(medians.milliwatts) / 1e3,
                    error: f64::from(medians.error) / 1e3,
                    age,
                    restored,
                    slope: medians.slope,
                })
                .collect()
        };
        let newer = fit::floor(&points(false)).filter(|found| found.origin != FloorOrigin::Typical);
        self.estimate = newer.or_else(|| fit::floor(&points(true)));
    }
}

impl Bin {
    /// Whether the medians may have changed.
    fn take(&mut self, busy: u32, power: Microwatts, now: Duration) -> bool {
        let Some(milliwatts) = to_milli(power) else {
            return false;
        };
        let sample = Sample { busy, milliwatts };
        if self.samples.len() < KEPT {
            self.samples.push(sample);
        } else if let Some(slot) = self.samples.get_mut(self.taken % KEPT) {
            *slot = sample;
        }
        self.taken += 1;
        self.newest = now;
        if self.samples.len() < BELIEVED {
            return false;
        }
        self.own = medians(&self.samples);
        true
    }

    /// What it says, how old that is, and whether an earlier run says it.
    fn best(&self, now: Duration) -> Option<(Medians, Duration, bool)> {
        match (self.own, self.restored) {
            (Some(own), _) => Some((own, now.saturating_sub(self.newest), false)),
            (None, Some((restored, age))) => Some((restored, age.saturating_add(now), true)),
            (None, None) => None,
        }
    }
}

fn medians(samples: &[Sample]) -> Option<Medians> {
    let mut busy: Vec<f64> = samples.iter().map(|sample| f64::from(sample.busy)).collect();
    let mut powers: Vec<f64> = samples
        .iter()
        .map(|sample| f64::from(sample.milliwatts))
        .collect();
    let pairs = busy.iter().zip(&powers);
    let pairs: Vec<(f64, f64)> = pairs.map(|(busy, power)| (busy / 1e6, power / 1e3)).collect();
    let power = median(&mut powers)?;
    let mut distances: Vec<f64> = powers.iter().map(|one| (one - power).abs()).collect();
    let count = u32::try_from(samples.len()).ok()?;
    // Of normal samples the standard deviation is 1.48 median distances, and a median's error 1.25 that of a mean.
    let error = median(&mut distances)? * 1.48 * 1.25 / f64::from(count).sqrt();
    Some(Medians {
        busy: whole(median(&mut busy)?),
        milliwatts: whole(power),
        error: whole(error),
        samples: count,
        slope: slope_within(&pairs),
    })
}

/// `None` above 4 MW, which no zone draws.
fn to_milli(power: Microwatts) -> Option<u32> {
    u32::try_from((power.as_micro().saturating_add(500)) / 1_000).ok()
}

fn from_milli(milliwatts: u32) -> Microwatts {
    Microwatts::from_micro(u64::from(milliwatts) * 1_000)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "medians of u32 are u32, and `as` keeps the nearest one in range"
)]
fn whole(value: f64) -> u32 {
    value.round() as u32
}
