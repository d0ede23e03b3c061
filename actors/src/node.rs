// SPDX-License-Identifier: Apache-2.0
//! This node: looks for what the configuration names, decides which of it is used, and remembers why.

use crate::clock;
use crate::settings::{ESTIMATOR, Sources};
use crate::shells::Resolve;
use attribution::model::facts::SourceFacts;
use attribution::model::{
    Accounting, Component, Identity, NodeFacts, PassedOver, ProbeState, Selection, Usage,
};
use power_sources::estimator::{Estimator, EstimatorConfig, MachineDescription};
use power_sources::{Ask, Entry, Opened, PowerSource, SourceOpenError};
use probe_workloads::{Machine, Resolver};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Sources that were taken, and how that came.
#[derive(Default)]
pub struct Chosen {
    /// Open meters.
    pub meters: Vec<Box<dyn PowerSource>>,
    /// Components that are left to the estimator.
    pub estimated: Vec<Component>,
    /// One row per config key.
    pub selections: Vec<Selection>,
}

/// Components behind each key of `[sources]`.
const KEYS: [(&str, &[Component]); 4] = [
    ("cpu", &[Component::Package, Component::Core, Component::Uncore]),
    ("dram", &[Component::Dram]),
    ("platform", &[Component::Platform]),
    ("gpu", &[Component::Gpu]),
];

/// Tries the sources of every key in their order. `section` gives the section of a source by its name.
pub fn choose(sources: &Sources, table: &[Entry], section: impl Fn(&str) -> serde_json::Value) -> Chosen {
    let lists = [&sources.cpu, &sources.dram, &sources.platform, &sources.gpu];
    let mut chosen = Chosen::default();
    // A source that serves several keys is opened once, for all of them together.
    let mut wanted: BTreeMap<&'static str, Vec<Component>> = BTreeMap::new();
    for ((key, components), names) in KEYS.into_iter().zip(lists) {
        let mut selection = Selection {
            key,
            chosen: Vec::new(),
            passed_over: Vec::new(),
        };
        for name in &names.0 {
            if !selection.chosen.is_empty() && key != "gpu" {
                let first = selection.chosen.join(", ");
                pass(&mut selection, name, format!("not needed: {first} comes first"));
                continue;
            }
            match try_one(name, components, table, &section) {
                Ok(found) => {
                    selection.chosen.push(name.clone());
                    match found {
                        Some((entry, found)) => wanted.entry(entry).or_default().extend(found),
                        None => chosen
                            .estimated
                            .extend(components.iter().filter(|of| estimates(**of))),
                    }
                }
                Err(reason) => pass(&mut selection, name, reason),
            }
        }
        chosen.selections.push(selection);
    }
    for entry in table {
        let Some(components) = wanted.get(entry.name) else {
            continue;
        };
        match open(entry, &section(entry.name), components) {
            Ok(Opened::Source(meter)) => chosen.meters.push(meter),
            Ok(Opened::Absent { reason }) => {
                tracing::warn!(source = entry.name, reason, "went away while starting")
            }
            Err(error) => tracing::error!(source = entry.name, %error, "cannot be opened any more"),
        }
    }
    chosen
}

fn open(entry: &Entry, section: &serde_json::Value, wanted: &[Component]) -> Result<Opened, SourceOpenError> {
    (entry.open)(&Ask {
        section,
        wanted,
        clock: clock::monotonic,
    })
}

fn pass(selection: &mut Selection, name: &str, reason: String) {
    selection.passed_over.push(PassedOver {
        name: name.to_owned(),
        reason,
    });
}

fn estimates(component: Component) -> bool {
    power_sources::estimator::COMPONENTS.contains(&component)
}

/// What one source has for `components`: its table name and components, or `None` for the estimator.
fn try_one(
    name: &str,
    components: &[Component],
    table: &[Entry],
    section: &impl Fn(&str) -> serde_json::Value,
) -> Result<Option<(&'static str, Vec<Component>)>, String> {
    if name == ESTIMATOR {
        let any = components.iter().any(|component| estimates(*component));
        return if any {
            Ok(None)
        } else {
            Err("the built-in model has nothing for this component".to_owned())
        };
    }
    let entry = table
        .iter()
        .find(|entry| entry.name == name)
        .ok_or("no source of this name is built in")?;
    if !components
        .iter()
        .any(|component| entry.components.contains(component))
    {
        return Err("this source never has such a component".to_owned());
    }
    match open(entry, &section(name), components) {
        Ok(Opened::Source(meter)) => Ok(Some((entry.name, meter.components()))),
        Ok(Opened::Absent { reason }) => Err(reason),
        Err(error) => Err(format!("{:#}", anyhow::Error::from(error))),
    }
}

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

/// The resolver of this node's cgroups.
pub struct CgroupResolver(pub Resolver);

impl Resolve for CgroupResolver {
    fn resolve(&mut self, usage: &Usage) -> Arc<Identity> {
        self.0.resolve(usage, clock::since_boot())
    }
}

/// Facts for every snapshot.
pub fn facts(
    chosen: &Chosen,
    estimator: Option<&Estimator>,
    probes: Vec<ProbeState>,
    accounting: Accounting,
) -> NodeFacts {
    let mut sources: Vec<SourceFacts> = chosen
        .meters
        .iter()
        .map(|meter| SourceFacts {
            source: meter.id(),
            components: meter.components(),
            detail: meter.detail(),
        })
        .collect();
    sources.extend(estimator.map(|model| SourceFacts {
        source: power_sources::estimator::SOURCE,
        components: model.components(),
        detail: model.detail(),
    }));
    NodeFacts {
        selections: chosen.selections.clone(),
        probes,
        accounting,
        sources,
    }
}

/// The node's own description, from `/proc` and `/sys`.
pub fn machine() -> Machine {
    Machine::read(Path::new("/proc"), Path::new("/sys"))
}
