// SPDX-License-Identifier: Apache-2.0
//! The node level: zones as their meters count them, and what nobody was charged for.

use super::writer::{Decimal, Kind, Labels, Tally};
use crate::page::RenderSettings;
use attribution::model::snapshot::ZoneAccount;
use attribution::model::{Component, Microjoules, Snapshot};

/// Label value where a component has neither a meter nor a model.
const NO_SOURCE: &str = "none";

/// Components whose source speaks for `components_power_source`, the most telling first.
const CPU_SIDE: [Component; 4] = [
    Component::Package,
    Component::Core,
    Component::Uncore,
    Component::Dram,
];

pub(super) fn joules(energy: Microjoules) -> Decimal {
    Decimal::micro(energy.as_micro())
}

pub(super) fn write(out: &mut String, snapshot: &Snapshot) {
    for component in Component::ALL {
        write_joules(out, snapshot, component);
    }
    write_total(out, snapshot);
    for component in Component::ALL {
        write_watts(out, snapshot, component);
    }
    let mut unattributed = Tally::default();
    let mut unreserved = Tally::default();
    for zone in &snapshot.zones {
        let labels = Labels::none().with("component", zone.zone.component.name());
        unattributed.add(labels.clone(), joules(zone.unattributed));
        unreserved.add(labels, joules(zone.unreserved_idle));
    }
    unattributed.write(
        out,
        "kepler_node_unattributed_joules_total",
        Kind::Counter,
        "Dynamic energy that no workload was charged for.",
    );
    unreserved.write(
        out,
        "kepler_node_unreserved_idle_joules_total",
        Kind::Counter,
        "Idle energy that no workload was charged for.",
    );
}

fn zones_of(snapshot: &Snapshot, component: Component) -> impl Iterator<Item = &ZoneAccount> {
    snapshot
        .zones
        .iter()
        .filter(move |zone| zone.zone.component == component)
}

fn write_joules(out: &mut String, snapshot: &Snapshot, component: Component) {
    let mut tally = Tally::default();
    for zone in zones_of(snapshot, component) {
        for (mode, energy) in [("dynamic", zone.dynamic), ("idle", zone.idle)] {
            let labels = Labels::none()
                .with("package", &zone.zone.place.to_string())
                .with("mode", mode)
                .with("source", zone.source.0);
            tally.add(labels, joules(energy));
        }
    }
    let (name, component) = (component.name(), describe(component));
    tally.write(
        out,
        &format!("kepler_node_{name}_joules_total"),
        Kind::Counter,
        &format!("Energy of {component}, above the idle floor (dynamic) and of the floor (idle)."),
    );
}

fn write_total(out: &mut String, snapshot: &Snapshot) {
    let mut tally = Tally::default();
    for zone in snapshot
        .zones
        .iter()
        .filter(|zone| zone.zone.component.counts_into_total())
    {
        tally.add(Labels::none().with("mode", "dynamic"), joules(zone.dynamic));
        tally.add(Labels::none().with("mode", "idle"), joules(zone.idle));
    }
    tally.write(
        out,
        "kepler_node_joules_total",
        Kind::Counter,
        "Energy of packages, memory, accelerators and other parts together; nothing is counted twice.",
    );
}

fn write_watts(out: &mut String, snapshot: &Snapshot, component: Component) {
    let mut tally = Tally::default();
    // The last power of a zone that does not answer any more is not its power now.
    for zone in zones_of(snapshot, component).filter(|zone| zone.up) {
        if let Some(power) = zone.power {
            let labels = Labels::none()
                .with("package", &zone.zone.place.to_string())
                .with("source", zone.source.0);
            tally.add(labels, Decimal::micro(power.as_micro()));
        }
    }
    let (name, component) = (component.name(), describe(component));
    tally.write(
        out,
        &format!("kepler_node_{name}_watts"),
        Kind::Gauge,
        &format!("Mean power of {component} over the last window."),
    );
}

pub(super) fn write_info(out: &mut String, snapshot: &Snapshot, settings: &RenderSettings) {
    let components = CPU_SIDE
        .into_iter()
        .find_map(|component| source_of(snapshot, component));
    let info = Labels::none()
        .with("cpu_architecture", &settings.cpu_architecture)
        .with("components_power_source", components.unwrap_or(NO_SOURCE))
        .with(
            "platform_power_source",
            source_of(snapshot, Component::Platform).unwrap_or(NO_SOURCE),
        )
        .with("source", "os");
    one(
        out,
        "kepler_node_info",
        "What kind of machine this is and who meters it.",
        info,
    );
    let build = &settings.build;
    let build = Labels::none()
        .with("version", build.version)
        .with("revision", build.revision)
        .with("branch", build.branch)
        .with("os", settings.os)
        .with("arch", settings.arch);
    one(out, "kepler_exporter_build_info", "The running build.", build);
}

fn one(out: &mut String, name: &str, help: &str, labels: Labels) {
    let mut tally = Tally::default();
    tally.max(labels, Decimal::whole(1));
    tally.write(out, name, Kind::Gauge, help);
}

/// Who meters `component`: by its zones, or before the first reading by the choice made at start-up.
fn source_of(snapshot: &Snapshot, component: Component) -> Option<&'static str> {
    let chosen = || {
        snapshot
            .facts
            .sources
            .iter()
            .find(|source| source.components.contains(&component))
            .map(|source| source.source.0)
    };
    zones_of(snapshot, component)
        .map(|zone| zone.source.0)
        .next()
        .or_else(chosen)
}

/// A component in the words of a help text.
pub(super) const fn describe(component: Component) -> &'static str {
    match component {
        Component::Package => "CPU packages",
        Component::Core => "CPU cores (a part of package)",
        Component::Uncore => "CPU uncore (a part of package)",
        Component::Dram => "memory",
        Component::Gpu => "accelerators",
        Component::Other => "what the platform uses beside package, memory and accelerators",
        Component::Platform => "the whole machine",
    }
}
