// SPDX-License-Identifier: Apache-2.0
//! Model files: what is written is read, and what nobody wrote is refused.

use super::super::curve::MOST_WATTS;
use super::super::{Curve, Described, ErrorTable, LARGEST, Level, Making, Model, ModelFault, ZoneModel};
use attribution::model::{Component, Permille};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::Duration;

const GOLDEN: &str = include_str!("model.json");

fn level(samples: usize, mean: f64) -> Level {
    // As short as a file says them.
    let times = |factor: f64| (factor * mean * 10_000.0).round() / 10_000.0;
    Level {
        samples,
        mean,
        within: times(2.0),
        p10: times(-1.5),
        p90: times(1.5),
    }
}

fn zone(component: Component, place: &str, package: Option<u16>, knots: &[(f64, f64)]) -> ZoneModel {
    ZoneModel {
        component,
        place: place.to_owned(),
        package,
        source: "rapl-sysfs".to_owned(),
        samples: 120,
        span: Duration::from_secs(120),
        gap: Duration::from_secs(3),
        curve: Curve::new(knots.to_vec()).unwrap(),
        error: ErrorTable {
            all: level(120, 0.02),
            levels: vec![(0, level(60, 0.01)), (5, level(4, 0.3)), (10, level(56, 0.03))],
        },
    }
}

fn model() -> Model {
    Model {
        made: Making {
            program: "kepler 0.1.0".to_owned(),
            date: "2026-01-02T03:04:05Z".to_owned(),
            stress: true,
        },
        machine: Described {
            vendor: Some("GenuineIntel".to_owned()),
            cpu: Some("Example CPU 9000".to_owned()),
            chips: 2,
            cores: Some(16),
            threads: 32,
            memory_gib: Some(64.0),
            ..Described::default()
        },
        zones: vec![
            zone(
                Component::Package,
                "socket0",
                Some(0),
                &[(0.02, 20.0), (0.5, 60.0), (0.9, 80.0)],
            ),
            zone(
                Component::Package,
                "socket1-die0",
                Some(1),
                &[(0.0, 10.0), (1.0, 30.0)],
            ),
            zone(
                Component::Package,
                "socket1-die1",
                Some(1),
                &[(0.0, 12.0), (1.0, 36.0)],
            ),
            zone(Component::Dram, "board", None, &[(0.0, 4.0), (1.0, 8.0)]),
            zone(Component::Platform, "bmc", None, &[(0.0, 100.0), (1.0, 300.0)]),
        ],
    }
}

#[test]
fn the_file_is_the_golden_one_and_reads_back_as_it_was() {
    assert_eq!(model().to_json(), GOLDEN);
    assert_eq!(Model::parse(GOLDEN.as_bytes()).unwrap(), model());
}

#[test]
fn estimates_follow_the_curve_and_say_where_it_ends() {
    let model = model();
    let watts = |component, socket, busy| {
        let estimate = model.estimate(component, socket, busy).unwrap();
        (estimate.idle.as_micro(), estimate.dynamic.as_micro())
    };
    // 20 W + (0.26 - 0.02) / 0.48 of 40 W; at rest the mean slope of 60 W / 0.88 goes on for 0.02.
    assert_eq!(watts(Component::Package, 0, 0.26), (18_636_363, 21_363_637));
    // Dies of a socket are added up, and memory of the whole machine is shared by its two sockets.
    assert_eq!(watts(Component::Package, 1, 0.5), (22_000_000, 22_000_000));
    assert_eq!(watts(Component::Dram, 1, 0.5), (2_000_000, 1_000_000));
    assert_eq!(watts(Component::Platform, 0, 0.25), (100_000_000, 50_000_000));
    let all = |component| {
        let estimate = model.machine(component, 0.5).unwrap();
        (estimate.idle + estimate.dynamic).as_micro()
    };
    assert_eq!(
        (all(Component::Package), all(Component::Dram)),
        (104_000_000, 6_000_000)
    );
    assert_eq!(model.estimate(Component::Gpu, 0, 0.5), None);
    assert_eq!(model.estimate(Component::Package, 2, 0.5), None);
    assert!(model.has(Component::Dram) && !model.has(Component::Gpu));

    let errors = |busy| {
        let estimate = model.estimate(Component::Package, 0, busy).unwrap();
        estimate.within
    };
    assert_eq!(errors(0.03), Permille(20));
    // Four cases are too few to speak for a level.
    assert_eq!(errors(0.5), Permille(40));
    // A tenth beyond what was seen: a tenth more error.
    assert_eq!(errors(1.0), Permille(160));
    assert_eq!(model.error(Component::Package), Some(Permille(40)));
    assert_eq!(model.error(Component::Gpu), None);
}

#[test]
fn a_socket_of_which_nothing_is_known_is_missing() {
    let mut model = model();
    for component in [Component::Package, Component::Dram, Component::Platform] {
        assert_eq!(model.missing(component), None, "{component:?}");
    }
    model.machine.chips = 3;
    assert_eq!(model.missing(Component::Package), Some(2));
    assert_eq!(
        model.missing(Component::Dram),
        None,
        "a board's is of all sockets"
    );
    model.machine.chips = 2;
    let other_component = zone(Component::Dram, "socket1", Some(1), &[(0.0, 1.0), (1.0, 2.0)]);
    model.zones.retain(|zone| zone.place == "socket0");
    assert_eq!(model.missing(Component::Package), Some(1));
    model.zones.push(other_component);
    assert_eq!(model.missing(Component::Package), Some(1));
}

#[test]
fn another_kind_of_machine_is_refused_and_other_memory_is_told() {
    let made = model().machine;
    assert_eq!(made.fits(&made, false), Ok(None));
    let other = |change: fn(&mut Described)| {
        let mut machine = made.clone();
        change(&mut machine);
        machine
    };
    let spelt = other(|machine| machine.cpu = Some(" example  cpu 9000".to_owned()));
    let unnamed = other(|machine| machine.cpu = None);
    assert!(made.fits(&spelt, false).is_ok() && made.fits(&unnamed, false).is_ok());
    let refused = [
        (
            other(|machine| machine.cpu = Some("Other".to_owned())),
            "the processors differ",
        ),
        (other(|machine| machine.chips = 1), "the numbers of chips differ"),
        (
            other(|machine| machine.threads = 16),
            "the numbers of hardware threads differ",
        ),
    ];
    for (machine, words) in refused {
        let said = made.fits(&machine, false).unwrap_err().to_string();
        assert!(
            said.contains(words) && said.contains("Example CPU 9000, 2 chip(s), 32"),
            "{said}"
        );
        assert!(!said.contains("estimator.machine"));
        let said = made.fits(&machine, true).unwrap_err().to_string();
        assert!(said.contains("estimator.machine"), "{said}");
    }
    let remark = made
        .fits(&other(|machine| machine.memory_gib = Some(128.0)), false)
        .unwrap();
    assert_eq!(
        remark.as_deref(),
        Some("made with 64 GiB of memory, and here are 128 GiB")
    );
}

/// The golden file with one value replaced.
fn with(pointer: &str, value: Value) -> Vec<u8> {
    let mut json: Value = serde_json::from_str(GOLDEN).unwrap();
    *json.pointer_mut(pointer).unwrap() = value;
    json.to_string().into_bytes()
}

fn refusal(bytes: &[u8]) -> String {
    Model::parse(bytes).unwrap_err().to_string()
}

#[test]
fn each_refusal_says_where_and_what_is_allowed() {
    let cases = [
        ("/format", json!("xgboost"), "is no model of `kepler calibrate`"),
        ("/version", json!(2), "version 2; this program reads version 1"),
        ("/version", json!("1"), "version \"1\""),
        ("/zones", json!([]), "zones: are 1 to 144"),
        (
            "/zones/0/component",
            json!("gpu"),
            "zones[0].component: is one of",
        ),
        (
            "/zones/1/place",
            json!("socket1-die1"),
            "zones[2]: is a zone that was there before",
        ),
        (
            "/zones/0/place",
            json!("a\u{1b}[2J"),
            "zones[0].place: has 256 bytes at most and no control",
        ),
        (
            "/zones/0/knots",
            json!([[0.0, 1.0]]),
            "zones[0].knots: a curve has 2 to 64 knots",
        ),
        (
            "/zones/0/knots",
            json!([[0.0, 5.0], [1.0, 4.0]]),
            "zones[0].knots: watts never fall",
        ),
        (
            "/zones/0/knots",
            json!([[0.0, -5.0], [1.0, 4.0]]),
            "zones[0].knots: watts are between 0 and 100000",
        ),
        (
            "/zones/0/knots",
            json!([[0.0, 5.0], [1.0, 4e9]]),
            "zones[0].knots: watts are between",
        ),
        (
            "/zones/0/knots",
            json!([[0.0, 5.0], [1.1, 6.0]]),
            "zones[0].knots: busy shares are between 0 and 1",
        ),
        (
            "/zones/0/knots",
            json!([[0.5, 5.0], [0.5, 6.0]]),
            "each is greater than the one before",
        ),
        (
            "/zones/0/knots/0/1",
            json!(null),
            "invalid type: null, expected f64",
        ),
        (
            "/zones/0/error/mean",
            json!(-0.1),
            "zones[0].error.mean: is between 0 and",
        ),
        ("/zones/0/error/within", json!(1e9), "zones[0].error.within"),
        (
            "/zones/0/error/p10",
            json!(-1.5),
            "zones[0].error.p10: is between -1 and",
        ),
        (
            "/zones/0/error/p10",
            json!(0.5),
            "zones[0].error.p10: is not greater than p90",
        ),
        (
            "/zones/0/error/levels/1/busy",
            json!(0.55),
            "zones[0].error.levels[1].busy: is a tenth",
        ),
        (
            "/zones/0/error/levels/1/busy",
            json!(0.0),
            "greater than the one before",
        ),
        (
            "/zones/4/package",
            json!(0),
            "zones[4].package: a platform is in no package",
        ),
        (
            "/machine/threads",
            json!(0),
            "machine.threads: is between 1 and 65536",
        ),
        ("/machine/chips", json!(70_000), "machine.chips"),
        ("/machine/memory_gib", json!(-1.0), "machine.memory_gib"),
        ("/machine/vendor", json!(7), "invalid type: integer `7`"),
        (
            "/made/date",
            json!("x".repeat(300)),
            "made.date: has 256 bytes at most",
        ),
    ];
    for (pointer, value, words) in cases {
        let bytes = match pointer {
            // The platform of the golden file has no such field.
            "/zones/4/package" => GOLDEN
                .replace("\"place\": \"bmc\",", "\"place\": \"bmc\", \"package\": 0,")
                .into_bytes(),
            _ => with(pointer, value),
        };
        let said = refusal(&bytes);
        assert!(said.contains(words), "{pointer}: {said}");
    }
    assert_eq!(refusal(b"{}"), ModelFault::NotAModel.to_string());
    assert!(refusal(b"").contains("is damaged: EOF"));
    assert!(refusal(GOLDEN.replace("60.0", "NaN").as_bytes()).contains("is damaged: expected value at line"));
    assert!(refusal(GOLDEN.replace("60.0", "1e999").as_bytes()).contains("number out of range"));
    assert!(refusal(GOLDEN.replace("\"stress\"", "\"stres\"").as_bytes()).contains("unknown field `stres`"));
    assert!(refusal(GOLDEN.replace("  \"version\": 1,\n", "").as_bytes()).contains("version: is missing"));
    assert!(refusal(&vec![b' '; LARGEST + 1]).contains("more than 1048576 bytes"));
}

/// Whatever was read: watts that are watts, and never fall as load rises.
fn keeps_its_promises(model: &Model) {
    for component in Component::ALL {
        for socket in 0..4 {
            let mut before = 0;
            for busy in [
                f64::NAN,
                -1.0,
                0.0,
                1e-9,
                0.02,
                0.3,
                0.5,
                0.9,
                0.999,
                1.0,
                7.0,
                f64::INFINITY,
            ] {
                let Some(estimate) = model.estimate(component, socket, busy) else {
                    continue;
                };
                let watts = estimate.idle.as_micro() + estimate.dynamic.as_micro();
                assert!(watts >= before && watts <= 144 * 100_000_000_000, "{watts}");
                before = watts;
                assert!(estimate.within <= Permille(1_001_000), "{:?}", estimate.within);
            }
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_and_what_it_takes_keeps_its_promises(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..3), 1..6),
        digits in any::<bool>(),
    ) {
        let mut bytes = GOLDEN.as_bytes().to_vec();
        for (place, byte, kind) in edits {
            let place = place.index(bytes.len());
            // Digits for digits make files that parse.
            let byte = if digits { b'0' + byte % 10 } else { byte };
            match kind {
                0 if !digits || bytes[place].is_ascii_digit() => bytes[place] = byte,
                1 if !digits => bytes.insert(place, byte),
                2 if !digits => { bytes.remove(place); }
                _ => {}
            }
        }
        if let Ok(model) = Model::parse(&bytes) {
            keeps_its_promises(&model);
        }
    }

    #[test]
    fn a_curve_rises_from_any_knots_and_never_leaves_its_bounds(
        knots in prop::collection::vec((0.0..=1.0_f64, 0.0..=MOST_WATTS), 0..8),
        loads in prop::collection::vec(-0.5..1.5_f64, 2..20),
    ) {
        let mut knots = knots;
        knots.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut watts: Vec<_> = knots.iter().map(|knot| knot.1).collect();
        watts.sort_by(f64::total_cmp);
        knots.iter_mut().zip(watts).for_each(|(knot, watts)| knot.1 = watts);
        if let Ok(curve) = Curve::new(knots) {
            let mut loads = loads;
            loads.sort_by(f64::total_cmp);
            let figures: Vec<_> = loads.iter().map(|busy| curve.at(*busy).watts).collect();
            prop_assert!(figures.windows(2).all(|pair| pair[0] <= pair[1] + 1e-6), "{figures:?}");
            prop_assert!(figures.iter().all(|watts| (0.0..=MOST_WATTS).contains(watts)));
        }
    }
}
