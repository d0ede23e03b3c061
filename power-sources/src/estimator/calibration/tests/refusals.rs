// SPDX-License-Identifier: Apache-2.0
//! What is no calibration, and what a watch passes by.

use super::super::{Refusal, Watch, calibrate};
use super::simulated::{Machine, Meter, at_the_wall, on_socket, package, walk, wall};
use attribution::model::{
    Component, CpuNanos, Energy, Microjoules, MonotonicNanos, PackageId, PackageTime, Permille, Provenance,
    Section, SourceId, Zone, ZoneReading,
};

const SECOND: u64 = 1_000_000_000;

fn reading(zone: Zone, second: u64, joules: u64) -> ZoneReading {
    ZoneReading {
        zone,
        total: Microjoules::from_micro(joules * 1_000_000),
        idle: None,
        provenance: Provenance::Counted,
        at: MonotonicNanos::from_nanos(second * SECOND),
        device: None,
    }
}

fn energy(watch: &mut Watch, reading: ZoneReading) {
    let body = Energy {
        zones: vec![reading],
        errors: Vec::new(),
    };
    watch.energy(SourceId("meter"), &body);
}

/// One CPU of one package, busy for so many seconds by then.
fn usage(watch: &mut Watch, second: u64, busy: u64) {
    let at = MonotonicNanos::from_nanos(second * SECOND);
    let row = PackageTime {
        package: PackageId(0),
        cpus: 1,
        busy: CpuNanos::from_nanos(busy * SECOND),
        idle: CpuNanos::ZERO,
    };
    watch.usage(Section { began: at, ended: at }, &[row]);
}

#[test]
fn a_reading_counts_for_the_time_that_it_covers_and_once() {
    let mut watch = Watch::default();
    let zone = on_socket(Component::Package);
    //  s       0    1    2    3    4    5
    //  busy    -    1    0    1    1    -
    //  meter   0 J            30 J      80 J   (and says 30 J of second 3 again at second 4)
    usage(&mut watch, 0, 0);
    energy(&mut watch, reading(zone.clone(), 0, 0));
    usage(&mut watch, 1, 1);
    usage(&mut watch, 2, 1);
    energy(&mut watch, reading(zone.clone(), 3, 30));
    assert_eq!(
        watch.progress().next().unwrap().2,
        0,
        "the load until second 3 is not known yet"
    );
    usage(&mut watch, 3, 2);
    energy(&mut watch, reading(zone.clone(), 3, 30));
    usage(&mut watch, 4, 3);
    energy(&mut watch, reading(zone, 5, 80));
    usage(&mut watch, 5, 3);
    let watched = watch.finish();
    let samples: Vec<_> = watched.zones[0]
        .samples
        .iter()
        .map(|sample| (sample.watts, sample.busy()))
        .collect();
    assert_eq!(samples, [(10.0, 2.0 / 3.0), (25.0, 0.5)]);
    assert_eq!(watched.packages, [(PackageId(0), 1)]);
}

#[test]
fn what_no_model_can_be_made_of_is_passed_by_and_counted() {
    let mut watch = Watch::default();
    let package = on_socket(Component::Package);
    energy(&mut watch, reading(package.clone(), 0, 0));
    energy(&mut watch, reading(package.clone(), 2, 20));
    usage(&mut watch, 2, 0);
    usage(&mut watch, 4, 1);
    // No load is known from 0 to 2; nothing was counted from 2 to 4.
    energy(&mut watch, reading(package.clone(), 4, 20));
    let estimate = ZoneReading {
        provenance: Provenance::Estimated {
            relative_error_p90: Permille(100),
        },
        ..reading(at_the_wall(), 4, 20)
    };
    energy(&mut watch, estimate);
    energy(&mut watch, reading(on_socket(Component::Core), 4, 20));
    usage(&mut watch, 5, 1);
    let watched = watch.finish();
    let tally = watched.tally;
    assert_eq!(
        (tally.unmatched, tally.empty, tally.estimates, tally.overflow),
        (1, 1, 1, 0)
    );
    let refusal = calibrate(&watched).unwrap_err();
    assert!(
        refusal
            .to_string()
            .contains("package/socket0: 0 readings, and 10 are needed"),
        "{refusal}"
    );
    let mut watch = Watch::default();
    energy(&mut watch, reading(on_socket(Component::Core), 4, 20));
    usage(&mut watch, 5, 1);
    let refusal = calibrate(&watch.finish()).unwrap_err();
    assert!(matches!(refusal, Refusal::NoMeter { .. }));
    assert!(refusal.to_string().contains("`kepler check`"), "{refusal}");
}

#[test]
fn too_few_readings_are_refused_with_how_long_it_takes() {
    let meters = [(at_the_wall(), wall as fn(f64) -> f64, Meter::Mean(60))];
    let refusal = calibrate(&Machine::new(1).watch(400, walk(10, 9), &meters)).unwrap_err();
    let words = refusal.to_string();
    assert!(
        words.contains(
            "platform/bmc: 5 readings, and 10 are needed: watch longer (one comes every 1m: 11m at least)"
        ),
        "{words}"
    );
}

#[test]
fn load_that_does_not_move_is_refused_and_one_zone_that_is_does_not_take_the_others_with_it() {
    let meters = [(
        on_socket(Component::Package),
        package as fn(f64) -> f64,
        Meter::Counter,
    )];
    let words = calibrate(&Machine::new(2).watch(120, |_| 0.04, &meters))
        .unwrap_err()
        .to_string();
    assert!(
        words.contains("package/socket0: the load was between ")
            && words.contains(", and a model needs a range of 10 %"),
        "{words}"
    );
    assert!(words.contains("--stress"), "{words}");

    let meters = [
        meters[0].clone(),
        (at_the_wall(), wall as fn(f64) -> f64, Meter::Mean(60)),
    ];
    let calibration = calibrate(&Machine::new(3).watch(390, walk(10, 3), &meters)).unwrap();
    assert_eq!(calibration.zones.len(), 1);
    assert!(
        matches!(calibration.refused[0].1, Refusal::TooFew { found: 5, .. }),
        "{calibration}"
    );
    assert!(
        calibration
            .to_string()
            .contains("platform/bmc: no model: 5 readings"),
        "{calibration}"
    );
}

#[test]
fn a_gap_in_the_readings_is_left_out_and_not_taken_for_little_power() {
    let meters = [(
        on_socket(Component::Package),
        package as fn(f64) -> f64,
        Meter::Counter,
    )];
    let mut watched = Machine::new(4).watch(390, walk(10, 3), &meters);
    let samples = &mut watched.zones[0].samples;
    let last = samples.last().unwrap().clone();
    let stretched = super::super::Sample {
        began: last.ended,
        ended: last.ended.after(std::time::Duration::from_secs(60)),
        watts: 0.5,
        ..last
    };
    samples.push(stretched);
    assert_eq!(calibrate(&watched).unwrap().zones[0].left_out, 1);
}
