// SPDX-License-Identifier: Apache-2.0
//! Schema `kepler-0.11`, alone and beside schema `kepler`.

use super::{is_about_kepler_milliseconds, is_golden, promtool, samples, sum, text_of};
use crate::config::{ExporterConfig, Schema};
use crate::page::Page;
use crate::sample;
use attribution::model::{Component, CpuNanos, Microjoules, Place, Provenance, Snapshot, SourceId};
use std::collections::HashSet;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

/// Snapshots as the attribution makes them have their rows sorted.
fn first() -> Snapshot {
    let mut snapshot = sample::snapshot();
    snapshot.processes.sort_by_key(|row| row.task);
    snapshot.zones[1].up = true;
    snapshot
}

/// Two seconds later: the worker and its container have had 10 J more of socket 0, and 4 J of the GPU.
fn second() -> Snapshot {
    let mut snapshot = first();
    snapshot.window.began = sample::CLOSED;
    snapshot.window.ended = sample::CLOSED.after(Duration::from_secs(2));
    snapshot.packages[0].busy += CpuNanos::from_nanos(3_000_000_000);
    snapshot.packages[0].idle += CpuNanos::from_nanos(13_000_000_000);
    for (zone, joules) in [(0, 10), (4, 4)] {
        let energy = Microjoules::from_micro(joules * 1_000_000);
        snapshot.zones[zone].dynamic += energy;
        let worker = snapshot
            .processes
            .iter_mut()
            .find(|row| row.task.tgid == 4711)
            .unwrap();
        for ledger in [
            &mut worker.ledger,
            &mut snapshot.containers[0].ledger,
            &mut snapshot.pods[0].ledger,
        ] {
            ledger.charges[zone].dynamic += energy;
        }
    }
    snapshot
}

fn page(schemas: &[Schema]) -> String {
    page_of(schemas, [first(), second()])
}

fn page_of(schemas: &[Schema], [before, now]: [Snapshot; 2]) -> String {
    let config = ExporterConfig {
        schemas: schemas.to_vec(),
        ..ExporterConfig::default()
    };
    let proc = tempfile::tempdir().unwrap();
    let cpus = (0..2).fold(String::new(), |mut text, cpu| {
        write!(text, "processor\t: {cpu}\nvendor_id\t: GenuineIntel\nmodel name\t: Xeon\nphysical id\t: 0\ncore id\t: {cpu}\n\n").unwrap();
        text
    });
    std::fs::write(proc.path().join("cpuinfo"), cpus).unwrap();
    let settings = Arc::new(sample::settings_of(&config).with_proc_root(proc.path().to_owned()));
    drop(Page::new(Arc::new(before), Arc::clone(&settings)));
    text_of(&Page::new(Arc::new(now), settings))
}

#[test]
fn the_page_in_the_names_of_kepler_0_11_is_the_golden_file() {
    is_golden("kepler-0.11.prom", &page(&[Schema::Kepler011]));
}

#[test]
fn promtool_says_nothing_of_kepler_0_11_and_nothing_more_of_both_together() {
    if let Some(said) = promtool(&page(&[Schema::Kepler011])) {
        assert_eq!(said, Vec::<String>::new());
    }
    if let Some(said) = promtool(&page(&[Schema::Kepler, Schema::Kepler011])) {
        let unknown: Vec<_> = said
            .iter()
            .filter(|line| !is_about_kepler_milliseconds(line))
            .collect();
        assert_eq!(unknown, Vec::<&String>::new());
        assert_eq!(said.len(), 5);
    }
}

#[test]
fn both_schemas_together_hold_what_each_holds_alone_and_no_family_and_no_series_twice() {
    let [kepler, today, both] = [
        page(&[Schema::Kepler]),
        page(&[Schema::Kepler011]),
        page(&[Schema::Kepler011, Schema::Kepler]),
    ];
    let both_samples = samples(&both);
    for (alone, name) in [(&kepler, "kepler"), (&today, "kepler-0.11")] {
        for (series, value) in samples(alone) {
            assert_eq!(both_samples.get(series), Some(&value), "{name}: {series}");
        }
    }
    let count = both.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(count, both_samples.len(), "a series is there twice");
    // A family is one block: samples of its name follow its head and come nowhere else.
    let (mut seen, mut current) = (HashSet::new(), "");
    for line in both.lines() {
        if let Some(head) = line.strip_prefix("# HELP ") {
            current = head.split(' ').next().unwrap();
            assert!(seen.insert(current), "{current} has two heads");
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            assert!(name.starts_with(current), "{name} is in {current}");
        }
    }
    for shared in [
        "kepler_node_gpu_joules_total",
        "kepler_node_gpu_watts",
        "kepler_container_gpu_joules_total",
        "kepler_pod_gpu_joules_total",
        "kepler_process_gpu_joules_total",
    ] {
        let ours = sum(&both, shared, &["source=\"nvml\""]);
        let theirs = sum(&both, shared, &["node_name=\"node-1\""]);
        assert!(ours > 0 && theirs > 0, "{shared}: {ours} {theirs}");
    }
}

#[test]
fn power_is_what_the_energy_rose_by_between_two_readings() {
    let text = page(&[Schema::Kepler011]);
    for (name, labels, watts) in [
        (
            "kepler_node_cpu_watts",
            "zone=\"package\",path=\"rapl-sysfs:socket0\"",
            12_500_000,
        ),
        (
            "kepler_node_cpu_active_watts",
            "zone=\"package\",path=\"rapl-sysfs:socket0\"",
            5_000_000,
        ),
        (
            "kepler_node_cpu_idle_watts",
            "zone=\"package\",path=\"rapl-sysfs:socket0\"",
            7_500_000,
        ),
        ("kepler_node_gpu_active_watts", "GPU-1", 2_000_000),
        ("kepler_process_cpu_watts", "pid=\"4711\"", 5_000_000),
        ("kepler_container_cpu_watts", "zone=\"package\"", 5_000_000),
        ("kepler_pod_cpu_watts", "zone=\"package\"", 5_000_000),
        ("kepler_vm_cpu_watts", "zone=\"package\"", 0),
        ("kepler_process_gpu_watts", "", 2_000_000),
        ("kepler_pod_gpu_watts", "", 2_000_000),
        ("kepler_node_cpu_usage_ratio", "", 187_500),
    ] {
        assert_eq!(sum(&text, name, &[labels]), watts, "{name}");
    }
    // Nothing but the worker ran.
    assert_eq!(sum(&text, "kepler_process_cpu_watts", &["package"]), 5_000_000);
    assert_eq!(
        sum(&text, "kepler_platform_watts", &[]),
        0,
        "an estimate without power"
    );
}

#[test]
fn a_meter_that_was_not_read_again_keeps_the_power_of_its_last_readings() {
    let config = ExporterConfig {
        schemas: vec![Schema::Kepler011],
        ..ExporterConfig::default()
    };
    let settings = Arc::new(sample::settings_of(&config));
    let mut third = second();
    third.window.ended = second().window.ended.after(Duration::from_secs(2));
    for zone in &mut third.zones {
        zone.age += Duration::from_secs(2);
    }
    let pages = [first(), second(), third.clone()].map(|s| Page::new(Arc::new(s), Arc::clone(&settings)));
    let of = |page: &Page| {
        sum(
            &text_of(page),
            "kepler_process_cpu_watts",
            &["pid=\"4711\"", "package"],
        )
    };
    assert_eq!(pages.each_ref().map(of), [0, 5_000_000, 5_000_000]);
    third.zones[0].up = false;
    third.zones[1].up = false;
    let text = text_of(&Page::new(Arc::new(third), settings));
    assert!(!text.contains("kepler_process_cpu_watts{node_name=\"node-1\",pid=\"4711\",comm=\"worker\",exe=\"\",type=\"container\",container_id=\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\",vm_id=\"\",state=\"running\",zone=\"package\"}"));
}

#[test]
fn what_today_has_no_name_for_is_left_out_and_psys_is_a_zone() {
    let [mut before, mut now] = [first(), second()];
    for snapshot in [&mut before, &mut now] {
        snapshot.zones[3].source = SourceId("rapl-sysfs");
        snapshot.zones[3].provenance = Provenance::Counted;
        let bmc = Place::Named("bmc".into());
        let zone = |component, source| sample::zone(component, bmc.clone(), SourceId(source), [9; 4]);
        snapshot.zones.push(zone(Component::Other, "redfish"));
        snapshot.zones.push(zone(Component::Platform, "redfish"));
    }
    let text = page_of(&[Schema::Kepler011], [before, now]);
    assert!(text.contains("zone=\"psys\",path=\"rapl-sysfs:model\""));
    assert!(text.contains("kepler_platform_watts{node_name=\"node-1\",source=\"redfish\",bmc_id=\"\",chassis_id=\"\",source_id=\"bmc\",source_name=\"bmc\",source_type=\"\"} 12.5\n"));
    for absent in [
        "zone=\"other\"",
        "system_processes",
        "kernel_processes",
        "kepler_unit",
        "mode=",
    ] {
        assert!(!text.contains(absent), "{absent}");
    }
}

#[test]
fn what_ended_is_another_series_and_its_cpu_time_is_not() {
    let text = page(&[Schema::Kepler011]);
    let sh = |state| {
        let labels = ["pid=\"99\"", state, "zone=\"package\""];
        sum(&text, "kepler_process_cpu_joules_total", &labels)
    };
    assert_eq!([sh("running"), sh("terminated")], [1_000_000, 9_000_000]);
    let seconds: Vec<_> = samples(&text)
        .into_iter()
        .filter(|(series, _)| {
            series.starts_with("kepler_process_cpu_seconds_total{") && series.contains("pid=\"99\"")
        })
        .collect();
    assert_eq!(seconds.len(), 1);
    assert_eq!(seconds[0].1, "0.0015");
}
