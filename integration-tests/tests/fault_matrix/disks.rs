// SPDX-License-Identifier: Apache-2.0
//! Rows of what the daemon writes: full disks, and a state file that was damaged.

use integration_tests::child::Killed;
use integration_tests::figures::{charged, rows};
use integration_tests::trial::{Plan, START, Trial};
use integration_tests::{is_root, skip};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const ZONE: &str = "intel-rapl:0";

/// A file system of its own of 256 KiB: a guest's folder takes 44 KiB.
struct Disk(TempDir);

impl Disk {
    fn mount() -> Option<Self> {
        let folder = TempDir::new().expect("a folder");
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=256k", "kepler-test"])
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
        let full = fs::write(self.path().join("full"), vec![0_u8; 512 << 10]);
        assert!(full.is_err(), "512 KiB fit into 256");
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

/// A machine that burns CPU, and what it is charged.
struct Machine {
    _burns: Killed,
    id: String,
    folder: PathBuf,
}

impl Machine {
    fn start(guests: &Path, number: u8) -> Self {
        let id = format!("6f1c0000-0000-4000-80{number:02x}-{:012x}", std::process::id());
        Self {
            _burns: Killed::machine(&id),
            folder: guests.join(&id),
            id,
        }
    }

    /// Microjoules that its guest reads; `None` before it has a folder.
    fn reads(&self) -> Option<u64> {
        let text = fs::read_to_string(self.folder.join("intel-rapl:0/energy_uj")).ok()?;
        Some(text.trim_end().parse().expect("a whole number"))
    }

    /// Microjoules of packages that it was charged in all.
    fn charged(&self, snapshot: &Value) -> Option<u64> {
        let row = rows(snapshot, "vms").iter().find(|row| row["id"] == *self.id)?;
        let zones = rows(snapshot, "zones").iter().enumerate();
        let packages = zones.filter(|(_, zone)| zone["component"] == "package");
        Some(
            packages
                .map(|(index, _)| charged(row, index, "dynamic") + charged(row, index, "idle"))
                .sum(),
        )
    }

    /// Waits until its guest reads all that it was charged, and more than `before`.
    fn wait_until_all_is_read(&self, trial: &Trial, before: u64) -> u64 {
        trial
            .daemon
            .wait_until("the guest reads its charges", |snapshot| {
                let (charged, reads) = (self.charged(snapshot)?, self.reads()?);
                (charged == reads && reads > before).then_some(reads)
            })
    }
}

#[test]
fn a_full_disk_under_the_folders_of_guests() {
    let plan = Plan {
        name: "disk-passthrough",
        thing: "disk of `vm_passthrough.dir`",
        injected: "full while one guest is fed and another one starts, and emptied again",
        must: "the first one's counter stays whole and never falls, the other one has none; when there is room, both read all that they were charged, and the new folder is known as ours",
    };
    let Some(disk) = Disk::mount() else { return };
    let guests = disk.path().join("guests");
    let dir = format!("vm_passthrough.dir={}", guests.display());
    let mut trial = Trial::begin(plan, &[&dir]);
    let mut joules = 0;
    let mut spend = |trial: &Trial| {
        joules += 1;
        trial.meter.set(ZONE, START + joules * 1_000_000);
        trial.windows(2);
    };
    let first = Machine::start(&guests, 1);
    (0..3).for_each(|_| spend(&trial));
    let before = first.wait_until_all_is_read(&trial, 0);
    disk.fill();
    let second = Machine::start(&guests, 2);
    let mut last = before;
    for _ in 0..5 {
        spend(&trial);
        let now = first.reads().expect("it stays");
        assert!(now >= last, "the guest's counter fell from {last} to {now}");
        last = now;
        assert_eq!(second.reads(), None, "there is no room");
    }
    trial.wait_for_rise("kepler_vm_passthrough_errors_total", &[("reason", "io")]);
    let of_outage = trial
        .daemon
        .wait_until("charges", |snapshot| second.charged(snapshot));
    assert!(of_outage > 0, "the second one has run");
    disk.empty();
    trial.wait_for_value("kepler_vm_passthrough_trees", &[], |trees| trees == 2.0);
    let reads = [
        first.wait_until_all_is_read(&trial, before),
        second.wait_until_all_is_read(&trial, of_outage - 1),
    ];
    let mark = fs::read_to_string(second.folder.join(".fed-by-kepler")).expect("a mark");
    assert_eq!(mark, "made\n", "nobody else's: it goes with its machine");
    trial.saw(format!(
        "the first one read {before} µJ before, {last} at the end of the outage and {} after, all that it was charged; the other one none and then {}, of which {of_outage} of the outage",
        reads[0], reads[1]
    ));
    trial.end();
}

/// The machine has a name, and learning a floor is what there is to keep.
fn keeps(dir: &Path) -> [String; 3] {
    [
        format!("state.dir={}", dir.display()),
        "state.machine=of-this-test".to_owned(),
        "attribution.idle.floor=measured".to_owned(),
    ]
}

/// Starts with this in the state file, and gives the trial when it has a name.
fn state(plan: Plan, dir: &Path, reason: &str) -> Trial {
    let settings = keeps(dir);
    let mut trial = Trial::begin(plan, &settings.each_ref().map(String::as_str));
    trial.wait_for_state("kepler_state_errors_total", &[("reason", reason)], 1.0);
    trial.meter.set(ZONE, START + 3_000_000);
    trial.wait_for_paid("package", 0, 3_000_000);
    trial
}

/// Waits until there is something to save.
fn learn(trial: &Trial) {
    trial.daemon.wait_until("a floor", |snapshot| {
        let learned = |zone: &Value| zone["floor_uw"].is_u64();
        rows(snapshot, "zones").iter().any(learned).then_some(())
    });
}

/// What was saved there.
fn saved(dir: &Path) -> Value {
    let bytes = fs::read(dir.join("idle-floor.json")).expect("a state file");
    serde_json::from_slice(&bytes).expect("a whole one")
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
    learn(&trial);
    trial.end_after(|_| {
        let zones = rows(&saved(folder.path()), "zones").len();
        assert!(zones > 0, "nothing was saved");
        Some(format!("a new one with {zones} zones after the next save"))
    });
}

#[test]
fn a_full_disk_under_the_state() {
    let plan = Plan {
        name: "state-full",
        thing: "disk of `state.dir`",
        injected: "full when the daemon starts and when it saves",
        must: "it is said at the start, the old file stays whole, and nothing half-written beside it; the next save with room replaces it",
    };
    let Some(disk) = Disk::mount() else { return };
    // What an earlier run has learned.
    let of_earlier = Plan {
        name: "state-earlier",
        ..plan
    };
    let settings = keeps(disk.path());
    let settings = settings.each_ref().map(String::as_str);
    let earlier = Trial::begin(of_earlier, &settings);
    learn(&earlier);
    drop(earlier.close());
    let file = disk.path().join("idle-floor.json");
    let before = fs::read(&file).expect("a state file");
    disk.fill();
    let with_words = [&settings[..], &["log.level=debug"]].concat();
    let mut trial = Trial::begin(plan, &with_words);
    trial.wait_for_state("kepler_state_errors_total", &[("reason", "write")], 1.0);
    trial.wait_for_state("kepler_state_up", &[], 0.0);
    trial.meter.set(ZONE, START + 3_000_000);
    trial.wait_for_paid("package", 0, 3_000_000);
    trial.end_after(|log| {
        let said = log.iter().filter(|line| line.contains("cannot be saved")).count();
        assert_eq!(said, 2, "at the start and at the save");
        assert_eq!(fs::read(&file).expect("still there"), before);
        assert!(!file.with_extension("json.fresh").exists());
        disk.empty();
        let next = Trial::begin(of_earlier, &settings);
        next.wait_for_value("kepler_state_up", &[], |up| up == 1.0);
        let restored = next.daemon.log().join("\n").contains("idle floors restored");
        assert!(restored, "the old file was good");
        drop(next.close());
        assert_ne!(fs::read(&file).expect("a state file"), before);
        let zones = rows(&saved(disk.path()), "zones").len();
        assert!(zones > 0, "nothing was saved");
        Some(format!(
            "a save failed and left all {} bytes as they were; with room the next daemon went on from them and replaced them",
            before.len()
        ))
    });
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
