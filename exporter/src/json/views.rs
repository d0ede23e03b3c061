// SPDX-License-Identifier: Apache-2.0
//! Borrowed views that say how each part of a snapshot looks in JSON. Their fields are documented in the parent; a list
//! inside a view is written through [`Each`], so that nothing is collected on the way.

use super::health::{
    ConfigView, DroppedView, Facts, LostView, SourceView, TallyView, Windows, config, dropped, lost, source,
    tally,
};
use super::ledger::{Charges, Counted, Events, LedgerView, RetiredView, ledger, retired};
use super::owner::{OwnerView, ReservedView, owner, reserved};
use super::zone::{ZoneView, zone};
use crate::reloads::Reloads;
use attribution::model::snapshot::{ContainerKey, GroupRow, ProcessRow, SourceAccount, UnitKey, ZoneAccount};
use attribution::model::{
    CpuNanos, CpuTime, EventSet, LostEvents, PackageTime, PodUid, Section, Snapshot, SoftirqTime, Tally,
    TaskKind, VmId,
};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::time::Duration;

/// A list whose items are looked at through `V` while it is written.
pub(super) struct Each<'a, T, V>(pub(super) &'a [T], pub(super) fn(&'a T) -> V);

impl<T, V: Serialize> Serialize for Each<'_, T, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(self.1))
    }
}

/// The same for rows with a ledger, whose view depends on what is counted.
struct Rows<'a, T, V>(&'a [T], EventSet, fn(&'a T, EventSet) -> V);

impl<T, V: Serialize> Serialize for Rows<'_, T, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(rows, counted, view) = self;
        serializer.collect_seq(rows.iter().map(|row| view(row, *counted)))
    }
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[derive(Serialize)]
pub(super) struct SnapshotView<'a> {
    schema: u8,
    tick: u64,
    window: Window,
    zones: Each<'a, ZoneAccount, ZoneView<'a>>,
    packages: Each<'a, PackageTime, PackageView>,
    cpus: Each<'a, CpuTime, CpuView>,
    softirqs: Each<'a, SoftirqTime, SoftirqView>,
    counted: Counted,
    smt_weight_permille: Option<u32>,
    processes: Rows<'a, ProcessRow, ProcessView<'a>>,
    other_processes: LedgerView<'a>,
    containers: Rows<'a, GroupRow<ContainerKey>, ContainerView<'a>>,
    pods: Rows<'a, GroupRow<PodUid>, PodView<'a>>,
    vms: Rows<'a, GroupRow<VmId>, VmView<'a>>,
    units: Rows<'a, GroupRow<UnitKey>, UnitView<'a>>,
    retired: RetiredView<'a>,
    coverage_permille: Option<u32>,
    sources: Each<'a, SourceAccount, SourceView<'a>>,
    facts: Facts<'a>,
    windows: Windows<'a>,
    lost: Each<'a, LostEvents, LostView>,
    tallies: Each<'a, Tally, TallyView>,
    dropped: Each<'a, (&'static str, u64), DroppedView>,
    config: Option<ConfigView>,
}

pub(super) fn snapshot<'a>(snapshot: &'a Snapshot, reloads: &Reloads) -> SnapshotView<'a> {
    let counted = snapshot.counted;
    SnapshotView {
        schema: 1,
        tick: snapshot.tick.0,
        window: window(snapshot.window),
        zones: Each(&snapshot.zones, zone),
        packages: Each(&snapshot.packages, package),
        cpus: Each(&snapshot.cpus, cpu),
        softirqs: Each(&snapshot.softirqs, softirq),
        counted: Counted(counted),
        smt_weight_permille: snapshot.smt_weight.map(|weight| weight.0),
        processes: Rows(&snapshot.processes, counted, process),
        other_processes: ledger(&snapshot.other_processes, counted),
        containers: Rows(&snapshot.containers, counted, container),
        pods: Rows(&snapshot.pods, counted, pod),
        vms: Rows(&snapshot.vms, counted, vm),
        units: Rows(&snapshot.units, counted, unit),
        retired: retired(&snapshot.retired, counted),
        coverage_permille: snapshot.coverage.map(|ratio| ratio.0),
        sources: Each(&snapshot.sources, source),
        facts: Facts::of(&snapshot.facts),
        windows: Windows::of(&snapshot.windows),
        lost: Each(&snapshot.lost, lost),
        tallies: Each(&snapshot.tallies, tally),
        dropped: Each(&snapshot.dropped, dropped),
        config: config(reloads),
    }
}

#[derive(Serialize)]
struct Window {
    began_ns: u64,
    ended_ns: u64,
}

const fn window(section: Section) -> Window {
    Window {
        began_ns: section.began.as_nanos(),
        ended_ns: section.ended.as_nanos(),
    }
}

/// Something that has a text of its own.
pub(super) struct Text<'a, T>(pub(super) &'a T);

impl<T: std::fmt::Display> Serialize for Text<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}

#[derive(Serialize)]
struct PackageView {
    package: u16,
    cpus: u32,
    busy_ns: u64,
    idle_ns: u64,
}

const fn package(time: &PackageTime) -> PackageView {
    PackageView {
        package: time.package.0,
        cpus: time.cpus,
        busy_ns: time.busy.as_nanos(),
        idle_ns: time.idle.as_nanos(),
    }
}

#[derive(Serialize)]
struct CpuView {
    cpu: u32,
    package: u16,
    online: bool,
    busy_ns: u64,
    idle_ns: u64,
    steal_ns: Option<u64>,
}

fn cpu(time: &CpuTime) -> CpuView {
    CpuView {
        cpu: time.cpu,
        package: time.package.0,
        online: time.online,
        busy_ns: time.busy.as_nanos(),
        idle_ns: time.idle.as_nanos(),
        steal_ns: time.steal.map(CpuNanos::as_nanos),
    }
}

#[derive(Serialize)]
struct SoftirqView {
    package: u16,
    vector: &'static str,
    count: u64,
    time_ns: u64,
}

const fn softirq(time: &SoftirqTime) -> SoftirqView {
    SoftirqView {
        package: time.package.0,
        vector: time.vector,
        count: time.count,
        time_ns: time.time.as_nanos(),
    }
}

#[derive(Serialize)]
struct ProcessView<'a> {
    pid: u32,
    start_ticks: u64,
    command: String,
    kind: &'static str,
    cgroup: u64,
    owner: Option<OwnerView<'a>>,
    ended: bool,
    began_ns: u64,
    cpu_ns: u64,
    events: Events<'a>,
    charges: Charges<'a>,
}

fn process(row: &ProcessRow, counted: EventSet) -> ProcessView<'_> {
    ProcessView {
        pid: row.task.tgid,
        start_ticks: row.task.start_ticks,
        command: row.comm.to_text(),
        kind: match row.kind {
            TaskKind::User => "user",
            TaskKind::Kernel => "kernel",
        },
        cgroup: row.cgroup.0,
        owner: row.owner.as_deref().map(owner),
        ended: row.ended,
        began_ns: row.began.as_nanos(),
        cpu_ns: row.ledger.cpu.as_nanos(),
        events: Events(&row.ledger.events, counted),
        charges: Charges(&row.ledger.charges),
    }
}

#[derive(Serialize)]
struct ContainerView<'a> {
    kind: &'static str,
    id: Option<&'a str>,
    name: Option<&'a str>,
    image: Option<&'a str>,
    pod_name: Option<&'a str>,
    pod_namespace: Option<&'a str>,
    reserved: Option<ReservedView>,
    awaited: bool,
    owner: Option<OwnerView<'a>>,
    ended: bool,
    began_ns: u64,
    cpu_ns: u64,
    events: Events<'a>,
    charges: Charges<'a>,
}

fn container(row: &GroupRow<ContainerKey>, counted: EventSet) -> ContainerView<'_> {
    let (kind, id) = match &row.key {
        ContainerKey::Container(id) => ("container", Some(id.as_str())),
        ContainerKey::System => ("system", None),
        ContainerKey::Kernel => ("kernel", None),
    };
    let (facts, pod) = (row.names.container.as_deref(), row.names.pod.as_deref());
    ContainerView {
        kind,
        id,
        name: facts.map(|facts| facts.name.as_str()),
        image: facts.and_then(|facts| facts.image.as_deref()),
        pod_name: pod.map(|pod| pod.name.as_str()),
        pod_namespace: pod.map(|pod| pod.namespace.as_str()),
        reserved: row.names.reserved.map(reserved),
        awaited: row.names.awaited,
        owner: row.owner.as_deref().map(owner),
        ended: row.ended,
        began_ns: row.began.as_nanos(),
        cpu_ns: row.ledger.cpu.as_nanos(),
        events: Events(&row.ledger.events, counted),
        charges: Charges(&row.ledger.charges),
    }
}

#[derive(Serialize)]
struct PodView<'a> {
    uid: &'a str,
    name: Option<&'a str>,
    namespace: Option<&'a str>,
    made_by: Option<MakerView<'a>>,
    qos: Option<&'a str>,
    labels: BTreeMap<&'a str, &'a str>,
    reserved: Option<ReservedView>,
    awaited: bool,
    owner: Option<OwnerView<'a>>,
    ended: bool,
    began_ns: u64,
    cpu_ns: u64,
    events: Events<'a>,
    charges: Charges<'a>,
}

fn pod(row: &GroupRow<PodUid>, counted: EventSet) -> PodView<'_> {
    let facts = row.names.pod.as_deref();
    let labels = facts.into_iter().flat_map(|pod| &pod.labels);
    PodView {
        uid: row.key.as_str(),
        name: facts.map(|pod| pod.name.as_str()),
        namespace: facts.map(|pod| pod.namespace.as_str()),
        made_by: facts
            .and_then(|pod| pod.made_by.as_ref())
            .map(|(kind, name)| MakerView { kind, name }),
        qos: facts.map(|pod| pod.qos.as_str()),
        labels: labels
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect(),
        reserved: row.names.reserved.map(reserved),
        awaited: row.names.awaited,
        owner: row.owner.as_deref().map(owner),
        ended: row.ended,
        began_ns: row.began.as_nanos(),
        cpu_ns: row.ledger.cpu.as_nanos(),
        events: Events(&row.ledger.events, counted),
        charges: Charges(&row.ledger.charges),
    }
}

#[derive(Serialize)]
struct MakerView<'a> {
    kind: &'a str,
    name: &'a str,
}

#[derive(Serialize)]
struct VmView<'a> {
    id: &'a str,
    name: Option<&'a str>,
    hypervisor: Option<&'static str>,
    reserved: Option<ReservedView>,
    owner: Option<OwnerView<'a>>,
    ended: bool,
    began_ns: u64,
    cpu_ns: u64,
    events: Events<'a>,
    charges: Charges<'a>,
}

fn vm(row: &GroupRow<VmId>, counted: EventSet) -> VmView<'_> {
    let facts = row.names.vm.as_deref();
    VmView {
        id: row.key.as_str(),
        name: facts.map(|vm| vm.name.as_str()),
        hypervisor: facts.map(|vm| vm.hypervisor),
        reserved: row.names.reserved.map(reserved),
        owner: row.owner.as_deref().map(owner),
        ended: row.ended,
        began_ns: row.began.as_nanos(),
        cpu_ns: row.ledger.cpu.as_nanos(),
        events: Events(&row.ledger.events, counted),
        charges: Charges(&row.ledger.charges),
    }
}

#[derive(Serialize)]
struct UnitView<'a> {
    unit: &'a str,
    slice: &'a str,
    owner: Option<OwnerView<'a>>,
    ended: bool,
    began_ns: u64,
    cpu_ns: u64,
    events: Events<'a>,
    charges: Charges<'a>,
}

fn unit(row: &GroupRow<UnitKey>, counted: EventSet) -> UnitView<'_> {
    UnitView {
        unit: &row.key.unit,
        slice: &row.key.slice,
        owner: row.owner.as_deref().map(owner),
        ended: row.ended,
        began_ns: row.began.as_nanos(),
        cpu_ns: row.ledger.cpu.as_nanos(),
        events: Events(&row.ledger.events, counted),
        charges: Charges(&row.ledger.charges),
    }
}
