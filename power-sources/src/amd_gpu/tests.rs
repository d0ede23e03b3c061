// SPDX-License-Identifier: Apache-2.0
//! Against trees as amdgpu lays them out, and the chip of a record of the real driver core.

use super::*;
use crate::PowerSource;
use crate::drm::testing::{Machine, device, nanos};
use crate::testing::sysfs::lay_out;
use crate::testing::{ask, errors, totals};
use attribution::model::{Energy, ErrorReason, MonotonicNanos, Provenance};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::fs;
use std::time::Duration;

const AMD: &str = "0x1002";
const CARD: &str = "0000:0b:00.0";
const GPU: &[Component] = COMPONENTS;
/// The beginning of `gpu_metrics` v1_3 and v2_2.
const OF_A_CARD: &[u8] = &[0x78, 0x00, 1, 3, 0, 0, 0, 0];
const OF_AN_APU: &[u8] = &[0x80, 0x00, 2, 2, 0, 0, 0, 0];

fn at(milliseconds: u64) -> MonotonicNanos {
    MonotonicNanos::ZERO.after(Duration::from_millis(milliseconds))
}

fn section(machine: &Machine, apu: &str) -> Value {
    json!({ "root": machine.drm_root(), "proc": machine.proc_root(), "apu": apu })
}

fn opened_with(machine: &Machine, apu: &str) -> Box<dyn PowerSource> {
    match open(&ask(&section(machine, apu), GPU)).unwrap() {
        Opened::Source(source) => source,
        Opened::Absent { reason } => panic!("{reason}"),
    }
}

fn opened(machine: &Machine) -> Box<dyn PowerSource> {
    opened_with(machine, "ignore")
}

fn why_not(machine: &Machine) -> String {
    match open(&ask(&section(machine, "ignore"), GPU)).unwrap() {
        Opened::Absent { reason } => reason,
        Opened::Source(source) => panic!("opened {}", source.detail()),
    }
}

/// A machine with one card whose chip has these files.
fn machine(metrics: Option<&[u8]>, files: &[(&str, &str)]) -> Machine {
    let machine = Machine::new();
    machine.card(0, CARD, "amdgpu", AMD);
    if let Some(metrics) = metrics {
        machine.set_bytes(CARD, "gpu_metrics", metrics);
    }
    machine.sysfs.chip(2, &device(CARD), "amdgpu", files);
    machine
}

fn navi() -> Machine {
    machine(
        Some(OF_A_CARD),
        &[("power1_average", "30000000"), ("power1_label", "PPT")],
    )
}

fn one_zone(microjoules: u64) -> [(String, u64); 1] {
    [(format!("gpu/{CARD}"), microjoules)]
}

/// How busy the only card was, and its users, in milliseconds.
fn used(energy: &Energy) -> (Option<u64>, Vec<(u32, u64)>) {
    let device = energy.zones[0].device.as_ref().unwrap();
    let milliseconds = |nanos: attribution::model::DeviceNanos| nanos.as_nanos() / 1_000_000;
    let row = |user: &attribution::model::DeviceUser| (user.pid, milliseconds(user.used));
    (
        device.busy.map(milliseconds),
        device.users.iter().map(row).collect(),
    )
}

// --- which of a card's files is its energy ---

#[test]
fn each_kind_of_card_gives_these_readings() {
    // files at 1 s and 2 s; joules between; how they came about
    type Files<'a> = &'a [(&'a str, &'a str, &'a str)];
    let table: [(Files<'_>, u64, Provenance); 6] = [
        (
            &[("power1_average", "30000000", "40000000")],
            35,
            Provenance::Integrated,
        ),
        (
            &[("power1_input", "30000000", "40000000")],
            35,
            Provenance::Integrated,
        ),
        // Both: the mean.
        (
            &[
                ("power1_input", "99000000", "99000000"),
                ("power1_average", "10000000", "20000000"),
            ],
            15,
            Provenance::Integrated,
        ),
        // A counter before any power.
        (
            &[
                ("energy1_input", "5000000", "17000000"),
                ("power1_average", "99000000", "99000000"),
            ],
            12,
            Provenance::Counted,
        ),
        // A second power is the first one seen otherwise.
        (
            &[
                ("power1_average", "10000000", "10000000"),
                ("power2_average", "12000000", "12000000"),
            ],
            10,
            Provenance::Integrated,
        ),
        // Idle.
        (&[("power1_average", "0", "0")], 0, Provenance::Integrated),
    ];
    for (files, joules, provenance) in table {
        let at_first: Vec<_> = files.iter().map(|(file, before, _)| (*file, *before)).collect();
        let machine = machine(Some(OF_A_CARD), &at_first);
        let mut source = opened(&machine);
        assert_eq!(totals(&source.read(at(1_000))), one_zone(0), "{files:?}");
        for (file, _, after) in files {
            machine.sysfs.chip_set(2, file, after);
        }
        let energy = source.read(at(2_000));
        assert_eq!(totals(&energy), one_zone(joules * 1_000_000), "{files:?}");
        assert_eq!(energy.zones[0].provenance, provenance, "{files:?}");
        assert_eq!(energy.errors, [], "{files:?}");
    }
}

#[test]
fn the_chip_of_a_real_tree_is_read_below_a_card() {
    let machine = Machine::new();
    machine.card(0, CARD, "amdgpu", AMD);
    let record = tempfile::TempDir::new().unwrap();
    lay_out(
        include_str!("../../tests/fixtures/amd-1-socket-amdgpu.txt"),
        record.path(),
    );
    let chip = fs::canonicalize(record.path().join("sys/class/hwmon/hwmon0")).unwrap();
    let home = machine.sysfs.path(&format!("devices/{}/hwmon", device(CARD)));
    fs::create_dir_all(&home).unwrap();
    fs::rename(chip, home.join("hwmon0")).unwrap();
    let mut source = opened(&machine);
    assert_eq!(totals(&source.read(at(1_000))), one_zone(0));
    // The record says 35 W.
    assert_eq!(totals(&source.read(at(3_000))), one_zone(70_000_000));
    assert!(
        source
            .detail()
            .contains("card0 (amdgpu, 0000:0b:00.0): power1_average"),
        "{}",
        source.detail()
    );
}

#[test]
fn implausible_power_is_refused_and_told_and_never_integrated() {
    let machine = navi();
    let mut source = opened(&machine);
    source.read(at(1_000));
    let mut milliseconds = 1_000;
    for power in [
        "65535000000",
        "4294967295",
        "4294967295000",
        "-1",
        "3000000001",
        "",
        "30.5",
    ] {
        machine.sysfs.chip_set(2, "power1_average", power);
        milliseconds += 120_000;
        assert_eq!(source.read(at(milliseconds)).zones, [], "{power}");
    }
    let told = errors(&source.read(at(milliseconds)));
    let zone = format!("gpu/{CARD}");
    assert_eq!(
        told,
        [
            (zone.clone(), ErrorReason::Implausible, 5),
            (zone, ErrorReason::Parse, 2)
        ]
    );
    machine.sysfs.chip_set(2, "power1_average", "3000000000");
    assert_eq!(totals(&source.read(at(milliseconds + 120_000))), one_zone(0));
}

// --- what a card is called ---

#[test]
fn a_card_is_called_by_its_unique_id_where_it_has_one_of_its_own() {
    let called = |ids: &[&str]| {
        let machine = Machine::new();
        for (number, id) in (0_u32..).zip(ids) {
            let address = format!("0000:0{number}:00.0");
            machine.card(number, &address, "amdgpu", AMD);
            machine
                .sysfs
                .chip(number, &device(&address), "amdgpu", &[("power1_average", "1")]);
            if !id.is_empty() {
                machine.set(&address, "unique_id", id);
            }
        }
        let energy = opened(&machine).read(at(1_000));
        energy
            .zones
            .iter()
            .map(|zone| zone.zone.place.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        called(&["5e9f1a3b2c4d5e6f", ""]),
        ["5e9f1a3b2c4d5e6f", "0000:01:00.0"]
    );
    assert_eq!(
        called(&["0000000000000000", "N/A"]),
        ["0000:00:00.0", "0000:01:00.0"]
    );
    assert_eq!(
        called(&["5e9f1a3b2c4d5e6f", "5e9f1a3b2c4d5e6f"]),
        ["0000:00:00.0", "0000:01:00.0"]
    );
}

#[test]
fn a_card_with_a_unique_id_is_found_again_in_another_slot() {
    let machine = navi();
    machine.set(CARD, "unique_id", "5e9f1a3b2c4d5e6f");
    let mut source = opened(&machine);
    source.read(at(1_000));
    source.read(at(2_000));
    machine.unbind(0, CARD, 2);
    assert_eq!(source.read(at(3_000)).zones, []);
    machine.card(3, "0000:44:00.0", "amdgpu", AMD);
    machine.set("0000:44:00.0", "unique_id", "5e9f1a3b2c4d5e6f");
    // It counts now, where it was integrated before: what it had stays.
    machine.sysfs.chip(
        5,
        &device("0000:44:00.0"),
        "amdgpu",
        &[("energy1_input", "1000000")],
    );
    let zone = |microjoules| [("gpu/5e9f1a3b2c4d5e6f".to_owned(), microjoules)];
    assert_eq!(totals(&source.read(at(4_000))), zone(30_000_000));
    machine.sysfs.chip_set(5, "energy1_input", "3000000");
    assert_eq!(totals(&source.read(at(5_000))), zone(32_000_000));
    // Files on it are known by its new address.
    machine.gpu_file(
        7,
        3,
        &nanos("amdgpu", "0000:44:00.0", 1, &[("gfx", 100_000_000, 1)]),
    );
    assert_eq!(used(&source.read(at(6_000))).1, [(7, 100)]);
}

// --- APUs ---

#[test]
fn an_apu_is_left_out_with_a_reason_unless_it_is_asked_for() {
    let apu = machine(
        Some(OF_AN_APU),
        &[("power1_average", "20000000"), ("power1_label", "PPT")],
    );
    let reason = why_not(&apu);
    assert!(
        reason.contains(
            "card0 (amdgpu, 0000:0b:00.0): an APU (by gpu_metrics format 2): its power includes the CPU's"
        ),
        "{reason}"
    );
    assert!(reason.contains("`sources.amd.apu = \"count\"`"), "{reason}");
    let mut source = opened_with(&apu, "count");
    source.read(at(1_000));
    assert_eq!(totals(&source.read(at(2_000))), one_zone(20_000_000));

    let deck = machine(
        None,
        &[
            ("power1_average", "9000000"),
            ("power1_label", "slowPPT"),
            ("power2_average", "11000000"),
            ("power2_label", "fastPPT"),
        ],
    );
    assert!(
        why_not(&deck).contains("an APU (by the label of its power)"),
        "{}",
        why_not(&deck)
    );
    let mut source = opened_with(&deck, "count");
    source.read(at(1_000));
    assert_eq!(totals(&source.read(at(2_000))), one_zone(9_000_000));

    let mi300a = machine(Some(OF_A_CARD), &[("power1_input", "300000000")]);
    mi300a.set(CARD, "device", "0x74a0");
    assert!(
        why_not(&mi300a).contains("an APU (by its PCI device)"),
        "{}",
        why_not(&mi300a)
    );

    let newer = machine(Some(&[0x80, 0, 4, 0]), &[("power1_average", "20000000")]);
    assert!(
        why_not(&newer).contains("gpu_metrics has format 4, 1 to 3 are known"),
        "{}",
        why_not(&newer)
    );
    opened_with(&newer, "count");

    // As Polaris: no table.
    opened(&machine(
        None,
        &[("power1_average", "20000000"), ("power1_label", "PPT")],
    ));
}

#[test]
fn a_card_beside_an_apu_is_counted_and_the_apu_is_told() {
    let machine = navi();
    machine.card(1, "0000:0c:00.0", "amdgpu", AMD);
    machine.set_bytes("0000:0c:00.0", "gpu_metrics", OF_AN_APU);
    machine.sysfs.chip(
        6,
        &device("0000:0c:00.0"),
        "amdgpu",
        &[("power1_average", "20000000")],
    );
    let mut source = opened(&machine);
    assert_eq!(totals(&source.read(at(1_000))), one_zone(0));
    assert!(
        source
            .detail()
            .contains("; left out: card1 (amdgpu, 0000:0c:00.0): an APU"),
        "{}",
        source.detail()
    );
    // Also after it was looked for again.
    source.read(at(61_000));
    assert_eq!(source.detail().matches("left out").count(), 1);
}

#[test]
fn absence_has_a_reason_and_says_what_to_do() {
    let machine = Machine::new();
    assert!(why_not(&machine).contains("no cards at all; AMD GPUs need the driver amdgpu"));
    machine.card(0, CARD, "radeon", AMD);
    assert!(why_not(&machine).contains("no card is driven by amdgpu, only card0 (radeon)"));
    machine.card(1, "0000:0c:00.0", "amdgpu", AMD);
    assert!(why_not(&machine).contains("neither energy1_input nor power1_average nor power1_input"));
    machine.sysfs.chip(
        1,
        &device("0000:0c:00.0"),
        "amdgpu",
        &[("power1_average", "broken")],
    );
    let broken = why_not(&machine);
    assert!(broken.contains("card1 (amdgpu, 0000:0c:00.0): "), "{broken}");
    assert!(broken.contains("power1_average: found \"broken\\n\""), "{broken}");
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
    let apu = message(json!({ "apu": "maybe" }));
    assert!(
        apu.contains("`sources.amd` is not usable") && apu.contains("`ignore` or `count`"),
        "{apu}"
    );
    assert!(message(json!({ "max_watts": 0 })).contains("`sources.amd.max_watts` is 0 W"));
    assert_eq!(
        default_section(),
        json!({ "root": "/sys/class/drm", "proc": "/proc", "scan": "10s", "max_watts": 3000, "apu": "ignore" })
    );
    assert!(check(&default_section()).is_ok());
}

// --- who uses it ---

#[test]
fn the_card_tells_how_busy_it_is_whoever_uses_it() {
    let machine = navi();
    machine.set(CARD, "gpu_busy_percent", "40");
    let mut source = opened(&machine);
    let show = |milliseconds: u64| {
        machine.gpu_file(
            7,
            3,
            &nanos("amdgpu", CARD, 42, &[("gfx", milliseconds * 1_000_000, 1)]),
        );
    };
    show(1_000);
    assert_eq!(used(&source.read(at(1_000))), (Some(0), vec![(7, 0)]));
    show(1_300);
    machine.set(CARD, "gpu_busy_percent", "60");
    // A straight line from 40 % to 60 %; 0.3 s of it by somebody that is known.
    assert_eq!(used(&source.read(at(2_000))), (Some(500), vec![(7, 300)]));
    // What is no percentage is a gap.
    for (milliseconds, percent, busy) in [
        (3_000, "101", 500),
        (4_000, "100", 500),
        (5_000, "100", 1_500),
        (6_000, "?", 1_500),
    ] {
        machine.set(CARD, "gpu_busy_percent", percent);
        assert_eq!(
            used(&source.read(at(milliseconds))).0,
            Some(busy),
            "at {milliseconds}"
        );
    }
}

#[test]
fn a_card_that_does_not_tell_how_busy_it_is_leaves_that_to_its_users() {
    let machine = navi();
    assert_eq!(used(&opened(&machine).read(at(1_000))), (None, vec![]));
    machine.set(CARD, "gpu_busy_percent", "no");
    assert_eq!(used(&opened(&machine).read(at(1_000))).0, None);
}

// --- cards that sleep ---

#[test]
fn a_card_that_sleeps_is_not_asked_and_uses_nothing() {
    let machine = navi();
    machine.set(CARD, "gpu_busy_percent", "50");
    machine.gpu_file(7, 3, &nanos("amdgpu", CARD, 42, &[("gfx", 0, 1)]));
    let mut source = opened(&machine);
    source.read(at(1_000));
    assert_eq!(totals(&source.read(at(2_000))), one_zone(30_000_000));
    machine.set(CARD, "power/runtime_status", "suspended");
    machine.sysfs.chip_set(2, "power1_average", "garbage");
    machine.set(CARD, "gpu_busy_percent", "99");
    // Half a second of it before it fell asleep.
    for (milliseconds, microjoules) in [(3_000, 45_000_000), (4_000, 45_000_000), (3_600_000, 45_000_000)] {
        let energy = source.read(at(milliseconds));
        assert_eq!(
            (totals(&energy), energy.zones[0].at),
            (one_zone(microjoules).to_vec(), at(milliseconds))
        );
        assert_eq!(used(&energy), (Some(750), vec![(7, 0)]));
        assert_eq!(energy.errors, []);
    }
    machine.set(CARD, "power/runtime_status", "active");
    machine.sysfs.chip_set(2, "power1_average", "10000000");
    assert_eq!(totals(&source.read(at(3_601_000))), one_zone(50_000_000));
}

#[test]
fn users_that_were_found_while_the_meter_did_not_answer_are_told_when_it_does() {
    let machine = navi();
    let mut source = opened(&machine);
    let show = |milliseconds: u64| {
        machine.gpu_file(
            7,
            3,
            &nanos("amdgpu", CARD, 42, &[("gfx", milliseconds * 1_000_000, 1)]),
        );
    };
    show(0);
    source.read(at(1_000));
    machine.sysfs.chip_set(2, "power1_average", "garbage");
    show(800);
    assert_eq!(source.read(at(2_000)).zones, []);
    machine.sysfs.chip_set(2, "power1_average", "30000000");
    machine.end(7);
    assert_eq!(used(&source.read(at(4_000))).1, [(7, 800)]);
    assert_eq!(used(&source.read(at(5_000))).1, []);
}

// --- whatever the bytes are ---

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        "[0-9]{1,22}\n?".prop_map(String::into_bytes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn garbage_in_any_file_never_panics_never_lowers_a_total_and_never_becomes_a_reading(
        readings in prop::collection::vec((bytes(), bytes(), prop::collection::vec(any::<u8>(), 0..200), any::<u64>()), 1..8),
        unique_id in bytes(),
        metrics in bytes(),
    ) {
        let machine = navi();
        machine.set_bytes(CARD, "unique_id", &unique_id);
        machine.set_bytes(CARD, "gpu_metrics", &metrics);
        machine.set(CARD, "gpu_busy_percent", "1");
        let mut source = opened_with(&machine, "count");
        let (mut before, mut busy_before) = (0, 0);
        for (second, (power, busy, text, counter)) in (0..).step_by(100).zip(readings) {
            machine.sysfs.set("class/hwmon/hwmon2/power1_average", &power);
            machine.set_bytes(CARD, "gpu_busy_percent", &busy);
            machine.gpu_file(8, 3, &String::from_utf8_lossy(&text));
            machine.gpu_file(9, 3, &nanos("amdgpu", CARD, 1, &[("gfx", counter, 1)]));
            let energy = source.read(at(second * 1_000));
            for zone in &energy.zones {
                let watts = crate::files::parse_number(&power);
                prop_assert!(watts.is_some_and(|microwatts| microwatts <= 3_000_000_000));
                prop_assert!(zone.total.as_micro() >= before);
                before = zone.total.as_micro();
                let device = zone.device.as_ref().unwrap();
                let busy = device.busy.unwrap().as_nanos();
                prop_assert!(busy >= busy_before && busy <= second * 1_000_000_000);
                busy_before = busy;
                prop_assert!(device.users.iter().all(|user| user.pid == 9));
                prop_assert!(device.users.iter().all(|user| user.used.as_nanos() <= second * 1_000_000_000));
            }
        }
    }
}
