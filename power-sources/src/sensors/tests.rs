// SPDX-License-Identifier: Apache-2.0
//! Against trees in the shape of Documentation/hwmon/sysfs-interface.rst.

use super::channel::{Answer, Channel, Files, Pace, Plausible};
use super::chip::{Chip, ChipId, chips};
use super::panel::{Metered, Panel, Part};
use crate::testing::sysfs::Sysfs;
use crate::testing::{at_ms as at, errors, joules, sleep, slept, totals};
use attribution::model::{
    Component, ErrorReason, Microwatts, MonotonicNanos, PackageId, Place, Provenance, SourceId, Zone,
};
use proptest::prelude::*;
use std::fs;
use std::time::Duration;

const SOURCE: SourceId = SourceId("sensors");

fn found(tree: &Sysfs) -> Vec<Chip> {
    let chips = chips(&tree.hwmon_root()).unwrap();
    assert_eq!(chips.faults, []);
    chips.found
}

fn wired(tree: &Sysfs) -> Vec<(String, String)> {
    let row = |wired: super::chip::Wired| (wired.label, wired.files.main().to_owned());
    found(tree).iter().flat_map(Chip::channels).map(row).collect()
}

fn rows<const N: usize>(expected: [(&str, &str); N]) -> Vec<(String, String)> {
    expected.map(|(a, b)| (a.to_owned(), b.to_owned())).to_vec()
}

fn zone(component: Component) -> Zone {
    Zone {
        component,
        place: Place::socket(PackageId(0)),
    }
}

fn watts(most: u64) -> Plausible {
    Plausible::up_to(Microwatts::from_watts(most))
}

/// One zone of all channels of all chips.
fn panel(tree: &Sysfs) -> Panel {
    let found = found(tree);
    let parts = found
        .iter()
        .flat_map(|chip| chip.channels().into_iter().map(|wired| (chip.id.clone(), wired)))
        .map(|(chip, wired)| Part {
            chip,
            channel: Channel::new(wired.files, watts(1_000), None, slept),
        })
        .collect();
    let zones = vec![Metered {
        zone: zone(Component::Package),
        parts,
    }];
    Panel::open(SOURCE, tree.hwmon_root(), zones, &found).unwrap()
}

// --- chips ---

#[test]
fn chips_are_known_by_name_and_device_and_never_by_number() {
    let tree = Sysfs::new();
    tree.chip(7, "platform/APMC0D29:00", "apm_xgene", &[("power1_input", "1")]);
    tree.chip(2, "platform/APMC0D29:01", "apm_xgene", &[("power1_input", "1")]);
    tree.old_chip(
        0,
        "LNX/ACPI000D:00",
        "power_meter",
        "power_meter",
        &[("power1_average", "1")],
    );
    // One device with two chips of one name; the numbers tell which came first.
    tree.chip(
        10,
        "platform/amd_hsmp",
        "amd_hsmp_hwmon",
        &[("power1_input", "1")],
    );
    tree.chip(9, "platform/amd_hsmp", "amd_hsmp_hwmon", &[("power1_input", "1")]);
    // Numbers in the names of devices count as such.
    for (number, device) in [(20, "platform/scmi.10"), (21, "platform/scmi.9")] {
        tree.chip(number, device, "scmi_sensors", &[("power1_input", "1")]);
    }
    fs::create_dir(tree.hwmon_root().join("hwmon")).unwrap();
    fs::create_dir(tree.hwmon_root().join("hwmon1x")).unwrap();
    let shown: Vec<_> = found(&tree)
        .into_iter()
        .map(|chip| {
            let home = chip
                .dir
                .strip_prefix(tree.hwmon_root())
                .unwrap()
                .display()
                .to_string();
            format!("{} {} {} {home}", chip.id.name, chip.id.device, chip.id.nth)
        })
        .collect();
    assert_eq!(
        shown,
        [
            "amd_hsmp_hwmon amd_hsmp 0 hwmon9",
            "amd_hsmp_hwmon amd_hsmp 1 hwmon10",
            "apm_xgene APMC0D29:00 0 hwmon7",
            "apm_xgene APMC0D29:01 0 hwmon2",
            "power_meter ACPI000D:00 0 hwmon0/device",
            "scmi_sensors scmi.9 0 hwmon21",
            "scmi_sensors scmi.10 0 hwmon20",
        ]
    );
}

#[test]
fn a_chip_without_a_name_is_called_by_its_driver_and_one_with_neither_is_told() {
    let tree = Sysfs::new();
    tree.old_chip(
        0,
        "LNX/ACPI000D:00",
        "power_meter",
        "x",
        &[("power1_average", "1")],
    );
    fs::remove_file(tree.path("devices/LNX/ACPI000D:00/name")).unwrap();
    assert_eq!(found(&tree)[0].id.name, "power_meter");
    fs::remove_file(tree.path("devices/LNX/ACPI000D:00/driver")).unwrap();
    let chips = chips(&tree.hwmon_root()).unwrap();
    assert!(chips.found.is_empty());
    assert!(chips.faults[0].words.contains("hwmon0/device/name"));
}

#[test]
fn of_the_files_about_one_channel_the_best_is_taken() {
    let tree = Sysfs::new();
    let all = [
        ("energy1_input", "1"),
        ("power1_average", "1"),
        ("power1_label", "one"),
        ("power2_average", "1"),
        ("power2_average_interval", "50"),
        ("power2_input", "1"),
        ("power3_input", "1"),
        ("power3_label", ""),
        ("in3_label", "three"),
        ("in4_input", "1"),
        ("curr4_input", "1"),
        ("curr4_label", "four"),
        // No power: a voltage alone, a current alone, limits.
        ("in5_input", "1"),
        ("curr6_input", "1"),
        ("power7_cap", "1"),
        ("temp8_input", "1"),
    ];
    tree.chip(0, "platform/any", "any", &all);
    assert_eq!(
        wired(&tree),
        rows([
            ("one", "energy1_input"),
            ("power2", "power2_average"),
            ("three", "power3_input"),
            ("four", "in4_input"),
        ])
    );
}

#[test]
fn what_is_switched_off_is_passed_over() {
    let tree = Sysfs::new();
    let files = [
        ("power1_input", "1"),
        ("power1_enable", "0"),
        ("power2_input", "1"),
        ("power2_enable", "1"),
        ("in3_input", "1"),
        ("curr3_input", "1"),
        ("in3_enable", "0"),
        ("energy4_input", "1"),
        ("energy4_enable", "0"),
        ("power4_input", "1"),
    ];
    tree.chip(0, "platform/any", "any", &files);
    assert_eq!(
        wired(&tree),
        rows([("power2", "power2_input"), ("power4", "power4_input")])
    );
}

#[test]
fn shunts_and_sums_of_an_ina3221_are_no_channels() {
    let tree = Sysfs::new();
    let mut files = Vec::new();
    for channel in 1..=7 {
        files.push((format!("in{channel}_input"), "1"));
        files.push((format!("curr{channel}_input"), "1"));
    }
    let files: Vec<_> = files
        .iter()
        .map(|(file, content)| (file.as_str(), *content))
        .collect();
    tree.chip(0, "i2c/1-0040", "ina3221", &files);
    assert_eq!(
        wired(&tree),
        rows([("in1", "in1_input"), ("in2", "in2_input"), ("in3", "in3_input")])
    );
}

// --- channels ---

#[test]
fn what_a_reading_may_be() {
    let range = Plausible {
        least: Microwatts::from_micro(1),
        most: Microwatts::from_watts(20_000),
    };
    for good in [1, 123_456_000, 4_294_967_294, 20_000_000_000] {
        assert!(range.check(good).is_ok(), "{good}");
    }
    for bad in [-1, 0, 4_294_967_295, 4_294_967_295_000, 20_000_000_001, i128::MAX] {
        assert!(range.check(bad).is_err(), "{bad}");
    }
    assert!(watts(1).check(0).is_ok());
    // Also where that much would be believed.
    assert!(watts(10_000_000).check(4_294_967_295_000).is_err());
    assert!(watts(10_000_000).check(4_294_967_294_000).is_ok());
}

#[test]
fn energy_is_counted_power_and_products_are_integrated() {
    let tree = Sysfs::new();
    let files = [
        ("energy1_input", "5000000"),
        ("power2_input", "10000000"),
        ("in3_input", "5000"),
        ("curr3_input", "2000"),
    ];
    tree.chip(0, "platform/any", "any", &files);
    let mut panel = panel(&tree);
    assert_eq!(totals(&panel.read(at(0))), joules([("package/socket0", 0)]));
    // 7 J, 2 s at (10 W + 30 W) / 2, 2 s at (10 W + 20 W) / 2.
    tree.chip_set(0, "energy1_input", "12000000");
    tree.chip_set(0, "power2_input", "30000000");
    tree.chip_set(0, "curr3_input", "4000");
    let energy = panel.read(at(2_000));
    assert_eq!(totals(&energy), joules([("package/socket0", 7 + 40 + 30)]));
    assert_eq!(energy.zones[0].provenance, Provenance::Integrated);
    assert_eq!(energy.zones[0].at, at(2_000));
    assert_eq!(errors(&energy), []);
}

#[test]
fn a_zone_of_counters_alone_is_counted_and_a_counter_that_fell_was_reset() {
    let tree = Sysfs::new();
    tree.chip(0, "platform/any", "any", &[("energy1_input", "500000000")]);
    let mut panel = panel(&tree);
    assert_eq!(panel.read(at(0)).zones[0].provenance, Provenance::Counted);
    tree.chip_set(0, "energy1_input", "3000000");
    let energy = panel.read(at(1_000));
    assert_eq!(totals(&energy), joules([("package/socket0", 0)]));
    assert_eq!(
        errors(&energy),
        [("package/socket0".to_owned(), ErrorReason::Reset, 1)]
    );
    tree.chip_set(0, "energy1_input", "13000000");
    assert_eq!(totals(&panel.read(at(2_000))), joules([("package/socket0", 10)]));
    // All bits set is no value of the counter.
    tree.chip_set(0, "energy1_input", "18446744073709551615");
    assert_eq!(panel.read(at(3_000)).zones, []);
}

#[test]
fn a_mean_is_read_once_in_its_interval_and_keeps_its_moment_in_between() {
    let tree = Sysfs::new();
    let files = [
        ("power1_average", "10000000"),
        ("power1_average_interval", "5000"),
    ];
    tree.chip(0, "platform/any", "any", &files);
    let mut panel = panel(&tree);
    panel.read(at(0));
    tree.chip_set(0, "power1_average", "30000000");
    for (milliseconds, moment, expected) in [
        (1_000, 0, 0),
        (4_700, 0, 0),
        // Five seconds, but for a tick that comes a little early: all of it at the mean over it.
        (4_990, 4_990, 149_700_000),
        (9_000, 4_990, 149_700_000),
        // 5 s at 30 W, and what is over at the mean of 30 W and 30 W.
        (10_490, 10_490, 314_700_000),
    ] {
        let energy = panel.read(at(milliseconds));
        assert_eq!(energy.zones[0].at, at(moment), "at {milliseconds} ms");
        assert_eq!(energy.zones[0].total.as_micro(), expected, "at {milliseconds} ms");
    }
}

#[test]
fn an_absurd_interval_is_none() {
    let tree = Sysfs::new();
    let files = [
        ("power1_average", "10000000"),
        ("power1_average_interval", "4294967295"),
    ];
    tree.chip(0, "platform/any", "any", &files);
    let mut panel = panel(&tree);
    panel.read(at(0));
    assert_eq!(totals(&panel.read(at(1_000))), joules([("package/socket0", 10)]));
}

#[test]
fn what_a_counter_counted_while_the_machine_slept_is_paid_and_watts_have_nothing_of_it() {
    let tree = Sysfs::new();
    tree.chip(0, "platform/any", "any", &[("energy1_input", "0")]);
    let mut counted = panel(&tree);
    let watts = Sysfs::new();
    watts.chip(0, "platform/any", "any", &[("power1_input", "10000000")]);
    let mut integrated = panel(&watts);
    counted.read(at(0));
    integrated.read(at(0));
    sleep(60);
    // The most that is believed is 1 kW.
    tree.chip_set(0, "energy1_input", "11000000000");
    let energy = counted.read(at(1_000));
    assert_eq!(totals(&energy), joules([("package/socket0", 11_000)]));
    assert_eq!(errors(&energy), []);
    let energy = integrated.read(at(1_000));
    assert_eq!(totals(&energy), joules([("package/socket0", 10)]));
    assert_eq!(errors(&energy), []);
}

#[test]
fn a_configured_pace_goes_before_the_interval() {
    let mut channel = Channel::new(
        Files::Power {
            watts: "power1_average".to_owned(),
            interval: Some("power1_average_interval".to_owned()),
        },
        watts(100),
        Some(Pace {
            wait: Duration::from_secs(1),
        }),
        slept,
    );
    let tree = Sysfs::new();
    let files = [
        ("power1_average", "10000000"),
        ("power1_average_interval", "300000"),
    ];
    tree.chip(0, "platform/any", "any", &files);
    channel.attach(&tree.hwmon_root().join("hwmon0")).unwrap();
    channel.read(at(0));
    assert_eq!(channel.read(at(1_000)), Answer::Good(None));
    assert_eq!(channel.at(), Some(at(1_000)));
    assert_eq!(channel.total().as_micro(), 10_000_000);
}

#[test]
fn a_current_a_little_below_zero_is_an_idle_rail_and_more_is_no_reading() {
    let tree = Sysfs::new();
    tree.chip(
        0,
        "i2c/1-0040",
        "ina3221",
        &[("in1_input", "5000"), ("curr1_input", "-8")],
    );
    let mut panel = panel(&tree);
    panel.read(at(0));
    assert_eq!(totals(&panel.read(at(1_000))), joules([("package/socket0", 0)]));
    tree.chip_set(0, "curr1_input", "-101");
    let energy = panel.read(at(2_000));
    assert_eq!(energy.zones, []);
    assert_eq!(
        errors(&energy),
        [("package/socket0".to_owned(), ErrorReason::Implausible, 1)]
    );
}

#[test]
fn a_gap_is_billed_by_a_line_and_one_of_minutes_is_not_and_is_told() {
    let tree = Sysfs::new();
    tree.chip(0, "platform/any", "any", &[("power1_input", "10000000")]);
    let mut panel = panel(&tree);
    panel.read(at(0));
    assert_eq!(
        totals(&panel.read(at(180_000))),
        joules([("package/socket0", 1_800)])
    );
    let energy = panel.read(at(360_001));
    assert_eq!(totals(&energy), joules([("package/socket0", 1_800)]));
    assert_eq!(
        errors(&energy),
        [("package/socket0".to_owned(), ErrorReason::Timeout, 1)]
    );
}

// --- zones ---

#[test]
fn a_channel_that_fails_costs_only_itself_and_is_tried_again_with_back_off() {
    let tree = Sysfs::new();
    let files = [("power1_input", "10000000"), ("power2_input", "20000000")];
    tree.chip(0, "platform/any", "any", &files);
    let mut panel = panel(&tree);
    panel.read(at(0));
    tree.chip_set(0, "power2_input", "4294967295");
    // Tried at 1, 2, 4 and 8 s.
    for second in 1..=9 {
        let energy = panel.read(at(second * 1_000));
        assert_eq!(totals(&energy), joules([("package/socket0", 10 * second)]));
    }
    tree.chip_set(0, "power2_input", "20000000");
    let energy = panel.read(at(16_000));
    assert_eq!(totals(&energy), joules([("package/socket0", 30 * 16)]));
    assert_eq!(
        errors(&energy),
        [("package/socket0".to_owned(), ErrorReason::Implausible, 4)]
    );
    // The next failure waits 1 s again.
    tree.chip_set(0, "power2_input", "4294967295");
    panel.read(at(17_000));
    tree.chip_set(0, "power2_input", "20000000");
    assert_eq!(
        totals(&panel.read(at(18_000))),
        joules([("package/socket0", 30 * 18)])
    );
}

#[test]
fn a_chip_that_returns_under_another_number_is_found_and_goes_on() {
    let tree = Sysfs::new();
    tree.chip(3, "i2c/1-0040", "ina226", &[("power1_input", "10000000")]);
    let mut panel = panel(&tree);
    panel.read(at(0));
    panel.read(at(1_000));
    tree.remove_chip(3, "i2c/1-0040");
    // Another chip has its number now.
    tree.chip(3, "i2c/1-0041", "ina226", &[("power1_input", "99000000")]);
    let energy = panel.read(at(2_000));
    assert_eq!(energy.zones, []);
    assert_eq!(
        errors(&energy),
        [("package/socket0".to_owned(), ErrorReason::Gone, 1)]
    );
    assert!(
        energy.errors[0]
            .latest
            .contains("no chip is ina226 of device \"1-0040\"")
    );
    tree.chip(8, "i2c/1-0040", "ina226", &[("power1_input", "10000000")]);
    assert_eq!(panel.read(at(2_500)).zones, []);
    let energy = panel.read(at(3_000));
    assert_eq!(totals(&energy), joules([("package/socket0", 30)]));
    // A driver that was only loaded again is no failure.
    tree.remove_chip(8, "i2c/1-0040");
    tree.chip(5, "i2c/1-0040", "ina226", &[("power1_input", "10000000")]);
    let energy = panel.read(at(4_000));
    assert_eq!(totals(&energy), joules([("package/socket0", 40)]));
    assert_eq!(energy.errors.iter().map(|row| row.count).sum::<u64>(), 1);
}

#[test]
fn what_does_not_answer_at_the_start_is_taken_when_it_does_and_nothing_at_all_is_a_reason() {
    let tree = Sysfs::new();
    tree.chip(
        0,
        "platform/any",
        "any",
        &[("power1_input", "1"), ("power2_input", "10000000")],
    );
    tree.chip_break(0, "power1_input");
    let mut open = panel(&tree);
    let energy = open.read(at(0));
    assert_eq!(
        errors(&energy),
        [("package/socket0".to_owned(), ErrorReason::Io, 2)]
    );
    fs::remove_dir(tree.hwmon_root().join("hwmon0/power1_input")).unwrap();
    tree.chip_set(0, "power2_input", "10000000");
    tree.set("class/hwmon/hwmon0/power1_input", b"10000000\n");
    open.read(at(1_000));
    assert_eq!(totals(&open.read(at(2_000))), joules([("package/socket0", 30)]));

    tree.chip_break(0, "power1_input");
    tree.chip_set(0, "power2_input", "4294967295");
    let found = found(&tree);
    let channel = |wired: super::chip::Wired| Part {
        chip: ChipId {
            ..found[0].id.clone()
        },
        channel: Channel::new(wired.files, watts(100), None, slept),
    };
    let zones = vec![Metered {
        zone: zone(Component::Dram),
        parts: found[0].channels().into_iter().map(channel).collect(),
    }];
    let why = Panel::open(SOURCE, tree.hwmon_root(), zones, &found).unwrap_err();
    assert!(why.contains("class/hwmon: no wanted zone can be read"), "{why}");
    assert!(why.contains("hwmon0/power1_input: Is a directory"), "{why}");
}

// --- whatever comes ---

fn moment(milliseconds: u64) -> MonotonicNanos {
    at(milliseconds)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_energy_counter_is_exact_between_resets_and_gaps_and_never_falls(
        steps in prop::collection::vec((1_u64..90_000, 0_u64..900, prop::bool::weighted(0.1)), 1..40),
    ) {
        let tree = Sysfs::new();
        tree.chip(0, "platform/any", "any", &[("energy1_input", "0")]);
        let mut panel = panel(&tree);
        let (mut raw, mut now, mut truth) = (u64::MAX / 2, 1_000, 0_u64);
        tree.chip_set(0, "energy1_input", &raw.to_string());
        panel.read(moment(now));
        for (milliseconds, power, reset) in steps {
            now += milliseconds;
            let used = power * milliseconds * 1_000;
            if reset {
                raw = 0;
            } else {
                raw += used;
                truth += used;
            }
            tree.chip_set(0, "energy1_input", &raw.to_string());
            let energy = panel.read(moment(now));
            // A step back to zero is a reset unless nothing was on the counter before.
            prop_assert_eq!(energy.zones[0].total.as_micro(), truth);
        }
    }

    #[test]
    fn whatever_the_files_hold_no_garbage_becomes_a_reading_and_no_total_falls(
        contents in prop::collection::vec(
            (
                0_usize..4,
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..30),
                    "-?[0-9]{1,21}\n?".prop_map(String::into_bytes),
                    "[0-9]{1,8}\n".prop_map(String::into_bytes),
                ],
            ),
            1..40,
        ),
    ) {
        let names = ["energy1_input", "power2_average", "in3_input", "curr3_input"];
        let tree = Sysfs::new();
        let files = names.map(|name| (name, "1"));
        tree.chip(0, "platform/any", "any", &files);
        let mut panel = panel(&tree);
        panel.read(moment(0));
        let (mut before, mut now) = (0, 0);
        for (file, bytes) in contents {
            tree.set(&format!("class/hwmon/hwmon0/{}", names[file]), &bytes);
            now += 100_000;
            let energy = panel.read(moment(now));
            if let Some(reading) = energy.zones.first() {
                let total = reading.total.as_micro();
                prop_assert!(total >= before);
                // Three channels of a kilowatt each, and the counter's slack.
                prop_assert!(total <= 3 * 1_000 * now * 1_000 + 100_000_000, "{total} after {now} ms");
                before = total;
            }
        }
    }
}
