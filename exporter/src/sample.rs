// SPDX-License-Identifier: Apache-2.0
//! A hand-made snapshot for tests: two sockets with meters, memory, an estimated platform, a GPU; one container in a
//! pod, the system and kernel rows, an ended pid that was used again, and something of every self-metric.
//!
//! ```text
//! dynamic µJ         zone 0       1     2     3     4
//! container    30_000_001       7     0     4     0
//! system       20_000_000       0     1     0     0
//! kernel       10_000_000       0     0     0     0
//! retired               2       0     0     0     0
//! unattributed          2       0     3     0     5
//! zone         60_000_005       7     4     4     5
//! ```

use crate::config::ExporterConfig;
use crate::page::{BuildInfo, Page, RenderSettings};
use attribution::model::facts::SourceFacts;
use attribution::model::snapshot::{
    Charge, Charges, ContainerKey, GroupRow, Ledger, ProcessRow, Retired, SourceAccount, UnitKey,
    WindowCounters, ZoneAccount,
};
use attribution::model::{
    Accounting, CgroupId, CgroupOwner, Comm, Component, ContainerId, CpuNanos, ErrorReason, EventCounts,
    EventSet, LostEvents, Microjoules, Microwatts, MonotonicNanos, NodeFacts, PackageId, PackageTime,
    PassedOver, Permille, Place, PodUid, ProbeState, Provenance, ReporterId, Section, Selection, Snapshot,
    SourceError, SourceId, TaskKey, TaskKind, TickId, Zone,
};
use std::sync::Arc;
use std::time::Duration;

pub(crate) const CONTAINER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
pub(crate) const POD: &str = "5d2c5b0e-41a5-4c0d-9c0a-3f9a1e5a2b11";
pub(crate) const RAPL: SourceId = SourceId("rapl-sysfs");
pub(crate) const MODEL: SourceId = SourceId("trained_power_model");
/// Close of the window on the clock of the snapshot.
pub(crate) const CLOSED: MonotonicNanos = MonotonicNanos::from_nanos(100_000_000_000);

pub(crate) fn page() -> Page {
    Page::new(Arc::new(snapshot()), Arc::new(settings()))
}

pub(crate) fn settings() -> RenderSettings {
    let build = BuildInfo {
        version: "0.1.0",
        revision: "abc123",
        branch: "main",
    };
    RenderSettings {
        // The golden file is the same wherever the tests run.
        os: "linux",
        arch: "x86_64",
        ..RenderSettings::new(&ExporterConfig::default(), build).with_cpu_architecture("Sky Lake")
    }
}

pub(crate) fn charges(dynamic_and_idle: &[(u64, u64)]) -> Charges {
    let charge = |(dynamic, idle): &(u64, u64)| Charge {
        dynamic: Microjoules::from_micro(*dynamic),
        idle: Microjoules::from_micro(*idle),
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
        ended: false,
    }
}

pub(crate) fn group<K>(key: K, ledger: Ledger) -> GroupRow<K> {
    GroupRow {
        key,
        owner: None,
        ledger,
        ended: false,
    }
}

pub(crate) fn snapshot() -> Snapshot {
    let pod_ledger = ledger(4_000_000_000, &[(30_000_001, 1_000_000), (7, 0), (0, 0), (4, 0)]);
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
        cpus: Vec::new(),
        softirqs: Vec::new(),
        counted: EventSet::NONE,
        processes: processes(),
        other_processes: ledger(1, &[(4_000_000, 0)]),
        containers: vec![
            GroupRow {
                owner: Some(owner()),
                ..group(ContainerKey::Container(CONTAINER.into()), pod_ledger.clone())
            },
            group(
                ContainerKey::System,
                ledger(2_500_000_000, &[(20_000_000, 0), (0, 0), (1, 0)]),
            ),
            group(ContainerKey::Kernel, ledger(1_000_001, &[(10_000_000, 0)])),
        ],
        pods: vec![group(POD.into(), pod_ledger)],
        units: vec![group(
            unit,
            ledger(2_500_000_000, &[(20_000_000, 0), (0, 0), (1, 0)]),
        )],
        retired: Retired {
            processes: ledger(0, &[(2, 0)]),
            containers: ledger(0, &[(2, 0)]),
            pods: Ledger::default(),
            units: Ledger::default(),
        },
        coverage: Some(Permille(998)),
        sources: sources(),
        facts: Arc::new(facts()),
        windows: windows(),
        lost: vec![LostEvents {
            probe: "sched_switch",
            reason: "map full",
            count: 11,
        }],
        dropped: vec![("publish", 5)],
    }
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
                [5, 0, 5, 0],
            )
        },
    ]
}

fn owner() -> Arc<CgroupOwner> {
    Arc::new(CgroupOwner {
        path: format!("/kubepods.slice/cri-containerd-{CONTAINER}.scope"),
        container: Some(ContainerId::new(CONTAINER)),
        runtime: "containerd",
        pod: Some(PodUid::new(POD)),
        unit: None,
        slice: None,
    })
}

fn processes() -> Vec<ProcessRow> {
    let worker = ledger(4_000_000_000, &[(30_000_001, 1_000_000), (7, 0), (0, 0), (4, 0)]);
    vec![
        ProcessRow {
            owner: Some(owner()),
            ..process(4711, 100, b"worker", worker)
        },
        ProcessRow {
            ended: true,
            ..process(99, 5, b"sh", ledger(1_000_000, &[(9_000_000, 0)]))
        },
        process(99, 900, b"sh", ledger(500_000, &[(1_000_000, 0), (0, 0), (1, 0)])),
        process(77, 3, b"we \"ird\\\n\xff", ledger(2_000_000, &[(6_000_000, 0)])),
        ProcessRow {
            kind: TaskKind::Kernel,
            cgroup: CgroupId::ROOT,
            ..process(12, 0, b"kworker/0:1", ledger(1_000_001, &[(10_000_000, 0)]))
        },
    ]
}

fn sources() -> Vec<SourceAccount> {
    let error = |reason, count| SourceError {
        zone: Some(Zone {
            component: Component::Package,
            place: Place::socket(PackageId(1)),
        }),
        reason,
        count,
        latest: Arc::from("read failed"),
    };
    vec![
        SourceAccount {
            source: RAPL,
            age: Some(Duration::from_millis(250)),
            errors: vec![
                error(ErrorReason::Io, 3),
                error(ErrorReason::Reset, 1),
                error(ErrorReason::Io, 2),
            ],
        },
        SourceAccount {
            source: SourceId("acpi"),
            age: None,
            errors: Vec::new(),
        },
    ]
}

fn facts() -> NodeFacts {
    let source = |source, components: &[Component], detail: &str| SourceFacts {
        source,
        components: components.to_vec(),
        detail: detail.into(),
    };
    let probe = |probe, up, reason: &str| ProbeState {
        probe,
        up,
        reason: reason.into(),
    };
    NodeFacts {
        selections: vec![Selection {
            key: "cpu",
            chosen: vec!["rapl".into()],
            passed_over: vec![PassedOver {
                name: "hwmon".into(),
                reason: "no energy input".into(),
            }],
        }],
        probes: vec![
            probe("proc_fallback", true, ""),
            probe("sched_switch", false, "kernel has no \"BTF\""),
        ],
        accounting: Accounting {
            chosen: "proc",
            reason: "kernel has no \"BTF\"".into(),
        },
        sources: vec![
            source(
                RAPL,
                &[Component::Package, Component::Dram],
                "/sys/class/powercap: package-0, dram",
            ),
            source(SourceId("acpi"), &[Component::Other], "power_meter"),
        ],
    }
}

fn windows() -> WindowCounters {
    WindowCounters {
        closed: 41,
        late: vec![(ReporterId::new("resolver"), 4)],
        late_now: vec![ReporterId::new("resolver")],
        stale: vec![ReporterId::new("resolver")],
        lateness: [30, 5, 3, 1, 1, 0, 0, 0, 1],
        lateness_sum: Duration::from_millis(1_234),
    }
}
