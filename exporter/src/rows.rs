// SPDX-License-Identifier: Apache-2.0
//! Workloads as rows, with what each is called: made once and kept from snapshot to snapshot.
//!
//! Most of a page is labels, and most workloads are called tomorrow as they are today. A face is made again only when
//! something that is in it has changed; one that no row of a level uses any more is forgotten.

use crate::config::Level;
use crate::naming::{Face, Naming};
use crate::view::{Key, Moment};
use attribution::model::snapshot::{ContainerKey, GroupRow, Ledger, Names, ProcessRow, UnitKey};
use attribution::model::{
    CgroupOwner, Comm, ContainerFacts, MonotonicNanos, PodFacts, PodUid, Snapshot, TaskKey, TaskKind,
    VmFacts, VmId,
};
use foldhash::fast::FixedState;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Kepler's name for what runs outside of every container.
const SYSTEM: &str = "system_processes";
/// Kepler's name for kernel threads.
const KERNEL: &str = "kernel_processes";
/// A workload.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    pub(crate) face: Arc<Face>,
    pub(crate) ledger: Cow<'a, Ledger>,
    pub(crate) began: MonotonicNanos,
    pub(crate) ended: bool,
    pub(crate) key: Key<'a>,
    /// Whether its namespace has no rows of its own.
    pub(crate) denied: bool,
    /// Whether it is what runs outside of every container, on the level of containers.
    pub(crate) outside: bool,
}

/// Faces of one level, by all that is in them.
#[derive(Debug)]
struct Faces<S> {
    known: HashMap<S, Arc<Face>, FixedState>,
    used: HashMap<S, Arc<Face>, FixedState>,
}

impl<S> Default for Faces<S> {
    fn default() -> Self {
        Self {
            known: HashMap::default(),
            used: HashMap::default(),
        }
    }
}

impl<S: Hash + Eq> Faces<S> {
    fn face(&mut self, stamp: S, make: impl FnOnce() -> Face) -> Arc<Face> {
        let (stamp, face) = self
            .known
            .remove_entry(&stamp)
            .unwrap_or_else(|| (stamp, Arc::new(make())));
        let shared = Arc::clone(&face);
        self.used.insert(stamp, face);
        shared
    }

    /// All rows of the level were called.
    fn turn(&mut self) {
        std::mem::swap(&mut self.known, &mut self.used);
        self.used.clear();
    }
}

/// All that is in the face of a group.
#[derive(Debug, PartialEq, Eq)]
struct GroupStamp<K> {
    key: K,
    container: Option<Arc<ContainerFacts>>,
    pod: Option<Arc<PodFacts>>,
    vm: Option<Arc<VmFacts>>,
    owner: Option<Arc<CgroupOwner>>,
}

impl<K: Clone> GroupStamp<K> {
    fn of(row: &GroupRow<K>) -> Self {
        let Names {
            container, pod, vm, ..
        } = &row.names;
        Self {
            key: row.key.clone(),
            container: container.clone(),
            pod: pod.clone(),
            vm: vm.clone(),
            owner: row.owner.clone(),
        }
    }
}

impl<K: Hash> Hash for GroupStamp<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

/// All that is in the face of a process.
#[derive(Debug, PartialEq, Eq)]
struct ProcessStamp {
    task: TaskKey,
    comm: Comm,
    kind: TaskKind,
    owner: Option<Arc<CgroupOwner>>,
}

impl Hash for ProcessStamp {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.task.hash(state);
    }
}

/// Faces of all levels.
#[derive(Debug, Default)]
pub(crate) struct Wardrobe {
    containers: Faces<GroupStamp<ContainerKey>>,
    pods: Faces<GroupStamp<PodUid>>,
    vms: Faces<GroupStamp<VmId>>,
    units: Faces<GroupStamp<UnitKey>>,
    processes: Faces<ProcessStamp>,
}

impl Wardrobe {
    /// The rows of a level as they are to be written.
    pub(crate) fn rows<'a>(&mut self, level: Level, moment: &'a Moment, naming: &Naming) -> Vec<Row<'a>> {
        match moment.folded(level) {
            Some(folded) => folded.iter().map(|row| row.row(level)).collect(),
            None => self.single(level, &moment.snapshot, naming),
        }
    }

    /// The rows of a level before any of them are folded. Rows whose names are on their way are left out.
    pub(crate) fn single<'a>(
        &mut self,
        level: Level,
        snapshot: &'a Snapshot,
        naming: &Naming,
    ) -> Vec<Row<'a>> {
        match level {
            Level::Node => Vec::new(),
            Level::Container => self.containers(&snapshot.containers, naming),
            Level::Pod => self.pods(&snapshot.pods, naming),
            Level::Vm => self.vms(&snapshot.vms, naming),
            Level::Unit => self.units(&snapshot.units, naming),
            Level::Process => self.processes(snapshot, naming),
        }
    }

    fn containers<'a>(&mut self, rows: &'a [GroupRow<ContainerKey>], naming: &Naming) -> Vec<Row<'a>> {
        let faces = &mut self.containers;
        let rows = named(rows).map(|row| {
            let face = faces.face(GroupStamp::of(row), || container(row, naming));
            group(row, face, Key::Container(&row.key), naming)
        });
        let rows = rows.collect();
        faces.turn();
        rows
    }

    fn pods<'a>(&mut self, rows: &'a [GroupRow<PodUid>], naming: &Naming) -> Vec<Row<'a>> {
        let faces = &mut self.pods;
        let rows = named(rows).map(|row| {
            let facts = row.names.pod.as_deref();
            let make = || naming.pod(row.key.as_str(), pod_names(facts), facts);
            let face = faces.face(GroupStamp::of(row), make);
            group(row, face, Key::Pod(&row.key), naming)
        });
        let rows = rows.collect();
        faces.turn();
        rows
    }

    fn vms<'a>(&mut self, rows: &'a [GroupRow<VmId>], naming: &Naming) -> Vec<Row<'a>> {
        let faces = &mut self.vms;
        let rows = named(rows).map(|row| {
            let make = || naming.vm(row.key.as_str(), row.names.vm.as_deref());
            let face = faces.face(GroupStamp::of(row), make);
            group(row, face, Key::Vm(&row.key), naming)
        });
        let rows = rows.collect();
        faces.turn();
        rows
    }

    fn units<'a>(&mut self, rows: &'a [GroupRow<UnitKey>], naming: &Naming) -> Vec<Row<'a>> {
        let faces = &mut self.units;
        let rows = rows.iter().map(|row| {
            let face = faces.face(GroupStamp::of(row), || naming.unit(&row.key));
            group(row, face, Key::Unit(&row.key), naming)
        });
        let rows = rows.collect();
        faces.turn();
        rows
    }

    fn processes<'a>(&mut self, snapshot: &'a Snapshot, naming: &Naming) -> Vec<Row<'a>> {
        let faces = &mut self.processes;
        let denied = denied_pods(snapshot, naming);
        let rows = snapshot.processes.iter().map(|row| {
            let stamp = ProcessStamp {
                task: row.task,
                comm: row.comm,
                kind: row.kind,
                owner: row.owner.clone(),
            };
            let pod = row.owner.as_ref().and_then(|owner| owner.pod.as_ref());
            Row {
                face: faces.face(stamp, || process(row, naming)),
                ledger: Cow::Borrowed(&row.ledger),
                began: row.began,
                ended: row.ended,
                key: Key::Process(row.task),
                denied: pod.is_some_and(|pod| denied.contains(&pod)),
                outside: false,
            }
        });
        let other = Row {
            face: Arc::new(naming.denied(Level::Process)),
            ledger: Cow::Borrowed(&snapshot.other_processes),
            began: MonotonicNanos::ZERO,
            ended: false,
            key: Key::OtherProcesses,
            denied: false,
            outside: false,
        };
        let rows = rows.chain([other]).collect();
        faces.turn();
        rows
    }
}

/// Rows that can be shown under the name that they will keep.
fn named<K>(rows: &[GroupRow<K>]) -> impl Iterator<Item = &GroupRow<K>> {
    rows.iter().filter(|row| !row.names.awaited)
}

fn group<'a, K>(row: &'a GroupRow<K>, face: Arc<Face>, key: Key<'a>, naming: &Naming) -> Row<'a> {
    let pod = row.names.pod.as_ref();
    Row {
        face,
        ledger: Cow::Borrowed(&row.ledger),
        began: row.began,
        ended: row.ended,
        key,
        denied: pod.is_some_and(|pod| naming.namespaces.denies(&pod.namespace)),
        outside: matches!(key, Key::Container(ContainerKey::System | ContainerKey::Kernel)),
    }
}

/// Pods in namespaces that have no rows of their own.
fn denied_pods<'a>(snapshot: &'a Snapshot, naming: &Naming) -> HashSet<&'a PodUid> {
    let denied = |names: &Names| {
        let pod = names.pod.as_ref();
        pod.is_some_and(|pod| naming.namespaces.denies(&pod.namespace))
    };
    if naming.namespaces.is_everything() {
        return HashSet::new();
    }
    let pods = snapshot.pods.iter().filter(|row| denied(&row.names));
    pods.map(|row| &row.key).collect()
}

/// A pod's name and namespace; empty where it has none that is known.
fn pod_names(pod: Option<&PodFacts>) -> (&str, &str) {
    pod.map_or(("", ""), |pod| (pod.name.as_str(), pod.namespace.as_str()))
}

fn container(row: &GroupRow<ContainerKey>, naming: &Naming) -> Face {
    let name = row
        .names
        .container
        .as_ref()
        .map_or("", |facts| facts.name.as_str());
    let owner = row.owner.as_ref();
    let pod = owner
        .and_then(|owner| owner.pod.as_ref())
        .map_or("", |pod| pod.as_str());
    let runtime = owner.map_or("", |owner| owner.runtime);
    let facts = row.names.pod.as_deref();
    // Kepler gave two rows the same text as id, name and pod name.
    match &row.key {
        ContainerKey::Container(id) => {
            let (pod_name, namespace) = pod_names(facts);
            naming.container(id.as_str(), name, (pod_name, namespace, pod), facts, runtime)
        }
        ContainerKey::System => naming.container(SYSTEM, SYSTEM, (SYSTEM, "system", ""), None, ""),
        ContainerKey::Kernel => naming.container(KERNEL, KERNEL, (KERNEL, "kernel", ""), None, ""),
    }
}

fn process(row: &ProcessRow, naming: &Naming) -> Face {
    let owner = row.owner.as_ref();
    let container = owner
        .and_then(|owner| owner.container.as_ref())
        .map(|id| id.as_str());
    let vm = owner.and_then(|owner| owner.vm.as_ref()).map(|id| id.as_str());
    // The container row that holds the process.
    let of_row = match (container, row.kind) {
        (_, TaskKind::Kernel) => KERNEL,
        (Some(container), TaskKind::User) => container,
        (None, TaskKind::User) => SYSTEM,
    };
    let container = container.filter(|_| row.kind == TaskKind::User);
    let kind = match (container, vm) {
        (Some(_), _) => "container",
        (None, Some(_)) => "vm",
        (None, None) => "regular",
    };
    let pid = row.task.tgid.to_string();
    naming.process(
        &pid,
        &row.comm.to_text(),
        of_row,
        container.unwrap_or(""),
        vm.unwrap_or(""),
        kind,
    )
}
