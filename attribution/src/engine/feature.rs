// SPDX-License-Identifier: Apache-2.0
//! By what a zone is split: the feature that is right for its component where the machine counts it, else CPU time.
//!
//! A feature is chosen for each payment, out of everything that the payment is about: what is not counted, or was counted
//! as nothing although somebody ran, cannot split anything, and CPU time always can.

use super::accounts::AccountId;
use super::rise::Rise;
use crate::model::{Component, Event, EventSet, Feature};

/// Rules by which zones are split.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SplitRules {
    /// Split everything by CPU time alone, whatever the machine counts: for comparison.
    pub by_time_alone: bool,
}

impl SplitRules {
    /// The feature that is right for `component` on a machine that counts `counted`.
    pub(crate) fn feature(&self, component: Component, counted: EventSet) -> Feature {
        if self.by_time_alone {
            return Feature::CpuTime;
        }
        let wanted = match component {
            Component::Package | Component::Core => (Event::CpuCycles, Feature::CpuCycles),
            Component::Dram => (Event::CacheMisses, Feature::CacheMisses),
            Component::Uncore | Component::Gpu | Component::Other | Component::Platform => {
                return Feature::CpuTime;
            }
        };
        if counted.has(wanted.0) {
            wanted.1
        } else {
            Feature::CpuTime
        }
    }

    /// Writes who pays into `ids` and `weights`; returns the weight of `unknown` and the feature that it went by.
    pub(crate) fn weigh(
        &self,
        wanted: Feature,
        rises: impl Iterator<Item = (AccountId, Rise)> + Clone,
        unknown: &Rise,
        ids: &mut Vec<AccountId>,
        weights: &mut Vec<u64>,
    ) -> (u64, Feature) {
        ids.clear();
        weights.clear();
        for feature in [wanted, Feature::CpuTime] {
            ids.extend(rises.clone().map(|(id, _)| id));
            weights.extend(rises.clone().map(|(_, rise)| self.weight(feature, &rise)));
            let nobody = self.weight(feature, unknown);
            if nobody > 0 || weights.iter().any(|weight| *weight > 0) {
                return (nobody, feature);
            }
            ids.clear();
            weights.clear();
        }
        (0, Feature::CpuTime)
    }

    /// What one rise weighs by `feature`.
    #[expect(clippy::unused_self, reason = "weights will be set by the rules")]
    fn weight(&self, feature: Feature, rise: &Rise) -> u64 {
        match feature {
            Feature::CpuTime | Feature::DeviceTime => rise.time,
            Feature::CpuCycles => rise.cycles,
            Feature::CacheMisses => rise.misses,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_goes_by_cycles_and_memory_by_misses_where_they_are_counted() {
        let all = EventSet::NONE.with(Event::CpuCycles).with(Event::CacheMisses);
        let rules = SplitRules::default();
        let expected = [
            (Component::Package, Feature::CpuCycles),
            (Component::Core, Feature::CpuCycles),
            (Component::Uncore, Feature::CpuTime),
            (Component::Dram, Feature::CacheMisses),
            (Component::Platform, Feature::CpuTime),
        ];
        for (component, feature) in expected {
            assert_eq!(rules.feature(component, all), feature, "{component:?}");
            assert_eq!(rules.feature(component, EventSet::NONE), Feature::CpuTime);
        }
        let alone = SplitRules { by_time_alone: true };
        assert_eq!(alone.feature(Component::Dram, all), Feature::CpuTime);
    }
}
