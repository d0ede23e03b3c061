// SPDX-License-Identifier: Apache-2.0
//! Containers of runc in any cgroup: started, entered, killed, and never left behind.

use crate::cgroup::{self, unified};
use crate::daemon::{PATIENCE, pause};
use crate::{has_command, skip};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use tempfile::TempDir;

/// Name of the script that burns, and so of the process that runs it.
pub const BURNER: &str = "kburn";

/// Whether tests can run containers here. Says aloud what is missing.
#[must_use]
pub fn is_here() -> bool {
    if !cgroup::is_here() {
        return false;
    }
    let is_installed = has_command("runc") && has_command("busybox");
    if !is_installed {
        skip("needs runc and busybox-static");
    }
    is_installed
}

/// A container. Deleted with its cgroups when dropped.
pub struct Container {
    id: String,
    cgroup: String,
    bundle: TempDir,
}

impl Container {
    /// Writes the bundle of a container whose process runs `script` in busybox's shell. `$1` of the script
    /// [`BURNER`] in it says how many thousand turns of a loop it burns.
    ///
    /// # Panics
    /// When runc or busybox is missing.
    #[must_use]
    pub fn new(id: &str, cgroup: &str, script: &str) -> Self {
        let container = Self {
            id: id.to_owned(),
            cgroup: cgroup.to_owned(),
            bundle: TempDir::new().expect("a folder"),
        };
        write_rootfs(&container.path("rootfs"));
        let spec = container
            .runc()
            .arg("spec")
            .current_dir(container.bundle.path())
            .status();
        assert!(spec.expect("runc runs").success());
        container.configure(|config| {
            config["process"]["terminal"] = false.into();
            config["process"]["args"] = json!(["/bin/sh", "-c", script]);
            // Raising limits needs CAP_SYS_RESOURCE, which a sandbox may lack.
            config["process"]["rlimits"] = json!([]);
            config["linux"]["cgroupsPath"] = cgroup.into();
            config["linux"]["resources"] = json!({});
        });
        container
    }

    /// Changes its configuration.
    ///
    /// # Panics
    /// When it cannot be read or written.
    pub fn configure(&self, change: impl FnOnce(&mut Value)) {
        let file = self.path("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&file).expect("a spec")).expect("JSON");
        change(&mut config);
        fs::write(&file, config.to_string()).expect("a file");
    }

    /// Starts it and leaves it running.
    ///
    /// # Panics
    /// When it does not start; the message has runc's log.
    pub fn start(&self) {
        let mut run = self.runc();
        run.args(["run", "-d", "--pid-file"]).arg(self.path("pid"));
        self.must(run.arg(&self.id));
    }

    /// Starts it and waits until its process has ended and runc has cleared it away.
    ///
    /// # Panics
    /// As [`Container::start`].
    pub fn run(&self) {
        let mut run = self.runc();
        self.must(run.args(["run", &self.id]));
    }

    /// Runs a further command inside and waits for its end.
    ///
    /// # Panics
    /// When it fails.
    pub fn exec(&self, command: &[&str]) {
        let mut exec = self.runc();
        self.must(exec.arg("exec").arg(&self.id).args(command));
    }

    /// Kills everything in it with SIGKILL and clears it away; it can be started again.
    pub fn kill(&self) {
        drop(self.runc().args(["delete", "--force", &self.id]).status());
    }

    /// Pid of its first process.
    ///
    /// # Panics
    /// When it was not started.
    #[must_use]
    pub fn pid(&self) -> u32 {
        let text = fs::read_to_string(self.path("pid")).expect("a pid file");
        text.trim().parse().expect("a pid")
    }

    /// Waits until its first process has this name.
    ///
    /// # Panics
    /// When it never has.
    pub fn wait_for_name(&self, name: &str) {
        let (end, file) = (Instant::now() + PATIENCE, format!("/proc/{}/comm", self.pid()));
        while fs::read_to_string(&file).unwrap_or_default().trim() != name {
            assert!(Instant::now() < end, "{file} never says {name}");
            pause();
        }
    }

    /// CPU time that the kernel counted for its cgroup, in nanoseconds.
    ///
    /// # Panics
    /// When there is no such cgroup in the unified hierarchy.
    #[must_use]
    pub fn usage_ns(&self) -> u64 {
        let folder = unified().expect("a unified hierarchy");
        let file = folder.join(self.cgroup.trim_start_matches('/')).join("cpu.stat");
        let text = fs::read_to_string(file).expect("cpu.stat");
        let mut lines = text.lines();
        let usage = lines.find_map(|line| line.strip_prefix("usage_usec ")?.parse::<u64>().ok());
        usage.expect("usage_usec") * 1_000
    }

    fn runc(&self) -> Command {
        let mut runc = Command::new("runc");
        runc.arg("--root")
            .arg(self.path("state"))
            .current_dir(self.bundle.path());
        runc
    }

    fn must(&self, command: &mut Command) {
        // Detached, runc would hold the test's own pipes open.
        let log = fs::File::create(self.path("log")).expect("a file");
        let status = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .status()
            .expect("runc runs");
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        assert!(status.success(), "{command:?}: {log}");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.bundle.path().join(name)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.kill();
        clear_away(&self.cgroup);
    }
}

/// Removes the folders that runtimes leave above a container's cgroup, in every hierarchy, as far as nobody uses them.
pub fn clear_away(cgroup: &str) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for mount in mounts.lines() {
        let mut fields = mount.split(' ');
        let (Some(at), Some("cgroup" | "cgroup2")) = (fields.nth(1), fields.next()) else {
            continue;
        };
        for folder in Path::new(cgroup.trim_start_matches('/')).ancestors() {
            // Ends at the first one that others use; the innermost may be gone.
            let folder = (!folder.as_os_str().is_empty()).then(|| Path::new(at).join(folder));
            if folder.is_none_or(|folder| fs::remove_dir(&folder).is_err() && folder.exists()) {
                break;
            }
        }
    }
}

/// Writes the files of a container: busybox as shell and as sleep, and [`BURNER`].
///
/// # Panics
/// When busybox is missing.
pub fn write_rootfs(rootfs: &Path) {
    let bin = rootfs.join("bin");
    fs::create_dir_all(&bin).expect("a folder");
    fs::copy(which("busybox"), bin.join("busybox")).expect("busybox");
    for name in ["sh", "sleep"] {
        std::os::unix::fs::symlink("busybox", bin.join(name)).expect("a link");
    }
    let burner = bin.join(BURNER);
    let turns = "#!/bin/sh\ni=0; while [ $i -lt ${1}000 ]; do i=$((i+1)); done\n";
    fs::write(&burner, turns).expect("a script");
    fs::set_permissions(&burner, fs::Permissions::from_mode(0o755)).expect("a mode");
}

/// Where a command is.
///
/// # Panics
/// When it is not installed.
#[must_use]
pub fn which(command: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(command))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("{command} is not installed"))
}
