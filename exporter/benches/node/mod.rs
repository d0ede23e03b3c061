// SPDX-License-Identifier: Apache-2.0
//! A node with two sockets of four zones each, and rows at every level: what the benchmark of a page and the count of its
//! instructions write. Figures differ from row to row and from window to window, and are the same in every run.

use attribution::model::snapshot::{
    Charge, ContainerKey, GroupRow, Ledger, Names, ProcessRow, UnitKey, ZoneAccount,
};
use attribution::model::{
    CgroupId, CgroupOwner, Comm, Component, ContainerFacts, ContainerId, CpuNanos, Event, EventCounts,
    EventSet, Feature, FloorOrigin, Microjoules, Microwatts, MonotonicNanos, PackageId, Place, PodFacts,
    PodUid, Provenance, Section, Snapshot, SourceId, TaskKey, TaskKind, TickId, Zone,
};
use std::sync::Arc;
use std::time::Duration;

fn zone(component: Component, socket: u16) -> ZoneAccount {
    let energy = Microjoules::from_micro(1_234_567_890_123);
    ZoneAccount {
        zone: Zone {
            component,
            place: Place::socket(PackageId(socket)),
        },
        source: SourceId("rapl-sysfs"),
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

/// Figures that differ from row to row and from window to window.
fn ledger(row: u32, window: u32, idle: bool) -> Ledger {
    let micro = u64::from(row) * 7_919_001 + u64::from(window) * 1_000_003;
    let charge = Charge {
        dynamic: Microjoules::from_micro(micro),
        idle: Microjoules::from_micro(if idle { micro / 3 } else { 0 }),
        ..Charge::default()
    };
    let mut events = EventCounts::ZERO;
    events.add(Event::PageCacheHits, micro / 17);
    events.add(Event::NetRxIrqs, u64::from(row));
    Ledger {
        charges: vec![charge; 8],
        cpu: CpuNanos::from_nanos(micro * 31),
        events,
    }
}

/// Names of everything on it.
pub(crate) struct Node {
    processes: u32,
    owners: Vec<Arc<CgroupOwner>>,
    containers: Vec<Arc<ContainerFacts>>,
    pods: Vec<Arc<PodFacts>>,
}

fn uid(pod: u32) -> PodUid {
    PodUid::new(&format!("5d2c5b0e-41a5-4c0d-9c0a-{pod:012x}"))
}

impl Node {
    /// With `processes` processes in a tenth as many containers, two in a pod.
    #[must_use]
    pub(crate) fn new(processes: u32) -> Self {
        let (containers, pods) = (processes / 10, processes / 20);
        let owner = |number: u32| {
            Arc::new(CgroupOwner {
                path: format!("/kubepods.slice/cri-containerd-{number:064x}.scope"),
                container: Some(ContainerId::new(&format!("{number:064x}"))),
                runtime: "containerd",
                pod: Some(uid(number % pods)),
                ..CgroupOwner::default()
            })
        };
        let container = |number| {
            Arc::new(ContainerFacts {
                name: format!("container-{number}"),
                image: None,
            })
        };
        let pod = |number| {
            Arc::new(PodFacts {
                name: format!("deployment-7d4b9c6f5-{number:05}"),
                namespace: format!("team-{}", number % 20),
                labels: vec![("app.kubernetes.io/name".into(), format!("app-{}", number % 50))],
                ..PodFacts::default()
            })
        };
        Self {
            processes,
            owners: (0..containers).map(owner).collect(),
            containers: (0..containers).map(container).collect(),
            pods: (0..pods).map(pod).collect(),
        }
    }

    /// How many containers there are.
    #[must_use]
    pub(crate) const fn containers(&self) -> u32 {
        self.processes / 10
    }

    /// How many pods there are.
    #[must_use]
    pub(crate) const fn pods(&self) -> u32 {
        self.processes / 20
    }

    fn names(&self, container: Option<u32>, pod: u32) -> Names {
        let at = |number: u32| usize::try_from(number).unwrap();
        Names {
            container: container.and_then(|number| self.containers.get(at(number)).cloned()),
            pod: self.pods.get(at(pod)).cloned(),
            ..Names::default()
        }
    }

    /// The snapshot of a window.
    #[must_use]
    pub(crate) fn snapshot(&self, window: u32) -> Arc<Snapshot> {
        let components = [
            Component::Package,
            Component::Core,
            Component::Uncore,
            Component::Dram,
        ];
        let zones = [0, 1]
            .into_iter()
            .flat_map(|socket| components.map(|component| zone(component, socket)));
        let process = |pid: u32| ProcessRow {
            task: TaskKey {
                tgid: pid + 1,
                start_ticks: 1,
            },
            comm: Comm::from_bytes(format!("command-{}", pid % 300).as_bytes()),
            kind: TaskKind::User,
            cgroup: CgroupId(7),
            owner: self
                .owners
                .get(usize::try_from(pid % self.containers()).unwrap())
                .cloned(),
            ledger: ledger(pid, window, false),
            began: MonotonicNanos::ZERO,
            ended: false,
        };
        let container = |number: u32| GroupRow {
            key: ContainerKey::Container(ContainerId::new(&format!("{number:064x}"))),
            owner: self.owners.get(usize::try_from(number).unwrap()).cloned(),
            names: self.names(Some(number), number % self.pods()),
            ledger: ledger(number, window, true),
            began: MonotonicNanos::ZERO,
            ended: false,
        };
        let pod = |number: u32| GroupRow {
            key: uid(number),
            owner: None,
            names: self.names(None, number),
            ledger: ledger(number, window, true),
            began: MonotonicNanos::ZERO,
            ended: false,
        };
        let unit = |number: u32| GroupRow {
            key: UnitKey {
                unit: format!("service-{number:03}.service"),
                slice: "system.slice".into(),
            },
            owner: None,
            names: Names::default(),
            ledger: ledger(number, window, false),
            began: MonotonicNanos::ZERO,
            ended: false,
        };
        let end = MonotonicNanos::from_nanos(u64::from(window) * 1_000_000_000);
        Arc::new(Snapshot {
            tick: TickId(u64::from(window)),
            window: Section {
                began: end,
                ended: end,
            },
            zones: zones.collect(),
            counted: EventSet::NONE.with(Event::PageCacheHits).with(Event::NetRxIrqs),
            processes: (0..self.processes).map(process).collect(),
            containers: (0..self.containers()).map(container).collect(),
            pods: (0..self.pods()).map(pod).collect(),
            units: (0..100).map(unit).collect(),
            ..Snapshot::default()
        })
    }
}
