// SPDX-License-Identifier: Apache-2.0
//! Reads processes below a proc mount. Keeps its path and its buffer between reads, so that a scan of thousands of
//! processes allocates nothing.

use super::{CgroupLine, CpuTimes, PidStat, status};
use crate::error::WorkloadError;
use crate::files::{read_into, vanished};
use attribution::model::Comm;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// A proc mount.
#[derive(Debug)]
pub struct ProcFs {
    root: PathBuf,
    path: PathBuf,
    digits: String,
    buffer: Vec<u8>,
}

impl ProcFs {
    /// The proc mount at `root` (`/proc`, `/host/proc`).
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            path: root.to_owned(),
            digits: String::new(),
            buffer: Vec::new(),
        }
    }

    /// Puts the ids of all processes into `pids`.
    ///
    /// # Errors
    /// When the mount itself cannot be listed.
    pub fn pids(&self, pids: &mut Vec<u32>) -> Result<(), WorkloadError> {
        pids.clear();
        let failed = |error| WorkloadError::io(&self.root, error);
        for entry in fs::read_dir(&self.root).map_err(failed)? {
            let name = match entry {
                Ok(entry) => entry.file_name(),
                Err(error) if vanished(&error) => continue,
                Err(error) => return Err(failed(error)),
            };
            pids.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
        }
        Ok(())
    }

    /// `/proc/PID/stat`; `None` when there is no such process any more.
    ///
    /// # Errors
    /// When the file may not be read or is none.
    pub fn stat(&mut self, pid: u32) -> Result<Option<PidStat>, WorkloadError> {
        if !self.read(pid, "stat")? {
            return Ok(None);
        }
        match PidStat::parse(&self.buffer) {
            Some(stat) => Ok(Some(stat)),
            None => Err(WorkloadError::malformed(&self.path, "process status line")),
        }
    }

    /// Whose process it is by `/proc/PID/status`, as real user id; `None` when there is no such process any more.
    ///
    /// # Errors
    /// When the file may not be read or does not say.
    pub fn user(&mut self, pid: u32) -> Result<Option<u32>, WorkloadError> {
        if !self.read(pid, "status")? {
            return Ok(None);
        }
        match status::real_user(&self.buffer) {
            Some(user) => Ok(Some(user)),
            None => Err(WorkloadError::malformed(&self.path, "user id")),
        }
    }

    /// `/proc/PID/cgroup`, all lines; `None` when there is no such process any more.
    ///
    /// # Errors
    /// When the file may not be read or holds no line.
    pub fn cgroups(&mut self, pid: u32) -> Result<Option<Vec<CgroupLine>>, WorkloadError> {
        if !self.read(pid, "cgroup")? {
            return Ok(None);
        }
        let lines = CgroupLine::parse_all(&self.buffer);
        if lines.is_empty() {
            return Err(WorkloadError::malformed(&self.path, "cgroup line"));
        }
        Ok(Some(lines))
    }

    /// `/proc/PID/comm`; `None` when there is no such process any more.
    ///
    /// # Errors
    /// When the file may not be read.
    pub fn comm(&mut self, pid: u32) -> Result<Option<Comm>, WorkloadError> {
        if !self.read(pid, "comm")? {
            return Ok(None);
        }
        // The kernel ends the file with one line feed; others belong to the name.
        let name = self.buffer.strip_suffix(b"\n").unwrap_or(&self.buffer);
        Ok(Some(Comm::from_bytes(name)))
    }

    /// The `cpuN` lines of `/proc/stat`, into `lines`.
    ///
    /// # Errors
    /// When the file cannot be read or has none.
    pub fn cpu_times(&mut self, lines: &mut Vec<CpuTimes>) -> Result<(), WorkloadError> {
        self.path.clone_from(&self.root);
        self.path.push("stat");
        if !read_into(&self.path, &mut self.buffer)? {
            return Err(WorkloadError::Missing {
                path: self.path.clone(),
            });
        }
        CpuTimes::parse_all(&self.buffer, lines)
            .ok_or_else(|| WorkloadError::malformed(&self.path, "line of a CPU"))
    }

    fn read(&mut self, pid: u32, file: &str) -> Result<bool, WorkloadError> {
        self.digits.clear();
        // Writing to a string cannot fail.
        let _ = write!(self.digits, "{pid}");
        self.path.clone_from(&self.root);
        self.path.push(&self.digits);
        self.path.push(file);
        read_into(&self.path, &mut self.buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_real_process_and_its_death() {
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut proc = ProcFs::new(Path::new("/proc"));
        let stat = proc.stat(child.id()).unwrap().unwrap();
        assert_eq!((stat.pid, stat.parent), (child.id(), std::process::id()));
        let mut pids = Vec::new();
        proc.pids(&mut pids).unwrap();
        assert!(pids.contains(&child.id()) && pids.contains(&std::process::id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(proc.stat(child.id()).unwrap().is_none());
        assert!(proc.cgroups(child.id()).unwrap().is_none());
        assert!(proc.comm(child.id()).unwrap().is_none());
    }

    #[test]
    fn this_process_has_a_name_and_the_machine_has_cpus() {
        let mut proc = ProcFs::new(Path::new("/proc"));
        let stat = proc.stat(std::process::id()).unwrap().unwrap();
        assert_eq!(proc.comm(std::process::id()).unwrap(), Some(stat.comm));
        let mut lines = Vec::new();
        proc.cpu_times(&mut lines).unwrap();
        assert!(lines.iter().any(|line| line.busy_ticks > 0));
        assert!(lines.iter().any(|line| line.cpu == stat.processor));
    }

    #[test]
    fn garbage_costs_its_process_and_says_which_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("7")).unwrap();
        fs::write(dir.path().join("7/stat"), "nonsense").unwrap();
        fs::write(dir.path().join("7/cgroup"), "").unwrap();
        fs::write(dir.path().join("7/comm"), "two\nlines\n").unwrap();
        let mut proc = ProcFs::new(dir.path());
        let error = proc.stat(7).unwrap_err();
        assert!(
            error.to_string().contains("7/stat holds no process status line"),
            "{error}"
        );
        assert!(proc.cgroups(7).is_err());
        assert_eq!(proc.comm(7).unwrap().unwrap().to_text(), "two\nlines");
        assert!(matches!(
            proc.cpu_times(&mut Vec::new()),
            Err(WorkloadError::Missing { .. })
        ));
    }
}
