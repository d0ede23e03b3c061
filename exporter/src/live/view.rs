// SPDX-License-Identifier: Apache-2.0
//! How the history looks in JSON; docs/page.md says what each field means.
//!
//! Energy is whole microjoules (`*_uj`), power whole microwatts (`*_uw`), moments whole milliseconds on `CLOCK_MONOTONIC`
//! (`*_ms`), with `now_ms` beside them, so that a reader needs no clock of ours to place them on its own.

use crate::config::{Amount, Level};
use crate::history::{History, KEPT, Part, SPAN, Series};
use crate::page::RenderSettings;
use attribution::model::{Component, Microjoules, MonotonicNanos};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

/// Components, those that count into the node's total first, from the largest as a rule to the smallest.
pub(super) const COMPONENTS: [Component; 7] = [
    Component::Package,
    Component::Dram,
    Component::Gpu,
    Component::Other,
    Component::Platform,
    Component::Core,
    Component::Uncore,
];

/// A level as queries name it.
pub(super) const fn level(level: Level) -> &'static str {
    match level {
        Level::Node => "node",
        Level::Container => "container",
        Level::Pod => "pod",
        Level::Vm => "vm",
        Level::Unit => "unit",
        Level::Process => "process",
    }
}

pub(super) const fn millis(moment: MonotonicNanos) -> u64 {
    moment.as_nanos() / 1_000_000
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// What the daemon is, and what its configuration says about money and carbon.
#[derive(Serialize)]
pub(super) struct About<'a> {
    version: &'static str,
    revision: &'static str,
    tick_ms: u64,
    slot_ms: u64,
    span_ms: u64,
    cpu_architecture: &'a str,
    price_per_kwh: Option<Amount>,
    currency: &'a str,
    grams_co2e_per_kwh: Option<Amount>,
}

pub(super) fn about(settings: &RenderSettings, tick: Duration, slot: Duration) -> About<'_> {
    About {
        version: settings.build.version,
        revision: settings.build.revision,
        tick_ms: micros(tick) / 1_000,
        slot_ms: micros(slot) / 1_000,
        span_ms: micros(SPAN) / 1_000,
        cpu_architecture: &settings.cpu_architecture,
        price_per_kwh: settings.page.price_per_kwh,
        currency: &settings.page.currency,
        grams_co2e_per_kwh: settings.page.grams_co2e_per_kwh,
    }
}

/// Columns: one entry for each slot.
#[derive(Default, Serialize)]
pub(super) struct Slots {
    number: Vec<u64>,
    ended_ms: Vec<u64>,
    span_us: Vec<u64>,
    components: BTreeMap<&'static str, Columns>,
}

#[derive(Default, Serialize)]
struct Columns {
    dynamic_uj: Vec<Option<u64>>,
    idle_uj: Vec<Option<u64>>,
    error_permille: Vec<Option<u32>>,
}

pub(super) fn slots(history: &History, from: u64) -> Slots {
    let mut columns = Slots::default();
    let slots = history.slots(from);
    for slot in slots.clone() {
        columns.number.push(slot.number);
        columns.ended_ms.push(millis(slot.ended));
        columns.span_us.push(micros(slot.length()));
    }
    for component in COMPONENTS {
        let parts: Vec<Option<Part>> = slots.clone().map(|slot| slot.part(component)).collect();
        if parts.iter().all(Option::is_none) {
            continue;
        }
        let column = columns.components.entry(component.name()).or_default();
        for part in parts {
            column.dynamic_uj.push(part.map(|part| part.dynamic.as_micro()));
            column.idle_uj.push(part.map(|part| part.idle.as_micro()));
            column
                .error_permille
                .push(part.and_then(|part| part.error).map(|error| error.0));
        }
    }
    columns
}

#[derive(Serialize)]
pub(super) struct NodeHistory {
    schema: u8,
    now_ms: u64,
    began_ms: Option<u64>,
    slots: Slots,
}

pub(super) fn node_history(history: &History, now: MonotonicNanos) -> NodeHistory {
    NodeHistory {
        schema: 1,
        now_ms: millis(now),
        began_ms: history.began().map(millis),
        slots: slots(history, 0),
    }
}

#[derive(Serialize)]
pub(super) struct LevelHistory<'a> {
    schema: u8,
    now_ms: u64,
    level: &'static str,
    kept: usize,
    workloads: Vec<Remembered<'a>>,
}

#[derive(Serialize)]
struct Remembered<'a> {
    id: &'a str,
    name: &'a str,
    group: &'a str,
    detail: &'a str,
    ended: bool,
    dynamic_uj: u64,
    idle_uj: u64,
}

fn remembered<'a>(series: &'a Series, history: &History) -> Remembered<'a> {
    let cells = history.slots(0).filter_map(|slot| series.cell(slot.number));
    let (dynamic, idle) = cells.fold((Microjoules::ZERO, Microjoules::ZERO), |sum, cell| {
        (sum.0 + cell.dynamic, sum.1 + cell.idle)
    });
    Remembered {
        id: &series.id,
        name: &series.name,
        group: &series.group,
        detail: &series.detail,
        ended: series.ended,
        dynamic_uj: dynamic.as_micro(),
        idle_uj: idle.as_micro(),
    }
}

pub(super) fn level_history(history: &History, of: Level, now: MonotonicNanos) -> LevelHistory<'_> {
    let kept = history.largest(of).map_or(&[][..], |largest| largest.kept());
    let mut workloads: Vec<_> = kept.iter().map(|series| remembered(series, history)).collect();
    workloads.sort_by_key(|one| Reverse(one.dynamic_uj.saturating_add(one.idle_uj)));
    LevelHistory {
        schema: 1,
        now_ms: millis(now),
        level: level(of),
        kept: KEPT,
        workloads,
    }
}

#[derive(Serialize)]
pub(super) struct WorkloadHistory<'a> {
    schema: u8,
    now_ms: u64,
    level: &'static str,
    #[serde(flatten)]
    workload: Remembered<'a>,
    slots: WorkloadSlots,
}

#[derive(Default, Serialize)]
struct WorkloadSlots {
    number: Vec<u64>,
    ended_ms: Vec<u64>,
    span_us: Vec<u64>,
    dynamic_uj: Vec<u64>,
    idle_uj: Vec<u64>,
}

pub(super) fn workload_history<'a>(
    history: &'a History,
    of: Level,
    id: &str,
    now: MonotonicNanos,
) -> Option<WorkloadHistory<'a>> {
    let series = history.largest(of)?.find(id)?;
    let mut slots = WorkloadSlots::default();
    for slot in history.slots(series.first) {
        let Some(cell) = series.cell(slot.number) else {
            continue;
        };
        slots.number.push(slot.number);
        slots.ended_ms.push(millis(slot.ended));
        slots.span_us.push(micros(slot.length()));
        slots.dynamic_uj.push(cell.dynamic.as_micro());
        slots.idle_uj.push(cell.idle.as_micro());
    }
    Some(WorkloadHistory {
        schema: 1,
        now_ms: millis(now),
        level: level(of),
        workload: remembered(series, history),
        slots,
    })
}
