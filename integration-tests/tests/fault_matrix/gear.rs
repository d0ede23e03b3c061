// SPDX-License-Identifier: Apache-2.0
//! Rows of other meters (a GPU, hwmon, ACPI) and of a receiver of pushes.

use integration_tests::nvml::Gpus;
use integration_tests::receiver::{Receiver, Reply};
use integration_tests::trial::{Plan, Trial};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const GPU: &str = "gpu 0 uuid=GPU-aaaa power_mw=300000 util=70";

#[test]
fn a_gpu_that_is_lost() {
    let plan = Plan {
        name: "gpu-lost",
        thing: "NVIDIA's driver",
        injected: "every call about the GPU says that it is lost; later the driver is restarted",
        must: "its joules stay, its watts are absent, and it goes on with the new driver",
    };
    let gpus = Gpus::new(&format!("driver epoch=1\n{GPU}\n"));
    let [library, root] = gpus.settings();
    let mut trial = Trial::begin(plan, &["sources.gpu=nvml", &library, &root]);
    let joules = |trial: &Trial, more: f64| {
        trial.wait_for_value("kepler_node_gpu_joules_total", &[], |now| now > more)
    };
    let before = joules(&trial, 30.0);
    gpus.script(&format!("driver epoch=1\n{GPU} lost=1\n"));
    trial.wait_for_rise("kepler_source_errors_total", &[("source", "nvml")]);
    trial.wait_for_state("kepler_source_up", &[("source", "nvml")], 0.0);
    trial.windows(3);
    gpus.script(&format!("driver epoch=2\n{GPU}\n"));
    joules(&trial, before + 60.0);
    trial.wait_for_value("kepler_source_up", &[("source", "nvml")], |up| up == 1.0);
    trial.saw("up again without a restart, its joules go on");
    trial.end();
}

/// A server's processor, whose model has RAPL's memory zone in units of its own.
pub(super) const CPUINFO: &str =
    "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 85\n";

/// Makes a folder with these files.
pub(super) fn fill(folder: &Path, files: &[(&str, &str)]) {
    fs::create_dir_all(folder).expect("a folder");
    for (file, text) in files {
        fs::write(folder.join(file), format!("{text}\n")).expect("a file");
    }
}

/// A meter that is a file of watts.
pub(super) struct Watts<'a> {
    pub(super) source: &'a str,
    pub(super) component: &'a str,
    pub(super) file: PathBuf,
    pub(super) text: &'a str,
}

/// It says nonsense, is gone, and comes back.
pub(super) fn breaks(plan: Plan, meter: &Watts<'_>, settings: &[&str]) {
    let Watts {
        source,
        component,
        file,
        text,
    } = meter;
    let mut trial = Trial::begin(plan, settings);
    let total = format!("kepler_node_{component}_joules_total");
    let joules = |trial: &Trial, more: f64| trial.wait_for_value(&total, &[], |now| now > more);
    joules(&trial, 0.0);
    for (wrong, reason) in [(Some("banana\n"), "parse"), (None, "gone")] {
        match wrong {
            Some(text) => fs::write(file, text).expect("a file"),
            None => fs::remove_file(file).expect("it was there"),
        }
        trial.wait_for_rise(
            "kepler_source_errors_total",
            &[("source", source), ("reason", reason)],
        );
        trial.wait_until_down(source, component);
    }
    let stands = joules(&trial, 0.0);
    trial.windows(3);
    fs::write(file, format!("{text}\n")).expect("a file");
    joules(&trial, stands + 100.0);
    let labels = [("source", *source), ("component", *component)];
    trial.wait_for_value("kepler_source_up", &labels, |up| up == 1.0);
    trial.saw("up again without a restart, its joules go on");
    trial.end();
}

/// A meter of the whole machine below a root as `/sys/class/hwmon`.
fn chip(plan: Plan, source: &str, chip_name: &str, files: &[(&str, &str)], settings: &[&str]) {
    let root = TempDir::new().expect("a folder");
    let folder = root.path().join("hwmon0");
    fill(&folder, &[("name", chip_name)]);
    fill(&folder, files);
    let (file, text) = files[0];
    let meter = Watts {
        source,
        component: "platform",
        file: folder.join(file),
        text,
    };
    let root = format!("sources.{source}.root={}", root.path().display());
    let platform = format!("sources.platform={source}");
    let mut all = vec![&*root, &*platform];
    all.extend(settings);
    breaks(plan, &meter, &all);
}

#[test]
fn a_chip_that_says_nonsense_and_vanishes() {
    let plan = Plan {
        name: "hwmon",
        thing: "hwmon chip",
        injected: "`power1_input` holds text, and is gone",
        must: "as for a RAPL zone",
    };
    let files = [("power1_input", "350000000"), ("power1_label", "Total")];
    let rule = "sources.hwmon.rules=[{chip=\"board_meter\",label=\"Total\",component=\"platform\"}]";
    chip(plan, "hwmon", "board_meter", &files, &[rule]);
}

#[test]
fn an_acpi_meter_that_says_nonsense_and_vanishes() {
    let plan = Plan {
        name: "acpi",
        thing: "ACPI power meter",
        injected: "`power1_average` holds text, and is gone",
        must: "as for a RAPL zone",
    };
    let files = [
        ("power1_average", "350000000"),
        ("power1_average_interval", "100"),
    ];
    chip(plan, "acpi", "power_meter", &files, &[]);
}

#[test]
fn a_receiver_of_pushes_that_refuses() {
    let plan = Plan {
        name: "push",
        thing: "receiver of pushes",
        injected: "503 to every request, then it takes them again",
        must: "what waits is bounded and sent when it is back; no window waits",
    };
    let receiver = Receiver::start();
    let url = format!(
        "exporter.push.remote_write.url=http://{}/api/v1/write",
        receiver.address
    );
    let mut trial = Trial::begin(plan, &[&url, "exporter.push.remote_write.interval=1s"]);
    trial.wait_for_value("kepler_push_up", &[], |up| up == 1.0);
    receiver.usually(Reply::status(503));
    trial.wait_for_rise("kepler_push_failed_requests_total", &[]);
    trial.wait_for_state("kepler_push_up", &[], 0.0);
    receiver.usually(Reply::status(200));
    trial.wait_for_value("kepler_push_up", &[], |up| up == 1.0);
    trial.wait_for_value("kepler_push_dropped_samples_total", &[], |dropped| dropped == 0.0);
    trial.saw("up again, 0 samples given up");
    trial.end();
}
