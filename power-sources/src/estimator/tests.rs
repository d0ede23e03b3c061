// SPDX-License-Identifier: Apache-2.0
//! The built-in model and the estimator against their promises.

use super::builtin::MachineCurve;
use super::parts::{Parts, Power};
use super::*;
use proptest::prelude::*;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::collections::BTreeMap;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

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
fn predictions_are_those_of_the_file_by_other_arithmetic() {
    // Milliwatts of platform, package and DRAM at 0, 25, 50 and 100 %, computed from builtin.json by a program in another language.
    let named = |cpu: &str, chips: Option<u32>, memory_gib: Option<f64>| Given {
        cpu: Some(cpu.to_owned()),
        chips,
        memory_gib,
        ..Given::default()
    };
    let new = Given {
        cores: Some(112),
        threads: Some(224),
        base_mhz: Some(2_000),
        tdp_watts_per_chip: Some(350.0),
        ..named("Intel(R) Xeon(R) Platinum 8480+", Some(2), Some(512.0))
    };
    for (given, expected) in [
        (
            named("AMD EPYC 7763 64-Core Processor", Some(2), Some(256.0)),
            [
                (92_455, 41_605, 18_491),
                (213_010, 138_048, 39_586),
                (272_034, 185_268, 49_914),
                (460_825, 336_301, 82_949),
            ],
        ),
        (
            named("Intel(R) Xeon(R) CPU X5670 @ 2.93GHz", Some(2), Some(24.0)),
            [
                (87_485, 39_368, 4_704),
                (147_808, 83_054, 6_265),
                (180_360, 106_629, 7_108),
                (269_246, 171_000, 9_408),
            ],
        ),
        (
            named("Intel Xeon E-2288G", None, Some(32.0)),
            [
                (18_256, 8_215, 3_651),
                (29_037, 16_840, 5_133),
                (40_203, 25_773, 6_667),
                (82_972, 59_988, 12_544),
            ],
        ),
        (
            new,
            [
                (118_276, 53_224, 23_655),
                (260_025, 166_623, 48_564),
                (346_661, 235_932, 63_787),
                (671_229, 495_586, 120_821),
            ],
        ),
        // No machine of that generation was in the fit: its TDP is that of a usual chip, for half of the cores.
        (
            Given {
                cores: Some(24),
                ..named("Intel(R) Xeon(R) Platinum 8480+", Some(1), Some(96.0))
            },
            [
                (62_726, 28_227, 12_545),
                (106_575, 63_306, 18_816),
                (136_195, 87_002, 23_052),
                (238_150, 168_566, 37_632),
            ],
        ),
        (
            Given::default(),
            [
                (72_699, 32_714, 14_540),
                (149_987, 94_545, 28_060),
                (195_068, 130_610, 35_945),
                (359_276, 261_976, 64_670),
            ],
        ),
    ] {
        for (busy, (platform, package, dram)) in [0.0, 0.25, 0.5, 1.0].into_iter().zip(expected) {
            let found = predict(&given, busy);
            for (power, milliwatts) in [
                (found.platform, platform),
                (found.package, package),
                (found.dram, dram),
            ] {
                // The other program rounds to the nearest, and shares here are whole millionths.
                assert!(
                    (power.as_micro() / 1_000).abs_diff(milliwatts) <= 2,
                    "{given:?} at {busy}: {found:?}"
                );
            }
        }
    }
}

#[test]
fn the_year_counts_where_the_generation_is_not_known() {
    let watts = |cpu: Option<&str>, year| {
        predict(
            &Given {
                cpu: cpu.map(str::to_owned),
                year,
                ..Given::default()
            },
            0.5,
        )
        .platform
    };
    assert_ne!(watts(None, Some(2009)), watts(None, Some(2019)));
    assert_eq!(watts(None, Some(2019)), watts(None, None));
    assert_eq!(
        watts(Some("AMD EPYC 7763"), Some(2009)),
        watts(Some("AMD EPYC 7763"), None)
    );
    // Invented numbers are not believed.
    let numbers = Some(Signature::X86 {
        vendor: Vendor::Intel,
        family: 15,
        model: 6,
        stepping: 1,
    });
    let of = |cpu: &str| Given {
        cpu: Some(cpu.to_owned()),
        signature: numbers,
        ..Given::default()
    };
    assert_eq!(
        predict(&of("Common KVM processor"), 0.5).platform,
        watts(None, None)
    );
    assert_ne!(predict(&of("Intel(R) Xeon(R)"), 0.5).platform, watts(None, None));
}

#[test]
fn the_first_observation_has_nothing_to_bill_and_the_next_one_bills_the_measured_time() {
    let machine = machine(false, 2, 112, 192);
    let mut estimator = estimator(&machine);
    let rows = |busy| [row(0, 56, busy), row(1, 56, busy)];
    let first = estimator.observe(at(7 * SECOND), &rows(99));
    assert_eq!(first.zones.len(), 5);
    assert!(
        first
            .zones
            .iter()
            .all(|reading| reading.total.is_zero() && reading.idle == Some(Microjoules::ZERO))
    );
    // 1.5 s at 50 %: the platform's mean power for so long, half of the parts in each socket.
    let energy = estimator.observe(at(7 * SECOND + SECOND * 3 / 2), &rows(99 + 42 * SECOND));
    let found = table(&energy);
    let zones: Vec<_> = found.iter().map(|(zone, ..)| zone.as_str()).collect();
    let order = [
        "package/socket0",
        "package/socket1",
        "dram/socket0",
        "dram/socket1",
        "platform/estimator",
    ];
    assert_eq!(zones, order);
    assert_eq!((found[0].1, found[0].2), (found[1].1, found[1].2));
    assert!(found[4].1.abs_diff(milliwatts(&machine, 500) * 3 / 2) <= 2);
    assert!(found[4].2.abs_diff(milliwatts(&machine, 0) * 3 / 2) <= 2);
    assert!(found[4].1 > found[4].2);
    // The assumptions: 45 % of idle power is the packages'.
    assert!((2 * found[0].2).abs_diff(found[4].2 * 45 / 100) <= 3);
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
    // The other one does not move.
    assert!(found[0].1 > found[0].2);
    assert_eq!(found[1].1, found[1].2);
    assert_eq!(found[0].2, found[1].2);
}

#[test]
fn a_socket_with_more_threads_is_a_larger_part_of_the_machine() {
    let mut estimator = estimator(&MachineDescription {
        packages: vec![(PackageId(0), 12), (PackageId(1), 4)],
        ..machine(false, 2, 16, 64)
    });
    estimator.observe(at(0), &[row(0, 12, 0), row(1, 4, 0)]);
    let found = table(&estimator.observe(at(SECOND), &[row(0, 12, 6 * SECOND), row(1, 4, 2 * SECOND)]));
    assert!(found[0].1.abs_diff(3 * found[1].1) <= 3, "{found:?}");
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

/// A guest that sees which CPU its host has.
fn guest_of_milan(vcpus: u32, gib: u64) -> MachineDescription {
    MachineDescription {
        vendor: Some("AuthenticAMD".to_owned()),
        model_name: Some("AMD EPYC 7763 64-Core Processor".to_owned()),
        ..machine(true, 1, vcpus, gib)
    }
}

#[test]
fn a_guest_pays_its_threads_of_the_host_that_it_is_assumed_to_have() {
    // Two sockets of 64 cores and 128 threads, with as much memory for each thread as the guest has.
    let host = MachineDescription {
        guest: false,
        ..guest_of_milan(0, 512)
    };
    let host = MachineDescription {
        packages: vec![(PackageId(0), 128), (PackageId(1), 128)],
        cores: 128,
        base_mhz: Some(2_450),
        ..host
    };
    for permille in [0, 500, 1_000] {
        let whole = milliwatts(&host, permille);
        let part = milliwatts(&guest_of_milan(2, 4), permille);
        assert!(part.abs_diff(whole * 2 / 256) <= 2, "{part} of {whole}");
    }
    let detail = estimator(&guest_of_milan(2, 4)).detail();
    assert!(
        detail.contains("Zen 3: 2 chips, 280 W TDP each, 128 cores, 256 threads, 2450 MHz, 512.0 GiB")
            && detail
                .ends_with("this guest of 2 vCPUs pays 2/256 of that host (assumed; set estimator.machine)"),
        "{detail}"
    );
}

#[test]
fn a_guest_with_more_memory_than_clouds_sell_is_on_no_such_host() {
    let watts = |gib| milliwatts(&guest_of_milan(2, gib), 1_000);
    assert_eq!(watts(16), watts(64));
    assert!(watts(16) > watts(4));
    let detail = estimator(&guest_of_milan(2, 64)).detail();
    assert!(detail.contains("256 threads, 2450 MHz, 2048.0 GiB"), "{detail}");
}

#[test]
fn how_wrong_it_may_be_goes_by_what_is_known() {
    let model = PlatformModel::builtin();
    let doubt = |cpu: Option<&str>, tdp: Option<f64>| {
        let given = Given {
            cpu: cpu.map(str::to_owned),
            tdp_watts_per_chip: tdp,
            ..Given::default()
        };
        model.curve(&complete(&given, model)).doubt
    };
    let doubts = &model.doubts;
    let (seen, new) = (Some("AMD EPYC-Milan Processor"), Some("AMD EPYC-Genoa Processor"));
    assert_eq!(doubt(seen, Some(200.0)), doubts.known);
    assert_eq!(doubt(seen, None), doubts.tdp_guessed);
    assert_eq!(doubt(new, Some(200.0)), doubts.generation_new);
    assert_eq!(doubt(new, None), doubts.both);
    assert_eq!(doubt(None, Some(200.0)), doubts.cpu_unknown);
    // A CPU of the list tells its TDP.
    assert_eq!(doubt(Some("AMD EPYC 7763"), None), doubts.known);
}

#[test]
fn the_configuration_gives_the_host_of_a_guest() {
    let said = MachineConfig {
        cpu: "Intel Xeon Platinum 8380".to_owned(),
        chips: 1,
        threads: 80,
        memory_gib: 256.0,
        ..MachineConfig::default()
    };
    let guest = machine(true, 1, 8, 16);
    let config = EstimatorConfig {
        machine: said.clone(),
        ..EstimatorConfig::default()
    };
    let detail = Estimator::new(&guest, &config, COMPONENTS).detail();
    assert!(
        detail.contains("Ice Lake: 1 chips, 270 W TDP each, 40 cores, 80 threads, 2300 MHz, 256.0 GiB (Intel Xeon Platinum 8380)")
            && detail.ends_with("this guest of 8 vCPUs pays 8/80 of that host (estimator.machine)"),
        "{detail}"
    );
    // A host that is too small for its guest is not believed.
    let config = EstimatorConfig {
        machine: MachineConfig { threads: 4, ..said },
        ..EstimatorConfig::default()
    };
    let detail = Estimator::new(&guest, &config, COMPONENTS).detail();
    assert!(detail.contains("pays 8/8 of that host"), "{detail}");
}

#[test]
fn the_configuration_speaks_louder_than_the_machine() {
    let found = MachineDescription {
        tdp: Some(Microwatts::from_watts(100)),
        base_mhz: Some(2_000),
        signature: Some(Signature::X86 {
            vendor: Vendor::Amd,
            family: 23,
            model: 0x31,
            stepping: 0,
        }),
        ..machine(false, 1, 16, 64)
    };
    let detail = |said: MachineConfig| {
        Estimator::new(
            &found,
            &EstimatorConfig {
                machine: said,
                ..EstimatorConfig::default()
            },
            COMPONENTS,
        )
        .detail()
    };
    let nothing = detail(MachineConfig::default());
    assert!(
        nothing.contains("Zen 2: 1 chips, 100 W TDP each, 8 cores, 16 threads, 2000 MHz, 64.0 GiB"),
        "{nothing}"
    );
    let all = detail(MachineConfig {
        vendor: "amd".to_owned(),
        cpu: String::new(),
        year: 2015,
        chips: 2,
        cores: 32,
        threads: 64,
        base_mhz: 3_000,
        tdp_watts_per_chip: 150.0,
        memory_gib: 96.0,
    });
    assert!(
        all.contains("2 chips, 150 W TDP each, 32 cores, 64 threads, 3000 MHz, 96.0 GiB"),
        "{all}"
    );
    // Another CPU is not as fast, and its firmware's TDP is another's.
    let other = detail(MachineConfig {
        cpu: "AMD EPYC 7763".to_owned(),
        ..MachineConfig::default()
    });
    assert!(
        other.contains("Zen 3: 1 chips, 280 W TDP each, 8 cores, 16 threads, 2450 MHz"),
        "{other}"
    );
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
fn asking_the_model_allocates_nothing() {
    let model = PlatformModel::builtin();
    let described = machine(false, 2, 16, 64);
    let builtin = Builtin::new(&described, &MachineConfig::default(), model);
    // Of several the fewest: another thread of this program may allocate, too.
    let fewest = (0..20).map(|round| {
        let region = Region::new(ALLOCATOR);
        let power = builtin.power(1, Busy::share(round, 20));
        let change = region.change();
        assert!(total(power) > 0);
        change.allocations + change.reallocations
    });
    assert_eq!(fewest.min(), Some(0));
}

#[test]
fn a_socket_that_is_not_there_uses_nothing() {
    let builtin = Builtin::new(
        &machine(false, 2, 16, 64),
        &MachineConfig::default(),
        PlatformModel::builtin(),
    );
    assert_eq!(builtin.power(2, Busy::share(1, 1)), Power::default());
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
        // package, dram, platform: a part is never surer than the whole, and a share of a host never surer than the host.
        let whole = PlatformModel::builtin()
            .doubts
            .cpu_unknown
            .relative_error_permille;
        let beside = if guest { 500 } else { 0 };
        assert_eq!(
            u64::from(errors[2]),
            (u64::from(whole).pow(2) + beside * beside).isqrt()
        );
        assert!(errors[0] > errors[2] && errors[1] > errors[0], "{errors:?}");
        assert_eq!(estimator.id(), SourceId("trained_power_model"));
        assert!(
            estimator
                .detail()
                .starts_with("built-in model of a CPU of unknown generation: ")
        );
        assert_eq!(
            estimator.detail().contains("this guest of 8 vCPUs pays 8/"),
            guest
        );
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

/// Any description at all, and mostly of what exists.
fn any_given() -> impl Strategy<Value = Given> {
    let names = prop::option::of(prop_oneof![
        ".{0,40}",
        Just("AMD EPYC 7763 64-Core Processor".to_owned()),
        Just("Intel(R) Xeon(R) Platinum 8480+".to_owned()),
        Just("Intel(R) Core(TM) i5-8250U CPU @ 1.60GHz".to_owned()),
        prop::sample::select(PlatformModel::builtin().cpus.keys().cloned().collect::<Vec<_>>()),
    ]);
    let vendors = prop::option::of(prop_oneof![
        ".{0,10}",
        Just("amd".to_owned()),
        Just("GenuineIntel".to_owned())
    ]);
    let count = || prop::option::of(prop_oneof![any::<u32>(), 0_u32..300]);
    let number = || prop::option::of(prop_oneof![any::<f64>(), 0.0..1_000.0]);
    let signature = prop::option::of(
        (
            any::<bool>(),
            prop_oneof![Just(6_u32), Just(25), any::<u32>()],
            0_u32..256,
            0_u32..16,
        )
            .prop_map(|(intel, family, model, stepping)| Signature::X86 {
                vendor: if intel { Vendor::Intel } else { Vendor::Amd },
                family,
                model,
                stepping,
            }),
    );
    let year = prop::option::of(any::<u16>());
    (
        vendors,
        names,
        signature,
        year,
        (count(), count(), count(), count()),
        (number(), number()),
    )
        .prop_map(
            |(
                vendor,
                cpu,
                signature,
                year,
                (chips, cores, threads, base_mhz),
                (tdp_watts_per_chip, memory_gib),
            )| Given {
                vendor,
                cpu,
                signature,
                year,
                chips,
                cores,
                threads,
                base_mhz,
                tdp_watts_per_chip,
                memory_gib,
            },
        )
}

proptest! {
    #[test]
    fn a_prediction_is_finite_and_rises_with_load_for_any_machine(given in any_given(), loads in (0.0_f64..=1.0, 0.0_f64..=1.0)) {
        let model = PlatformModel::builtin();
        let spec = complete(&given, model);
        prop_assert!((1..=256).contains(&spec.chips) && spec.chips <= spec.cores && spec.cores <= spec.threads && spec.threads <= 65_536);
        prop_assert!(spec.memory_gib.is_finite() && spec.memory_gib > 0.0 && (100..=10_000).contains(&spec.base_mhz));
        let curve = model.curve(&spec);
        for pair in curve.watts.windows(2) {
            prop_assert!(pair[0].is_finite() && pair[0] > 0.0 && pair[0] <= pair[1], "{curve:?}");
        }
        let (low, high) = (predict(&given, loads.0.min(loads.1)), predict(&given, loads.0.max(loads.1)));
        prop_assert!(low.platform <= high.platform && low.package <= high.package && low.dram <= high.dram);
        for prediction in [low, high] {
            prop_assert!(prediction.package + prediction.dram <= prediction.platform);
            prop_assert!(prediction.package > Microwatts::ZERO);
            prop_assert!(prediction.p10 > Microwatts::ZERO && prediction.p10 <= prediction.platform && prediction.platform <= prediction.p90);
            // No machine of today draws more: 16 chips of a kilowatt each.
            prop_assert!(prediction.platform <= Microwatts::from_watts(40_000), "{prediction:?} of {spec:?}");
        }
        // What is absurd as a load is the nearest load.
        prop_assert_eq!(predict(&given, f64::INFINITY), predict(&given, 1.0));
        prop_assert_eq!(predict(&given, -1.0), predict(&given, 0.0));
    }

    #[test]
    fn parts_of_a_machine_add_up_to_no_more_than_it(given in any_given(), busy in 0_u128..=1_000_000, threads in prop::collection::vec(1_u64..300, 1..9)) {
        let model = PlatformModel::builtin();
        let curve = MachineCurve::new(&complete(&given, model), model);
        let busy = Busy::share(busy, 1_000_000);
        let all: u64 = threads.iter().sum();
        let parts: u64 = threads.iter().map(|own| total(curve.share(busy, *own, all))).sum();
        let whole = total(curve.share(busy, 1, 1));
        // Every socket rounds down its idle and its dynamic power.
        prop_assert!(parts <= whole && whole - parts <= 2 * 9, "{parts} of {whole}");
        prop_assert_eq!(curve.share(busy, 1, 1).idle, curve.share(Busy::default(), 1, 1).idle);
        prop_assert_eq!(total(Power { idle: Parts::default(), ..curve.share(Busy::default(), 1, 1) }), 0);
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
