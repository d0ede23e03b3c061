// SPDX-License-Identifier: Apache-2.0
//! Against trees in the shape of Documentation/ABI/testing/sysfs-class-power.

use super::supply::Status;
use super::*;
use crate::testing::sysfs::{Files, Sysfs};
use crate::testing::{ask, at_ms as at, errors, joules, totals};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;

const WANTED: &[Component] = &[Component::Platform];

fn supply_of(tree: &Sysfs, device: &str, name: &str, files: Files<'_>) {
    let folder = format!("devices/{device}/power_supply/{name}");
    tree.fill(&folder, files);
    let class = tree.path("class/power_supply");
    fs::create_dir_all(&class).unwrap();
    symlink(format!("../../{folder}"), class.join(name)).unwrap();
}

fn set(tree: &Sysfs, supply: &str, file: &str, content: &str) {
    tree.set(
        &format!("class/power_supply/{supply}/{file}"),
        format!("{content}\n").as_bytes(),
    );
}

/// A laptop on its battery, at 12 W: mains unplugged, a USB port that gives power away, a mouse, an empty bay.
fn laptop() -> Sysfs {
    let tree = Sysfs::new();
    supply_of(
        &tree,
        "LNX/ACPI0003:00",
        "AC",
        &[("type", "Mains"), ("online", "0")],
    );
    let battery = [
        ("type", "Battery"),
        ("status", "Discharging"),
        ("present", "1"),
        ("technology", "Li-poly"),
        ("power_now", "12000000"),
        ("voltage_now", "11400000"),
        ("energy_now", "40000000"),
        ("capacity", "80"),
    ];
    supply_of(&tree, "LNX/PNP0C0A:00", "BAT0", &battery);
    let bay = [("type", "Battery"), ("present", "0"), ("status", "Unknown")];
    supply_of(&tree, "LNX/PNP0C0A:01", "BAT1", &bay);
    let mouse = [
        ("type", "Battery"),
        ("scope", "Device"),
        ("status", "Discharging"),
        ("power_now", "1000000"),
    ];
    supply_of(&tree, "usb/0003:046D:C52B.0001", "hidpp_battery_0", &mouse);
    let port = [
        ("type", "USB"),
        ("scope", "System"),
        ("online", "0"),
        ("usb_type", "[C] PD PD_PPS"),
    ];
    supply_of(&tree, "platform/USBC000:00", "ucsi-source-psy-USBC000:001", &port);
    tree
}

fn section(tree: &Sysfs) -> Value {
    json!({ "root": tree.path("class/power_supply") })
}

fn opened(tree: &Sysfs) -> Box<dyn PowerSource> {
    match open(&ask(&section(tree), WANTED)).unwrap() {
        Opened::Source(source) => source,
        Opened::Absent { reason } => panic!("absent: {reason}"),
    }
}

fn why_not(section: &Value, wanted: &[Component]) -> String {
    match open(&ask(section, wanted)).unwrap() {
        Opened::Absent { reason } => reason,
        Opened::Source(source) => panic!("opened {}", source.detail()),
    }
}

const fn watts(watts: u64) -> Microwatts {
    Microwatts::from_watts(watts)
}

// --- the verdict ---

#[test]
fn only_a_machine_that_nothing_else_feeds_is_metered_by_its_batteries() {
    let gives = |power| Supply::Battery {
        status: Status::Discharging(Ok(watts(power))),
    };
    let fault = Fault {
        reason: ErrorReason::Io,
        words: "x".to_owned(),
    };
    let silent = Supply::Battery {
        status: Status::Discharging(Err(fault.clone())),
    };
    let charging = Supply::Battery {
        status: Status::Charging,
    };
    let idle = Supply::Battery { status: Status::Idle };
    let (plugged, unplugged) = (
        Supply::External { online: true },
        Supply::External { online: false },
    );
    let cases: [(&str, Vec<Supply>, Verdict); 11] = [
        ("nothing", vec![], Verdict::NoBattery),
        (
            "a desktop",
            vec![plugged.clone(), Supply::Other],
            Verdict::NoBattery,
        ),
        (
            "on battery",
            vec![gives(12), unplugged.clone()],
            Verdict::Uses(watts(12)),
        ),
        ("two at once", vec![gives(12), gives(5)], Verdict::Uses(watts(17))),
        (
            "one after the other",
            vec![gives(12), idle.clone()],
            Verdict::Uses(watts(12)),
        ),
        (
            "full, on mains",
            vec![idle, plugged.clone()],
            Verdict::NotOnBattery,
        ),
        ("charging", vec![charging.clone()], Verdict::NotOnBattery),
        (
            "one charges, one gives",
            vec![gives(12), charging],
            Verdict::NotOnBattery,
        ),
        (
            "a weak charger",
            vec![gives(12), plugged.clone()],
            Verdict::NotOnBattery,
        ),
        (
            "one does not tell",
            vec![gives(12), silent.clone()],
            Verdict::Failed(fault),
        ),
        (
            "what does not tell on mains",
            vec![silent, plugged],
            Verdict::NotOnBattery,
        ),
    ];
    for (name, supplies, expected) in cases {
        assert_eq!(verdict(supplies), expected, "{name}");
    }
}

// --- what is counted ---

#[test]
fn a_laptop_on_battery_is_metered_by_it_and_not_by_its_mouse() {
    let tree = laptop();
    let mut battery = opened(&tree);
    assert_eq!((battery.id(), battery.components()), (SOURCE, WANTED.to_vec()));
    assert!(
        battery
            .detail()
            .ends_with("class/power_supply: platform/battery = BAT0, while the machine runs on it"),
        "{}",
        battery.detail()
    );
    battery.read(at(0));
    set(&tree, "BAT0", "power_now", "18000000");
    let energy = battery.read(at(10_000));
    assert_eq!(totals(&energy), joules([("platform/battery", 150)]));
    assert_eq!(energy.zones[0].provenance, Provenance::Integrated);
    assert_eq!(errors(&energy), []);
}

#[test]
fn power_is_taken_whatever_its_sign_and_from_current_and_voltage_where_there_is_none() {
    for (files, expected) in [
        (vec![("power_now", "-12000000")], 12),
        (vec![("current_now", "2000000"), ("voltage_now", "11500000")], 23),
        (vec![("current_now", "-2000000"), ("voltage_now", "11500000")], 23),
        // power_now goes before.
        (
            vec![
                ("power_now", "7000000"),
                ("current_now", "1"),
                ("voltage_now", "1"),
            ],
            7,
        ),
    ] {
        let tree = Sysfs::new();
        let mut all = vec![("type", "Battery"), ("status", "Discharging")];
        all.extend(files);
        supply_of(&tree, "i2c/1-0055", "bq27541-0", &all);
        let mut battery = opened(&tree);
        battery.read(at(0));
        assert_eq!(
            totals(&battery.read(at(1_000))),
            joules([("platform/battery", expected)])
        );
    }
}

#[test]
fn two_batteries_are_added_up_also_one_that_is_put_in_later() {
    let tree = laptop();
    let mut battery = opened(&tree);
    battery.read(at(0));
    for (file, content) in [
        ("present", "1"),
        ("status", "Discharging"),
        ("power_now", "6000000"),
    ] {
        set(&tree, "BAT1", file, content);
    }
    battery.read(at(1_000));
    // 1 s of the mean of 12 and 18 W, 1 s of 18 W.
    assert_eq!(
        totals(&battery.read(at(2_000))),
        joules([("platform/battery", 33)])
    );
}

#[test]
fn on_mains_there_is_no_reading_nothing_is_billed_and_nothing_is_an_error() {
    let tree = laptop();
    let mut battery = opened(&tree);
    battery.read(at(0));
    assert_eq!(
        totals(&battery.read(at(10_000))),
        joules([("platform/battery", 120)])
    );
    set(&tree, "AC", "online", "1");
    set(&tree, "BAT0", "status", "Charging");
    set(&tree, "BAT0", "power_now", "40000000");
    for second in 11..=60 {
        let energy = battery.read(at(second * 1_000));
        assert_eq!((energy.zones, energy.errors), (vec![], vec![]));
    }
    set(&tree, "BAT0", "status", "Full");
    set(&tree, "BAT0", "power_now", "0");
    assert_eq!(battery.read(at(61_000)).zones, []);
    set(&tree, "AC", "online", "0");
    set(&tree, "BAT0", "status", "Discharging");
    set(&tree, "BAT0", "power_now", "20000000");
    assert_eq!(
        totals(&battery.read(at(62_000))),
        joules([("platform/battery", 120)])
    );
    let energy = battery.read(at(63_000));
    assert_eq!(totals(&energy), joules([("platform/battery", 140)]));
    assert_eq!(errors(&energy), []);
}

#[test]
fn it_is_looked_at_once_a_second_and_the_reading_keeps_its_moment() {
    let tree = laptop();
    let mut battery = opened(&tree);
    battery.read(at(0));
    set(&tree, "BAT0", "power_now", "garbage");
    for milliseconds in [100, 500, 900] {
        assert_eq!(battery.read(at(milliseconds)).zones[0].at, at(0));
    }
    set(&tree, "BAT0", "power_now", "12000000");
    let energy = battery.read(at(1_000));
    assert_eq!(energy.zones[0].at, at(1_000));
    assert_eq!(totals(&energy), joules([("platform/battery", 12)]));
}

#[test]
fn readings_that_are_none_are_refused_and_counted_and_the_gap_is_billed_by_its_ends() {
    for bad in [
        "0",
        "4294967295",
        "4294967295000",
        "500000001",
        "unknown",
        "",
        "1.5",
    ] {
        let tree = laptop();
        let mut battery = opened(&tree);
        battery.read(at(0));
        set(&tree, "BAT0", "power_now", bad);
        let energy = battery.read(at(1_000));
        assert_eq!(energy.zones, [], "{bad}");
        assert_eq!(errors(&energy).len(), 1, "{bad}");
        set(&tree, "BAT0", "power_now", "12000000");
        assert_eq!(battery.read(at(1_500)).zones, [], "{bad}");
        assert_eq!(
            totals(&battery.read(at(2_000))),
            joules([("platform/battery", 24)]),
            "{bad}"
        );
    }
}

#[test]
fn a_battery_that_is_taken_out_is_gone_until_it_is_back() {
    let tree = laptop();
    let mut battery = opened(&tree);
    battery.read(at(0));
    fs::remove_file(tree.path("class/power_supply/BAT0")).unwrap();
    let energy = battery.read(at(1_000));
    assert_eq!(energy.zones, []);
    assert_eq!(
        errors(&energy),
        [("platform/battery".to_owned(), ErrorReason::Gone, 1)]
    );
    symlink(
        "../../devices/LNX/PNP0C0A:00/power_supply/BAT0",
        tree.path("class/power_supply/BAT0"),
    )
    .unwrap();
    battery.read(at(2_000));
    assert_eq!(
        totals(&battery.read(at(3_000))),
        joules([("platform/battery", 12)])
    );
}

#[test]
fn what_cannot_be_read_costs_the_reading_only_where_it_is_a_battery() {
    let tree = laptop();
    let mut battery = opened(&tree);
    tree.set("class/power_supply/AC/type", b"\xff");
    tree.set("class/power_supply/ucsi-source-psy-USBC000:001/type", b"");
    battery.read(at(0));
    assert_eq!(
        totals(&battery.read(at(1_000))),
        joules([("platform/battery", 12)])
    );
    tree.set("class/power_supply/BAT0/status", b"\xff");
    let energy = battery.read(at(2_000));
    assert_eq!(energy.zones, []);
    assert_eq!(
        errors(&energy),
        [("platform/battery".to_owned(), ErrorReason::Parse, 1)]
    );
}

#[test]
fn a_long_silence_is_not_billed_and_is_told() {
    let tree = laptop();
    let mut battery = opened(&tree);
    battery.read(at(0));
    let energy = battery.read(at(181_000));
    assert_eq!(totals(&energy), joules([("platform/battery", 0)]));
    assert_eq!(
        errors(&energy),
        [("platform/battery".to_owned(), ErrorReason::Timeout, 1)]
    );
}

#[test]
fn a_laptop_has_psys_beside_it_and_each_is_a_zone_of_its_own_source() {
    let tree = laptop();
    let psys = [
        ("name", "psys"),
        ("max_energy_range_uj", "262143328850"),
        ("energy_uj", "1000000"),
    ];
    tree.fill("class/powercap/intel-rapl:1", &psys);
    let root = json!({ "root": tree.path("class/powercap") });
    let Opened::Source(mut rapl) = crate::rapl::open(&ask(&root, WANTED)).unwrap() else {
        panic!("no psys");
    };
    assert_eq!(totals(&rapl.read(at(0))), joules([("platform/psys", 0)]));
    assert_eq!(
        totals(&opened(&tree).read(at(0))),
        joules([("platform/battery", 0)])
    );
}

// --- where it is not ---

#[test]
fn absence_has_a_reason_and_the_section_is_checked() {
    let missing = why_not(&json!({ "root": "/nowhere" }), WANTED);
    assert!(missing.contains("/nowhere does not exist"), "{missing}");
    let desktop = Sysfs::new();
    supply_of(
        &desktop,
        "usb/1",
        "hidpp_battery_0",
        &[("type", "Battery"), ("scope", "Device")],
    );
    assert!(why_not(&section(&desktop), WANTED).ends_with("no battery of this machine"));
    assert!(why_not(&section(&laptop()), &[Component::Package]).contains("only about the platform"));
    let message = |section| match open(&ask(&section, WANTED)) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("accepted {section}"),
    };
    assert!(message(json!({ "root": "" })).contains("`sources.battery.root` is empty"));
    assert!(message(json!({ "max_watts": 0 })).contains("`sources.battery.max_watts` is 0"));
    assert_eq!(
        default_section(),
        json!({ "root": "/sys/class/power_supply", "max_watts": 500 })
    );
}

// --- whatever the bytes are ---

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn garbage_in_any_file_never_panics_and_no_total_falls_or_runs_away(
        contents in prop::collection::vec(
            (
                prop::sample::select(vec![
                    "BAT0/type", "BAT0/status", "BAT0/present", "BAT0/power_now", "AC/online", "AC/type",
                    "BAT1/status", "BAT1/present", "hidpp_battery_0/scope",
                ]),
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..30),
                    "-?[0-9]{1,22}\n?".prop_map(String::into_bytes),
                    "(Battery|Mains|Discharging|Charging|Full|System)\n?".prop_map(String::into_bytes),
                ],
            ),
            1..20,
        ),
    ) {
        let tree = laptop();
        let mut battery = opened(&tree);
        battery.read(at(0));
        let (mut before, mut now) = (0, 0);
        for (file, bytes) in contents {
            tree.set(&format!("class/power_supply/{file}"), &bytes);
            drop(open(&ask(&section(&tree), WANTED)).unwrap());
            now += 1_000;
            for reading in battery.read(at(now)).zones {
                let total = reading.total.as_micro();
                prop_assert!(total >= before);
                // Three batteries of 500 W.
                prop_assert!(total <= now * 1_500_000);
                before = total;
            }
        }
    }
}
