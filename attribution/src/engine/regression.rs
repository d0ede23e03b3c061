// SPDX-License-Identifier: Apache-2.0
//! A small regression that learns as it goes: weights of a few features, none negative, that explain a figure best.
//!
//! What was seen is kept as sums of products that fade, so the newest some two hundred samples count. After each sample
//! the weights are moved towards the best ones, one at a time from where they were, which suits features that rise and
//! fall together: there the one that comes first keeps what it has, and nothing swings. A feature that is always zero
//! has the weight zero.

/// Features at most; the last one is for a constant.
pub(crate) const MOST: usize = 7;

/// A value of each feature.
pub(crate) type Features = [f64; MOST];

/// What is left of a sample after the next one.
const KEPT: f64 = 0.995;
/// Rounds of moving every weight after each sample. From where they were a few bring them home.
const ROUNDS: u32 = 40;
/// Keeps the division finite and weights of features that say the same from growing against each other.
const RIDGE: f64 = 1e-9;

/// Sums, and the weights that fit them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Regression {
    products: [Features; MOST],
    with_figure: Features,
    weights: Features,
    samples: u32,
}

fn dot(a: &Features, b: &Features) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl Regression {
    /// What the weights so far say that the figure is.
    pub(crate) fn predict(&self, features: &Features) -> f64 {
        dot(&self.weights, features)
    }

    /// Learns one sample. What is not finite is no sample.
    pub(crate) fn learn(&mut self, features: &Features, figure: f64) {
        if !figure.is_finite() || features.iter().any(|value| !value.is_finite()) {
            return;
        }
        for ((row, with_figure), value) in self.products.iter_mut().zip(&mut self.with_figure).zip(features) {
            for (product, other) in row.iter_mut().zip(features) {
                *product = *product * KEPT + value * other;
            }
            *with_figure = *with_figure * KEPT + value * figure;
        }
        self.samples = self.samples.saturating_add(1);
        for _ in 0..ROUNDS {
            self.improve();
        }
    }

    /// Moves each weight to where it is best while the others stay.
    fn improve(&mut self) {
        for (place, (row, with_figure)) in self.products.iter().zip(&self.with_figure).enumerate() {
            let own = row.get(place).copied().unwrap_or(0.0);
            let others = dot(row, &self.weights);
            if let Some(weight) = self.weights.get_mut(place) {
                let best = (with_figure - (others - own * *weight)) / (own * (1.0 + RIDGE));
                *weight = if own > 0.0 { best.max(0.0) } else { 0.0 };
            }
        }
    }

    /// The weights.
    pub(crate) const fn weights(&self) -> &Features {
        &self.weights
    }

    /// Samples that it has seen.
    pub(crate) const fn samples(&self) -> u32 {
        self.samples
    }

    /// The sum of products of two features.
    pub(crate) fn product(&self, one: usize, other: usize) -> f64 {
        let row = self.products.get(one);
        row.and_then(|row| row.get(other)).copied().unwrap_or(0.0)
    }
}

/// How far predictions were off, newest first: relative, as root of mean squares.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Errors {
    squares: f64,
    figures: f64,
}

/// What is left of an error after the next one: the newest some thirty count.
const ERRORS_KEPT: f64 = 0.97;

impl Errors {
    /// Adds one prediction that was off by `error` of `figure`.
    pub(crate) fn add(&mut self, error: f64, figure: f64) {
        self.squares = self.squares * ERRORS_KEPT + error * error;
        self.figures = self.figures * ERRORS_KEPT + figure * figure;
    }

    /// The relative error; 0 where there was nothing to be wrong about.
    pub(crate) fn relative(&self) -> f64 {
        if self.figures > 0.0 {
            (self.squares / self.figures).sqrt()
        } else {
            0.0
        }
    }

    /// Whether `error` is five times what errors usually are, and more than a fifth of what the figure usually is.
    pub(crate) fn is_wild(&self, error: f64) -> bool {
        let count = 1.0 / (1.0 - ERRORS_KEPT);
        let usual = (self.squares / count).sqrt();
        let figure = (self.figures / count).sqrt();
        error.abs() > 5.0 * usual && error.abs() > 0.2 * figure
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn learned(samples: &[(Features, f64)]) -> Regression {
        let mut regression = Regression::default();
        samples
            .iter()
            .for_each(|(features, figure)| regression.learn(features, *figure));
        regression
    }

    fn features(values: &[f64]) -> Features {
        let mut all = Features::default();
        all.iter_mut().zip(values).for_each(|(to, from)| *to = *from);
        all
    }

    #[test]
    fn weights_are_found_and_none_is_negative() {
        // 3 x first + 0.5 x second, and the third does nothing; the fourth would be best at -1.
        let samples: Vec<_> = (0..400_u32)
            .map(|n| {
                let [a, b, c] = [n % 7, n % 5, n % 3].map(f64::from);
                (features(&[a, b, c, 0.0]), 3.0 * a + 0.5 * b)
            })
            .collect();
        let weights = *learned(&samples).weights();
        for (weight, expected) in weights.iter().zip([3.0, 0.5, 0.0, 0.0]) {
            assert!((weight - expected).abs() < 1e-3, "{weights:?}");
        }
        let falling: Vec<_> = (0..50_u32)
            .map(|n| (features(&[f64::from(n % 5), 1.0]), 10.0 - f64::from(n % 5)))
            .collect();
        let weights = *learned(&falling).weights();
        assert!(weights[0].abs() < 1e-9 && weights[1] > 7.0, "{weights:?}");
    }

    #[test]
    fn of_features_that_say_the_same_the_first_one_keeps_its_weight() {
        let same: Vec<_> = (1..300_u32)
            .map(|n| {
                (
                    features(&[f64::from(n % 9), 2.0 * f64::from(n % 9)]),
                    4.0 * f64::from(n % 9),
                )
            })
            .collect();
        let weights = *learned(&same).weights();
        assert!(
            (weights[0] - 4.0).abs() < 1e-2 && weights[1] < 1e-2,
            "{weights:?}"
        );
    }

    #[test]
    fn what_changes_is_learned_anew() {
        let phase = |weight: f64| {
            (1..2_000_u32).map(move |n| (features(&[f64::from(n % 9)]), weight * f64::from(n % 9)))
        };
        let samples: Vec<_> = phase(4.0).chain(phase(2.0)).collect();
        assert!((learned(&samples).weights()[0] - 2.0).abs() < 1e-2);
    }

    #[test]
    fn an_error_that_is_wild_is_far_off_what_errors_and_figures_are() {
        let mut errors = Errors::default();
        (0..200).for_each(|_| errors.add(1.0, 100.0));
        assert!((errors.relative() - 0.01).abs() < 1e-6);
        assert!(errors.is_wild(30.0) && errors.is_wild(-30.0));
        assert!(!errors.is_wild(15.0), "a fifth of the figure is nothing wild");
    }

    proptest! {
        #[test]
        fn whatever_is_learned_weights_are_finite_and_not_negative(
            samples in prop::collection::vec((prop::array::uniform7(prop_oneof![Just(0.0), 0.0..1e6_f64, Just(f64::NAN)]), -1e6..1e6_f64), 1..40)
        ) {
            let weights = *learned(&samples).weights();
            prop_assert!(weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0), "{weights:?}");
        }
    }
}
