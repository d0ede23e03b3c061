// SPDX-License-Identifier: Apache-2.0
//! A cgroup of the unified hierarchy, whose `cpu.stat` is the kernel's own account of what ran in it.

use super::{Guarded, pause};
use attribution::model::CgroupId;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Command;

/// Lives as long as this value; by then it must be empty.
pub(crate) struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// `None`, with a word, where there is no unified hierarchy to write to.
    pub(crate) fn new(name: &str) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "));
        let Some(mount) = mount.and_then(|line| line.split(' ').nth(4)) else {
            println!("skipped: no unified cgroup hierarchy is mounted");
            return None;
        };
        let path = PathBuf::from(mount).join(format!("kepler-bench-{name}-{}", std::process::id()));
        match fs::create_dir(&path) {
            Ok(()) => Some(Self { path }),
            Err(error) => {
                println!("skipped: cannot create {}: {error}", path.display());
                None
            }
        }
    }

    pub(crate) fn id(&self) -> CgroupId {
        CgroupId(fs::metadata(&self.path).map_or(0, |folder| folder.ino()))
    }

    /// What the kernel charged to it, in nanoseconds.
    pub(crate) fn cpu_stat(&self) -> u64 {
        let text = fs::read_to_string(self.path.join("cpu.stat")).unwrap_or_default();
        let usage = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
        usage.and_then(|usage| usage.parse::<u64>().ok()).unwrap_or(0) * 1_000
    }

    /// Ends everything in it (Linux 5.14 and newer).
    pub(crate) fn kill(&self) -> std::io::Result<()> {
        fs::write(self.path.join("cgroup.kill"), "1")
    }

    /// Starts `count` processes in it, one after the other, out of a shell that is in it, too. `each` is a shell command.
    pub(crate) fn storm(&self, count: u32, each: &str) -> Guarded {
        let script = format!(
            r#"echo $$ > "$1/cgroup.procs"; i=0; while [ $i -lt "$2" ]; do {each}; i=$((i+1)); done"#
        );
        let mut command = Command::new("sh");
        command
            .args(["-c", &script, "sh"])
            .arg(&self.path)
            .arg(count.to_string());
        Guarded::start(&mut command)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The last process may still be on its way out.
        for _ in 0..100 {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            pause(20);
        }
        eprintln!("left behind: {}", self.path.display());
    }
}
