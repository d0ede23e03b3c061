// SPDX-License-Identifier: Apache-2.0
//! How wrong a curve was about what it had not seen: overall, and by level of load.

use super::real::{count, percentile};

/// Levels of load: 0 %, 10 %, ... 100 %, each with what is nearest to it.
pub(super) const LEVELS: u8 = 11;
/// Cases that a level needs to speak for itself.
pub(super) const SPEAKS: usize = 5;

/// Errors of some cases. Relative; 0.05 is 5 %.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Level {
    /// Cases.
    pub samples: usize,
    /// Mean absolute error, of what the meter said (MAPE).
    pub mean: f64,
    /// 90 % of the cases were nearer than this.
    pub within: f64,
    /// A tenth of the cases was further below the prediction than this: `metered / predicted - 1`.
    pub p10: f64,
    /// A tenth was further above it than this.
    pub p90: f64,
}

/// Errors by level.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ErrorTable {
    /// All cases.
    pub all: Level,
    /// Those of each level that has any: tenths of busy share, in their order.
    pub levels: Vec<(u8, Level)>,
}

/// A prediction for something that was metered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Case {
    pub(super) busy: f64,
    pub(super) metered: f64,
    pub(super) predicted: f64,
}

impl Level {
    fn new(cases: &[Case]) -> Self {
        let mut sizes: Vec<_> = cases
            .iter()
            .map(|case| (case.predicted / case.metered - 1.0).abs())
            .collect();
        // A curve that says nothing at all is as wrong as can be.
        let off = |case: &Case| case.metered / case.predicted.max(case.metered / 1_000.0) - 1.0;
        let mut offs: Vec<_> = cases.iter().map(off).collect();
        let mean = sizes.iter().sum::<f64>() / count(sizes.len().max(1));
        Self {
            samples: cases.len(),
            mean,
            within: percentile(&mut sizes, 0.9).unwrap_or(0.0),
            p10: percentile(&mut offs, 0.1).unwrap_or(0.0),
            p90: percentile(&mut offs, 0.9).unwrap_or(0.0),
        }
    }
}

impl ErrorTable {
    /// Of cases; those of nothing metered are none.
    pub(super) fn new(cases: &[Case]) -> Self {
        let levels = (0..LEVELS).map(|level| {
            let of_it: Vec<_> = cases
                .iter()
                .filter(|case| self::level(case.busy) == level)
                .copied()
                .collect();
            (level, Level::new(&of_it))
        });
        Self {
            all: Level::new(cases),
            levels: levels.filter(|(_, level)| level.samples > 0).collect(),
        }
    }

    /// The errors at a busy share: those of its level, or of all where that has too few cases to speak.
    #[must_use]
    pub fn at(&self, busy: f64) -> Level {
        let wanted = level(busy);
        let own = self.levels.iter().find(|(level, _)| *level == wanted);
        own.filter(|(_, level)| level.samples >= SPEAKS)
            .map_or(self.all, |(_, level)| *level)
    }
}

/// The level that is nearest to a busy share.
pub(super) fn level(busy: f64) -> u8 {
    (0..LEVELS - 1)
        .find(|level| busy * 10.0 < f64::from(*level) + 0.5)
        .unwrap_or(LEVELS - 1)
}
