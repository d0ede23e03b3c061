// SPDX-License-Identifier: Apache-2.0
//! One promise each.

use super::*;

fn idle(floor: &Floor, policy: &FloorPolicy, energy: f64, share: f64) -> Microjoules {
    let in_force = floor.in_force(policy, Component::Package);
    in_force.idle_part(joules(energy), SECOND, busy(share))
}

#[test]
fn the_floor_stays_the_floor_under_load() {
    let mut floor = Floor::default();
    (0..10).for_each(|_| learn(&mut floor, 20.0, 0.0));
    (0..40_000).for_each(|_| learn(&mut floor, 100.0, 1.0));
    assert_eq!(idle(&floor, &FloorPolicy::Measured, 100.0, 1.0), joules(20.0));
    assert_eq!(now(&floor).origin, FloorOrigin::Measured);
}

#[test]
fn three_torn_intervals_poison_nothing_from_the_first_floor_on() {
    let mut floor = Floor::default();
    (0..3).for_each(|_| learn(&mut floor, 0.0, 0.0));
    for _ in 0..4 {
        assert_eq!(watts(&floor), None);
        learn(&mut floor, 20.0, 0.0);
    }
    assert_eq!(watts(&floor), Some(20.0));
}

#[test]
fn intervals_of_other_times_than_the_meters_teach_nothing() {
    let mut floor = Floor::default();
    for _ in 0..20 {
        // As short as a meter's update, and longer than any meter is silent.
        let short = Duration::from_millis(49);
        floor.learn(
            joules(1.0),
            short,
            BusyTime {
                busy: 0,
                idle: 49_000_000,
                cpus: 1,
            },
        );
        let long = Duration::from_secs(601);
        floor.learn(
            joules(6e3),
            long,
            BusyTime {
                busy: 0,
                idle: 601_000_000_000,
                cpus: 1,
            },
        );
        // The usage report was late: one second of CPU time against two of energy, and the other way round.
        floor.learn(joules(40.0), 2 * SECOND, busy(0.0));
        floor.learn(joules(20.0), SECOND / 2, busy(0.0));
        // One of two CPUs went away.
        let half = BusyTime { cpus: 2, ..busy(0.0) };
        floor.learn(joules(20.0), SECOND, half);
    }
    assert_eq!(now(&floor).origin, FloorOrigin::BusyRatio);
    // A meter that is slower than the tick, with the busy time between its readings.
    for _ in 0..7 {
        let busy = BusyTime {
            busy: 0,
            idle: 9_500_000_000,
            cpus: 1,
        };
        floor.learn(joules(200.0), 10 * SECOND, busy);
    }
    assert_eq!(watts(&floor), Some(20.0));
}

#[test]
fn a_node_that_was_busy_first_is_not_called_idle_and_comes_down_later() {
    let mut floor = Floor::default();
    for _ in 0..50 {
        learn(&mut floor, 90.0, 0.95);
    }
    // As servers usually are; and memory, of which no curves are published, by the busy share.
    assert_eq!(now(&floor).origin, FloorOrigin::Typical);
    near(&floor, 90.0 / 3.515, 0.1);
    let memory = floor.in_force(&FloorPolicy::Measured, Component::Dram);
    assert_eq!((memory.origin, memory.power), (FloorOrigin::BusyRatio, None));
    for _ in 0..7 {
        learn(&mut floor, 25.0, 0.03);
    }
    assert_eq!(now(&floor).origin, FloorOrigin::Measured);
    near(&floor, 25.0 - 0.03 * 65.0 / 0.92, 1.0);
}

#[test]
fn idle_never_exceeds_the_energy_of_the_interval() {
    let fixed = FloorPolicy::Fixed(vec![(Component::Package, Microwatts::from_watts(50))]);
    assert_eq!(idle(&Floor::default(), &fixed, 30.0, 0.5), joules(30.0));
    assert_eq!(idle(&Floor::default(), &fixed, 80.0, 0.5), joules(50.0));
}

#[test]
fn before_anything_is_learned_the_busy_share_decides() {
    let floor = Floor::default();
    assert_eq!(idle(&floor, &FloorPolicy::Measured, 100.0, 0.3), joules(70.0));
    assert_eq!(idle(&floor, &FloorPolicy::BusyRatio, 100.0, 0.3), joules(70.0));
    assert_eq!(idle(&floor, &FloorPolicy::None, 100.0, 0.3), joules(0.0));
    // Where there is no CPU nobody ran; where no time of a CPU is told nobody knows.
    let untold = |cpus| BusyTime {
        cpus,
        ..BusyTime::default()
    };
    let idle_of = |busy| now(&floor).idle_part(joules(1.0), SECOND, busy);
    assert_eq!(
        [0, 1].map(|cpus| idle_of(untold(cpus))),
        [joules(1.0), joules(0.0)]
    );
}

#[test]
fn a_component_that_is_not_listed_has_no_fixed_floor() {
    let fixed = FloorPolicy::Fixed(vec![(Component::Dram, Microwatts::from_watts(3))]);
    assert_eq!(idle(&Floor::default(), &fixed, 100.0, 0.3), joules(0.0));
}

#[test]
fn what_was_learned_does_not_matter_under_another_policy() {
    let mut floor = Floor::default();
    (0..10).for_each(|_| learn(&mut floor, 20.0, 0.0));
    assert_eq!(idle(&floor, &FloorPolicy::BusyRatio, 100.0, 0.3), joules(70.0));
    assert_eq!(idle(&floor, &FloorPolicy::None, 100.0, 0.3), joules(0.0));
}

#[test]
fn a_full_bin_remembers_minutes_and_not_one_half_minute_of_something_else() {
    let mut floor = Floor::default();
    (0..600).for_each(|_| learn(&mut floor, 20.0, 0.0));
    // A disk is checked: no CPU time, and more power for one and a half minutes.
    (0..90).for_each(|_| learn(&mut floor, 35.0, 0.0));
    assert_eq!(watts(&floor), Some(20.0));
    // It stays so: that is rest from now on.
    (0..300).for_each(|_| learn(&mut floor, 35.0, 0.0));
    assert_eq!(watts(&floor), Some(35.0));
}

#[test]
fn a_device_teaches_only_at_rest() {
    let mut floor = Floor::of_a_device();
    (0..10).for_each(|_| learn(&mut floor, 700.0, 1.0));
    assert_eq!(now(&floor).origin, FloorOrigin::BusyRatio);
    (0..5).for_each(|_| learn(&mut floor, 70.0, 0.0));
    assert_eq!(watts(&floor), Some(70.0));
    assert!(floor.save().is_empty(), "it is another one after a restart");
}

/// One of 64 CPUs: 1.6 % of all time, and its socket is never asleep.
#[test]
fn a_node_on_which_one_thread_never_stopped_was_not_seen_at_rest() {
    let mut floor = Floor::default();
    let window = |floor: &mut Floor, cpus: f64, watts| {
        let busy = (cpus * 1e9).round() as u64;
        let idle = 64_000_000_000 - busy;
        let busy = BusyTime { busy, idle, cpus: 64 };
        floor.learn(joules(watts), SECOND, busy);
        (now(floor).origin, now(floor).error)
    };
    for _ in 0..100 {
        window(&mut floor, 1.0, 60.0);
    }
    let (origin, error) = window(&mut floor, 1.0, 60.0);
    assert_eq!(origin, FloorOrigin::Extrapolated);
    assert!(
        error.is_some_and(|error| error.0 > 30),
        "what it does not know is told: {error:?}"
    );
    // Half a thread is one as well, and six windows are too few.
    for cpus in [[0.5; 10].as_slice(), &[0.2; 6]].concat() {
        window(&mut floor, cpus, 40.0);
    }
    assert_eq!(window(&mut floor, 1.0, 60.0).0, FloorOrigin::Extrapolated);
    // An interval that teaches nothing is none.
    let rest = BusyTime {
        busy: 0,
        idle: 640_000_000,
        cpus: 64,
    };
    floor.learn(joules(0.4), Duration::from_millis(10), rest);
    assert_eq!(now(&floor).origin, FloorOrigin::Extrapolated);
    assert_eq!(window(&mut floor, 0.2, 40.0).0, FloorOrigin::Measured);
}
