// SPDX-License-Identifier: Apache-2.0
//! The levels of workloads: container, pod, virtual machine, unit and process, all written the same way from rows and columns.
//!
//! A row is a workload with its labels made once; a column is a component as one source meters it, and sums the zones
//! of both. Every row has a dynamic series in every column, also while it is 0: any workload may be charged for any
//! zone, and `rate()` needs the point before the first joule. An idle series begins with the first idle joule, since by
//! default most workloads never pay any. An event (a hardware counter, a softirq, a page-cache hit) has its family only
//! where the machine counts it, and then every row has a series: absent says that nobody counts, 0 that nothing
//! happened. Use of a GPU has a series from the first time that a workload used that GPU. Rows whose names are
//! on their way are left out until these are there: a workload that is shown under two names would be two. Rows with the same labels (a pid used again while its ended row is still kept, two names that differ only
//! beyond the cut) are added up.

use super::node::{describe, joules};
use super::writer::{Decimal, Family, Kind, Labels};
use attribution::model::snapshot::{ContainerKey, GroupRow, Ledger, Names, ProcessRow};
use attribution::model::{
    Component, Event, EventSet, Microjoules, PodUid, Snapshot, SourceId, TaskKind, VmId,
};
use std::borrow::Cow;

/// Kepler's name for what runs outside of every container.
const SYSTEM: &str = "system_processes";
/// Kepler's name for kernel threads.
const KERNEL: &str = "kernel_processes";

/// A workload.
pub(super) struct Row<'a> {
    labels: Labels,
    ledger: Cow<'a, Ledger>,
}

impl<'a> Row<'a> {
    const fn new(labels: Labels, ledger: &'a Ledger) -> Self {
        Self {
            labels,
            ledger: Cow::Borrowed(ledger),
        }
    }
}

/// One component as one source meters it.
struct Column {
    component: Component,
    source: SourceId,
    /// Positions in [`Snapshot::zones`].
    zones: Vec<usize>,
    dynamic: Labels,
    idle: Labels,
}

/// All columns.
pub(super) struct Columns {
    /// By component and then source.
    energy: Vec<Column>,
    /// Positions of GPUs in [`Snapshot::zones`], each with its label.
    devices: Vec<(usize, Labels)>,
    /// What the machine counts.
    events: EventSet,
}

impl Columns {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let mut columns: Vec<Column> = Vec::new();
        for (position, account) in snapshot.zones.iter().enumerate() {
            let (component, source) = (account.zone.component, account.source);
            let same = |column: &&mut Column| column.component == component && column.source == source;
            match columns.iter_mut().find(same) {
                Some(column) => column.zones.push(position),
                None => columns.push(Column {
                    component,
                    source,
                    zones: vec![position],
                    dynamic: mode("dynamic").with("source", source.0),
                    idle: mode("idle").with("source", source.0),
                }),
            }
        }
        columns.sort_by_key(|column| (column.component, column.source));
        let zones = snapshot.zones.iter().enumerate();
        let devices = zones.filter(|(_, account)| account.zone.component == Component::Gpu);
        Self {
            energy: columns,
            devices: devices
                .map(|(position, account)| {
                    let id = account.zone.place.to_string();
                    (position, Labels::none().with("gpu_id", &id))
                })
                .collect(),
            events: snapshot.counted,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.energy.len() + self.devices.len() + self.events.iter().filter_map(in_kepler).count()
    }

    /// Positions of all zones that count into a total.
    fn total(&self) -> Vec<usize> {
        let counted = self
            .energy
            .iter()
            .filter(|column| column.component.counts_into_total());
        counted.flat_map(|column| column.zones.iter().copied()).collect()
    }
}

fn mode(mode: &str) -> Labels {
    Labels::none().with("mode", mode)
}

/// What a ledger holds in `zones`: dynamic and idle.
fn charged(ledger: &Ledger, zones: &[usize]) -> (Microjoules, Microjoules) {
    let charges = || zones.iter().filter_map(|zone| ledger.charges.get(*zone));
    (
        charges().map(|charge| charge.dynamic).sum(),
        charges().map(|charge| charge.idle).sum(),
    )
}

/// Writes one level.
pub(super) fn write(out: &mut String, level: &str, rows: Vec<Row<'_>>, columns: &Columns) {
    let rows = unique(rows);
    for component in Component::ALL {
        let columns = columns
            .energy
            .iter()
            .filter(|column| column.component == component);
        let name = format!("kepler_{level}_{}_joules_total", component.name());
        let help = format!("Energy of {} charged to this {level}.", describe(component));
        let mut family = Family::new(out, &name, Kind::Counter, &help);
        for column in columns {
            for row in &rows {
                write_cell(&mut family, row, &column.zones, &column.dynamic, &column.idle);
            }
        }
    }
    write_total(out, level, &rows, &columns.total());
    let name = format!("kepler_{level}_bpf_cpu_time_ms_total");
    let help = format!("CPU time of this {level} in milliseconds.");
    let mut family = Family::new(out, &name, Kind::Counter, &help);
    for row in &rows {
        family.sample(&row.labels, Decimal::micro(row.ledger.cpu.as_nanos()));
    }
    for event in columns.events.iter() {
        write_events(out, level, &rows, event);
    }
    write_device_use(out, level, &rows, &columns.devices);
}

fn write_device_use(out: &mut String, level: &str, rows: &[Row<'_>], devices: &[(usize, Labels)]) {
    let name = format!("kepler_{level}_gpu_compute_util_total");
    let help =
        format!("Device-seconds of GPU compute used by this {level}: 1 is one GPU used wholly for 1 s.");
    let mut family = Family::new(out, &name, Kind::Counter, &help);
    for (position, gpu) in devices {
        for row in rows {
            let used = row.ledger.charges.get(*position).map(|charge| charge.used);
            if let Some(used) = used.filter(|used| !used.is_zero()) {
                family.cell(&row.labels, gpu, Decimal::nano(used.as_nanos()));
            }
        }
    }
}

fn write_events(out: &mut String, level: &str, rows: &[Row<'_>], event: Event) {
    let Some((name, what)) = in_kepler(event) else {
        return;
    };
    let name = format!("kepler_{level}_{name}_total");
    let help = format!("{what} this {level}.");
    let mut family = Family::new(out, &name, Kind::Counter, &help);
    for row in rows {
        family.sample(&row.labels, Decimal::whole(row.ledger.events.get(event)));
    }
}

/// The name of an event in schema `kepler`, and the beginning of its help. What has none is in the JSON only.
const fn in_kepler(event: Event) -> Option<(&'static str, &'static str)> {
    match event {
        Event::CpuCycles => Some(("cpu_cycles", "CPU cycles of")),
        Event::Instructions => Some(("cpu_instructions", "Instructions retired by")),
        Event::CacheMisses => Some(("cache_miss", "Misses of the last-level cache by")),
        Event::PageCacheHits => Some((
            "bpf_page_cache_hit",
            "Pages found or dirtied in the page cache by",
        )),
        Event::NetTxIrqs => Some((
            "bpf_net_tx_irq",
            "Softirqs for sent packets during the CPU time of",
        )),
        Event::NetRxIrqs => Some((
            "bpf_net_rx_irq",
            "Softirqs for received packets during the CPU time of",
        )),
        Event::BlockIrqs => Some((
            "bpf_block_irq",
            "Softirqs of block devices during the CPU time of",
        )),
        Event::RefCycles | Event::Switches | Event::SmtOverlap => None,
    }
}
fn write_total(out: &mut String, level: &str, rows: &[Row<'_>], zones: &[usize]) {
    if zones.is_empty() {
        // Nothing that would count is metered; a row of zeros would claim that nothing was used.
        return;
    }
    let name = format!("kepler_{level}_joules_total");
    let help = format!("Energy of packages, memory, accelerators and other parts charged to this {level}.");
    let mut family = Family::new(out, &name, Kind::Counter, &help);
    let (dynamic, idle) = (mode("dynamic"), mode("idle"));
    for row in rows {
        write_cell(&mut family, row, zones, &dynamic, &idle);
    }
}

fn write_cell(family: &mut Family<'_>, row: &Row<'_>, zones: &[usize], dynamic: &Labels, idle: &Labels) {
    let (dynamic_energy, idle_energy) = charged(&row.ledger, zones);
    family.cell(&row.labels, dynamic, joules(dynamic_energy));
    if !idle_energy.is_zero() {
        family.cell(&row.labels, idle, joules(idle_energy));
    }
}

/// Rows by their labels, each label set once.
fn unique(mut rows: Vec<Row<'_>>) -> Vec<Row<'_>> {
    rows.sort_by(|a, b| a.labels.cmp(&b.labels));
    rows.dedup_by(|next, kept| {
        let same = next.labels == kept.labels;
        if same {
            absorb(kept.ledger.to_mut(), &next.ledger);
        }
        same
    });
    rows
}

fn absorb(into: &mut Ledger, from: &Ledger) {
    into.cpu += from.cpu;
    into.events.absorb(&from.events);
    if into.charges.len() < from.charges.len() {
        into.charges.resize(from.charges.len(), Default::default());
    }
    for (to, from) in into.charges.iter_mut().zip(&from.charges) {
        to.dynamic += from.dynamic;
        to.idle += from.idle;
        to.used += from.used;
    }
}

pub(super) fn containers(snapshot: &Snapshot) -> Vec<Row<'_>> {
    let labels = |row: &GroupRow<ContainerKey>| {
        // Kepler gave two rows the same text as id, name and pod name.
        let (id, name, pod, namespace) = match &row.key {
            ContainerKey::Container(id) => {
                let (pod, namespace) = pod_names(&row.names);
                (id.as_str(), container_name(&row.names), pod, namespace)
            }
            ContainerKey::System => (SYSTEM, SYSTEM, SYSTEM, "system"),
            ContainerKey::Kernel => (KERNEL, KERNEL, KERNEL, "kernel"),
        };
        Labels::none()
            .with("container_id", id)
            .with("container_name", name)
            .with("pod_name", pod)
            .with("container_namespace", namespace)
    };
    named(&snapshot.containers)
        .map(|row| Row::new(labels(row), &row.ledger))
        .collect()
}

/// Rows that can be shown under the name that they will keep.
fn named<K>(rows: &[GroupRow<K>]) -> impl Iterator<Item = &GroupRow<K>> {
    rows.iter().filter(|row| !row.names.awaited)
}

fn container_name(names: &Names) -> &str {
    names.container.as_ref().map_or("", |facts| facts.name.as_str())
}

/// A pod's name and namespace; empty where it has none that is known.
fn pod_names(names: &Names) -> (&str, &str) {
    let facts = names.pod.as_ref();
    facts.map_or(("", ""), |pod| (pod.name.as_str(), pod.namespace.as_str()))
}

pub(super) fn pods(snapshot: &Snapshot) -> Vec<Row<'_>> {
    let labels = |row: &GroupRow<PodUid>| {
        let (name, namespace) = pod_names(&row.names);
        Labels::none()
            .with("pod_id", row.key.as_str())
            .with("pod_name", name)
            .with("pod_namespace", namespace)
    };
    named(&snapshot.pods)
        .map(|row| Row::new(labels(row), &row.ledger))
        .collect()
}

pub(super) fn vms(snapshot: &Snapshot) -> Vec<Row<'_>> {
    let labels = |row: &GroupRow<VmId>| {
        let facts = row.names.vm.as_ref();
        Labels::none()
            .with("vm_id", row.key.as_str())
            .with("vm_name", facts.map_or("", |vm| vm.name.as_str()))
            .with("hypervisor", facts.map_or("", |vm| vm.hypervisor))
    };
    named(&snapshot.vms)
        .map(|row| Row::new(labels(row), &row.ledger))
        .collect()
}

pub(super) fn units(snapshot: &Snapshot) -> Vec<Row<'_>> {
    let rows = snapshot.units.iter();
    rows.map(|row| {
        let labels = Labels::none()
            .with("unit", &row.key.unit)
            .with("slice", &row.key.slice);
        Row::new(labels, &row.ledger)
    })
    .collect()
}

pub(super) fn processes(snapshot: &Snapshot) -> Vec<Row<'_>> {
    let rows = snapshot.processes.iter().map(|row| {
        let pid = row.task.tgid.to_string();
        Row::new(
            process_labels(&pid, &row.comm.to_text(), container_of(row), vm_of(row)),
            &row.ledger,
        )
    });
    let other = Row::new(process_labels("other", "", "", ""), &snapshot.other_processes);
    rows.chain([other]).collect()
}

fn process_labels(pid: &str, command: &str, container: &str, vm: &str) -> Labels {
    Labels::none()
        .with("pid", pid)
        .with("command", command)
        .with("container_id", container)
        .with("vm_id", vm)
}

/// The virtual machine that the process is.
fn vm_of(row: &ProcessRow) -> &str {
    let vm = row.owner.as_ref().and_then(|owner| owner.vm.as_ref());
    vm.map_or("", |vm| vm.as_str())
}

/// The container row that holds the process.
fn container_of(row: &ProcessRow) -> &str {
    let container = row.owner.as_ref().and_then(|owner| owner.container.as_ref());
    match (container, row.kind) {
        (_, TaskKind::Kernel) => KERNEL,
        (Some(container), TaskKind::User) => container.as_str(),
        (None, TaskKind::User) => SYSTEM,
    }
}
