// SPDX-License-Identifier: Apache-2.0
//! This node: what the machine is, who resolves its cgroups, the estimator for it, and the facts of the start-up.

use crate::choice::Chosen;
use crate::clock;
use crate::settings::State;
use crate::shells::Resolve;
use crate::state::{Plan, StateError};
use attribution::model::facts::SourceFacts;
use attribution::model::{
    Accounting, Component, Identity, Microwatts, NodeFacts, ProbeState, SourceId, Tally, Usage,
};
use power_sources::estimator::{
    Estimator, EstimatorConfig, MachineDescription, RefusedModels, Signature, Vendor,
};
use probe_workloads::pods::{KubernetesConfig, PodsError};
use probe_workloads::{
    CpuSignature, DiskNames, Machine, PodNames, Quotas, Resolver, Roots, RuntimesConfig, VmNames,
};
use std::path::Path;
use std::sync::Arc;

/// The estimator for what is left to it. `tdp` is what firmware says of a package.
///
/// # Errors
/// When a model's file is configured that cannot be used. Where nothing is left to the estimator, no file is opened.
pub fn estimator(
    machine: &Machine,
    tdp: Option<Microwatts>,
    config: &EstimatorConfig,
    components: &[Component],
) -> Result<Option<Estimator>, RefusedModels> {
    if components.is_empty() {
        return Ok(None);
    }
    let described = MachineDescription {
        tdp,
        ..describe(machine)
    };
    Estimator::open(&described, config, components).map(Some)
}

/// The machine in the estimator's words.
pub fn describe(machine: &Machine) -> MachineDescription {
    MachineDescription {
        threads: threads(machine),
        packages: machine
            .packages
            .iter()
            .map(|package| (package.package, package.threads))
            .collect(),
        cores: machine.cores(),
        memory_bytes: machine.memory_bytes.unwrap_or(0),
        // Where nothing tells, this is taken for a machine of its own.
        guest: machine.hypervisor.unwrap_or(false),
        vendor: machine.vendor.clone(),
        model_name: machine.model_name.clone(),
        signature: machine.signature.and_then(|signature| signed(signature, machine)),
        base_mhz: machine.base_mhz,
        tdp: None,
    }
}

/// The processor's numbers, where it is known whose they are.
fn signed(signature: CpuSignature, machine: &Machine) -> Option<Signature> {
    match signature {
        CpuSignature::Arm { implementer, part } => Some(Signature::Arm { implementer, part }),
        CpuSignature::X86 {
            family,
            model,
            stepping,
        } => Some(Signature::X86 {
            vendor: Vendor::of(machine.vendor.as_deref()?)?,
            family,
            model,
            stepping,
        }),
    }
}

/// The name of the processor's microarchitecture, such as `Zen 3`; `unknown` where it is.
pub fn microarchitecture(machine: &Machine) -> &'static str {
    describe(machine).microarchitecture().unwrap_or("unknown")
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
    let meters = chosen.meters.iter().map(|meter| &meter.source);
    let meters = meters.map(|meter| (meter.id(), meter.components(), meter.detail()));
    let sources = source_facts(meters, estimator);
    NodeFacts {
        memory: machine.memory_bytes,
        selections: chosen.selections.clone(),
        probes,
        accounting,
        sources,
    }
}

/// What is said of sources: of meters, and of the model after them.
pub fn source_facts(
    meters: impl Iterator<Item = (SourceId, Vec<Component>, String)>,
    estimator: Option<&Estimator>,
) -> Vec<SourceFacts> {
    let model = estimator.map(|model| (model.id(), model.components(), model.detail()));
    meters
        .chain(model)
        .map(|(source, components, detail)| SourceFacts {
            source,
            components,
            detail,
        })
        .collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn processor(vendor: &str, name: &str, signature: CpuSignature) -> Machine {
        Machine {
            vendor: Some(vendor.to_owned()),
            model_name: Some(name.to_owned()),
            signature: Some(signature),
            ..Machine::default()
        }
    }

    #[test]
    fn a_processor_whose_name_hides_its_model_is_named_by_its_numbers() {
        let x86 = |family, model, stepping| CpuSignature::X86 {
            family,
            model,
            stepping,
        };
        let arm = |implementer, part| CpuSignature::Arm { implementer, part };
        for (vendor, name, signature, microarchitecture_of_it) in [
            ("AuthenticAMD", "AMD EPYC Processor", x86(25, 1, 1), "Zen 3"),
            (
                "GenuineIntel",
                "Intel(R) Xeon(R) Processor",
                x86(6, 106, 6),
                "Ice Lake",
            ),
            (
                "ARM",
                "implementer 0x41 part 0xd0c",
                arm(0x41, 0xd0c),
                "Neoverse N1",
            ),
            ("GenuineIntel", "Common KVM processor", x86(15, 6, 1), "unknown"),
            ("RiscVCorp", "sifive", x86(6, 106, 6), "unknown"),
        ] {
            assert_eq!(
                microarchitecture(&processor(vendor, name, signature)),
                microarchitecture_of_it,
                "{name}"
            );
        }
        assert_eq!(microarchitecture(&Machine::default()), "unknown");
    }
}
