// SPDX-License-Identifier: Apache-2.0
//! Busy and idle time by package, out of the CPUs' slots.
//!
//! Pure: no system call, no clock. The running idle slice is added here instead of in the kernel: an idle CPU would
//! have to be woken by an interrupt only to write down that it slept.

use crate::abi::Slot;
use crate::accounts::package_id;
use attribution::model::{
    CgroupId, Comm, CpuNanos, EventCounts, PackageId, PackageTime, TaskKind, TaskUsage,
};

/// Every possible CPU, by its number.
#[derive(Debug, Default)]
pub(crate) struct Cpus {
    cpus: Vec<Cpu>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Cpu {
    package: u32,
    online: bool,
    busy_ns: u64,
    idle_ns: u64,
}

/// What all slots together could not place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Slices that found `tasks` full.
    pub(crate) map_full: u64,
    /// Slices that found `overflow` full, too.
    pub(crate) overflow_full: u64,
    /// Slices that were refused.
    pub(crate) implausible: u64,
}

impl Cpus {
    /// Takes in the slots of all CPUs. `now_ns` is CLOCK_MONOTONIC from before they were read.
    pub(crate) fn record(&mut self, slots: &[Slot], online: &[u32], now_ns: u64) -> Lost {
        self.cpus.resize(slots.len(), Cpu::default());
        for cpu in &mut self.cpus {
            cpu.online = false;
        }
        for online in online {
            let index = usize::try_from(*online).unwrap_or(usize::MAX);
            if let Some(cpu) = self.cpus.get_mut(index) {
                cpu.online = true;
            }
        }
        let mut lost = Lost::default();
        for (cpu, slot) in self.cpus.iter_mut().zip(slots) {
            cpu.record(slot, now_ns);
            lost.map_full = lost.map_full.saturating_add(slot.map_full);
            lost.overflow_full = lost.overflow_full.saturating_add(slot.overflow_full);
            lost.implausible = lost.implausible.saturating_add(slot.implausible);
        }
        lost
    }

    /// Appends one row per package that has, or had, CPUs online.
    pub(crate) fn report(&self, rows: &mut Vec<PackageTime>) {
        for cpu in &self.cpus {
            if !cpu.online && cpu.busy_ns == 0 && cpu.idle_ns == 0 {
                continue;
            }
            let (busy, idle) = (
                CpuNanos::from_nanos(cpu.busy_ns),
                CpuNanos::from_nanos(cpu.idle_ns),
            );
            let package = package_id(cpu.package);
            let cpus = u32::from(cpu.online);
            match rows.iter_mut().find(|row| row.package == package) {
                Some(row) => {
                    row.cpus = row.cpus.saturating_add(cpus);
                    row.busy += busy;
                    row.idle += idle;
                }
                None => rows.push(PackageTime {
                    package,
                    cpus,
                    busy,
                    idle,
                }),
            }
        }
    }
}

/// A row without a process. Whose code it was is not kept; most of what finds no room is of user space.
pub(crate) fn unnamed(cgroup: CgroupId, package: PackageId, cpu_ns: u64) -> TaskUsage {
    TaskUsage {
        task: None,
        cgroup,
        package,
        cpu: CpuNanos::from_nanos(cpu_ns),
        events: EventCounts::ZERO,
        comm: Comm::default(),
        kind: TaskKind::User,
        ended: false,
    }
}

/// Gives the time that found room in neither hash to the root cgroup. `rows` holds rows without a process only.
pub(crate) fn unplaced(slots: &[Slot], rows: &mut Vec<TaskUsage>) {
    for slot in slots.iter().filter(|slot| slot.unplaced_ns > 0) {
        let package = package_id(slot.package);
        match rows
            .iter_mut()
            .find(|row| row.cgroup == CgroupId::ROOT && row.package == package)
        {
            Some(row) => row.cpu += CpuNanos::from_nanos(slot.unplaced_ns),
            None => rows.push(unnamed(CgroupId::ROOT, package, slot.unplaced_ns)),
        }
    }
}

impl Cpu {
    fn record(&mut self, slot: &Slot, now_ns: u64) {
        self.package = slot.package;
        // A CPU that is offline sits in its idle task and neither runs nor costs. When it comes back its first switch
        // charges the whole absence as idle, in one window: rare, and no task pays for it.
        let running = if slot.idle != 0 && slot.since != 0 && self.online {
            now_ns.saturating_sub(slot.since)
        } else {
            0
        };
        // A slot that was copied while its CPU wrote may miss the slice that just ended; a row never falls for it.
        self.busy_ns = self.busy_ns.max(slot.busy_ns);
        self.idle_ns = self.idle_ns.max(slot.idle_ns.saturating_add(running));
    }
}

#[cfg(test)]
mod tests;
