// SPDX-License-Identifier: Apache-2.0
//! The workload levels of schema `kepler-0.11`.

use super::{names, zone_name};
use crate::config::Level;
use crate::page::Epoch;
use crate::rows::Row;
use crate::text::node::joules;
use crate::text::workloads::unique;
use crate::text::writer::{Decimal, Family, Labels, Sheet};
use crate::view::View;
use attribution::model::snapshot::Ledger;
use attribution::model::{Component, Microjoules, Microwatts};
use std::borrow::Cow;
use std::collections::HashMap;

/// A row as it is written.
struct Line<'a> {
    labels: &'a Labels,
    state: usize,
    ledger: Cow<'a, Ledger>,
    /// By the position of the zone.
    powers: Vec<Option<Microwatts>>,
    since: Option<Decimal>,
}

/// A workload that ended is another series, as in Kepler.
const STATES: [&str; 2] = ["running", "terminated"];

/// Zones of one name, with the labels that end their series, by state.
struct Column {
    name: &'static str,
    zones: Vec<usize>,
    labels: [Labels; 2],
}

/// One level.
pub(in crate::text) struct Workloads<'a> {
    level: Level,
    lines: Vec<Line<'a>>,
    columns: Vec<Column>,
    gpus: Vec<usize>,
}

impl<'a> Workloads<'a> {
    /// The level's rows; the rows for what is outside of containers are no containers to Kepler.
    pub(in crate::text) fn new(level: Level, rows: &'a [Row<'_>], view: &View, epoch: Option<Epoch>) -> Self {
        let (sums, places) = unique(rows, |row| (&row.face.today, row.ended));
        let mut powers: Vec<Vec<Option<Microwatts>>> = vec![Vec::new(); sums.len()];
        let mut outside = vec![true; sums.len()];
        for (row, place) in rows.iter().zip(places) {
            if let Some((powers, outside)) = powers.get_mut(place).zip(outside.get_mut(place)) {
                add(powers, view.powers(row.key, row.began));
                *outside &= row.outside;
            }
        }
        let sums = sums.into_iter().zip(powers).zip(outside);
        let lines = sums
            .filter(|(_, outside)| !outside)
            .map(|((sum, powers), _)| Line {
                labels: sum.key.0,
                state: usize::from(sum.key.1),
                ledger: sum.ledger,
                powers,
                since: epoch.map(|epoch| epoch.unix(sum.began)),
            })
            .collect();
        let zones = &view.moment.snapshot.zones;
        let mut columns: Vec<Column> = Vec::new();
        for (position, account) in zones.iter().enumerate() {
            let Some(name) = zone_name(account) else { continue };
            match columns.iter_mut().find(|column| column.name == name) {
                Some(column) => column.zones.push(position),
                None => columns.push(Column {
                    name,
                    zones: vec![position],
                    labels: STATES.map(|state| Labels::none().with("state", state).with("zone", name)),
                }),
            }
        }
        let gpus = zones.iter().enumerate();
        let gpus = gpus.filter(|(_, account)| account.zone.component == Component::Gpu);
        Self {
            level,
            lines,
            columns,
            gpus: gpus.map(|(position, _)| position).collect(),
        }
    }

    /// All families; that which schema `kepler` calls the same is left out where it writes it.
    pub(in crate::text) fn write(&self, sheet: &mut Sheet, with_shared: bool) {
        let level = self.level;
        let metric = names::joules(level);
        let mut family = Family::new(sheet, &metric);
        for column in &self.columns {
            for line in &self.lines {
                if let Some(end) = column.labels.get(line.state) {
                    let energy = dynamic(&line.ledger, &column.zones);
                    family.cell(line.labels, end, joules(energy), line.since);
                }
            }
        }
        let metric = names::watts(level);
        let mut family = Family::new(sheet, &metric);
        for column in &self.columns {
            for line in &self.lines {
                if let Some(end) = column.labels.get(line.state)
                    && let Some(power) = power(&line.powers, &column.zones)
                {
                    family.cell(line.labels, end, Decimal::micro(power.as_micro()), None);
                }
            }
        }
        if matches!(level, Level::Process | Level::Container) {
            self.seconds(sheet);
        }
        if level == Level::Vm {
            return;
        }
        if with_shared {
            self.gpu_joules(&mut Family::new(sheet, &names::workload_gpu_joules(level)));
        }
        self.gpu_watts(sheet);
    }

    /// Its labels have no state, so an ended process and one that took its pid are one series.
    fn seconds(&self, sheet: &mut Sheet) {
        let metric = names::seconds(self.level);
        let mut family = Family::new(sheet, &metric);
        let mut lines: Vec<(&Labels, u64, Option<Decimal>)> = Vec::with_capacity(self.lines.len());
        let mut ended: HashMap<&Labels, (u64, Option<Decimal>)> = HashMap::new();
        for line in &self.lines {
            let time = line.ledger.cpu.as_nanos();
            if line.state == 0 {
                lines.push((line.labels, time, line.since));
            } else {
                ended.insert(line.labels, (time, line.since));
            }
        }
        for (labels, time, since) in &mut lines {
            if let Some((more, earlier)) = ended.remove(*labels) {
                *time = time.saturating_add(more);
                *since = earlier.min(*since);
            }
        }
        for line in self.lines.iter().filter(|line| ended.contains_key(line.labels)) {
            lines.push((line.labels, line.ledger.cpu.as_nanos(), line.since));
        }
        for (labels, time, since) in lines {
            family.cell(labels, &Labels::none(), Decimal::nano(time), since);
        }
    }

    /// Into the family that schema `kepler` has, too. Only what is more than nothing.
    pub(in crate::text) fn gpu_joules(&self, family: &mut Family<'_>) {
        for line in &self.lines {
            let energy = dynamic(&line.ledger, &self.gpus);
            if !energy.is_zero() {
                family.cell(line.labels, &state(line), joules(energy), line.since);
            }
        }
    }

    fn gpu_watts(&self, sheet: &mut Sheet) {
        let metric = names::workload_gpu_watts(self.level);
        let mut family = Family::new(sheet, &metric);
        for line in &self.lines {
            if let Some(power) = power(&line.powers, &self.gpus).filter(|power| !power.is_zero()) {
                family.cell(line.labels, &state(line), Decimal::micro(power.as_micro()), None);
            }
        }
    }
}

fn state(line: &Line<'_>) -> Labels {
    STATES
        .get(line.state)
        .map_or_else(Labels::none, |state| Labels::none().with("state", state))
}

fn dynamic(ledger: &Ledger, zones: &[usize]) -> Microjoules {
    let charges = zones.iter().filter_map(|zone| ledger.charges.get(*zone));
    charges.map(|charge| charge.dynamic).sum()
}

/// Nothing where none of the zones was read twice.
fn power(powers: &[Option<Microwatts>], zones: &[usize]) -> Option<Microwatts> {
    let known = zones.iter().filter_map(|zone| *powers.get(*zone)?);
    known.reduce(|sum, more| sum + more)
}

fn add(sum: &mut Vec<Option<Microwatts>>, more: Vec<Option<Microwatts>>) {
    if sum.is_empty() {
        *sum = more;
        return;
    }
    for (sum, more) in sum.iter_mut().zip(more) {
        *sum = match (*sum, more) {
            (Some(sum), Some(more)) => Some(sum + more),
            (one, other) => one.or(other),
        };
    }
}
