// SPDX-License-Identifier: Apache-2.0
//! Rows that are written as one: because a label that told them apart is left out, or because their namespace has no rows.
//!
//! A sum over the rows of a snapshot would fall whenever one of them leaves. So what each row rose by is added to the sum
//! of those with the same labels, snapshot by snapshot: a row may leave, come back, or be called otherwise, and what it had
//! until then stays where it was counted. Everything is bounded: sums that no row belongs to any more are not shown, and of
//! them, and of the rows that left, the newest are remembered.

use crate::config::Level;
use crate::naming::Face;
use crate::rows::Row;
use crate::text::writer::Labels;
use crate::view::Key;
use attribution::model::snapshot::{ContainerKey, Ledger, ProcessRow, UnitKey};
use attribution::model::{CgroupOwner, Comm, CpuNanos, MonotonicNanos, PodUid, TaskKey, TaskKind, VmId};
use foldhash::fast::FixedState;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Rows remembered after they left. The attribution remembers as many of those that may go on where they stopped.
const GONE: usize = 1_024;
/// Sums remembered while no row belongs to them: 4,096 of 8 zones are some 2 MiB.
const HIDDEN: usize = 4_096;

/// Rows that share their labels.
#[derive(Clone, Debug)]
pub(crate) struct FoldedRow {
    /// Which sum; rows are sorted by it.
    pub(crate) slot: usize,
    face: Arc<Face>,
    pub(crate) ledger: Ledger,
    began: MonotonicNanos,
    ended: bool,
    outside: bool,
}

impl FoldedRow {
    /// As one row of its level.
    pub(crate) fn row(&self, level: Level) -> Row<'_> {
        Row {
            face: Arc::clone(&self.face),
            ledger: Cow::Borrowed(&self.ledger),
            began: self.began,
            ended: self.ended,
            key: Key::Folded(level, self.slot),
            denied: false,
            outside: self.outside,
        }
    }
}

/// A row for as long as it goes on counting.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Id {
    Container(ContainerKey, MonotonicNanos),
    Pod(PodUid, MonotonicNanos),
    Vm(VmId, MonotonicNanos),
    Unit(UnitKey, MonotonicNanos),
    Process(TaskKey),
    Other,
}

impl Id {
    fn of(row: &Row<'_>) -> Self {
        match row.key {
            Key::Container(key) => Self::Container(key.clone(), row.began),
            Key::Pod(key) => Self::Pod(key.clone(), row.began),
            Key::Vm(key) => Self::Vm(key.clone(), row.began),
            Key::Unit(key) => Self::Unit(key.clone(), row.began),
            Key::Process(task) => Self::Process(task),
            Key::OtherProcesses | Key::Folded(..) => Self::Other,
        }
    }
}

/// All that the attribution tells series of processes apart by, but the pid.
#[derive(Clone, Debug)]
struct Kin {
    comm: Comm,
    kind: TaskKind,
    owner: Option<Arc<CgroupOwner>>,
    began: MonotonicNanos,
}

impl Kin {
    fn is_of(&self, row: &ProcessRow) -> bool {
        let place = |owner: &Option<Arc<CgroupOwner>>| {
            let owner = owner.as_ref();
            (
                owner.and_then(|owner| owner.container.clone()),
                owner.and_then(|owner| owner.vm.clone()),
            )
        };
        self.comm == row.comm && self.kind == row.kind && place(&self.owner) == place(&row.owner)
    }
}

#[derive(Debug)]
struct Member {
    slot: usize,
    face: Arc<Face>,
    denied: bool,
    /// What of it is in the sums.
    seen: Ledger,
    began: MonotonicNanos,
    turn: u64,
}

#[derive(Debug)]
struct Sum {
    face: Arc<Face>,
    ledger: Ledger,
    began: MonotonicNanos,
    ended: bool,
    /// Whether nothing that ran in a container was ever in it.
    outside: bool,
    /// When a row belonged to it last.
    turn: u64,
}

/// One level.
#[derive(Debug)]
pub(crate) struct Fold {
    denied: Arc<Face>,
    members: HashMap<Id, Member, FixedState>,
    kin: BTreeMap<TaskKey, Kin>,
    sums: BTreeMap<usize, Sum>,
    by_labels: HashMap<Labels, usize, FixedState>,
    next: usize,
    turn: u64,
    /// The turn since which rows are called as now.
    called: u64,
    /// Since when the newest row of a process counts that was in an earlier turn: a new one counts from no earlier moment.
    newest: MonotonicNanos,
}

impl Fold {
    /// A level whose denied rows become one that is called `denied`.
    pub(crate) fn new(denied: Face) -> Self {
        Self {
            denied: Arc::new(denied),
            members: HashMap::default(),
            kin: BTreeMap::new(),
            sums: BTreeMap::new(),
            by_labels: HashMap::default(),
            next: 0,
            turn: 0,
            called: 0,
            newest: MonotonicNanos::ZERO,
        }
    }

    /// Rows are called otherwise from the next turn on, and those that are denied as `denied`.
    pub(crate) fn call_anew(&mut self, denied: Face) {
        self.denied = Arc::new(denied);
        self.called = self.turn + 1;
        let slot = self.by_labels.get(&self.denied.kepler.identity());
        if let Some(sum) = slot.and_then(|slot| self.sums.get_mut(slot)) {
            sum.face = Arc::clone(&self.denied);
        }
    }

    /// Takes over that an ended process's row was handed on: the attribution adds it to a living one that is called the same,
    /// or lets a new one go on with it. What was in the sums of the one is then in the sums of the other.
    pub(crate) fn settle(&mut self, processes: &[ProcessRow]) {
        let is_there = |task: &TaskKey| processes.binary_search_by_key(task, |row| row.task).is_ok();
        let gone: Vec<TaskKey> = self.kin.keys().filter(|task| !is_there(task)).copied().collect();
        for task in gone {
            let (Some(kin), Some(old)) = (self.kin.remove(&task), self.members.remove(&Id::Process(task)))
            else {
                continue;
            };
            let first = processes.partition_point(|row| row.task.tgid < task.tgid);
            let mut of_pid = processes
                .iter()
                .skip(first)
                .take_while(|row| row.task.tgid == task.tgid);
            let heir = of_pid.find(|row| {
                let known = self.members.get(&Id::Process(row.task));
                // A new row that counts for as long as the old one has gone on with it, also if it has another name by now.
                let goes_on = known.is_none() && row.began <= kin.began;
                let had = known.map_or(CpuNanos::ZERO, |heir| heir.seen.cpu);
                // Nobody has got it who has not that much more.
                (goes_on || kin.is_of(row)) && row.ledger.cpu >= had + old.seen.cpu
            });
            let Some(heir) = heir else {
                // It may come back and go on where it stopped: what of it is in the sums is in them already.
                self.members.insert(Id::Process(task), old);
                continue;
            };
            let heir = self
                .members
                .entry(Id::Process(heir.task))
                .or_insert_with(|| Member {
                    slot: old.slot,
                    face: Arc::clone(&old.face),
                    denied: old.denied,
                    seen: Ledger::default(),
                    began: heir.began,
                    turn: self.turn,
                });
            advance(&mut heir.seen, &Ledger::default(), &old.seen);
        }
        let kin = |row: &ProcessRow| Kin {
            comm: row.comm,
            kind: row.kind,
            owner: row.owner.clone(),
            began: row.began,
        };
        self.kin.extend(processes.iter().map(|row| (row.task, kin(row))));
    }

    /// Adds what every row rose by to the sum that it belongs to now, and gives all sums that have rows.
    pub(crate) fn take(&mut self, rows: &[Row<'_>]) -> Vec<FoldedRow> {
        self.turn += 1;
        let mut newest = self.newest;
        for row in rows {
            let id = Id::of(row);
            let is_process = matches!(id, Id::Process(_));
            let slot = match self.members.get(&id) {
                Some(member) if member.denied == row.denied && Arc::ptr_eq(&member.face, &row.face) => {
                    member.slot
                }
                _ => self.slot(row),
            };
            let member = self.members.entry(id).or_insert_with(|| Member {
                slot,
                face: Arc::clone(&row.face),
                denied: row.denied,
                // One that counts for longer was away, and among those that left too many came after it to be remembered: what it
                // had then is in the sums, and what it used in this window is the least that can be lost.
                seen: match is_process && row.began < self.newest {
                    true => row.ledger.clone().into_owned(),
                    false => Ledger::default(),
                },
                began: row.began,
                turn: 0,
            });
            if is_process {
                newest = newest.max(row.began);
            }
            // A process that was away may have begun anew.
            if row.began > member.began {
                member.seen = Ledger::default();
            }
            member.began = row.began;
            if !Arc::ptr_eq(&member.face, &row.face) {
                member.face = Arc::clone(&row.face);
            }
            (member.slot, member.denied, member.turn) = (slot, row.denied, self.turn);
            if let Some(sum) = self.sums.get_mut(&slot) {
                advance(&mut sum.ledger, &member.seen, &row.ledger);
                let is_first = sum.turn < self.turn;
                sum.ended = row.ended && (is_first || sum.ended);
                sum.outside &= row.outside;
                sum.turn = self.turn;
            }
            member.seen.clone_from(&row.ledger);
        }
        self.newest = newest;
        self.forget();
        let denied = self.by_labels.get(&self.denied.kepler.identity()).copied();
        let shown = self
            .sums
            .iter()
            .filter(|(slot, sum)| sum.turn == self.turn || Some(**slot) == denied);
        let shown = shown.map(|(slot, sum)| FoldedRow {
            slot: *slot,
            face: Arc::clone(&sum.face),
            ledger: sum.ledger.clone(),
            began: sum.began,
            ended: sum.ended,
            outside: sum.outside,
        });
        shown.collect()
    }

    fn slot(&mut self, row: &Row<'_>) -> usize {
        let face = if row.denied { &self.denied } else { &row.face };
        let series = face.kepler.identity();
        if let Some(slot) = self.by_labels.get(&series) {
            // In the other schema it may have another name by now.
            if let Some(sum) = self.sums.get_mut(slot).filter(|sum| sum.turn < self.called) {
                sum.face = Arc::clone(face);
            }
            return *slot;
        }
        let slot = self.next;
        self.next += 1;
        self.by_labels.insert(series, slot);
        let sum = Sum {
            face: Arc::clone(face),
            ledger: Ledger::default(),
            // A row that is in another sum already brings nothing with it.
            began: row.began,
            ended: row.ended,
            outside: row.outside,
            turn: 0,
        };
        self.sums.insert(slot, sum);
        slot
    }

    /// Forgets the oldest of what is not there any more.
    fn forget(&mut self) {
        let turn = self.turn;
        let mut gone: Vec<(u64, Id)> = Vec::new();
        if self.members.len() > GONE {
            let left = self.members.iter().filter(|(_, member)| member.turn < turn);
            gone = left.map(|(id, member)| (member.turn, id.clone())).collect();
        }
        gone.sort_unstable();
        for (_, id) in gone.iter().take(gone.len().saturating_sub(GONE)) {
            self.members.remove(id);
        }
        let denied = self.by_labels.get(&self.denied.kepler.identity()).copied();
        let hidden = self
            .sums
            .iter()
            .filter(|(slot, sum)| sum.turn < turn && Some(**slot) != denied);
        let mut hidden: Vec<(u64, usize)> = hidden.map(|(slot, sum)| (sum.turn, *slot)).collect();
        hidden.sort_unstable();
        for (_, slot) in hidden.iter().take(hidden.len().saturating_sub(HIDDEN)) {
            if let Some(sum) = self.sums.remove(slot) {
                self.by_labels.remove(&sum.face.kepler.identity());
            }
        }
    }
}

/// Adds to `sum` what a row rose by.
pub(crate) fn advance(sum: &mut Ledger, then: &Ledger, now: &Ledger) {
    if sum.charges.len() < now.charges.len() {
        sum.charges.resize(now.charges.len(), Default::default());
    }
    for (zone, (sum, now)) in sum.charges.iter_mut().zip(&now.charges).enumerate() {
        let then = then.charges.get(zone).copied().unwrap_or_default();
        sum.dynamic += now.dynamic.saturating_sub(then.dynamic);
        sum.idle += now.idle.saturating_sub(then.idle);
        sum.used += now.used.saturating_sub(then.used);
    }
    sum.cpu += now.cpu.saturating_sub(then.cpu);
    sum.events.absorb(&now.events.since(&then.events));
}
