// SPDX-License-Identifier: Apache-2.0
//! Restarts: what is known at once, what replaces it, and when it counts for less.

use super::envelope::OLD;
use super::*;
use crate::engine::tests::{METER, Node, settings, zone};
use crate::engine::{LearnedZone, Settings};

fn point(share: u32, watts: u64, age: Duration) -> LearnedPoint {
    LearnedPoint {
        busy_ppm: share,
        power: Microwatts::from_watts(watts),
        error: Microwatts::from_micro(100_000),
        samples: 32,
        age,
    }
}

fn restored(points: &[LearnedPoint], trust: Trust) -> Floor {
    let mut floor = Floor::default();
    floor.restore(points, trust);
    floor
}

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn a_restored_floor_is_there_at_once_and_until_this_run_has_seen_rest_itself() {
    let mut floor = restored(&[point(0, 20, DAY)], Trust::Full);
    assert_eq!(
        (watts(&floor), now(&floor).origin),
        (Some(20.0), FloorOrigin::Restored)
    );
    for _ in 0..1_000 {
        learn(&mut floor, 100.0, 1.0);
    }
    assert_eq!(
        (watts(&floor), now(&floor).origin),
        (Some(20.0), FloorOrigin::Restored)
    );
    for _ in 0..7 {
        learn(&mut floor, 22.0, 0.0);
    }
    assert_eq!(
        (watts(&floor), now(&floor).origin),
        (Some(22.0), FloorOrigin::Measured)
    );
}

#[test]
fn less_power_than_restored_lowers_it_at_once() {
    let mut floor = restored(&[point(0, 30, DAY)], Trust::Full);
    (0..7).for_each(|_| learn(&mut floor, 25.0, 0.2));
    assert!(watts(&floor).is_some_and(|watts| watts <= 25.0), "{floor:?}");
}

/// Ninety days, or microcode that has changed: anything that this run can say counts for more.
#[test]
fn what_is_only_a_prior_goes_as_soon_as_this_run_has_a_floor_of_its_own() {
    for (age, trust) in [(OLD, Trust::Full), (DAY, Trust::Prior)] {
        let mut floor = restored(&[point(0, 20, age)], trust);
        assert_eq!(watts(&floor), Some(20.0));
        for _ in 0..7 {
            for step in 8..20_u32 {
                let share = f64::from(step) * 0.05;
                learn(&mut floor, 30.0 + 80.0 * share, share);
            }
        }
        assert_eq!(now(&floor).origin, FloorOrigin::Extrapolated, "{age:?}");
        near(&floor, 30.0, 1.0);
        let mut again = restored(&floor.save(), Trust::Full);
        learn(&mut again, 100.0, 1.0);
        near(&again, 30.0, 1.0);
    }
}

#[test]
fn what_is_younger_counts_beside_what_this_run_sees() {
    let mut floor = restored(&[point(0, 20, OLD - DAY)], Trust::Full);
    for _ in 0..7 {
        for step in 8..20_u32 {
            let share = f64::from(step) * 0.05;
            learn(&mut floor, 30.0 + 80.0 * share, share);
        }
    }
    assert_eq!(
        (watts(&floor), now(&floor).origin),
        (Some(20.0), FloorOrigin::Restored)
    );
}

#[test]
fn time_goes_on_for_what_was_restored() {
    let mut floor = restored(&[point(0, 20, DAY)], Trust::Full);
    for _ in 0..100 {
        learn(&mut floor, 100.0, 1.0);
    }
    let ages: Vec<_> = floor.save().iter().map(|point| point.age).collect();
    assert_eq!(ages.first(), Some(&(DAY + 100 * SECOND)));
    assert!(ages.last().is_some_and(|age| *age < 16 * SECOND), "{ages:?}");
}

fn measured() -> Settings {
    Settings {
        floor: FloorPolicy::Measured,
        ..settings()
    }
}

#[test]
fn a_restarted_engine_has_the_floor_of_each_zone_from_its_first_window_and_no_other_zones() {
    let mut node = Node::new(measured());
    for _ in 0..20 {
        for (zone, watts) in [(0, 20), (1, 30), (2, 3), (3, 90)] {
            node.spend(zone, watts * 1_000_000);
        }
        node.window();
    }
    let mut saved = node.engine.learned_floors();
    assert_eq!(saved.len(), 5, "and what the platform uses beside the others");
    // Of a meter that this run does not ask, and of one that does not answer yet.
    let elsewhere = LearnedZone {
        source: "rapl-msr".to_owned(),
        ..saved[0].clone()
    };
    saved.push(elsewhere.clone());
    saved[0].points[0].power = Microwatts::from_watts(21);

    let mut node = Node::new(measured());
    node.engine.restore_floors(saved, Trust::Full);
    node.run(1, 10, 0, 0);
    node.window();
    (0..3).for_each(|zone| node.spend(zone, 500_000_000));
    node.spend(3, 2_000_000_000);
    node.run(1, 10, 0, 4_000_000_000);
    let snapshot = node.window();
    let floors: Vec<_> = snapshot
        .zones
        .iter()
        .map(|zone| {
            assert_eq!(zone.floor_origin, FloorOrigin::Restored, "{}", zone.zone);
            assert!(zone.floor_error.is_some(), "{}", zone.zone);
            zone.floor.map_or(0, |power| power.as_micro() / 1_000_000)
        })
        .collect();
    assert_eq!(floors, [21, 30, 3, 90, 37]);
    let idle: Vec<_> = snapshot.zones.iter().map(|zone| zone.idle.as_micro()).collect();
    assert_eq!(idle, [21_000_000, 30_000_000, 3_000_000, 90_000_000, 37_000_000]);
    // What waits is saved again, and has grown older by the two seconds since the first window.
    node.window();
    let mut older = elsewhere;
    older.points.iter_mut().for_each(|point| point.age += 2 * SECOND);
    assert!(node.engine.learned_floors().contains(&older));
}

#[test]
fn a_snapshot_says_how_each_floor_came_about() {
    let origin = |floor: FloorPolicy, windows: u32| {
        let mut node = Node::new(Settings { floor, ..settings() });
        for _ in 0..windows {
            node.spend(0, 20_000_000);
            node.window();
        }
        let snapshot = node.window();
        let account = snapshot
            .zones
            .into_iter()
            .find(|row| row.zone == zone(Component::Package, 0) && row.source == METER)
            .expect("the zone");
        (account.floor_origin, account.floor)
    };
    let watts = |watts| Some(Microwatts::from_watts(watts));
    let fixed = FloorPolicy::Fixed(vec![(Component::Package, Microwatts::from_watts(7))]);
    assert_eq!(origin(fixed, 2), (FloorOrigin::Fixed, watts(7)));
    assert_eq!(origin(FloorPolicy::None, 2), (FloorOrigin::None, None));
    assert_eq!(origin(FloorPolicy::BusyRatio, 20), (FloorOrigin::BusyRatio, None));
    assert_eq!(origin(FloorPolicy::Measured, 4), (FloorOrigin::BusyRatio, None));
    assert_eq!(
        origin(FloorPolicy::Measured, 20),
        (FloorOrigin::Measured, watts(20))
    );
}
