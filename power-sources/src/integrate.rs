// SPDX-License-Identifier: Apache-2.0
//! From watts to microjoules: owns the remainder that integers would lose, and refuses to guess a period.
//!
//! Three ways in. [`Integrator::add`] takes a mean power and the time it is the mean of, which is exact.
//! [`Integrator::sample_mean`] takes what a meter says that averages over some time of its own: of the time since
//! the last sample, as much as the mean is about is billed by it, and only the rest is joined by a line.
//! [`Integrator::sample`] takes instantaneous power and joins two samples by a straight line (trapezoid):
//! against holding the older sample that halves the error on a ramp and does not lag, and it bills a gap by
//! what is known about both of its ends instead of holding a value for ever. A gap longer than the limit is
//! not billed at all: a straight line over hours is no measurement.

use attribution::model::{Microjoules, Microwatts, MonotonicNanos};
use std::time::Duration;

/// Nanoseconds in a second, and twice that: the divisors from µW·ns to µJ.
const NANOS: u128 = 1_000_000_000;
const TWICE_NANOS: u128 = 2 * NANOS;

/// What a sample did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampled {
    /// The first one, or one that is not later than its predecessor: nothing to integrate.
    Baseline,
    /// The time since the last sample was billed.
    Counted,
    /// The gap was longer than the limit: not billed.
    GapTooLong(Duration),
}

/// Energy so far. Never falls, and is exact: what is below a microjoule is carried on.
#[derive(Clone, Debug)]
pub struct Integrator {
    total: Microjoules,
    /// µW·ns times two, below [`TWICE_NANOS`].
    remainder: u128,
    last: Option<(MonotonicNanos, Microwatts)>,
    longest_gap: Duration,
}

impl Integrator {
    /// Begins at zero. `longest_gap` bounds [`Self::sample`] only.
    #[must_use]
    pub const fn new(longest_gap: Duration) -> Self {
        Self {
            total: Microjoules::ZERO,
            remainder: 0,
            last: None,
            longest_gap,
        }
    }

    /// Energy so far, rounded down.
    #[must_use]
    pub const fn total(&self) -> Microjoules {
        self.total
    }

    /// Bills `elapsed` at a mean power of `mean`.
    pub fn add(&mut self, mean: Microwatts, elapsed: Duration) {
        self.bill(2 * u128::from(mean.as_micro()), elapsed);
    }

    /// Takes the power measured at `at`.
    pub fn sample(&mut self, at: MonotonicNanos, power: Microwatts) -> Sampled {
        self.sample_mean(at, power, Duration::ZERO)
    }

    /// Takes a mean power over the time `covers` that ended at `at`. The limit on gaps is about the time that no mean
    /// covers; when that is not billed, what the mean covers is.
    pub fn sample_mean(&mut self, at: MonotonicNanos, power: Microwatts, covers: Duration) -> Sampled {
        let Some((since, before)) = self.last else {
            self.last = Some((at, power));
            return Sampled::Baseline;
        };
        if at <= since {
            return Sampled::Baseline;
        }
        self.last = Some((at, power));
        let elapsed = at.since(since);
        let covered = elapsed.min(covers);
        self.add(power, covered);
        let rest = elapsed.saturating_sub(covered);
        if rest > self.longest_gap {
            return Sampled::GapTooLong(rest);
        }
        self.bill(u128::from(before.as_micro()) + u128::from(power.as_micro()), rest);
        Sampled::Counted
    }

    /// Forgets the last sample: what was used until the next one is unknown and is not billed.
    pub fn interrupt(&mut self) {
        self.last = None;
    }

    fn bill(&mut self, twice_microwatts: u128, elapsed: Duration) {
        // 2^65 x 2^94 does not fit 128 bits; neither occurs (36 TW, 10^12 years), and a total that stops is
        // the rule.
        let amount = twice_microwatts
            .saturating_mul(elapsed.as_nanos())
            .saturating_add(self.remainder);
        self.remainder = amount % TWICE_NANOS;
        let whole = u64::try_from(amount / TWICE_NANOS).unwrap_or(u64::MAX);
        self.total += Microjoules::from_micro(whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn at(nanos: u64) -> MonotonicNanos {
        MonotonicNanos::from_nanos(nanos)
    }

    #[test]
    fn a_ramp_is_billed_by_its_mean() {
        // 10 W at 0 s, 30 W at 2 s: 40 J.
        let mut integrator = Integrator::new(HOUR);
        assert_eq!(
            integrator.sample(at(0), Microwatts::from_watts(10)),
            Sampled::Baseline
        );
        let later = integrator.sample(at(2_000_000_000), Microwatts::from_watts(30));
        assert_eq!(later, Sampled::Counted);
        assert_eq!(integrator.total(), Microjoules::from_micro(40_000_000));
    }

    #[test]
    fn a_gap_beyond_the_limit_is_told_and_not_billed() {
        let mut integrator = Integrator::new(Duration::from_secs(60));
        integrator.sample(at(0), Microwatts::from_watts(10));
        let gap = Duration::from_secs(61);
        assert_eq!(
            integrator.sample(at(61_000_000_000), Microwatts::from_watts(10)),
            Sampled::GapTooLong(gap)
        );
        assert_eq!(integrator.total(), Microjoules::ZERO);
        // Billing goes on from the end of the gap.
        integrator.sample(at(62_000_000_000), Microwatts::from_watts(10));
        assert_eq!(integrator.total(), Microjoules::from_micro(10_000_000));
    }

    #[test]
    fn a_mean_is_billed_for_the_time_it_is_about_and_a_line_for_the_rest() {
        let second = 1_000_000_000;
        //  s   mean over 2 s   billed
        //  0   10 W            -
        //  2   30 W            2 s x 30 W
        //  5   60 W            2 s x 60 W, 1 s x 45 W
        //  6   20 W            1 s x 20 W
        let mut integrator = Integrator::new(HOUR);
        let covers = Duration::from_secs(2);
        for (seconds, watts, joules) in [(0, 10, 0), (2, 30, 60), (5, 60, 225), (6, 20, 245)] {
            integrator.sample_mean(at(seconds * second), Microwatts::from_watts(watts), covers);
            assert_eq!(
                integrator.total(),
                Microjoules::from_micro(joules * 1_000_000),
                "at {seconds} s"
            );
        }
    }

    #[test]
    fn of_a_gap_beyond_the_limit_only_what_the_mean_covers_is_billed() {
        let mut integrator = Integrator::new(Duration::from_secs(60));
        let covers = Duration::from_secs(10);
        integrator.sample_mean(at(0), Microwatts::from_watts(10), covers);
        let sampled = integrator.sample_mean(at(71_000_000_000), Microwatts::from_watts(10), covers);
        assert_eq!(sampled, Sampled::GapTooLong(Duration::from_secs(61)));
        assert_eq!(integrator.total(), Microjoules::from_micro(100_000_000));
    }

    #[test]
    fn after_an_interruption_the_next_sample_is_the_first() {
        let mut integrator = Integrator::new(HOUR);
        integrator.sample(at(0), Microwatts::from_watts(10));
        integrator.interrupt();
        assert_eq!(
            integrator.sample(at(5_000_000_000), Microwatts::from_watts(10)),
            Sampled::Baseline
        );
        integrator.sample(at(6_000_000_000), Microwatts::from_watts(10));
        assert_eq!(integrator.total(), Microjoules::from_micro(10_000_000));
    }

    #[test]
    fn time_that_stands_still_or_goes_back_bills_nothing() {
        let mut integrator = Integrator::new(HOUR);
        integrator.sample(at(5), Microwatts::from_watts(10));
        assert_eq!(
            integrator.sample(at(5), Microwatts::from_watts(99)),
            Sampled::Baseline
        );
        assert_eq!(
            integrator.sample(at(4), Microwatts::from_watts(99)),
            Sampled::Baseline
        );
        assert_eq!(integrator.total(), Microjoules::ZERO);
    }

    proptest! {
        #[test]
        fn no_microjoule_is_lost_however_finely_time_is_cut(
            microwatts in 0_u64..1_000_000_000_000,
            cuts in prop::collection::vec(0_u64..10_000_000_000, 1..50),
        ) {
            let mut integrator = Integrator::new(HOUR);
            for nanos in &cuts {
                integrator.add(Microwatts::from_micro(microwatts), Duration::from_nanos(*nanos));
            }
            let whole = Duration::from_nanos(cuts.iter().sum());
            prop_assert_eq!(integrator.total(), Microwatts::from_micro(microwatts).energy_over(whole));
        }

        #[test]
        fn the_total_never_falls_and_stays_between_lowest_and_highest_power(
            samples in prop::collection::vec((any::<u32>(), 1_u64..5_000_000_000), 2..50),
        ) {
            let mut integrator = Integrator::new(HOUR);
            let (mut now, mut before) = (0, Microjoules::ZERO);
            for (power, step) in &samples {
                now += step;
                integrator.sample(at(now), Microwatts::from_micro(u64::from(*power)));
                prop_assert!(integrator.total() >= before);
                before = integrator.total();
            }
            let elapsed = Duration::from_nanos(now - samples[0].1);
            let powers = || samples.iter().map(|(power, _)| Microwatts::from_micro(u64::from(*power)));
            prop_assert!(integrator.total() <= powers().max().unwrap().energy_over(elapsed));
            prop_assert!(integrator.total() >= powers().min().unwrap().energy_over(elapsed));
        }
    }
}
