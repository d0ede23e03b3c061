// SPDX-License-Identifier: Apache-2.0
//! This node: what the machine is, who resolves its cgroups, the estimator for it, and the facts of the start-up.

use crate::choice::Chosen;
use crate::clock;
use crate::settings::State;
use crate::shells::Resolve;
use crate::state::{Plan, StateError};
use attribution::model::facts::SourceFacts;
use attribution::model::{Accounting, Component, Identity, NodeFacts, ProbeState, Tally, Usage};
use power_sources::estimator::{Estimator, EstimatorConfig, MachineDescription};
use probe_workloads::pods::{KubernetesConfig, PodsError};
use probe_workloads::{DiskNames, Machine, PodNames, Quotas, Resolver, Roots, RuntimesConfig, VmNames};
use std::path::Path;
use std::sync::Arc;

/// The estimator for what is left to it.
pub fn estimator(machine: &Machine, components: &[Component]) -> Option<Estimator> {
    let described = describe(machine);
    (!components.is_empty()).then(|| Estimator::new(&described, &EstimatorConfig::default(), components))
}

/// The machine in the estimator's words.
fn describe(machine: &Machine) -> MachineDescription {
    MachineDescription {
        threads: threads(machine),
        packages: machine
            .packages
            .iter()
            .map(|package| (package.package, package.threads))
            .collect(),
        memory_bytes: machine.memory_bytes.unwrap_or(0),
        // Where nothing tells, this is taken for a machine of its own.
        guest: machine.hypervisor.unwrap_or(false),
        vendor: machine.vendor.clone(),
        model_name: machine.model_name.clone(),
    }
}

fn threads(machine: &Machine) -> u32 {
    u32::try_from(machine.threads()).unwrap_or(u32::MAX)
}

/// Who finds out whose cgroups these are, with all who know names and reservations. Those of pods come after those of
/// runtimes: of a container in a pod its pod knows the name best. Quotas come last: they count where nobody else speaks.
///
/// # Errors
/// When names are asked for that cannot be had here.
pub fn resolver(
    roots: Roots,
    runtimes: &RuntimesConfig,
    kubernetes: &KubernetesConfig,
) -> Result<Resolver, PodsError> {
    let quotas = Quotas::new(roots.cgroup_mounts.clone());
    let virtual_machines = VmNames::new(Path::new("/proc"), Path::new("/run/libvirt"));
    let resolver = Resolver::new(roots)
        .with(Box::new(DiskNames::new(runtimes)))
        .with(Box::new(virtual_machines));
    let resolver = match PodNames::open(kubernetes, &host_name())? {
        Some(pods) => resolver.with(Box::new(pods)),
        None => resolver,
    };
    Ok(resolver.with(Box::new(quotas)))
}

/// What this node is called: by its cluster, or by itself.
pub fn name(kubernetes: &KubernetesConfig) -> String {
    match kubernetes.node_name.trim() {
        "" => host_name(),
        name => name.to_owned(),
    }
}

/// What this host calls itself.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The resolver of this node's cgroups.
pub struct CgroupResolver(pub Resolver);

impl Resolve for CgroupResolver {
    fn resolve(&mut self, usage: &Usage) -> Arc<Identity> {
        self.0.resolve(usage, clock::since_boot())
    }

    fn tallies(&self) -> Vec<Tally> {
        self.0.tallies()
    }
}

/// Facts for every snapshot.
pub fn facts(
    machine: &Machine,
    chosen: &Chosen,
    estimator: Option<&Estimator>,
    probes: Vec<ProbeState>,
    accounting: Accounting,
) -> NodeFacts {
    let mut sources: Vec<SourceFacts> = chosen
        .meters
        .iter()
        .map(|meter| SourceFacts {
            source: meter.source.id(),
            components: meter.source.components(),
            detail: meter.source.detail(),
        })
        .collect();
    sources.extend(estimator.map(|model| SourceFacts {
        source: power_sources::estimator::SOURCE,
        components: model.components(),
        detail: model.detail(),
    }));
    NodeFacts {
        memory: machine.memory_bytes,
        selections: chosen.selections.clone(),
        probes,
        accounting,
        sources,
    }
}

/// Where this node's state is kept; `None` where nothing is.
///
/// # Errors
/// When this machine cannot be told from others.
pub fn state(state: &State, machine: &Machine) -> Result<Option<Plan>, StateError> {
    Plan::new(&state.dir.0, &state.machine, Path::new("/sys"), machine)
}

/// The node's own description, from `/proc` and `/sys`.
pub fn machine() -> Machine {
    Machine::read(Path::new("/proc"), Path::new("/sys"))
}
