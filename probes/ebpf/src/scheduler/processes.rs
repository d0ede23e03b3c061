// SPDX-License-Identifier: Apache-2.0
//! Cumulative rows by process, cgroup and package, when a dead process may be forgotten, and when the row of a cgroup that a
//! living one has left.
//!
//! Pure: no system call, no clock. Takes in rises and never a total, so a row cannot fall. Memory is bounded by what
//! lives and where it was lately, what the kernel's maps of the dead hold, and the room for rows without a process.

use super::abi::DeadRowKey;
use crate::accounts::package_id;
use crate::listing::{Moment, Patience, Turn};
use crate::places::{ByPlace, Place};
use crate::unnamed::Unnamed;
use attribution::model::{
    CgroupId, Comm, CpuNanos, Event, EventCounts, TaskKey, TaskKind, TaskUsage, TickId,
};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// The address of no thread.
const NOWHERE: u64 = 0;

/// Figures of the scheduler, or the rise of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Time on CPUs.
    pub(crate) cpu_ns: u64,
    /// How often a CPU was left.
    pub(crate) switches: u64,
}

/// What a process looks like to those who see one of its threads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// Name of the leader.
    pub(crate) comm: [u8; 16],
    /// When it was read.
    pub(crate) at_ns: u64,
    /// Whose code it runs.
    pub(crate) kind: TaskKind,
}

/// All processes that live, or are dead and not yet paid for.
#[derive(Debug)]
pub(crate) struct Processes {
    tasks: HashMap<TaskKey, Process>,
    /// Time of threads whose process has no room in the kernel, or no name any more.
    pub(crate) unnamed: Unnamed,
    busy_ns: BTreeMap<u32, u64>,
    /// Passes over the living that came to their end.
    passes: u64,
    /// How long rows of cgroups are listed that were left.
    patience: Patience,
    /// Rows of processes in the last report.
    listed: usize,
}

#[derive(Debug)]
struct Process {
    /// It ran last where it was looked at last.
    rows: ByPlace<Counts>,
    comm: Comm,
    comm_at_ns: u64,
    kind: TaskKind,
    /// Threads that were seen alive and are not known to be dead.
    threads: u64,
    /// Address of the leader's `task_struct`, when it was seen alive; [`NOWHERE`] when that one is dead.
    leader: Option<u64>,
    leader_gone: bool,
    /// [`Processes::passes`] at the last sign of life or death.
    heard: u64,
    /// Its entries in the kernel's map `dead_rows`.
    dead_rows: Vec<DeadRowKey>,
    /// The latest report that had news of it after its end: once that one is acknowledged, nothing is owed any more.
    settled: Option<TickId>,
    /// Whether it was charged since the last report.
    charged: bool,
}

impl Counts {
    /// What was added since `last`, or `None` if any figure fell.
    pub(crate) fn since(self, last: Self) -> Option<Self> {
        Some(Self {
            cpu_ns: self.cpu_ns.checked_sub(last.cpu_ns)?,
            switches: self.switches.checked_sub(last.switches)?,
        })
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.cpu_ns = self.cpu_ns.saturating_add(other.cpu_ns);
        self.switches = self.switches.saturating_add(other.switches);
    }

    fn is_zero(self) -> bool {
        self == Self::default()
    }

    fn events(self) -> EventCounts {
        EventCounts::ZERO.with(Event::Switches, self.switches)
    }
}

impl Processes {
    /// Nothing is charged yet. `patience` is for rows of cgroups that were left.
    pub(crate) fn new(unnamed: Unnamed, patience: Patience) -> Self {
        Self {
            tasks: HashMap::new(),
            unnamed,
            busy_ns: BTreeMap::new(),
            passes: 0,
            patience,
            listed: 0,
        }
    }

    /// A thread was seen alive for the first time.
    pub(crate) fn came(&mut self, task: TaskKey, look: Look) {
        let process = self.process(task, look);
        process.threads = process.threads.saturating_add(1);
    }

    /// The leader of a process was seen alive.
    pub(crate) fn led(&mut self, task: TaskKey, leader: u64, look: Look) {
        let process = self.process(task, look);
        process.leader = Some(leader);
        process.see(look);
    }

    /// Nobody knows of a thread that [`Processes::came`] any more.
    pub(crate) fn went(&mut self, task: TaskKey) {
        let passes = self.passes;
        if let Some(process) = self.tasks.get_mut(&task) {
            process.threads = process.threads.saturating_sub(1);
            process.heard = passes;
        }
    }

    /// A thread that [`Processes::came`] is dead; it was at `address`, and somebody else may be there now.
    pub(crate) fn died(&mut self, task: TaskKey, address: u64) {
        self.went(task);
        if let Some(process) = self.tasks.get_mut(&task)
            && process.leader == Some(address)
        {
            process.leader = Some(NOWHERE);
        }
    }

    /// The leader is dead. It is released after all other threads.
    pub(crate) fn leader_went(&mut self, task: TaskKey, look: Look) {
        let process = self.process(task, look);
        process.leader_gone = true;
        process.see(look);
    }

    /// Address of the leader that was seen alive; [`NOWHERE`] when it is dead.
    pub(crate) fn leader_of(&self, task: TaskKey) -> Option<u64> {
        self.tasks.get(&task)?.leader
    }

    /// The process has an entry in the kernel's map `dead_rows` that is to be deleted with it.
    pub(crate) fn has_dead_row(&mut self, task: TaskKey, key: DeadRowKey, look: Look) {
        let process = self.process(task, look);
        process.dead_rows.push(key);
    }

    /// Charges `rise` to a process.
    pub(crate) fn charge(&mut self, task: TaskKey, place: Place, rise: Counts, look: Look) {
        if rise.is_zero() {
            return;
        }
        self.busy(place.package, rise);
        self.process(task, look).charge(place, rise, look.at_ns);
    }

    /// Charges `rise` to a cgroup and no process.
    pub(crate) fn charge_unnamed(&mut self, place: Place, rise: Counts) {
        if rise.is_zero() {
            return;
        }
        self.busy(place.package, rise);
        self.unnamed.add(place, rise.cpu_ns, &rise.events());
    }

    /// All living threads have been shown.
    pub(crate) const fn pass_ended(&mut self) {
        self.passes = self.passes.saturating_add(1);
    }

    /// All that was ever charged, by package.
    pub(crate) const fn busy_ns(&self) -> &BTreeMap<u32, u64> {
        &self.busy_ns
    }

    /// Appends the rows of processes in a report to `rows`, and what is to be deleted from the kernel's map `dead_rows`: the entries
    /// of forgotten processes to `forgotten`, those of rows that leave to `left`. A process is forgotten when it is dead,
    /// everything it did was in a report that is acknowledged, and nothing came since.
    pub(crate) fn report(
        &mut self,
        now: &Moment,
        rows: &mut Vec<TaskUsage>,
        forgotten: &mut Vec<DeadRowKey>,
        left: &mut Vec<DeadRowKey>,
    ) {
        let passes = self.passes;
        let before = rows.len();
        let keep = self.patience.with(self.listed);
        self.tasks.retain(|key, process| {
            let ended = process.ended(passes);
            if ended {
                let news = process.rows.rose();
                match process.settled {
                    Some(settled) if !news && settled <= now.acked => {
                        forgotten.append(&mut process.dead_rows);
                        return false;
                    }
                    Some(_) if !news => {}
                    _ => process.settled = Some(now.tick),
                }
            } else {
                process.settled = None;
            }
            process.charged = false;
            if process.list(*key, ended, now, keep, rows) {
                process.part_with_entries(left);
            }
            true
        });
        self.listed = rows.len() - before;
    }

    fn process(&mut self, task: TaskKey, look: Look) -> &mut Process {
        let process = self.tasks.entry(task).or_insert_with(|| Process::new(look));
        process.heard = self.passes;
        process
    }

    fn busy(&mut self, package: u32, rise: Counts) {
        let busy = self.busy_ns.entry(package).or_default();
        *busy = busy.saturating_add(rise.cpu_ns);
    }
}

impl Process {
    const fn new(look: Look) -> Self {
        Self {
            rows: ByPlace::new(CgroupId::ROOT.0),
            comm: Comm(look.comm),
            comm_at_ns: look.at_ns,
            kind: look.kind,
            threads: 0,
            leader: None,
            leader_gone: false,
            heard: 0,
            dead_rows: Vec::new(),
            settled: None,
            charged: false,
        }
    }

    fn see(&mut self, look: Look) {
        if look.at_ns >= self.comm_at_ns {
            self.comm = Comm(look.comm);
            self.comm_at_ns = look.at_ns;
        }
    }

    /// Whether nothing of it lives. A process none of whose threads was ever seen, and whose leader has not said that it
    /// is dead, may have begun after the pass went by; a whole later pass would have shown it.
    const fn ended(&self, passes: u64) -> bool {
        self.threads == 0 && (self.leader_gone || passes > self.heard.saturating_add(1))
    }

    /// `at_ns`: when it was looked at.
    fn charge(&mut self, place: Place, rise: Counts, at_ns: u64) {
        self.rows.ran_in(place.cgroup, at_ns, !self.charged);
        self.charged = true;
        let row = self.rows.of(place, Counts::default);
        row.held.add(rise);
        row.listing.rise();
    }

    /// Appends what is in a report to `out`. Whether rows leave with it.
    fn list(
        &mut self,
        key: TaskKey,
        ended: bool,
        now: &Moment,
        keep: Duration,
        out: &mut Vec<TaskUsage>,
    ) -> bool {
        let (comm, kind) = (self.comm, self.kind);
        let mut leaves = false;
        self.rows.list(now, keep, ended, |row, turn| match turn {
            Turn::Listed => out.push(TaskUsage {
                task: Some(key),
                cgroup: CgroupId(row.place.cgroup),
                package: package_id(row.place.package),
                cpu: CpuNanos::from_nanos(row.held.cpu_ns),
                events: row.held.events(),
                comm,
                kind,
                ended,
            }),
            Turn::Leaves => {
                row.held = Counts::default();
                leaves = true;
            }
            Turn::Away | Turn::Over => {}
        });
        leaves
    }

    /// Appends its entries in `dead_rows` whose row is not listed to `left`.
    fn part_with_entries(&mut self, left: &mut Vec<DeadRowKey>) {
        let mut keys = std::mem::take(&mut self.dead_rows);
        keys.retain(|key| {
            let row = self.rows.get(Place::of(key));
            let is_listed = row.is_some_and(|row| !row.listing.is_away());
            if !is_listed {
                left.push(*key);
            }
            is_listed
        });
        self.dead_rows = keys;
    }
}

impl Place {
    const fn of(key: &DeadRowKey) -> Self {
        Self {
            cgroup: key.cgroup_id,
            package: key.package,
        }
    }
}

#[cfg(test)]
mod tests;
