// SPDX-License-Identifier: Apache-2.0
//! Learned weights: what one zone's dynamic power is made of, by what the node counted meanwhile.
//!
//! Per zone a regression of power on rates (time alone on a core, time beside a busy sibling, cycles, instructions,
//! cache misses) and a constant, for what the floor missed. Beside it runs one of the plain feature alone. Each says what
//! a window's power will be before it learns from it, and only while the larger one was nearer, on the whole and in most
//! windows, do its weights split the zone: a split by weights that cannot even foretell the whole is no better than the plain one.
//!
//! Windows that teach nothing are left out: shorter than 50 ms, much longer than usual (a gap), with rows that are not
//! known any more, with CPU time of another time than the energy's (the first after a silent probe, and all of its
//! silence), and those whose power is far off both predictions, as long as they are few.

use super::accounts::AccountId;
use super::feature::{Pace, Smt, weight};
use super::regression::{Errors, Features, Regression};
use super::rise::Rise;
use crate::model::snapshot::Fit;
use crate::model::{Feature, Microjoules, Permille};
use std::time::Duration;

/// Shorter windows are not learned from: the meter's own update period is no longer small beside them.
const SHORTEST: Duration = Duration::from_millis(50);
/// A window that is so many times as long as usual is a gap.
const GAP: f64 = 4.0;
/// Windows before anything is believed.
const BELIEVED: u32 = 30;
/// To be worth its doubts the learned one's error has to be less than so much of the plain one's, and less by so much of
/// the power.
const BETTER: f64 = 0.95;
const BETTER_BY: f64 = 0.005;
/// It has to have been nearer in so many of the newest windows, too: one jump of the load that happened to suit it makes
/// up a sum of squares, and is one window of some thirty.
const NEARER: f64 = 0.6;
/// What is left of a window's word in that after the next one.
const WORD_KEPT: f64 = 0.97;
/// Wild windows in a row after which they are the rule.
const WILD: u32 = 5;
/// No clock is faster, in GHz (the fastest sold reach 6.2). Cycles and time are read one after the other, so of a run of
/// a few nanoseconds their quotient may be anything.
const FASTEST: f64 = 10.0;

/// Place of the constant.
const CONSTANT: usize = 6;

/// Seconds alone, seconds beside a sibling, 10^9 cycles, 10^9 instructions, 10^6 misses, 10^9 cycles times GHz; no constant.
///
/// Where the plain feature stands, and seconds alone where it would stand: of features that rise and fall together the
/// first keeps the weight, and what power cannot tell apart is then split by the feature that is right without learning.
/// A cycle costs more at a higher frequency, because the voltage rises with it: cycles times frequency say so.
fn features(rise: &Rise, plain: Feature, smt: Smt, pace: Pace) -> Features {
    let overlap = rise.overlap.min(rise.time);
    let cycles = float(weight(Feature::CpuCycles, smt, pace, rise)) / 1e9;
    let gigahertz = (float(rise.cycles) / float(rise.time.max(1))).min(FASTEST);
    let mut all = [
        float(rise.time - overlap) / 1e9,
        float(overlap) / 1e9,
        cycles,
        float(rise.instructions) / 1e9,
        float(rise.misses) / 1e6,
        cycles * gigahertz,
        0.0,
    ];
    match plain {
        Feature::CpuCycles => all.swap(0, 2),
        Feature::CacheMisses => all.swap(0, 4),
        _ => {}
    }
    all
}

#[expect(clippy::cast_precision_loss, reason = "a regression needs no 53 bits")]
const fn float(count: u64) -> f64 {
    count as f64
}

/// What the rows of one window did together.
#[derive(Clone, Copy, Debug, Default)]
struct Together {
    features: Features,
    plain: f64,
}

impl Together {
    fn of(rises: impl Iterator<Item = Rise>, plain: Feature, smt: Smt, pace: Pace) -> Self {
        rises.fold(Self::default(), |mut sum, rise| {
            for (total, value) in sum.features.iter_mut().zip(features(&rise, plain, smt, pace)) {
                *total += value;
            }
            sum.plain += float(weight(plain, smt, pace, &rise)) / 1e9;
            sum
        })
    }

    /// As rates over `seconds`, with the constant; and the plain feature alone with it.
    fn rates(&self, seconds: f64) -> (Features, Features) {
        let mut all = self.features.map(|value| value / seconds);
        let mut plain = Features::default();
        for (to, value) in plain.iter_mut().zip([self.plain / seconds]) {
            *to = value;
        }
        for features in [&mut all, &mut plain] {
            if let Some(constant) = features.get_mut(CONSTANT) {
                *constant = 1.0;
            }
        }
        (all, plain)
    }
}

/// What one zone has taught.
#[derive(Debug, Default)]
pub(crate) struct Learner {
    all: Regression,
    plain: Regression,
    all_errors: Errors,
    plain_errors: Errors,
    /// In which part of the newest windows the larger regression was nearer.
    nearer: f64,
    /// How long windows usually are, in seconds.
    usual: f64,
    wild: u32,
    /// The plain feature that it is compared with.
    compared: Feature,
}

/// A window's power, and by what it was split.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paid {
    pub(crate) dynamic: Microjoules,
    pub(crate) elapsed: Duration,
    /// Whether those who pay are those who ran in that time.
    pub(crate) teaches: bool,
    pub(crate) plain: Feature,
    pub(crate) smt: Smt,
}

impl Learner {
    /// Learns from a window that `rises` pay for, and writes their weights if they are the better ones; the weight of
    /// `unknown`, or `None` when the plain feature has to do.
    pub(crate) fn weigh(
        &mut self,
        paid: Paid,
        rises: impl Iterator<Item = (AccountId, Rise)> + Clone,
        unknown: &Rise,
        ids: &mut Vec<AccountId>,
        weights: &mut Vec<u64>,
    ) -> Option<u64> {
        let pace = Pace::of(rises.clone().map(|(_, rise)| rise).chain([*unknown]));
        if paid.teaches && *unknown == Rise::default() {
            let together = Together::of(rises.clone().map(|(_, rise)| rise), paid.plain, paid.smt, pace);
            self.learn(paid, &together);
        }
        if !self.is_better() {
            return None;
        }
        let weight = |rise: &Rise| nanojoules(self.all.predict(&features(rise, paid.plain, paid.smt, pace)));
        ids.clear();
        weights.clear();
        ids.extend(rises.clone().map(|(id, _)| id));
        weights.extend(rises.map(|(_, rise)| weight(&rise)));
        let nobody = weight(unknown);
        (nobody > 0 || weights.iter().any(|weight| *weight > 0)).then_some(nobody)
    }

    fn learn(&mut self, paid: Paid, together: &Together) {
        let seconds = paid.elapsed.as_secs_f64();
        let is_first = self.all.samples() == 0;
        let usual = self.usual;
        self.usual = if is_first {
            seconds
        } else {
            usual * 0.9 + seconds * 0.1
        };
        if paid.elapsed < SHORTEST || (!is_first && seconds > GAP * usual) {
            return;
        }
        if paid.plain != self.compared {
            // Errors of another feature are no yardstick for this one, and the features stand in another order now.
            *self = Self {
                usual: self.usual,
                compared: paid.plain,
                ..Self::default()
            };
        }
        let watts = float(paid.dynamic.as_micro()) / 1e6 / seconds;
        let (all, plain) = together.rates(seconds);
        let errors = [self.all.predict(&all) - watts, self.plain.predict(&plain) - watts];
        if self.is_believed() {
            let [of_all, of_plain] = errors;
            let is_wild = self.all_errors.is_wild(of_all) && self.plain_errors.is_wild(of_plain);
            self.wild = if is_wild { self.wild.saturating_add(1) } else { 0 };
            if is_wild && self.wild < WILD {
                return;
            }
        }
        // The very first predictions are of nothing learned.
        if self.plain.samples() >= 3 {
            let [of_all, of_plain] = errors;
            self.all_errors.add(of_all, watts);
            self.plain_errors.add(of_plain, watts);
            let word = if of_all.abs() < of_plain.abs() { 1.0 } else { 0.0 };
            self.nearer = self.nearer * WORD_KEPT + word * (1.0 - WORD_KEPT);
        }
        self.all.learn(&all, watts);
        self.plain.learn(&plain, watts);
    }

    fn is_believed(&self) -> bool {
        self.plain.samples() >= BELIEVED && self.all.samples() >= BELIEVED
    }

    fn is_better(&self) -> bool {
        let (all, plain) = (self.all_errors.relative(), self.plain_errors.relative());
        self.is_believed() && all < BETTER * plain && all < plain - BETTER_BY && self.nearer > NEARER
    }

    /// How well both foretell, once they are believed.
    pub(crate) fn fit(&self) -> Option<Fit> {
        self.is_believed().then(|| Fit {
            plain: self.compared,
            plain_error: permille(self.plain_errors.relative()),
            learned_error: permille(self.all_errors.relative()),
        })
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what is too large becomes the largest, and nothing is negative"
)]
fn nanojoules(joules: f64) -> u64 {
    (joules * 1e9).round() as u64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what is too large becomes the largest, and nothing is negative"
)]
fn permille(ratio: f64) -> Permille {
    Permille((ratio * 1e3).round() as u32)
}

/// Learns what time beside a busy sibling costs of time alone on a core, from one package's power.
///
/// Believed once both kinds of time have come and gone in ways of their own, and the weights foretell the power: a node
/// that is always half full says nothing.
#[derive(Debug, Default)]
pub(crate) struct SmtLearner {
    regression: Regression,
    errors: Errors,
}

/// Windows before siblings are believed.
const SIBLINGS_BELIEVED: u32 = 60;
/// A ratio outside of this is none that siblings have.
const PLAUSIBLE: std::ops::RangeInclusive<f64> = 0.4..=1.1;

impl SmtLearner {
    /// Learns from a window; cycles stand for time where they are counted, so that frequency is none of it.
    pub(crate) fn learn(
        &mut self,
        dynamic: Microjoules,
        elapsed: Duration,
        rises: impl Iterator<Item = Rise>,
    ) {
        if elapsed < SHORTEST {
            return;
        }
        let seconds = elapsed.as_secs_f64();
        let (mut alone, mut beside) = ([0.0; 2], [0.0; 2]);
        for rise in rises.filter(|rise| rise.time > 0) {
            let part = float(rise.overlap.min(rise.time)) / float(rise.time);
            let both = [float(rise.time) / 1e9, float(rise.cycles) / 1e9];
            for ((alone, beside), all) in alone.iter_mut().zip(&mut beside).zip(both) {
                *alone += all * (1.0 - part);
                *beside += all * part;
            }
        }
        let [by_time, by_cycles] = [0, 1].map(|of| {
            let rate = |sums: [f64; 2]| sums.get(of).copied().unwrap_or(0.0) / seconds;
            [rate(alone), rate(beside), 1.0, 0.0, 0.0, 0.0, 0.0]
        });
        let counted = by_cycles.iter().take(2).any(|rate| *rate > 0.0);
        let features = if counted { by_cycles } else { by_time };
        let watts = float(dynamic.as_micro()) / 1e6 / seconds;
        if self.regression.samples() >= 3 {
            self.errors.add(self.regression.predict(&features) - watts, watts);
        }
        self.regression.learn(&features, watts);
    }

    /// The weight, once it is believed.
    pub(crate) fn weight(&self) -> Option<Permille> {
        let [alone, beside, ..] = *self.regression.weights();
        let is_believed = self.regression.samples() >= SIBLINGS_BELIEVED
            && self.errors.relative() < 0.2
            && self.are_apart()
            && alone > 0.0;
        let ratio = beside / alone;
        (is_believed && PLAUSIBLE.contains(&ratio)).then(|| permille(ratio.clamp(0.5, 1.0)))
    }

    /// Whether both kinds of time varied, and not as one.
    fn are_apart(&self) -> bool {
        let of = |one, other| self.regression.product(one, other);
        let around = |one, other| of(one, other) - of(one, 2) * of(other, 2) / of(2, 2);
        let (alone, beside, both) = (around(0, 0), around(1, 1), around(0, 1));
        let varied = alone > 1e-3 * of(0, 0) && beside > 1e-3 * of(1, 1);
        varied && both * both < 0.98 * alone * beside
    }
}

#[cfg(test)]
mod tests;
