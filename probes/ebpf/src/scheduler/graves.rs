// SPDX-License-Identifier: Apache-2.0
//! Turns the totals of the kernel's maps of the dead that nobody saw alive into rises.
//!
//! Pure: no system call, no clock. Entries go away and come back.

use super::abi::{Burials, DeadCgroup, DeadCgroupKey, DeadRow, DeadRowKey, ROW_KTHREAD, ROW_LEADER_GONE};
use super::processes::{Counts, Look, Processes};
use crate::places::Place;
use attribution::model::{CgroupId, TaskKey, TaskKind};
use std::collections::HashMap;

/// What was read last of each map.
#[derive(Debug, Default)]
pub(crate) struct Graves {
    rows: HashMap<DeadRowKey, Counts>,
    cgroups: HashMap<DeadCgroupKey, Counts>,
    unplaced: Counts,
    /// No rise is longer: the time of all CPUs since the last reading.
    most_ns: u64,
    implausible: u64,
}

/// Whether a map has to be read. A count of the kernel tells that something was put into it, but the count and the map
/// are not read at one moment, so a map is read once more after the last change.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stir {
    count: u64,
    again: bool,
}

impl Stir {
    /// Whether to read, now that the kernel says `count`.
    pub(crate) const fn stirred(&mut self, count: u64) -> bool {
        let changed = self.count != count;
        let read = changed || self.again;
        self.again = changed;
        self.count = count;
        read
    }
}

/// The counts of all CPUs together.
pub(crate) fn sum(burials: &[Burials]) -> Burials {
    burials.iter().fold(Burials::default(), |sum, cpu| Burials {
        cpu_ns: sum.cpu_ns.saturating_add(cpu.cpu_ns),
        switches: sum.switches.saturating_add(cpu.switches),
        reported: sum.reported.saturating_add(cpu.reported),
        added: sum.added.saturating_add(cpu.added),
        threads_full: sum.threads_full.saturating_add(cpu.threads_full),
        rows_full: sum.rows_full.saturating_add(cpu.rows_full),
        cgroups_full: sum.cgroups_full.saturating_add(cpu.cgroups_full),
    })
}

impl Graves {
    /// Begins a reading. `most_ns` is the time of all CPUs since the last one, and some room for rounding.
    pub(crate) const fn begin(&mut self, most_ns: u64) {
        self.most_ns = most_ns;
    }

    /// Takes in one entry of `dead_rows`.
    pub(crate) fn record_row(&mut self, key: &DeadRowKey, row: &DeadRow, processes: &mut Processes) {
        let task = TaskKey::from_boot_nanos(key.tgid, key.started_ns);
        let look = Look {
            comm: row.comm,
            at_ns: row.comm_at_ns,
            kind: if row.flags & ROW_KTHREAD == 0 {
                TaskKind::User
            } else {
                TaskKind::Kernel
            },
        };
        let last = self.rows.get(key).copied();
        if last.is_none() {
            processes.has_dead_row(task, *key, look);
        }
        let now = counts(row.cpu_ns, row.switches);
        self.rows.insert(*key, now);
        let place = place(key.cgroup_id, key.package);
        if let Some(rise) = self.rise(now, last) {
            processes.charge(task, place, rise, look);
        }
        if row.flags & ROW_LEADER_GONE != 0 {
            processes.leader_went(task, look);
        }
    }

    /// The entry of `key` in `dead_rows` was deleted, and held `last` then; `None` when there was none. The next one begins
    /// at zero.
    pub(crate) fn take_row(&mut self, key: &DeadRowKey, last: Option<&DeadRow>, processes: &mut Processes) {
        if let Some(last) = last {
            self.record_row(key, last, processes);
        }
        self.rows.remove(key);
    }

    /// Takes in one entry of `dead_cgroups`.
    pub(crate) fn record_cgroup(
        &mut self,
        key: &DeadCgroupKey,
        cgroup: &DeadCgroup,
        processes: &mut Processes,
    ) {
        let now = counts(cgroup.cpu_ns, cgroup.switches);
        let last = self.cgroups.insert(*key, now);
        let place = place(key.cgroup_id, key.package);
        processes.unnamed.see(place);
        if let Some(rise) = self.rise(now, last) {
            processes.charge_unnamed(place, rise);
        }
    }

    /// As [`Graves::take_row`], of `dead_cgroups`.
    pub(crate) fn take_cgroup(
        &mut self,
        key: &DeadCgroupKey,
        last: Option<&DeadCgroup>,
        processes: &mut Processes,
    ) {
        if let Some(last) = last {
            self.record_cgroup(key, last, processes);
        }
        self.cgroups.remove(key);
    }

    /// Takes in what found room in neither: it goes to the root cgroup, on `package`.
    pub(crate) fn record_unplaced(&mut self, burials: &Burials, package: u32, processes: &mut Processes) {
        let now = counts(burials.cpu_ns, burials.switches);
        let last = std::mem::replace(&mut self.unplaced, now);
        if let Some(rise) = self.rise(now, Some(last)) {
            processes.charge_unnamed(place(CgroupId::ROOT.0, package), rise);
        }
    }

    /// Entries that are deleted from `dead_rows`: the next one with the same key begins at zero.
    pub(crate) fn forget(&mut self, keys: &[DeadRowKey]) {
        for key in keys {
            self.rows.remove(key);
        }
    }

    /// Rises that were refused so far.
    pub(crate) const fn implausible(&self) -> u64 {
        self.implausible
    }

    fn rise(&mut self, now: Counts, last: Option<Counts>) -> Option<Counts> {
        // An entry that holds less than before was deleted and made again.
        let rise = last.and_then(|last| now.since(last)).unwrap_or(now);
        if rise.cpu_ns > self.most_ns {
            self.implausible = self.implausible.saturating_add(1);
            return None;
        }
        Some(rise)
    }
}

const fn counts(cpu_ns: u64, switches: u64) -> Counts {
    Counts { cpu_ns, switches }
}

const fn place(cgroup: u64, package: u32) -> Place {
    Place { cgroup, package }
}

#[cfg(test)]
mod tests;
