// SPDX-License-Identifier: Apache-2.0
//! The idle floor: how much of a zone's energy would have been spent had nobody run.
//!
//! `measured` learns it as a lower envelope: power samples are kept by how busy the place was, twenty bins of five
//! percent, and the floor is the lowest bin's median. A median needs many low samples to move, so that one short or
//! torn interval poisons nothing; a node that was busy from its first second starts too high and comes down as soon as
//! it sees quieter windows. The floor never takes more than a window's own energy.
//!
//! A device (a GPU) is different: it may run one job at full load for days, and what it draws then is no floor. So it
//! is learned from only while it rests; until it was seen at rest the idle share of time decides. A device draws more at
//! rest while a process has a context on it (an H100 122 W instead of 73), and the floor follows within five windows:
//! what a context costs is idle, and not its owner's.

use crate::model::{Component, Microjoules, Microwatts};
use std::time::Duration;

/// How the idle part of a metered zone is found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FloorPolicy {
    /// Learned on this node (see the module's head). Until enough windows were seen, as `BusyRatio`.
    #[default]
    Measured,
    /// Energy times the share of time that the CPUs were idle: the rule of Kepler v0.11, for comparison. It shrinks
    /// to nothing under load, although the machine's static power does not.
    BusyRatio,
    /// Everything is dynamic.
    None,
    /// Fixed power for each zone of a component; components that are not listed have no floor.
    Fixed(Vec<(Component, Microwatts)>),
}

/// Time that the CPUs of a place ran tasks and did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BusyTime {
    pub(crate) busy: u64,
    pub(crate) idle: u64,
}

impl BusyTime {
    /// Busy time in thousandths of all; `None` where no time passed.
    pub(crate) fn permille(self) -> Option<u32> {
        let all = u128::from(self.busy) + u128::from(self.idle);
        let permille = (u128::from(self.busy) * 1_000).checked_div(all)?;
        u32::try_from(permille).ok()
    }
}

/// Learns and applies one zone's floor.
#[derive(Debug, Default)]
pub(crate) struct Floor {
    bins: [Bin; BINS],
    /// Learn only from a place at rest.
    rest_only: bool,
}

/// Bins of busy share.
const BINS: usize = 20;
/// A device that is busier than so many thousandths does not rest. Drivers tell 1 % of a GPU where nothing runs.
const RESTS: u32 = 10;
/// Samples kept per bin, newest win: enough for a median that three wild ones cannot move.
const KEPT: usize = 8;
/// Samples that a bin needs before it is believed.
const BELIEVED: usize = 5;
/// Shorter intervals are not learned from: a meter's own update period (1 ms for RAPL, Intel SDM vol. 3, 15.10) is
/// then no longer small beside the interval.
const SHORTEST: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, Default)]
struct Bin {
    samples: [u64; KEPT],
    seen: usize,
}

impl Bin {
    fn push(&mut self, power: Microwatts) {
        if let Some(slot) = self.samples.get_mut(self.seen % KEPT) {
            *slot = power.as_micro();
            self.seen += 1;
        }
    }

    /// The lower median, once there are enough samples.
    fn median(&self) -> Option<u64> {
        if self.seen < BELIEVED {
            return None;
        }
        let mut kept = self.samples;
        let kept = kept.get_mut(..self.seen.min(KEPT))?;
        kept.sort_unstable();
        kept.get((kept.len() - 1) / 2).copied()
    }
}

impl Floor {
    /// The floor of a device.
    pub(crate) fn of_a_device() -> Self {
        Self {
            rest_only: true,
            ..Self::default()
        }
    }

    /// Takes one interval's mean power into account.
    pub(crate) fn learn(&mut self, energy: Microjoules, elapsed: Duration, busy: BusyTime) {
        if elapsed < SHORTEST {
            return;
        }
        let Some(permille) = busy.permille().filter(|it| !self.rest_only || *it < RESTS) else {
            return;
        };
        let Ok(bin) = usize::try_from(permille) else {
            return;
        };
        if let Some(bin) = self.bins.get_mut((bin * BINS / 1_000).min(BINS - 1)) {
            bin.push(energy.mean_power(elapsed));
        }
    }

    /// The learned floor, once there is one.
    pub(crate) fn learned(&self) -> Option<Microwatts> {
        self.bins
            .iter()
            .filter_map(Bin::median)
            .min()
            .map(Microwatts::from_micro)
    }

    /// The floor in force for a component under `policy`.
    pub(crate) fn in_force(&self, policy: &FloorPolicy, component: Component) -> Option<Microwatts> {
        match policy {
            FloorPolicy::Measured => self.learned(),
            FloorPolicy::BusyRatio | FloorPolicy::None => None,
            FloorPolicy::Fixed(fixed) => Some(
                fixed
                    .iter()
                    .find(|(of, _)| *of == component)
                    .map_or(Microwatts::ZERO, |(_, power)| *power),
            ),
        }
    }

    /// The idle part of `energy`; never more than `energy`.
    pub(crate) fn idle_part(
        &self,
        policy: &FloorPolicy,
        component: Component,
        energy: Microjoules,
        elapsed: Duration,
        busy: BusyTime,
    ) -> Microjoules {
        match (policy, self.in_force(policy, component)) {
            (FloorPolicy::None, _) => Microjoules::ZERO,
            (_, Some(power)) => energy.min(power.energy_over(elapsed)),
            (_, None) => by_busy_ratio(energy, busy),
        }
    }
}

/// Energy times idle share; all of it where no time passed, because then nobody ran.
fn by_busy_ratio(energy: Microjoules, busy: BusyTime) -> Microjoules {
    let all = u128::from(busy.busy) + u128::from(busy.idle);
    let idle = (u128::from(energy.as_micro()) * u128::from(busy.idle)).checked_div(all);
    idle.and_then(|idle| u64::try_from(idle).ok())
        .map_or(energy, Microjoules::from_micro)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn busy(permille: u64) -> BusyTime {
        BusyTime {
            busy: permille,
            idle: 1_000 - permille,
        }
    }

    fn joules(joules: u64) -> Microjoules {
        Microjoules::from_micro(joules * 1_000_000)
    }

    fn idle(floor: &Floor, policy: &FloorPolicy, energy: u64, permille: u64) -> Microjoules {
        floor.idle_part(policy, Component::Package, joules(energy), SECOND, busy(permille))
    }

    #[test]
    fn the_floor_stays_the_floor_under_load() {
        let mut floor = Floor::default();
        for _ in 0..10 {
            floor.learn(joules(20), SECOND, busy(10));
        }
        for _ in 0..100 {
            floor.learn(joules(100), SECOND, busy(1_000));
        }
        assert_eq!(idle(&floor, &FloorPolicy::Measured, 100, 1_000), joules(20));
    }

    #[test]
    fn one_torn_interval_poisons_nothing() {
        let mut floor = Floor::default();
        for _ in 0..8 {
            floor.learn(joules(20), SECOND, busy(10));
        }
        floor.learn(joules(0), SECOND, busy(10));
        floor.learn(joules(0), Duration::from_millis(1), busy(10));
        assert_eq!(floor.learned(), Some(Microwatts::from_watts(20)));
    }

    #[test]
    fn a_node_that_was_busy_first_comes_down_later() {
        let mut floor = Floor::default();
        for _ in 0..5 {
            floor.learn(joules(90), SECOND, busy(950));
        }
        assert_eq!(floor.learned(), Some(Microwatts::from_watts(90)));
        for _ in 0..5 {
            floor.learn(joules(25), SECOND, busy(30));
        }
        assert_eq!(floor.learned(), Some(Microwatts::from_watts(25)));
    }

    #[test]
    fn idle_never_exceeds_the_energy_of_the_interval() {
        let fixed = FloorPolicy::Fixed(vec![(Component::Package, Microwatts::from_watts(50))]);
        assert_eq!(idle(&Floor::default(), &fixed, 30, 500), joules(30));
        assert_eq!(idle(&Floor::default(), &fixed, 80, 500), joules(50));
    }

    #[test]
    fn before_anything_is_learned_the_busy_share_decides() {
        assert_eq!(
            idle(&Floor::default(), &FloorPolicy::Measured, 100, 300),
            joules(70)
        );
        assert_eq!(
            idle(&Floor::default(), &FloorPolicy::BusyRatio, 100, 300),
            joules(70)
        );
        assert_eq!(idle(&Floor::default(), &FloorPolicy::None, 100, 300), joules(0));
    }

    #[test]
    fn a_component_that_is_not_listed_has_no_fixed_floor() {
        let fixed = FloorPolicy::Fixed(vec![(Component::Dram, Microwatts::from_watts(3))]);
        assert_eq!(idle(&Floor::default(), &fixed, 100, 300), joules(0));
    }
}
