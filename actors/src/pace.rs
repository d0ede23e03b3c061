// SPDX-License-Identifier: Apache-2.0
//! How often readers are shown a snapshot: `security.min_export_interval`. Pure: what the snapshots say of time is all there is.
//!
//! Whoever reads energy often enough reads what the code beside it computes (docs/security.md, "The side channel of energy").
//! Inside nothing changes: the tick goes on, and totals are paid window by window. What is held back is only who is told, so a
//! snapshot that is shown has all that those before it had. Refuses to show a power that is finer than the interval: the mean
//! of a zone's last window becomes the mean since the last snapshot that was shown.

use attribution::model::snapshot::ZoneAccount;
use attribution::model::{MonotonicNanos, Snapshot};
use std::sync::Arc;
use std::time::Duration;

/// Windows close a little early and a little late: what is this part of the interval too early is in time.
const GRACE: u32 = 20;

/// See the module's head.
#[derive(Debug, Default)]
pub struct Pace {
    least: Duration,
    shown: Option<Arc<Snapshot>>,
    held: bool,
}

impl Pace {
    /// Shows one snapshot in `least` at most; all of them where it is zero.
    #[must_use]
    pub const fn new(least: Duration) -> Self {
        Self {
            least,
            shown: None,
            held: false,
        }
    }

    /// The snapshot as it is to be shown; `None` where it comes too early after the last one.
    pub fn admit(&mut self, snapshot: Arc<Snapshot>) -> Option<Arc<Snapshot>> {
        if self.least.is_zero() {
            return Some(snapshot);
        }
        let Some(shown) = &self.shown else {
            self.shown = Some(Arc::clone(&snapshot));
            return Some(snapshot);
        };
        let since = snapshot.window.ended.since(shown.window.ended);
        if since.saturating_add(self.least / GRACE) < self.least {
            self.held = true;
            return None;
        }
        let next = match std::mem::take(&mut self.held) {
            true => Arc::new(coarse(shown, snapshot)),
            false => snapshot,
        };
        self.shown = Some(Arc::clone(&next));
        Some(next)
    }
}

/// With the power of each zone since `before`.
fn coarse(before: &Snapshot, after: Arc<Snapshot>) -> Snapshot {
    let mut after = Arc::unwrap_or_clone(after);
    let ended = after.window.ended;
    for account in &mut after.zones {
        let earlier = before
            .zones
            .iter()
            .find(|earlier| (&earlier.zone, earlier.source) == (&account.zone, account.source));
        // A meter that is gone has no power, and none that it had.
        account.power = earlier.filter(|_| account.up).and_then(|earlier| {
            let elapsed = read(account, ended).since(read(earlier, before.window.ended));
            // A meter that has not been read since then has told no other power.
            if elapsed.is_zero() {
                return earlier.power;
            }
            let paid = |of: &ZoneAccount| of.dynamic + of.idle;
            Some(paid(account).saturating_sub(paid(earlier)).mean_power(elapsed))
        });
    }
    after
}

/// When the zone was last read.
fn read(account: &ZoneAccount, ended: MonotonicNanos) -> MonotonicNanos {
    let age = u64::try_from(account.age.as_nanos()).unwrap_or(u64::MAX);
    MonotonicNanos::from_nanos(ended.as_nanos().saturating_sub(age))
}

#[cfg(test)]
mod tests {
    use super::*;
    use attribution::model::{
        Component, Feature, FloorOrigin, Microjoules, Microwatts, PackageId, Place, Provenance, Section,
        SourceId, TickId, Zone,
    };
    use proptest::prelude::*;

    fn zone(component: Component, joules: u64, watts: u64, age: Duration) -> ZoneAccount {
        ZoneAccount {
            zone: Zone {
                component,
                place: Place::socket(PackageId(0)),
            },
            source: SourceId("rapl-sysfs"),
            provenance: Provenance::Counted,
            dynamic: Microjoules::from_micro(joules * 750_000),
            idle: Microjoules::from_micro(joules * 250_000),
            unattributed: Microjoules::ZERO,
            unreserved_idle: Microjoules::ZERO,
            power: Some(Microwatts::from_watts(watts)),
            floor: None,
            floor_origin: FloorOrigin::default(),
            floor_error: None,
            feature: Feature::default(),
            fit: None,
            age,
            up: true,
        }
    }

    fn at(millis: u64, zones: Vec<ZoneAccount>) -> Arc<Snapshot> {
        let ended = MonotonicNanos::from_nanos(millis * 1_000_000);
        Arc::new(Snapshot {
            tick: TickId(millis),
            window: Section { began: ended, ended },
            zones,
            ..Snapshot::default()
        })
    }

    fn shown(pace: &mut Pace, moments: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let admitted = moments
            .into_iter()
            .filter_map(|moment| pace.admit(at(moment, Vec::new())));
        admitted.map(|snapshot| snapshot.tick.0).collect()
    }

    #[test]
    fn without_an_interval_everything_is_shown_as_it_is() {
        let snapshot = at(7, vec![zone(Component::Package, 1, 3, Duration::ZERO)]);
        let mut pace = Pace::new(Duration::ZERO);
        for _ in 0..3 {
            let admitted = pace.admit(Arc::clone(&snapshot)).unwrap();
            assert!(Arc::ptr_eq(&admitted, &snapshot));
        }
    }

    #[test]
    fn the_first_is_shown_at_once_and_then_one_an_interval_also_where_windows_close_unevenly() {
        let mut pace = Pace::new(Duration::from_secs(3));
        let moments = [
            1_000, 2_050, 3_020, 3_900, 5_000, 6_000, 6_860, 8_000, 9_700, 9_720, 10_800,
        ];
        assert_eq!(shown(&mut pace, moments), [1_000, 3_900, 6_860, 9_720]);
    }

    #[test]
    fn a_tick_that_is_as_long_as_the_interval_holds_nothing_back() {
        let mut pace = Pace::new(Duration::from_secs(1));
        let moments = [1_000, 2_010, 3_000, 3_990];
        assert_eq!(shown(&mut pace, moments), moments);
        let mut pace = Pace::new(Duration::from_secs(1));
        assert_eq!(shown(&mut pace, [1_000, 11_000, 21_000]), [1_000, 11_000, 21_000]);
    }

    #[test]
    fn power_is_the_mean_since_the_last_one_that_was_shown() {
        // At 1 s 10 J; a window of 50 W before 4 s; 31 J at 4 s: 7 W over the three seconds.
        let package = |joules, watts| zone(Component::Package, joules, watts, Duration::ZERO);
        // Read every two seconds: at 0.5 s 10 J, at 3.5 s 40 J.
        let slow = |joules, watts| zone(Component::Dram, joules, watts, Duration::from_millis(500));
        let new = zone(Component::Gpu, 9, 9, Duration::ZERO);
        let mut pace = Pace::new(Duration::from_secs(3));
        assert!(pace.admit(at(1_000, vec![package(10, 1), slow(10, 2)])).is_some());
        assert!(pace.admit(at(2_000, vec![package(12, 2), slow(20, 2)])).is_none());
        let last = at(4_000, vec![package(31, 50), slow(40, 99), new]);
        let last = pace.admit(last).unwrap();
        let power: Vec<_> = last.zones.iter().map(|zone| zone.power).collect();
        let watts = |watts| Some(Microwatts::from_watts(watts));
        assert_eq!(power, [watts(7), watts(10), None]);
        assert_eq!(last.zones[0].dynamic, Microjoules::from_micro(31 * 750_000));
        // Not read since: its power is the one that was told.
        let stuck = zone(Component::Package, 31, 77, Duration::from_secs(3));
        assert!(pace.admit(at(5_000, vec![])).is_none());
        let again = pace.admit(at(7_000, vec![stuck])).unwrap();
        assert_eq!(again.zones[0].power, watts(7));
    }

    #[test]
    fn a_meter_that_is_gone_has_no_power_however_often_it_is_looked_at() {
        let zone = |joules, age| zone(Component::Package, joules, 9, Duration::from_secs(age));
        let gone = |joules, age| ZoneAccount {
            up: false,
            power: None,
            ..zone(joules, age)
        };
        let mut pace = Pace::new(Duration::from_secs(2));
        assert!(pace.admit(at(1_000, vec![zone(10, 0)])).is_some());
        for (second, age) in [(2, 0), (3, 1), (4, 2), (5, 3)] {
            let shown = pace.admit(at(second * 1_000, vec![gone(19, age)]));
            assert_eq!(shown.is_some(), second % 2 == 1, "{second}");
            assert!(
                shown.is_none_or(|shown| shown.zones[0].power.is_none()),
                "{second}"
            );
        }
    }

    proptest! {
        #[test]
        fn whatever_the_windows_are_two_that_are_shown_are_as_far_apart_as_was_asked(
            gaps in prop::collection::vec(1_u64..5_000, 1..200),
            least in 1_u64..60_000,
        ) {
            let mut now = 0;
            let moments = gaps.into_iter().map(|gap| { now += gap; now });
            let moments: Vec<u64> = moments.collect();
            let told = shown(&mut Pace::new(Duration::from_millis(least)), moments.iter().copied());
            for pair in told.windows(2) {
                prop_assert!(pair[1] - pair[0] >= least - least / u64::from(GRACE) - 1);
                // And nothing is held longer than it has to be.
                let early = moments.iter().filter(|moment| (pair[0]..pair[1]).contains(moment));
                prop_assert!(early.skip(1).all(|moment| moment - pair[0] < least));
            }
        }
    }
}
