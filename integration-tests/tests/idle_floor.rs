// SPDX-License-Identifier: Apache-2.0
//! The learned idle floor of the daemon on a meter that the test moves: it is learned, saved, there again after a
//! restart, and what is wrong with the state directory costs only itself.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

use integration_tests::daemon::{Daemon, command, pause};
use integration_tests::figures::{conserves, integer, nothing_fell, rows};
use integration_tests::tree::Powercap;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;
use tempfile::TempDir;

const START: u64 = 1_000_000;
/// What the meter counts, whoever runs.
const WATTS: u64 = 40;

/// A meter that counts on in real time.
struct Meter {
    tree: Arc<Powercap>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Meter {
    fn new() -> Self {
        let (tree, stop) = (Arc::new(Powercap::new(START)), Arc::new(AtomicBool::new(false)));
        let (moved, stopped, began) = (Arc::clone(&tree), Arc::clone(&stop), Instant::now());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let micros = u64::try_from(began.elapsed().as_micros()).expect("a short test");
                moved.set("intel-rapl:0", START + micros * WATTS);
                pause();
            }
        });
        Self {
            tree,
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

fn daemon(meter: &Meter, dir: &Path) -> Daemon {
    let root = format!("sources.rapl.root={}", meter.tree.root().display());
    let dir = format!("state.dir={}", dir.display());
    let mut arguments = vec!["--tick", "300ms"];
    for setting in [
        &root,
        &dir,
        "sources.cpu=rapl",
        "sources.dram=",
        "sources.platform=",
        "sources.gpu=",
        "state.machine=of-this-test",
    ] {
        arguments.extend(["--set", setting]);
    }
    Daemon::start(&arguments)
}

fn package(snapshot: &Value) -> Option<&Value> {
    rows(snapshot, "zones")
        .iter()
        .find(|zone| zone["component"] == "package")
}

fn saved(dir: &Path) -> PathBuf {
    dir.join("idle-floor.json")
}

fn read(dir: &Path) -> Value {
    serde_json::from_slice(&fs::read(saved(dir)).expect("it was saved")).expect("JSON")
}

#[test]
fn a_restarted_daemon_has_its_floor_in_the_first_window_and_no_total_of_it_falls() {
    let folder = TempDir::new().expect("a folder");
    let dir = folder.path().join("state");
    let meter = Meter::new();
    // Windows enough for some bin to be believed. Where other tests make the load jump they may not be, and where they keep
    // the disk busy the last save is not waited for, so there is a second and a third time.
    for _ in 0..3 {
        let learning = daemon(&meter, &dir);
        learning.wait_for_tick(80);
        assert_eq!(learning.stop(), Some(0));
        if saved(&dir).exists() {
            break;
        }
    }
    let mut state = read(&dir);
    assert_eq!(
        (&state["version"], &state["machine"]["firmware"]),
        (&1.into(), &"state.machine of-this-test".into())
    );
    let zone = &state["zones"][0];
    assert_eq!(
        (&zone["source"], &zone["zone"]),
        (&"rapl-sysfs".into(), &"package/socket0".into())
    );
    for point in zone["points"].as_array().expect("points") {
        let watts = point["power_uw"].as_u64().expect("power") / 1_000_000;
        assert!((36..=44).contains(&watts), "{zone:#}");
    }
    // Rest, which nobody sees on a machine that other tests load.
    let rest = serde_json::json!({"busy_ppm": 0, "power_uw": 30_000_000, "error_uw": 50_000, "samples": 32, "age_s": 5});
    state["zones"][0]["points"] = vec![rest].into();
    fs::write(saved(&dir), state.to_string()).expect("a file");

    let mut daemon = daemon(&meter, &dir);
    let first = daemon.wait_until("a first bill", |snapshot| {
        let zone = package(snapshot)?;
        (integer(zone, "idle_uj") > 0).then(|| snapshot.clone())
    });
    let zone = package(&first).expect("a package");
    assert_eq!(zone["floor_origin"], "restored", "{zone:#}");
    assert_eq!(zone["floor_uw"], 30_000_000);
    conserves(&first);
    let later = daemon.wait_for_tick(first["tick"].as_u64().expect("a tick") + 6);
    nothing_fell(&first, &later);
    conserves(&later);
    let line = daemon
        .log()
        .into_iter()
        .find(|line| line.contains("idle floors restored"));
    assert!(line.is_some_and(|line| line.contains("\"zones\":1")));
    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(daemon.wait().code(), Some(0));
    // What was not seen again is still there.
    let again = read(&dir);
    assert_eq!(again["machine"], state["machine"]);
    assert!(
        again["zones"][0]["points"]
            .as_array()
            .is_some_and(|points| !points.is_empty())
    );
}

#[test]
fn what_is_wrong_with_the_state_directory_costs_only_itself_and_says_what_to_do() {
    let folder = TempDir::new().expect("a folder");
    let of_another = r#"{"version": 1, "saved_at": 1, "conditions": {},
        "machine": {"firmware": "product_uuid 1", "processor": "x"},
        "zones": [{"source": "rapl-sysfs", "zone": "package/socket0",
                   "points": [{"busy_ppm": 0, "power_uw": 39000000, "error_uw": 1, "samples": 32, "age_s": 0}]}]}"#;
    let meter = Meter::new();
    for (name, text, said) in [
        ("broken", "{\"version\": 1, \"sav", "is broken"),
        ("foreign", of_another, "is of another machine"),
        (
            "newer",
            "{\"version\": 99}",
            "remove the file to let this version save its own",
        ),
    ] {
        let dir = folder.path().join(name);
        fs::create_dir(&dir).expect("a folder");
        fs::write(saved(&dir), text).expect("a file");
        says(&meter, &dir, said);
        let place = match name {
            "broken" => saved(&dir).with_extension("json.broken"),
            _ => saved(&dir),
        };
        assert_eq!(fs::read_to_string(place).expect("a file"), text, "{name}");
    }
    // Nobody, not even root, can make a folder below a file.
    let file = folder.path().join("file");
    fs::write(&file, "").expect("a file");
    says(&meter, &file.join("kepler"), "StateDirectory=kepler");
}

#[test]
fn a_daemon_without_a_meter_has_no_floor_to_learn_and_warns_of_none() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("a file");
    let dir = format!("state.dir={}", file.join("kepler").display());
    let daemon = Daemon::start(&[
        "--set",
        &dir,
        "--set",
        "sources.cpu=estimator",
        "--set",
        "sources.gpu=",
    ]);
    daemon.wait_for_tick(1);
    let log = daemon.log();
    assert!(!log.iter().any(|line| line.contains("idle floor")), "{log:#?}");
}

/// `check` says it, and the daemon runs and warns once.
fn says(meter: &Meter, dir: &Path, said: &str) {
    // Before the daemon, which sets aside what is broken.
    let setting = format!("state.dir={}", dir.display());
    let check = command()
        .args(["check", "--set", &setting, "--set", "state.machine=of-this-test"])
        .output()
        .expect("kepler runs");
    let text = String::from_utf8_lossy(&check.stdout);
    let row = text.lines().find(|line| line.contains("idle floor"));
    assert!(row.is_some_and(|row| row.contains(said)), "{text}");
    let daemon = daemon(meter, dir);
    let snapshot = daemon.wait_for_tick(3);
    let zone = package(&snapshot).expect("a package");
    assert_ne!(zone["floor_origin"], "restored", "{zone:#}");
    let log = daemon.log();
    let warned = log
        .iter()
        .filter(|line| line.contains("WARN") && line.contains(said))
        .count();
    assert_eq!(warned, 1, "{said}: {log:#?}");
    assert_eq!(daemon.stop(), Some(0));
}
