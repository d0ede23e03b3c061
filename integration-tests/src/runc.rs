// SPDX-License-Identifier: Apache-2.0
//! A real container of runc's in whatever cgroup a test names. Needs root, `runc` and `busybox`.

use crate::has_command;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A busybox container that burns CPU. It ends with this.
pub struct Runc {
    id: String,
    folder: TempDir,
}

impl Runc {
    /// Whether this machine has what it needs.
    #[must_use]
    pub fn is_here() -> bool {
        has_command("runc") && has_command("busybox")
    }

    /// Starts one.
    ///
    /// # Panics
    /// When it does not start; the message has runc's log.
    #[must_use]
    pub fn start(id: &str, cgroup: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        let bin = folder.path().join("rootfs/bin");
        fs::create_dir_all(&bin).expect("a folder");
        fs::copy(which("busybox"), bin.join("sh")).expect("busybox");
        let spec = Command::new("runc")
            .arg("spec")
            .current_dir(folder.path())
            .status();
        assert!(spec.expect("runc runs").success());
        let file = folder.path().join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&file).expect("a spec")).expect("JSON");
        config["process"]["terminal"] = false.into();
        config["process"]["args"] = json!(["/bin/sh", "-c", "while :; do :; done"]);
        // Raising limits needs CAP_SYS_RESOURCE, which a sandbox may lack.
        config["process"]["rlimits"] = json!([]);
        config["linux"]["cgroupsPath"] = cgroup.into();
        config["linux"]["resources"] = json!({});
        fs::write(&file, config.to_string()).expect("a file");
        let started = Self {
            id: id.to_owned(),
            folder,
        };
        let log = started.folder.path().join("log");
        let status = started
            .runc(&["run", "-d", id])
            .current_dir(started.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).expect("a file"))
            .status();
        let words = || fs::read_to_string(&log).unwrap_or_default();
        assert!(status.expect("runc runs").success(), "{}", words());
        started
    }

    fn runc(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("runc");
        command
            .arg("--root")
            .arg(self.folder.path().join("state"))
            .args(arguments);
        command
    }
}

impl Drop for Runc {
    fn drop(&mut self) {
        drop(self.runc(&["delete", "--force", &self.id]).status());
    }
}

fn which(command: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(command))
        .find(|file| file.is_file())
        .expect("installed")
}
