// SPDX-License-Identifier: Apache-2.0
//! A model as arithmetic: owns the forms that files can have and their evaluation. Knows no file and no unit but watts.
//!
//! The formulas are those of Kepler's regressors (kepler 0.8, `pkg/model/estimator/local/regressor`). Evaluation allocates
//! nothing, takes a time that the file bounds, and may give any number: whether it is one that can be believed is
//! [`super::model`]'s matter.

use super::feature::{Feature, Rates};
use super::trees::Forest;

/// Most features that a model may have.
pub(super) const MOST_FEATURES: usize = 64;

/// A feature divided by what it was divided by when the model was trained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Input {
    pub(super) feature: Feature,
    pub(super) scale: f64,
}

impl Input {
    pub(super) fn of(self, rates: &Rates) -> f64 {
        rates.get(self.feature) / self.scale
    }
}

/// One summand of a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Term {
    pub(super) input: Input,
    pub(super) weight: f64,
}

/// A curve in one input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Curve {
    /// `a exp(b x) + c`
    Exponential { a: f64, b: f64, c: f64 },
    /// `a ln(b x + 1) + c`
    Logarithmic { a: f64, b: f64, c: f64 },
    /// `height / (1 + exp(-rise (x - middle))) + floor`
    Logistic {
        height: f64,
        middle: f64,
        rise: f64,
        floor: f64,
    },
}

impl Curve {
    fn at(self, x: f64) -> f64 {
        match self {
            Self::Exponential { a, b, c } => a * (b * x).exp() + c,
            Self::Logarithmic { a, b, c } => a * (b * x + 1.0).ln() + c,
            Self::Logistic {
                height,
                middle,
                rise,
                floor,
            } => height / (1.0 + (-rise * (x - middle)).exp()) + floor,
        }
    }
}

/// What a file holds for one component.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Form {
    /// `base + sum of weight x input`
    Linear { base: f64, terms: Vec<Term> },
    /// A curve, raised by what the machine's kind adds.
    Curve { base: f64, input: Input, curve: Curve },
    /// Boosted trees.
    Trees { inputs: Vec<Input>, forest: Forest },
}

impl Form {
    /// Watts, or what the formula makes of it.
    pub(super) fn watts(&self, rates: &Rates) -> f64 {
        match self {
            Self::Linear { base, terms } => terms
                .iter()
                .fold(*base, |sum, term| sum + term.weight * term.input.of(rates)),
            Self::Curve { base, input, curve } => base + curve.at(input.of(rates)),
            Self::Trees { inputs, forest } => {
                let mut values = [f32::NAN; MOST_FEATURES];
                for (value, input) in values.iter_mut().zip(inputs) {
                    *value = single(input.of(rates));
                }
                f64::from(forest.predict(&values))
            }
        }
    }

    /// For people.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Linear { .. } => "linear".to_owned(),
            Self::Curve { curve, .. } => match curve {
                Curve::Exponential { .. } => "exponential",
                Curve::Logarithmic { .. } => "logarithmic",
                Curve::Logistic { .. } => "logistic",
            }
            .to_owned(),
            Self::Trees { forest, .. } => format!("XGBoost, {} trees", forest.trees()),
        }
    }
}

/// As XGBoost takes its features: rounded to single precision.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the rounding to single precision is what is wanted"
)]
pub(super) const fn single(value: f64) -> f32 {
    value as f32
}
