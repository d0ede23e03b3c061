// SPDX-License-Identifier: Apache-2.0
//! Against trees as the driver lays them out, old and new registration, and against a record of the real driver.

use super::*;
use crate::testing::sysfs::{Files, Sysfs, lay_out};
use crate::testing::{ask, at_ms as at, errors, joules, totals};
use attribution::model::Provenance;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

const WANTED: &[Component] = &[Component::Platform];
const DEVICE: &str = "LNXSYSTM:00/LNXSYBUS:00/ACPI000D:00";

/// Files of the driver, all of them.
fn files<'a>(average: &'a str, interval: &'a str, oem: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("power1_accuracy", "95.0%"),
        ("power1_average", average),
        ("power1_average_interval", interval),
        ("power1_average_interval_max", "60000"),
        ("power1_average_interval_min", "1000"),
        ("power1_average_max", "unknown"),
        ("power1_average_min", "unknown"),
        ("power1_is_battery", "0"),
        ("power1_model_number", "RIG-METER"),
        ("power1_oem_info", oem),
        ("power1_serial_number", "SN0001"),
    ]
}

fn meter(tree: &Sysfs, number: u32, device: &str, files: Files<'_>) {
    tree.old_chip(number, device, "power_meter", "power_meter", files);
}

/// One meter of 200 W that averages over one second, and chips beside it.
fn server() -> Sysfs {
    let tree = Sysfs::new();
    tree.chip(
        0,
        "pci0000:00/0000:00:18.3",
        "k10temp",
        &[("temp1_input", "40000")],
    );
    meter(&tree, 1, DEVICE, &files("200000000", "1000", ""));
    tree.chip(
        2,
        "pci0000:00/0000:41:00.0",
        "mlx5",
        &[("power1_input", "9000000")],
    );
    tree
}

fn section(tree: &Sysfs) -> Value {
    json!({ "root": tree.hwmon_root() })
}

fn opened(section: &Value) -> Box<dyn PowerSource> {
    match open(&ask(section, WANTED)).unwrap() {
        Opened::Source(source) => source,
        Opened::Absent { reason } => panic!("absent: {reason}"),
    }
}

fn why_not(section: &Value) -> String {
    match open(&ask(section, WANTED)).unwrap() {
        Opened::Absent { reason } => reason,
        Opened::Source(source) => panic!("opened {}", source.detail()),
    }
}

// --- finding it ---

#[test]
fn the_record_of_the_real_driver_gives_the_platform() {
    let dir = TempDir::new().unwrap();
    let record = include_str!("../../tests/fixtures/intel-2-sockets-acpi-meter.txt");
    lay_out(record, dir.path());
    let root = dir.path().join("sys/class/hwmon");
    let mut acpi = opened(&json!({ "root": root }));
    assert_eq!(acpi.components(), WANTED);
    assert_eq!(acpi.id(), SourceId("acpi"));
    assert!(
        acpi.detail().ends_with(
            "platform/ACPI000D:00 = power1_average of power_meter (ACPI000D:00); \
             ACPI000D:00 / RIG-METER / test rig"
        ),
        "{}",
        acpi.detail()
    );
    acpi.read(at(0));
    let energy = acpi.read(at(10_000));
    // 123.456 W for 10 s.
    assert_eq!(
        totals(&energy),
        [("platform/ACPI000D:00".to_owned(), 1_234_560_000)]
    );
    assert_eq!(energy.zones[0].provenance, Provenance::Integrated);
    assert_eq!(errors(&energy), []);
}

#[test]
fn a_meter_is_found_by_its_driver_in_either_layout_and_under_any_number() {
    let answers = files("200000000", "1000", "");
    // The new registration: a platform driver, everything in hwmonN.
    let new = Sysfs::new();
    new.chip(17, "platform/ACPI000D:00", "power_meter", &answers);
    new.driver("platform/ACPI000D:00", "acpi-power-meter");
    // A tree without links to drivers.
    let undriven = Sysfs::new();
    undriven.chip(4, "platform/ACPI000D:00", "power_meter", &answers);
    // A name that nobody knows; the driver says what it is.
    let driver = Sysfs::new();
    driver.chip(3, "platform/ACPI000D:00", "whatever", &answers);
    driver.driver("platform/ACPI000D:00", "acpi-power-meter");
    // No name at all.
    let nameless = server();
    fs::remove_file(nameless.path(&format!("devices/{DEVICE}/name"))).unwrap();
    // In between: the name in hwmonN, the files in the device.
    let between = server();
    between.set("class/hwmon/hwmon1/name", b"power_meter\n");
    for tree in [new, undriven, driver, nameless, between, server()] {
        let mut acpi = opened(&section(&tree));
        acpi.read(at(0));
        assert_eq!(
            totals(&acpi.read(at(1_000))),
            joules([("platform/ACPI000D:00", 200)])
        );
    }
}

#[test]
fn without_an_average_the_input_is_taken() {
    let tree = Sysfs::new();
    meter(&tree, 0, DEVICE, &[("power1_input", "50000000")]);
    let mut acpi = opened(&section(&tree));
    acpi.read(at(0));
    tree.chip_set(0, "power1_input", "70000000");
    assert_eq!(
        totals(&acpi.read(at(1_000))),
        joules([("platform/ACPI000D:00", 60)])
    );
}

#[test]
fn other_chips_with_power_are_no_acpi_meters() {
    let tree = Sysfs::new();
    for (number, name) in (0..).zip([
        "mlx5",
        "nvme",
        "BAT0",
        "corsairpsu",
        "pmbus",
        "amdgpu",
        "apm_xgene",
    ]) {
        let device = format!("platform/dev{number}");
        tree.chip(
            number,
            &device,
            name,
            &[("power1_average", "9000000"), ("power1_input", "9000000")],
        );
    }
    assert!(why_not(&section(&tree)).contains("no ACPI power meter; try `modprobe acpi_power_meter`"));
}

// --- several meters ---

fn candidate(device: &str, oem: &str) -> Candidate {
    Candidate {
        device: device.to_owned(),
        model: "M".to_owned(),
        oem: oem.to_owned(),
        battery: false,
        system: false,
    }
}

#[test]
fn the_machine_is_counted_once_or_not_at_all() {
    let plain = |device| candidate(device, "");
    let system = |device| Candidate {
        system: true,
        ..plain(device)
    };
    let battery = |device| Candidate {
        battery: true,
        ..plain(device)
    };
    let grace = candidate("ACPI000D:03", "Grace Power Socket 0");
    let module = candidate("ACPI000D:04", "Module Power Socket 0");
    type Case<'a> = (&'a str, Vec<Candidate>, Result<Vec<usize>, &'a str>);
    let cases: [Case<'_>; 9] = [
        ("one", vec![plain("a")], Ok(vec![0])),
        ("one and a battery", vec![battery("a"), plain("b")], Ok(vec![1])),
        (
            "one and Grace",
            vec![grace.clone(), module.clone(), plain("c")],
            Ok(vec![2]),
        ),
        ("two", vec![plain("a"), plain("b")], Err("sources.acpi.meters")),
        (
            "two, one of the system",
            vec![plain("a"), system("b")],
            Ok(vec![1]),
        ),
        (
            "two of the system",
            vec![system("a"), system("b")],
            Err("a / M; b / M"),
        ),
        ("only Grace", vec![grace, module], Err("only of sockets")),
        ("a battery", vec![battery("a")], Err("batteries")),
        ("none", vec![], Err("no ACPI power meter")),
    ];
    for (name, candidates, expected) in cases {
        match (scan::choose(&candidates, &[]), expected) {
            (Ok(chosen), Ok(expected)) => assert_eq!(chosen, expected, "{name}"),
            (Err(reason), Err(expected)) => assert!(reason.contains(expected), "{name}: {reason}"),
            (chosen, expected) => panic!("{name}: {chosen:?}, expected {expected:?}"),
        }
    }
}

#[test]
fn the_section_chooses_by_device_model_or_text_also_what_is_not_taken_by_itself() {
    let candidates = [
        candidate("ACPI000D:00", "PSU 1"),
        candidate("ACPI000D:01", "PSU 2"),
        candidate("ACPI000D:02", "Module Power Socket 0"),
    ];
    for (patterns, expected) in [
        (vec!["PSU*"], vec![0, 1]),
        (vec!["ACPI000D:01"], vec![1]),
        (vec!["M"], vec![0, 1, 2]),
        (vec!["Module*", "PSU 1"], vec![0, 2]),
    ] {
        let patterns: Vec<_> = patterns.into_iter().map(Into::into).collect();
        assert_eq!(scan::choose(&candidates, &patterns), Ok(expected));
    }
    let none = scan::choose(&candidates, &["x".into()]).unwrap_err();
    assert!(
        none.contains("names none of the meters here: ACPI000D:00 / M / PSU 1; "),
        "{none}"
    );
}

#[test]
fn what_the_firmware_says_about_the_system_is_read_from_its_links() {
    let tree = server();
    meter(
        &tree,
        7,
        "LNXSYSTM:00/LNXSYBUS:00/ACPI000D:01",
        &files("90000000", "1000", ""),
    );
    assert!(why_not(&section(&tree)).contains("ACPI000D:00 / RIG-METER; ACPI000D:01 / RIG-METER"));
    let measures = tree.path(&format!("devices/{DEVICE}/measures"));
    fs::create_dir(&measures).unwrap();
    symlink("../../../LNXSYBUS:00", measures.join("LNXSYBUS:00")).unwrap();
    let acpi = opened(&section(&tree));
    assert!(
        acpi.detail().ends_with("not counted: ACPI000D:01 / RIG-METER"),
        "{}",
        acpi.detail()
    );
    // Both, by choice: each is a zone of its own.
    let mut both = opened(&json!({ "root": tree.hwmon_root(), "meters": ["ACPI000D:*"] }));
    both.read(at(0));
    assert_eq!(
        totals(&both.read(at(1_000))),
        joules([("platform/ACPI000D:00", 200), ("platform/ACPI000D:01", 90)])
    );
}

// --- what is counted ---

#[test]
fn the_mean_is_billed_for_its_interval_and_the_meter_is_left_in_peace_in_between() {
    let tree = Sysfs::new();
    meter(&tree, 0, DEVICE, &files("100000000", "10000", ""));
    let mut acpi = opened(&section(&tree));
    acpi.read(at(0));
    // Not read in between: garbage is not noticed.
    tree.chip_set(0, "power1_average", "garbage");
    for second in 1..=9 {
        let energy = acpi.read(at(second * 1_000));
        assert_eq!((energy.zones[0].at, energy.zones[0].total.as_micro()), (at(0), 0));
    }
    tree.chip_set(0, "power1_average", "300000000");
    let energy = acpi.read(at(10_000));
    assert_eq!(totals(&energy), joules([("platform/ACPI000D:00", 3_000)]));
    assert_eq!(energy.zones[0].at, at(10_000));
    assert_eq!(errors(&energy), []);
}

#[test]
fn readings_that_are_none_are_refused_and_counted_and_never_integrated() {
    for bad in [
        "0",
        "4294967295",
        "4294967295000",
        "20000000001",
        "-5",
        "unknown",
        "",
        "1e9",
        "123.4",
        "18446744073709551615",
        "18446744073709551616",
    ] {
        let tree = server();
        let mut acpi = opened(&section(&tree));
        acpi.read(at(0));
        acpi.read(at(1_000));
        tree.chip_set(1, "power1_average", bad);
        let energy = acpi.read(at(2_000));
        assert_eq!(energy.zones, [], "{bad}");
        let reason = errors(&energy)[0].1;
        assert!(
            [ErrorReason::Implausible, ErrorReason::Parse].contains(&reason),
            "{bad}"
        );
        tree.chip_set(1, "power1_average", "200000000");
        // The gap is billed by what is known about both its ends.
        assert_eq!(
            totals(&acpi.read(at(4_000))),
            joules([("platform/ACPI000D:00", 800)]),
            "{bad}"
        );
    }
}

#[test]
fn a_meter_that_only_says_that_it_does_not_know_is_absent_with_that_reason() {
    for (bad, expected) in [
        ("4294967295", "is how firmware says that it does not know"),
        ("0", "0 uW is not within 1 and 20000000000"),
    ] {
        let tree = Sysfs::new();
        meter(&tree, 0, DEVICE, &files(bad, "1000", ""));
        let why = why_not(&section(&tree));
        assert!(why.contains(expected), "{why}");
        assert!(why.contains("hwmon0/device/power1_average"), "{why}");
    }
}

#[test]
fn a_meter_that_comes_back_after_its_driver_was_loaded_again_goes_on() {
    let tree = server();
    let mut acpi = opened(&section(&tree));
    acpi.read(at(0));
    tree.remove_chip(1, DEVICE);
    let energy = acpi.read(at(1_000));
    assert_eq!(energy.zones, []);
    assert_eq!(
        errors(&energy),
        [("platform/ACPI000D:00".to_owned(), ErrorReason::Gone, 1)]
    );
    meter(&tree, 12, DEVICE, &files("200000000", "1000", ""));
    assert_eq!(
        totals(&acpi.read(at(2_000))),
        joules([("platform/ACPI000D:00", 400)])
    );
}

// --- the section ---

#[test]
fn the_section_is_checked() {
    let message = |section| match open(&ask(&section, WANTED)) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("accepted {section}"),
    };
    assert!(message(json!({ "root": "" })).contains("`sources.acpi.root` is empty"));
    assert!(message(json!({ "max_watts": 0 })).contains("`sources.acpi.max_watts` is 0; from 1 to 100000"));
    assert!(message(json!({ "max_watts": 100_001 })).contains("max_watts"));
    assert!(message(json!({ "read_every": "5" })).contains("is not usable"));
    assert!(message(json!({ "read_every": "3m" })).contains("allowed are 0s to 2m"));
    assert!(message(json!({ "meters": "x" })).contains("is not usable"));
    assert_eq!(
        default_section(),
        json!({ "root": "/sys/class/hwmon", "meters": [], "max_watts": 20_000, "read_every": "0s" })
    );
    let absent = open(&ask(&json!({ "root": "/nowhere" }), WANTED)).unwrap();
    assert!(matches!(absent, Opened::Absent { reason } if reason.contains("/nowhere does not exist")));
    let tree = server();
    let other = open(&ask(&section(&tree), &[Component::Package])).unwrap();
    assert!(matches!(other, Opened::Absent { .. }));
}

// --- whatever the bytes are ---

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn garbage_in_any_file_never_panics_and_never_becomes_energy(
        contents in prop::collection::vec(
            (
                prop::sample::select(vec![
                    "power1_average", "power1_average_interval", "power1_oem_info", "power1_model_number",
                    "power1_is_battery", "name",
                ]),
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..40),
                    "[0-9]{1,22}\n?".prop_map(String::into_bytes),
                    "[A-Za-z]{3,6} Power Socket [0-9]{0,6}".prop_map(String::into_bytes),
                ],
            ),
            1..12,
        ),
    ) {
        let tree = server();
        let mut acpi = opened(&section(&tree));
        acpi.read(at(0));
        let (mut before, mut now) = (0, 0);
        for (file, bytes) in contents {
            tree.set(&format!("devices/{DEVICE}/{file}"), &bytes);
            // Whatever it holds: a reason or a source.
            drop(open(&ask(&section(&tree), WANTED)).unwrap());
            now += 1_000;
            for reading in acpi.read(at(now)).zones {
                prop_assert!(reading.total.as_micro() >= before);
                // At most 20 kW.
                prop_assert!(reading.total.as_micro() <= now * 20_000_000);
                before = reading.total.as_micro();
            }
        }
    }
}
