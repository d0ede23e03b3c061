// SPDX-License-Identifier: Apache-2.0
//! The curve that comes out is the machine's.

use super::super::{Calibration, calibrate};
use super::simulated::{LOADS, Machine, Meter, at_the_wall, dram, on_socket, package, walk, wall};
use attribution::model::{Component, Zone};

/// Greatest relative distance from the truth at any load that was seen.
fn off(calibration: &Calibration, zone: &Zone, truth: fn(f64) -> f64) -> f64 {
    let found = calibration
        .zones
        .iter()
        .find(|found| found.zone == *zone)
        .unwrap();
    let (low, high) = found.curve.seen();
    let loads = (0..=200).map(|step| low + (high - low) * f64::from(step) / 200.0);
    loads
        .map(|busy| (found.curve.at(busy).watts / truth(busy) - 1.0).abs())
        .fold(0.0, f64::max)
}

#[test]
fn a_counter_read_each_second_gives_the_machine_back_within_three_percent() {
    let zones = [on_socket(Component::Package), on_socket(Component::Dram)];
    for seed in 1..=3 {
        let mut machine = Machine::new(seed);
        let meters = [
            (zones[0].clone(), package as fn(f64) -> f64, Meter::Counter),
            (zones[1].clone(), dram, Meter::Counter),
        ];
        let watched = machine.watch(390, walk(10, 3), &meters);
        let calibration = calibrate(&watched).unwrap();
        for (zone, truth) in zones.iter().zip([package as fn(f64) -> f64, dram]) {
            let off = off(&calibration, zone, truth);
            assert!(off < 0.03, "{seed} {zone}: {off}\n{calibration}");
        }
        let found = &calibration.zones[0];
        assert!(
            found.error.all.mean < 0.02 && found.error.all.mean > 0.0005,
            "{calibration}"
        );
        assert_eq!(found.error.levels.len(), 11, "{calibration}");
        let (low, high) = found.curve.seen();
        assert!(low < 0.02 && high > 0.97, "{low} {high}");
    }
}

#[test]
fn a_controller_that_says_the_mean_of_each_minute_is_enough_also_under_load_that_never_rests() {
    // Work that changes every seven seconds: no minute is of one load.
    let restless = |at: f64| {
        let turn = (at / 7.0).floor();
        let swing = 0.5 + 0.5 * (at / 700.0).sin();
        ((turn * 0.618_034).fract() * swing).clamp(0.01, 1.0)
    };
    let meters = [(at_the_wall(), wall as fn(f64) -> f64, Meter::Mean(60))];
    let calibration = calibrate(&Machine::new(4).watch(5_400, restless, &meters)).unwrap();
    let off = off(&calibration, &at_the_wall(), wall);
    assert!(off < 0.03, "{off}\n{calibration}");
}

#[test]
fn a_controller_that_says_the_watts_of_a_moment_once_a_minute_is_enough_when_levels_are_held() {
    for (seed, meter) in [
        (5, Meter::Moment(60)),
        (6, Meter::Mean(60)),
        (7, Meter::Moment(20)),
    ] {
        let meters = [(at_the_wall(), wall as fn(f64) -> f64, meter)];
        let watched = Machine::new(seed).watch(13 * 3 * 270, walk(270, 3), &meters);
        let calibration = calibrate(&watched).unwrap();
        for level in LOADS {
            let found = calibration.zones[0].curve.at(level).watts;
            assert!(
                (found / wall(level) - 1.0).abs() < 0.03,
                "{seed} {level}: {found}\n{calibration}"
            );
        }
        // Between the levels, at the bend, whole watts and a straight line add up to a little more.
        let off = off(&calibration, &at_the_wall(), wall);
        assert!(off < 0.04, "{seed}: {off}\n{calibration}");
    }
}

#[test]
fn a_few_wild_readings_change_nothing() {
    let meters = [(
        on_socket(Component::Package),
        package as fn(f64) -> f64,
        Meter::Counter,
    )];
    let mut watched = Machine::new(8).watch(390, walk(10, 3), &meters);
    let plain = calibrate(&watched).unwrap();
    for sample in watched.zones[0].samples.iter_mut().step_by(17) {
        sample.watts *= 3.0;
    }
    let shaken = calibrate(&watched).unwrap();
    for (one, other) in plain.zones[0]
        .curve
        .knots()
        .iter()
        .zip(shaken.zones[0].curve.knots())
    {
        assert!((one.1 / other.1 - 1.0).abs() < 0.01, "{one:?} {other:?}");
    }
}

#[test]
fn little_load_gives_a_straight_line_that_says_how_far_it_goes() {
    let some = |at: f64| 0.3 + 0.09 * (at / 40.0).sin();
    let meters = [(
        on_socket(Component::Package),
        package as fn(f64) -> f64,
        Meter::Counter,
    )];
    let calibration = calibrate(&Machine::new(9).watch(400, some, &meters)).unwrap();
    let curve = &calibration.zones[0].curve;
    assert_eq!(curve.knots().len(), 2);
    let (low, high) = curve.seen();
    assert!(
        (0.18..0.24).contains(&low) && (0.36..0.42).contains(&high),
        "{low} {high}"
    );
    assert!(off(&calibration, &on_socket(Component::Package), package) < 0.03);
    assert_eq!(curve.at(0.3).beyond, 0.0);
    let far = curve.at(1.0);
    assert!(
        (far.beyond - (1.0 - high)).abs() < 1e-12 && far.watts > curve.at(high).watts,
        "{far:?}"
    );
}

#[test]
fn sockets_pay_for_their_own_load_and_the_table_is_as_people_read_it() {
    let meters = [(
        on_socket(Component::Package),
        package as fn(f64) -> f64,
        Meter::Counter,
    )];
    let text = calibrate(&Machine::new(10).watch(390, walk(10, 3), &meters))
        .unwrap()
        .to_string();
    assert!(
        text.starts_with("package/socket0 (meter): 389 samples of 1s in 6m 29s, load 1 to "),
        "{text}"
    );
    let rows: Vec<_> = text
        .lines()
        .filter(|line| line.contains(" %  ") || line.contains(" % "))
        .collect();
    assert!(
        rows.len() >= 12 && text.contains("  blocks of time: 5, with "),
        "{text}"
    );
}
