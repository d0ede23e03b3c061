// SPDX-License-Identifier: Apache-2.0
//! The floor of a device, learned only while it rests: the median of its newest windows without use.
//!
//! It is kept apart from the envelope because a device has no curve worth following: it may run one job at full load for
//! days, and what its power would be without that job is no extrapolation but a guess. It is not saved either: what a
//! device draws at rest hangs on who holds a context on it (an H100 73 or 122 W), and that is different after a restart.

use super::BusyTime;
use crate::model::Microwatts;

/// A device that is busier than so many millionths does not rest. Drivers tell 1 % of a GPU where nothing runs.
const RESTS: u32 = 10_000;
/// Samples kept, newest win.
const KEPT: usize = 8;
/// Samples before there is a floor.
const BELIEVED: usize = 5;

/// The newest powers at rest.
#[derive(Debug, Default)]
pub(super) struct AtRest {
    samples: [u64; KEPT],
    seen: usize,
}

impl AtRest {
    pub(super) fn learn(&mut self, power: Microwatts, busy: BusyTime) {
        if busy.ppm().is_none_or(|busy| busy >= RESTS) {
            return;
        }
        if let Some(slot) = self.samples.get_mut(self.seen % KEPT) {
            *slot = power.as_micro();
            self.seen += 1;
        }
    }

    /// The lower median, once there are enough samples.
    pub(super) fn floor(&self) -> Option<Microwatts> {
        if self.seen < BELIEVED {
            return None;
        }
        let mut kept = self.samples;
        let kept = kept.get_mut(..self.seen.min(KEPT))?;
        kept.sort_unstable();
        kept.get((kept.len() - 1) / 2)
            .copied()
            .map(Microwatts::from_micro)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learn(floor: &mut AtRest, watts: u64, busy: u64) {
        let busy = BusyTime {
            busy,
            idle: 1_000 - busy,
            cpus: 1,
        };
        floor.learn(Microwatts::from_watts(watts), busy);
    }

    #[test]
    fn five_windows_at_rest_make_a_floor_and_work_none() {
        let mut floor = AtRest::default();
        (0..40).for_each(|_| learn(&mut floor, 700, 1_000));
        (0..4).for_each(|_| learn(&mut floor, 70, 9));
        learn(&mut floor, 200, 10);
        assert_eq!(floor.floor(), None);
        learn(&mut floor, 70, 0);
        assert_eq!(floor.floor(), Some(Microwatts::from_watts(70)));
    }

    #[test]
    fn it_follows_a_change_within_five_windows() {
        let mut floor = AtRest::default();
        (0..20).for_each(|_| learn(&mut floor, 73, 0));
        (0..4).for_each(|_| learn(&mut floor, 122, 0));
        assert_eq!(floor.floor(), Some(Microwatts::from_watts(73)));
        learn(&mut floor, 122, 0);
        assert_eq!(floor.floor(), Some(Microwatts::from_watts(122)));
    }
}
