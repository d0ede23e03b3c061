// SPDX-License-Identifier: Apache-2.0
//! What the tests on a real kernel share; each file of tests uses a part.
#![allow(dead_code, reason = "compiled into each file of tests, which uses a part")]

use attribution::model::{
    CgroupId, Comm, CpuNanos, EventCounts, PackageId, TaskKey, TaskKind, TaskUsage, Usage,
};
use probe_workloads::cgroup::CgroupMount;
use probe_workloads::procfs::ProcFs;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

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
    CgroupId(fs::metadata(folder).unwrap().ino())
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

/// A child that is killed when the test ends, however it ends.
pub(crate) struct Killed(pub(crate) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A cgroup that is removed when the test ends.
pub(crate) struct Fresh {
    /// As `/proc/PID/cgroup` has it.
    pub(crate) path: String,
    folder: PathBuf,
}

impl Fresh {
    /// `None`, said why, where it cannot be made.
    pub(crate) fn new(mount: &CgroupMount, name: &str) -> Option<Self> {
        Self::at(mount, format!("/{name}-{}.service", std::process::id()))
    }

    /// As [`Self::new`], at this path.
    pub(crate) fn at(mount: &CgroupMount, path: String) -> Option<Self> {
        let folder = mount.directory_of(&path)?;
        match fs::create_dir(&folder) {
            Ok(()) => Some(Self { path, folder }),
            Err(error) => {
                eprintln!("skipped: cannot make {}: {error}", folder.display());
                None
            }
        }
    }

    /// Moves a process into the cgroup.
    pub(crate) fn take(&self, pid: u32) {
        fs::write(self.folder.join("cgroup.procs"), pid.to_string()).unwrap();
    }

    /// A shell that enters the cgroup and then runs `script`.
    pub(crate) fn run(&self, script: &str) -> Command {
        let mut command = Command::new("sh");
        let procs = self.folder.join("cgroup.procs");
        command.args(["-c", &format!("echo $$ > {} && {script}", procs.display())]);
        command
    }

    /// The kernel's own counter.
    pub(crate) fn usage_nanos(&self) -> u64 {
        let text = fs::read_to_string(self.folder.join("cpu.stat")).unwrap();
        let usage = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
        usage.unwrap().parse::<u64>().unwrap() * 1_000
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        // The kernel lets a killed process leave its cgroup a moment after it was waited for.
        let start = Instant::now();
        while fs::remove_dir(&self.folder).is_err() && start.elapsed() < Duration::from_secs(5) {
            std::thread::yield_now();
        }
    }
}
