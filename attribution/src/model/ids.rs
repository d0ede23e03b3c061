// SPDX-License-Identifier: Apache-2.0
//! Ids as types, so that a pid cannot be taken for a cgroup.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// One beat of the ticker; counts up by one from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TickId(pub u64);

/// A process (thread group) that no later process can be mistaken for: pids are reused, so the start time belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskKey {
    /// Thread-group id, what user space calls the pid.
    pub tgid: u32,
    /// Start of the thread-group leader in clock ticks (`USER_HZ`, 100 per second on Linux) since boot: field 22 of
    /// `/proc/PID/stat`. Kernel stamps in nanoseconds are rounded down to it, as the kernel itself does for `/proc`.
    pub start_ticks: u64,
}

impl TaskKey {
    /// Nanoseconds in one clock tick. `USER_HZ` is 100 on every Linux architecture that this daemon runs on.
    const NANOS_PER_TICK: u64 = 10_000_000;

    /// The row of softirqs, under the pid that no process has: time that interrupts took from whoever was on the CPU, and
    /// that is charged to the kernel instead of them.
    pub const SOFTIRQ: Self = Self {
        tgid: 0,
        start_ticks: 0,
    };

    /// From the kernel's own stamp (`task_struct.start_boottime`, nanoseconds).
    #[must_use]
    pub const fn from_boot_nanos(tgid: u32, start_boottime_ns: u64) -> Self {
        Self {
            tgid,
            start_ticks: start_boottime_ns / Self::NANOS_PER_TICK,
        }
    }
}

/// A cgroup: the inode number of its directory in the unified hierarchy, which is what
/// `bpf_get_current_cgroup_id` reports. 1 is the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CgroupId(pub u64);

impl CgroupId {
    /// The root of the unified hierarchy.
    pub const ROOT: Self = Self(1);
}

/// A CPU package (socket) as `physical_package_id` numbers it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageId(pub u16);

impl PackageId {
    /// Where a CPU is that came online after those that are `listed`. `id` is what the kernel says of a CPU
    /// (`topology/physical_package_id`), if it says anything; where it never does (-1, or no such file, as in some guests),
    /// there is one package. `None` where nobody knows.
    #[must_use]
    pub fn of_later(cpu: u32, listed: &[(u32, Self)], id: impl Fn(u32) -> Option<i64>) -> Option<Self> {
        let all: BTreeSet<Self> = listed.iter().map(|(_, package)| *package).collect();
        let Some(wanted) = id(cpu) else {
            return all.first().filter(|_| all.len() == 1).copied();
        };
        // Whoever listed them may have numbered packages anew: it is where another CPU with the same id is.
        let mut are_ids = true;
        for package in all {
            let mut its = listed.iter().filter(|(_, other)| *other == package);
            let Some(its) = its.find_map(|(cpu, _)| id(*cpu)) else {
                continue;
            };
            if its == wanted {
                return Some(package);
            }
            are_ids &= its == i64::from(package.0);
        }
        u16::try_from(wanted).ok().filter(|_| are_ids).map(Self)
    }
}

/// The kernel's 16-byte command name (`TASK_COMM_LEN`), bytes as they are: a process chooses them freely.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Comm(pub [u8; 16]);

impl Comm {
    /// From any bytes: cut at the first NUL and at 15 bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut comm = [0_u8; 16];
        for (to, from) in comm
            .iter_mut()
            .take(15)
            .zip(bytes.iter().take_while(|byte| **byte != 0))
        {
            *to = *from;
        }
        Self(comm)
    }

    /// As text; bytes that are no UTF-8 become U+FFFD.
    #[must_use]
    pub fn to_text(&self) -> String {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        String::from_utf8_lossy(self.0.get(..end).unwrap_or_default()).into_owned()
    }
}

impl fmt::Debug for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_text())
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// From its text.
            #[must_use]
            pub fn new(text: &str) -> Self {
                Self(Arc::from(text))
            }

            /// As text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// A container as its runtime names it (64 hex digits for most).
    ContainerId
}
name! {
    /// A pod's UID with dashes, as the API server writes it.
    PodUid
}
name! {
    /// A virtual machine.
    VmId
}
name! {
    /// Who sends reports: `usage`, `resolver`, or a source's name. Label of the lateness metrics.
    ReporterId
}

/// A meter as the `source` label writes it: `rapl-sysfs`, `trained_power_model` and so on (metrics contract).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub &'static str);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_stamp_and_a_proc_stamp_name_the_same_process() {
        // /proc/PID/stat field 22 is start_boottime in clock ticks, rounded down (fs/proc/array.c).
        assert_eq!(
            TaskKey::from_boot_nanos(7, 123_459_999_999),
            TaskKey {
                tgid: 7,
                start_ticks: 12_345
            }
        );
    }

    /// What the kernel says of each CPU that is named.
    fn says(ids: &[(u32, i64)]) -> impl Fn(u32) -> Option<i64> {
        move |cpu| ids.iter().find(|(named, _)| *named == cpu).map(|(_, id)| *id)
    }

    #[test]
    fn a_cpu_that_comes_later_is_where_the_kernel_says() {
        // Of two threads a core the second ones were off, and so was all of the third package.
        let kernel = says(&[(0, 0), (1, 1), (2, 0), (3, 1), (4, 2)]);
        let listed = [(0, PackageId(0)), (1, PackageId(1))];
        for (cpu, package) in [(2, 0), (3, 1), (4, 2)] {
            assert_eq!(
                PackageId::of_later(cpu, &listed, &kernel),
                Some(PackageId(package))
            );
        }
    }

    #[test]
    fn packages_that_were_numbered_anew_are_known_by_the_cpus_on_them() {
        // CPU 0 is offline by now and says nothing.
        let kernel = says(&[(1, 36), (2, 70_000), (3, 36), (4, 70_000), (5, 5)]);
        let listed = [(0, PackageId(0)), (1, PackageId(0)), (2, PackageId(1))];
        let of = |cpu| PackageId::of_later(cpu, &listed, &kernel);
        assert_eq!([3, 4].map(of), [0, 1].map(|id| Some(PackageId(id))));
        assert_eq!(of(5), None, "5 may be the number of another");
    }

    #[test]
    fn where_the_kernel_does_not_say_there_is_one_package_or_nobody_knows() {
        let silent = says(&[]);
        let one = [(0, PackageId(4))];
        assert_eq!(PackageId::of_later(1, &one, &silent), Some(PackageId(4)));
        let two = [(0, PackageId(4)), (9, PackageId(5))];
        assert_eq!(PackageId::of_later(1, &two, &silent), None);
        assert_eq!(PackageId::of_later(0, &[], &silent), None);
    }

    #[test]
    fn a_command_name_is_cut_where_the_kernel_cuts_it() {
        assert_eq!(
            Comm::from_bytes(b"qemu-system-x86_64").to_text(),
            "qemu-system-x86"
        );
        assert_eq!(Comm::from_bytes(b"a\0b").to_text(), "a");
        assert_eq!(Comm::from_bytes(b"\xff").to_text(), "\u{fffd}");
    }
}
