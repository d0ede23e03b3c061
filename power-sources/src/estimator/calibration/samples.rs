// SPDX-License-Identifier: Apache-2.0
//! What a meter's reading is worth to a fit: mean watts of an interval, and how busy the place was during just that.

use attribution::model::{MonotonicNanos, Zone};
use std::time::Duration;

/// Steps of busy share that a profile tells apart. A hundredth is finer than any knot of a curve.
const STEPS: f64 = 100.0;

/// How much of an interval the place spent at which busy share. A mean alone would not do where power is no straight line: a
/// minute at rest and a minute at full load cost otherwise than two at half.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Profile {
    /// Busy share and part of the time, by busy share; parts add up to 1. At most 101.
    parts: Vec<(f64, f64)>,
}

impl Profile {
    /// Of busy shares and the times for which they held. `None` of no time.
    pub(super) fn new(held: impl IntoIterator<Item = (f64, Duration)>) -> Option<Self> {
        // A place for each step: what fell into it, weighed by its time.
        let mut steps: Vec<(i32, f64, f64)> = Vec::new();
        let mut all = 0.0;
        for (busy, time) in held {
            let (busy, time) = (busy.clamp(0.0, 1.0), time.as_secs_f64());
            let step = step(busy);
            all += time;
            match steps.binary_search_by_key(&step, |(step, ..)| *step) {
                Ok(at) => {
                    if let Some((_, sum, weight)) = steps.get_mut(at) {
                        *sum += busy * time;
                        *weight += time;
                    }
                }
                Err(at) => steps.insert(at, (step, busy * time, time)),
            }
        }
        let of_some_time = steps.into_iter().filter(|(_, _, weight)| *weight > 0.0);
        let parts: Vec<_> = of_some_time
            .map(|(_, sum, weight)| (sum / weight, weight / all))
            .collect();
        (!parts.is_empty()).then_some(Self { parts })
    }

    /// Busy shares and parts of the time.
    pub(super) fn parts(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.parts.iter().copied()
    }

    /// Mean busy share.
    pub(super) fn mean(&self) -> f64 {
        self.parts().map(|(busy, part)| busy * part).sum()
    }

    /// Mean distance from the mean: 0 where the load did not move.
    pub(super) fn spread(&self) -> f64 {
        let mean = self.mean();
        self.parts().map(|(busy, part)| (busy - mean).abs() * part).sum()
    }
}

/// Which step it falls into.
fn step(busy: f64) -> i32 {
    let scaled = busy * STEPS;
    // The number of steps below it, found without a lossy cast: there are 100.
    let mut step: i32 = 0;
    while step < 100 && f64::from(step) + 0.5 < scaled {
        step += 1;
    }
    step
}

/// One interval of one zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The moment that the reading before it was about.
    pub began: MonotonicNanos,
    /// The moment that its own reading is about.
    pub ended: MonotonicNanos,
    /// Mean watts.
    pub watts: f64,
    pub(super) profile: Profile,
}

impl Sample {
    /// Mean busy share of the place while it lasted, 0 to 1.
    #[must_use]
    pub fn busy(&self) -> f64 {
        self.profile.mean()
    }

    /// How long it is.
    #[must_use]
    pub const fn lasted(&self) -> Duration {
        self.ended.since(self.began)
    }
}

/// What one zone showed.
#[derive(Clone, Debug)]
pub struct ZoneSamples {
    /// The zone.
    pub zone: Zone,
    /// Its meter, as in `kepler_source_info`.
    pub source: String,
    /// Whether its figures are watts that were integrated and no counter of energy.
    pub integrated: bool,
    /// In the order of time.
    pub samples: Vec<Sample>,
}

impl ZoneSamples {
    /// The usual length of a sample.
    #[must_use]
    pub fn usual(&self) -> Duration {
        let mut lengths: Vec<_> = self.samples.iter().map(Sample::lasted).collect();
        lengths.sort_unstable();
        lengths.get(lengths.len() / 2).copied().unwrap_or_default()
    }

    /// From the first moment to the last.
    pub(super) fn span(&self) -> Duration {
        match (self.samples.first(), self.samples.last()) {
            (Some(first), Some(last)) => last.ended.since(first.began),
            _ => Duration::ZERO,
        }
    }
}
