// SPDX-License-Identifier: Apache-2.0
//! Samples to a curve: which knots the data bears, and the watts at them.
//!
//! A sample says that the mean of the curve over the load of its interval was so many watts. As the curve is a chain of
//! straight lines, that mean is a weighted sum of its knots, so a minute's mean of changing load is worth what it says and no
//! more, and nothing is bent by averaging. The knots are found by least squares of relative errors, with rises that are
//! never negative; samples that lie far off (a change of load that the meter saw late) lose their weight.

use super::curve::Curve;
use super::real::{count, median, quantile};
use super::samples::{Profile, Sample};
use super::solve::{Rows, dot, nonnegative};

/// Knots where there is much data: close at the bottom, where the first work wakes a package.
const FINE: [f64; 11] = [0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];
/// Knots where there is little.
const COARSE: [f64; 5] = [0.05, 0.2, 0.4, 0.6, 0.8];
/// Samples from which on the knots are close: five a knot.
const MANY: usize = 60;
/// Samples from which on there are knots at all; below, and where the load hardly moved, it is one straight line.
const SOME: usize = 24;
/// Range of load that bears a bent curve.
const BENT: f64 = 0.3;
/// Knots are this far apart at least.
const APART: f64 = 0.01;
/// Rounds of weighing samples by how far off they are. The weights settle within a handful.
const ROUNDS: u32 = 8;
/// How much a change of slope weighs against a sample at a knot. Bends of real curves are a few percent of their range a knot,
/// so this moves none of them by a thousandth; it only tells knots without samples to follow their neighbours.
const STIFF: f64 = 0.01;
/// Weight of a sample over which the load moved, where the meter says watts of a moment and their mean is a guess.
const UNSTEADY: f64 = 0.2;
/// Mean distance from the mean load beyond which it moved.
const MOVED: f64 = 0.1;
/// A sample this many usual errors off has half its weight: Cauchy weights at 95 % efficiency.
const FAR: f64 = 2.385;
/// Usual errors are taken for this at least: whole watts of a machine at rest are a percent, and no outliers because the same meter
/// is nearer under load.
const USUAL: f64 = 0.01;

/// The busy shares at which the curve of these samples has knots. `None` where there is no load to speak of.
pub(super) fn grid<'a>(samples: impl Iterator<Item = &'a Sample> + Clone) -> Option<Vec<f64>> {
    let number = samples.clone().count();
    let loads: Vec<_> = samples.flat_map(|sample| sample.profile.parts()).collect();
    // What one sample and a half has seen is seen, and half a percent of a long watch.
    let edge = (1.5 / count(number.max(1))).clamp(0.005, 0.25);
    let (low, high) = (quantile(loads.clone(), edge)?, quantile(loads, 1.0 - edge)?);
    let inner: &[f64] = match number {
        _ if high - low < BENT => &[],
        MANY.. => &FINE,
        SOME.. => &COARSE,
        _ => &[],
    };
    let inside = |knot: &&f64| **knot >= low + APART && **knot <= high - APART;
    let mut knots = vec![low];
    knots.extend(inner.iter().filter(inside));
    knots.push(high);
    (high > low).then_some(knots)
}

/// A sample as the fit sees it.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Its share in the lowest knot and in each rise from knot to knot.
    rises: Vec<f64>,
    pub(super) watts: f64,
    /// Mean busy share.
    pub(super) busy: f64,
    weight: f64,
}

impl Row {
    /// A sample on these knots. `integrated`: the meter says watts of moments.
    pub(super) fn new(sample: &Sample, grid: &[f64], integrated: bool) -> Self {
        let moved = integrated && sample.profile.spread() > MOVED;
        Self {
            rises: rises(&sample.profile, grid),
            watts: sample.watts,
            busy: sample.busy(),
            weight: if moved { UNSTEADY } else { 1.0 },
        }
    }

    /// What the knots' rises say of it.
    fn predict(&self, rises: &[f64]) -> f64 {
        dot(&self.rises, rises)
    }
}

/// The part of each rise that the mean over a profile has.
fn rises(profile: &Profile, grid: &[f64]) -> Vec<f64> {
    let mut shares = vec![1.0];
    shares.extend(grid.iter().zip(grid.iter().skip(1)).map(|(from, to)| {
        let climbed = |(busy, part): (f64, f64)| part * ((busy - from) / (to - from)).clamp(0.0, 1.0);
        profile.parts().map(climbed).sum::<f64>()
    }));
    shares
}

/// A fitted curve, and what it says of any row on the same knots.
#[derive(Clone, Debug)]
pub(super) struct Fitted {
    rises: Vec<f64>,
    grid: Vec<f64>,
}

impl Fitted {
    /// Of these rows. `None` where there are none, or nothing can be made of them.
    pub(super) fn new(rows: &[&Row], grid: &[f64]) -> Option<Self> {
        let mut watts: Vec<_> = rows.iter().map(|row| row.watts).collect();
        let usual = median(&mut watts)?;
        // Relative errors, but not of next to nothing.
        let least = usual / 20.0;
        let mut weights: Vec<_> = rows
            .iter()
            .map(|row| row.weight / row.watts.max(least).powi(2))
            .collect();
        let mut fitted = Self {
            rises: Vec::new(),
            grid: grid.to_vec(),
        };
        for _ in 0..ROUNDS {
            fitted.rises = best(rows, &weights, grid);
            let errors = rows.iter().map(|row| {
                let predicted = fitted.predict(row).max(least);
                ((row.watts - predicted) / predicted, predicted)
            });
            let errors: Vec<_> = errors.collect();
            let mut sizes: Vec<_> = errors.iter().map(|(error, _)| error.abs()).collect();
            let scale = (1.4826 * median(&mut sizes)?).max(USUAL);
            for ((weight, row), (error, predicted)) in weights.iter_mut().zip(rows).zip(errors) {
                *weight = row.weight / predicted.powi(2) / (1.0 + (error / (FAR * scale)).powi(2));
            }
        }
        fitted.rises.iter().all(|rise| rise.is_finite()).then_some(fitted)
    }

    /// Watts of a row.
    pub(super) fn predict(&self, row: &Row) -> f64 {
        row.predict(&self.rises)
    }

    /// As a curve; `None` of watts that no node uses.
    pub(super) fn curve(&self) -> Option<Curve> {
        let mut watts = 0.0;
        let knots = self.grid.iter().zip(&self.rises).map(|(busy, rise)| {
            watts += rise;
            (*busy, watts)
        });
        Curve::new(knots.collect()).ok()
    }
}

/// The rises with the least weighted squares.
fn best(rows: &[&Row], weights: &[f64], grid: &[f64]) -> Vec<f64> {
    let mut products: Rows = vec![vec![0.0; grid.len()]; grid.len()];
    let mut target = vec![0.0; grid.len()];
    for (row, weight) in rows.iter().zip(weights) {
        for ((products, target), rise) in products.iter_mut().zip(&mut target).zip(&row.rises) {
            let weighted = weight * rise;
            if weighted == 0.0 {
                continue;
            }
            *target += weighted * row.watts;
            products
                .iter_mut()
                .zip(&row.rises)
                .for_each(|(sum, other)| *sum += weighted * other);
        }
    }
    let all: f64 = weights.iter().sum();
    stiffen(&mut products, grid, STIFF * all / count(grid.len()));
    nonnegative(&products, &target)
}

/// Adds what a change of slope costs, and a breath on the diagonal, so that what no sample tells is still told.
fn stiffen(products: &mut Rows, grid: &[f64], stiffness: f64) {
    let widths: Vec<_> = grid
        .iter()
        .zip(grid.iter().skip(1))
        .map(|(from, to)| to - from)
        .collect();
    let mean = widths.iter().sum::<f64>() / count(widths.len().max(1));
    for (place, (width, next)) in widths.iter().zip(widths.iter().skip(1)).enumerate() {
        // Rise `place + 1` is over `width`; the slopes' difference in rises of a mean width.
        let change = [(place + 1, -mean / width), (place + 2, mean / next)];
        for (one, by) in change {
            for (other, with) in change {
                if let Some(cell) = products.get_mut(one).and_then(|row| row.get_mut(other)) {
                    *cell += stiffness * by * with;
                }
            }
        }
    }
    for (place, row) in products.iter_mut().enumerate() {
        if let Some(cell) = row.get_mut(place) {
            *cell += 1e-9 * stiffness;
        }
    }
}
