// SPDX-License-Identifier: Apache-2.0
//! Rows of graphics cards, a laptop's battery, and registers.

use super::gear::{CPUINFO, Watts, breaks, fill};
use integration_tests::trial::{Plan, Trial};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const ADDRESS: &str = "0000:03:00.0";

/// A machine with one card, as `/sys/class/drm` and its driver lay it out, and no processes; and the folder of the card's chip.
fn card(top: &Path, driver: &str, files: &[(&str, &str)]) -> PathBuf {
    let device = top.join("devices").join(ADDRESS);
    let home = device.join("hwmon/hwmon0");
    fill(&home, &[("name", driver)]);
    fill(&home, files);
    symlink("../..", home.join("device")).expect("a link");
    fill(&device.join("power"), &[("runtime_status", "active")]);
    fill(&top.join("drivers").join(driver), &[]);
    symlink(format!("../../drivers/{driver}"), device.join("driver")).expect("a link");
    fill(&top.join("drm/card0"), &[]);
    symlink(format!("../../devices/{ADDRESS}"), top.join("drm/card0/device")).expect("a link");
    fill(&top.join("proc"), &[]);
    home
}

/// The settings for such a machine.
fn settings_of(top: &Path, source: &str) -> [String; 3] {
    let setting = |key: &str, folder: &str| format!("sources.{source}.{key}={}", top.join(folder).display());
    [
        format!("sources.gpu={source}"),
        setting("root", "drm"),
        setting("proc", "proc"),
    ]
}

#[test]
fn a_card_of_amd_that_says_nonsense_and_vanishes() {
    let plan = Plan {
        name: "amd",
        thing: "AMD's card",
        injected: "`power1_average` holds text, and is gone",
        must: "as for a RAPL zone",
    };
    let top = TempDir::new().expect("a folder");
    let home = card(top.path(), "amdgpu", &[("power1_average", "350000000")]);
    // The first bytes of `gpu_metrics` v1.3: a card, and no part of a CPU.
    let metrics = [0x78, 0x00, 1, 3, 0, 0, 0, 0];
    fs::write(home.join("../../gpu_metrics"), metrics).expect("a file");
    let meter = Watts {
        source: "amd-gpu",
        component: "gpu",
        file: home.join("power1_average"),
        text: "350000000",
    };
    let settings = settings_of(top.path(), "amd");
    breaks(plan, &meter, &settings.each_ref().map(String::as_str));
}

#[test]
fn a_card_of_intel_whose_counter_says_nonsense_and_vanishes() {
    let plan = Plan {
        name: "intel",
        thing: "Intel's card",
        injected: "`energy1_input` holds text, and is gone; it counts 2 J meanwhile",
        must: "as for a RAPL zone",
    };
    let top = TempDir::new().expect("a folder");
    let home = card(
        top.path(),
        "xe",
        &[("energy1_input", "5000000"), ("energy1_label", "card")],
    );
    let settings = settings_of(top.path(), "intel");
    let mut trial = Trial::begin(plan, &settings.each_ref().map(String::as_str));
    let file = home.join("energy1_input");
    let counts = |microjoules: u64| fs::write(&file, format!("{microjoules}\n")).expect("a file");
    let paid = |trial: &Trial, joules: f64| {
        trial.wait_for_value("kepler_node_gpu_joules_total", &[], |now| {
            assert!(now <= joules, "{now} J of {joules}");
            now == joules
        })
    };
    paid(&trial, 0.0);
    counts(6_000_000);
    paid(&trial, 1.0);
    for (wrong, reason) in [(Some("banana\n"), "parse"), (None, "gone")] {
        match wrong {
            Some(text) => fs::write(&file, text).expect("a file"),
            None => fs::remove_file(&file).expect("it was there"),
        }
        let labels = [("source", "intel-gpu"), ("reason", reason)];
        trial.wait_for_rise("kepler_source_errors_total", &labels);
        trial.wait_until_down("intel-gpu", "gpu");
    }
    counts(8_000_000);
    paid(&trial, 3.0);
    trial.wait_for_value("kepler_source_up", &[("source", "intel-gpu")], |up| up == 1.0);
    trial.saw("up again without a restart, and the 2 J that it counted meanwhile are paid");
    trial.end();
}

#[test]
fn a_battery_that_says_nonsense_and_is_taken_out() {
    let plan = Plan {
        name: "battery",
        thing: "battery of a laptop that runs on it",
        injected: "`power_now` holds text, and is gone (and no `current_now` beside it)",
        must: "as for a RAPL zone",
    };
    let root = TempDir::new().expect("a folder");
    let battery = [
        ("type", "Battery"),
        ("status", "Discharging"),
        ("present", "1"),
        ("power_now", "45000000"),
    ];
    fill(&root.path().join("BAT0"), &battery);
    let meter = Watts {
        source: "battery",
        component: "platform",
        file: root.path().join("BAT0/power_now"),
        text: "45000000",
    };
    let root = format!("sources.battery.root={}", root.path().display());
    breaks(plan, &meter, &[&root, "sources.platform=battery"]);
}

#[test]
fn registers_that_cannot_be_read_and_a_driver_that_is_unloaded() {
    let plan = Plan {
        name: "msr",
        thing: "RAPL's registers (`/dev/cpu/0/msr`)",
        injected: "reads of them fail, then their file is gone (`rmmod msr`), and comes back; they count 2 J meanwhile",
        must: "as for a RAPL zone",
    };
    let top = TempDir::new().expect("a folder");
    let [root, cpus] = ["dev", "cpus"].map(|name| top.path().join(name));
    fill(&root.join("0"), &[]);
    fill(&cpus, &[("online", "0")]);
    fill(
        &cpus.join("cpu0/topology"),
        &[("physical_package_id", "0"), ("die_id", "0")],
    );
    fill(top.path(), &[("cpuinfo", CPUINFO)]);
    let registers = root.join("0/msr");
    // Memory of this model counts in 2^-16 J, whatever the unit's register says.
    let counts = |joules: u64| {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&registers)
            .expect("a file");
        for (register, value) in [(0x606, 0xa_0e03_u64), (0x619, joules << 16)] {
            file.write_all_at(&value.to_le_bytes(), register)
                .expect("a register");
        }
        file
    };
    let file = counts(10);
    let setting = |key: &str, path: &Path| format!("sources.msr.{key}={}", path.display());
    let settings = [
        "sources.dram=msr".to_owned(),
        setting("root", &root),
        setting("cpus", &cpus),
        setting("cpuinfo", &top.path().join("cpuinfo")),
    ];
    let mut trial = Trial::begin(plan, &settings.each_ref().map(String::as_str));
    counts(11);
    trial.wait_for_paid("dram", 0, 1_000_000);
    let tell = |trial: &mut Trial, reason: &str| {
        let labels = [("source", "rapl-msr"), ("reason", reason)];
        trial.wait_for_rise("kepler_source_errors_total", &labels);
        trial.wait_until_down("rapl-msr", "dram");
    };
    file.set_len(0).expect("ours");
    tell(&mut trial, "io");
    fs::remove_file(&registers).expect("it was there");
    tell(&mut trial, "gone");
    counts(13);
    trial.wait_for_paid("dram", 0, 3_000_000);
    trial.wait_for_value("kepler_source_up", &[("source", "rapl-msr")], |up| up == 1.0);
    trial.saw("up again without a restart, and the 2 J that it counted meanwhile are paid");
    trial.end();
}
