// SPDX-License-Identifier: Apache-2.0
//! Rows for time that has a cgroup and no process.
//!
//! Pure: no system call, no clock. Nobody says that such a row has ended: its processes are not known, and a cgroup that
//! was removed says nothing either. So it leaves when it has rested for a while ([`Listing`]), and its entry of the
//! kernel's map with it, which makes room for another cgroup's.

use crate::accounts::package_id;
use crate::listing::{Listing, Moment, Turn};
use crate::places::Place;
use attribution::model::{CgroupId, Comm, CpuNanos, EventCounts, PackageId, TaskKind, TaskUsage};
use std::collections::BTreeMap;
use std::time::Duration;

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

#[derive(Debug)]
struct Row {
    cpu_ns: u64,
    events: EventCounts,
    listing: Listing,
}

impl Row {
    const fn new() -> Self {
        Self {
            cpu_ns: 0,
            events: EventCounts::ZERO,
            listing: Listing::new(),
        }
    }
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
        self.rows.entry(place).or_insert_with(Row::new);
    }

    /// Adds what came.
    pub(crate) fn add(&mut self, place: Place, cpu_ns: u64, events: &EventCounts) {
        if cpu_ns == 0 && *events == EventCounts::ZERO {
            return;
        }
        let known = self.rows.contains_key(&place) || self.rows.len() - self.gone < self.room;
        let cgroup = if known { place.cgroup } else { CgroupId::ROOT.0 };
        let row = self
            .rows
            .entry(Place { cgroup, ..place })
            .or_insert_with(Row::new);
        row.cpu_ns = row.cpu_ns.saturating_add(cpu_ns);
        row.events.absorb(events);
        row.listing.rise();
    }

    /// Appends the rows of a report to `rows`, and who leaves with it to `left`: their entries are to be deleted from the
    /// kernel's map.
    pub(crate) fn report(&mut self, now: &Moment, rows: &mut Vec<TaskUsage>, left: &mut Vec<Place>) {
        let (keep, gone) = (self.keep, &mut self.gone);
        self.rows.retain(|place, row| {
            let was_away = row.listing.is_away();
            let turn = row.listing.turn(now, keep, place.may_leave());
            match turn {
                Turn::Listed => rows.push(usage(
                    CgroupId(place.cgroup),
                    package_id(place.package),
                    row.cpu_ns,
                    row.events,
                )),
                Turn::Leaves => {
                    (row.cpu_ns, row.events) = (0, EventCounts::ZERO);
                    left.push(*place);
                }
                Turn::Away | Turn::Over => {}
            }
            let is_away = matches!(turn, Turn::Leaves | Turn::Away);
            *gone = (*gone + usize::from(is_away)).saturating_sub(usize::from(was_away));
            turn != Turn::Over
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
