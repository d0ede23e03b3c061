// SPDX-License-Identifier: Apache-2.0
//! Turns what the kernel's hash holds into cumulative rows by task, and decides when a dead task may be forgotten.
//!
//! Pure: no system call, no clock. Entries of the kernel go away and come back; rows here never fall while they are
//! listed. Memory is bounded by the hash: whatever is kept here has an entry there.

use crate::abi::{TASK_ENDED, TASK_KTHREAD, TaskMapKey, TaskMapValue};
use attribution::model::{
    CgroupId, Comm, CpuNanos, EventCounts, PackageId, TaskKey, TaskKind, TaskUsage, TickId,
};
use std::collections::HashMap;

/// All tasks that have entries in the kernel.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    tasks: HashMap<TaskKey, Task>,
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
    counter: Counter,
    /// Entries that differ from `counter` in nothing but nanoseconds of the same clock tick: a pid that was used twice
    /// within 10 ms. To everyone else it is one task.
    twins: Vec<Counter>,
}

/// One entry of the kernel's hash, as last read.
#[derive(Clone, Copy, Debug)]
struct Counter {
    started_ns: u64,
    cpu_ns: u64,
}

impl Counter {
    /// What was added since the last reading. An entry that holds less than before was deleted and made again.
    fn advance(&mut self, cpu_ns: u64) -> u64 {
        let added = cpu_ns.checked_sub(self.cpu_ns).unwrap_or(cpu_ns);
        self.cpu_ns = cpu_ns;
        added
    }
}

impl Accounts {
    /// Takes in one entry. To be called for every entry, each once, before [`Accounts::report`].
    pub(crate) fn record(&mut self, key: &TaskMapKey, value: &TaskMapValue) {
        let name = TaskKey::from_boot_nanos(key.tgid, key.started_ns);
        self.tasks
            .entry(name)
            .or_insert_with(|| Task::new(value))
            .record(key, value);
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

    fn record(&mut self, key: &TaskMapKey, value: &TaskMapValue) {
        if value.comm_stamp_ns > self.comm_stamp_ns {
            self.comm = Comm::from_bytes(&value.comm);
            self.comm_stamp_ns = value.comm_stamp_ns;
        }
        self.ended |= value.flags & TASK_ENDED != 0;
        let added = match self
            .rows
            .iter_mut()
            .find(|row| row.cgroup == key.cgroup_id && row.package == key.package)
        {
            Some(row) => row.record(key.started_ns, value.cpu_ns),
            None => {
                self.rows.push(Row::new(key, value.cpu_ns));
                value.cpu_ns
            }
        };
        self.ran |= added > 0;
    }

    fn usage(&self, key: TaskKey, row: &Row) -> TaskUsage {
        TaskUsage {
            task: Some(key),
            cgroup: CgroupId(row.cgroup),
            package: package_id(row.package),
            cpu: row.total,
            events: EventCounts::ZERO,
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

impl Row {
    fn new(key: &TaskMapKey, cpu_ns: u64) -> Self {
        Self {
            cgroup: key.cgroup_id,
            package: key.package,
            total: CpuNanos::from_nanos(cpu_ns),
            counter: Counter {
                started_ns: key.started_ns,
                cpu_ns,
            },
            twins: Vec::new(),
        }
    }

    /// Returns the nanoseconds that were added.
    fn record(&mut self, started_ns: u64, cpu_ns: u64) -> u64 {
        let known = std::iter::once(&mut self.counter)
            .chain(&mut self.twins)
            .find(|counter| counter.started_ns == started_ns);
        let added = match known {
            Some(counter) => counter.advance(cpu_ns),
            None => {
                self.twins.push(Counter { started_ns, cpu_ns });
                cpu_ns
            }
        };
        self.total += CpuNanos::from_nanos(added);
        added
    }
}

/// The package as `Settings` named it; it went through the kernel as 32 bits.
pub(crate) fn package_id(package: u32) -> PackageId {
    PackageId(u16::try_from(package).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests;
