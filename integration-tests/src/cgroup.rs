// SPDX-License-Identifier: Apache-2.0
//! A cgroup of the unified hierarchy for a test: made, filled, read, and removed with everything in it.

use crate::{is_root, skip};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where the unified hierarchy is mounted.
#[must_use]
pub fn unified() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mut fields = mounts.lines().map(|line| line.split(' '));
    fields.find_map(|mut line| {
        let (_, at, kind) = (line.next()?, line.next()?, line.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(at))
    })
}

/// Whether tests can charge processes to cgroups here. Says aloud what is missing.
#[must_use]
pub fn is_here() -> bool {
    if !is_root() {
        skip("needs root (cgroups, CAP_BPF, CAP_PERFMON)");
    } else if unified().is_none() {
        skip("needs a mounted unified cgroup hierarchy");
    } else {
        return true;
    }
    false
}

/// A cgroup that lives as long as this value.
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes `path` (relative to the mount) with all its parents.
    ///
    /// # Errors
    /// When there is no unified hierarchy or no right to.
    pub fn create(path: &str) -> io::Result<Self> {
        let mount = unified().ok_or_else(|| io::Error::other("no unified cgroup hierarchy"))?;
        let folder = mount.join(path);
        fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Shell words that put the shell that runs them into the cgroup.
    #[must_use]
    pub fn enter(&self) -> String {
        format!("echo $$ > {}/cgroup.procs", self.0.display())
    }

    /// CPU time that the kernel counted for it, in microseconds.
    ///
    /// # Errors
    /// When `cpu.stat` cannot be read.
    pub fn usage_usec(&self) -> io::Result<u64> {
        let text = fs::read_to_string(self.0.join("cpu.stat"))?;
        let usage = text
            .lines()
            .find_map(|line| line.strip_prefix("usage_usec ")?.parse().ok());
        usage.ok_or_else(|| io::Error::other("no usage_usec in cpu.stat"))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let procs = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        for pid in procs
            .lines()
            .filter_map(|line| line.parse().ok())
            .filter_map(rustix::process::Pid::from_raw)
        {
            let _gone_already = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        // The kernel lets go of a cgroup only when its last process is reaped. Parents that others use stay.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                break;
            }
            crate::daemon::pause();
        }
        let mut parent = self.0.parent();
        while let Some(folder) = parent.filter(|folder| fs::remove_dir(folder).is_ok()) {
            parent = folder.parent();
        }
    }
}
