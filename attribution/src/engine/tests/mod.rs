// SPDX-License-Identifier: Apache-2.0
//! The invariants of the split, each by example and by property.

mod asleep;
mod devices;
mod events;
mod examples;
mod features;
mod handover;
mod hangs;
mod levels;
mod moves;
mod platform;
mod properties;
mod renew;
mod reserved;
mod rested;
mod silent;
mod vms;

use super::*;
use crate::model::snapshot::{Charge, ContainerKey, Ledger, UnitKey};
use crate::model::*;
use std::collections::BTreeMap;

pub(super) const METER: SourceId = SourceId("rapl-sysfs");

/// A node with two sockets, driven by hand. Totals are what a probe and a meter would have counted.
pub(super) struct Node {
    pub(super) engine: Engine,
    pub(super) tick: u64,
    pub(super) usage: BTreeMap<(u32, u64, u16), TaskUsage>,
    pub(super) zones: Vec<(Zone, u64)>,
    pub(super) busy: [u64; 2],
    /// CPUs of each socket that are online.
    pub(super) cpus: [u32; 2],
    pub(super) owners: Identity,
    /// What the machine can count, and what it has counted in all.
    pub(super) counted: EventSet,
    pub(super) happened: EventCounts,
    starts: BTreeMap<u32, u64>,
}

pub(super) fn settings() -> Settings {
    Settings {
        floor: FloorPolicy::None,
        idle_share: IdleShare::Reserved,
        split: SplitRules::default(),
        processes_max: 3,
        ended_keep: Duration::from_secs(180),
    }
}

pub(super) fn zone(component: Component, socket: u16) -> Zone {
    Zone {
        component,
        place: Place::socket(PackageId(socket)),
    }
}

pub(super) fn owner(path: &str, container: Option<&str>, pod: Option<&str>) -> Arc<CgroupOwner> {
    Arc::new(CgroupOwner {
        path: path.to_owned(),
        container: container.map(ContainerId::new),
        nested: Vec::new(),
        vm: None,
        pod: pod.map(PodUid::new),
        unit: container.is_none().then(|| "ssh.service".to_owned()),
        slice: container.is_none().then(|| "system.slice".to_owned()),
        runtime: "",
    })
}

impl Node {
    pub(super) fn new(settings: Settings) -> Self {
        let mut engine = Engine::new(settings, Arc::default());
        engine.expect(&ReporterId::new(USAGE));
        engine.expect(&ReporterId::new(RESOLVER));
        engine.expect_source(METER);
        let platform = Zone {
            component: Component::Platform,
            place: Place::Named(Arc::from("psys")),
        };
        let zones = vec![
            (zone(Component::Package, 0), 0),
            (zone(Component::Package, 1), 0),
            (zone(Component::Dram, 0), 0),
            (platform, 0),
        ];
        let mut owners = Identity::default();
        owners
            .cgroups
            .insert(CgroupId(10), owner("/docker/a", Some("a"), None));
        owners
            .cgroups
            .insert(CgroupId(11), owner("/kubepods/podp/b", Some("b"), Some("p")));
        owners
            .cgroups
            .insert(CgroupId(12), owner("/system.slice/ssh.service", None, None));
        Self {
            starts: BTreeMap::new(),
            engine,
            tick: 0,
            usage: BTreeMap::new(),
            zones,
            busy: [0; 2],
            cpus: [4; 2],
            owners,
            counted: EventSet::NONE,
            happened: EventCounts::ZERO,
        }
    }

    /// The node has so much memory.
    pub(super) fn with_memory(mut self, bytes: u64) -> Self {
        self.engine.facts = Arc::new(NodeFacts {
            memory: Some(bytes),
            ..NodeFacts::default()
        });
        self
    }

    /// A workload has reserved so much.
    pub(super) fn reserve(&mut self, tenant: Tenant, millicpus: u64, memory: u64) {
        let reserved = Reservation { millicpus, memory };
        self.owners.reserved.insert(tenant, reserved);
    }

    /// A task ran for `nanos` inside `cgroup` on `socket`.
    pub(super) fn run(&mut self, tgid: u32, cgroup: u64, socket: u16, nanos: u64) {
        self.row(tgid, cgroup, socket).cpu += CpuNanos::from_nanos(nanos);
        self.busy[usize::from(socket)] += nanos;
    }

    /// Events happened to a task inside `cgroup` on `socket`, and the machine counts such.
    pub(super) fn happen(&mut self, tgid: u32, cgroup: u64, socket: u16, event: Event, count: u64) {
        self.row(tgid, cgroup, socket).events.add(event, count);
        self.counted = self.counted.with(event);
        self.happened.add(event, count);
    }

    fn row(&mut self, tgid: u32, cgroup: u64, socket: u16) -> &mut TaskUsage {
        // A pid that comes back after its owner was forgotten is another process.
        let task = TaskKey {
            tgid,
            start_ticks: self.starts.get(&tgid).copied().unwrap_or(0),
        };
        // The probe marks a dead process on all of its rows, also on one that a last slice adds.
        let ended = self.usage.values().any(|row| row.task == Some(task) && row.ended);
        self.usage
            .entry((tgid, cgroup, socket))
            .or_insert_with(|| TaskUsage {
                task: Some(task),
                cgroup: CgroupId(cgroup),
                package: PackageId(socket),
                cpu: CpuNanos::ZERO,
                events: EventCounts::ZERO,
                comm: Comm::from_bytes(if tgid == 0 { b"softirq".as_slice() } else { b"work" }),
                kind: if cgroup == 1 {
                    TaskKind::Kernel
                } else {
                    TaskKind::User
                },
                ended,
            })
    }

    /// A task has another name from now on.
    pub(super) fn rename(&mut self, tgid: u32, name: &[u8]) {
        self.usage
            .values_mut()
            .filter(|row| row.task.unwrap().tgid == tgid)
            .for_each(|row| row.comm = Comm::from_bytes(name));
    }

    /// A task died; the probe lists it until it is told that it was paid.
    pub(super) fn end(&mut self, tgid: u32) {
        self.usage
            .values_mut()
            .filter(|row| row.task.unwrap().tgid == tgid)
            .for_each(|row| row.ended = true);
    }

    /// The meter counted `micro` microjoules in zone `index`.
    pub(super) fn spend(&mut self, index: usize, micro: u64) {
        self.zones[index].1 += micro;
    }

    pub(super) fn now(&self) -> MonotonicNanos {
        MonotonicNanos::from_nanos(self.tick * 1_000_000_000)
    }

    pub(super) fn open(&mut self) {
        self.tick += 1;
        let now = self.now();
        self.engine
            .open(TickId(self.tick), now, now.after(Duration::from_millis(800)));
    }

    pub(super) fn report<T>(&self, reporter: &str, body: T) -> Report<T> {
        let section = Section {
            began: self.now(),
            ended: self.now(),
        };
        Report {
            tick: TickId(self.tick),
            reporter: ReporterId::new(reporter),
            section,
            body,
        }
    }

    pub(super) fn usage_report(&self) -> Report<Arc<Usage>> {
        let capacity = self.tick * 1_000_000_000;
        let packages = (0..2_u16).map(|socket| PackageTime {
            package: PackageId(socket),
            cpus: self.cpus[usize::from(socket)],
            busy: CpuNanos::from_nanos(self.busy[usize::from(socket)]),
            idle: CpuNanos::from_nanos((capacity * 4).saturating_sub(self.busy[usize::from(socket)])),
        });
        let tasks = self.usage.values().copied().collect();
        self.report(
            USAGE,
            Arc::new(Usage {
                tasks,
                packages: packages.collect(),
                counted: self.counted,
                lost: Vec::new(),
                ..Usage::default()
            }),
        )
    }

    pub(super) fn energy_report(&self, without: Option<usize>) -> Report<Energy> {
        let zones = self
            .zones
            .iter()
            .enumerate()
            .filter(|(index, _)| Some(*index) != without);
        let zones = zones.map(|(_, (zone, total))| ZoneReading {
            zone: zone.clone(),
            total: Microjoules::from_micro(*total),
            idle: None,
            provenance: Provenance::Counted,
            at: self.now(),
            device: None,
        });
        self.report(
            METER.0,
            Energy {
                zones: zones.collect(),
                errors: Vec::new(),
            },
        )
    }

    pub(super) fn identity_report(&self) -> Report<Arc<Identity>> {
        self.report(RESOLVER, Arc::new(self.owners.clone()))
    }

    /// Sends everything and closes: an undisturbed window.
    pub(super) fn window(&mut self) -> Snapshot {
        self.open();
        let (usage, identity, energy) = (
            self.usage_report(),
            self.identity_report(),
            self.energy_report(None),
        );
        self.engine.on_identity(identity);
        self.engine.on_usage(usage);
        self.engine.on_energy(METER, energy);
        assert!(self.engine.complete());
        self.close()
    }

    /// Closes, forgets what the engine acknowledged, and checks what must hold after every window.
    pub(super) fn close(&mut self) -> Snapshot {
        let now = self.now().after(Duration::from_millis(800));
        let closed = self.engine.close(now).expect("a window is open");
        if closed.acked == Some(TickId(self.tick)) {
            for ((tgid, ..), _) in self.usage.extract_if(.., |_, row| row.ended) {
                self.starts.insert(tgid, self.tick);
            }
        }
        conserves(&closed.snapshot);
        closed.snapshot
    }
}

fn sum<'a>(ledgers: impl Iterator<Item = &'a Ledger>) -> Ledger {
    let mut all = Ledger::default();
    ledgers.for_each(|ledger| all.absorb(ledger));
    all
}

/// Invariant 1 at every level that covers the whole node, and for what is inside what.
pub(super) fn conserves(snapshot: &Snapshot) {
    let containers = sum(snapshot
        .containers
        .iter()
        .map(|row| &row.ledger)
        .chain([&snapshot.retired.containers]));
    let own_rows = snapshot.processes.iter().map(|row| &row.ledger);
    let processes = sum(own_rows.chain([&snapshot.other_processes, &snapshot.retired.processes]));
    assert_eq!(containers.cpu, processes.cpu);
    assert_eq!(containers.events, processes.events);
    for (index, zone) in snapshot.zones.iter().enumerate() {
        let used = |level: &Ledger| level.charges.get(index).map(|charge| charge.used);
        assert_eq!(
            used(&containers).unwrap_or_default(),
            used(&processes).unwrap_or_default()
        );
        for level in [&containers, &processes] {
            let charged = level.charges.get(index).copied().unwrap_or_default();
            assert_eq!(
                charged.dynamic + zone.unattributed,
                zone.dynamic,
                "dynamic of {}",
                zone.zone
            );
            assert_eq!(
                charged.idle + zone.unreserved_idle,
                zone.idle,
                "idle of {}",
                zone.zone
            );
        }
    }
}

pub(super) fn container<'a>(snapshot: &'a Snapshot, id: &str) -> &'a Ledger {
    let key = match id {
        "system" => ContainerKey::System,
        "kernel" => ContainerKey::Kernel,
        id => ContainerKey::Container(ContainerId::new(id)),
    };
    &snapshot
        .containers
        .iter()
        .find(|row| row.key == key)
        .expect("no such container")
        .ledger
}

/// Dynamic microjoules by zone.
pub(super) fn dynamic(ledger: &Ledger) -> Vec<u64> {
    ledger
        .charges
        .iter()
        .map(|charge| charge.dynamic.as_micro())
        .collect()
}

/// Idle microjoules by zone.
pub(super) fn idle(ledger: &Ledger) -> Vec<u64> {
    ledger
        .charges
        .iter()
        .map(|charge: &Charge| charge.idle.as_micro())
        .collect()
}

/// What is charged to pods, and what to the containers inside them; equal until something left.
pub(super) fn pod_totals(snapshot: &Snapshot) -> [Ledger; 2] {
    let in_pod =
        |row: &&snapshot::GroupRow<ContainerKey>| row.owner.as_ref().is_some_and(|o| o.pod.is_some());
    [
        sum(snapshot.pods.iter().map(|row| &row.ledger)),
        sum(snapshot.containers.iter().filter(in_pod).map(|row| &row.ledger)),
    ]
}

pub(super) fn unit_total(snapshot: &Snapshot) -> Ledger {
    sum(snapshot
        .units
        .iter()
        .map(|row: &snapshot::GroupRow<UnitKey>| &row.ledger)
        .chain([&snapshot.retired.units]))
}
