// SPDX-License-Identifier: Apache-2.0
//! Entries without names: every word that a person or a company chose becomes a hash, the same word the same hash within
//! one recording. Owns the list of what is a name.
//!
//! The key of the hash is the caller's and new for each recording, so nobody can find a name by hashing a list of guesses.
//! Kept: pids, cgroup numbers, names of kernel threads that every kernel has, kinds of runtime and hypervisor, QoS classes,
//! Kubernetes' own kinds of owner, kinds of unit.

use super::entry::{Beginning, Entry};
use crate::model::facts::SourceFacts;
use crate::model::{
    Awaited, CgroupOwner, Comm, ContainerFacts, ContainerId, Energy, Identity, NodeFacts, PassedOver, Place,
    PodFacts, PodUid, ProbeState, Report, SourceError, TaskKind, Tenant, Usage, VmFacts, VmId, Zone,
};
use std::hash::BuildHasher;
use std::sync::Arc;

/// How the names begin of kernel threads that are the kernel's own. Others carry names: of a server (`10.0.0.5-manager` of
/// NFS), of a volume (`drbd_r_...`), of a disk.
const OF_THE_KERNEL: [&str; 12] = [
    "kworker/",
    "ksoftirqd/",
    "migration/",
    "cpuhp/",
    "rcu",
    "kswapd",
    "kcompactd",
    "irq/",
    "idle_inject/",
    "khugepaged",
    "kthreadd",
    "watchdog",
];

/// Kinds of owner that are Kubernetes' own. Those of a company's resources are its own words.
const OF_KUBERNETES: [&str; 8] = [
    "Deployment",
    "ReplicaSet",
    "StatefulSet",
    "DaemonSet",
    "Job",
    "CronJob",
    "ReplicationController",
    "Node",
];

/// Takes names out of entries.
#[derive(Debug)]
pub struct Mask<S> {
    hasher: S,
    /// The newest identity and what became of it: most reports repeat the one before.
    identity: Option<(Arc<Identity>, Arc<Identity>)>,
}

impl<S: BuildHasher> Mask<S> {
    /// A mask with this key.
    #[must_use]
    pub const fn new(hasher: S) -> Self {
        Self {
            hasher,
            identity: None,
        }
    }

    /// The same entry without names.
    #[must_use]
    pub fn entry(&mut self, entry: Entry) -> Entry {
        match entry {
            Entry::Begin(beginning) => Entry::Begin(Arc::new(self.beginning(&beginning))),
            Entry::Usage(report) => Entry::Usage(map(report, |usage| Arc::new(self.usage(&usage)))),
            Entry::Identity(report) => Entry::Identity(map(report, |identity| self.identity(identity))),
            Entry::Energy { source, report } => Entry::Energy {
                source,
                report: map(report, |energy| self.energy(energy)),
            },
            Entry::Describe { source, detail: _ } => Entry::Describe {
                source,
                detail: Arc::from(""),
            },
            entry @ (Entry::Expect(_)
            | Entry::ExpectSource(_)
            | Entry::Tallies(_)
            | Entry::Slept { .. }
            | Entry::Open { .. }
            | Entry::Close { .. }
            | Entry::Gap { .. }
            | Entry::End) => entry,
        }
    }

    /// A word that tells nothing; nothing for nothing.
    fn word(&self, word: &str) -> String {
        match word {
            "" => String::new(),
            word => format!("{:016x}", self.hasher.hash_one(word)),
        }
    }

    /// The same with what kind of unit it is.
    fn unit(&self, name: &str) -> String {
        let kind = name.rsplit_once('.').map_or("", |(_, kind)| kind);
        match kind {
            "service" | "scope" | "slice" | "socket" | "mount" => format!("{}.{kind}", self.word(name)),
            _ => self.word(name),
        }
    }

    fn beginning(&self, beginning: &Beginning) -> Beginning {
        let Beginning {
            program,
            tick,
            anonymous: _,
            settings,
            state,
            facts,
        } = beginning;
        Beginning {
            program: program.clone(),
            tick: *tick,
            anonymous: true,
            settings: settings.clone(),
            state: state.clone(),
            facts: Self::facts(facts),
        }
    }

    /// Reasons and details are words for people: they name paths, addresses and hosts.
    fn facts(facts: &NodeFacts) -> NodeFacts {
        let mut facts = facts.clone();
        let passed = facts.selections.iter_mut().flat_map(|row| &mut row.passed_over);
        passed.for_each(|PassedOver { reason, .. }| reason.clear());
        facts
            .probes
            .iter_mut()
            .for_each(|ProbeState { reason, .. }| reason.clear());
        facts
            .sources
            .iter_mut()
            .for_each(|SourceFacts { detail, .. }| detail.clear());
        facts.accounting.reason.clear();
        facts
    }

    fn usage(&self, usage: &Usage) -> Usage {
        let mut usage = usage.clone();
        for row in &mut usage.tasks {
            let name = row.comm.to_text();
            let masked = match row.kind {
                TaskKind::Kernel => self.kernel_thread(&name),
                TaskKind::User => self.word(&name),
            };
            row.comm = Comm::from_bytes(masked.as_bytes());
        }
        usage
    }

    /// Up to the sign after which the name of a work queue or of a device may stand: `kworker/0:1` of `kworker/0:1-xfs/sda`.
    fn kernel_thread(&self, name: &str) -> String {
        match OF_THE_KERNEL.iter().any(|known| name.starts_with(known)) {
            true => name.split(['-', '+']).next().unwrap_or_default().to_owned(),
            false => self.word(name),
        }
    }

    fn kind(&self, kind: &str) -> String {
        match OF_KUBERNETES.contains(&kind) {
            true => kind.to_owned(),
            false => self.word(kind),
        }
    }

    fn energy(&self, energy: Energy) -> Energy {
        let Energy { mut zones, errors } = energy;
        zones.iter_mut().for_each(|reading| self.zone(&mut reading.zone));
        let errors = errors.into_iter().map(|mut error: SourceError| {
            if let Some(zone) = &mut error.zone {
                self.zone(zone);
            }
            error.latest = Arc::from("");
            error
        });
        Energy {
            zones,
            errors: errors.collect(),
        }
    }

    fn zone(&self, zone: &mut Zone) {
        if let Place::Named(name) = &zone.place {
            zone.place = Place::Named(Arc::from(self.word(name)));
        }
    }

    fn identity(&mut self, identity: Arc<Identity>) -> Arc<Identity> {
        match &self.identity {
            Some((before, masked)) if Arc::ptr_eq(before, &identity) => Arc::clone(masked),
            _ => {
                let masked = Arc::new(self.masked(&identity));
                self.identity = Some((identity, Arc::clone(&masked)));
                masked
            }
        }
    }

    fn masked(&self, identity: &Identity) -> Identity {
        let Identity {
            cgroups,
            tasks,
            containers,
            pods,
            vms,
            reserved,
            awaited,
            probes,
        } = identity;
        let mut probes = probes.clone();
        probes.iter_mut().for_each(|probe| probe.reason.clear());
        Identity {
            cgroups: cgroups
                .iter()
                .map(|(id, owner)| (*id, self.owner(owner)))
                .collect(),
            tasks: tasks.iter().map(|(id, owner)| (*id, self.owner(owner))).collect(),
            containers: containers
                .iter()
                .map(|(id, facts)| (self.container(id), self.container_facts(facts)))
                .collect(),
            pods: pods
                .iter()
                .map(|(uid, facts)| (self.pod(uid), self.pod_facts(facts)))
                .collect(),
            vms: vms
                .iter()
                .map(|(id, facts)| (self.vm(id), self.vm_facts(facts)))
                .collect(),
            reserved: reserved
                .iter()
                .map(|(who, what)| (self.tenant(who), *what))
                .collect(),
            awaited: Awaited {
                containers: awaited.containers.iter().map(|id| self.container(id)).collect(),
                pods: awaited.pods.iter().map(|uid| self.pod(uid)).collect(),
            },
            probes,
        }
    }

    fn container(&self, id: &ContainerId) -> ContainerId {
        ContainerId::new(&self.word(id.as_str()))
    }

    fn pod(&self, uid: &PodUid) -> PodUid {
        PodUid::new(&self.word(uid.as_str()))
    }

    fn vm(&self, id: &VmId) -> VmId {
        VmId::new(&self.word(id.as_str()))
    }

    fn tenant(&self, tenant: &Tenant) -> Tenant {
        match tenant {
            Tenant::Container(id) => Tenant::Container(self.container(id)),
            Tenant::Vm(id) => Tenant::Vm(self.vm(id)),
        }
    }

    fn owner(&self, owner: &CgroupOwner) -> Arc<CgroupOwner> {
        let CgroupOwner {
            path,
            container,
            runtime,
            nested,
            pod,
            vm,
            unit,
            slice,
        } = owner;
        Arc::new(CgroupOwner {
            path: format!("/{}", self.word(path)),
            container: container.as_ref().map(|id| self.container(id)),
            runtime,
            nested: nested.iter().map(|id| self.container(id)).collect(),
            pod: pod.as_ref().map(|uid| self.pod(uid)),
            vm: vm.as_ref().map(|id| self.vm(id)),
            unit: unit.as_ref().map(|unit| self.unit(unit)),
            slice: slice.as_ref().map(|slice| self.unit(slice)),
        })
    }

    fn container_facts(&self, facts: &ContainerFacts) -> Arc<ContainerFacts> {
        let ContainerFacts { name, image } = facts;
        Arc::new(ContainerFacts {
            name: self.word(name),
            image: image.as_ref().map(|image| self.word(image)),
        })
    }

    fn pod_facts(&self, facts: &PodFacts) -> Arc<PodFacts> {
        let PodFacts {
            name,
            namespace,
            made_by,
            qos,
            labels,
        } = facts;
        Arc::new(PodFacts {
            name: self.word(name),
            namespace: self.word(namespace),
            made_by: made_by
                .as_ref()
                .map(|(kind, name)| (self.kind(kind), self.word(name))),
            qos: qos.clone(),
            labels: labels
                .iter()
                .map(|(name, value)| (self.word(name), self.word(value)))
                .collect(),
        })
    }

    fn vm_facts(&self, facts: &VmFacts) -> Arc<VmFacts> {
        let VmFacts { name, hypervisor } = facts;
        Arc::new(VmFacts {
            name: self.word(name),
            hypervisor,
        })
    }
}

/// The same report with another body.
fn map<T>(report: Report<T>, change: impl FnOnce(T) -> T) -> Report<T> {
    Report {
        body: change(report.body),
        ..report
    }
}
