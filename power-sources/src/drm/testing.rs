// SPDX-License-Identifier: Apache-2.0
//! A machine of our own for tests: cards below `class/drm` as the driver core lays them out, and processes with open
//! files as procfs shows them.

use crate::testing::sysfs::Sysfs;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use tempfile::TempDir;

/// The machine.
pub(crate) struct Machine {
    pub(crate) sysfs: Sysfs,
    proc: TempDir,
}

/// Where a card's device is, below `devices`.
pub(crate) fn device(address: &str) -> String {
    format!("pci0000:00/{address}")
}

impl Machine {
    /// With neither cards nor processes.
    pub(crate) fn new() -> Self {
        let sysfs = Sysfs::new();
        fs::create_dir_all(sysfs.path("class/drm")).unwrap();
        fs::write(sysfs.path("class/drm/version"), "drm 1.1.0 20060810\n").unwrap();
        Self {
            sysfs,
            proc: TempDir::new().unwrap(),
        }
    }

    pub(crate) fn drm_root(&self) -> PathBuf {
        self.sysfs.path("class/drm")
    }

    pub(crate) fn proc_root(&self) -> PathBuf {
        self.proc.path().to_path_buf()
    }

    /// `cardN` with its connector and render node.
    pub(crate) fn card(&self, number: u32, address: &str, driver: &str, vendor: &str) {
        let device = device(address);
        self.sysfs.fill(
            &format!("devices/{device}"),
            &[("vendor", vendor), ("device", "0x744c")],
        );
        self.sysfs.fill(
            &format!("devices/{device}/power"),
            &[("runtime_status", "active")],
        );
        let _ = fs::remove_file(self.sysfs.path(&format!("devices/{device}/driver")));
        self.sysfs.driver(&device, driver);
        for node in [
            format!("card{number}"),
            format!("card{number}/card{number}-HDMI-A-1"),
            format!("renderD{}", 128 + number),
        ] {
            let home = format!("devices/{device}/drm/{node}");
            fs::create_dir_all(self.sysfs.path(&home)).unwrap();
            let flat = node.rsplit('/').next().unwrap();
            let up = if node.contains('/') { ".." } else { "../.." };
            symlink(up, self.sysfs.path(&home).join("device")).unwrap();
            symlink(format!("../../{home}"), self.drm_root().join(flat)).unwrap();
        }
    }

    /// Writes a file of a card's device.
    pub(crate) fn set(&self, address: &str, file: &str, content: &str) {
        self.set_bytes(address, file, format!("{content}\n").as_bytes());
    }

    pub(crate) fn set_bytes(&self, address: &str, file: &str, bytes: &[u8]) {
        self.sysfs
            .set(&format!("devices/{}/{file}", device(address)), bytes);
    }

    /// A driver that was unbound: the card's nodes and chips are gone, the device stays.
    pub(crate) fn unbind(&self, number: u32, address: &str, hwmon: u32) {
        let device = device(address);
        for node in [
            format!("card{number}"),
            format!("card{number}-HDMI-A-1"),
            format!("renderD{}", 128 + number),
        ] {
            fs::remove_file(self.drm_root().join(node)).unwrap();
        }
        fs::remove_file(self.sysfs.hwmon_root().join(format!("hwmon{hwmon}"))).unwrap();
        for folder in ["drm", "hwmon"] {
            fs::remove_dir_all(self.sysfs.path(&format!("devices/{device}/{folder}"))).unwrap();
        }
    }

    /// A process with standard input only.
    pub(crate) fn process(&self, pid: u32) {
        self.open(pid, 0, "/dev/null", "pos:\t0\nflags:\t0100000\n");
    }

    /// An open GPU file.
    pub(crate) fn gpu_file(&self, pid: u32, fd: u32, text: &str) {
        self.open(pid, fd, "/dev/dri/renderD128", text);
    }

    pub(crate) fn open(&self, pid: u32, fd: u32, target: &str, text: &str) {
        let home = self.proc.path().join(pid.to_string());
        fs::create_dir_all(home.join("fd")).unwrap();
        fs::create_dir_all(home.join("fdinfo")).unwrap();
        let link = home.join(format!("fd/{fd}"));
        if fs::symlink_metadata(&link).is_err() {
            symlink(target, link).unwrap();
        }
        fs::write(home.join(format!("fdinfo/{fd}")), text).unwrap();
    }

    pub(crate) fn close(&self, pid: u32, fd: u32) {
        let home = self.proc.path().join(pid.to_string());
        fs::remove_file(home.join(format!("fd/{fd}"))).unwrap();
        fs::remove_file(home.join(format!("fdinfo/{fd}"))).unwrap();
    }

    pub(crate) fn end(&self, pid: u32) {
        fs::remove_dir_all(self.proc.path().join(pid.to_string())).unwrap();
    }
}

/// What a file of i915 or amdgpu shows: engines with their nanoseconds and how many there are.
pub(crate) fn nanos(driver: &str, address: &str, client: u64, engines: &[(&str, u64, u64)]) -> String {
    let mut text = format!(
        "pos:\t0\nflags:\t02100002\nmnt_id:\t26\nino:\t517\ndrm-driver:\t{driver}\n\
         drm-client-id:\t{client}\ndrm-pdev:\t{address}\ndrm-total-system0:\t2 MiB\n"
    );
    for (engine, nanos, capacity) in engines {
        text += &format!("drm-engine-{engine}:\t{nanos} ns\n");
        if *capacity > 1 {
            text += &format!("drm-engine-capacity-{engine}:\t{capacity}\n");
        }
    }
    text
}

/// What a file of xe shows: engines with their cycles, all by one clock.
pub(crate) fn cycles(address: &str, client: u64, clock: u64, engines: &[(&str, u64, u64)]) -> String {
    let mut text = format!(
        "pos:\t0\nflags:\t0100002\nmnt_id:\t26\nino:\t685\ndrm-driver:\txe\n\
         drm-client-id:\t{client}\ndrm-pdev:\t{address}\ndrm-total-gtt:\t192 KiB\n"
    );
    for (engine, used, capacity) in engines {
        text += &format!("drm-cycles-{engine}:\t{used}\ndrm-total-cycles-{engine}:\t{clock}\n");
        if *capacity > 1 {
            text += &format!("drm-engine-capacity-{engine}:\t{capacity}\n");
        }
    }
    text
}
