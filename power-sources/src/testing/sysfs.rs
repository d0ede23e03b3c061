// SPDX-License-Identifier: Apache-2.0
//! A sysfs of our own for tests: devices in `devices/`, links to them in `class/`, as the kernel's driver core has them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Files and what they hold, without the newline.
pub(crate) type Files<'a> = &'a [(&'a str, &'a str)];

/// The tree.
pub(crate) struct Sysfs {
    dir: TempDir,
}

impl Sysfs {
    /// With an empty `class/hwmon`.
    pub(crate) fn new() -> Self {
        let dir = TempDir::new().unwrap();
        fs::create_dir_all(dir.path().join("class/hwmon")).unwrap();
        Self { dir }
    }

    /// `class/hwmon`.
    pub(crate) fn hwmon_root(&self) -> PathBuf {
        self.dir.path().join("class/hwmon")
    }

    /// A path below the top.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// A chip as `hwmon_device_register_with_info` makes it: everything in `hwmonN`. `device` is below `devices`, for
    /// example `platform/APMC0D29:00`.
    pub(crate) fn chip(&self, number: u32, device: &str, name: &str, files: Files<'_>) {
        let home = self.home(number, device);
        self.fill(&home, &[("name", name)]);
        self.fill(&home, files);
    }

    /// A chip as the old registration makes it: `name` and files in the device, `hwmonN` empty; and the driver's link.
    pub(crate) fn old_chip(&self, number: u32, device: &str, driver: &str, name: &str, files: Files<'_>) {
        self.home(number, device);
        let folder = format!("devices/{device}");
        self.driver(device, driver);
        self.fill(&folder, &[("name", name)]);
        self.fill(&folder, files);
    }

    /// Binds a device to a driver.
    pub(crate) fn driver(&self, device: &str, driver: &str) {
        let folder = self.path(&format!("bus/any/drivers/{driver}"));
        fs::create_dir_all(&folder).unwrap();
        let link = self.path(&format!("devices/{device}/driver"));
        if !link.exists() {
            symlink(&folder, link).unwrap();
        }
    }

    /// `devices/<device>/hwmon/hwmonN` with its links; the folder below the top.
    fn home(&self, number: u32, device: &str) -> String {
        let home = format!("devices/{device}/hwmon/hwmon{number}");
        fs::create_dir_all(self.path(&home)).unwrap();
        let last = device.rsplit('/').next().unwrap();
        symlink(format!("../../../{last}"), self.path(&home).join("device")).unwrap();
        symlink(
            format!("../../{home}"),
            self.hwmon_root().join(format!("hwmon{number}")),
        )
        .unwrap();
        home
    }

    /// Writes files into a folder below the top, which is made if need be.
    pub(crate) fn fill(&self, folder: &str, files: Files<'_>) {
        fs::create_dir_all(self.path(folder)).unwrap();
        for (file, content) in files {
            self.set(&format!("{folder}/{file}"), format!("{content}\n").as_bytes());
        }
    }

    /// Writes one file, by its path below the top (links are followed).
    pub(crate) fn set(&self, file: &str, bytes: &[u8]) {
        fs::write(self.path(file), bytes).unwrap();
    }

    /// Writes a file of chip `number`, wherever its driver has it.
    pub(crate) fn chip_set(&self, number: u32, file: &str, content: &str) {
        let home = format!("class/hwmon/hwmon{number}");
        let old = format!("{home}/device/{file}");
        let file = format!("{home}/{file}");
        let place = if self.path(&file).exists() { file } else { old };
        self.set(&place, format!("{content}\n").as_bytes());
    }

    /// Makes reading a file of a chip fail with EISDIR, which the kernel's drivers never answer; also for root.
    pub(crate) fn chip_break(&self, number: u32, file: &str) {
        let path = self.path(&format!("class/hwmon/hwmon{number}/{file}"));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
    }

    /// Takes a chip away, device and all.
    pub(crate) fn remove_chip(&self, number: u32, device: &str) {
        fs::remove_file(self.hwmon_root().join(format!("hwmon{number}"))).unwrap();
        fs::remove_dir_all(self.path(&format!("devices/{device}"))).unwrap();
    }
}

/// Lays out lines of `D path`, `L path<TAB>target` and `F mode path<TAB>content`; newlines in a content are
/// 0x1f, and a content that begins with `!` is the error that reading it gave.
pub(crate) fn lay_out(record: &str, dir: &Path) {
    for line in record.lines() {
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = if kind == "F" {
            rest.split_once(' ').unwrap().1
        } else {
            rest
        };
        let (path, text) = rest.split_once('\t').unwrap_or((rest, ""));
        if !path.starts_with("/sys/") {
            continue;
        }
        let at = dir.join(&path[1..]);
        fs::create_dir_all(if kind == "D" { &at } else { at.parent().unwrap() }).unwrap();
        match kind {
            "L" => symlink(text, &at).unwrap(),
            "F" if !text.starts_with('!') => {
                fs::write(&at, format!("{}\n", text.replace('\x1f', "\n"))).unwrap()
            }
            _ => {}
        }
    }
}
