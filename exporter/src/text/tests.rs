// SPDX-License-Identifier: Apache-2.0
//! The page as a whole: golden file, promtool, exactness, uniqueness.

mod counted;
mod hostile;
mod openmetrics;
mod reference;
mod rows;
mod today;

use super::writer::Format;
use crate::config::Level;
use crate::forms::Encoding;
use crate::observer::Observer;
use crate::page::{Page, RenderSettings};
use crate::sample;
use attribution::model::snapshot::{ContainerKey, Names, UnitKey};
use attribution::model::{Component, ContainerId, PackageId, Permille, Place, Provenance, Snapshot};
use std::collections::{BTreeMap, HashSet};
use std::io::{ErrorKind, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;

/// What stands behind a value that is not shown as it is.
fn mark(value: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, value.as_bytes());
    let hex = digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}"));
    format!("~{}", hex.collect::<String>())
}

fn render(snapshot: &Snapshot) -> String {
    render_with(snapshot, sample::settings())
}

fn render_with(snapshot: &Snapshot, settings: RenderSettings) -> String {
    text_of(&Page::new(Arc::new(snapshot.clone()), Arc::new(settings)))
}

fn text_of(page: &Page) -> String {
    String::from_utf8(page.text().concat()).unwrap()
}

/// Every sample by its series.
fn samples(text: &str) -> BTreeMap<&str, &str> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.map(|line| line.rsplit_once(' ').unwrap()).collect()
}

/// A printed decimal in millionths, by its digits alone.
fn micro(decimal: &str) -> u64 {
    let (whole, fraction) = decimal.split_once('.').unwrap_or((decimal, ""));
    assert!(fraction.len() <= 6, "{decimal}");
    format!("{whole}{fraction:0<6}").parse().unwrap()
}

/// The sum of all samples of `name` with all of `labels`.
fn sum(text: &str, name: &str, labels: &[&str]) -> u64 {
    let wanted = |series: &str| {
        series
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('{'))
            && labels.iter().all(|label| series.contains(label))
    };
    let samples = samples(text).into_iter();
    samples
        .filter(|(series, _)| wanted(series))
        .map(|(_, value)| micro(value))
        .sum()
}

/// What promtool says, or `None` where it is not installed.
fn promtool(text: &str) -> Option<Vec<String>> {
    let command = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match command {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            eprintln!("skipped: needs promtool");
            return None;
        }
        child => child.unwrap(),
    };
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    Some(said.lines().map(str::to_owned).collect())
}

/// The one thing promtool says about names that the contract fixes: Kepler counted CPU time in milliseconds.
fn is_about_kepler_milliseconds(line: &str) -> bool {
    line.ends_with("_bpf_cpu_time_ms_total metric names should not contain abbreviated units")
}

#[test]
fn the_page_is_the_golden_file() {
    is_golden("kepler.prom", &render(&sample::snapshot()));
}

fn is_golden(file: &str, text: &str) {
    let path = format!("{}/tests/golden/{file}", env!("CARGO_MANIFEST_DIR"));
    let path = path.as_str();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, text).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    for (line, (ours, golden)) in text.lines().zip(golden.lines()).enumerate() {
        assert_eq!(
            ours,
            golden,
            "line {}; UPDATE_GOLDEN=1 rewrites the file",
            line + 1
        );
    }
    assert_eq!(text.len(), golden.len());
}

#[test]
fn promtool_has_nothing_to_say_but_about_milliseconds() {
    let page = render(&sample::snapshot());
    let observer = Observer::new("/proc".into());
    let whole = format!("{page}{}", observer.lines(page.len(), Format::Text, None));
    let Some(complaints) = promtool(&whole) else {
        return;
    };
    let (known, unknown): (Vec<_>, Vec<_>) = complaints
        .into_iter()
        .partition(|line| is_about_kepler_milliseconds(line));
    assert!(unknown.is_empty(), "{unknown:#?}");
    // One for each level; a sixth would be a new name, which may not be as bad.
    assert_eq!(known.len(), 5, "{known:#?}");
}

#[test]
fn a_page_before_the_first_window_pleases_promtool_too() {
    let text = render(&Snapshot::default());
    assert!(text.contains("kepler_windows_total 0\n"));
    assert!(text.contains("components_power_source=\"none\",platform_power_source=\"none\""));
    assert!(
        !text.contains("_joules_total"),
        "a component without a meter has no series"
    );
    if let Some(complaints) = promtool(&text) {
        let unknown: Vec<_> = complaints
            .iter()
            .filter(|line| !is_about_kepler_milliseconds(line))
            .collect();
        assert!(unknown.is_empty(), "{unknown:#?}");
    }
}

#[test]
fn workloads_retired_and_unattributed_make_the_node_to_the_last_digit() {
    let snapshot = sample::snapshot();
    let text = render(&snapshot);
    for component in ["package", "dram", "platform", "gpu"] {
        let node = sum(
            &text,
            &format!("kepler_node_{component}_joules_total"),
            &["mode=\"dynamic\""],
        );
        let label = format!("component=\"{component}\"");
        let unattributed = sum(&text, "kepler_node_unattributed_joules_total", &[&label]);
        // Rows that left are in no series any more.
        let retired = if component == "package" { 2 } else { 0 };
        for level in ["container", "process"] {
            let name = format!("kepler_{level}_{component}_joules_total");
            let charged = sum(&text, &name, &["mode=\"dynamic\""]);
            assert_eq!(charged + retired + unattributed, node, "{level} {component}");
        }
    }
    let idle = sum(&text, "kepler_container_package_joules_total", &["mode=\"idle\""]);
    let unreserved = sum(
        &text,
        "kepler_node_unreserved_idle_joules_total",
        &["component=\"package\""],
    );
    let node = sum(&text, "kepler_node_package_joules_total", &["mode=\"idle\""]);
    assert_eq!(idle + unreserved, node);
}

#[test]
fn exactness_survives_totals_that_a_double_cannot_hold() {
    let mut snapshot = sample::snapshot();
    let huge = (1 << 60) + 1;
    snapshot.zones = vec![sample::zone(
        Component::Package,
        Place::socket(PackageId(0)),
        sample::RAPL,
        [huge + 1, 0, 1, 0],
    )];
    snapshot.containers = vec![
        sample::group(ContainerKey::System, sample::ledger(0, &[(huge - 1, 0)])),
        sample::group(ContainerKey::Kernel, sample::ledger(0, &[(1, 0)])),
    ];
    let text = render(&snapshot);
    let charged = sum(&text, "kepler_container_joules_total", &["dynamic"]);
    let unattributed = sum(&text, "kepler_node_unattributed_joules_total", &[]);
    assert_eq!(
        charged + unattributed,
        sum(&text, "kepler_node_joules_total", &["dynamic"])
    );
}

#[test]
fn totals_count_nothing_twice() {
    let text = render(&sample::snapshot());
    // Package (both sockets), memory and GPU; not the platform, which holds them.
    assert_eq!(
        samples(&text)["kepler_node_joules_total{mode=\"dynamic\"}"],
        "60.000021"
    );
    let pod = format!(
        "kepler_pod_joules_total{{pod_id=\"{}\",pod_name=\"web-7d4b9\",pod_namespace=\"shop\",mode=\"dynamic\"}}",
        sample::POD
    );
    assert_eq!(samples(&text)[pod.as_str()], "30.00001");
}

#[test]
fn zones_of_one_component_and_source_are_one_series_of_a_workload() {
    let mut snapshot = sample::snapshot();
    // The same component by another source stays apart.
    snapshot.zones[1].source = sample::MODEL;
    let text = render(&snapshot);
    let name = "kepler_pod_package_joules_total";
    assert_eq!(
        sum(&text, name, &["mode=\"dynamic\"", "source=\"rapl-sysfs\""]),
        30_000_001
    );
    assert_eq!(
        sum(
            &text,
            name,
            &["mode=\"dynamic\"", "source=\"trained_power_model\""]
        ),
        7
    );
    assert_eq!(
        sum(
            &render(&sample::snapshot()),
            name,
            &["mode=\"dynamic\"", "source=\"rapl-sysfs\""]
        ),
        30_000_008
    );
}

#[test]
fn a_workload_has_idle_series_only_once_it_paid_and_dynamic_ones_from_the_start() {
    let text = render(&sample::snapshot());
    let idle: Vec<_> = samples(&text)
        .into_keys()
        .filter(|s| s.starts_with("kepler_container") && s.contains("idle"))
        .collect();
    assert_eq!(idle.len(), 2, "the container's package and its total: {idle:#?}");
    let gpu = "kepler_container_gpu_joules_total{container_id=\"kernel_processes\",container_name=\"kernel_processes\",\
               pod_name=\"kernel_processes\",container_namespace=\"kernel\",mode=\"dynamic\",source=\"nvml\"}";
    assert_eq!(samples(&text)[gpu], "0");
}

#[test]
fn no_page_holds_a_series_twice_whatever_collides() {
    let mut snapshot = sample::snapshot();
    snapshot.zones.extend(snapshot.zones.clone());
    snapshot.containers.push(sample::group(
        ContainerKey::Container(ContainerId::new("system_processes")),
        sample::ledger(1, &[(1, 1)]),
    ));
    let long = |end: &str| UnitKey {
        unit: format!("{}{end}", "u".repeat(300)),
        slice: String::new(),
    };
    snapshot.units = vec![
        sample::group(long("a"), sample::ledger(1_000_000, &[(5, 0)])),
        sample::group(long("b"), sample::ledger(2_000_000, &[(6, 0), (1, 0)])),
    ];
    let facts = Arc::make_mut(&mut snapshot.facts);
    facts.sources.extend(facts.sources.clone());
    facts.probes.extend(facts.probes.clone());
    snapshot.lost.extend(snapshot.lost.clone());
    snapshot.dropped.extend(snapshot.dropped.clone());
    snapshot.sources.extend(snapshot.sources.clone());
    snapshot.windows.late.extend(snapshot.windows.late.clone());
    let settings = RenderSettings {
        levels: vec![
            Level::Node,
            Level::Node,
            Level::Container,
            Level::Unit,
            Level::Process,
            Level::Unit,
        ],
        ..sample::settings()
    };
    let text = render_with(&snapshot, settings);
    let (mut series, mut families) = (HashSet::new(), HashSet::new());
    for line in text.lines() {
        match line.strip_prefix("# TYPE ") {
            Some(family) => assert!(families.insert(family), "{family}"),
            None => assert!(series.insert(line.rsplit_once(' ').unwrap().0), "{line}"),
        }
    }
    // What collided is added up, not dropped.
    assert_eq!(sum(&text, "kepler_unit_package_joules_total", &["dynamic"]), 12);
    assert_eq!(sum(&text, "kepler_unit_bpf_cpu_time_ms_total", &[]), 3_000_000);
    assert_eq!(
        samples(&text)["kepler_dropped_messages_total{queue=\"publish\"}"],
        "10"
    );
}

#[test]
fn a_reused_pid_is_one_series_with_both_totals() {
    let text = render(&sample::snapshot());
    let labels = "pid=\"99\",command=\"sh\",container_id=\"system_processes\",vm_id=\"\"";
    let package =
        format!("kepler_process_package_joules_total{{{labels},mode=\"dynamic\",source=\"rapl-sysfs\"}}");
    assert_eq!(samples(&text)[package.as_str()], "10");
    let dram = format!("kepler_process_dram_joules_total{{{labels},mode=\"dynamic\",source=\"rapl-sysfs\"}}");
    assert_eq!(samples(&text)[dram.as_str()], "0.000001");
    for (name, total) in [("bpf_cpu_time_ms", "1.5"), ("bpf_page_cache_hit", "3")] {
        let series = format!("kepler_process_{name}_total{{{labels}}}");
        assert_eq!(samples(&text)[series.as_str()], total);
    }
}

#[test]
fn only_the_levels_asked_for_are_written() {
    let settings = RenderSettings {
        levels: vec![Level::Pod, Level::Vm],
        ..sample::settings()
    };
    let text = render_with(&sample::snapshot(), settings);
    for (prefix, wanted) in [
        ("kepler_node_joules_total", false),
        ("kepler_container_", false),
        ("kepler_pod_joules_total", true),
        ("kepler_vm_joules_total", true),
        ("kepler_unit_", false),
        ("kepler_process_", false),
        ("kepler_node_info", true),
        ("kepler_windows_total", true),
    ] {
        assert_eq!(
            text.lines().any(|line| line.starts_with(prefix)),
            wanted,
            "{prefix}"
        );
    }
}

#[test]
fn a_level_without_a_meter_that_counts_has_no_total() {
    let mut snapshot = sample::snapshot();
    snapshot.zones = vec![sample::zone(
        Component::Platform,
        Place::Named("bmc".into()),
        sample::RAPL,
        [1, 1, 1, 1],
    )];
    let text = render(&snapshot);
    assert!(text.contains("kepler_container_platform_joules_total"));
    assert!(!text.contains("kepler_container_joules_total"));
    assert!(!text.contains("kepler_node_joules_total"));
}

#[test]
fn a_zone_that_does_not_answer_is_down_and_has_no_power_now() {
    let text = render(&sample::snapshot());
    let samples = samples(&text);
    assert_eq!(
        samples["kepler_source_up{source=\"rapl-sysfs\",component=\"package\"}"],
        "0"
    );
    assert_eq!(
        samples["kepler_source_up{source=\"rapl-sysfs\",component=\"dram\"}"],
        "1"
    );
    assert_eq!(
        samples["kepler_source_up{source=\"acpi\",component=\"other\"}"], "0",
        "chosen, never read"
    );
    assert_eq!(
        samples["kepler_node_package_watts{package=\"socket0\",source=\"rapl-sysfs\"}"],
        "12.5"
    );
    assert!(!text.contains("kepler_node_package_watts{package=\"socket1\""));
}

#[test]
fn the_least_sure_zone_speaks_for_a_source() {
    let mut snapshot = sample::snapshot();
    for (zone, error) in [(0, 50), (1, 80)] {
        snapshot.zones[zone].provenance = Provenance::Estimated {
            relative_error_p90: Permille(error),
        };
    }
    snapshot.zones[1].provenance = Provenance::Counted;
    let text = render(&snapshot);
    assert!(text.contains("component=\"package\",provenance=\"estimated\""));
    assert!(!text.contains("component=\"package\",provenance=\"counted\""));
    assert!(text.contains("kepler_estimate_relative_error{component=\"package\"} 0.05\n"));
    assert!(
        text.contains("source=\"acpi\",component=\"other\",provenance=\"unknown\",detail=\"power_meter\"")
    );
}

#[test]
fn the_power_sources_are_known_before_the_first_reading() {
    let mut snapshot = sample::snapshot();
    snapshot.zones.clear();
    let text = render(&snapshot);
    assert!(text.contains(
        "components_power_source=\"rapl-sysfs\",platform_power_source=\"none\",source=\"os\"} 1\n"
    ));
}

/// Two hundred processes, fifty containers and eight zones: a common node.
fn common_node() -> Snapshot {
    let paid = [(123_456_789, 1_000_001); 8];
    let zone = |index: u16| {
        let component = if index < 4 {
            Component::Package
        } else {
            Component::Dram
        };
        sample::zone(
            component,
            Place::socket(PackageId(index % 4)),
            sample::RAPL,
            [7; 4],
        )
    };
    let container = |n: u32| {
        let key = ContainerKey::Container(ContainerId::new(&format!("{n:064x}")));
        sample::group(key, sample::ledger(u64::from(n) * 1_234_567, &paid))
    };
    Snapshot {
        zones: (0..8).map(zone).collect(),
        processes: (0..200)
            .map(|pid| sample::process(pid, 1, b"a-common-command", sample::ledger(98_765_432_109, &paid)))
            .collect(),
        containers: (0..50).map(container).collect(),
        ..sample::snapshot()
    }
}

#[test]
fn a_common_node_stays_far_below_a_megabyte() {
    let settings = Arc::new(sample::settings());
    let page = Page::new(Arc::new(common_node()), settings);
    let packed = page.scrape(Format::Text, Encoding::Gzip).0.concat();
    let text = text_of(&page);
    let series = samples(&text).len();
    eprintln!(
        "{series} series, {} bytes of text, {} compressed",
        text.len(),
        packed.len()
    );
    assert!(series > 1_700 && text.len() < 400_000 && packed.len() < 40_000);
}

#[test]
fn workloads_are_shown_by_name_and_those_whose_names_are_on_their_way_not_yet() {
    let mut snapshot = sample::snapshot();
    let text = render(&snapshot);
    let named = |text: &str, labels: &str| text.lines().any(|line| line.contains(labels));
    for labels in [
        "container_name=\"web\",pod_name=\"web-7d4b9\",container_namespace=\"shop\"",
        "pod_name=\"web-7d4b9\",pod_namespace=\"shop\"",
        "vm_id=\"6f1c\",vm_name=\"build\",hypervisor=\"qemu\"",
    ] {
        assert!(named(&text, labels), "{labels}");
    }
    snapshot.containers[0].names = Names {
        awaited: true,
        ..Names::default()
    };
    snapshot.pods[0].names.awaited = true;
    let text = render(&snapshot);
    assert!(!named(&text, "kepler_pod_"));
    assert!(
        !text
            .lines()
            .any(|line| line.starts_with("kepler_container_") && line.contains(sample::CONTAINER))
    );
    assert!(
        named(&text, "container_id=\"system_processes\""),
        "the others are shown"
    );
}
