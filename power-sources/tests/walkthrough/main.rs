// SPDX-License-Identifier: Apache-2.0
//! The source that docs/power-source.md walks through, and its tests: a reader can copy both. The page quotes these files,
//! and a test (`integration-tests/tests/docs.rs`) holds it to them.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[expect(unreachable_pub, reason = "as a source in the crate has it")]
mod power_strip;

use attribution::model::{Component, Energy, ErrorReason, MonotonicNanos, Provenance};
use power_sources::{Ask, Opened, PowerSource};
use serde_json::{Value, json};
use std::fs;
use std::time::Duration;
use tempfile::TempDir;

// doc: helpers
/// A machine whose agent has written `text`, and the section that leads there.
fn machine(text: &str) -> (TempDir, Value) {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("milliwatts");
    fs::write(&file, text).unwrap();
    let section = json!({ "file": file });
    (dir, section)
}

fn open(section: &Value) -> Result<Box<dyn PowerSource>, String> {
    let ask = Ask {
        section,
        wanted: &[Component::Platform],
        clock: || MonotonicNanos::ZERO,
        slept: || Duration::ZERO,
    };
    match power_strip::open(&ask).map_err(|error| error.to_string())? {
        Opened::Source(source) => Ok(source),
        Opened::Absent { reason } => Err(reason),
    }
}

fn at(seconds: u64) -> MonotonicNanos {
    MonotonicNanos::ZERO.after(Duration::from_secs(seconds))
}

fn joules(energy: &Energy) -> Vec<u64> {
    energy
        .zones
        .iter()
        .map(|zone| zone.total.as_micro() / 1_000_000)
        .collect()
}
// end

// doc: energy
#[test]
fn watts_become_energy_by_the_time_that_was_measured() {
    let (dir, section) = machine("200000\n");
    let mut source = open(&section).unwrap();
    assert_eq!(joules(&source.read(at(10))), [0], "nothing is known of before");
    fs::write(dir.path().join("milliwatts"), "100000\n").unwrap();
    let energy = source.read(at(12));
    assert_eq!(
        joules(&energy),
        [300],
        "two seconds on the way from 200 W to 100 W"
    );
    assert_eq!(energy.zones[0].provenance, Provenance::Integrated);
    assert_eq!(energy.zones[0].at, at(12));
}
// end

// doc: failure
#[test]
fn a_file_that_goes_away_costs_its_own_time_and_no_total_falls() {
    let (dir, section) = machine("200000");
    let mut source = open(&section).unwrap();
    source.read(at(0));
    assert_eq!(joules(&source.read(at(1))), [200]);
    fs::remove_file(dir.path().join("milliwatts")).unwrap();
    let energy = source.read(at(2));
    assert!(energy.zones.is_empty(), "no reading is not 0 W");
    assert_eq!(energy.errors[0].reason, ErrorReason::Gone);

    fs::write(dir.path().join("milliwatts"), "200000").unwrap();
    // Not before the wait of a second is over.
    assert!(source.read(at(2)).zones.is_empty());
    assert_eq!(
        joules(&source.read(at(4))),
        [800],
        "the gap is paid by a straight line"
    );
}
// end

// doc: nonsense
#[test]
fn what_no_strip_can_show_is_counted_by_its_reason_and_not_believed() {
    for (text, reason) in [
        ("", ErrorReason::Parse),
        ("many", ErrorReason::Parse),
        ("-5", ErrorReason::Parse),
        ("0", ErrorReason::Implausible),
        ("4294967295", ErrorReason::Implausible),
    ] {
        let (dir, section) = machine("1000");
        let mut source = open(&section).unwrap();
        fs::write(dir.path().join("milliwatts"), text).unwrap();
        let energy = source.read(at(1));
        assert!(energy.zones.is_empty(), "{text:?}");
        assert_eq!(energy.errors[0].reason, reason, "{text:?}");
    }
}
// end

#[test]
fn a_gap_that_is_too_long_is_not_billed_and_said() {
    let (_dir, section) = machine("100000");
    let mut source = open(&section).unwrap();
    source.read(at(0));
    let energy = source.read(at(61));
    assert_eq!(joules(&energy), [0]);
    assert_eq!(energy.errors[0].reason, ErrorReason::Timeout);
    assert_eq!(joules(&source.read(at(62))), [100]);
}

// doc: absent
#[test]
fn a_machine_without_one_is_told_why_and_what_to_do() {
    let reason = open(&json!({})).err().unwrap();
    assert!(reason.contains("sources.power-strip.file"), "{reason}");
    let reason = open(&json!({ "file": "/nowhere/milliwatts" })).err().unwrap();
    assert!(reason.contains("/nowhere/milliwatts"), "{reason}");
}

#[test]
fn a_section_that_cannot_be_used_is_refused_before_anything_starts() {
    for (wrong, words) in [
        (json!({ "fiel": "/x" }), "sources.power-strip"),
        (json!({ "max_watts": 0 }), "from 1 to 100000"),
        (json!({ "file": "milliwatts" }), "absolute"),
    ] {
        let error = power_strip::check(&wrong).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    power_strip::check(&power_strip::default_section()).unwrap();
}
// end

#[test]
fn what_it_answers_for_and_is_called_is_what_the_table_says() {
    let (dir, section) = machine("1000");
    let source = open(&section).unwrap();
    assert_eq!(source.id(), power_strip::SOURCE);
    assert_eq!(source.components(), power_strip::COMPONENTS);
    assert!(source.detail().contains(&*dir.path().to_string_lossy()));
    let of_the_cpu = Ask {
        section: &section,
        wanted: &[Component::Package],
        clock: || MonotonicNanos::ZERO,
        slept: || Duration::ZERO,
    };
    match power_strip::open(&of_the_cpu).unwrap() {
        Opened::Absent { reason } => assert!(reason.contains("platform"), "{reason}"),
        Opened::Source(_) => panic!("a strip is no meter of a package"),
    }
    assert_eq!(power_strip::NAME, "power-strip");
}
