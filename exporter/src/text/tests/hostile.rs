// SPDX-License-Identifier: Apache-2.0
//! A node on which every name that anybody can choose is chosen to do harm: in every place, in both schemas, both formats and the
//! JSON, a megabyte long.

use super::samples;
use crate::config::ExporterConfig;
use crate::forms::Encoding;
use crate::page::Page;
use crate::sample;
use crate::text::writer::Format;
use attribution::model::snapshot::{ContainerKey, GroupRow, Ledger, Names, UnitKey};
use attribution::model::{
    Comm, ContainerFacts, ContainerId, MonotonicNanos, Place, PodFacts, PodUid, Snapshot, VmFacts, VmId,
};
use std::collections::HashSet;
use std::sync::Arc;

/// Ends a label, a line and a page, is a formula, markup and a command to a terminal, and turns the direction of writing.
const EVIL: &str = "=\"} 1\n# EOF\nkepler_fake_joules_total 7\n\r\0\u{1b}]0;x\u{7}\u{9b}2J\\\u{202e}<img src=x onerror=alert(1)>{a='";

/// Names that are told apart by what is not shown, or not shown any more.
const ALIKE: [&str; 4] = ["\u{1}", "\u{2}", "\u{fffd}", "\u{7f}"];

fn row<K>(key: K, names: Names) -> GroupRow<K> {
    GroupRow {
        key,
        owner: None,
        names,
        ledger: sample::ledger(1_000_000, &[(5, 2)]),
        began: MonotonicNanos::ZERO,
        ended: false,
    }
}

fn snapshot() -> Snapshot {
    let mut snapshot = sample::snapshot();
    let long = "m".repeat(1 << 20);
    for (at, end) in ALIKE.iter().enumerate() {
        let evil = format!("{EVIL}{}{end}", if at % 2 == 0 { "" } else { &long });
        let pod = Arc::new(PodFacts {
            name: evil.clone(),
            namespace: evil.clone(),
            made_by: Some((evil.clone(), evil.clone())),
            qos: evil.clone(),
            labels: vec![("app".to_owned(), evil.clone())],
        });
        let container = Arc::new(ContainerFacts {
            name: evil.clone(),
            image: Some(evil.clone()),
        });
        let vm = Arc::new(VmFacts {
            name: evil.clone(),
            hypervisor: "qemu",
        });
        let of_pod = || Names {
            pod: Some(Arc::clone(&pod)),
            ..Names::default()
        };
        snapshot.pods.push(row(PodUid::new(&evil), of_pod()));
        let names = Names {
            container: Some(container),
            ..of_pod()
        };
        snapshot
            .containers
            .push(row(ContainerKey::Container(ContainerId::new(&evil)), names));
        let names = Names {
            vm: Some(vm),
            ..Names::default()
        };
        snapshot.vms.push(row(VmId::new(&evil), names));
        let unit = UnitKey {
            unit: evil.clone(),
            slice: evil,
        };
        snapshot.units.push(row(unit, Names::default()));
    }
    snapshot
        .pods
        .sort_unstable_by(|one, other| one.key.cmp(&other.key));
    snapshot
        .containers
        .sort_unstable_by(|one, other| one.key.cmp(&other.key));
    snapshot
        .vms
        .sort_unstable_by(|one, other| one.key.cmp(&other.key));
    snapshot
        .units
        .sort_unstable_by(|one, other| one.key.cmp(&other.key));
    for (zone, end) in snapshot.zones.iter_mut().zip(ALIKE) {
        zone.zone.place = Place::Named(Arc::from(format!("{EVIL}{end}")));
    }
    snapshot.processes[0].comm = Comm::from_bytes(b"\x1b[2J\"}\n#\\\xff\xfe");
    snapshot.processes[0].ledger = Ledger::default();
    snapshot
}

fn config() -> ExporterConfig {
    let toml = "schemas = ['kepler', 'kepler-0.11']\nlevels = ['node', 'container', 'pod', 'vm', 'unit', 'process']\npod_labels = ['app']";
    toml::from_str(toml).unwrap()
}

fn page() -> Page {
    Page::new(Arc::new(snapshot()), Arc::new(sample::settings_of(&config())))
}

#[test]
fn no_name_makes_a_line_of_its_own_or_a_series_twice_in_either_format_and_none_is_long() {
    for format in [Format::Text, Format::OpenMetrics] {
        let text = page().scrape(format, Encoding::Identity).0.concat();
        let text = String::from_utf8(text).unwrap();
        assert!(!text.chars().any(|char| char.is_control() && char != '\n'));
        assert!(text.lines().all(|line| line.len() < 8_192));
        let known = |line: &str| {
            line.starts_with("# HELP ") || line.starts_with("# TYPE ") || line.starts_with("# UNIT ")
        };
        let ends = text.lines().filter(|line| *line == "# EOF").count();
        assert_eq!(ends, usize::from(format == Format::OpenMetrics));
        let comments = text
            .lines()
            .filter(|line| line.starts_with('#') && *line != "# EOF");
        comments.for_each(|line| assert!(known(line), "{line}"));
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        for line in &lines {
            let value = line.rsplit_once(' ').unwrap().1;
            assert!(
                value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'),
                "{line}"
            );
            assert!(!line.starts_with("kepler_fake"), "{line}");
        }
        let series: HashSet<&str> = samples(&text).into_keys().collect();
        assert_eq!(series.len(), lines.len(), "a series twice");
        let vms = lines
            .iter()
            .filter(|line| line.starts_with("kepler_vm_joules_total{"));
        assert!(vms.count() >= ALIKE.len());
    }
}

#[test]
fn json_gives_every_name_back_as_it_was_and_holds_no_control_character() {
    let page = page();
    let json = page.json().unwrap();
    let text = str::from_utf8(&json).unwrap();
    assert!(!text.chars().any(|char| char < ' ' && char != '\n'));
    let read: serde_json::Value = serde_json::from_str(text).unwrap();
    let units = read["units"].as_array().unwrap();
    for end in ALIKE {
        let found = units.iter().filter(|row| {
            row["unit"]
                .as_str()
                .is_some_and(|unit| unit.starts_with(EVIL) && unit.ends_with(end))
        });
        assert_eq!(found.count(), 1, "{end:?}");
    }
}
