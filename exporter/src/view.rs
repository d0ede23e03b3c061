// SPDX-License-Identifier: Apache-2.0
//! What a page is written from: the snapshot, its folded levels, and the readings between which power is taken.
//!
//! Made once per snapshot, when it is published, because it needs the one before. Whatever costs time by the size of the
//! snapshot is done only where the configuration asks for it.

use crate::config::{Level, Schema};
use crate::fold::{Fold, FoldedRow};
use crate::naming::Naming;
use crate::page::RenderSettings;
use crate::rows::Wardrobe;
use attribution::model::snapshot::{ContainerKey, GroupRow, Ledger, UnitKey, ZoneAccount};
use attribution::model::{Microjoules, Microwatts, MonotonicNanos, PodUid, Snapshot, TaskKey, VmId, Zone};
use std::sync::Arc;
use std::time::Duration;

/// Which row of a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Key<'a> {
    Container(&'a ContainerKey),
    Pod(&'a PodUid),
    Vm(&'a VmId),
    Unit(&'a UnitKey),
    Process(TaskKey),
    OtherProcesses,
    /// A folded row.
    Folded(Level, usize),
}

/// A snapshot with its folded levels.
#[derive(Debug, Default)]
pub(crate) struct Moment {
    pub(crate) snapshot: Arc<Snapshot>,
    folded: Vec<(Level, Vec<FoldedRow>)>,
}

impl Moment {
    /// The rows of a level, where rows of it may become one.
    pub(crate) fn folded(&self, level: Level) -> Option<&[FoldedRow]> {
        let mut levels = self.folded.iter();
        levels
            .find(|(of, _)| *of == level)
            .map(|(_, rows)| rows.as_slice())
    }

    /// What a row held then. Every list of a snapshot is sorted by its keys.
    fn ledger(&self, key: Key<'_>) -> Option<&Ledger> {
        fn of<'a, K: Ord>(rows: &'a [GroupRow<K>], key: &K) -> Option<&'a Ledger> {
            let at = rows.binary_search_by(|row| row.key.cmp(key)).ok()?;
            rows.get(at).map(|row| &row.ledger)
        }
        let snapshot = &self.snapshot;
        match key {
            Key::Container(key) => of(&snapshot.containers, key),
            Key::Pod(key) => of(&snapshot.pods, key),
            Key::Vm(key) => of(&snapshot.vms, key),
            Key::Unit(key) => of(&snapshot.units, key),
            Key::Process(task) => {
                let rows = &snapshot.processes;
                let at = rows.binary_search_by_key(&task, |row| row.task).ok()?;
                rows.get(at).map(|row| &row.ledger)
            }
            Key::OtherProcesses => Some(&snapshot.other_processes),
            Key::Folded(level, slot) => {
                let rows = self.folded(level)?;
                let at = rows.binary_search_by_key(&slot, |row| row.slot).ok()?;
                rows.get(at).map(|row| &row.ledger)
            }
        }
    }
}

/// The last two readings of a zone.
#[derive(Clone, Debug)]
struct Interval {
    from: Arc<Moment>,
    to: Arc<Moment>,
    elapsed: Duration,
    /// What the zone's dynamic energy rose by: no row can have had more.
    most: Microjoules,
}

/// What a page is written from.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) moment: Arc<Moment>,
    /// By the position of the zone; empty unless a schema has power of workloads.
    intervals: Vec<Option<Interval>>,
    before: Option<Arc<Moment>>,
}

impl View {
    /// The snapshot before this one, where somebody needs it.
    pub(crate) fn before(&self) -> Option<&Snapshot> {
        self.before.as_ref().map(|moment| &*moment.snapshot)
    }

    /// Mean dynamic power of a zone between its last two readings.
    pub(crate) fn active_power(&self, zone: usize) -> Option<Microwatts> {
        let interval = self.intervals.get(zone)?.as_ref()?;
        Some(interval.most.mean_power(interval.elapsed))
    }

    /// Power of a row in every zone between that zone's last two readings. `began` is when the row began.
    pub(crate) fn powers(&self, key: Key<'_>, began: MonotonicNanos) -> Vec<Option<Microwatts>> {
        // Nearly always all zones were read at the same two moments.
        let mut found: Option<(&Interval, Option<&Ledger>, Option<&Ledger>)> = None;
        let intervals = self.intervals.iter().enumerate().map(|(zone, interval)| {
            let interval = interval.as_ref()?;
            let is_same = |other: &Interval| {
                Arc::ptr_eq(&other.from, &interval.from) && Arc::ptr_eq(&other.to, &interval.to)
            };
            let (_, from, to) = match found {
                Some(found) if is_same(found.0) => found,
                _ => *found.insert((interval, interval.from.ledger(key), interval.to.ledger(key))),
            };
            let energy = |ledger: Option<&Ledger>| {
                let charge = ledger.and_then(|ledger| ledger.charges.get(zone));
                charge.map_or(Microjoules::ZERO, |charge| charge.dynamic)
            };
            // A row that was not there and is not new had left and come back: what it had is not of now.
            let is_back = from.is_none() && began < interval.from.snapshot.window.ended;
            let rise = energy(to).saturating_sub(energy(from)).min(interval.most);
            let rise = if is_back { Microjoules::ZERO } else { rise };
            Some(rise.mean_power(interval.elapsed))
        });
        intervals.collect()
    }
}

/// What is remembered from snapshot to snapshot.
#[derive(Debug, Default)]
pub(crate) struct Viewer {
    pub(crate) wardrobe: Wardrobe,
    folds: Vec<(Level, Fold)>,
    /// Of levels that are not shown now, and were.
    resting: Vec<(Level, Fold)>,
    pace: Option<Pace>,
}

impl Viewer {
    /// Folds the levels that `naming` says, and takes power where a schema has it.
    pub(crate) fn new(schemas: &[Schema], levels: &[Level], naming: &Naming) -> Self {
        let mut folds: Vec<(Level, Fold)> = Vec::new();
        for level in levels {
            // A list may name one twice, and then not beside itself.
            let is_new = folds.iter().all(|(other, _)| other != level);
            if is_new && *level != Level::Node && naming.folds(*level) {
                folds.push((*level, Fold::new(naming.denied(*level))));
            }
        }
        Self {
            wardrobe: Wardrobe::default(),
            folds,
            resting: Vec::new(),
            pace: schemas.contains(&Schema::Kepler011).then(Pace::default),
        }
    }

    /// Goes on under other settings. `shown` is what was looked at last, with rows called as `called` says.
    ///
    /// Sums go on: what is one series under both goes on where it stopped. A level whose rows were summed once is summed from
    /// then on, and one that is summed now for the first time begins with its rows as they were called before, so that a series
    /// which comes back goes on, too, and nothing is in two sums.
    pub(crate) fn under_others(self, called: &Naming, shown: &Snapshot, settings: &RenderSettings) -> Self {
        let Self {
            mut wardrobe,
            folds,
            resting,
            pace,
        } = self;
        let RenderSettings {
            schemas,
            levels,
            naming,
            ..
        } = settings;
        let mut next = Self::new(schemas, levels, naming);
        if let (Some(pace), true) = (pace, next.pace.is_some()) {
            next.pace = Some(pace);
        }
        let born = std::mem::take(&mut next.folds);
        let known = folds.into_iter().chain(resting);
        for (level, mut fold) in known {
            fold.call_anew(naming.denied(level));
            match levels.contains(&level) {
                true => next.folds.push((level, fold)),
                false => next.resting.push((level, fold)),
            }
        }
        for (level, mut fold) in born {
            if next.folds.iter().any(|(of, _)| *of == level) {
                continue;
            }
            if level == Level::Process {
                fold.settle(&shown.processes);
            }
            fold.take(&wardrobe.single(level, shown, called));
            fold.call_anew(naming.denied(level));
            next.folds.push((level, fold));
        }
        next
    }

    /// The view of the next snapshot.
    pub(crate) fn next(&mut self, snapshot: Arc<Snapshot>, naming: &Naming) -> View {
        let mut folded = Vec::with_capacity(self.folds.len());
        for (level, fold) in &mut self.folds {
            if *level == Level::Process {
                fold.settle(&snapshot.processes);
            }
            let rows = self.wardrobe.single(*level, &snapshot, naming);
            folded.push((*level, fold.take(&rows)));
        }
        let moment = Arc::new(Moment { snapshot, folded });
        match &mut self.pace {
            None => View {
                moment,
                ..View::default()
            },
            Some(pace) => pace.next(moment),
        }
    }
}

/// When each zone was read last.
#[derive(Debug, Default)]
struct Pace {
    zones: Vec<Paced>,
    newest: Option<Arc<Moment>>,
    /// The one before the newest.
    before: Option<Arc<Moment>>,
}

#[derive(Debug)]
struct Paced {
    zone: Zone,
    read: MonotonicNanos,
    at: Arc<Moment>,
    interval: Option<Interval>,
}

impl Pace {
    fn next(&mut self, moment: Arc<Moment>) -> View {
        let accounts = &moment.snapshot.zones;
        self.zones.truncate(accounts.len());
        for (position, account) in accounts.iter().enumerate() {
            match self
                .zones
                .get_mut(position)
                .filter(|paced| paced.zone == account.zone)
            {
                Some(paced) => paced.read_again(position, account, &moment),
                None => {
                    // Positions never change while the daemon runs; were it otherwise, all behind would be new.
                    self.zones.truncate(position);
                    self.zones.push(Paced::new(account, &moment));
                }
            }
        }
        // The same window shown again, in another form, is no step in time.
        let is_again = |newest: &Arc<Moment>| newest.snapshot.window.ended == moment.snapshot.window.ended;
        let newest = self.newest.replace(Arc::clone(&moment));
        if !newest.as_ref().is_some_and(is_again) {
            self.before = newest;
        }
        View {
            intervals: self.zones.iter().map(|paced| paced.interval.clone()).collect(),
            before: self.before.clone(),
            moment,
        }
    }
}

/// When the zone was read last, of which a window tells that ended then; both on the clock of the snapshots.
pub(crate) fn read_at(account: &ZoneAccount, ended: MonotonicNanos) -> MonotonicNanos {
    let age = u64::try_from(account.age.as_nanos()).unwrap_or(u64::MAX);
    MonotonicNanos::from_nanos(ended.as_nanos().saturating_sub(age))
}

impl Paced {
    fn new(account: &ZoneAccount, moment: &Arc<Moment>) -> Self {
        Self {
            zone: account.zone.clone(),
            read: read_at(account, moment.snapshot.window.ended),
            at: Arc::clone(moment),
            interval: None,
        }
    }

    fn read_again(&mut self, position: usize, account: &ZoneAccount, moment: &Arc<Moment>) {
        if !account.up {
            // What is down has no power, and old snapshots are not kept for it.
            *self = Self::new(account, moment);
            return;
        }
        let read = read_at(account, moment.snapshot.window.ended);
        let elapsed = read.since(self.read);
        if elapsed.is_zero() {
            return;
        }
        let then = self
            .at
            .snapshot
            .zones
            .get(position)
            .map_or(Microjoules::ZERO, |zone| zone.dynamic);
        self.interval = Some(Interval {
            from: std::mem::replace(&mut self.at, Arc::clone(moment)),
            to: Arc::clone(moment),
            elapsed,
            most: account.dynamic.saturating_sub(then),
        });
        self.read = read;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ExporterConfig;

    #[test]
    fn a_level_that_is_named_twice_is_summed_once() {
        let config = serde_json::json!({
            "levels": ["pod", "container", "pod"],
            "namespaces": { "deny": ["shop"] },
        });
        let config: ExporterConfig = serde_json::from_value(config).unwrap();
        let settings = RenderSettings::new(&config, crate::BuildInfo::default());
        let viewer = Viewer::new(&config.schemas, &config.levels, &settings.naming);
        let levels: Vec<_> = viewer.folds.iter().map(|(level, _)| *level).collect();
        assert_eq!(levels, [Level::Pod, Level::Container]);
    }
}
