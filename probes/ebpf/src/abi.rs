// SPDX-License-Identifier: Apache-2.0
//! The structs of bpf/cpu_time.bpf.c as Rust sees them, and nothing else.
//!
//! No field is missing and no padding is implicit, so every byte the kernel copies has a name here. The test compares
//! each size and offset with the BTF in the object itself. What the fields mean stands beside them in bpf/*.h.

use attribution::model::{Event, EventCounts, TaskKey};

/// The compiled programs. All ELF64 headers are 8-byte aligned, which the parser relies on.
pub(crate) const OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/cpu_time.bpf.o"));

/// Flag of [`TaskMapValue`]: a kernel thread.
pub(crate) const TASK_KTHREAD: u64 = 1;
/// Flag of [`TaskMapValue`]: every thread of the group has begun to exit.
pub(crate) const TASK_ENDED: u64 = 2;

/// Hardware counters that the object has room for.
pub(crate) const COUNTERS: usize = 4;
/// Softirq vectors that the object has room for; the kernel has ten.
pub(crate) const VECTORS: usize = 16;

/// Key of maps `tasks` and `hardware`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct TaskMapKey {
    /// Start of the group leader, nanoseconds of `CLOCK_BOOTTIME`.
    pub(crate) started_ns: u64,
    /// Cgroup in the unified hierarchy.
    pub(crate) cgroup_id: u64,
    /// Thread group; 0 in `hardware` for a row of `overflow`.
    pub(crate) tgid: u32,
    /// Package of the CPU, as user space wrote it into the slot.
    pub(crate) package: u32,
}

impl TaskMapKey {
    /// The process, as everybody else names it.
    pub(crate) fn task(&self) -> TaskKey {
        TaskKey::from_boot_nanos(self.tgid, self.started_ns)
    }
}

/// What is counted beside time. Totals.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Events {
    pub(crate) switches: u64,
    pub(crate) smt_ns: u64,
    pub(crate) page_cache: u64,
    pub(crate) net_tx: u64,
    pub(crate) net_rx: u64,
    pub(crate) block: u64,
}

impl Events {
    /// In the model's words.
    pub(crate) fn counts(&self) -> EventCounts {
        EventCounts::ZERO
            .with(Event::Switches, self.switches)
            .with(Event::SmtOverlap, self.smt_ns)
            .with(Event::PageCacheHits, self.page_cache)
            .with(Event::NetTxIrqs, self.net_tx)
            .with(Event::NetRxIrqs, self.net_rx)
            .with(Event::BlockIrqs, self.block)
    }
}

/// Value of map `tasks`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TaskMapValue {
    /// Time on CPUs of the package since the entry exists. May go back by what a flush had charged too much.
    pub(crate) cpu_ns: u64,
    /// [`TASK_KTHREAD`], [`TASK_ENDED`].
    pub(crate) flags: u64,
    /// Totals since the entry exists.
    pub(crate) events: Events,
    /// When `comm` was read, nanoseconds of `CLOCK_MONOTONIC`.
    pub(crate) comm_stamp_ns: u64,
    /// Name of the group leader.
    pub(crate) comm: [u8; 16],
}

/// Value of map `seats`, two cache lines.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seat {
    /// Who sits here; thread group 0: nobody.
    pub(crate) key: TaskMapKey,
    /// As in map `tasks`.
    pub(crate) value: TaskMapValue,
    /// Always 0.
    pub(crate) pad: [u64; 2],
}

/// Key of map `overflow`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct OverflowKey {
    /// Cgroup in the unified hierarchy.
    pub(crate) cgroup_id: u64,
    /// Package of the CPU.
    pub(crate) package: u32,
    /// Always 0.
    pub(crate) pad: u32,
}

/// Value of map `overflow`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OverflowValue {
    /// Time of tasks that found no room in `tasks`.
    pub(crate) cpu_ns: u64,
    /// What they did.
    pub(crate) events: Events,
}

/// Value of map `hardware`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HardwareValue {
    /// By counter: time of the slices by perf's clock.
    pub(crate) enabled_ns: [u64; COUNTERS],
    /// By counter.
    pub(crate) count: [u64; COUNTERS],
    /// By counter: the part of `enabled_ns` in which it was waiting for its turn.
    pub(crate) missed_ns: [u64; COUNTERS],
}

/// The one element of per-CPU map `readings`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Readings {
    pub(crate) enabled_ns: [u64; COUNTERS],
    pub(crate) count: [u64; COUNTERS],
    pub(crate) missed_ns: [u64; COUNTERS],
    pub(crate) known: u64,
    /// Readings that the kernel refused, and those of events that stand still.
    pub(crate) failed: u64,
}

/// The one element of per-CPU map `softirqs`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Softirqs {
    pub(crate) count: [u64; VECTORS],
    pub(crate) ns: [u64; VECTORS],
    pub(crate) unmeasured: u64,
}

/// The one element of per-CPU map `slots`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) unplaced_ns: u64,
    pub(crate) map_full: u64,
    pub(crate) overflow_full: u64,
    pub(crate) implausible: u64,
    pub(crate) unseen: u64,
    pub(crate) counters_full: u64,
    pub(crate) clock_since: u64,
    pub(crate) clock_busy_ns: u64,
    pub(crate) sibling_busy_ns: u64,
    pub(crate) happened: Events,
    pub(crate) seen: Events,
    pub(crate) events: u64,
    pub(crate) events_seen: u64,
    pub(crate) idled: Events,
    pub(crate) package: u32,
    pub(crate) sibling: u32,
    pub(crate) softirq_total_ns: u64,
    pub(crate) softirq_since: u64,
    pub(crate) softirq_seen_ns: u64,
    pub(crate) softirq_ns: u64,
    pub(crate) task: u64,
    pub(crate) charged_ns: u64,
    pub(crate) ahead_ns: u64,
    pub(crate) queue_ns: u64,
    pub(crate) clock_gap: u64,
    pub(crate) gap_at: u64,
    pub(crate) busy_ns: u64,
    pub(crate) idle_ns: u64,
    pub(crate) idle_since: u64,
}

#[cfg(test)]
mod tests;
