// SPDX-License-Identifier: Apache-2.0
//! What the project wants of its rule, and where it is not so.

use crate::rules::{kepler_current, kepler_ebpf, ours};
use crate::score::Score;
use crate::table::Judged;

/// Below so many percent of error of the others nothing is asked but to be no worse.
pub const SMALL: f64 = 3.0;
/// So many points worse is no worse.
pub const NO_WORSE: f64 = 0.5;

/// Against whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// The rules as they sample.
    Sampled,
    /// Their formulas over perfect input.
    Formula,
}

impl Against {
    const fn rules(self) -> [&'static str; 2] {
        match self {
            Self::Sampled => [kepler_ebpf::SAMPLED, kepler_current::SAMPLED],
            Self::Formula => [kepler_ebpf::FORMULA, kepler_current::FORMULA],
        }
    }
}

/// The aim in one scenario.
#[derive(Clone, Copy, Debug)]
pub struct Aim {
    /// Our error in percent.
    pub ours: f64,
    /// The better one of the others and its error.
    pub better: (&'static str, f64),
    /// What ours may be at most: a third of the better one where that errs by more than [`SMALL`], else [`NO_WORSE`] more.
    pub limit: f64,
}

impl Aim {
    /// Whether it is reached.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.ours <= self.limit
    }
}

/// The aim in one scenario by what `figure` takes from a score. `None` where the rules were not run.
#[must_use]
pub fn aim(one: &Judged, against: Against, figure: impl Fn(&Score) -> f64) -> Option<Aim> {
    let of = |rule: &str| one.scores.iter().find(|score| score.rule == rule);
    let others = against
        .rules()
        .into_iter()
        .filter_map(of)
        .map(|score| (score.rule, figure(score)));
    let better = others.min_by(|(_, one), (_, other)| one.total_cmp(other))?;
    let limit = if better.1 > SMALL {
        better.1 / 3.0
    } else {
        better.1 + NO_WORSE
    };
    Some(Aim {
        ours: figure(of(ours::OURS)?),
        better,
        limit,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Run;

    fn judged(errors: [f64; 3]) -> Judged {
        let names = [ours::OURS, kepler_ebpf::SAMPLED, kepler_current::SAMPLED];
        let score = |(rule, error)| Score {
            rule,
            error,
            parts: 0.0,
            shares: 0.0,
            worst: (String::new(), 0.0),
            kept: 0.0,
            idle: 0.0,
        };
        let run = Run {
            name: "",
            about: "",
            workloads: Vec::new(),
            truth: Default::default(),
            idle: 0.0,
            outcomes: Vec::new(),
            broken: Vec::new(),
        };
        Judged {
            run,
            scores: names.into_iter().zip(errors).map(score).collect(),
        }
    }

    #[test]
    fn the_aim_is_a_third_of_the_better_one_or_no_worse_where_that_is_good() {
        let held = |errors| {
            aim(&judged(errors), Against::Sampled, |score| score.error)
                .unwrap()
                .is_held()
        };
        assert!(held([3.9, 12.0, 60.0]) && !held([4.1, 12.0, 60.0]));
        assert!(held([3.4, 3.0, 60.0]) && !held([3.6, 3.0, 60.0]));
        assert!(aim(&judged([1.0; 3]), Against::Formula, |score| score.error).is_none());
    }
}
