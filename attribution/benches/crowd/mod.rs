// SPDX-License-Identifier: Apache-2.0
//! A node with two sockets of four zones each, and processes in containers of twenty, each container in a pod: what a
//! probe and a meter would report of it. Used by the benchmark of a window and by the test of its allocations.

use attribution::engine::{Engine, FloorPolicy, IdleShare, Paid, RESOLVER, Settings, SplitRules, USAGE};
use attribution::model::{
    CgroupId, CgroupOwner, Comm, Component, ContainerId, CpuNanos, Energy, Event, EventCounts, EventSet,
    Identity, Microjoules, MonotonicNanos, PackageId, PackageTime, Place, PodUid, Provenance, Report,
    ReporterId, Section, SourceId, TaskKey, TaskKind, TaskUsage, TickId, Usage, Zone, ZoneReading,
};
use std::sync::Arc;
use std::time::Duration;

const METER: SourceId = SourceId("rapl-sysfs");
const SECOND: u64 = 1_000_000_000;
/// Processes in a container.
const TOGETHER: usize = 20;

/// The reports of one tick.
#[derive(Clone, Debug)]
pub(crate) struct Reports {
    usage: Report<Arc<Usage>>,
    energy: Report<Energy>,
    identity: Report<Arc<Identity>>,
}

/// Everybody, with totals.
#[derive(Debug)]
pub(crate) struct Crowd {
    rows: Vec<TaskUsage>,
    tick: u64,
    counted: EventSet,
    identity: Arc<Identity>,
    /// One out of so many runs in a window.
    idleness: usize,
}

fn owner(container: usize) -> Arc<CgroupOwner> {
    Arc::new(CgroupOwner {
        path: format!("/kubepods.slice/pod{container}/{container}"),
        container: Some(ContainerId::new(&format!("{container:064}"))),
        pod: Some(PodUid::new(&format!("{container:036}"))),
        runtime: "containerd",
        ..CgroupOwner::default()
    })
}

impl Crowd {
    /// `tasks` processes, of which one out of `idleness` runs in each window.
    #[must_use]
    pub(crate) fn new(tasks: usize, idleness: usize) -> Self {
        let cgroup = |index: usize| CgroupId(1_000 + (index / TOGETHER) as u64);
        let rows = (0..tasks).map(|index| TaskUsage {
            task: Some(TaskKey {
                tgid: 100 + u32::try_from(index).unwrap_or(u32::MAX),
                start_ticks: 7,
            }),
            cgroup: cgroup(index),
            package: PackageId(u16::from(index % 2 == 1)),
            cpu: CpuNanos::ZERO,
            events: EventCounts::ZERO,
            comm: Comm::from_bytes(b"worker"),
            kind: TaskKind::User,
            ended: false,
        });
        let cgroups = (0..tasks).step_by(TOGETHER);
        let identity = Identity {
            cgroups: cgroups
                .map(|index| (cgroup(index), owner(index / TOGETHER)))
                .collect(),
            ..Identity::default()
        };
        let counted = [
            Event::CpuCycles,
            Event::Instructions,
            Event::CacheMisses,
            Event::Switches,
            Event::SmtOverlap,
        ];
        Self {
            rows: rows.collect(),
            tick: 0,
            counted: counted.into_iter().fold(EventSet::NONE, EventSet::with),
            identity: Arc::new(identity),
            idleness,
        }
    }

    /// The next tick's.
    pub(crate) fn reports(&mut self) -> Reports {
        self.tick += 1;
        let tick = self.tick;
        for (index, row) in self.rows.iter_mut().enumerate() {
            if (index / 2 + usize::try_from(tick).unwrap_or(0)).is_multiple_of(self.idleness) {
                let nanos = 100_000 + (index as u64 * 7_919 + tick * 104_729) % 1_000_000;
                row.cpu += CpuNanos::from_nanos(nanos);
                row.events.add(Event::CpuCycles, nanos * 3);
                row.events
                    .add(Event::Instructions, nanos * (1 + index as u64 % 4));
                row.events
                    .add(Event::CacheMisses, nanos / 1_000 * (index as u64 % 7));
                row.events.add(Event::Switches, 3);
                row.events.add(Event::SmtOverlap, nanos / 3);
            }
        }
        let busy = |socket: u16| {
            let ours = self
                .rows
                .iter()
                .filter(move |row| row.package == PackageId(socket));
            ours.map(|row| row.cpu).sum::<CpuNanos>()
        };
        let packages = (0..2).map(|socket| PackageTime {
            package: PackageId(socket),
            cpus: 64,
            busy: busy(socket),
            idle: CpuNanos::from_nanos((tick * 64 * SECOND).saturating_sub(busy(socket).as_nanos())),
        });
        Reports {
            usage: self.report(
                USAGE,
                Arc::new(Usage {
                    tasks: self.rows.clone(),
                    packages: packages.collect(),
                    counted: self.counted,
                    ..Usage::default()
                }),
            ),
            energy: self.report(
                METER.0,
                Energy {
                    zones: self.zones(),
                    errors: Vec::new(),
                },
            ),
            identity: self.report(RESOLVER, Arc::clone(&self.identity)),
        }
    }

    fn now(&self) -> MonotonicNanos {
        MonotonicNanos::from_nanos(self.tick * SECOND)
    }

    fn report<T>(&self, reporter: &str, body: T) -> Report<T> {
        Report {
            tick: TickId(self.tick),
            reporter: ReporterId::new(reporter),
            section: Section {
                began: self.now(),
                ended: self.now(),
            },
            body,
        }
    }

    fn zones(&self) -> Vec<ZoneReading> {
        let components = [
            (Component::Package, 120),
            (Component::Core, 80),
            (Component::Uncore, 10),
            (Component::Dram, 30),
        ];
        let zones = (0..2).flat_map(|socket| components.map(|(component, watts)| (socket, component, watts)));
        let zones = zones.map(|(socket, component, watts)| ZoneReading {
            zone: Zone {
                component,
                place: Place::socket(PackageId(socket)),
            },
            total: Microjoules::from_micro(self.tick * watts * 1_000_003),
            idle: None,
            provenance: Provenance::Counted,
            at: self.now(),
            device: None,
        });
        zones.collect()
    }
}

/// An engine that expects a [`Crowd`]'s reports.
#[must_use]
pub(crate) fn engine(split: SplitRules) -> Engine {
    let settings = Settings {
        floor: FloorPolicy::Measured,
        idle_share: IdleShare::Reserved,
        split,
        processes_max: 200,
        ended_keep: Duration::from_secs(180),
    };
    let mut engine = Engine::new(settings, Arc::default());
    engine.expect(&ReporterId::new(USAGE));
    engine.expect(&ReporterId::new(RESOLVER));
    engine.expect_source(METER);
    engine
}

/// One window, without the snapshot. Returns when it closed, too.
pub(crate) fn window(engine: &mut Engine, reports: &Reports) -> (Option<Paid>, MonotonicNanos) {
    let (tick, at) = (reports.usage.tick, reports.usage.section.ended);
    engine.open(tick, at, at.after(Duration::from_millis(800)));
    engine.on_usage(reports.usage.clone());
    engine.on_identity(reports.identity.clone());
    engine.on_energy(METER, reports.energy.clone());
    let now = at.after(Duration::from_millis(1));
    (engine.pay(now), now)
}

/// An engine and its crowd after so many windows that nothing is new to it.
#[must_use]
pub(crate) fn settled(tasks: usize, idleness: usize, split: SplitRules) -> (Engine, Crowd) {
    let (mut engine, mut crowd) = (engine(split), Crowd::new(tasks, idleness));
    for _ in 0..40 {
        let reports = crowd.reports();
        window(&mut engine, &reports);
    }
    (engine, crowd)
}
