// SPDX-License-Identifier: Apache-2.0
//! One figure over time, and whether it grows.

use std::time::Duration;

/// Samples in the order of their moments.
#[derive(Default)]
pub(crate) struct Series(Vec<(f64, u64)>);

/// What is told of it.
#[derive(Debug, PartialEq)]
pub(crate) struct Told {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) most: u64,
    /// By least squares.
    pub(crate) slope_per_hour: f64,
}

impl Series {
    pub(crate) fn push(&mut self, at: Duration, value: u64) {
        self.0.push((at.as_secs_f64(), value));
    }

    /// The newest value up to each tenth of `length`: whether a growth ends can be seen here.
    pub(crate) fn tenths(&self, length: Duration) -> Vec<u64> {
        let until = |tenth: u32| f64::from(tenth) / 10.0 * length.as_secs_f64();
        let newest = |tenth: u32| {
            let before = self.0.iter().take_while(|(at, _)| *at <= until(tenth));
            before.last().map_or(0, |(_, value)| *value)
        };
        (1..=10).map(newest).collect()
    }

    /// Of the samples from `settled` on; `None` where there are fewer than two.
    pub(crate) fn told(&self, settled: Duration) -> Option<Told> {
        let tail: Vec<(f64, u64)> = self
            .0
            .iter()
            .copied()
            .filter(|(at, _)| *at >= settled.as_secs_f64())
            .collect();
        let ((_, first), (_, last)) = (*tail.first()?, *tail.last()?);
        let count = f64::from(u32::try_from(tail.len()).ok().filter(|count| *count > 1)?);
        let mean = |of: &dyn Fn(&(f64, u64)) -> f64| tail.iter().map(of).sum::<f64>() / count;
        let value = |value: u64| f64::from(u32::try_from(value).unwrap_or(u32::MAX));
        let (middle, height) = (mean(&|(at, _)| *at), mean(&|(_, of)| value(*of)));
        let spread: f64 = tail.iter().map(|(at, _)| (at - middle).powi(2)).sum();
        let along: f64 = tail
            .iter()
            .map(|(at, of)| (at - middle) * (value(*of) - height))
            .sum();
        Some(Told {
            first,
            last,
            most: tail.iter().map(|(_, of)| *of).max()?,
            slope_per_hour: along / spread * 3_600.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_ends_with_its_newest_sample() {
        let mut series = Series::default();
        for second in 0..=100 {
            series.push(Duration::from_secs(second), second);
        }
        assert_eq!(
            series.tenths(Duration::from_secs(100)),
            [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
        );
    }

    #[test]
    fn a_slope_is_of_the_settled_part_alone() {
        let mut series = Series::default();
        for second in 0..100 {
            let value = if second < 50 { second * 1_000 } else { 7 + second };
            series.push(Duration::from_secs(second), value);
        }
        let told = series.told(Duration::from_secs(50)).expect("samples");
        assert_eq!((told.first, told.last, told.most), (57, 106, 106));
        assert!((told.slope_per_hour - 3_600.0).abs() < 0.001, "{told:?}");
        assert_eq!(series.told(Duration::from_secs(99)), None);
    }
}
