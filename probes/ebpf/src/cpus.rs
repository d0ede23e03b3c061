// SPDX-License-Identifier: Apache-2.0
//! Busy, idle and softirq time by CPU and package, out of the CPUs' slots.
//!
//! Pure: no system call, no clock. The running idle slice is added here instead of in the kernel: an idle CPU would
//! have to be woken by an interrupt only to write down that it slept.

use crate::abi::{Slot, Softirqs};
use crate::accounts::package_id;
use crate::totals;
use crate::unnamed;
use attribution::model::{
    CgroupId, Comm, CpuNanos, CpuTime, EventCounts, PackageId, PackageTime, SoftirqTime, TaskKey, TaskKind,
    TaskUsage,
};
use std::time::Duration;

/// Every possible CPU, by its number.
#[derive(Debug, Default)]
pub(crate) struct Cpus {
    cpus: Vec<Cpu>,
    /// Rises that were refused.
    refused: u64,
    /// CLOCK_MONOTONIC of the last reading.
    read_at_ns: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Cpu {
    package: u32,
    online: bool,
    /// Whether it ever was.
    known: bool,
    busy: Total,
    idle: Total,
    softirq: Total,
    /// Of `busy`, what found room in neither hash.
    unplaced: Total,
    idled: EventCounts,
    /// Time that passed and that no reading has shown yet: the reading of a busy CPU ends at its flush, a little before
    /// the clock is read.
    unread_ns: u64,
}

/// More than a drain takes. What is still unread after that was stolen, or the CPU was away: no later reading shows it.
const UNREAD_MAX_NS: u64 = 100_000_000;

/// A total that never falls and never rises faster than the clock.
#[derive(Clone, Copy, Debug, Default)]
struct Total {
    /// As last read.
    raw_ns: u64,
    /// As reported.
    ns: u64,
}

impl Total {
    /// Takes a reading in and adds its rise, at most `room_ns` of it. Returns what it added. A slot that was copied while
    /// its CPU wrote may miss the slice that just ended; a total does not fall for it. `None` when the rise is more than
    /// `most_ns`; then nothing is added.
    fn advance(&mut self, raw_ns: u64, most_ns: u64, room_ns: u64) -> Option<u64> {
        let raw_ns = totals::time(raw_ns);
        let rise = raw_ns.saturating_sub(self.raw_ns);
        self.raw_ns = self.raw_ns.max(raw_ns);
        if rise > most_ns {
            return None;
        }
        let added = rise.min(room_ns);
        self.ns = self.ns.saturating_add(added);
        Some(added)
    }
}

/// What all slots together could not place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Slices that found `tasks` full.
    pub(crate) map_full: u64,
    /// Slices that found `overflow` full, too.
    pub(crate) overflow_full: u64,
    /// Slices whose hardware counts found no room.
    pub(crate) counters_full: u64,
    /// Slices that were refused, in the kernel or here.
    pub(crate) implausible: u64,
    /// Slices that may hold time of somebody whose switch no program saw.
    pub(crate) unseen: u64,
}

impl Cpus {
    /// Takes in the slots of all CPUs. `now_ns` is CLOCK_MONOTONIC from before they were read; `most` is the longest
    /// time that one CPU can have spent since the last call.
    pub(crate) fn record(&mut self, slots: &[Slot], online: &[u32], now_ns: u64, most: Duration) -> Lost {
        self.cpus.resize(slots.len(), Cpu::default());
        for cpu in &mut self.cpus {
            cpu.online = false;
        }
        for online in online {
            let index = usize::try_from(*online).unwrap_or(usize::MAX);
            if let Some(cpu) = self.cpus.get_mut(index) {
                (cpu.online, cpu.known) = (true, true);
            }
        }
        let passed_ns = self.read_at_ns.map(|before| now_ns.saturating_sub(before));
        self.read_at_ns = Some(now_ns);
        let most_ns = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX);
        let mut lost = Lost::default();
        for (cpu, slot) in self.cpus.iter_mut().zip(slots) {
            // One that comes online between the list and this reading waits for the next: nobody has told it its package.
            if cpu.known {
                let refused = cpu.record(slot, now_ns, passed_ns, most_ns);
                self.refused = self.refused.saturating_add(refused);
            }
            lost.map_full = lost.map_full.saturating_add(slot.map_full);
            lost.overflow_full = lost.overflow_full.saturating_add(slot.overflow_full);
            lost.counters_full = lost.counters_full.saturating_add(slot.counters_full);
            lost.implausible = lost.implausible.saturating_add(slot.implausible);
            lost.unseen = lost.unseen.saturating_add(slot.unseen);
        }
        lost.implausible = lost.implausible.saturating_add(self.refused);
        lost
    }

    /// CPUs that are, or were, online.
    pub(crate) fn cpus(&self) -> impl Iterator<Item = CpuTime> {
        (0_u32..)
            .zip(&self.cpus)
            .filter(|(_, cpu)| cpu.was_there())
            .map(|(number, cpu)| CpuTime {
                cpu: number,
                package: package_id(cpu.package),
                online: cpu.online,
                busy: cpu.busy(),
                idle: CpuNanos::from_nanos(cpu.idle.ns),
                steal: None,
            })
    }

    /// Appends one row per package that has, or had, CPUs online.
    pub(crate) fn packages(&self, rows: &mut Vec<PackageTime>) {
        for cpu in self.cpus() {
            let cpus = u32::from(cpu.online);
            match rows.iter_mut().find(|row| row.package == cpu.package) {
                Some(row) => {
                    row.cpus = row.cpus.saturating_add(cpus);
                    row.busy += cpu.busy;
                    row.idle += cpu.idle;
                }
                None => rows.push(PackageTime {
                    package: cpu.package,
                    cpus,
                    busy: cpu.busy,
                    idle: cpu.idle,
                }),
            }
        }
    }

    /// Appends the row of the softirqs of each package: time that no task is charged for, and the events that hit a CPU
    /// while it was idle.
    pub(crate) fn softirq_rows(&self, rows: &mut Vec<TaskUsage>) {
        let first = rows.len();
        for cpu in self.cpus.iter().filter(|cpu| cpu.was_there()) {
            let package = package_id(cpu.package);
            let ours = rows.iter_mut().skip(first).find(|row| row.package == package);
            let time = CpuNanos::from_nanos(cpu.softirq.ns);
            match ours {
                Some(row) => {
                    row.cpu += time;
                    row.events.absorb(&cpu.idled);
                }
                None => rows.push(softirq_row(package, time, cpu.idled)),
            }
        }
    }

    /// Appends softirqs by package and vector; vectors that never ran are left out.
    pub(crate) fn softirq_times(&self, softirqs: &[Softirqs], rows: &mut Vec<SoftirqTime>) {
        let known = self.cpus.iter().zip(softirqs).filter(|(cpu, _)| cpu.known);
        for (cpu, counted) in known {
            let package = package_id(cpu.package);
            let vectors = VECTORS.into_iter().zip(counted.count.iter().zip(&counted.ns));
            for (vector, (count, ns)) in vectors.filter(|(_, (count, _))| **count > 0) {
                let time = CpuNanos::from_nanos(*ns);
                let same = |row: &&mut SoftirqTime| row.package == package && row.vector == vector;
                match rows.iter_mut().find(same) {
                    Some(row) => {
                        row.count = row.count.saturating_add(*count);
                        row.time += time;
                    }
                    None => rows.push(SoftirqTime {
                        package,
                        vector,
                        count: *count,
                        time,
                    }),
                }
            }
        }
    }

    /// Gives the time that found room in neither hash to the root cgroup. `rows` holds rows without a process only.
    pub(crate) fn unplaced_rows(&self, rows: &mut Vec<TaskUsage>) {
        for cpu in self.cpus.iter().filter(|cpu| cpu.unplaced.ns > 0) {
            let package = package_id(cpu.package);
            match rows
                .iter_mut()
                .find(|row| row.cgroup == CgroupId::ROOT && row.package == package)
            {
                Some(row) => row.cpu += CpuNanos::from_nanos(cpu.unplaced.ns),
                None => rows.push(unnamed::usage(
                    CgroupId::ROOT,
                    package,
                    cpu.unplaced.ns,
                    EventCounts::ZERO,
                )),
            }
        }
    }
}

fn softirq_row(package: PackageId, cpu: CpuNanos, events: EventCounts) -> TaskUsage {
    TaskUsage {
        task: Some(TaskKey::SOFTIRQ),
        cgroup: CgroupId::ROOT,
        package,
        cpu,
        events,
        comm: Comm::from_bytes(b"softirq"),
        kind: TaskKind::Kernel,
        ended: false,
    }
}

/// The kernel's vectors by their number (include/linux/interrupt.h), named as `/proc/softirqs` names them.
const VECTORS: [&str; 10] = [
    "hi", "timer", "net_tx", "net_rx", "block", "irq_poll", "tasklet", "sched", "hrtimer", "rcu",
];

impl Cpu {
    const fn was_there(&self) -> bool {
        self.known
    }

    fn busy(&self) -> CpuNanos {
        CpuNanos::from_nanos(self.busy.ns.saturating_add(self.softirq.ns))
    }

    /// `passed_ns` is the time since the last call, if there was one. Returns how many rises were refused.
    fn record(&mut self, slot: &Slot, now_ns: u64, passed_ns: Option<u64>, most_ns: u64) -> u64 {
        self.package = slot.package;
        self.idled = slot.idled.counts();
        let (idle, softirq) = self.with_what_runs(slot, now_ns);
        let busy = self.busy.advance(slot.busy_ns, most_ns, u64::MAX);
        // It is busy time, and refused as that.
        self.unplaced.advance(slot.unplaced_ns, u64::MAX, u64::MAX);
        let softirq = self.softirq.advance(softirq, most_ns, u64::MAX);
        // Idle time is by the run queue's clock, which goes on while the machine falls asleep and wakes up;
        // CLOCK_MONOTONIC stands still meanwhile. A CPU was idle for no longer than it was not busy.
        let spent = busy.unwrap_or(0).saturating_add(softirq.unwrap_or(0));
        let whole = passed_ns.map_or(u64::MAX, |passed| passed.saturating_add(self.unread_ns));
        let room = whole.saturating_sub(spent);
        let idle = self.idle.advance(idle, most_ns, room);
        self.unread_ns = if self.online && passed_ns.is_some() {
            room.saturating_sub(idle.unwrap_or(0)).min(UNREAD_MAX_NS)
        } else {
            0
        };
        [busy, softirq, idle]
            .into_iter()
            .map(|added| u64::from(added.is_none()))
            .sum()
    }

    /// Idle and softirq time, each with its share of the idle slice that still runs.
    fn with_what_runs(&self, slot: &Slot, now_ns: u64) -> (u64, u64) {
        // A CPU that is offline sits in its idle task and neither runs nor costs. When it comes back, its first switch
        // ends a slice that is as long as the absence: more than passed since the last call, and so refused.
        let running = if slot.idle_since != 0 && self.online {
            now_ns.saturating_sub(slot.idle_since)
        } else {
            0
        };
        // Softirqs in that slice are taken out of it when it ends; here it is the same.
        let interrupted = slot
            .softirq_total_ns
            .saturating_sub(slot.softirq_seen_ns)
            .min(running);
        (
            slot.idle_ns.saturating_add(running - interrupted),
            slot.softirq_ns.saturating_add(interrupted),
        )
    }
}

#[cfg(test)]
mod tests;
