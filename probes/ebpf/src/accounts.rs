// SPDX-License-Identifier: Apache-2.0
//! Turns what the kernel's hash and its seats hold into cumulative rows by task, and decides when a dead task may be
//! forgotten.
//!
//! Pure: no system call, no clock. Entries of the kernel go away and come back; rows here never fall while they are
//! listed. Memory is bounded by hash and seats: whatever is kept here has a place there, or had one and lives.

use crate::abi::{COUNTERS, HardwareValue, TASK_ENDED, TASK_KTHREAD, TaskMapKey, TaskMapValue};
use crate::counters::{self, Counter as Hardware, Tally};
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
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            tasks: HashMap::new(),
            most_ns: u64::MAX,
            refused: 0,
            rows: 0,
        }
    }
}

/// A thread group.
#[derive(Debug)]
struct Task {
    /// By cgroup and package. Searched one by one: a task has few (it seldom changes its cgroup, and packages are few).
    rows: Vec<Row>,
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

#[derive(Debug)]
struct Row {
    cgroup: u64,
    package: u32,
    total: CpuNanos,
    events: EventCounts,
    counter: Counter,
    /// Entries that differ from `counter` in nothing but nanoseconds of the same clock tick: a pid that was used twice
    /// within 10 ms. To everyone else it is one task.
    twins: Vec<Counter>,
}

/// One entry of the kernel's hash, as last read; zeros while there is none.
#[derive(Debug)]
struct Counter {
    started_ns: u64,
    total: Total,
    /// Only where there are hardware counters.
    hardware: Option<Box<Tally>>,
}

impl Counter {
    fn new(started_ns: u64) -> Self {
        Self {
            started_ns,
            total: Total::default(),
            hardware: None,
        }
    }
}

impl Accounts {
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
        if let Some(counter) = row.and_then(|row| row.counter(key.started_ns)) {
            counter.total = Total::default();
        }
    }

    /// Adds to a row what it rose by, with the news of its name and its end.
    fn add(&mut self, key: &TaskMapKey, value: &TaskMapValue, rise: impl FnOnce(&mut Row) -> Rise) {
        let task = self.tasks.entry(key.task()).or_insert_with(|| Task::new(value));
        task.hear(value);
        let plausible = task.add(key, rise, self.most_ns);
        self.refused = self.refused.saturating_add(u64::from(!plausible));
    }

    fn known_row(&mut self, key: &TaskMapKey) -> Option<&mut Row> {
        let task = self.tasks.get_mut(&key.task())?;
        task.rows.iter_mut().find(|row| row.is_of(key))
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
        let Some(counter) = row.counter(key.started_ns) else {
            return;
        };
        let rises = counter.hardware.get_or_insert_default().advance(value);
        row.events.absorb(&counters::counts(open, rises));
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

    /// Appends the report for `tick` to `rows`, and the keys of forgotten tasks to `forgotten`: these are to be deleted
    /// from the kernel's hash. A task is forgotten when it is dead, everything it did was in a report up to `acked`,
    /// and nothing came since.
    pub(crate) fn report(
        &mut self,
        tick: TickId,
        acked: TickId,
        rows: &mut Vec<TaskUsage>,
        forgotten: &mut Vec<TaskMapKey>,
    ) {
        let before = rows.len();
        self.tasks.retain(|key, task| {
            if task.ended {
                match task.settled {
                    Some(settled) if !task.ran && settled <= acked => {
                        forgotten.extend(task.map_keys(key.tgid));
                        return false;
                    }
                    Some(_) if !task.ran => {}
                    _ => task.settled = Some(tick),
                }
            }
            task.ran = false;
            rows.extend(task.rows.iter().map(|row| task.usage(*key, row)));
            true
        });
        self.rows = rows.len() - before;
    }
}

impl Task {
    fn new(value: &TaskMapValue) -> Self {
        Self {
            rows: Vec::new(),
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
    fn add(&mut self, key: &TaskMapKey, rise: impl FnOnce(&mut Row) -> Rise, most_ns: u64) -> bool {
        let row = row_of(&mut self.rows, key);
        let rise = rise(row);
        self.ran |= rise.cpu_ns > 0;
        if rise.cpu_ns > most_ns {
            return false;
        }
        row.total += CpuNanos::from_nanos(rise.cpu_ns);
        row.events.absorb(&rise.events);
        true
    }

    fn usage(&self, key: TaskKey, row: &Row) -> TaskUsage {
        TaskUsage {
            task: Some(key),
            cgroup: CgroupId(row.cgroup),
            package: package_id(row.package),
            cpu: row.total,
            events: row.events,
            comm: self.comm,
            kind: self.kind,
            ended: self.ended,
        }
    }

    fn map_keys(&self, tgid: u32) -> impl Iterator<Item = TaskMapKey> {
        self.rows.iter().flat_map(move |row| {
            std::iter::once(&row.counter)
                .chain(&row.twins)
                .map(move |counter| TaskMapKey {
                    started_ns: counter.started_ns,
                    cgroup_id: row.cgroup,
                    tgid,
                    package: row.package,
                })
        })
    }
}

/// The row of `key`, made where there is none.
fn row_of<'a>(rows: &'a mut Vec<Row>, key: &TaskMapKey) -> &'a mut Row {
    let at = match rows.iter().position(|row| row.is_of(key)) {
        Some(at) => at,
        None => {
            rows.push(Row::new(key));
            rows.len() - 1
        }
    };
    #[expect(clippy::indexing_slicing, reason = "found or pushed just now")]
    &mut rows[at]
}

impl Row {
    fn new(key: &TaskMapKey) -> Self {
        Self {
            cgroup: key.cgroup_id,
            package: key.package,
            total: CpuNanos::ZERO,
            events: EventCounts::ZERO,
            counter: Counter::new(key.started_ns),
            twins: Vec::new(),
        }
    }

    const fn is_of(&self, key: &TaskMapKey) -> bool {
        self.cgroup == key.cgroup_id && self.package == key.package
    }

    fn counter(&mut self, started_ns: u64) -> Option<&mut Counter> {
        std::iter::once(&mut self.counter)
            .chain(&mut self.twins)
            .find(|counter| counter.started_ns == started_ns)
    }

    fn counter_or_new(&mut self, started_ns: u64) -> &mut Counter {
        if self.counter.started_ns == started_ns {
            return &mut self.counter;
        }
        let at = match self.twins.iter().position(|twin| twin.started_ns == started_ns) {
            Some(at) => at,
            None => {
                self.twins.push(Counter::new(started_ns));
                self.twins.len() - 1
            }
        };
        self.twins.get_mut(at).unwrap_or(&mut self.counter)
    }
}

/// The package as `Settings` named it; it went through the kernel as 32 bits.
pub(crate) fn package_id(package: u32) -> PackageId {
    PackageId(u16::try_from(package).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests;
