// SPDX-License-Identifier: Apache-2.0
//! Models out of files, in the real binary: the watts are those that the file says, and a file that cannot be used ends the
//! start with its reason.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_precision_loss,
    reason = "helpers of tests fail as tests do"
)]

use integration_tests::daemon::{self, Daemon};
use integration_tests::figures::{conserves, integer, rows};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A line in busy time: watts at rest, and watts for each busy thread.
fn line(part: &str, idle: f64, per_thread: f64) -> Value {
    json!({
        "model_name": "SGDRegressorTrainer_0",
        part: { "All_Weights": {
            "Bias_Weight": idle,
            "Categorical_Variables": {},
            "Numerical_Variables": {
                "bpf_cpu_time_ms": { "scale": 1000.0, "weight": per_thread },
                "bpf_page_cache_hit": { "scale": 1.0, "weight": 0.0 },
            },
        } },
        "core": { "All_Weights": {} },
        "uncore": { "All_Weights": {} },
    })
}

fn write(folder: &TempDir, name: &str, text: &str) -> String {
    let path = folder.path().join(name);
    fs::write(&path, text).expect("a file");
    path.display().to_string()
}

/// Everything of a component so far: idle and dynamic microjoules.
fn paid(snapshot: &Value, component: &str) -> [f64; 2] {
    let zones = rows(snapshot, "zones")
        .iter()
        .filter(|zone| zone["component"] == component);
    zones.fold([0.0; 2], |[idle, dynamic], zone| {
        [
            idle + integer(zone, "idle_uj") as f64,
            dynamic + integer(zone, "dynamic_uj") as f64,
        ]
    })
}

fn busy_ns(snapshot: &Value) -> f64 {
    rows(snapshot, "packages")
        .iter()
        .map(|package| integer(package, "busy_ns") as f64)
        .sum()
}

#[test]
fn the_watts_are_those_of_the_files() {
    let folder = TempDir::new().expect("a folder");
    let package = write(&folder, "package.json", &line("package", 10.0, 3.0).to_string());
    let platform = write(&folder, "platform.json", &line("platform", 40.0, 6.0).to_string());
    let daemon = Daemon::start(&[
        "--tick",
        "100ms",
        "--set",
        "sources.cpu=estimator",
        "--set",
        "sources.dram=estimator",
        "--set",
        "sources.platform=estimator",
        "--set",
        &format!("estimator.models.package={package}"),
        "--set",
        &format!("estimator.models.platform={platform}"),
    ]);
    let first = daemon.wait_for_tick(3);
    let last = daemon.wait_for_tick(40);
    conserves(&last);
    let source = &last["facts"]["sources"][0];
    let detail = source["detail"].as_str().expect("a detail");
    assert!(
        detail.contains(&package) && detail.contains(&platform),
        "{detail}"
    );
    for zone in rows(&last, "zones")
        .iter()
        .filter(|zone| zone["component"] != "dram")
    {
        assert_eq!(zone["relative_error_p90_permille"], 1000, "{zone}");
        assert_eq!(zone["source"], "trained_power_model");
    }
    let rise = |component| {
        let [[idle, dynamic], [idle_before, dynamic_before]] =
            [paid(&last, component), paid(&first, component)];
        [idle - idle_before, dynamic - dynamic_before]
    };
    let ([idle, dynamic], [whole_idle, whole_dynamic]) = (rise("package"), rise("platform"));
    // 40 W to 10 W, over the same time.
    assert!((whole_idle / idle - 4.0).abs() < 0.001, "{whole_idle} {idle}");
    let window = |snapshot: &Value| integer(&snapshot["window"], "ended_ns") as f64;
    let watts = idle * 1e3 / (window(&last) - window(&first));
    assert!((8.0..12.0).contains(&watts), "{watts} W at rest and not 10");
    // 3 W and 6 W for each busy thread: so many joules per second of CPU time.
    let busy = (busy_ns(&last) - busy_ns(&first)) / 1e9;
    for (found, watts) in [(dynamic, 3.0), (whole_dynamic, 6.0)] {
        let ratio = found / 1e6 / (busy * watts);
        assert!(
            (0.9..1.1).contains(&ratio),
            "{ratio} of {watts} W per thread for {busy} s"
        );
    }
}

#[test]
fn a_file_that_cannot_be_used_ends_the_start_and_check_says_why() {
    let folder = TempDir::new().expect("a folder");
    let mut needs = line("package", 10.0, 3.0);
    needs["package"]["All_Weights"]["Numerical_Variables"]["bpf_page_cache_hit"]["weight"] = json!(2.5);
    let needs = write(&folder, "needs.json", &needs.to_string());
    let broken = write(
        &folder,
        "broken.json",
        "{\"learner\": {\"gradient_booster\": NaN}}",
    );
    for command in ["run", "check"] {
        let out = daemon::command()
            .args([
                "--listen",
                "127.0.0.1:0",
                "--set",
                "sources.cpu=estimator",
                "--set",
            ])
            .arg(format!("estimator.models.package={needs}"))
            .arg("--set")
            .arg(format!("estimator.models.platform={broken}"))
            .arg(command)
            .output()
            .expect("it runs");
        let words = String::from_utf8_lossy(if command == "check" {
            &out.stdout
        } else {
            &out.stderr
        })
        .into_owned();
        assert_eq!(
            out.status.code(),
            Some(if command == "check" { 1 } else { 2 }),
            "{words}"
        );
        for part in [
            format!("`estimator.models.package` = \"{needs}\": package.All_Weights.Numerical_Variables.bpf_page_cache_hit needs the feature").as_str(),
            "this machine can supply bpf_cpu_time_ms",
            format!("`estimator.models.platform` = \"{broken}\": is no JSON object: ").as_str(),
            "line 1 column",
        ] {
            assert!(words.contains(part), "{command}: no {part:?} in {words}");
        }
    }
}

#[test]
fn where_nothing_is_left_to_the_estimator_no_file_is_opened_and_check_says_so() {
    let out = daemon::command()
        .args([
            "--set",
            "sources.cpu=",
            "--set",
            "sources.dram=",
            "--set",
            "sources.platform=",
            "--set",
        ])
        .arg("estimator.models.package=/nonexistent/model.json")
        .arg("check")
        .output()
        .expect("it runs");
    let words = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        words.contains("estimator.models is not used: no figure is left to the estimator"),
        "{words}"
    );
    assert!(!Path::new("/nonexistent/model.json").exists());
}
