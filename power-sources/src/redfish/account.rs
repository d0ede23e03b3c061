// SPDX-License-Identifier: Apache-2.0
//! What one chassis has used: owns the total that never falls, whatever its meter shows and however often that changes.

use super::SOURCE_COMPONENT;
use super::meter::{Figure, Kind, Meter};
use super::policy::Policy;
use crate::counter::{CounterTrack, Step};
use crate::integrate::{Integrator, Sampled};
use crate::moment::Moment;
use attribution::model::{ErrorReason, Microjoules, MonotonicNanos, Place, Provenance, Zone, ZoneReading};
use std::sync::Arc;

/// A counter that shows the same figure so many times in a row, while the machine that asks is running, stands still or moves
/// in steps too large for the polling interval.
const STANDS_STILL: u32 = 3;
/// So many answers in a row without a usable figure, and another resource is looked for.
const GIVES_NOTHING: u32 = 6;

/// Energy of one chassis since the source was opened.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) zone: Zone,
    /// What is counted now.
    meter: Meter,
    /// What earlier meters counted.
    before: Microjoules,
    counter: CounterTrack,
    integrator: Integrator,
    /// The counter's last figure.
    shown: Option<Microjoules>,
    /// The moment that the total is about.
    at: Option<MonotonicNanos>,
    /// The moment of the last usable answer. Later than `at` when a counter did not move.
    answered: Option<MonotonicNanos>,
    unmoved: u32,
    useless: u32,
}

impl Account {
    pub(super) fn new(id: &Arc<str>, meter: Meter, policy: &Policy) -> Self {
        Self {
            zone: Zone {
                component: SOURCE_COMPONENT,
                place: Place::Named(Arc::clone(id)),
            },
            meter,
            before: Microjoules::ZERO,
            counter: counter(policy),
            integrator: Integrator::new(policy.longest_gap()),
            shown: None,
            at: None,
            answered: None,
            unmoved: 0,
            useless: 0,
        }
    }

    pub(super) fn total(&self) -> Microjoules {
        self.before + self.counter.total() + self.integrator.total()
    }

    /// Counts by `meter` from now on. The same one goes on where it was; another one begins with a base of its own, so that
    /// nothing is paid by two of them.
    pub(super) fn use_meter(&mut self, meter: &Meter, policy: &Policy) {
        self.useless = 0;
        self.unmoved = 0;
        if self.meter == *meter {
            return;
        }
        self.before = self.total();
        self.counter = counter(policy);
        self.integrator = Integrator::new(policy.longest_gap());
        self.shown = None;
        self.meter = meter.clone();
    }

    /// Takes a figure that is about the moment `at`, and says what was wrong with the step to it.
    pub(super) fn take(&mut self, figure: Figure, when: Moment) -> Option<(ErrorReason, String)> {
        let at = when.at;
        self.useless = 0;
        self.answered = Some(at);
        match figure {
            Figure::Power(power) => {
                self.at = Some(at);
                match self.integrator.sample(at, power) {
                    Sampled::Baseline | Sampled::Counted => None,
                    Sampled::GapTooLong(gap) => Some((
                        ErrorReason::Timeout,
                        format!(
                            "no reading for {} s; the time between is not billed",
                            gap.as_secs()
                        ),
                    )),
                }
            }
            Figure::Energy(shown) if self.shown == Some(shown) => {
                // The energy of this time comes with the next step, so the total is still about the last one's moment.
                self.unmoved = self.unmoved.saturating_add(1);
                None
            }
            Figure::Energy(shown) => {
                self.unmoved = 0;
                self.shown = Some(shown);
                self.at = Some(at);
                let raw = shown.as_micro();
                let step: Step = self.counter.advance(raw, when);
                step.complaint(&self.meter.name, raw)
            }
        }
    }

    /// There was an answer, but no figure in it. Says whether another resource should be looked for.
    pub(super) fn useless_answer(&mut self) -> bool {
        self.useless = self.useless.saturating_add(1);
        self.useless.is_multiple_of(GIVES_NOTHING)
    }

    /// Whether the counter stands still.
    pub(super) fn stands_still(&self) -> bool {
        self.unmoved >= STANDS_STILL
    }

    /// The newest reading, and when the chassis last answered.
    pub(super) fn reading(&self) -> Option<(ZoneReading, MonotonicNanos)> {
        let reading = ZoneReading {
            zone: self.zone.clone(),
            total: self.total(),
            idle: None,
            provenance: match self.meter.kind {
                Kind::Energy(_) => Provenance::Counted,
                Kind::Power => Provenance::Integrated,
            },
            at: self.at?,
            device: None,
        };
        Some((reading, self.answered?))
    }
}

/// Redfish counters have no range that anybody tells, so nothing that goes back is a wrap.
fn counter(policy: &Policy) -> CounterTrack {
    CounterTrack::new(u64::MAX, policy.most)
}

#[cfg(test)]
mod tests {
    use super::super::figure::EnergyUnit;
    use super::super::meter::Extract;
    use super::super::tests::policy;
    use super::*;
    use attribution::model::Microwatts;

    fn meter(kind: Kind) -> Meter {
        Meter::single(kind, &Arc::from("/x"), Extract::At("/y"), "y")
    }

    fn account(kind: Kind) -> Account {
        Account::new(&Arc::from("1U"), meter(kind), &policy())
    }

    fn at(seconds: u64) -> MonotonicNanos {
        MonotonicNanos::from_nanos(seconds * 1_000_000_000)
    }

    const fn watts(watts: u64) -> Figure {
        Figure::Power(Microwatts::from_watts(watts))
    }

    const fn joules(joules: u64) -> Figure {
        Figure::Energy(Microjoules::from_micro(joules * 1_000_000))
    }

    const COUNTER: Kind = Kind::Energy(EnergyUnit::Joules);

    #[test]
    fn watts_are_integrated_over_the_time_between_two_answers() {
        let mut account = account(Kind::Power);
        assert_eq!(account.take(watts(100), at(5).into()), None);
        assert_eq!(account.take(watts(300), at(16).into()), None);
        // 200 W for 11 s, and not for the 10 s of the interval.
        assert_eq!(account.total(), Microjoules::from_micro(2_200_000_000));
        let (reading, answered) = account.reading().expect("a reading");
        assert_eq!(
            (reading.at, answered, reading.provenance),
            (at(16), at(16), Provenance::Integrated)
        );
    }

    #[test]
    fn a_gap_beyond_the_limit_is_told_and_not_billed() {
        let mut account = account(Kind::Power);
        account.take(watts(100), at(0).into());
        let (reason, words) = account.take(watts(100), at(61).into()).expect("told");
        assert_eq!(reason, ErrorReason::Timeout);
        assert!(words.contains("61 s"), "{words}");
        assert_eq!(account.total(), Microjoules::ZERO);
    }

    #[test]
    fn a_counter_is_counted_its_reset_is_dropped_and_its_gap_is_paid() {
        let mut account = account(COUNTER);
        account.take(joules(1_000), at(0).into());
        assert_eq!(account.take(joules(4_000), at(10).into()), None);
        assert_eq!(account.total(), Microjoules::from_micro(3_000_000_000));
        let (reason, _) = account.take(joules(10), at(20).into()).expect("a reset");
        assert_eq!(reason, ErrorReason::Reset);
        assert_eq!(account.take(joules(1_000_010), at(3_620).into()), None);
        assert_eq!(account.total(), Microjoules::from_micro(1_003_000_000_000));
        let (reason, _) = account
            .take(joules(90_000_000_000), at(3_630).into())
            .expect("absurd");
        assert_eq!(reason, ErrorReason::Implausible);
        assert_eq!(account.total(), Microjoules::from_micro(1_003_000_000_000));
    }

    #[test]
    fn a_counter_that_did_not_move_keeps_its_moment_and_its_step_is_paid_over_the_whole_time() {
        let mut account = account(COUNTER);
        account.take(joules(0), at(0).into());
        for second in [10, 20] {
            account.take(joules(0), at(second).into());
            assert!(!account.stands_still());
        }
        let (reading, answered) = account.reading().expect("a reading");
        assert_eq!((reading.at, answered), (at(0), at(20)));
        // 360 kJ, a step of 0.1 kWh: 12 kW over 30 s are believed, 36 kW over the last 10 s would not be.
        assert_eq!(account.take(joules(360_000), at(30).into()), None);
        assert_eq!(account.total(), Microjoules::from_micro(360_000_000_000));
        for second in [40, 50, 60] {
            account.take(joules(360_000), at(second).into());
        }
        assert!(account.stands_still());
    }

    #[test]
    fn another_meter_begins_with_a_base_of_its_own_and_takes_nothing_back() {
        let mut account = account(COUNTER);
        account.take(joules(0), at(0).into());
        account.take(joules(100), at(10).into());
        account.use_meter(&meter(Kind::Power), &policy());
        account.take(watts(10), at(20).into());
        account.take(watts(10), at(30).into());
        assert_eq!(account.total(), Microjoules::from_micro(200_000_000));
        account.use_meter(&meter(COUNTER), &policy());
        // Whatever it counted meanwhile was integrated already; nothing, here.
        account.take(joules(100), at(40).into());
        assert_eq!(account.total(), Microjoules::from_micro(200_000_000));
        account.take(joules(101), at(50).into());
        assert_eq!(account.total(), Microjoules::from_micro(201_000_000));
    }

    #[test]
    fn a_meter_that_is_found_again_goes_on_where_it_was() {
        let mut account = account(COUNTER);
        account.take(joules(0), at(0).into());
        account.use_meter(&meter(COUNTER), &policy());
        account.take(joules(100), at(10).into());
        assert_eq!(account.total(), Microjoules::from_micro(100_000_000));
    }
}
