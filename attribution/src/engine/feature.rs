// SPDX-License-Identifier: Apache-2.0
//! By what a zone is split: the feature that is right for its component where the machine counts it, else CPU time.
//!
//! A feature is chosen for each payment, out of everything that the payment is about: what is not counted, or was counted
//! as nothing although somebody ran, cannot split anything, and CPU time always can.
//!
//! Time beside a busy sibling costs less than time alone on a core ([`Smt`]). Who ran and has no cycles (softirqs, whose
//! cycles stay with whom they interrupted; rows that a probe had to fold) is taken to have had as many in the time as the
//! others had. No cache miss is a count like any other.

use super::accounts::AccountId;
use super::rise::Rise;
use crate::model::{Component, Event, EventSet, Feature, Permille};

/// Rules by which zones are split.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SplitRules {
    /// Split everything by CPU time alone, whatever the machine counts, the overlap of hardware threads included: for
    /// comparison.
    pub by_time_alone: bool,
    /// What time beside a busy sibling weighs.
    pub smt: SmtRule,
    /// Weigh several features at once, as this node's own meters say. Where that is not better, the plain feature.
    pub learned: bool,
    /// Who pays for what the platform uses beside package, memory and accelerators.
    pub other: OtherRule,
}

/// Who pays the dynamic part of what the platform uses beside package, memory and accelerators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OtherRule {
    /// In proportion to the dynamic energy that each was charged for package, memory and accelerators since the last
    /// reading: losses of power supplies and regulators, and fans, follow the power that is drawn, whoever draws it.
    #[default]
    Energy,
    /// In proportion to CPU time.
    CpuTime,
    /// Nobody: it stays on the node as unattributed.
    Node,
}

/// What time on a hardware thread whose sibling is busy weighs beside time alone on a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmtRule {
    /// So many thousandths, 500 (two busy siblings cost as much as one) to 1,000 (as much as two cores).
    Fixed(Permille),
    /// As this node's own meters and counters say; until they do, [`SmtRule::USUAL`].
    Learned,
}

impl SmtRule {
    /// Two busy siblings cost 15 % more than one: METRION, arXiv 2512.06806. (HaPPy, USENIX ATC 2014, measured 10 %.)
    pub const USUAL: Permille = Permille(575);
}

impl Default for SmtRule {
    fn default() -> Self {
        Self::Fixed(Self::USUAL)
    }
}

/// The weight of overlapped time in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Smt(pub(crate) Permille);

impl Smt {
    /// All time weighs the same.
    pub(crate) const PLAIN: Self = Self(Permille(1_000));

    /// CPU time as if all of it had been alone on its core.
    pub(crate) fn time(self, rise: &Rise) -> u64 {
        let less = u64::from(1_000_u32.saturating_sub(self.0.0)); // of a thousand
        let overlap = rise.overlap.min(rise.time);
        // In two parts, so that no product is too large. Less than a nanosecond is lost.
        let saved = overlap / 1_000 * less + overlap % 1_000 * less / 1_000;
        rise.time.saturating_sub(saved)
    }

    /// Cycles, weighed like the time in which they were counted; `time` is that time as it weighs.
    pub(crate) fn cycles(self, rise: &Rise, time: u64) -> u64 {
        if time == rise.time {
            return rise.cycles;
        }
        scale(rise.cycles, time, rise.time)
    }
}

/// `value` x `part` / `whole`, where `part` is at most `whole` and `whole` not 0.
fn scale(value: u64, part: u64, whole: u64) -> u64 {
    match value.checked_mul(part) {
        Some(product) => product / whole,
        // What is scaled down fits.
        None => u64::try_from(u128::from(value) * u128::from(part) / u128::from(whole)).unwrap_or(value),
    }
}

/// Cycles and time of those whose cycles were counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counted {
    cycles: u128,
    time: u128,
}

impl Counted {
    /// Takes one more into account, if cycles of it were counted.
    pub(crate) fn add(&mut self, rise: &Rise) {
        if rise.cycles > 0 && rise.time > 0 {
            self.cycles += u128::from(rise.cycles);
            self.time += u128::from(rise.time);
        }
    }

    /// Cycles per time.
    pub(crate) fn pace(self) -> Pace {
        // Sums of 64-bit numbers stay far below 2^108.
        Pace((self.cycles << 20).checked_div(self.time).unwrap_or(0))
    }
}

/// Cycles per time, as a fraction with 2^20 below.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace(u128);

impl Pace {
    /// Of those who pay for a zone.
    pub(crate) fn of(rises: impl Iterator<Item = Rise>) -> Self {
        let mut counted = Counted::default();
        rises.for_each(|rise| counted.add(&rise));
        counted.pace()
    }

    /// As many cycles as they had in so much time.
    pub(crate) fn cycles_in(self, time: u64) -> u64 {
        u64::try_from(self.0.saturating_mul(u128::from(time)) >> 20).unwrap_or(u64::MAX)
    }
}

impl SplitRules {
    /// The feature that is right for `component` on a machine that counts `counted`.
    pub(crate) fn feature(&self, component: Component, counted: EventSet) -> Feature {
        let stays = component == Component::Other && self.other == OtherRule::Node;
        if self.by_time_alone && !stays {
            return Feature::CpuTime;
        }
        let wanted = match component {
            Component::Package | Component::Core => (Event::CpuCycles, Feature::CpuCycles),
            Component::Dram => (Event::CacheMisses, Feature::CacheMisses),
            Component::Uncore | Component::Gpu => return Feature::CpuTime,
            Component::Other => {
                return match self.other {
                    OtherRule::Energy => Feature::Energy,
                    OtherRule::CpuTime => Feature::CpuTime,
                    OtherRule::Node => Feature::Nothing,
                };
            }
            // Energy that a GPU drew must not be spread over those who used the CPU.
            Component::Platform => return Feature::Energy,
        };
        if counted.has(wanted.0) {
            wanted.1
        } else {
            Feature::CpuTime
        }
    }

    /// What overlapped time weighs by these rules; `learned` is what this node says, if it does.
    pub(crate) fn smt(&self, learned: Option<Permille>) -> Smt {
        match self.smt {
            _ if self.by_time_alone => Smt::PLAIN,
            SmtRule::Fixed(weight) => Smt(weight),
            SmtRule::Learned => Smt(learned.unwrap_or(SmtRule::USUAL)),
        }
    }
}

/// All that says by what zones are split in a window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weighing<'a> {
    pub(crate) rules: &'a SplitRules,
    pub(crate) counted: EventSet,
    pub(crate) smt: Smt,
}

impl Weighing<'_> {
    /// Whether weights are learned.
    pub(crate) const fn learns(&self) -> bool {
        self.rules.learned && !self.rules.by_time_alone
    }

    /// Whether the weight of overlapped time is, and there is any such time.
    pub(crate) fn learns_smt(&self) -> bool {
        self.rules.smt == SmtRule::Learned && !self.rules.by_time_alone && self.counted.has(Event::SmtOverlap)
    }
}

/// Writes who pays into `ids` and `weights`; returns the weight of `unknown` and the feature that it went by.
pub(crate) fn weigh(
    wanted: Feature,
    smt: Smt,
    rises: impl Iterator<Item = (AccountId, Rise)> + Clone,
    unknown: &Rise,
    ids: &mut Vec<AccountId>,
    weights: &mut Vec<u64>,
) -> (u64, Feature) {
    ids.clear();
    if wanted == Feature::Nothing {
        weights.clear();
        return (0, wanted);
    }
    ids.extend(rises.clone().map(|(id, _)| id));
    for feature in [wanted, Feature::CpuTime] {
        let pace = match feature {
            Feature::CpuCycles => Pace::of(rises.clone().map(|(_, rise)| rise).chain([*unknown])),
            _ => Pace::default(),
        };
        weights.clear();
        weights.extend(rises.clone().map(|(_, rise)| weight(feature, smt, pace, &rise)));
        let nobody = weight(feature, smt, pace, unknown);
        if nobody > 0 || weights.iter().any(|weight| *weight > 0) {
            return (nobody, feature);
        }
    }
    ids.clear();
    weights.clear();
    (0, Feature::CpuTime)
}

/// What one rise weighs by `feature`.
pub(crate) fn weight(feature: Feature, smt: Smt, pace: Pace, rise: &Rise) -> u64 {
    match feature {
        Feature::CpuTime | Feature::DeviceTime => smt.time(rise),
        Feature::Energy => rise.charged,
        Feature::Nothing | Feature::Learned => 0,
        Feature::CpuCycles if rise.cycles == 0 => pace.cycles_in(smt.time(rise)),
        Feature::CpuCycles => smt.cycles(rise, smt.time(rise)),
        Feature::CacheMisses => rise.misses,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn package_goes_by_cycles_and_memory_by_misses_where_they_are_counted() {
        let all = EventSet::NONE.with(Event::CpuCycles).with(Event::CacheMisses);
        let rules = SplitRules::default();
        let expected = [
            (Component::Package, Feature::CpuCycles),
            (Component::Core, Feature::CpuCycles),
            (Component::Uncore, Feature::CpuTime),
            (Component::Dram, Feature::CacheMisses),
        ];
        for (component, feature) in expected {
            assert_eq!(rules.feature(component, all), feature, "{component:?}");
            assert_eq!(rules.feature(component, EventSet::NONE), Feature::CpuTime);
        }
        assert_eq!(rules.feature(Component::Platform, all), Feature::Energy);
        let alone = SplitRules {
            by_time_alone: true,
            ..rules
        };
        assert_eq!(alone.feature(Component::Dram, all), Feature::CpuTime);
        assert_eq!(alone.feature(Component::Platform, all), Feature::CpuTime);
        assert_eq!(alone.smt(Some(Permille(600))), Smt::PLAIN);
    }

    #[test]
    fn what_the_platform_uses_beside_goes_by_its_own_rule() {
        for (other, feature) in [
            (OtherRule::Energy, Feature::Energy),
            (OtherRule::CpuTime, Feature::CpuTime),
            (OtherRule::Node, Feature::Nothing),
        ] {
            let rules = SplitRules {
                other,
                ..SplitRules::default()
            };
            assert_eq!(rules.feature(Component::Other, EventSet::NONE), feature);
        }
    }

    #[test]
    fn the_weight_of_overlap_is_the_one_given_or_learned_or_the_usual() {
        let smt = |smt, learned| {
            SplitRules {
                smt,
                ..SplitRules::default()
            }
            .smt(learned)
            .0
            .0
        };
        assert_eq!(smt(SmtRule::default(), Some(Permille(700))), 575);
        assert_eq!(smt(SmtRule::Fixed(Permille(900)), None), 900);
        assert_eq!(smt(SmtRule::Learned, None), 575);
        assert_eq!(smt(SmtRule::Learned, Some(Permille(700))), 700);
    }

    #[test]
    fn overlapped_time_and_its_cycles_weigh_less_and_lone_time_all_of_it() {
        let rise = |time, overlap, cycles| Rise {
            time,
            overlap,
            cycles,
            ..Rise::default()
        };
        let smt = Smt(Permille(575));
        // time, overlap, cycles -> weighed time, weighed cycles
        let expected = [
            ((1_000, 0, 3_000), (1_000, 3_000)),
            ((1_000, 1_000, 3_000), (575, 1_725)),
            ((1_000, 500, 3_000), (788, 2_364)),
            ((1_000, 9_999, 3_000), (575, 1_725)),
            ((0, 9_999, 3_000), (0, 3_000)),
            (
                (u64::MAX, u64::MAX, u64::MAX),
                (10_606_877_842_382_992_179, 10_606_877_842_382_992_179),
            ),
        ];
        for ((time, overlap, cycles), weighed) in expected {
            let rise = rise(time, overlap, cycles);
            assert_eq!(
                (smt.time(&rise), smt.cycles(&rise, smt.time(&rise))),
                weighed,
                "{rise:?}"
            );
            assert_eq!(
                (Smt::PLAIN.time(&rise), Smt::PLAIN.cycles(&rise, time)),
                (time, cycles)
            );
        }
    }

    fn weights(wanted: Feature, rises: &[Rise]) -> (Vec<u64>, Feature) {
        let (mut ids, mut weights) = (Vec::new(), Vec::new());
        let rises = rises.iter().map(|rise| (AccountId::default(), *rise));
        let (nobody, feature) = weigh(
            wanted,
            Smt(Permille(500)),
            rises,
            &Rise::default(),
            &mut ids,
            &mut weights,
        );
        assert_eq!((nobody, ids.len()), (0, weights.len()));
        (weights, feature)
    }

    #[test]
    fn who_ran_without_cycles_is_taken_to_have_had_as_many_in_the_time_as_the_others() {
        let rises = [
            Rise {
                time: 100,
                cycles: 400,
                ..Rise::default()
            },
            Rise {
                time: 300,
                cycles: 800,
                ..Rise::default()
            },
            Rise {
                time: 50,
                ..Rise::default()
            },
            Rise {
                time: 50,
                overlap: 50,
                ..Rise::default()
            },
            Rise {
                misses: 9,
                ..Rise::default()
            },
        ];
        assert_eq!(
            weights(Feature::CpuCycles, &rises),
            (vec![400, 800, 150, 75, 0], Feature::CpuCycles)
        );
        assert_eq!(
            weights(Feature::CacheMisses, &rises),
            (vec![0, 0, 0, 0, 9], Feature::CacheMisses)
        );
        assert_eq!(
            weights(Feature::CpuCycles, &rises[2..]),
            (vec![50, 25, 0], Feature::CpuTime)
        );
        assert_eq!(weights(Feature::CacheMisses, &[]), (vec![], Feature::CpuTime));
    }

    proptest! {
        #[test]
        fn weighed_time_is_between_all_of_it_and_its_share(time in any::<u64>(), overlap in any::<u64>(), weight in 500..=1_000_u32) {
            let rise = Rise { time, overlap, ..Rise::default() };
            let weighed = Smt(Permille(weight)).time(&rise);
            prop_assert!(weighed <= time);
            prop_assert!(u128::from(weighed) * 1_000 >= u128::from(time) * u128::from(weight));
        }
    }
}
