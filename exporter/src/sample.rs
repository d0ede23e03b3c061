// SPDX-License-Identifier: Apache-2.0
//! A hand-made snapshot for tests: two sockets with meters, memory, an estimated platform, a GPU; one container in a
//! pod, the system and kernel rows, softirqs, an ended pid that was used again, and something of every self-metric.
//!
//! ```text
//! dynamic µJ         zone 0       1     2     3     4
//! container    30_000_001       7     0     4     2
//! system       20_000_000       0     1     0     0
//! kernel       10_000_000       0     0     0     0
//! retired               2       0     0     0     0
//! unattributed          2       0     3     0     3
//! zone         60_000_005       7     4     4     5
//!
//! events       instructions  page cache  net rx  switches
//! container   9_000_000_001          12       3        40
//! system          2_000_000           5       1        20
//! kernel                  7           0       4         2
//! retired                 0           0       0         1
//!
//! The container used the GPU for 1.5 s.
//! ```

mod health;

use crate::config::ExporterConfig;
use crate::page::{BuildInfo, Page, RenderSettings};
use attribution::model::snapshot::{
    Charge, Charges, ContainerKey, Fit, GroupRow, Ledger, Names, ProcessRow, Retired, UnitKey, ZoneAccount,
};
use attribution::model::{
    CgroupId, CgroupOwner, Comm, Component, ContainerFacts, ContainerId, CpuNanos, CpuTime, DeviceNanos,
    Event, EventCounts, EventSet, Feature, FloorOrigin, LostEvents, Microjoules, Microwatts, MonotonicNanos,
    PackageId, PackageTime, Permille, Place, PodFacts, PodUid, Provenance, Reservation, Section, Snapshot,
    SoftirqTime, SourceId, TaskKey, TaskKind, TickId, VmFacts, VmId, Zone,
};
use std::sync::Arc;
use std::time::Duration;

pub(crate) const CONTAINER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
pub(crate) const POD: &str = "5d2c5b0e-41a5-4c0d-9c0a-3f9a1e5a2b11";
pub(crate) const RAPL: SourceId = SourceId("rapl-sysfs");
pub(crate) const MODEL: SourceId = SourceId("trained_power_model");
/// When the rows of the sample began.
pub(crate) const BEGAN: MonotonicNanos = MonotonicNanos::from_nanos(90_000_000_000);
/// When the daemon of the sample began.
const STARTED: MonotonicNanos = MonotonicNanos::from_nanos(80_000_000_000);
/// Close of the window on the clock of the snapshot.
pub(crate) const CLOSED: MonotonicNanos = MonotonicNanos::from_nanos(100_000_000_000);

pub(crate) fn page() -> Page {
    Page::new(Arc::new(snapshot()), Arc::new(settings()))
}

pub(crate) fn settings() -> RenderSettings {
    settings_of(&ExporterConfig::default())
}

pub(crate) fn settings_of(config: &ExporterConfig) -> RenderSettings {
    let build = BuildInfo {
        version: "0.1.0",
        revision: "abc123",
        branch: "main",
    };
    RenderSettings {
        // The golden file is the same wherever the tests run.
        os: "linux",
        arch: "x86_64",
        ..RenderSettings::new(config, build)
            .with_cpu_architecture("Sky Lake")
            .with_node_name("node-1")
            .with_start(Duration::from_secs(1_700_000_000), STARTED)
    }
}

pub(crate) fn charges(dynamic_and_idle: &[(u64, u64)]) -> Charges {
    let charge = |(dynamic, idle): &(u64, u64)| Charge {
        dynamic: Microjoules::from_micro(*dynamic),
        idle: Microjoules::from_micro(*idle),
        ..Charge::default()
    };
    dynamic_and_idle.iter().map(charge).collect()
}

pub(crate) fn ledger(cpu_ns: u64, dynamic_and_idle: &[(u64, u64)]) -> Ledger {
    Ledger {
        charges: charges(dynamic_and_idle),
        cpu: CpuNanos::from_nanos(cpu_ns),
        events: EventCounts::ZERO,
    }
}

/// What this sample counts beside CPU time; the other events are absent.
const COUNTED: [Event; 4] = [
    Event::Instructions,
    Event::PageCacheHits,
    Event::NetRxIrqs,
    Event::Switches,
];

/// A ledger with events, in the order of [`COUNTED`].
fn with_events(mut ledger: Ledger, counts: [u64; COUNTED.len()]) -> Ledger {
    for (event, count) in COUNTED.into_iter().zip(counts) {
        ledger.events.add(event, count);
    }
    ledger
}

/// `figures`: dynamic, idle, unattributed, unreserved idle.
pub(crate) fn zone(component: Component, place: Place, source: SourceId, figures: [u64; 4]) -> ZoneAccount {
    let [dynamic, idle, unattributed, unreserved_idle] = figures.map(Microjoules::from_micro);
    ZoneAccount {
        zone: Zone { component, place },
        source,
        provenance: Provenance::Counted,
        dynamic,
        idle,
        unattributed,
        unreserved_idle,
        power: Some(Microwatts::from_micro(12_500_000)),
        floor: Some(Microwatts::from_watts(5)),
        floor_origin: FloorOrigin::Measured,
        floor_error: Some(Permille(20)),
        feature: Feature::CpuTime,
        fit: None,
        age: Duration::from_millis(250),
        up: true,
    }
}

pub(crate) fn process(pid: u32, start_ticks: u64, command: &[u8], ledger: Ledger) -> ProcessRow {
    ProcessRow {
        task: TaskKey {
            tgid: pid,
            start_ticks,
        },
        comm: Comm::from_bytes(command),
        kind: TaskKind::User,
        cgroup: CgroupId(7),
        owner: None,
        ledger,
        began: BEGAN,
        ended: false,
    }
}

pub(crate) fn group<K>(key: K, ledger: Ledger) -> GroupRow<K> {
    GroupRow {
        key,
        owner: None,
        names: Names::default(),
        ledger,
        began: BEGAN,
        ended: false,
    }
}

pub(crate) fn snapshot() -> Snapshot {
    let pod_ledger = worker_ledger();
    let system_ledger = with_events(
        ledger(2_500_000_000, &[(20_000_000, 0), (0, 0), (1, 0)]),
        [2_000_000, 5, 1, 20],
    );
    let retired = with_events(ledger(0, &[(2, 0)]), [0, 0, 0, 1]);
    let unit = UnitKey {
        unit: "ssh.service".into(),
        slice: "system.slice".into(),
    };
    Snapshot {
        tick: TickId(42),
        window: Section {
            began: MonotonicNanos::from_nanos(99_000_000_000),
            ended: CLOSED,
        },
        zones: zones(),
        packages: vec![PackageTime {
            package: PackageId(0),
            cpus: 8,
            busy: CpuNanos::from_nanos(9_000_000_000),
            idle: CpuNanos::from_nanos(70_000_000_000),
        }],
        cpus: cpus(),
        softirqs: vec![SoftirqTime {
            package: PackageId(0),
            vector: "net_rx",
            count: 8,
            time: CpuNanos::from_nanos(500_000),
        }],
        counted: COUNTED.into_iter().fold(EventSet::NONE, EventSet::with),
        smt_weight: None,
        processes: processes(),
        other_processes: with_events(ledger(1, &[(4_000_000, 0)]), [1_000_000, 2, 0, 6]),
        containers: vec![
            GroupRow {
                owner: Some(owner()),
                names: Names {
                    container: Some(Arc::new(ContainerFacts {
                        name: "web".into(),
                        image: Some("nginx:1.29".into()),
                    })),
                    reserved: Some(Reservation {
                        millicpus: 250,
                        memory: 1 << 26,
                    }),
                    ..pod_names()
                },
                ..group(
                    ContainerKey::Container(ContainerId::new(CONTAINER)),
                    pod_ledger.clone(),
                )
            },
            group(ContainerKey::System, system_ledger.clone()),
            group(
                ContainerKey::Kernel,
                with_events(ledger(1_500_001, &[(10_000_000, 0)]), [7, 0, 4, 2]),
            ),
        ],
        pods: vec![GroupRow {
            names: pod_names(),
            ..group(PodUid::new(POD), pod_ledger)
        }],
        vms: vec![vm()],
        units: vec![group(unit, system_ledger)],
        retired: Retired {
            processes: retired.clone(),
            containers: retired,
            pods: Ledger::default(),
            vms: Ledger::default(),
            units: Ledger::default(),
        },
        coverage: Some(Permille(998)),
        sources: health::sources(),
        facts: Arc::new(health::facts()),
        windows: health::windows(),
        lost: vec![LostEvents {
            probe: "sched_switch",
            reason: "map full",
            count: 11,
        }],
        tallies: health::tallies(),
        dropped: vec![("publish", 5)],
    }
}

fn pod_names() -> Names {
    let pod = PodFacts {
        name: "web-7d4b9".into(),
        namespace: "shop".into(),
        made_by: Some(("Deployment".into(), "web".into())),
        qos: "Burstable".into(),
        labels: vec![("app".into(), "web".into())],
    };
    Names {
        pod: Some(Arc::new(pod)),
        ..Names::default()
    }
}

/// A host process that is one: its energy is in the system row, too.
fn vm() -> GroupRow<VmId> {
    let facts = VmFacts {
        name: "build".into(),
        hypervisor: "qemu",
    };
    let ledger = with_events(ledger(2_000_000, &[(6_000_000, 0)]), [999_999, 0, 1, 4]);
    GroupRow {
        names: Names {
            vm: Some(Arc::new(facts)),
            ..Names::default()
        },
        ..group(VmId::new("6f1c"), ledger)
    }
}

/// What the container's only process was charged for.
fn worker_ledger() -> Ledger {
    let mut ledger = ledger(
        4_000_000_000,
        &[(30_000_001, 1_000_000), (7, 0), (0, 0), (4, 0), (2, 0)],
    );
    if let Some(gpu) = ledger.charges.last_mut() {
        gpu.used = DeviceNanos::from_nanos(1_500_000_000);
    }
    with_events(ledger, [9_000_000_001, 12, 3, 40])
}

/// One in a guest whose hypervisor tells, one that went offline and never told.
fn cpus() -> Vec<CpuTime> {
    let cpu = |cpu, online, steal: Option<u64>| CpuTime {
        cpu,
        package: PackageId(0),
        online,
        busy: CpuNanos::from_nanos(4_500_000_000),
        idle: CpuNanos::from_nanos(35_000_000_000),
        steal: steal.map(CpuNanos::from_nanos),
    };
    vec![cpu(0, true, Some(20_000_000)), cpu(1, false, None)]
}

fn zones() -> Vec<ZoneAccount> {
    let socket = |number| Place::socket(PackageId(number));
    let [rapl_0, rapl_1] = [
        [60_000_005, 40_000_000, 2, 39_000_000],
        [7, 30_000_000, 0, 30_000_000],
    ];
    vec![
        zone(Component::Package, socket(0), RAPL, rapl_0),
        ZoneAccount {
            up: false,
            feature: Feature::Learned,
            fit: Some(Fit {
                plain: Feature::CpuCycles,
                plain_error: Permille(87),
                learned_error: Permille(31),
            }),
            ..zone(Component::Package, socket(1), RAPL, rapl_1)
        },
        zone(Component::Dram, socket(0), RAPL, [4, 0, 3, 0]),
        ZoneAccount {
            provenance: Provenance::Estimated {
                relative_error_p90: Permille(150),
            },
            power: None,
            ..zone(
                Component::Platform,
                Place::Named("model".into()),
                MODEL,
                [4, 0, 0, 0],
            )
        },
        ZoneAccount {
            provenance: Provenance::Integrated,
            ..zone(
                Component::Gpu,
                Place::Named("GPU-1".into()),
                SourceId("nvml"),
                [5, 0, 3, 0],
            )
        },
    ]
}

fn owner() -> Arc<CgroupOwner> {
    Arc::new(CgroupOwner {
        path: format!("/kubepods.slice/cri-containerd-{CONTAINER}.scope"),
        container: Some(ContainerId::new(CONTAINER)),
        nested: Vec::new(),
        vm: None,
        runtime: "containerd",
        pod: Some(PodUid::new(POD)),
        unit: None,
        slice: None,
    })
}

fn processes() -> Vec<ProcessRow> {
    let before = with_events(ledger(1_000_000, &[(9_000_000, 0)]), [0, 2, 0, 5]);
    let again = with_events(ledger(500_000, &[(1_000_000, 0), (0, 0), (1, 0)]), [1, 1, 0, 5]);
    let weird = with_events(ledger(2_000_000, &[(6_000_000, 0)]), [999_999, 0, 1, 4]);
    let kworker = with_events(ledger(1_000_001, &[(9_000_000, 0)]), [7, 0, 0, 2]);
    let softirq = with_events(ledger(500_000, &[(1_000_000, 0)]), [0, 0, 4, 0]);
    let kernel = |row| ProcessRow {
        kind: TaskKind::Kernel,
        cgroup: CgroupId::ROOT,
        ..row
    };
    vec![
        ProcessRow {
            owner: Some(owner()),
            ..process(4711, 100, b"worker", worker_ledger())
        },
        ProcessRow {
            ended: true,
            ..process(99, 5, b"sh", before)
        },
        process(99, 900, b"sh", again),
        process(77, 3, b"we \"ird\\\n\xff", weird),
        kernel(process(12, 0, b"kworker/0:1", kworker)),
        kernel(process(TaskKey::SOFTIRQ.tgid, 0, b"softirq", softirq)),
    ]
}
