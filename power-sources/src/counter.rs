// SPDX-License-Identifier: Apache-2.0
//! From a hardware counter to a total: owns the verdict whether a step was energy, a wrap or a reset.
//!
//! Pure: readings, moments and limits come in, a total that never falls comes out. Knows no file and no meter.
//!
//! | step                                    | within the limit | beyond the limit                    |
//! |-----------------------------------------|------------------|-------------------------------------|
//! | none or forward                         | paid             | refused as implausible, new base    |
//! | back                                    | a wrap: paid     | a reset: interval dropped, new base |
//! | back, to what fits into the time awake, | a reset          | a reset                             |
//! | and a wrap only with a night            |                  |                                     |
//! | any, after a time that allows two wraps | lower bound paid | -                                   |
//!
//! The limit is what the zone can have used at its highest plausible power in the elapsed time, plus a slack. A machine that
//! slept meanwhile may have gone on counting (suspend-to-idle), so the elapsed time is that of the night, too. Or its package was
//! off and counts from zero since it woke (suspend-to-RAM): after a night most steps back could be a wrap, and one that was none
//! would invent up to a whole turn. What ends no higher than the zone can have come from zero in the time awake is taken for
//! that; a real wrap ends so low once in a hundred, with the highest power eight times the usual one and a night of some hours.
//!
//! After a time long enough for a whole turn of the counter, nothing can be refused any more and the number
//! of turns is unknown; what the counter shows is the least that was used, so exactly that is paid, and the
//! step is told apart so that it is counted. (If the counter was also reset in that time, this least is wrong
//! by one turn at most; no reading could tell.)

use crate::moment::Moment;
use attribution::model::{ErrorReason, Microjoules, Microwatts};
use std::fmt::Display;
use std::time::Duration;

/// Slack in time. RAPL counters move about every millisecond with jitter (Hähnel et al., "Measuring Energy
/// Consumption for Short Code Paths Using RAPL", 2012), so a reading holds up to one update period more than
/// the elapsed time; a reader that is preempted between taking the time and reading adds a time slice. 20 ms
/// cover both.
const JITTER: Duration = Duration::from_millis(20);

/// Slack in energy: two units of the coarsest counter known, the platform domain of Sapphire Rapids with 1 J
/// (Linux, drivers/powercap/intel_rapl_common.c). A step is known to one unit at each end.
const QUANTA: Microjoules = Microjoules::from_micro(2_000_000);

/// What a reading meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The first reading: a base to count from.
    Base,
    /// Energy, possibly across the end of the range.
    Paid(Microjoules),
    /// Energy, and possibly whole turns of the counter that nobody saw.
    LowerBound(Microjoules),
    /// Went back by more than a wrap explains; the interval is dropped.
    Reset {
        /// The last reading before.
        from: u64,
        /// The reading after.
        to: u64,
    },
    /// Went forward by more than the zone can use; the interval is dropped.
    Implausible {
        /// The step.
        by: Microjoules,
        /// The most that would have been believed.
        limit: Microjoules,
    },
    /// No value of this counter at all; ignored, the base stays.
    OutOfRange,
}

impl Step {
    /// What there is to say about a step that was no plain energy: `counter` is where it was read, `raw` what was read.
    #[must_use]
    pub fn complaint(self, counter: &dyn Display, raw: u64) -> Option<(ErrorReason, String)> {
        match self {
            Self::Base | Self::Paid(_) => None,
            // The reader came too late to see the turns, so of all reasons this is one of time.
            Self::LowerBound(by) => Some((
                ErrorReason::Timeout,
                format!(
                    "{counter}: not read for so long that it may have wrapped unseen; at least {} uJ",
                    by.as_micro()
                ),
            )),
            Self::Reset { from, to } => Some((
                ErrorReason::Reset,
                format!("{counter}: went from {from} to {to} uJ, which is no wrap; the interval is dropped"),
            )),
            Self::Implausible { by, limit } => Some((
                ErrorReason::Implausible,
                format!(
                    "{counter}: rose by {} uJ where {} is the most; the interval is dropped",
                    by.as_micro(),
                    limit.as_micro()
                ),
            )),
            Self::OutOfRange => Some((
                ErrorReason::Implausible,
                format!("{counter}: {raw} uJ is beyond the counter's range"),
            )),
        }
    }
}

/// One counter since it was opened.
#[derive(Clone, Debug)]
pub struct CounterTrack {
    /// Distance between two zeros of the counter in microjoules.
    modulus: u64,
    max_power: Microwatts,
    last: Option<(u64, Moment)>,
    total: Microjoules,
}

impl CounterTrack {
    /// A counter that runs from 0 to `modulus - 1` microjoules, of a zone that uses `max_power` at most.
    #[must_use]
    pub const fn new(modulus: u64, max_power: Microwatts) -> Self {
        Self {
            modulus,
            max_power,
            last: None,
            total: Microjoules::ZERO,
        }
    }

    /// Energy since the first reading. Never falls.
    #[must_use]
    pub const fn total(&self) -> Microjoules {
        self.total
    }

    /// The counter was found again. The total stays; the last reading stays comparable only if the range is
    /// the same.
    pub fn found_again(&mut self, modulus: u64, max_power: Microwatts) {
        if self.modulus != modulus {
            self.last = None;
        }
        self.modulus = modulus;
        self.max_power = max_power;
    }

    /// Goes on from the last reading and the total of `before`, another track of the same counter, with the limit of this one. `false`
    /// where their ranges differ or nothing was read before: then nothing is taken over.
    pub fn follow(&mut self, before: Self) -> bool {
        let follows = self.modulus == before.modulus && before.last.is_some();
        if follows {
            (self.last, self.total) = (before.last, before.total);
        }
        follows
    }

    /// The most that is believed after `elapsed`.
    #[must_use]
    pub fn limit(&self, elapsed: Duration) -> Microjoules {
        self.max_power.energy_over(elapsed.saturating_add(JITTER)) + QUANTA
    }

    /// Takes the reading `raw` made at `now`.
    pub fn advance(&mut self, raw: u64, now: Moment) -> Step {
        if raw >= self.modulus {
            return Step::OutOfRange;
        }
        let Some((from, since)) = self.last else {
            self.last = Some((raw, now));
            return Step::Base;
        };
        let at = now.at.max(since.at);
        self.last = Some((raw, Moment { at, ..now }));
        let awake = now.at.since(since.at);
        let limit = self.limit(awake.saturating_add(now.slept_since(&since)));
        let forward = raw.checked_sub(from);
        // Both are below the modulus, so this is too.
        let distance = forward.unwrap_or_else(|| self.modulus.saturating_sub(from).saturating_add(raw));
        let by = Microjoules::from_micro(distance);
        let by_day = self.limit(awake);
        if forward.is_none() && by > by_day && Microjoules::from_micro(raw) <= by_day {
            return Step::Reset { from, to: raw };
        }
        if by > limit {
            return match forward {
                Some(_) => Step::Implausible { by, limit },
                None => Step::Reset { from, to: raw },
            };
        }
        self.total += by;
        if limit.as_micro() >= self.modulus {
            return Step::LowerBound(by);
        }
        Step::Paid(by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use attribution::model::MonotonicNanos;
    use proptest::prelude::*;

    /// An Intel package: 2^32 units of 2^-14 J, at most 1000 W.
    const RANGE: u64 = 262_143_328_911;

    fn track() -> CounterTrack {
        CounterTrack::new(RANGE, Microwatts::from_watts(1_000))
    }

    fn at(milliseconds: u64) -> Moment {
        MonotonicNanos::from_nanos(milliseconds * 1_000_000).into()
    }

    /// After so many seconds of sleep.
    fn rested(milliseconds: u64, seconds: u64) -> Moment {
        Moment {
            slept: (Duration::from_secs(seconds), Duration::from_secs(seconds)),
            ..at(milliseconds)
        }
    }

    /// A laptop's package: 15 W, so that eight times that are believed, and 2^32 units of 2^-14 J.
    fn laptop() -> CounterTrack {
        CounterTrack::new(RANGE, Microwatts::from_watts(120))
    }

    const fn joules(joules: u64) -> Microjoules {
        Microjoules::from_micro(joules * 1_000_000)
    }

    #[test]
    fn another_track_goes_on_from_the_last_reading_under_its_own_limit() {
        let mut before = track();
        assert!(!track().follow(before.clone()), "nothing was read");
        before.advance(5_000_000, at(0));
        before.advance(7_000_000, at(1_000));
        let mut after = CounterTrack::new(RANGE, Microwatts::from_watts(10));
        assert!(after.follow(before.clone()));
        assert_eq!(after.advance(10_000_000, at(2_000)), Step::Paid(joules(3)));
        assert_eq!(after.total(), joules(5));
        assert!(matches!(
            after.advance(90_000_000, at(3_000)),
            Step::Implausible { .. }
        ));
        let mut other = CounterTrack::new(1_000, Microwatts::from_watts(10));
        assert!(!other.follow(before) && other.total().is_zero());
    }

    #[test]
    fn readings_become_verdicts() {
        // 1000 W for 1 s, 20 ms of jitter and 2 J: 1022 J are believed.
        let limit = joules(1_022);
        let end = RANGE - 1;
        let cases: [(&str, u64, u64, Step); 8] = [
            ("forward", 5_000_000, 25_000_000, Step::Paid(joules(20))),
            ("equal", 5_000_000, 5_000_000, Step::Paid(Microjoules::ZERO)),
            ("the most believed", 0, 1_022_000_000, Step::Paid(limit)),
            (
                "one more",
                0,
                1_022_000_001,
                Step::Implausible {
                    by: Microjoules::from_micro(1_022_000_001),
                    limit,
                },
            ),
            ("wrap", end, 999_999, Step::Paid(joules(1))),
            ("wrap, the most believed", end, 1_021_999_999, Step::Paid(limit)),
            (
                "wrap, one more",
                end,
                1_022_000_000,
                Step::Reset {
                    from: end,
                    to: 1_022_000_000,
                },
            ),
            (
                "reset",
                100_000_000_000,
                3,
                Step::Reset {
                    from: 100_000_000_000,
                    to: 3,
                },
            ),
        ];
        for (name, from, to, expected) in cases {
            let mut track = track();
            assert_eq!(track.advance(from, at(10)), Step::Base, "{name}");
            assert_eq!(track.advance(to, at(1_010)), expected, "{name}");
            let paid = if let Step::Paid(by) = expected {
                by
            } else {
                Microjoules::ZERO
            };
            assert_eq!(track.total(), paid, "{name}");
            // Whatever it was, counting goes on from the new reading.
            let next = (to + 7) % RANGE;
            assert_eq!(
                track.advance(next, at(1_011)),
                Step::Paid(Microjoules::from_micro(7)),
                "{name}"
            );
        }
    }

    #[test]
    fn a_value_beyond_the_range_is_ignored_and_the_base_stays() {
        let mut track = track();
        track.advance(1_000_000, at(0));
        assert_eq!(track.advance(RANGE, at(500)), Step::OutOfRange);
        assert_eq!(track.advance(u64::MAX, at(600)), Step::OutOfRange);
        assert_eq!(track.advance(21_000_000, at(1_000)), Step::Paid(joules(20)));
    }

    #[test]
    fn a_gap_is_paid_when_the_zone_returns() {
        let mut track = track();
        track.advance(0, at(0));
        assert_eq!(
            track.advance(6_000_000_000, at(60_000)),
            Step::Paid(joules(6_000))
        );
    }

    #[test]
    fn a_gap_that_may_hide_a_whole_turn_pays_the_least_it_can_have_been() {
        let mut track = track();
        track.advance(5_000_000, at(0));
        // 262 kJ at 1 kW last 262 s.
        assert_eq!(
            track.advance(4_000_000, at(300_000)),
            Step::LowerBound(Microjoules::from_micro(RANGE - 1_000_000))
        );
    }

    #[test]
    fn two_readings_at_one_moment_or_in_the_wrong_order_are_bounded_by_the_slack() {
        let mut track = track();
        track.advance(0, at(1_000));
        assert_eq!(track.advance(22_000_000, at(1_000)), Step::Paid(joules(22)));
        assert!(matches!(
            track.advance(44_000_001, at(900)),
            Step::Implausible { .. }
        ));
        // The moment did not go back with the stamp: 100 ms later, not 200.
        assert!(matches!(
            track.advance(200_000_000, at(1_100)),
            Step::Implausible { .. }
        ));
    }

    #[test]
    fn another_range_begins_a_new_base_and_keeps_the_total() {
        let mut track = track();
        track.advance(0, at(0));
        track.advance(10_000_000, at(1_000));
        track.found_again(RANGE, Microwatts::from_watts(1_000));
        assert_eq!(track.advance(20_000_000, at(2_000)), Step::Paid(joules(10)));
        track.found_again(65_532_610_987, Microwatts::from_watts(1_000));
        assert_eq!(track.advance(60_000_000, at(3_000)), Step::Base);
        assert_eq!(track.total(), joules(20));
    }

    /// Half a watt for eight hours: 14.4 kJ, where 124 J are believed of the second awake.
    const NIGHT: u64 = 8 * 3_600;
    const BY_NIGHT: u64 = 14_400_000_000;

    #[test]
    fn a_night_is_paid_also_over_the_end_of_the_range() {
        // Twenty minutes are not long enough for a turn at 120 W; eight hours are, so there may have been more.
        for (from, slept, used, is_least) in [
            (5_000_000, 1_200, 600_000_000, false),
            (RANGE - 100_000_000, 1_200, 600_000_000, false),
            (5_000_000, NIGHT, BY_NIGHT, true),
            (RANGE - 1, NIGHT, BY_NIGHT, true),
        ] {
            let mut track = laptop();
            track.advance(from, rested(0, 7));
            let by = Microjoules::from_micro(used);
            let step = track.advance((from + used) % RANGE, rested(1_000, 7 + slept));
            let expected = if is_least {
                Step::LowerBound(by)
            } else {
                Step::Paid(by)
            };
            assert_eq!(step, expected, "{from} for {slept} s");
            // It was one night: the next second has nothing of it.
            let next = track.advance((from + used + 200_000_000) % RANGE, rested(2_000, 7 + slept));
            assert!(matches!(next, Step::Implausible { .. }), "{next:?}");
        }
    }

    #[test]
    fn more_than_day_and_night_allow_is_implausible() {
        // 120 W for 1 s and 9 s, 20 ms of jitter and 2 J: 1204.4 J.
        let limit = Microjoules::from_micro(1_204_400_000);
        for (by, expected) in [
            (0, Step::Paid(limit)),
            (
                1,
                Step::Implausible {
                    by: limit + Microjoules::from_micro(1),
                    limit,
                },
            ),
        ] {
            let mut track = laptop();
            track.advance(0, at(0));
            assert_eq!(track.advance(limit.as_micro() + by, rested(1_000, 9)), expected);
        }
    }

    #[test]
    fn a_counter_that_a_night_began_anew_is_no_wrap() {
        // It is at 30 J a second after the machine woke; a wrap would be 62 kJ, and eight hours allow that.
        let mut track = laptop();
        track.advance(200_000_000_000, at(0));
        let (from, to) = (200_000_000_000, 30_000_000);
        assert_eq!(track.advance(to, rested(1_000, NIGHT)), Step::Reset { from, to });
        assert!(track.total().is_zero());
        assert_eq!(
            track.advance(to + 5_000_000, rested(2_000, NIGHT)),
            Step::Paid(joules(5))
        );
        // So low from just below the end is a wrap by day, and by night it is the same one.
        let mut track = laptop();
        track.advance(RANGE - 10_000_000, at(0));
        assert_eq!(
            track.total() + joules(40),
            match track.advance(to, rested(1_000, NIGHT)) {
                Step::LowerBound(by) => by,
                step => panic!("{step:?}"),
            }
        );
    }

    #[test]
    fn a_night_while_the_counter_was_asked_is_allowed_for_on_both_sides() {
        let asleep = Moment {
            slept: (Duration::ZERO, Duration::from_secs(1_200)),
            ..at(1_000)
        };
        for answered_before in [false, true] {
            let mut track = laptop();
            track.advance(0, at(0));
            let night = [600_000_000, 0][usize::from(answered_before)];
            assert_eq!(
                track.advance(night, asleep),
                Step::Paid(Microjoules::from_micro(night))
            );
            assert_eq!(
                track.advance(600_000_000, rested(2_000, 1_200)),
                Step::Paid(Microjoules::from_micro(600_000_000 - night))
            );
        }
    }

    proptest! {
        #[test]
        fn any_sequence_of_plausible_steps_is_exact_over_wraps(
            modulus in 70_000_000_000_u64..300_000_000_000,
            start in any::<u64>(),
            steps in prop::collection::vec((1_u64..60_000, 0_u64..1_000), 1..200),
        ) {
            let mut track = CounterTrack::new(modulus, Microwatts::from_watts(1_000));
            let (mut truth, mut now) = (u128::from(start % modulus), 0);
            track.advance(start % modulus, at(now));
            let first = truth;
            for (milliseconds, watts) in steps {
                now += milliseconds;
                truth += u128::from(watts * milliseconds * 1_000);
                let shown = u64::try_from(truth % u128::from(modulus)).unwrap();
                prop_assert!(matches!(track.advance(shown, at(now)), Step::Paid(_)));
                prop_assert_eq!(u128::from(track.total().as_micro()), truth - first);
            }
        }

        #[test]
        fn arbitrary_readings_never_lower_the_total_nor_pay_more_than_is_plausible(
            modulus in any::<u64>(),
            readings in prop::collection::vec((any::<u64>(), any::<u32>(), any::<u16>()), 1..100),
        ) {
            let mut track = CounterTrack::new(modulus, Microwatts::from_watts(500));
            let mut before = Microjoules::ZERO;
            let mut last = None;
            let mut slept = 0;
            for (raw, milliseconds, night) in readings {
                slept += u64::from(night);
                let now = rested(u64::from(milliseconds), slept);
                let elapsed = last.map_or(Duration::ZERO, |last: Moment| {
                    now.at.since(last.at) + (now.slept.1 - last.slept.0)
                });
                let limit = track.limit(elapsed);
                let step = track.advance(raw, now);
                let paid = track.total().checked_sub(before);
                prop_assert!(paid.is_some_and(|paid| paid <= limit), "{step:?}");
                let expected = match step {
                    Step::Paid(by) | Step::LowerBound(by) => by,
                    _ => Microjoules::ZERO,
                };
                prop_assert_eq!(paid, Some(expected));
                before = track.total();
                if step != Step::OutOfRange {
                    let at = last.map_or(now.at, |last: Moment| last.at.max(now.at));
                    last = Some(Moment { at, ..now });
                }
            }
        }
    }
}
