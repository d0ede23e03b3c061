// SPDX-License-Identifier: Apache-2.0
//! Rows of what the daemon writes: full disks, and a state file that was damaged.

use integration_tests::child::Killed;
use integration_tests::trial::{Plan, START, Trial};
use integration_tests::{is_root, skip};
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const ZONE: &str = "intel-rapl:0";

/// A file system of its own of 64 KiB.
struct Disk(TempDir);

impl Disk {
    fn mount() -> Option<Self> {
        let folder = TempDir::new().expect("a folder");
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=64k", "kepler-test"])
            .arg(folder.path());
        match is_root() && mount.status().is_ok_and(|status| status.success()) {
            true => Some(Self(folder)),
            false => {
                skip("needs root and the right to mount");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all the room that there is.
    fn fill(&self) {
        // The last page may be there already or not: until nothing goes in any more.
        let full = fs::write(self.path().join("full"), vec![0_u8; 128 << 10]);
        assert!(full.is_err(), "128 KiB fit into 64");
    }

    fn empty(&self) {
        fs::remove_file(self.path().join("full")).expect("ours");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.path()).status());
    }
}

#[test]
fn a_full_disk_under_the_folders_of_guests() {
    let plan = Plan {
        name: "disk-passthrough",
        thing: "disk of `vm_passthrough.dir`",
        injected: "full, and emptied again",
        must: "a guest reads its last counters until there is room, then all that it was charged",
    };
    let Some(disk) = Disk::mount() else { return };
    let dir = format!("vm_passthrough.dir={}", disk.path().join("guests").display());
    let mut trial = Trial::begin(plan, &[&dir]);
    disk.fill();
    let id = format!("6f1c0000-0000-4000-8000-{:012x}", std::process::id());
    let _machine = Killed::machine(&id);
    for step in 1..=5 {
        trial.meter.set(ZONE, START + step * 1_000_000);
        trial.windows(2);
    }
    trial.wait_for_rise("kepler_vm_passthrough_errors_total", &[("reason", "io")]);
    disk.empty();
    trial.wait_for_value("kepler_vm_passthrough_trees", &[], |trees| trees == 1.0);
    trial.saw("its folder is written when there is room");
    trial.end();
}

/// Starts with this in the state file, and gives the trial when it has a name.
fn state(plan: Plan, dir: &Path, reason: &str) -> Trial {
    let dir = format!("state.dir={}", dir.display());
    // The machine has a name, and learning a floor is what there is to keep.
    let settings = [
        &*dir,
        "state.machine=of-this-test",
        "attribution.idle.floor=measured",
    ];
    let mut trial = Trial::begin(plan, &settings);
    trial.wait_for_state("kepler_state_errors_total", &[("reason", reason)], 1.0);
    trial.meter.set(ZONE, START + 3_000_000);
    trial.wait_for_paid("package", 0, 3_000_000);
    trial
}

#[test]
fn a_state_file_that_was_damaged() {
    let plan = Plan {
        name: "state-damaged",
        thing: "state file",
        injected: "half of it is missing",
        must: "it is set aside with a word, floors are learned anew, the next save makes a new one",
    };
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("idle-floor.json"), "{\"version\": 1, \"sav").expect("a file");
    let mut trial = state(plan, folder.path(), "broken");
    let aside = fs::read_to_string(folder.path().join("idle-floor.json.broken")).expect("set aside");
    assert_eq!(aside, "{\"version\": 1, \"sav");
    trial.saw("it lies beside as idle-floor.json.broken");
    trial.end();
}

#[test]
fn a_state_folder_that_cannot_be_written() {
    let plan = Plan {
        name: "state-unwritable",
        thing: "state directory",
        injected: "there is a file in its place",
        must: "it is said at the start and not when it is too late; nothing else is concerned",
    };
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("a file");
    let mut trial = state(plan, &file.join("kepler"), "write");
    trial.wait_for_state("kepler_state_up", &[], 0.0);
    trial.end();
}
