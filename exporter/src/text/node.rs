// SPDX-License-Identifier: Apache-2.0
//! The node level: zones as their meters count them, and what nobody was charged for.

use super::metric::Metric;
use super::names;
use super::today;
use super::writer::{Decimal, Family, Labels, Sheet, Tally};
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

/// `today` writes into the families that schema `kepler-0.11` calls the same, where both are on.
pub(super) fn write(sheet: &mut Sheet, snapshot: &Snapshot, today: Option<&today::Node<'_>>) {
    for component in Component::ALL {
        write_joules(sheet, snapshot, component, today);
    }
    write_total(sheet, snapshot);
    for component in Component::ALL {
        write_watts(sheet, snapshot, component, today);
    }
    let mut unattributed = Tally::default();
    let mut unreserved = Tally::default();
    for zone in &snapshot.zones {
        let labels = Labels::none().with("component", zone.zone.component.name());
        unattributed.add(labels.clone(), joules(zone.unattributed));
        unreserved.add(labels, joules(zone.unreserved_idle));
    }
    unattributed.write(sheet, &names::unattributed());
    unreserved.write(sheet, &names::unreserved_idle());
}

fn zones_of(snapshot: &Snapshot, component: Component) -> impl Iterator<Item = &ZoneAccount> {
    snapshot
        .zones
        .iter()
        .filter(move |zone| zone.zone.component == component)
}

fn write_joules(
    sheet: &mut Sheet,
    snapshot: &Snapshot,
    component: Component,
    today: Option<&today::Node<'_>>,
) {
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
    let metric = names::node_joules(component);
    let mut family = Family::new(sheet, &metric);
    tally.write_in(&mut family);
    if component == Component::Gpu
        && let Some(today) = today
    {
        today.gpu_joules().write_in(&mut family);
    }
}

fn write_total(sheet: &mut Sheet, snapshot: &Snapshot) {
    let mut tally = Tally::default();
    for zone in snapshot
        .zones
        .iter()
        .filter(|zone| zone.zone.component.counts_into_total())
    {
        tally.add(Labels::none().with("mode", "dynamic"), joules(zone.dynamic));
        tally.add(Labels::none().with("mode", "idle"), joules(zone.idle));
    }
    tally.write(sheet, &names::node_total());
}

fn write_watts(
    sheet: &mut Sheet,
    snapshot: &Snapshot,
    component: Component,
    today: Option<&today::Node<'_>>,
) {
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
    let metric = names::node_watts(component);
    let mut family = Family::new(sheet, &metric);
    tally.write_in(&mut family);
    if component == Component::Gpu
        && let Some(today) = today
    {
        today.gpu_watts().write_in(&mut family);
    }
}

pub(super) fn write_info(sheet: &mut Sheet, snapshot: &Snapshot, settings: &RenderSettings) {
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
    one(sheet, &names::node_info(), info);
    let build = &settings.build;
    let build = Labels::none()
        .with("version", build.version)
        .with("revision", build.revision)
        .with("branch", build.branch)
        .with("os", settings.os)
        .with("arch", settings.arch);
    one(sheet, &names::build_info(), build);
}

fn one(sheet: &mut Sheet, metric: &Metric, labels: Labels) {
    Family::new(sheet, metric).sample(&labels, Decimal::whole(1));
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
