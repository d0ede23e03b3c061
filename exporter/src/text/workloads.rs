// SPDX-License-Identifier: Apache-2.0
//! The levels of workloads in schema `kepler`: container, pod, virtual machine, unit and process, all written the same way from rows and columns.
//!
//! A row is a workload with its labels made once; a column is a component as one source meters it, and sums the zones
//! of both. Every row has a dynamic series in every column, also while it is 0: any workload may be charged for any
//! zone, and `rate()` needs the point before the first joule. An idle series begins with the first idle joule, since by
//! default most workloads never pay any. An event (a hardware counter, a softirq, a page-cache hit) has its family only
//! where the machine counts it, and then every row has a series: absent says that nobody counts, 0 that nothing
//! happened. Use of a GPU has a series from the first time that a workload used that GPU. Rows whose names are
//! on their way are left out until these are there: a workload that is shown under two names would be two. Rows with the same labels (a pid used again while its ended row is still kept, two names that differ only
//! beyond the cut) are added up.

use super::names;
use super::node::joules;
use super::today;
use super::writer::{Decimal, Family, Labels, Sheet};
use crate::config::Level;
use crate::fold::advance;
use crate::page::Epoch;
use crate::rows::Row;
use attribution::model::snapshot::Ledger;
use attribution::model::{Component, EventSet, Microjoules, MonotonicNanos, Snapshot, SourceId};
use foldhash::fast::FixedState;
use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::Hash;

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

/// A row as it is written: no two of a level have the same labels.
struct Line<'a> {
    labels: &'a Labels,
    ledger: &'a Ledger,
    since: Option<Decimal>,
}

/// Writes one level. `today` writes into the families that schema `kepler-0.11` calls the same, where both are on.
pub(super) fn write(
    sheet: &mut Sheet,
    level: Level,
    rows: &[Row<'_>],
    columns: &Columns,
    epoch: Option<Epoch>,
    today: Option<&today::Workloads<'_>>,
) {
    let epoch = epoch.filter(|_| sheet.says_since());
    let (sums, _) = unique(rows, |row| &row.face.kepler);
    let lines: Vec<Line<'_>> = sums
        .iter()
        .map(|sum| Line {
            labels: sum.key,
            ledger: &sum.ledger,
            since: epoch.map(|epoch| epoch.unix(sum.began)),
        })
        .collect();
    for component in Component::ALL {
        let metric = names::joules(level, component);
        let mut family = Family::new(sheet, &metric);
        let columns = columns.energy.iter();
        for column in columns.filter(|column| column.component == component) {
            for line in &lines {
                write_cell(&mut family, line, &column.zones, &column.dynamic, &column.idle);
            }
        }
        if component == Component::Gpu
            && let Some(today) = today
        {
            today.gpu_joules(&mut family);
        }
    }
    write_total(sheet, level, &lines, &columns.total());
    let metric = names::cpu_time(level);
    let mut family = Family::new(sheet, &metric);
    for line in &lines {
        let time = Decimal::micro(line.ledger.cpu.as_nanos());
        family.cell(line.labels, &Labels::none(), time, line.since);
    }
    write_events(sheet, level, &lines, columns.events);
    write_device_use(sheet, level, &lines, &columns.devices);
}

fn write_device_use(sheet: &mut Sheet, level: Level, lines: &[Line<'_>], devices: &[(usize, Labels)]) {
    let metric = names::gpu_use(level);
    let mut family = Family::new(sheet, &metric);
    for (position, gpu) in devices {
        for line in lines {
            let used = line.ledger.charges.get(*position).map(|charge| charge.used);
            if let Some(used) = used.filter(|used| !used.is_zero()) {
                family.cell(line.labels, gpu, Decimal::nano(used.as_nanos()), line.since);
            }
        }
    }
}

fn write_events(sheet: &mut Sheet, level: Level, lines: &[Line<'_>], events: EventSet) {
    for event in events.iter() {
        let Some(metric) = names::event(level, event) else {
            continue;
        };
        let mut family = Family::new(sheet, &metric);
        for line in lines {
            let count = Decimal::whole(line.ledger.events.get(event));
            family.cell(line.labels, &Labels::none(), count, line.since);
        }
    }
}

fn write_total(sheet: &mut Sheet, level: Level, lines: &[Line<'_>], zones: &[usize]) {
    if zones.is_empty() {
        // Nothing that would count is metered; a row of zeros would claim that nothing was used.
        return;
    }
    let metric = names::total(level);
    let mut family = Family::new(sheet, &metric);
    let (dynamic, idle) = (mode("dynamic"), mode("idle"));
    for line in lines {
        write_cell(&mut family, line, zones, &dynamic, &idle);
    }
}

fn write_cell(family: &mut Family<'_>, line: &Line<'_>, zones: &[usize], dynamic: &Labels, idle: &Labels) {
    let (dynamic_energy, idle_energy) = charged(line.ledger, zones);
    family.cell(line.labels, dynamic, joules(dynamic_energy), line.since);
    if !idle_energy.is_zero() {
        family.cell(line.labels, idle, joules(idle_energy), line.since);
    }
}

/// Rows that are called the same, added up.
pub(super) struct Sum<'a, K> {
    pub(super) key: K,
    pub(super) ledger: Cow<'a, Ledger>,
    pub(super) began: MonotonicNanos,
}

/// Each key once, in the order of the rows, and for each row which one it is in.
pub(super) fn unique<'a, K: Hash + Eq + Copy>(
    rows: &'a [Row<'_>],
    key: impl Fn(&'a Row<'_>) -> K,
) -> (Vec<Sum<'a, K>>, Vec<usize>) {
    let mut sums: Vec<Sum<'a, K>> = Vec::with_capacity(rows.len());
    let mut places: HashMap<K, usize, FixedState> =
        HashMap::with_capacity_and_hasher(rows.len(), FixedState::default());
    let mut of_rows = Vec::with_capacity(rows.len());
    for row in rows {
        let key = key(row);
        let place = *places.entry(key).or_insert(sums.len());
        of_rows.push(place);
        match sums.get_mut(place) {
            Some(sum) => {
                advance(sum.ledger.to_mut(), &Ledger::default(), &row.ledger);
                sum.began = sum.began.min(row.began);
            }
            None => sums.push(Sum {
                key,
                ledger: Cow::Borrowed(&row.ledger),
                began: row.began,
            }),
        }
    }
    (sums, of_rows)
}
