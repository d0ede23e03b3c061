// SPDX-License-Identifier: Apache-2.0
//! The reference is what the code says, and the code writes nothing that is not in it.

use super::text_of;
use crate::config::{ExporterConfig, Schema};
use crate::page::Page;
use crate::sample;
use crate::text::metric::Metric;
use crate::text::{names, reference, today};
use attribution::model::{Component, CpuNanos, Event, EventSet, Microjoules, Place, Snapshot, SourceId};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn the_reference_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let written = reference();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &written).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    for (ours, theirs) in written.lines().zip(committed.lines()) {
        assert_eq!(ours, theirs, "UPDATE_GOLDEN=1 rewrites docs/metrics.md");
    }
    assert_eq!(written, committed);
}

/// A snapshot in which every family has samples.
fn everything() -> Snapshot {
    let mut snapshot = sample::snapshot();
    snapshot.processes.sort_by_key(|row| row.task);
    for component in [
        Component::Core,
        Component::Uncore,
        Component::Other,
        Component::Platform,
    ] {
        let place = Place::Named("one".into());
        snapshot
            .zones
            .push(sample::zone(component, place, SourceId("acpi"), [8; 4]));
    }
    snapshot.zones[1].up = true;
    snapshot.counted = Event::ALL.into_iter().fold(EventSet::NONE, EventSet::with);
    for ledger in [&mut snapshot.vms[0].ledger, &mut snapshot.units[0].ledger] {
        ledger.charges.clone_from(&snapshot.pods[0].ledger.charges);
    }
    snapshot
}

/// Two windows, so that there is power.
fn page(schema: Schema) -> String {
    let config = ExporterConfig {
        schemas: vec![schema],
        ..ExporterConfig::default()
    };
    let settings = Arc::new(sample::settings_of(&config));
    settings.observer.doors().begins(1_800_000_000);
    let mut later = everything();
    later.window.ended = later.window.ended.after(Duration::from_secs(1));
    later.packages[0].busy = CpuNanos::from_nanos(20_000_000_000);
    later.zones[4].dynamic += Microjoules::from_micro(9);
    let worker = later
        .processes
        .iter_mut()
        .find(|row| row.task.tgid == 4711)
        .unwrap();
    for ledger in [
        &mut worker.ledger,
        &mut later.containers[0].ledger,
        &mut later.pods[0].ledger,
    ] {
        if let Some(gpu) = ledger.charges.get_mut(4) {
            gpu.dynamic += Microjoules::from_micro(9);
        }
    }
    drop(Page::new(Arc::new(everything()), Arc::clone(&settings)));
    let page = Page::new(Arc::new(later), settings);
    let own = page.scrape(
        crate::text::writer::Format::Text,
        crate::forms::Encoding::Identity,
    );
    assert!(text_of(&page).len() < own.0.iter().map(bytes::Bytes::len).sum());
    String::from_utf8(own.0.concat()).unwrap()
}

/// Type, help and labels of every family of a page.
fn families(text: &str) -> BTreeMap<String, (String, String, BTreeSet<String>)> {
    let mut families: BTreeMap<String, (String, String, BTreeSet<String>)> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(head) = line.strip_prefix("# HELP ") {
            let (name, help) = head.split_once(' ').unwrap();
            name.clone_into(&mut current);
            families.entry(current.clone()).or_default().1 = help.to_owned();
        } else if let Some(head) = line.strip_prefix("# TYPE ") {
            families.get_mut(&current).unwrap().0 = head.split_once(' ').unwrap().1.to_owned();
        } else if let Some((_, labels)) = line.split_once('{') {
            // No label of this sample has a comma and a word and `="` in its value.
            let labels = labels
                .split("=\"")
                .map(|part| part.rsplit([',', '{']).next().unwrap().to_owned());
            let labels: Vec<String> = labels.collect();
            let names = labels.split_last().unwrap().1.to_vec();
            families.get_mut(&current).unwrap().2.extend(names);
        }
    }
    families
}

fn declared(metric: &Metric) -> (String, String, BTreeSet<String>) {
    let [first, second] = metric.labels;
    let labels = first.iter().chain(second).map(|&label| label.to_owned());
    (
        metric.kind.name().to_owned(),
        metric.help.to_string(),
        labels.collect(),
    )
}

#[test]
fn every_family_of_a_full_page_is_in_the_reference_as_it_is_written_and_the_other_way_round() {
    for (schema, sections) in [(Schema::Kepler, names::all()), (Schema::Kepler011, today::all())] {
        let written = families(&page(schema));
        let mut expected: Vec<Metric> = sections.into_iter().flat_map(|(_, metrics)| metrics).collect();
        if schema == Schema::Kepler011 {
            expected.extend(names::all().pop().unwrap().1);
        }
        expected.extend(crate::observer::metrics());
        expected.extend(crate::security::health::metrics());
        for metric in &expected {
            assert_eq!(
                written.get(&*metric.name),
                Some(&declared(metric)),
                "{} {schema:?}",
                metric.name
            );
            assert!(!metric.help.contains(['"', '\\', '\n', '|']), "{}", metric.name);
        }
        assert_eq!(written.len(), expected.len(), "{schema:?}");
    }
}
