// SPDX-License-Identifier: Apache-2.0
//! What a cluster's nodes give its Prometheus to hold, for docs/scale.md: the real page of a node with 100 pods under several
//! settings, and 5,000 times that. `cargo run --release -p exporter --example cluster`
//!
//! Sizes and counts are exact for this node, whose names are as long as usual ones; nothing here is timed. What a series and a
//! sample cost a Prometheus is published by others and stands beside the table that it is used in.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a program that prints tables"
)]

use attribution::model::snapshot::{
    Charge, ContainerKey, GroupRow, Ledger, Names, ProcessRow, SourceAccount, UnitKey, ZoneAccount,
};
use attribution::model::{
    CgroupId, CgroupOwner, Comm, Component, ContainerFacts, ContainerId, CpuNanos, Event, EventCounts,
    EventSet, Feature, FloorOrigin, Microjoules, Microwatts, MonotonicNanos, PackageId, Place, PodFacts,
    PodUid, Provenance, Section, Snapshot, SourceId, TaskKey, TaskKind, TickId, Zone,
};
use exporter::{BuildInfo, ExporterConfig, Page, RenderSettings};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

const NODES: f64 = 5_000.0;
const PODS: u32 = 100;
/// In each pod: its own, and the one that holds its namespaces.
const CONTAINERS: u32 = 2 * PODS;
const UNITS: u32 = 40;
const WINDOWS: u32 = 2;

/// Two sockets with package and memory, a platform meter, and what is left of it.
fn zones() -> Vec<ZoneAccount> {
    let sockets = [0, 1].into_iter().flat_map(|socket| {
        [Component::Package, Component::Dram].map(|component| (component, Place::socket(PackageId(socket))))
    });
    let named = [Component::Platform, Component::Other]
        .map(|component| (component, Place::Named("Chassis-1".into())));
    sockets
        .chain(named)
        .map(|(component, place)| zone(component, place))
        .collect()
}

fn zone(component: Component, place: Place) -> ZoneAccount {
    let energy = Microjoules::from_micro(1_234_567_890_123);
    let is_metered_by_bmc = matches!(component, Component::Platform | Component::Other);
    ZoneAccount {
        zone: Zone { component, place },
        source: SourceId(if is_metered_by_bmc {
            "redfish"
        } else {
            "rapl-sysfs"
        }),
        provenance: Provenance::Counted,
        dynamic: energy,
        idle: energy,
        unattributed: Microjoules::ZERO,
        unreserved_idle: energy,
        power: Some(Microwatts::from_watts(100)),
        floor: None,
        floor_origin: FloorOrigin::Measured,
        floor_error: None,
        feature: Feature::CpuTime,
        fit: None,
        age: Duration::from_millis(10),
        up: true,
    }
}

/// Figures that differ from row to row and from window to window, with as many digits as after some days.
fn ledger(row: u32, window: u32, zones: usize, has_idle: bool) -> Ledger {
    let micro = 7_123_456_789 + u64::from(row) * 7_919_001 + u64::from(window) * 1_000_003;
    let charge = Charge {
        dynamic: Microjoules::from_micro(micro),
        idle: Microjoules::from_micro(if has_idle { micro / 3 } else { 0 }),
        ..Charge::default()
    };
    let mut events = EventCounts::ZERO;
    for event in COUNTED {
        events.add(event, micro / 17);
    }
    Ledger {
        charges: vec![charge; zones],
        cpu: CpuNanos::from_nanos(micro * 31),
        events,
    }
}

/// What a bare machine counts by default.
const COUNTED: [Event; 6] = [
    Event::CpuCycles,
    Event::Instructions,
    Event::CacheMisses,
    Event::NetTxIrqs,
    Event::NetRxIrqs,
    Event::BlockIrqs,
];

fn uid(pod: u32) -> PodUid {
    PodUid::new(&format!("5d2c5b0e-41a5-4c0d-9c0a-{pod:012x}"))
}

fn id(container: u32) -> String {
    // Digits without a pattern, or the compressed sizes would be too good.
    (0..4)
        .map(|part: u64| {
            let seed = u64::from(container) * 4 + part + 1;
            format!(
                "{:016x}",
                seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
            )
        })
        .collect()
}

fn names(container: Option<u32>, pod: u32) -> Names {
    let is_sandbox = container.is_some_and(|number| number >= PODS);
    Names {
        container: container.map(|_| {
            Arc::new(ContainerFacts {
                name: if is_sandbox {
                    "POD".into()
                } else {
                    format!("service-{}", pod % 25)
                },
                image: None,
            })
        }),
        pod: Some(Arc::new(PodFacts {
            name: format!("service-{}-7d4b9c6f5-{pod:05}", pod % 25),
            namespace: format!("team-{}", pod % 10),
            ..PodFacts::default()
        })),
        ..Names::default()
    }
}

fn owner(container: u32) -> Arc<CgroupOwner> {
    Arc::new(CgroupOwner {
        path: format!("/kubepods.slice/cri-containerd-{}.scope", id(container)),
        container: Some(ContainerId::new(&id(container))),
        runtime: "containerd",
        pod: Some(uid(container % PODS)),
        ..CgroupOwner::default()
    })
}

fn group<K>(key: K, names: Names, ledger: Ledger) -> GroupRow<K> {
    GroupRow {
        key,
        owner: None,
        names,
        ledger,
        began: MonotonicNanos::ZERO,
        ended: false,
    }
}

fn process(pid: u32, window: u32, zones: usize) -> ProcessRow {
    ProcessRow {
        task: TaskKey {
            tgid: 1_000_000 + pid * 37,
            start_ticks: 1,
        },
        comm: Comm::from_bytes(format!("worker-{}", pid % 40).as_bytes()),
        kind: TaskKind::User,
        cgroup: CgroupId(7),
        owner: Some(owner(pid % PODS)),
        ledger: ledger(pid, window, zones, true),
        began: MonotonicNanos::ZERO,
        ended: false,
    }
}

/// `processes`: those that have rows of their own, which is `exporter.processes.max` where more are running.
fn node(window: u32, processes: u32) -> Arc<Snapshot> {
    let zones = zones();
    let count = zones.len();
    let container = |number: u32| GroupRow {
        owner: Some(owner(number)),
        ..group(
            ContainerKey::Container(ContainerId::new(&id(number))),
            names(Some(number), number % PODS),
            ledger(number, window, count, true),
        )
    };
    let ours = [ContainerKey::System, ContainerKey::Kernel]
        .map(|key| group(key, Names::default(), ledger(9, window, count, false)));
    let pod = |number: u32| {
        group(
            uid(number),
            names(None, number),
            ledger(number, window, count, true),
        )
    };
    let unit = |number: u32| {
        let key = UnitKey {
            unit: format!("service-{number:02}.service"),
            slice: "system.slice".into(),
        };
        group(key, Names::default(), ledger(number, window, count, false))
    };
    let source = |name| SourceAccount {
        source: SourceId(name),
        age: Some(Duration::from_millis(10)),
        errors: Vec::new(),
    };
    let end = MonotonicNanos::from_nanos(u64::from(window) * 1_000_000_000);
    Arc::new(Snapshot {
        tick: TickId(u64::from(window)),
        window: Section {
            began: end,
            ended: end,
        },
        zones,
        counted: COUNTED.into_iter().fold(EventSet::NONE, EventSet::with),
        processes: (0..processes).map(|pid| process(pid, window, count)).collect(),
        other_processes: ledger(1, window, count, true),
        containers: (0..CONTAINERS).map(container).chain(ours).collect(),
        pods: (0..PODS).map(pod).collect(),
        units: (0..UNITS).map(unit).collect(),
        sources: ["rapl-sysfs", "redfish"].map(source).to_vec(),
        ..Snapshot::default()
    })
}

/// What a scrape of a page is.
struct Scrape {
    series: usize,
    plain: usize,
    gzip: usize,
    zstd: usize,
}

fn scrape(toml: &str, processes: u32) -> Scrape {
    let config: ExporterConfig = toml::from_str(toml).unwrap();
    let settings = RenderSettings::new(&config, BuildInfo::default())
        .with_node_name("node-0001.example")
        .with_start(Duration::from_secs(1_700_000_000), MonotonicNanos::ZERO);
    let settings = Arc::new(settings);
    let pages = (1..=WINDOWS).map(|window| Page::new(node(window, processes), Arc::clone(&settings)));
    // Power of schema kepler-0.11 is between two pages.
    let page = pages.fold(None, |_, page| Some(page)).unwrap();
    // What a Prometheus server asks for.
    let text = page.openmetrics().concat();
    let series = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty() && !line.starts_with(b"#"))
        .count();
    // The levels that the exporter uses.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&text).unwrap();
    Scrape {
        series,
        plain: text.len(),
        gzip: gzip.finish().unwrap().len(),
        zstd: zstd::encode_all(text.as_slice(), 1).unwrap().len(),
    }
}

/// Processes with rows by default.
const USUAL: u32 = 200;

/// What it is called, the section, and the processes that have rows by it.
const SETTINGS: [(&str, &str, u32); 9] = [
    ("everything (the default)", "", USUAL),
    ("`created = false`, here and below", "created = false", USUAL),
    (
        "schema `kepler-0.11`",
        "created = false\nschemas = [\"kepler-0.11\"]",
        USUAL,
    ),
    (
        "both schemas",
        "created = false\nschemas = [\"kepler\", \"kepler-0.11\"]",
        USUAL,
    ),
    ("`processes.max = 20`", "created = false", 20),
    (
        "no processes, no units",
        "created = false\nlevels = [\"node\", \"container\", \"pod\", \"vm\"]",
        USUAL,
    ),
    (
        "neither, and no `container_id`",
        "created = false\nlevels = [\"node\", \"container\", \"pod\", \"vm\"]\ndrop.container = [\"container_id\"]",
        USUAL,
    ),
    (
        "nodes and pods",
        "created = false\nlevels = [\"node\", \"pod\"]",
        USUAL,
    ),
    ("nodes", "created = false\nlevels = [\"node\"]", USUAL),
];

fn main() {
    println!("| `[exporter]` | series | bytes | gzip | zstd |\n|---|---:|---:|---:|---:|");
    let mut all = Vec::new();
    for (name, toml, processes) in SETTINGS {
        let one = scrape(toml, processes);
        println!(
            "| {name} | {} | {} | {} | {} |",
            one.series, one.plain, one.gzip, one.zstd
        );
        all.push((name, one));
    }
    println!(
        "\n| `[exporter]` | series | samples a second, each 30 s | memory | disk, 15 days | network, gzip |\n|---|---:|---:|---:|---:|---:|"
    );
    for (name, one) in all {
        let series = one.series as f64 * NODES;
        let samples = series / 30.0;
        println!(
            "| {name} | {:.2} M | {:.2} M | {:.0} GB | {:.1} TB | {:.1} MB/s |",
            series / 1e6,
            samples / 1e6,
            // 3 kB for each series that is being written.
            series * 3e3 / 1e9,
            // 2 bytes for each sample.
            samples * 2.0 * 15.0 * 86_400.0 / 1e12,
            one.gzip as f64 * NODES / 30.0 / 1e6,
        );
    }
}
