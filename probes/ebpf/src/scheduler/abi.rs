// SPDX-License-Identifier: Apache-2.0
//! The structs of bpf/task_time.bpf.c as Rust sees them, and the records of a pass out of their bytes.
//!
//! No field is missing and no padding is implicit; the test compares each size and offset with the BTF in the object.

use std::mem::size_of;

/// The compiled programs. All ELF64 headers are 8-byte aligned, which the parser relies on.
pub(crate) const OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/task_time.bpf.o"));

/// Flag of [`ThreadRecord`]: a kernel thread.
pub(crate) const THREAD_KTHREAD: u32 = 1;
/// Flag of [`ThreadRecord`]: the leader was freed first, `started_ns` says nothing and `comm` is the thread's own.
pub(crate) const THREAD_NAMELESS: u32 = 2;

/// Flag of [`DeadRow`]: of a kernel thread.
pub(crate) const ROW_KTHREAD: u32 = 1;
/// Flag of [`DeadRow`]: the leader of the process is in it.
pub(crate) const ROW_LEADER_GONE: u32 = 2;

/// One thread: alive in a pass, or with its final figures in map `dead_threads`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ThreadRecord {
    /// Address of the kernel's `task_struct`: stays the same as long as the thread lives.
    pub(crate) task: u64,
    /// When this was read, nanoseconds of `CLOCK_MONOTONIC`.
    pub(crate) at_ns: u64,
    /// Start of the thread, nanoseconds of `CLOCK_MONOTONIC`.
    pub(crate) start_ns: u64,
    /// Start of the group leader, nanoseconds of `CLOCK_BOOTTIME`.
    pub(crate) started_ns: u64,
    /// Cgroup in the unified hierarchy.
    pub(crate) cgroup_id: u64,
    /// Time on CPUs since the thread began.
    pub(crate) cpu_ns: u64,
    /// How often it left a CPU since it began.
    pub(crate) switches: u64,
    /// The thread.
    pub(crate) tid: u32,
    /// Its thread group.
    pub(crate) tgid: u32,
    /// Package of the CPU on which it ran last, as user space wrote it into map `packages`.
    pub(crate) package: u32,
    /// [`THREAD_KTHREAD`], [`THREAD_NAMELESS`].
    pub(crate) flags: u32,
    /// Name of the group leader.
    pub(crate) comm: [u8; 16],
}

/// Key of map `dead_threads`: an address has one owner after the other.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct DeadThreadKey {
    /// As in [`ThreadRecord`].
    pub(crate) task: u64,
    /// As in [`ThreadRecord`].
    pub(crate) at_ns: u64,
}

/// Key of map `dead_rows`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct DeadRowKey {
    /// Start of the group leader, nanoseconds of `CLOCK_BOOTTIME`.
    pub(crate) started_ns: u64,
    /// Cgroup in the unified hierarchy.
    pub(crate) cgroup_id: u64,
    /// Thread group.
    pub(crate) tgid: u32,
    /// Package of the CPU.
    pub(crate) package: u32,
}

/// Value of map `dead_rows`: threads that began and ended between two passes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeadRow {
    /// Time on CPUs of all of them.
    pub(crate) cpu_ns: u64,
    /// How often they left a CPU.
    pub(crate) switches: u64,
    /// When `comm` was read, nanoseconds of `CLOCK_MONOTONIC`.
    pub(crate) comm_at_ns: u64,
    /// [`ROW_KTHREAD`], [`ROW_LEADER_GONE`].
    pub(crate) flags: u32,
    /// Always 0.
    pub(crate) pad: u32,
    /// Name of the group leader.
    pub(crate) comm: [u8; 16],
}

/// Key of map `dead_cgroups`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct DeadCgroupKey {
    /// Cgroup in the unified hierarchy.
    pub(crate) cgroup_id: u64,
    /// Package of the CPU.
    pub(crate) package: u32,
    /// Always 0.
    pub(crate) pad: u32,
}

/// Value of map `dead_cgroups`: dead threads that found no room in `dead_rows`, or have no process any more.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeadCgroup {
    /// Time on CPUs of all of them.
    pub(crate) cpu_ns: u64,
    /// How often they left a CPU.
    pub(crate) switches: u64,
}

/// The one element of per-CPU map `burials`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Burials {
    /// Time that found no room in either hash.
    pub(crate) cpu_ns: u64,
    /// Switches of the same threads.
    pub(crate) switches: u64,
    /// Threads that were to go to `dead_threads`.
    pub(crate) reported: u64,
    /// Threads that were added up.
    pub(crate) added: u64,
    /// Threads that found `dead_threads` full.
    pub(crate) threads_full: u64,
    /// Threads that found `dead_rows` full.
    pub(crate) rows_full: u64,
    /// Threads that found `dead_cgroups` full.
    pub(crate) cgroups_full: u64,
}

impl ThreadRecord {
    /// Whether it leads its thread group.
    pub(crate) const fn is_leader(&self) -> bool {
        self.tid == self.tgid
    }

    /// The records of a pass, and how many bytes at the end are no whole record.
    pub(crate) fn parse(bytes: &[u8]) -> (impl Iterator<Item = Self>, usize) {
        let (records, rest) = bytes.as_chunks::<{ size_of::<Self>() }>();
        (records.iter().map(Self::from_bytes), rest.len())
    }

    fn from_bytes(bytes: &[u8; size_of::<Self>()]) -> Self {
        let mut fields = Fields(bytes);
        Self {
            task: u64::from_ne_bytes(fields.next()),
            at_ns: u64::from_ne_bytes(fields.next()),
            start_ns: u64::from_ne_bytes(fields.next()),
            started_ns: u64::from_ne_bytes(fields.next()),
            cgroup_id: u64::from_ne_bytes(fields.next()),
            cpu_ns: u64::from_ne_bytes(fields.next()),
            switches: u64::from_ne_bytes(fields.next()),
            tid: u32::from_ne_bytes(fields.next()),
            tgid: u32::from_ne_bytes(fields.next()),
            package: u32::from_ne_bytes(fields.next()),
            flags: u32::from_ne_bytes(fields.next()),
            comm: fields.next(),
        }
    }
}

/// Fields one after the other, without padding between them.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn next<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk() {
            Some((field, rest)) => {
                self.0 = rest;
                *field
            }
            None => [0; N],
        }
    }
}

#[cfg(test)]
mod tests;
