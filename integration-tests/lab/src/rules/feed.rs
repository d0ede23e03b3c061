// SPDX-License-Identifier: Apache-2.0
//! What the daemon's reporters would say about the node: usage by process, cgroup and socket, identities, the GPU.
//!
//! As the probe does it: exact CPU time, also of threads that are on a CPU right now; a dead process is listed until its
//! window is paid.

use crate::ledgers::{Done, Process};
use crate::node::Node;
use crate::tasks::{Place, WorkloadId};
use attribution::model::{
    CgroupId, CgroupOwner, Comm, Component, ContainerId, CpuNanos, CpuTime, DeviceNanos, DeviceUse,
    DeviceUser, Energy, Event, EventCounts, EventSet, Identity, Microjoules, MonotonicNanos, PackageId,
    PackageTime, PodUid, Provenance, TaskKey, TaskKind, TaskUsage, Usage, Zone, ZoneReading,
};
use std::collections::HashSet;
use std::sync::Arc;

/// Everything that a machine with a PMU counts and that the engine may look at.
#[must_use]
pub const fn all_events() -> EventSet {
    time_events()
        .with(Event::CpuCycles)
        .with(Event::RefCycles)
        .with(Event::Instructions)
        .with(Event::CacheMisses)
}

/// What needs no PMU.
#[must_use]
pub const fn time_events() -> EventSet {
    EventSet::NONE.with(Event::SmtOverlap)
}

/// Clock of the time-stamp counter, at which reference cycles are counted.
const BASE_GHZ: f64 = 2.1;

/// The usage report of now. `paid` holds pids of the dead that need not be listed any more.
#[must_use]
pub fn usage(node: &Node, paid: &HashSet<u32>, counted: EventSet) -> Usage {
    let known = node
        .processes
        .iter()
        .filter(|it| it.began <= node.now && !paid.contains(&it.pid));
    let rows = known.flat_map(|process| {
        let done = process.done.iter().enumerate().filter(|(_, done)| done.cpu > 0);
        done.map(move |(socket, done)| row(node, process, socket, done, counted))
    });
    let packages = (0..node.sockets.len()).map(|socket| {
        let (busy, idle) = node.busy_idle(socket);
        PackageTime {
            package: package(socket),
            cpus: u32::try_from(node.machine.threads()).unwrap_or(u32::MAX),
            busy: CpuNanos::from_nanos(busy),
            idle: CpuNanos::from_nanos(idle),
        }
    });
    Usage {
        tasks: rows.collect(),
        packages: packages.collect(),
        cpus: cpus(node),
        counted,
        ..Usage::default()
    }
}

fn cpus(node: &Node) -> Vec<CpuTime> {
    let all = node
        .sockets
        .iter()
        .enumerate()
        .flat_map(|(socket, it)| it.busy.iter().map(move |busy| (socket, *busy)));
    let time = |(cpu, (socket, busy))| CpuTime {
        cpu,
        package: package(socket),
        online: true,
        busy: CpuNanos::from_nanos(busy),
        idle: CpuNanos::from_nanos(node.now - busy),
        steal: None,
    };
    (0_u32..).zip(all).map(time).collect()
}

fn row(node: &Node, process: &Process, socket: usize, done: &Done, counted: EventSet) -> TaskUsage {
    let place = node.workloads[process.workload.0].place;
    let reference = done.cpu as f64 * BASE_GHZ;
    let events = [
        (Event::CpuCycles, done.cycles),
        (Event::RefCycles, reference),
        (Event::Instructions, done.instructions),
        (Event::CacheMisses, done.misses),
        (Event::SmtOverlap, done.overlap as f64),
    ];
    let events = events.into_iter().filter(|(event, _)| counted.has(*event));
    TaskUsage {
        task: Some(TaskKey::from_boot_nanos(process.pid, process.began)),
        cgroup: cgroup(node, process.workload),
        package: package(socket),
        cpu: CpuNanos::from_nanos(done.cpu),
        events: events.fold(EventCounts::ZERO, |counts, (event, count)| {
            counts.with(event, count as u64)
        }),
        comm: Comm::from_bytes(node.workloads[process.workload.0].name.as_bytes()),
        kind: if place == Place::Kernel {
            TaskKind::Kernel
        } else {
            TaskKind::User
        },
        ended: process.ended.is_some(),
    }
}

fn package(socket: usize) -> PackageId {
    PackageId(u16::try_from(socket).unwrap_or(u16::MAX))
}

fn cgroup(node: &Node, workload: WorkloadId) -> CgroupId {
    match node.workloads[workload.0].place {
        Place::Kernel => CgroupId::ROOT,
        Place::System | Place::Container => CgroupId(1_000 + workload.0 as u64),
    }
}

/// Who is who. It does not change.
#[must_use]
pub fn identity(node: &Node) -> Identity {
    let mut identity = Identity::default();
    for (index, workload) in node.workloads.iter().enumerate() {
        let owner = match workload.place {
            Place::Kernel => continue,
            Place::System => CgroupOwner {
                path: "/system.slice/kubelet.service".to_owned(),
                unit: Some("kubelet.service".to_owned()),
                slice: Some("system.slice".to_owned()),
                ..CgroupOwner::default()
            },
            Place::Container => CgroupOwner {
                path: format!("/kubepods.slice/pod-{0}/{0}", workload.name),
                container: Some(ContainerId::new(&workload.name)),
                pod: Some(PodUid::new(&workload.name)),
                runtime: "containerd",
                ..CgroupOwner::default()
            },
        };
        identity
            .cgroups
            .insert(cgroup(node, WorkloadId(index)), Arc::new(owner));
    }
    identity
}

/// The GPU's zone with its use, as the NVML source tells it.
#[must_use]
pub fn gpu(node: &Node) -> Option<Energy> {
    let gpu = node.gpu.as_ref()?;
    let nanos = |seconds: f64| DeviceNanos::from_nanos((seconds * 1e9) as u64);
    let users = gpu.jobs.iter().zip(&gpu.used).filter(|(_, used)| **used > 0.0);
    let users = users.map(|(job, used)| DeviceUser {
        pid: node.processes[job.process.0].pid,
        used: nanos(*used),
    });
    let reading = ZoneReading {
        zone: Zone {
            component: Component::Gpu,
            place: attribution::model::Place::Named(Arc::from("GPU-0")),
        },
        total: Microjoules::from_milli(gpu.millijoules()),
        idle: None,
        provenance: Provenance::Counted,
        at: MonotonicNanos::from_nanos(node.now),
        device: Some(DeviceUse {
            busy: Some(nanos(gpu.used.iter().sum())),
            users: users.collect(),
        }),
    };
    Some(Energy {
        zones: vec![reading],
        errors: Vec::new(),
    })
}
