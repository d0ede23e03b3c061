// SPDX-License-Identifier: Apache-2.0
//! What the tests on a real kernel share.

use attribution::model::{
    CgroupId, Comm, CpuNanos, EventCounts, PackageId, TaskKey, TaskKind, TaskUsage, Usage,
};
use probe_workloads::cgroup::CgroupMount;
use probe_workloads::procfs::ProcFs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

/// Whether we may make cgroups; says so when not.
pub(crate) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

/// `CLOCK_BOOTTIME`, the clock of start times.
pub(crate) fn boot_now() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(now.tv_sec.try_into().unwrap(), now.tv_nsec.try_into().unwrap())
}

/// The id of a living process.
pub(crate) fn key_of(pid: u32) -> TaskKey {
    ProcFs::new(Path::new("/proc")).stat(pid).unwrap().unwrap().key()
}

/// The id of a cgroup.
pub(crate) fn id_of(mount: &CgroupMount, path: &str) -> CgroupId {
    let folder = mount.directory_of(path).unwrap();
    CgroupId(std::fs::metadata(folder).unwrap().ino())
}

/// A report with one row.
pub(crate) fn report(task: TaskKey, cgroup: CgroupId) -> Usage {
    Usage {
        tasks: vec![TaskUsage {
            task: Some(task),
            cgroup,
            package: PackageId(0),
            cpu: CpuNanos::from_nanos(1),
            events: EventCounts::ZERO,
            comm: Comm::default(),
            kind: TaskKind::User,
            ended: false,
        }],
        ..Usage::default()
    }
}

/// Nanoseconds of the rows that `of` picks.
pub(crate) fn nanos(usage: &Usage, of: impl Fn(&TaskUsage) -> bool) -> u64 {
    let rows = usage.tasks.iter().filter(|row| of(row));
    rows.map(|row| row.cpu.as_nanos()).sum()
}
