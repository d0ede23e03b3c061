// SPDX-License-Identifier: Apache-2.0
//! From what was watched to curves with their errors.
//!
//! A curve's error is found on blocks of time that it has not seen: the samples are cut into contiguous blocks, each is
//! predicted from the others, and next to it as many samples are left out as the errors remember themselves. Neighbours in
//! time are alike (temperature, fans, who runs), so errors on samples drawn at random would be those of a curve that has
//! seen nearly the same, and flatter it.

use super::curve::{Curve, MOST_WATTS};
use super::fit::{Fitted, Row, grid};
use super::model::name;
use super::samples::{Sample, ZoneSamples};
use super::score::{Case, ErrorTable};
use super::watch::{Tally, Watched};
use attribution::model::{PackageId, Zone};
use std::ops::Range;
use std::time::Duration;

/// Blocks of time: each curve of the cross-validation has seen some four fifths.
pub(super) const BLOCKS: usize = 5;
/// Samples without which there is no model: two a block.
pub(super) const LEAST: usize = 2 * BLOCKS;
/// The range of load without which there is no model: a curve over less says nothing about the rest.
pub(super) const LEAST_RANGE: f64 = 0.1;
/// A sample this many times as long as usual is over a gap: what the meter did not see in it may be missing.
const STRETCHED: u32 = 4;
/// Autocorrelation below which errors have forgotten themselves.
const FORGOTTEN: f64 = 0.2;

/// Why there is no curve of a zone, or of any.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// No zone has readings.
    #[error(
        "no meter said anything that a model can be made of ({}); `kepler check` says which meters are here and why others are not",
        no_meter(tally)
    )]
    NoMeter {
        /// What was passed by.
        tally: Tally,
    },
    /// Too few readings.
    #[error("{found} readings, and {LEAST} are needed: watch longer{}", a_reading_every(*every))]
    TooFew {
        /// How many there are.
        found: usize,
        /// The usual time between them, where it is known.
        every: Duration,
    },
    /// The load hardly moved.
    #[error(
        "the load was between {:.1} % and {:.1} %, and a model needs a range of {:.0} %: watch while the machine works, or let --stress make the load", low * 100.0, high * 100.0, LEAST_RANGE * 100.0
    )]
    TooLittleLoad {
        /// Least busy share.
        low: f64,
        /// Greatest.
        high: f64,
    },
    /// No curve goes through it.
    #[error("its readings fit no curve: are they of this machine?")]
    NoCurve,
    /// Each zone has its own reason.
    #[error("no zone can be modelled:{}", each(zones))]
    NoZone {
        /// Zones and why not.
        zones: Vec<(String, Refusal)>,
    },
}

fn no_meter(tally: &Tally) -> String {
    format!(
        "{} estimates, {} intervals without energy, {} readings without the load beside them",
        tally.estimates, tally.empty, tally.unmatched
    )
}

fn a_reading_every(every: Duration) -> String {
    if every.is_zero() {
        return String::new();
    }
    // The first reading is where the first interval begins.
    let all = every * u32::try_from(LEAST + 1).unwrap_or(u32::MAX);
    format!(
        " (one comes every {}: {} at least)",
        humantime::format_duration(to_seconds(every)),
        humantime::format_duration(to_seconds(all))
    )
}

fn each(zones: &[(String, Refusal)]) -> String {
    zones
        .iter()
        .map(|(zone, why)| format!("\n  {zone}: {why}"))
        .collect()
}

/// The curve of a zone.
#[derive(Clone, Debug, PartialEq)]
pub struct ZoneCalibration {
    /// The zone.
    pub zone: Zone,
    /// Its meter.
    pub source: String,
    /// Samples that it was made of.
    pub samples: usize,
    /// Samples over gaps, or of watts that no node uses, which were left out.
    pub left_out: usize,
    /// From the first sample to the last.
    pub span: Duration,
    /// The usual length of a sample.
    pub every: Duration,
    /// What was left out on each side of a block.
    pub gap: Duration,
    /// Watts over busy share of its place.
    pub curve: Curve,
    /// How wrong it was about blocks that it had not seen.
    pub error: ErrorTable,
}

/// Everything that could be made of what was watched.
#[derive(Clone, Debug)]
pub struct Calibration {
    /// Zones with a curve; one at least.
    pub zones: Vec<ZoneCalibration>,
    /// Zones without, and why.
    pub refused: Vec<(Zone, Refusal)>,
    /// Packages with their hardware threads.
    pub packages: Vec<(PackageId, u32)>,
    /// What was passed by.
    pub tally: Tally,
}

/// Fits a curve to each zone.
///
/// # Errors
/// When no zone bears one.
pub fn calibrate(watched: &Watched) -> Result<Calibration, Refusal> {
    if watched.zones.is_empty() {
        return Err(Refusal::NoMeter { tally: watched.tally });
    }
    let (mut zones, mut refused) = (Vec::new(), Vec::new());
    for zone in &watched.zones {
        match calibrate_zone(zone) {
            Ok(calibrated) => zones.push(calibrated),
            Err(refusal) => refused.push((zone.zone.clone(), refusal)),
        }
    }
    if zones.is_empty() {
        let named = refused
            .into_iter()
            .map(|(zone, why)| (name(&zone.to_string()), why));
        return Err(Refusal::NoZone {
            zones: named.collect(),
        });
    }
    Ok(Calibration {
        zones,
        refused,
        packages: watched.packages.clone(),
        tally: watched.tally,
    })
}

fn calibrate_zone(zone: &ZoneSamples) -> Result<ZoneCalibration, Refusal> {
    let every = zone.usual();
    let usable = |sample: &&Sample| {
        sample.lasted() <= every * STRETCHED && sample.watts.is_finite() && sample.watts <= MOST_WATTS
    };
    let samples: Vec<_> = zone.samples.iter().filter(usable).collect();
    if samples.len() < LEAST {
        return Err(Refusal::TooFew {
            found: samples.len(),
            every,
        });
    }
    let grid = grid(samples.iter().copied()).unwrap_or_default();
    let (low, high) = (
        grid.first().copied().unwrap_or(0.0),
        grid.last().copied().unwrap_or(0.0),
    );
    if high - low < LEAST_RANGE {
        return Err(Refusal::TooLittleLoad { low, high });
    }
    let rows: Vec<_> = samples
        .iter()
        .map(|sample| Row::new(sample, &grid, zone.integrated))
        .collect();
    let all: Vec<_> = rows.iter().collect();
    let fitted = Fitted::new(&all, &grid).ok_or(Refusal::NoCurve)?;
    let curve = fitted.curve().ok_or(Refusal::NoCurve)?;
    let gap = memory(&errors(&fitted, &rows));
    let folds = blocks(rows.len(), gap);
    Ok(ZoneCalibration {
        zone: zone.zone.clone(),
        source: zone.source.clone(),
        samples: samples.len(),
        left_out: zone.samples.len() - samples.len(),
        span: zone.span(),
        every,
        gap: every * u32::try_from(gap).unwrap_or(u32::MAX),
        curve,
        error: ErrorTable::new(&unseen(&rows, &grid, &folds)),
    })
}

/// Relative errors of a curve about the rows that it was made of.
pub(super) fn errors(fitted: &Fitted, rows: &[Row]) -> Vec<f64> {
    rows.iter()
        .map(|row| fitted.predict(row) / row.watts - 1.0)
        .collect()
}

/// After how many samples errors have forgotten themselves; 2 at least, and half a block at most.
pub(super) fn memory(errors: &[f64]) -> usize {
    let most = errors.len() / BLOCKS / 2;
    // About zero, and not about their mean: what is always wrong in the same way is not forgotten.
    let all: f64 = errors.iter().map(|error| error * error).sum();
    // Of no errors at all nothing is remembered.
    let all = all.max(f64::MIN_POSITIVE);
    let alike = |lag: usize| {
        let pairs = errors.iter().zip(errors.iter().skip(lag));
        pairs.map(|(one, later)| one * later).sum::<f64>() / all
    };
    let forgotten = (2..most).find(|lag| alike(*lag) < FORGOTTEN);
    forgotten.unwrap_or(most).clamp(2.min(most), most.max(1))
}

/// A block that is predicted, and what is left out of the training with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fold {
    pub(super) tested: Range<usize>,
    pub(super) hidden: Range<usize>,
}

/// Contiguous blocks of so many samples, each with a gap on both sides.
pub(super) fn blocks(samples: usize, gap: usize) -> Vec<Fold> {
    let edge = |block: usize| samples * block / BLOCKS;
    let fold = |block| {
        let tested = edge(block)..edge(block + 1);
        let hidden = tested.start.saturating_sub(gap)..samples.min(tested.end + gap);
        Fold { tested, hidden }
    };
    (0..BLOCKS).map(fold).collect()
}

/// What was said about each block by the curve of the others.
fn unseen(rows: &[Row], grid: &[f64], folds: &[Fold]) -> Vec<Case> {
    let mut cases = Vec::with_capacity(rows.len());
    for fold in folds {
        let hidden = |place: usize| fold.hidden.contains(&place);
        let known = rows.iter().enumerate().filter(|(place, _)| !hidden(*place));
        let known: Vec<_> = known.map(|(_, row)| row).collect();
        let tested = rows.get(fold.tested.clone()).unwrap_or_default();
        cases.extend(predicted(&known, tested.iter(), grid));
    }
    cases
}

/// What the curve of the known rows says about others.
pub(super) fn predicted<'a>(
    known: &[&Row],
    tested: impl Iterator<Item = &'a Row>,
    grid: &[f64],
) -> Vec<Case> {
    let Some(fitted) = Fitted::new(known, grid) else {
        return Vec::new();
    };
    let case = |row: &Row| Case {
        busy: row.busy,
        metered: row.watts,
        predicted: fitted.predict(row),
    };
    tested.map(case).collect()
}

/// To the nearest second; what is shorter is one.
pub(super) fn to_seconds(time: Duration) -> Duration {
    Duration::from_secs((time + Duration::from_millis(500)).as_secs().max(1))
}
