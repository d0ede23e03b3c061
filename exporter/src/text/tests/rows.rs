// SPDX-License-Identifier: Apache-2.0
//! Labels that are left out or added, namespaces that have no rows: nothing is there twice, nothing is lost, nothing falls.

mod restyled;

use super::{micro, render_with, samples, sum, text_of};
use crate::config::{ExporterConfig, Level, Schema};
use crate::page::Page;
use crate::sample;
use attribution::model::snapshot::{Charge, ContainerKey, GroupRow, Ledger, Names, ProcessRow};
use attribution::model::{
    CgroupOwner, Comm, Component, ContainerId, CpuNanos, Microjoules, MonotonicNanos, PackageId, Place,
    PodFacts, PodUid, Snapshot, TaskKey,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

fn config(toml: &str) -> ExporterConfig {
    toml::from_str(toml).unwrap()
}

fn render(snapshot: &Snapshot, toml: &str) -> String {
    render_with(snapshot, sample::settings_of(&config(toml)))
}

#[test]
fn rows_that_a_dropped_label_told_apart_are_one_series_with_their_sum() {
    let snapshot = sample::snapshot();
    let whole = render(&snapshot, "");
    let text = render(
        &snapshot,
        "drop.process = 'pid, container_id, vm_id'\ndrop.container = ['container_name']",
    );
    let sh = "kepler_process_package_joules_total{command=\"sh\",mode=\"dynamic\",source=\"rapl-sysfs\"}";
    assert_eq!(samples(&text)[sh], "10");
    assert!(!text.contains("container_name=") && !text.contains("pid="));
    for name in [
        "kepler_process_joules_total",
        "kepler_container_joules_total",
        "kepler_process_bpf_cpu_time_ms_total",
    ] {
        assert_eq!(sum(&text, name, &[]), sum(&whole, name, &[]), "{name}");
    }
    let lines = text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(lines, samples(&text).len());
}

#[test]
fn labels_of_pods_are_labels_of_their_containers_too_and_others_have_them_empty() {
    let toml = "pod_labels = ['app', 'team/x']\nschemas = ['kepler', 'kepler-0.11']";
    let text = render(&sample::snapshot(), toml);
    let samples = samples(&text);
    let found = |name: &str, labels: &[&str]| {
        samples
            .keys()
            .any(|series| series.starts_with(name) && labels.iter().all(|label| series.contains(label)))
    };
    let known = ["label_app=\"web\"", "label_team_x=\"\""];
    let unknown = ["system_processes", "label_app=\"\"", "label_team_x=\"\""];
    for (name, labels) in [
        ("kepler_pod_joules_total", &known[..]),
        ("kepler_container_joules_total", &known),
        ("kepler_pod_cpu_joules_total", &known),
        ("kepler_container_cpu_joules_total", &known),
        ("kepler_container_joules_total", &unknown),
    ] {
        assert!(found(name, labels), "{name} {labels:?}");
    }
    assert!(!found("kepler_process", &["label_"]));
}

#[test]
fn a_denied_namespace_is_one_row_on_its_levels_and_in_the_row_of_all_other_processes() {
    let snapshot = sample::snapshot();
    let (whole, text) = (
        render(&snapshot, ""),
        render(&snapshot, "namespaces.deny = 'shop'"),
    );
    for absent in ["shop", sample::CONTAINER, sample::POD, "pid=\"4711\""] {
        assert!(!text.contains(absent), "{absent}");
    }
    let samples = samples(&text);
    let container = "kepler_container_joules_total{container_id=\"_other\",container_name=\"_other\",pod_name=\"_other\",container_namespace=\"_other\",mode=\"dynamic\"}";
    assert_eq!(samples[container], "30.00001");
    let pod = "kepler_pod_joules_total{pod_id=\"_other\",pod_name=\"_other\",pod_namespace=\"_other\",mode=\"idle\"}";
    assert_eq!(samples[pod], "1");
    let others = "kepler_process_joules_total{pid=\"other\",command=\"\",container_id=\"\",vm_id=\"\",mode=\"dynamic\"}";
    assert_eq!(samples[others], "34.00001");
    for level in ["container", "pod", "process"] {
        for name in [
            "joules",
            "package_joules",
            "bpf_cpu_time_ms",
            "bpf_page_cache_hit",
        ] {
            let name = format!("kepler_{level}_{name}_total");
            assert_eq!(sum(&text, &name, &[]), sum(&whole, &name, &[]), "{name}");
        }
    }
    let allowed = render(&snapshot, "namespaces.allow = ['shop']");
    assert_eq!(allowed.lines().count(), whole.lines().count());
    assert!(render(&snapshot, "namespaces.allow = ['else']").contains("pod_namespace=\"_other\""));
}

#[test]
fn what_runs_outside_of_containers_is_none_to_todays_kepler_also_where_rows_are_folded() {
    let snapshot = sample::snapshot();
    let whole = "kepler_container_cpu_joules_total";
    for rules in ["", "namespaces.deny = 'shop'", "drop.container = 'pod_name'"] {
        let text = render(&snapshot, &format!("schemas = 'kepler-0.11'\n{rules}"));
        assert!(text.contains(whole), "{rules}");
        for outside in ["system_processes", "kernel_processes"] {
            assert!(!text.contains(outside), "{rules}: {outside}");
        }
    }
    // With a container in the same sum it is shown: the container's energy is not to be lost.
    let text = render(
        &snapshot,
        "schemas = 'kepler-0.11'\ndrop.container = 'container_id, container_name, pod_name, container_namespace'",
    );
    assert!(text.contains(whole));
}

/// One zone, so that sums are easy.
fn snapshot_of(second: u64, processes: Vec<ProcessRow>, other: Ledger) -> Snapshot {
    let end = MonotonicNanos::from_nanos(second * 1_000_000_000);
    let mut snapshot = Snapshot {
        zones: vec![sample::zone(
            Component::Package,
            Place::socket(PackageId(0)),
            sample::RAPL,
            [0; 4],
        )],
        processes,
        other_processes: other,
        ..Snapshot::default()
    };
    snapshot.window.ended = end;
    snapshot.processes.sort_by_key(|row| row.task);
    snapshot
}

fn pay(ledger: &mut Ledger, micro: u64) {
    ledger.charges.resize(1, Charge::default());
    ledger.charges[0].dynamic += Microjoules::from_micro(micro);
    ledger.cpu += CpuNanos::from_nanos(micro * 1_000);
}

fn absorb(into: &mut Ledger, from: &Ledger) {
    if let Some(charge) = from.charges.first() {
        pay(into, charge.dynamic.as_micro());
    }
}

/// A process level as the attribution keeps it: rows count from their promotion, ended ones stay for a while, and what is
/// called the same is one series that goes on.
#[derive(Default)]
struct World {
    rows: Vec<(ProcessRow, Option<u64>)>,
    other: Ledger,
    paid: u64,
    second: u64,
    starts: u64,
}

#[derive(Clone, Debug)]
enum Happening {
    Runs(usize, u64),
    RunsUnseen(u64),
    Ends(usize),
    Begins(u32, bool),
    Renames(usize),
    Moves(usize, bool),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => (0..6_usize, 1..1_000_000_u64).prop_map(|(row, micro)| Happening::Runs(row, micro)),
        1 => (1..1_000_000_u64).prop_map(Happening::RunsUnseen),
        2 => (0..6_usize).prop_map(Happening::Ends),
        3 => (1..3_u32, any::<bool>()).prop_map(|(pid, shell)| Happening::Begins(pid, shell)),
        1 => (0..6_usize).prop_map(Happening::Renames),
        1 => (0..6_usize, any::<bool>()).prop_map(|(row, pod)| Happening::Moves(row, pod)),
    ]
}

fn comm(shell: bool) -> Comm {
    Comm::from_bytes(if shell { b"sh" } else { b"cc1" })
}

fn in_pod() -> Arc<CgroupOwner> {
    Arc::new(CgroupOwner {
        container: Some(ContainerId::new("c")),
        pod: Some(PodUid::new("p")),
        ..CgroupOwner::default()
    })
}

fn is_one_series(a: &ProcessRow, b: &ProcessRow) -> bool {
    let of = |row: &ProcessRow| row.owner.as_ref().and_then(|owner| owner.container.clone());
    a.task.tgid == b.task.tgid && a.comm == b.comm && of(a) == of(b)
}

impl World {
    fn happens(&mut self, what: &Happening) {
        match *what {
            Happening::Runs(row, micro) => {
                if let Some((row, None)) = self.rows.get_mut(row) {
                    pay(&mut row.ledger, micro);
                    self.paid += micro;
                }
            }
            Happening::RunsUnseen(micro) => {
                pay(&mut self.other, micro);
                self.paid += micro;
            }
            Happening::Ends(row) => {
                if let Some((row, ended @ None)) = self.rows.get_mut(row) {
                    (row.ended, *ended) = (true, Some(self.second));
                }
            }
            Happening::Begins(pid, shell) => {
                if self
                    .rows
                    .iter()
                    .any(|(row, ended)| row.task.tgid == pid && ended.is_none())
                {
                    return;
                }
                self.starts += 1;
                let mut row = sample::process(pid, self.starts, b"", Ledger::default());
                row.comm = comm(shell);
                row.began = MonotonicNanos::from_nanos(self.second);
                if let Some(at) = self
                    .rows
                    .iter()
                    .position(|(old, ended)| ended.is_some() && is_one_series(old, &row))
                {
                    let old = self.rows.remove(at).0;
                    (row.ledger, row.began) = (old.ledger, old.began);
                }
                self.rows.push((row, None));
            }
            Happening::Renames(row) => {
                if let Some((row, None)) = self.rows.get_mut(row) {
                    row.comm = comm(row.comm != comm(true));
                }
            }
            Happening::Moves(row, pod) => {
                if let Some((row, None)) = self.rows.get_mut(row) {
                    row.owner = pod.then(in_pod);
                }
            }
        }
    }

    fn close(&mut self) -> Snapshot {
        self.second += 1;
        while let Some(at) = self
            .rows
            .iter()
            .position(|(_, ended)| ended.is_some_and(|at| at + 3 < self.second))
        {
            let (old, _) = self.rows.remove(at);
            let mut heirs: Vec<_> = self
                .rows
                .iter_mut()
                .filter(|(row, _)| is_one_series(row, &old))
                .collect();
            heirs.sort_by_key(|(row, _)| row.task);
            if let Some((heir, _)) = heirs.into_iter().next() {
                absorb(&mut heir.ledger, &old.ledger);
                heir.began = heir.began.min(old.began);
            }
        }
        let rows = self.rows.iter().map(|(row, _)| row.clone()).collect();
        let mut snapshot = snapshot_of(self.second, rows, self.other.clone());
        snapshot.pods = vec![GroupRow {
            names: Names {
                pod: Some(Arc::new(PodFacts {
                    namespace: "shop".into(),
                    ..PodFacts::default()
                })),
                ..Names::default()
            },
            ..sample::group(PodUid::new("p"), Ledger::default())
        }];
        snapshot
    }
}

/// Every counter of a page in millionths.
fn counters(text: &str) -> BTreeMap<String, u64> {
    let is_counter = |series: &str| {
        series
            .split('{')
            .next()
            .is_some_and(|name| name.ends_with("_total"))
    };
    let samples = samples(text).into_iter().filter(|(series, _)| is_counter(series));
    samples
        .map(|(series, value)| (series.to_owned(), micro(value)))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_processes_do_their_sums_lose_nothing_and_never_fall(
        windows in prop::collection::vec(prop::collection::vec(happening(), 0..6), 1..24),
        rules in prop::sample::select(vec![
            "drop.process = 'pid, command, container_id, vm_id'",
            "drop.process = 'pid'",
            "drop.process = 'command, container_id'",
            "namespaces.deny = 'shop'",
            "namespaces.allow = 'else'\ndrop.process = 'pid, container_id'",
        ]),
    ) {
        let config = ExporterConfig {
            levels: vec![Level::Process],
            schemas: vec![Schema::Kepler, Schema::Kepler011],
            ..config(rules)
        };
        let settings = Arc::new(sample::settings_of(&config));
        let mut world = World::default();
        let mut before: BTreeMap<String, u64> = BTreeMap::new();
        let mut shown: HashSet<String> = HashSet::new();
        for window in windows {
            window.iter().for_each(|what| world.happens(what));
            let page = Page::new(Arc::new(world.close()), Arc::clone(&settings));
            let text = text_of(&page);
            let now = counters(&text);
            for (series, then) in &before {
                // What is called `running` and ends is another series; a sum of the contract is not.
                let value = now.get(series).copied();
                if series.starts_with("kepler_process_cpu_joules") {
                    continue;
                }
                prop_assert!(value.is_none_or(|value| value >= *then), "{} fell from {} to {:?}", series, then, value);
            }
            shown.extend(now.keys().cloned());
            let all = sum(&text, "kepler_process_joules_total", &["dynamic"]);
            if rules.contains("pid, command, container_id, vm_id") {
                prop_assert_eq!(all, world.paid, "one series is everything that was ever paid");
            }
            prop_assert!(all <= world.paid);
            before = now;
        }
        prop_assert!(!shown.is_empty());
    }
}

fn container(id: &str, namespace: Option<&str>, began: u64, micro: u64) -> GroupRow<ContainerKey> {
    let pod = namespace.map(|namespace| {
        Arc::new(PodFacts {
            name: "pod".into(),
            namespace: namespace.into(),
            ..PodFacts::default()
        })
    });
    let mut row = sample::group(ContainerKey::Container(ContainerId::new(id)), Ledger::default());
    row.names.pod = pod;
    row.began = MonotonicNanos::from_nanos(began);
    pay(&mut row.ledger, micro);
    row
}

/// The dynamic total of each namespace, window by window, where containers have no other label.
fn by_namespace(windows: Vec<Vec<GroupRow<ContainerKey>>>, rules: &str) -> Vec<BTreeMap<String, u64>> {
    let config = config(rules);
    let settings = Arc::new(sample::settings_of(&config));
    let windows = windows.into_iter().zip(1_u64..).map(|(containers, second)| {
        let snapshot = Snapshot {
            containers,
            ..snapshot_of(second, Vec::new(), Ledger::default())
        };
        let text = text_of(&Page::new(Arc::new(snapshot), Arc::clone(&settings)));
        let totals = samples(&text).into_iter().filter_map(|(series, value)| {
            let labels = series.strip_prefix("kepler_container_joules_total{container_namespace=\"")?;
            Some((labels.split('"').next()?.to_owned(), micro(value)))
        });
        totals.collect()
    });
    windows.collect()
}

const BY_NAMESPACE: &str = "drop.container = ['container_id', 'container_name', 'pod_name']";

fn totals(of: &[(&str, u64)]) -> BTreeMap<String, u64> {
    of.iter().map(|&(name, micro)| (name.to_owned(), micro)).collect()
}

#[test]
fn a_container_that_leaves_and_comes_back_is_in_its_namespaces_sum_once() {
    let a = |began, micro| container("a", Some("shop"), began, micro);
    let b = |micro| container("b", Some("shop"), 0, micro);
    let windows = vec![
        vec![a(0, 5), b(1)],
        vec![b(2)],
        // It goes on where it stopped,
        vec![a(0, 6), b(2)],
        vec![b(2)],
        // and another time it begins anew.
        vec![a(9, 1), b(2)],
        vec![],
        vec![b(2)],
    ];
    let sums = by_namespace(windows, BY_NAMESPACE);
    let shop: Vec<_> = sums.iter().map(|sums| sums.get("shop").copied()).collect();
    assert_eq!(shop, [Some(6), Some(7), Some(8), Some(8), Some(9), None, Some(9)]);
}

#[test]
fn a_process_that_leaves_and_comes_back_is_in_its_sum_once() {
    let settings = Arc::new(sample::settings_of(&ExporterConfig {
        levels: vec![Level::Process],
        ..config("drop.process = 'pid'")
    }));
    let sums = [Some((0, 5)), None, Some((0, 6)), None, Some((9, 1))]
        .into_iter()
        .zip(1_u64..)
        .map(|(row, second)| {
            let rows = [(1, Some((0, 1))), (2, row)]
                .into_iter()
                .filter_map(|(pid, row)| {
                    let (began, micro) = row?;
                    let mut row = sample::process(pid, 7, b"cc1", Ledger::default());
                    row.began = MonotonicNanos::from_nanos(began);
                    pay(&mut row.ledger, micro);
                    Some(row)
                });
            let snapshot = snapshot_of(second, rows.collect(), Ledger::default());
            let text = text_of(&Page::new(Arc::new(snapshot), Arc::clone(&settings)));
            sum(&text, "kepler_process_joules_total", &["dynamic"])
        });
    assert_eq!(
        sums.collect::<Vec<_>>(),
        [6, 6, 7, 7, 8],
        "and another time it begins anew"
    );
}

#[test]
fn a_process_that_slept_longer_than_it_is_remembered_brings_nothing_of_its_past_along() {
    let settings = Arc::new(sample::settings_of(&ExporterConfig {
        levels: vec![Level::Process],
        ..config("drop.process = 'pid'")
    }));
    let process = |pid, began, micro| {
        let mut row = sample::process(pid, 7, b"cc1", Ledger::default());
        row.began = MonotonicNanos::from_nanos(began);
        pay(&mut row.ledger, micro);
        row
    };
    let many = (10..1_100).map(|pid| process(pid, 2, 1)).collect();
    let windows = [
        vec![process(1, 0, 1), process(2, 0, 500)],
        many,
        vec![process(1, 0, 1)],
        vec![process(1, 0, 1), process(2, 0, 501)],
        vec![process(1, 0, 1), process(2, 0, 502), process(3, 4, 30)],
    ];
    let sums = windows.into_iter().zip(1_u64..).map(|(rows, second)| {
        let snapshot = snapshot_of(second, rows, Ledger::default());
        let text = text_of(&Page::new(Arc::new(snapshot), Arc::clone(&settings)));
        sum(&text, "kepler_process_joules_total", &["dynamic"])
    });
    // The first window after it came back is lost, and what it had used before that is not there twice.
    assert_eq!(sums.collect::<Vec<_>>(), [501, 1_591, 1_591, 1_591, 1_622]);
}

#[test]
fn a_container_whose_namespace_becomes_known_brings_nothing_along() {
    let windows = vec![
        vec![container("a", None, 0, 5)],
        vec![container("a", Some("shop"), 0, 7), container("b", None, 0, 1)],
        vec![container("a", Some("shop"), 0, 8), container("b", None, 0, 1)],
    ];
    assert_eq!(
        by_namespace(windows, BY_NAMESPACE),
        [
            totals(&[("", 5)]),
            totals(&[("", 6), ("shop", 2)]),
            totals(&[("", 6), ("shop", 3)])
        ]
    );
}

#[test]
fn the_row_of_denied_namespaces_stays_when_nobody_is_in_it_any_more() {
    let rules = format!("{BY_NAMESPACE}\nnamespaces.deny = ['shop']");
    let windows = vec![
        vec![container("a", Some("shop"), 0, 5)],
        vec![],
        vec![container("b", Some("shop"), 3, 2)],
    ];
    assert_eq!(
        by_namespace(windows, &rules),
        [
            totals(&[("_other", 5)]),
            totals(&[("_other", 5)]),
            totals(&[("_other", 7)])
        ]
    );
}

#[test]
fn a_flood_of_names_stays_bounded_and_those_that_stay_lose_nothing() {
    let row = |number: usize| container(&number.to_string(), Some(&format!("n-{number}")), 0, 1);
    let windows = (0..9).map(|window| {
        let mut rows: Vec<_> = (window * 1_000..(window + 1) * 1_000).map(row).collect();
        let mut stays = container("stays", Some("stays"), 0, 1);
        pay(&mut stays.ledger, u64::try_from(window).unwrap());
        rows.push(stays);
        rows.sort_by(|a, b| a.key.cmp(&b.key));
        rows
    });
    let mut windows: Vec<_> = windows.collect();
    windows.push(vec![row(8_999), row(0)]);
    let sums = by_namespace(windows, BY_NAMESPACE);
    assert!(sums.iter().take(9).all(|sums| sums.len() == 1_001));
    assert_eq!(sums[8]["stays"], 9);
    // The newest that left goes on; the oldest was forgotten and begins with what it has.
    assert_eq!(sums[9], totals(&[("n-8999", 1), ("n-0", 1)]));
}

#[test]
fn faces_are_made_again_when_a_name_changes_and_only_then() {
    let settings = Arc::new(sample::settings());
    let text = |snapshot: Snapshot| text_of(&Page::new(Arc::new(snapshot), Arc::clone(&settings)));
    let mut snapshot = sample::snapshot();
    let first = text(snapshot.clone());
    assert_eq!(text(snapshot.clone()), first);
    snapshot.processes[0].comm = Comm::from_bytes(b"renamed");
    snapshot.processes.retain(|row| {
        row.task
            != TaskKey {
                tgid: 77,
                start_ticks: 3,
            }
    });
    snapshot.pods[0].names.pod = Some(Arc::new(PodFacts {
        name: "web-new".into(),
        namespace: "shop".into(),
        ..PodFacts::default()
    }));
    let second = text(snapshot.clone());
    assert!(second.contains("command=\"renamed\"") && !second.contains("command=\"worker\""));
    assert!(second.contains("pod_name=\"web-new\",pod_namespace=\"shop\"") && !second.contains("pid=\"77\""));
    snapshot.window.ended = snapshot.window.ended.after(Duration::from_secs(1));
    assert_eq!(text(snapshot), second);
}
