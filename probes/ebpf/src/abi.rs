// SPDX-License-Identifier: Apache-2.0
//! The structs of bpf/cpu_time.bpf.c as Rust sees them, and nothing else.
//!
//! No field is missing and no padding is implicit, so every byte the kernel copies has a name here. The test compares
//! each size and offset with the BTF in the object itself.

/// The compiled programs. All ELF64 headers are 8-byte aligned, which the parser relies on.
pub(crate) const OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/cpu_time.bpf.o"));

/// Flag of [`TaskMapValue`]: a kernel thread.
pub(crate) const TASK_KTHREAD: u32 = 1;
/// Flag of [`TaskMapValue`]: every thread of the group has begun to exit.
pub(crate) const TASK_ENDED: u32 = 2;

/// Key of map `tasks`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct TaskMapKey {
    /// Start of the group leader, nanoseconds of `CLOCK_BOOTTIME`.
    pub(crate) started_ns: u64,
    /// Cgroup in the unified hierarchy.
    pub(crate) cgroup_id: u64,
    /// Thread group.
    pub(crate) tgid: u32,
    /// Package of the CPU, as user space wrote it into the slot.
    pub(crate) package: u32,
}

/// Value of map `tasks`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TaskMapValue {
    /// Time on CPUs of the package since the entry exists.
    pub(crate) cpu_ns: u64,
    /// When `comm` was read, nanoseconds of `CLOCK_MONOTONIC`.
    pub(crate) comm_stamp_ns: u64,
    /// [`TASK_KTHREAD`], [`TASK_ENDED`].
    pub(crate) flags: u32,
    /// Always 0.
    pub(crate) pad: u32,
    /// Name of the group leader.
    pub(crate) comm: [u8; 16],
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
}

/// The one element of per-CPU map `slots`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Time of tasks, idle excluded.
    pub(crate) busy_ns: u64,
    /// Time of the idle task up to `since`.
    pub(crate) idle_ns: u64,
    /// The part of `busy_ns` that is in neither hash.
    pub(crate) unplaced_ns: u64,
    /// Slices that found `tasks` full.
    pub(crate) map_full: u64,
    /// Slices that found `overflow` full, too.
    pub(crate) overflow_full: u64,
    /// Slices that were refused.
    pub(crate) implausible: u64,
    /// Package of the CPU.
    pub(crate) package: u32,
    /// 1 while the idle task runs.
    pub(crate) idle: u32,
    /// Start of the running slice, nanoseconds of `CLOCK_MONOTONIC`; 0 before the first switch or flush.
    pub(crate) since: u64,
}

#[cfg(test)]
mod tests;
