// SPDX-License-Identifier: Apache-2.0
//! Turns what the kernel's hash and its seats hold into cumulative rows by task, and decides when a dead task may be
//! forgotten, and when the row of a cgroup that a living one has left.
//!
//! Pure: no system call, no clock. Entries of the kernel go away and come back; rows here never fall while they are
//! listed. Memory is bounded by hash and seats: whatever is kept here has a place there, or had one and lives, or had one
//! and left a few reports ago.

use crate::abi::{COUNTERS, HardwareValue, TASK_ENDED, TASK_KTHREAD, TaskMapKey, TaskMapValue};
use crate::counters::{self, Counter as Hardware};
use crate::listing::{Moment, Patience, Turn};
use crate::places::{ByPlace, Place, Placed};
use crate::rows::Row;
use crate::seats::Sitting;
use crate::totals::{Rise, Total};
use attribution::model::{
    CgroupId, Comm, CpuNanos, EventCounts, PackageId, TaskKey, TaskKind, TaskUsage, TickId,
};
use foldhash::{HashMap, HashMapExt as _};
use std::time::Duration;

/// All tasks that are or were in the kernel's maps, until they are dead and paid for.
#[derive(Debug)]
pub(crate) struct Accounts {
    tasks: HashMap<TaskKey, Task>,
    /// The most that one row can have run since it was last read.
    most_ns: u64,
    /// Rises that were refused because they were more.
    refused: u64,
    /// Rows in the last report.
    rows: usize,
    /// How long rows of cgroups are listed that were left.
    patience: Patience,
}

/// A thread group.
#[derive(Debug)]
struct Task {
    /// It ran last where [`Row::stamp_ns`] is highest.
    rows: ByPlace<Row>,
    comm: Comm,
    /// When the kernel read `comm`, in its monotonic nanoseconds.
    comm_stamp_ns: u64,
    kind: TaskKind,
    ended: bool,
    /// The latest report that had news of it after its end: once that one is acknowledged, nothing is owed any more.
    settled: Option<TickId>,
    /// Whether it ran since the last report.
    ran: bool,
}

impl Accounts {
    /// No tasks yet. `patience` is for rows of cgroups that were left.
    pub(crate) fn new(patience: Patience) -> Self {
        Self {
            tasks: HashMap::new(),
            most_ns: u64::MAX,
            refused: 0,
            rows: 0,
            patience,
        }
    }

    /// Says how long one row can have run at most since it was last read: the time that passed, on every CPU.
    pub(crate) fn expect_at_most(&mut self, most: Duration) {
        self.most_ns = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
    }

    /// Rises that were refused so far, because nothing can have run for that long.
    pub(crate) const fn refused(&self) -> u64 {
        self.refused
    }

    /// Rows in the last report.
    pub(crate) const fn rows(&self) -> usize {
        self.rows
    }

    /// Takes in one entry of the hash. To be called for every entry, each once, before [`Accounts::report`].
    pub(crate) fn record(&mut self, key: &TaskMapKey, value: &TaskMapValue) {
        self.add(key, value, |row| {
            row.counter_or_new(key.started_ns)
                .total
                .advance(value.cpu_ns, &value.events)
        });
    }

    /// Takes in what one seat rose by.
    pub(crate) fn record_sitting(&mut self, sitting: &Sitting) {
        self.add(&sitting.key, &sitting.value, |_| sitting.rise);
    }

    /// The entry of a living task was deleted from the hash, after it had been recorded. If it comes back, it begins at 0.
    pub(crate) fn entry_deleted(&mut self, key: &TaskMapKey) {
        let row = self.known_row(key);
        if let Some(counter) = row.and_then(|row| row.held.counter(key.started_ns)) {
            counter.total = Total::default();
        }
    }

    /// The entry of a row that left was deleted, and held `last` then; `None` when there was none.
    pub(crate) fn entry_taken(&mut self, key: &TaskMapKey, last: Option<&TaskMapValue>) {
        if let Some(last) = last {
            self.record(key, last);
        }
        self.entry_deleted(key);
    }

    /// Adds to a row what it rose by, with the news of its name and its end.
    fn add(&mut self, key: &TaskMapKey, value: &TaskMapValue, rise: impl FnOnce(&mut Row) -> Rise) {
        let task = self
            .tasks
            .entry(key.task())
            .or_insert_with(|| Task::new(key, value));
        task.hear(value);
        let plausible = task.add(key, value.comm_stamp_ns, rise, self.most_ns);
        self.refused = self.refused.saturating_add(u64::from(!plausible));
    }

    fn known_row(&mut self, key: &TaskMapKey) -> Option<&mut Placed<Row>> {
        let task = self.tasks.get_mut(&key.task())?;
        task.rows.get_mut(place_of(key))
    }

    /// Takes in the hardware counts of one entry, after the entry itself. What came into being between the two readings
    /// is passed over; its counts are cumulative.
    pub(crate) fn record_hardware(
        &mut self,
        key: &TaskMapKey,
        value: &HardwareValue,
        open: &[Option<Hardware>; COUNTERS],
    ) {
        let Some(row) = self.known_row(key) else { return };
        let Some(counter) = row.held.counter(key.started_ns) else {
            return;
        };
        let rises = counter.hardware.get_or_insert_default().advance(value);
        row.count(&counters::counts(open, rises));
    }

    /// The entry of hardware counts of a row that left was deleted, and held `last` then; `None` when there was none.
    pub(crate) fn hardware_taken(
        &mut self,
        key: &TaskMapKey,
        last: Option<&HardwareValue>,
        open: &[Option<Hardware>; COUNTERS],
    ) {
        if let Some(last) = last {
            self.record_hardware(key, last, open);
        }
        let row = self.known_row(key);
        if let Some(counter) = row.and_then(|row| row.held.counter(key.started_ns)) {
            counter.hardware = None;
        }
    }

    /// Takes tasks as dead that did not run since the last report and for which `alive` says no. For when the kernel's
    /// own mark may have been lost: a full hash has no room for the entry of a dying task's last slice, so its other
    /// entries would stay for ever and keep the hash full.
    pub(crate) fn bury_silent(&mut self, alive: impl Fn(TaskKey) -> bool) {
        for (key, task) in &mut self.tasks {
            if !task.ran && !task.ended && !alive(*key) {
                task.ended = true;
            }
        }
    }

    /// Appends the rows of a report to `rows`, and what is to be deleted from the kernel's hashes: the keys of forgotten tasks to
    /// `forgotten`, those of rows that leave to `left`. A task is forgotten when it is dead, everything it did was in a
    /// report that is acknowledged, and nothing came since.
    pub(crate) fn report(
        &mut self,
        now: &Moment,
        rows: &mut Vec<TaskUsage>,
        forgotten: &mut Vec<TaskMapKey>,
        left: &mut Vec<TaskMapKey>,
    ) {
        let before = rows.len();
        let keep = self.patience.with(self.rows);
        self.tasks.retain(|key, task| {
            if task.ended {
                let news = task.ran || task.rows.rose();
                match task.settled {
                    Some(settled) if !news && settled <= now.acked => {
                        forgotten.extend(task.rows.iter().flat_map(|row| row.map_keys(key.tgid)));
                        return false;
                    }
                    Some(_) if !news => {}
                    _ => task.settled = Some(now.tick),
                }
            }
            task.ran = false;
            task.list(*key, now, keep, rows, left);
            true
        });
        self.rows = rows.len() - before;
    }
}

impl Task {
    fn new(key: &TaskMapKey, value: &TaskMapValue) -> Self {
        Self {
            rows: ByPlace::new(key.cgroup_id),
            comm: Comm::from_bytes(&value.comm),
            comm_stamp_ns: value.comm_stamp_ns,
            kind: if value.flags & TASK_KTHREAD == 0 {
                TaskKind::User
            } else {
                TaskKind::Kernel
            },
            ended: false,
            settled: None,
            ran: false,
        }
    }

    fn hear(&mut self, value: &TaskMapValue) {
        if value.comm_stamp_ns > self.comm_stamp_ns {
            self.comm = Comm::from_bytes(&value.comm);
            self.comm_stamp_ns = value.comm_stamp_ns;
        }
        self.ended |= value.flags & TASK_ENDED != 0;
    }

    /// `false` when the rise is refused.
    fn add(
        &mut self,
        key: &TaskMapKey,
        stamp_ns: u64,
        rise: impl FnOnce(&mut Row) -> Rise,
        most_ns: u64,
    ) -> bool {
        let row = self.rows.of(place_of(key), || Row::new(key));
        let held = &mut row.held;
        held.stamp_ns = held.stamp_ns.max(stamp_ns);
        let stamp_ns = held.stamp_ns;
        let rise = rise(held);
        let first = !self.ran;
        self.ran |= rise.cpu_ns > 0;
        if rise.cpu_ns > most_ns {
            return false;
        }
        row.count(&rise.events);
        if rise.cpu_ns > 0 {
            row.held.total += CpuNanos::from_nanos(rise.cpu_ns);
            row.listing.rise();
            self.rows.ran_in(key.cgroup_id, stamp_ns, first);
        }
        true
    }

    /// Appends what is in a report to `out`, and the keys of rows that leave to `left`.
    fn list(
        &mut self,
        key: TaskKey,
        now: &Moment,
        keep: Duration,
        out: &mut Vec<TaskUsage>,
        left: &mut Vec<TaskMapKey>,
    ) {
        let (comm, kind, ended) = (self.comm, self.kind, self.ended);
        self.rows.list(now, keep, ended, |row, turn| match turn {
            Turn::Listed => out.push(TaskUsage {
                task: Some(key),
                cgroup: CgroupId(row.place.cgroup),
                package: package_id(row.place.package),
                cpu: row.held.total,
                events: row.held.events,
                comm,
                kind,
                ended,
            }),
            Turn::Leaves => {
                (row.held.total, row.held.events) = (CpuNanos::ZERO, EventCounts::ZERO);
                left.extend(row.map_keys(key.tgid));
            }
            Turn::Away | Turn::Over => {}
        });
    }
}

const fn place_of(key: &TaskMapKey) -> Place {
    Place {
        cgroup: key.cgroup_id,
        package: key.package,
    }
}

/// The package as `Settings` named it; it went through the kernel as 32 bits.
pub(crate) fn package_id(package: u32) -> PackageId {
    PackageId(u16::try_from(package).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests;
