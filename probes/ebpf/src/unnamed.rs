// SPDX-License-Identifier: Apache-2.0
//! Rows for time that has a cgroup and no process, and when they leave.
//!
//! Pure: no system call, no clock. Nobody says that such a row has ended: its processes are not known, and a cgroup that
//! was removed says nothing either. So a row leaves when nothing has come for a while and all that did is paid, and its
//! entry of the kernel's map is to be deleted then, which makes room for another cgroup's. What comes after that is a new
//! row that begins at zero. Whoever books rows takes one for new only when a report has been without it: until such a
//! report is acknowledged, what comes is kept back.

use crate::accounts::package_id;
use attribution::model::{
    CgroupId, Comm, CpuNanos, EventCounts, MonotonicNanos, PackageId, TaskKind, TaskUsage, TickId,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// Where time belongs, beside the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    /// Cgroup in the unified hierarchy.
    pub(crate) cgroup: u64,
    /// Package of the CPU.
    pub(crate) package: u32,
}

impl Place {
    /// The root cgroup is there as long as the machine, and its row holds what fitted nowhere, too: it never leaves.
    const fn may_leave(self) -> bool {
        self.cgroup != CgroupId::ROOT.0
    }
}

/// All rows without a process. Listed are as many as there is room for, and one for each entry of the kernel's map; gone and
/// not yet forgotten no more than that: without acknowledgements no other can leave.
#[derive(Debug)]
pub(crate) struct Unnamed {
    rows: BTreeMap<Place, Row>,
    room: usize,
    keep: Duration,
    /// Rows that are gone and wait for their acknowledgement.
    gone: usize,
}

#[derive(Debug, Default)]
struct Row {
    cpu_ns: u64,
    events: EventCounts,
    /// Whether anything came since the last report.
    rose: bool,
    /// When, and with which report, something came last.
    rose_at: MonotonicNanos,
    settled: TickId,
    /// The first report that it is not in, once it has left.
    gone: Option<TickId>,
}

impl Unnamed {
    /// `room`: rows that may be listed; what comes beyond and has no entry goes to the root cgroup. `keep`: how long one is listed after its
    /// last rise.
    pub(crate) const fn new(room: usize, keep: Duration) -> Self {
        Self {
            rows: BTreeMap::new(),
            room,
            keep,
            gone: 0,
        }
    }

    /// There is an entry in the kernel's map, whatever it holds: it has a row, with which it leaves.
    pub(crate) fn see(&mut self, place: Place) {
        self.rows.entry(place).or_insert_with(|| Row {
            rose: true,
            ..Row::default()
        });
    }

    /// Adds what came.
    pub(crate) fn add(&mut self, place: Place, cpu_ns: u64, events: &EventCounts) {
        if cpu_ns == 0 && *events == EventCounts::ZERO {
            return;
        }
        let known = self.rows.contains_key(&place) || self.rows.len() - self.gone < self.room;
        let cgroup = if known { place.cgroup } else { CgroupId::ROOT.0 };
        let row = self.rows.entry(Place { cgroup, ..place }).or_default();
        row.cpu_ns = row.cpu_ns.saturating_add(cpu_ns);
        row.events.absorb(events);
        row.rose = true;
    }

    /// Appends the report for `tick` to `rows`, and who leaves with it to `left`: their entries are to be deleted from the
    /// kernel's map. `acked` is the newest tick whose window has closed with such a report in it.
    pub(crate) fn report(
        &mut self,
        tick: TickId,
        acked: TickId,
        now: MonotonicNanos,
        rows: &mut Vec<TaskUsage>,
        left: &mut Vec<Place>,
    ) {
        let (keep, gone) = (self.keep, &mut self.gone);
        self.rows.retain(|place, row| {
            if let Some(since) = row.gone {
                if since > acked {
                    return true;
                }
                *gone = gone.saturating_sub(1);
                if !row.rose {
                    return false;
                }
                row.gone = None;
            }
            if row.rose {
                (row.rose, row.rose_at, row.settled) = (false, now, tick);
            } else if place.may_leave() && row.settled <= acked && now.since(row.rose_at) >= keep {
                *row = Row {
                    gone: Some(tick),
                    ..Row::default()
                };
                *gone += 1;
                left.push(*place);
                return true;
            }
            rows.push(usage(
                CgroupId(place.cgroup),
                package_id(place.package),
                row.cpu_ns,
                row.events,
            ));
            true
        });
    }
}

/// A row without a process. Whose code it was is not kept; most of what finds no room is of user space.
pub(crate) fn usage(cgroup: CgroupId, package: PackageId, cpu_ns: u64, events: EventCounts) -> TaskUsage {
    TaskUsage {
        task: None,
        cgroup,
        package,
        cpu: CpuNanos::from_nanos(cpu_ns),
        events,
        comm: Comm::default(),
        kind: TaskKind::User,
        ended: false,
    }
}

#[cfg(test)]
mod tests;
