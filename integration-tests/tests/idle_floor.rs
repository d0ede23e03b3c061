// SPDX-License-Identifier: Apache-2.0
//! The learned idle floor of the daemon on a meter that the test moves: it is learned, saved, there again after a
//! restart, and what is wrong with the state directory costs only itself.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

use integration_tests::daemon::{Daemon, PATIENCE, command, pause};
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
/// What the meter counts, whoever runs: then the floor is all of it, at any load of the test's machine.
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
    // A half second holds the meter's steps of 20 ms some twenty times.
    let mut arguments = vec!["--tick", "500ms"];
    for setting in [
        &root,
        &dir,
        "sources.cpu=rapl",
        "sources.dram=",
        "sources.platform=",
        "sources.gpu=",
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

/// Waits for a floor out of any of these origins.
fn wait_for_floor(daemon: &Daemon, origins: &[&str]) -> (Value, String) {
    daemon.wait_until(&format!("a floor out of {origins:?}"), |snapshot| {
        let origin = package(snapshot)?["floor_origin"].as_str()?;
        origins
            .contains(&origin)
            .then(|| (snapshot.clone(), origin.to_owned()))
    })
}

/// Whether this machine can be told from others; else nothing is saved, which is then tested instead.
fn identified() -> bool {
    let check = command()
        .args(["check", "--set", "state.dir=/nonexistent/kepler"])
        .output()
        .expect("kepler runs");
    let text = String::from_utf8_lossy(&check.stdout).into_owned();
    let yes = !text.contains("cannot be told from others");
    if !yes {
        eprintln!("skipped: the firmware of this machine tells no number of its own");
    }
    yes
}

fn saved(dir: &Path) -> PathBuf {
    dir.join("idle-floor.json")
}

/// What is on disk for a package that always draws 40 W, as this machine's daemon would have written it.
fn learn(dir: &Path) {
    let meter = Meter::new();
    let daemon = daemon(&meter, dir);
    daemon.wait_until("seven windows of some load", |snapshot| {
        (snapshot["tick"].as_u64()? > 20).then_some(())
    });
    // On a machine that other tests load the windows may be in many bins.
    let end = Instant::now() + PATIENCE;
    loop {
        let origin = package(&daemon.snapshot()).map(|zone| zone["floor_origin"].clone());
        if origin.is_some_and(|origin| origin != "busy_ratio") || Instant::now() > end {
            break;
        }
        pause();
    }
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_restarted_daemon_has_its_floor_in_the_first_window_and_no_total_of_it_falls() {
    if !identified() {
        return;
    }
    let folder = TempDir::new().expect("a folder");
    let dir = folder.path().join("state");
    learn(&dir);
    // Rest was seen, for sure: tests share this machine.
    let mut state: Value =
        serde_json::from_slice(&fs::read(saved(&dir)).expect("it was saved")).expect("JSON");
    assert_eq!(state["version"], 1);
    let point = serde_json::json!({"busy_ppm": 2_000, "power_uw": 30_000_000, "error_uw": 50_000, "samples": 32, "age_s": 5});
    state["zones"] =
        serde_json::json!([{"source": "rapl-sysfs", "zone": "package/socket0", "points": [point]}]);
    fs::write(saved(&dir), state.to_string()).expect("a file");

    let meter = Meter::new();
    let mut daemon = daemon(&meter, &dir);
    let first = daemon.wait_until("a first bill", |snapshot| {
        let zone = package(snapshot)?;
        (integer(zone, "idle_uj") > 0).then(|| snapshot.clone())
    });
    let zone = package(&first).expect("a package");
    assert_eq!(zone["floor_origin"], "restored", "{zone:#}");
    let watts = zone["floor_uw"].as_u64().expect("a floor") / 1_000;
    assert!((29_800..=30_000).contains(&watts), "{watts} mW");
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
    let again: Value = serde_json::from_slice(&fs::read(saved(&dir)).expect("saved again")).expect("JSON");
    assert_eq!(again["machine"], state["machine"]);
    assert!(
        again["zones"][0]["points"]
            .as_array()
            .is_some_and(|points| !points.is_empty())
    );
}

#[test]
fn a_floor_is_learned_from_a_meter_in_real_time() {
    let meter = Meter::new();
    let folder = TempDir::new().expect("a folder");
    let daemon = daemon(&meter, folder.path());
    // Under any load of this machine the meter draws the same, so that every origin has to come to the same watts.
    let (snapshot, origin) = wait_for_floor(&daemon, &["measured", "extrapolated"]);
    let zone = package(&snapshot).expect("a package");
    let watts = zone["floor_uw"].as_u64().expect("a floor") / 1_000_000;
    assert!((36..=42).contains(&watts), "{origin}: {zone:#}");
    conserves(&snapshot);
}

#[test]
fn what_is_wrong_with_the_state_directory_costs_only_itself_and_says_what_to_do() {
    if !identified() {
        return;
    }
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
        let kept = fs::read_to_string(saved(&dir)).expect("a file");
        assert!(name != "newer" || kept == text, "{name} was replaced");
    }
    // Nobody can make a folder there.
    says(&meter, Path::new("/proc/kepler"), "StateDirectory=kepler");
}

/// The daemon runs, warns once, and `check` says the same.
fn says(meter: &Meter, dir: &Path, said: &str) {
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
    let setting = format!("state.dir={}", dir.display());
    let check = command()
        .args(["check", "--set", &setting])
        .output()
        .expect("kepler runs");
    let text = String::from_utf8_lossy(&check.stdout);
    let row = text.lines().find(|line| line.contains("idle floor"));
    assert!(row.is_some_and(|row| row.contains(said)), "{text}");
    assert_eq!(daemon.stop(), Some(0));
}
