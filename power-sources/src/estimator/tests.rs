// SPDX-License-Identifier: Apache-2.0
//! The model against the program that fitted it, and the estimator against its promises.

use super::model::{GUEST, PHYSICAL, Socket};
use super::parts::{Parts, Power};
use super::*;
use proptest::prelude::*;

const GIB: u64 = 1 << 30;
const SECOND: u64 = 1_000_000_000;

fn machine(guest: bool, packages: u16, threads: u32, gib: u64) -> MachineDescription {
    MachineDescription {
        threads,
        packages: (0..packages)
            .map(|package| (PackageId(package), threads / u32::from(packages)))
            .collect(),
        memory_bytes: gib * GIB,
        guest,
        ..MachineDescription::default()
    }
}

fn at(nanos: u64) -> MonotonicNanos {
    MonotonicNanos::from_nanos(nanos)
}

fn row(package: u16, cpus: u32, busy: u64) -> PackageTime {
    PackageTime {
        package: PackageId(package),
        cpus,
        busy: CpuNanos::from_nanos(busy),
        idle: CpuNanos::ZERO,
    }
}

fn estimator(machine: &MachineDescription) -> Estimator {
    Estimator::new(machine, &EstimatorConfig::default(), COMPONENTS)
}

/// Totals in millijoules by zone, as `(zone, total, idle)`.
fn table(energy: &Energy) -> Vec<(String, u64, u64)> {
    let idle = |reading: &ZoneReading| reading.idle.unwrap().as_micro() / 1_000;
    energy
        .zones
        .iter()
        .map(|reading| {
            (
                reading.zone.to_string(),
                reading.total.as_micro() / 1_000,
                idle(reading),
            )
        })
        .collect()
}

/// Platform millijoules after one second of every socket at the same load; so, mean milliwatts.
fn milliwatts(machine: &MachineDescription, permille: u64) -> u64 {
    let mut estimator = Estimator::new(machine, &EstimatorConfig::default(), &[Component::Platform]);
    let rows = |part: u64| -> Vec<_> {
        let sockets = machine.sockets();
        sockets
            .iter()
            .map(|(package, cpus)| row(package.0, *cpus, part * u64::from(*cpus) * SECOND / 1_000))
            .collect()
    };
    estimator.observe(at(0), &rows(0));
    table(&estimator.observe(at(SECOND), &rows(permille)))[0].1
}

#[test]
fn the_model_predicts_what_the_fitting_program_predicts() {
    // Printed by train/fit_builtin.py: guest, sockets, threads, GiB, busy permille, milliwatts.
    let golden = [
        (false, 1, 8, 16, 0, 10942),
        (false, 1, 8, 16, 35, 13783),
        (false, 1, 8, 16, 250, 23293),
        (false, 1, 8, 16, 500, 30439),
        (false, 1, 8, 16, 1000, 55052),
        (false, 1, 128, 128, 0, 52026),
        (false, 1, 128, 128, 35, 65742),
        (false, 1, 128, 128, 250, 111661),
        (false, 1, 128, 128, 500, 146164),
        (false, 1, 128, 128, 1000, 265008),
        (false, 2, 112, 192, 0, 71748),
        (false, 2, 112, 192, 35, 90727),
        (false, 2, 112, 192, 250, 154263),
        (false, 2, 112, 192, 500, 202003),
        (false, 2, 112, 192, 1000, 366443),
        (true, 1, 2, 4, 0, 1348),
        (true, 1, 2, 4, 35, 1731),
        (true, 1, 2, 4, 250, 3012),
        (true, 1, 2, 4, 500, 3974),
        (true, 1, 2, 4, 1000, 7290),
        (true, 2, 2, 8, 0, 2052),
        (true, 2, 2, 8, 35, 2708),
        (true, 2, 2, 8, 250, 4904),
        (true, 2, 2, 8, 500, 6554),
        (true, 2, 2, 8, 1000, 12238),
        (true, 1, 64, 256, 0, 65664),
        (true, 1, 64, 256, 35, 86655),
        (true, 1, 64, 256, 250, 156931),
        (true, 1, 64, 256, 500, 209735),
        (true, 1, 64, 256, 1000, 391616),
    ];
    for (guest, sockets, threads, gib, permille, expected) in golden {
        let found = milliwatts(&machine(guest, sockets, threads, gib), permille);
        // Integers round down: at most 1 mW, and 1 µW in each of the parts.
        assert!(
            found.abs_diff(expected) <= 1,
            "{guest} {sockets} {threads} {gib} {permille}: {found}, not {expected}"
        );
    }
}

#[test]
fn the_first_observation_has_nothing_to_bill_and_the_next_one_bills_the_measured_time() {
    // 2 sockets of 56 threads, 192 GiB; idle 71.748 W, half busy 202.003 W (golden table). 1.5 s:
    //   platform 303.004 J, idle 107.622 J; a socket's half: package idle 45 %, dynamic 65 %; DRAM 20 % and 17.5 %
    let mut estimator = estimator(&machine(false, 2, 112, 192));
    let rows = |busy| [row(0, 56, busy), row(1, 56, busy)];
    let first = estimator.observe(at(7 * SECOND), &rows(99));
    assert_eq!(first.zones.len(), 5);
    assert!(
        first
            .zones
            .iter()
            .all(|reading| reading.total.is_zero() && reading.idle == Some(Microjoules::ZERO))
    );
    let energy = estimator.observe(at(7 * SECOND + SECOND * 3 / 2), &rows(99 + 42 * SECOND));
    let expected = [
        ("package/socket0", 87_714, 24_214),
        ("package/socket1", 87_714, 24_214),
        ("dram/socket0", 27_858, 10_762),
        ("dram/socket1", 27_858, 10_762),
        ("platform/estimator", 303_004, 107_622),
    ];
    let found = table(&energy);
    assert_eq!(found.len(), expected.len());
    for ((zone, total, idle), (expected_zone, expected_total, expected_idle)) in found.iter().zip(expected) {
        assert_eq!(zone, expected_zone);
        assert!(
            total.abs_diff(expected_total) <= 2,
            "{zone}: {total}, not {expected_total}"
        );
        assert!(
            idle.abs_diff(expected_idle) <= 2,
            "{zone}: idle {idle}, not {expected_idle}"
        );
    }
    assert_eq!(energy.errors, []);
}

#[test]
fn each_socket_pays_for_its_own_busy_time() {
    let mut estimator = estimator(&machine(false, 2, 16, 0));
    estimator.observe(at(0), &[row(0, 8, 0), row(1, 8, 0)]);
    let energy = estimator.observe(at(SECOND), &[row(0, 8, 8 * SECOND), row(1, 8, 0)]);
    let found = table(&energy);
    assert_eq!(
        (found[0].0.as_str(), found[1].0.as_str()),
        ("package/socket0", "package/socket1")
    );
    // 12.365 x sqrt(8) x 65 % = 22.73 W above idle; the other one does not move.
    assert_eq!(found[0].1 - found[0].2, 22_733);
    assert_eq!(found[1].1, found[1].2);
    assert_eq!(found[0].2, found[1].2);
}

#[test]
fn a_small_guest_does_not_pay_for_a_server() {
    let idle = milliwatts(&machine(true, 1, 2, 4), 0);
    let full = milliwatts(&machine(true, 1, 2, 4), 1_000);
    assert!((500..3_000).contains(&idle), "{idle} mW");
    assert!((3_000..20_000).contains(&full), "{full} mW");
}

#[test]
fn twice_the_guest_costs_twice_and_sockets_of_a_guest_mean_nothing() {
    for permille in [0, 300, 1_000] {
        let one = milliwatts(&machine(true, 1, 4, 8), permille);
        assert!(milliwatts(&machine(true, 1, 8, 16), permille).abs_diff(2 * one) <= 2);
        assert!(milliwatts(&machine(true, 4, 4, 8), permille).abs_diff(one) <= 1);
    }
}

#[test]
fn memory_far_beyond_the_fitted_machines_counts_no_more() {
    let watts = |gib| milliwatts(&machine(false, 1, 8, gib), 0);
    assert_eq!(watts(160), watts(16_000_000));
    assert!(watts(160) > watts(80));
}

#[test]
fn a_package_that_is_missing_is_missing_and_pays_the_gap_when_it_returns() {
    let machine = machine(false, 2, 16, 0);
    let (mut gap, mut whole) = (estimator(&machine), estimator(&machine));
    for estimator in [&mut gap, &mut whole] {
        estimator.observe(at(0), &[row(0, 8, 0), row(1, 8, 0)]);
    }
    let energy = gap.observe(at(SECOND), &[row(0, 8, 8 * SECOND)]);
    let names: Vec<_> = table(&energy).into_iter().map(|(zone, ..)| zone).collect();
    assert_eq!(names, ["package/socket0", "dram/socket0", "platform/estimator"]);
    whole.observe(at(SECOND), &[row(0, 8, 8 * SECOND), row(1, 8, 4 * SECOND)]);
    let last = [row(0, 8, 16 * SECOND), row(1, 8, 8 * SECOND)];
    let (gap, whole) = (
        gap.observe(at(2 * SECOND), &last),
        whole.observe(at(2 * SECOND), &last),
    );
    assert_eq!(table(&gap).len(), 5);
    // The same load before and after: to the microjoules that integer busy shares round.
    for (gap, whole) in gap.zones.iter().zip(&whole.zones) {
        assert!(
            gap.total.as_micro().abs_diff(whole.total.as_micro()) <= 10,
            "{gap:?} {whole:?}"
        );
    }
    assert!(estimator(&machine).observe(at(0), &[]).zones.is_empty());
}

#[test]
fn busy_time_that_goes_back_counts_as_idle_once_and_is_told() {
    let mut estimator = estimator(&machine(false, 1, 8, 0));
    estimator.observe(at(0), &[row(0, 8, 100 * SECOND)]);
    let energy = estimator.observe(at(SECOND), &[row(0, 8, 0)]);
    assert!(
        energy
            .zones
            .iter()
            .all(|reading| reading.idle == Some(reading.total) && !reading.total.is_zero())
    );
    assert_eq!(
        (energy.errors[0].reason, energy.errors[0].count),
        (ErrorReason::Reset, 1)
    );
    let energy = estimator.observe(at(2 * SECOND), &[row(0, 8, SECOND)]);
    assert!(
        energy
            .zones
            .iter()
            .all(|reading| reading.idle < Some(reading.total))
    );
    assert_eq!(energy.errors[0].count, 1);
}

#[test]
fn time_that_goes_back_and_packages_that_nobody_described_bill_nothing() {
    let mut estimator = estimator(&MachineDescription {
        threads: 4,
        ..MachineDescription::default()
    });
    estimator.observe(at(SECOND), &[row(0, 4, 0)]);
    let energy = estimator.observe(at(0), &[row(0, 4, SECOND), row(3, 4, SECOND)]);
    assert!(energy.zones.iter().all(|reading| reading.total.is_zero()));
    assert_eq!(
        (energy.errors[0].reason, energy.errors[0].count),
        (ErrorReason::Implausible, 1)
    );
    assert!(energy.errors[0].latest.contains("package 3"));
    // The base did not move back with it.
    let energy = estimator.observe(at(SECOND), &[row(0, 4, SECOND)]);
    assert!(energy.zones.iter().all(|reading| reading.total.is_zero()));
}

#[test]
fn figures_say_that_they_are_estimates_and_how_uncertain_the_parts_are() {
    for guest in [false, true] {
        let mut estimator = estimator(&machine(guest, 1, 8, 16));
        let energy = estimator.observe(at(0), &[row(0, 8, 0)]);
        let errors: Vec<_> = energy
            .zones
            .iter()
            .map(|reading| match reading.provenance {
                Provenance::Estimated { relative_error_p90 } => relative_error_p90.0,
                other => panic!("{other:?}"),
            })
            .collect();
        // package, dram, platform: a part is never surer than the whole.
        assert!(
            errors[0] > errors[2] && errors[1] > errors[0] && errors[2] >= 480,
            "{errors:?}"
        );
        assert_eq!(estimator.id(), SourceId("trained_power_model"));
        let form = if guest {
            "built-in guest model for 8 threads"
        } else {
            "built-in physical model for 8 threads"
        };
        assert!(estimator.detail().starts_with(form), "{}", estimator.detail());
    }
}

#[test]
fn only_what_is_wanted_and_can_be_estimated_is_answered() {
    let wanted = [Component::Gpu, Component::Core, Component::Dram];
    let mut estimator = Estimator::new(&machine(false, 1, 8, 16), &EstimatorConfig::default(), &wanted);
    assert_eq!(estimator.components(), [Component::Dram]);
    let energy = estimator.observe(at(0), &[row(0, 8, 0)]);
    assert_eq!(table(&energy), [("dram/socket0".to_owned(), 0, 0)]);
}

#[test]
fn what_is_said_of_a_machine_has_a_range_and_nothing_said_is_the_default() {
    let read = |section: serde_json::Value| {
        serde_json::from_value::<EstimatorConfig>(section).map_err(|error| error.to_string())
    };
    assert_eq!(
        read(serde_json::to_value(EstimatorConfig::default()).unwrap()).unwrap(),
        EstimatorConfig::default()
    );
    assert!(read(serde_json::json!({ "watts": 1 })).is_err());
    for (key, good, bad, words) in [
        ("year", 2019, 19, "a whole number from 1990 to 2100"),
        ("chips", 2, 257, "a whole number from 1 to 256"),
        ("cores", 64, 65_537, "a whole number from 1 to 65536"),
        ("threads", 128, -1, "a whole number from 1 to 65536"),
        ("base_mhz", 2_450, 99, "a whole number from 100 to 10000"),
    ] {
        let of = |value: i64| read(serde_json::json!({ "machine": { key: value } }));
        assert!(of(good).is_ok() && of(0).is_ok(), "{key}");
        let error = of(bad).unwrap_err();
        assert!(error.contains(words), "{key}: {error}");
    }
    for (key, good, bad, words) in [
        ("tdp_watts_per_chip", 280.5, 0.5, "a number from 1 to 5000"),
        ("memory_gib", 0.5, -1.0, "a number from 0 to 1048576"),
    ] {
        let of = |value: f64| read(serde_json::json!({ "machine": { key: value } }));
        assert!(of(good).is_ok() && of(0.0).is_ok(), "{key}");
        let error = of(bad).unwrap_err();
        assert!(error.contains(words), "{key}: {error}");
    }
}

#[test]
fn more_than_all_cpus_is_all_of_them_and_nothing_available_is_nothing_busy() {
    assert_eq!(Busy::share(3, 2), Busy::share(1, 1));
    assert_eq!(Busy::share(1, 0), Busy::default());
    assert!(Busy::share(1, 2) < Busy::share(1, 1));
}

fn total(power: Power) -> u64 {
    let parts = [power.idle, power.dynamic];
    parts
        .iter()
        .map(|parts| (parts.package + parts.dram + parts.rest).as_micro())
        .sum()
}

proptest! {
    #[test]
    fn power_rises_with_load_and_stays_within_reason(
        guest in any::<bool>(),
        threads in 0_u32..100_000,
        memory_bytes in any::<u64>(),
        loads in (0_u32..1_000_001, 0_u32..1_000_001),
    ) {
        let model = if guest { &GUEST } else { &PHYSICAL };
        let socket = Socket { threads, memory_bytes };
        let power = |ppm: u32| model.power(socket, Busy::share(u128::from(ppm), 1_000_000));
        let (low, high) = (loads.0.min(loads.1), loads.0.max(loads.1));
        prop_assert!(total(power(low)) <= total(power(high)));
        prop_assert_eq!(power(low).idle, power(high).idle);
        prop_assert_eq!(total(power(0)), total(Power { dynamic: Parts::default(), ..power(high) }));
        // 20 GiB at 1.237 W and a thread at 16 W are the most that a thread can cost.
        prop_assert!(total(power(high)) <= u64::from(threads.max(1)) * 41_000_000);
    }

    #[test]
    fn totals_never_fall_and_the_parts_never_exceed_the_platform(
        guest in any::<bool>(),
        packages in 1_u16..5,
        gib in 0_u64..4_096,
        observations in prop::collection::vec(
            (any::<u32>(), prop::collection::vec((0_u16..6, any::<u32>(), any::<u64>()), 0..6)),
            1..40,
        ),
    ) {
        let mut estimator = estimator(&machine(guest, packages, 64, gib));
        let (mut now, mut before) = (0_u64, BTreeMap::new());
        for (step, rows) in observations {
            now = now.saturating_add(u64::from(step));
            let rows: Vec<_> = rows.into_iter().map(|(package, cpus, busy)| row(package, cpus, busy)).collect();
            let energy = estimator.observe(at(now), &rows);
            for reading in energy.zones {
                let idle = reading.idle.unwrap();
                prop_assert!(idle <= reading.total);
                let (last, last_idle) = before.insert(reading.zone, (reading.total, idle)).unwrap_or_default();
                prop_assert!(reading.total >= last && idle >= last_idle);
            }
        }
        let sum = |component| -> (Microjoules, Microjoules) {
            let of_it = || before.iter().filter(|(zone, _)| zone.component == component).map(|(_, totals)| *totals);
            (of_it().map(|(total, _)| total).sum(), of_it().map(|(_, idle)| idle).sum())
        };
        let (package, dram, platform) = (sum(Component::Package), sum(Component::Dram), sum(Component::Platform));
        prop_assert!(package.0 + dram.0 <= platform.0);
        prop_assert!(package.1 + dram.1 <= platform.1);
    }
}
