// SPDX-License-Identifier: Apache-2.0
//! Against trees as i915 and xe lay them out, and the chip of a record of the real driver core.

use super::*;
use crate::PowerSource;
use crate::drm::testing::{Machine, cycles, device, nanos};
use crate::testing::sysfs::lay_out;
use crate::testing::{ask, errors, sleep, totals};
use attribution::model::{Energy, ErrorReason, MonotonicNanos, Provenance};
use serde_json::{Value, json};
use std::fs;
use std::time::Duration;

const INTEL: &str = "0x8086";
const CARD: &str = "0000:03:00.0";
const GPU: &[Component] = COMPONENTS;

fn at(milliseconds: u64) -> MonotonicNanos {
    MonotonicNanos::ZERO.after(Duration::from_millis(milliseconds))
}

fn section(machine: &Machine) -> Value {
    json!({ "root": machine.drm_root(), "proc": machine.proc_root() })
}

fn opened(machine: &Machine) -> Box<dyn PowerSource> {
    match open(&ask(&section(machine), GPU)).unwrap() {
        Opened::Source(source) => source,
        Opened::Absent { reason } => panic!("{reason}"),
    }
}

fn why_not(machine: &Machine) -> String {
    match open(&ask(&section(machine), GPU)).unwrap() {
        Opened::Absent { reason } => reason,
        Opened::Source(source) => panic!("opened {}", source.detail()),
    }
}

/// A card of xe with both of its counters.
fn battlemage() -> Machine {
    let machine = Machine::new();
    machine.card(0, CARD, "xe", INTEL);
    machine.sysfs.chip(
        3,
        &device(CARD),
        "xe",
        &[
            ("energy1_input", "1000000"),
            ("energy1_label", "card"),
            ("energy2_input", "900000"),
            ("energy2_label", "pkg"),
            ("power1_max", "190000000"),
            ("power1_label", "card"),
        ],
    );
    machine
}

fn one_zone(microjoules: u64) -> [(String, u64); 1] {
    [(format!("gpu/{CARD}"), microjoules)]
}

/// Users of the only card as `(pid, milliseconds)`.
fn users(energy: &Energy) -> Vec<(u32, u64)> {
    let device = energy.zones[0].device.as_ref().unwrap();
    assert_eq!(device.busy, None);
    let row = |user: &attribution::model::DeviceUser| (user.pid, user.used.as_nanos() / 1_000_000);
    device.users.iter().map(row).collect()
}

// --- which of a card's counters is its energy ---

#[test]
fn each_kind_of_card_gives_these_readings() {
    // chips as (name, files), and what is read of them when every counter rose by 5 J, 3 J, 2 J in that order
    type Chips<'a> = &'a [(&'a str, &'a [(&'a str, &'a str)])];
    let table: [(&str, Chips<'_>, u64); 7] = [
        (
            "xe",
            &[(
                "xe",
                &[
                    ("energy1_input", ""),
                    ("energy1_label", "card"),
                    ("energy2_input", ""),
                    ("energy2_label", "pkg"),
                ],
            )],
            5,
        ),
        // As xe was before 6.9: one counter without a name.
        ("xe", &[("xe", &[("energy1_input", "")])], 5),
        // DG2 with a newer xe: the package only.
        (
            "xe",
            &[("xe", &[("energy2_input", ""), ("energy2_label", "pkg")])],
            5,
        ),
        ("i915", &[("i915", &[("energy1_input", "")])], 5),
        // Device and tiles: they overlap.
        (
            "i915",
            &[
                ("i915", &[("energy1_input", "")]),
                ("i915_gt0", &[("energy1_input", "")]),
                ("i915_gt1", &[("energy1_input", "")]),
            ],
            5,
        ),
        // Tiles alone.
        (
            "i915",
            &[
                ("i915", &[("power1_max", "1")]),
                ("i915_gt0", &[("energy1_input", "")]),
                ("i915_gt1", &[("energy1_input", "")]),
            ],
            8,
        ),
        // Another chip is no tile.
        (
            "i915",
            &[
                ("i915_gt0", &[("energy1_input", "")]),
                ("retimer", &[("energy1_input", "")]),
            ],
            5,
        ),
    ];
    for (driver, chips, joules) in table {
        let machine = Machine::new();
        machine.card(1, CARD, driver, INTEL);
        let mut counters = Vec::new();
        for (number, (name, files)) in (0_u32..).zip(chips) {
            machine.sysfs.chip(number, &device(CARD), name, files);
            let energies = files
                .iter()
                .filter(|(file, _)| file.starts_with("energy") && file.ends_with("input"));
            counters.extend(energies.map(|(file, _)| (number, *file)));
        }
        let set = |joules: [u64; 3]| {
            for ((number, file), joules) in counters.iter().zip(joules) {
                machine
                    .sysfs
                    .chip_set(*number, file, &(joules * 1_000_000).to_string());
            }
        };
        set([100, 200, 300]);
        let mut source = opened(&machine);
        let energy = source.read(at(1_000));
        assert_eq!(totals(&energy), one_zone(0), "{chips:?}");
        assert_eq!(energy.zones[0].provenance, Provenance::Counted);
        set([105, 203, 302]);
        let energy = source.read(at(2_000));
        assert_eq!(totals(&energy), one_zone(joules * 1_000_000), "{chips:?}");
        assert_eq!(energy.zones[0].at, at(2_000));
        assert_eq!(energy.errors, []);
    }
}

#[test]
fn the_chip_of_a_real_tree_is_read_below_a_card() {
    let machine = Machine::new();
    machine.card(0, CARD, "i915", INTEL);
    let record = tempfile::TempDir::new().unwrap();
    lay_out(
        include_str!("../../tests/fixtures/intel-2-sockets-acpi-meter.txt"),
        record.path(),
    );
    // The record has an i915 chip among others; here it is below its card.
    let chips = chips(&record.path().join("sys/class/hwmon")).unwrap().found;
    let chip = chips
        .iter()
        .find(|chip| chip.id.name == "i915")
        .expect("an i915 chip");
    let home = machine.sysfs.path(&format!("devices/{}/hwmon", device(CARD)));
    fs::create_dir_all(&home).unwrap();
    fs::rename(chip.dir.canonicalize().unwrap(), home.join("hwmon1")).unwrap();
    let mut source = opened(&machine);
    assert_eq!(totals(&source.read(at(1_000))), one_zone(0));
    assert!(
        source
            .detail()
            .contains("gpu/0000:03:00.0 of card0 (i915, 0000:03:00.0): energy1_input"),
        "{}",
        source.detail()
    );
    let counter = home.join("hwmon1/energy1_input");
    let before: u64 = fs::read_to_string(&counter).unwrap().trim().parse().unwrap();
    fs::write(&counter, format!("{}\n", before + 42_000_000)).unwrap();
    assert_eq!(totals(&source.read(at(2_000))), one_zone(42_000_000));
}

#[test]
fn a_step_that_no_card_can_make_is_dropped_and_told_and_so_is_a_reset() {
    let machine = battlemage();
    let mut source = opened(&machine);
    source.read(at(1_000));
    // 3000 W for 1.02 s and 2 J are the most.
    let mut step = |milliseconds, microjoules: u64| {
        machine
            .sysfs
            .chip_set(3, "energy1_input", &microjoules.to_string());
        totals(&source.read(at(milliseconds)))[0].1
    };
    assert_eq!(step(2_000, 1_000_000 + 3_063_000_000), 0);
    assert_eq!(step(3_000, 3_064_000_000 + 50_000_000), 50_000_000);
    assert_eq!(step(4_000, 10), 50_000_000);
    assert_eq!(step(5_000, 30_000_010), 80_000_000);
    let told = errors(&source.read(at(5_500)));
    let zone = format!("gpu/{CARD}");
    assert_eq!(
        told,
        [
            (zone.clone(), ErrorReason::Implausible, 1),
            (zone, ErrorReason::Reset, 1)
        ]
    );
}

// --- where there is none ---

#[test]
fn absence_has_a_reason_and_says_what_to_do() {
    let machine = Machine::new();
    let none = why_not(&machine);
    assert!(
        none.ends_with("class/drm: no cards at all; Intel GPUs need the driver i915 or xe"),
        "{none}"
    );

    machine.card(0, "0000:05:00.0", "nvidia", "0x10de");
    let other = why_not(&machine);
    assert!(
        other.contains("no card is driven by i915 or xe, only card0 (nvidia)"),
        "{other}"
    );

    machine.card(1, "0000:00:02.0", "i915", INTEL);
    let integrated = why_not(&machine);
    assert!(
        integrated.contains("card1 (i915, 0000:00:02.0): an integrated GPU"),
        "{integrated}"
    );
    assert!(integrated.contains("RAPL's package and uncore"), "{integrated}");

    machine.card(2, CARD, "i915", INTEL);
    let old = why_not(&machine);
    assert!(old.contains("0000:03:00.0): "), "{old}");
    assert!(
        old.contains("needs Linux 6.2 (i915) or 6.8 (xe) and CONFIG_HWMON"),
        "{old}"
    );

    fs::remove_dir_all(machine.drm_root()).unwrap();
    let missing = why_not(&machine);
    assert!(
        missing.contains("class/drm does not exist: no GPU driver is loaded"),
        "{missing}"
    );

    match open(&ask(&section(&battlemage()), &[Component::Package])).unwrap() {
        Opened::Absent { reason } => assert!(
            reason.ends_with("meters gpu only, which is not wanted"),
            "{reason}"
        ),
        Opened::Source(_) => panic!("opened"),
    }
}

#[test]
fn what_is_left_out_beside_a_card_that_works_is_told() {
    let machine = battlemage();
    machine.card(1, "0000:00:02.0", "xe", INTEL);
    let detail = opened(&machine).detail();
    assert!(
        detail.contains("gpu/0000:03:00.0 of card0 (xe, 0000:03:00.0): energy1_input; left out: card1 (xe, "),
        "{detail}"
    );
}

#[test]
fn a_card_that_is_no_pci_device_is_told_and_ignored() {
    let machine = Machine::new();
    machine.card(0, "hwmon_sim", "i915", INTEL);
    let reason = why_not(&machine);
    assert!(
        reason.contains("card0/device: leads to no PCI device"),
        "{reason}"
    );
}

#[test]
fn the_section_is_checked() {
    let message = |section: Value| match open(&ask(&section, GPU)) {
        Err(error) => format!(
            "{error}: {:?}",
            std::error::Error::source(&error).map(ToString::to_string)
        ),
        Ok(_) => panic!("accepted"),
    };
    assert!(
        message(json!({ "root": "" }))
            .contains("`sources.intel.root` is empty; the default is /sys/class/drm")
    );
    assert!(message(json!({ "proc": "" })).contains("`sources.intel.proc` is empty; the default is /proc"));
    for watts in [0, 100_001] {
        assert!(message(json!({ "max_watts": watts })).contains("it is from 1 to 100000 W"));
    }
    for scan in [
        json!("0s"),
        json!("999ms"),
        json!("301s"),
        json!("soon"),
        json!(10),
    ] {
        let words = message(json!({ "scan": scan }));
        assert!(
            words.contains("1s to 5m") || words.contains("expected one such as"),
            "{scan}: {words}"
        );
    }
    assert!(message(json!({ "apu": "count" })).contains("apu"));
    assert_eq!(
        default_section(),
        json!({ "root": "/sys/class/drm", "proc": "/proc", "scan": "10s", "max_watts": 3000 })
    );
    assert!(check(&default_section()).is_ok());
}

// --- who uses it ---

#[test]
fn users_of_xe_are_told_in_shares_of_the_cards_clock() {
    let machine = battlemage();
    let mut source = opened(&machine);
    // 19.2 MHz. 4711 was there before us; it used 25 % of the render engine and 4712, who comes, half of two video engines.
    machine.gpu_file(
        4_711,
        5,
        &cycles(CARD, 3, 19_200_000, &[("rcs", 1_000_000, 1), ("vcs", 0, 2)]),
    );
    assert_eq!(users(&source.read(at(1_000))), [(4_711, 0)]);
    machine.gpu_file(
        4_711,
        5,
        &cycles(CARD, 3, 38_400_000, &[("rcs", 5_800_000, 1), ("vcs", 0, 2)]),
    );
    machine.gpu_file(
        4_712,
        9,
        &cycles(CARD, 4, 38_400_000, &[("rcs", 0, 1), ("vcs", 19_200_000, 2)]),
    );
    assert_eq!(users(&source.read(at(2_000))), [(4_711, 250), (4_712, 500)]);
    machine.end(4_711);
    machine.gpu_file(
        4_712,
        9,
        &cycles(CARD, 4, 57_600_000, &[("rcs", 0, 1), ("vcs", 28_800_000, 2)]),
    );
    assert_eq!(users(&source.read(at(3_000))), [(4_712, 750)]);
}

#[test]
fn users_of_i915_are_told_per_card() {
    let other = "0000:04:00.0";
    let machine = Machine::new();
    for (number, address) in [(0, CARD), (1, other)] {
        machine.card(number, address, "i915", INTEL);
        machine
            .sysfs
            .chip(number, &device(address), "i915", &[("energy1_input", "5")]);
    }
    let mut source = opened(&machine);
    let show = |one: u64, two: u64| {
        machine.gpu_file(7, 3, &nanos("i915", CARD, 1, &[("render", one * 1_000_000, 1)]));
        machine.gpu_file(7, 4, &nanos("i915", other, 1, &[("compute", two * 1_000_000, 4)]));
    };
    show(10, 10);
    source.read(at(1_000));
    show(310, 2_010);
    let energy = source.read(at(2_000));
    let told: Vec<_> = energy
        .zones
        .iter()
        .map(|zone| {
            (
                zone.zone.to_string(),
                zone.device.as_ref().unwrap().users[0].used.as_nanos() / 1_000_000,
            )
        })
        .collect();
    assert_eq!(
        told,
        [(format!("gpu/{CARD}"), 300), (format!("gpu/{other}"), 500)]
    );
}

// --- cards that sleep, vanish and come ---

#[test]
fn a_card_that_sleeps_is_not_asked_and_its_counter_goes_on_when_it_wakes_up() {
    let machine = battlemage();
    let mut source = opened(&machine);
    source.read(at(1_000));
    machine.sysfs.chip_set(3, "energy1_input", "11000000");
    assert_eq!(totals(&source.read(at(2_000))), one_zone(10_000_000));
    machine.set(CARD, "power/runtime_status", "suspended");
    // A read of this would be an error.
    machine.sysfs.chip_break(3, "energy1_input");
    let energy = source.read(at(3_000));
    assert_eq!(
        (totals(&energy), energy.zones[0].at),
        (one_zone(10_000_000).to_vec(), at(2_000))
    );
    assert_eq!(energy.errors, []);
    // Open files stay open: it is the same counter, in a new file only for this test.
    machine.set(CARD, "power/runtime_status", "active");
    let file = machine.sysfs.path("class/hwmon/hwmon3/energy1_input");
    fs::remove_dir(&file).unwrap();
    fs::write(&file, "13000000\n").unwrap();
    let energy = source.read(at(4_000));
    assert_eq!(
        (totals(&energy), energy.zones[0].at),
        (one_zone(12_000_000).to_vec(), at(4_000))
    );
}

#[test]
fn what_a_card_counted_while_the_machine_slept_is_paid() {
    let machine = battlemage();
    let mut source = opened(&machine);
    source.read(at(1_000));
    sleep(600);
    machine.sysfs.chip_set(3, "energy1_input", "11001000000");
    let energy = source.read(at(2_000));
    assert_eq!(totals(&energy), one_zone(11_000_000_000));
    assert_eq!(energy.errors, []);
}

#[test]
fn a_card_that_sleeps_when_the_source_is_opened_is_there_and_read_when_it_wakes_up() {
    let machine = battlemage();
    machine.set(CARD, "power/runtime_status", "suspended");
    let mut source = opened(&machine);
    assert_eq!(totals(&source.read(at(1_000))), one_zone(0));
    machine.set(CARD, "power/runtime_status", "active");
    assert_eq!(totals(&source.read(at(2_000))), one_zone(0));
    machine.sysfs.chip_set(3, "energy1_input", "3000000");
    assert_eq!(totals(&source.read(at(3_000))), one_zone(2_000_000));
}

#[test]
fn a_card_that_was_unbound_is_found_again_by_its_address_under_any_number() {
    let machine = battlemage();
    let mut source = opened(&machine);
    source.read(at(1_000));
    machine.sysfs.chip_set(3, "energy1_input", "21000000");
    assert_eq!(totals(&source.read(at(2_000))), one_zone(20_000_000));

    machine.unbind(0, CARD, 3);
    let energy = source.read(at(3_000));
    assert_eq!(totals(&energy), []);
    assert_eq!(errors(&energy), [(format!("gpu/{CARD}"), ErrorReason::Gone, 1)]);
    let words = &energy.errors[0].latest;
    assert!(
        words.contains("class/drm: no card is 0000:03:00.0; card0 (xe, 0000:03:00.0) vanished"),
        "{words}"
    );

    // Another card has its node and its chip's number now; the driver counts from zero.
    machine.card(0, "0000:04:00.0", "xe", INTEL);
    machine
        .sysfs
        .chip(3, &device("0000:04:00.0"), "xe", &[("energy1_input", "99000000")]);
    machine.card(7, CARD, "i915", INTEL);
    machine
        .sysfs
        .chip(9, &device(CARD), "i915", &[("energy1_input", "1000000")]);
    // Not before the back-off of 1 s is over.
    assert_eq!(totals(&source.read(at(3_500))), []);
    let zones = |microjoules, other| {
        vec![
            (format!("gpu/{CARD}"), microjoules),
            ("gpu/0000:04:00.0".to_owned(), other),
        ]
    };
    assert_eq!(totals(&source.read(at(4_000))), zones(20_000_000, 0));
    machine.sysfs.chip_set(9, "energy1_input", "5000000");
    machine.sysfs.chip_set(3, "energy1_input", "100000000");
    assert_eq!(totals(&source.read(at(5_000))), zones(24_000_000, 1_000_000));
    assert!(
        source.detail().contains("of card7 (i915, 0000:03:00.0)"),
        "{}",
        source.detail()
    );
}

#[test]
fn a_card_that_comes_later_is_taken_in_within_a_minute() {
    let machine = battlemage();
    let mut source = opened(&machine);
    source.read(at(1_000));
    machine.card(1, "0000:04:00.0", "xe", INTEL);
    machine
        .sysfs
        .chip(4, &device("0000:04:00.0"), "xe", &[("energy1_input", "7")]);
    assert_eq!(source.read(at(60_000)).zones.len(), 1);
    assert_eq!(source.read(at(61_000)).zones.len(), 2);
}

#[test]
fn a_counter_that_cannot_be_read_costs_only_its_card_and_is_tried_again() {
    let machine = battlemage();
    machine.card(1, "0000:04:00.0", "xe", INTEL);
    machine
        .sysfs
        .chip(4, &device("0000:04:00.0"), "xe", &[("energy1_input", "broken")]);
    let mut source = opened(&machine);
    assert_eq!(totals(&source.read(at(1_000))), one_zone(0));
    machine.sysfs.chip_set(4, "energy1_input", "7");
    assert_eq!(source.read(at(3_000)).zones.len(), 2);
    let told = errors(&source.read(at(4_000)));
    assert!(
        told.contains(&("gpu/0000:04:00.0".to_owned(), ErrorReason::Parse, 2)),
        "{told:?}"
    );
}
