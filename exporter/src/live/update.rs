// SPDX-License-Identifier: Apache-2.0
//! An update: everything that the page shows of the node now, and of the workloads of one level.
//!
//! It adds up what a snapshot says and divides by time; docs/page.md says what each field means.

use super::view::{COMPONENTS, Slots, level, millis, slots};
use crate::config::Level;
use crate::history::{Energy, History, Part, Rate, Row, Slot, WORKLOADS, rows};
use crate::json::{Facts, SourceView, Windows, ZoneView, source, zone};
use attribution::model::snapshot::ZoneAccount;
use attribution::model::{Component, Microjoules, MonotonicNanos, Snapshot};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

/// Rows in an update: more than anybody reads, at some 250 bytes each. All others are one sum.
const MOST_ROWS: usize = 500;

/// Slots in an update, so that a viewer who missed some, or whose meter was late, has them right without asking.
const TAIL: u64 = 20;

/// Age at which a component's newest power is no longer its power now: longer than any meter takes.
const NOW: Duration = Duration::from_secs(60);

/// How many look, and what they missed.
#[derive(Clone, Copy, Serialize)]
pub(super) struct Traffic {
    pub(super) viewers: usize,
    pub(super) most_viewers: usize,
    pub(super) refused: u64,
    pub(super) skipped: u64,
}

#[derive(Serialize)]
struct UpdateView<'a> {
    schema: u8,
    slot: u64,
    now_ms: u64,
    began_ms: Option<u64>,
    node: NodeView,
    components: Vec<ComponentView>,
    slots: Slots,
    level: &'static str,
    rows_by_level: BTreeMap<&'static str, usize>,
    rows: Vec<RowView>,
    others: OthersView,
    zones: Vec<ZoneView<'a>>,
    sources: Vec<SourceView<'a>>,
    facts: Facts<'a>,
    windows: Windows<'a>,
    traffic: Traffic,
}

/// An update as one line of JSON.
pub(super) fn json(
    snapshot: &Snapshot,
    history: &History,
    of: Level,
    now: MonotonicNanos,
    traffic: Traffic,
) -> String {
    let newest = history.newest();
    let components: Vec<_> = COMPONENTS
        .into_iter()
        .filter_map(|one| component(snapshot, history, one))
        .collect();
    let (rows, others) = table(snapshot, history, of);
    let view = UpdateView {
        schema: 1,
        slot: newest,
        now_ms: millis(now),
        began_ms: history.began().map(millis),
        node: node(snapshot, &components),
        components,
        slots: slots(history, newest.saturating_sub(TAIL - 1)),
        level: level(of),
        rows_by_level: WORKLOADS
            .into_iter()
            .map(|one| (level(one), count(snapshot, one)))
            .collect(),
        rows,
        others,
        zones: snapshot.zones.iter().map(zone).collect(),
        sources: snapshot.sources.iter().map(source).collect(),
        facts: Facts::of(&snapshot.facts),
        windows: Windows::of(&snapshot.windows),
        traffic,
    };
    // The same types are written for /api/v1/snapshot, where nothing is known to fail either.
    serde_json::to_string(&view).unwrap_or_else(|error| {
        tracing::error!(%error, "update");
        "{}".to_owned()
    })
}

fn count(snapshot: &Snapshot, of: Level) -> usize {
    match of {
        Level::Pod => snapshot.pods.len(),
        Level::Container => snapshot.containers.len(),
        Level::Vm => snapshot.vms.len(),
        Level::Unit => snapshot.units.len(),
        Level::Process => snapshot.processes.len(),
        Level::Node => 1,
    }
}

/// The machine, without what would count twice.
#[derive(Default, Serialize)]
struct NodeView {
    dynamic_uw: Option<u64>,
    idle_uw: Option<u64>,
    error_permille: Option<u64>,
    estimated_permille: u64,
    dynamic_uj: u64,
    idle_uj: u64,
    unattributed_uj: u64,
    unreserved_idle_uj: u64,
}

fn node(snapshot: &Snapshot, components: &[ComponentView]) -> NodeView {
    let mut view = NodeView::default();
    let counted = |zone: &&ZoneAccount| zone.zone.component.counts_into_total();
    for zone in snapshot.zones.iter().filter(counted) {
        let add = |sum: &mut u64, energy: Microjoules| *sum = sum.saturating_add(energy.as_micro());
        add(&mut view.dynamic_uj, zone.dynamic);
        add(&mut view.idle_uj, zone.idle);
        add(&mut view.unattributed_uj, zone.unattributed);
        add(&mut view.unreserved_idle_uj, zone.unreserved_idle);
    }
    let (mut estimated, mut doubt) = (0_u64, 0_u64);
    for part in components.iter().filter(|one| one.in_total) {
        let Some(power) = &part.power else {
            continue;
        };
        let both = power.dynamic_uw.saturating_add(power.idle_uw);
        view.dynamic_uw = Some(view.dynamic_uw.unwrap_or(0).saturating_add(power.dynamic_uw));
        view.idle_uw = Some(view.idle_uw.unwrap_or(0).saturating_add(power.idle_uw));
        if let Some(error) = power.error_permille {
            estimated = estimated.saturating_add(both);
            doubt = doubt.saturating_add(both.saturating_mul(u64::from(error)) / 1_000);
        }
    }
    let all = view
        .dynamic_uw
        .unwrap_or(0)
        .saturating_add(view.idle_uw.unwrap_or(0));
    view.estimated_permille = permille(estimated, all);
    view.error_permille = (estimated > 0).then(|| permille(doubt, all));
    view
}

fn permille(part: u64, whole: u64) -> u64 {
    let part = u128::from(part).saturating_mul(1_000);
    let share = part.checked_div(u128::from(whole)).unwrap_or(0);
    u64::try_from(share).unwrap_or(u64::MAX)
}

#[derive(Serialize)]
struct ComponentView {
    component: &'static str,
    in_total: bool,
    power: Option<PowerView>,
    dynamic_uj: u64,
    idle_uj: u64,
}

/// A component's newest power that is wholly known.
#[derive(Serialize)]
struct PowerView {
    dynamic_uw: u64,
    idle_uw: u64,
    error_permille: Option<u32>,
    ended_ms: u64,
}

fn component(snapshot: &Snapshot, history: &History, of: Component) -> Option<ComponentView> {
    let zones = || {
        snapshot
            .zones
            .iter()
            .filter(|account| account.zone.component == of)
    };
    zones().next()?;
    let power = |(slot, part): (&Slot, Part)| PowerView {
        dynamic_uw: part.dynamic.mean_power(slot.length()).as_micro(),
        idle_uw: part.idle.mean_power(slot.length()).as_micro(),
        error_permille: part.error.map(|error| error.0),
        ended_ms: millis(slot.ended),
    };
    Some(ComponentView {
        component: of.name(),
        in_total: of.counts_into_total(),
        power: history
            .newest_known(of, NOW)
            .filter(|_| zones().any(|account| account.up))
            .map(power),
        dynamic_uj: zones()
            .map(|account| account.dynamic)
            .sum::<Microjoules>()
            .as_micro(),
        idle_uj: zones()
            .map(|account| account.idle)
            .sum::<Microjoules>()
            .as_micro(),
    })
}

#[derive(Serialize)]
struct RowView {
    id: String,
    name: String,
    group: String,
    detail: String,
    ended: bool,
    dynamic_uw: Option<u64>,
    idle_uw: Option<u64>,
    dynamic_uj: u64,
    idle_uj: u64,
    estimated_permille: u64,
    error_permille: u64,
    history: bool,
}

#[derive(Default, Serialize)]
struct OthersView {
    rows: usize,
    dynamic_uw: u64,
    idle_uw: u64,
    dynamic_uj: u64,
    idle_uj: u64,
}

fn table(snapshot: &Snapshot, history: &History, of: Level) -> (Vec<RowView>, OthersView) {
    let mut all: Vec<(Row<'_>, Energy, Option<Rate>)> = rows(snapshot, of)
        .into_iter()
        .map(|row| {
            let energy = row.energy(&snapshot.zones);
            (row, energy, history.rate(&row, energy))
        })
        .collect();
    all.sort_by_key(|(_, energy, rate)| {
        let power = rate.map(|rate| rate.dynamic + rate.idle);
        Reverse((power.unwrap_or_default(), energy.dynamic + energy.idle))
    });
    let mut others = OthersView::default();
    for (_, energy, rate) in all.iter().skip(MOST_ROWS) {
        let rate = rate.unwrap_or_default();
        others.rows = others.rows.saturating_add(1);
        others.dynamic_uw = others.dynamic_uw.saturating_add(rate.dynamic.as_micro());
        others.idle_uw = others.idle_uw.saturating_add(rate.idle.as_micro());
        others.dynamic_uj = others.dynamic_uj.saturating_add(energy.dynamic.as_micro());
        others.idle_uj = others.idle_uj.saturating_add(energy.idle.as_micro());
    }
    all.truncate(MOST_ROWS);
    let largest = history.largest(of);
    let view = |(row, energy, rate): &(Row<'_>, Energy, Option<Rate>)| {
        let id = row.id();
        let both = (energy.dynamic + energy.idle).as_micro();
        RowView {
            history: largest.is_some_and(|largest| largest.find(&id).is_some()),
            id,
            name: row.name(),
            group: row.group(),
            detail: row.detail(),
            ended: row.ended(),
            dynamic_uw: rate.map(|rate| rate.dynamic.as_micro()),
            idle_uw: rate.map(|rate| rate.idle.as_micro()),
            dynamic_uj: energy.dynamic.as_micro(),
            idle_uj: energy.idle.as_micro(),
            estimated_permille: permille(energy.estimated.as_micro(), both),
            error_permille: permille(energy.doubt.as_micro(), both),
        }
    };
    (all.iter().map(view).collect(), others)
}
