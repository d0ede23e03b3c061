// SPDX-License-Identifier: Apache-2.0
//! The daemon while its configuration is reloaded: nothing is lost, nothing falls, and what is wrong changes nothing.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

use integration_tests::child::Killed;
use integration_tests::daemon::{Daemon, bare, command, pause};
use integration_tests::figures::{conserves, integer, nothing_fell, rows};
use integration_tests::http;
use integration_tests::promtext::{of, parse};
use integration_tests::tree::Powercap;
use rustix::process::Signal;
use serde_json::Value;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use tempfile::TempDir;

const START: u64 = 1_000_000;
const REFUSED: &str = "the configuration is refused; the one before stays in force";

/// A daemon whose whole configuration is a file.
struct Scene {
    tree: Powercap,
    folder: TempDir,
    daemon: Daemon,
}

impl Scene {
    fn new(more: &str) -> Self {
        let (tree, folder) = (Powercap::new(START), TempDir::new().expect("a folder"));
        let file = folder.path().join("kepler.toml");
        fs::write(&file, text(&tree, more)).expect("a file");
        let mut command = command();
        command.arg("--config").arg(&file);
        let daemon = Daemon::spawn(command);
        daemon.wait_for_tick(3);
        Self { tree, folder, daemon }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("kepler.toml")
    }

    /// Puts another configuration there, at once.
    fn write(&self, more: &str) {
        self.write_whole(&text(&self.tree, more));
    }

    fn write_whole(&self, text: &str) {
        let fresh = self.folder.path().join("fresh");
        fs::write(&fresh, text).expect("a file");
        fs::rename(fresh, self.file()).expect("a rename");
    }

    fn post(&self, headers: &[(&str, &str)]) -> http::Response {
        http::request(self.daemon.address, "POST", "/-/reload", headers).expect("an answer")
    }

    /// The value of a metric without labels.
    fn said(&self, name: &str) -> f64 {
        let samples = parse(&self.daemon.get("/metrics").text());
        let found = of(&samples, name);
        found.first().unwrap_or_else(|| panic!("no {name}")).float()
    }

    fn is_in_force(&self) -> bool {
        self.said("kepler_config_last_reload_successful") > 0.5
    }
}

/// A configuration; `more` is read over the rest.
fn text(tree: &Powercap, more: &str) -> String {
    let mut table: BTreeMap<String, String> = BTreeMap::new();
    let root = format!("{:?}", tree.root().display().to_string());
    for (key, value) in [
        ("tick", "\"100ms\""),
        ("log.format", "\"json\""),
        ("exporter.listen", "\"127.0.0.1:0\""),
        ("exporter.reload", "true"),
        ("sources.rapl.root", root.as_str()),
        ("sources.cpu", "[\"rapl\"]"),
        ("sources.dram", "[\"rapl\"]"),
        ("sources.platform", "[]"),
        ("sources.gpu", "[]"),
        ("probes.cpu_time", "\"proc\""),
        ("attribution.idle.floor", "\"none\""),
    ] {
        table.insert(key.to_owned(), value.to_owned());
    }
    for line in more.lines() {
        let (key, value) = line.split_once(" = ").expect("key = value");
        table.insert(key.to_owned(), value.to_owned());
    }
    let lines = table.iter().map(|(key, value)| format!("{key} = {value}\n"));
    lines.collect()
}

/// Moves the counters of package and memory until it is stopped.
struct Mover {
    stop: Arc<AtomicBool>,
    moved: Arc<AtomicU64>,
    thread: JoinHandle<Powercap>,
}

impl Mover {
    fn start(tree: Powercap) -> Self {
        let (stop, moved) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counter) = (Arc::clone(&stop), Arc::clone(&moved));
        let thread = std::thread::spawn(move || {
            let mut total = 0;
            while !stopped.load(Ordering::SeqCst) {
                total += 100_001 + total % 7_919;
                tree.set("intel-rapl:0", START + total);
                tree.set("intel-rapl:0:0", START + total / 4);
                counter.store(total, Ordering::SeqCst);
                pause();
            }
            tree
        });
        Self { stop, moved, thread }
    }

    /// What the package has used in all; and the tree, in which the last of it is still to be read.
    fn stop(self) -> (u64, Powercap) {
        self.stop.store(true, Ordering::SeqCst);
        let tree = self.thread.join().expect("it ends");
        (self.moved.load(Ordering::SeqCst), tree)
    }
}

/// Everything paid in zones of a component so far.
fn paid(snapshot: &Value, component: &str) -> u64 {
    let zones = rows(snapshot, "zones").iter();
    let zones = zones.filter(|zone| zone["component"] == component);
    zones
        .map(|zone| integer(zone, "dynamic_uj") + integer(zone, "idle_uj"))
        .sum()
}

/// Counters of a page by their whole name.
fn counters(page: &str) -> BTreeMap<String, f64> {
    let samples = parse(page).into_iter();
    let counters = samples.filter(|sample| sample.name.ends_with("_total"));
    // The kernel gives its workers other names all the time: see docs/reload.md for what that means where rows are summed.
    // In either schema.
    let is_worker = |name: &str| name.starts_with("kworker");
    let counters =
        counters.filter(|sample| !is_worker(sample.label("command")) && !is_worker(sample.label("comm")));
    counters
        .map(|sample| (format!("{}{:?}", sample.name, sample.labels), sample.float()))
        .collect()
}

/// Sees that no counter ever falls, also one that was away for a while.
#[derive(Default)]
struct Witness {
    highest: BTreeMap<String, f64>,
    snapshot: Option<Value>,
    looks: u64,
}

impl Witness {
    fn look(&mut self, scene: &Scene) -> Value {
        let page = scene.daemon.get("/metrics");
        assert_eq!(page.status, 200);
        for (name, now) in counters(&page.text()) {
            let before = self.highest.insert(name.clone(), now).unwrap_or(0.0);
            assert!(now >= before, "{name} fell from {before} to {now}");
        }
        let snapshot = scene.daemon.snapshot();
        conserves(&snapshot);
        if let Some(before) = &self.snapshot {
            nothing_fell(before, &snapshot);
        }
        self.snapshot = Some(snapshot.clone());
        self.looks += 1;
        snapshot
    }
}

/// Every kind of key: each is written over the configuration of the scene.
const KINDS: [&str; 10] = [
    "tick = \"200ms\"",
    "attribution.idle.share = \"equal\"\nattribution.idle.floor = \"busy-ratio\"",
    "exporter.schemas = [\"kepler\", \"kepler-0.11\"]\ntick = \"150ms\"",
    "sources.dram = []",
    "exporter.drop.unit = [\"slice\"]\nexporter.namespaces.deny = [\"system\"]\nlog.level = \"debug\"",
    "sources.rapl.max_watts.package = 900\nexporter.processes.max = 5",
    "probes.cpu_time = \"auto\"",
    "exporter.drop.process = [\"pid\"]\nexporter.levels = [\"node\", \"process\"]",
    "sources.dram = [\"estimator\"]\nattribution.idle.share = \"usage\"",
    "tick = \"100ms\"",
];

#[test]
fn twenty_reloads_under_load_lose_no_microjoule_and_no_series() {
    let mut scene = Scene::new("");
    // The tree goes to the one who moves it; the scene keeps one that looks the same to `text`.
    let root = scene.tree.root().to_owned();
    let tree = std::mem::replace(&mut scene.tree, Powercap::new(0));
    let over = format!("sources.rapl.root = {:?}\n", root.display().to_string());
    let mover = Mover::start(tree);
    let mut witness = Witness::default();
    let first = counters(&scene.daemon.get("/metrics").text());
    for (round, kind) in KINDS.iter().cycle().take(20).enumerate() {
        scene.write(&format!("{over}{kind}"));
        if round % 2 == 0 {
            scene.daemon.signal(Signal::HUP);
            scene.daemon.wait_for_log("reloaded");
        } else {
            let answer = scene.post(&[]);
            assert_eq!(answer.status, 200, "{kind}: {}", answer.text());
            scene.daemon.wait_for_log("reloaded");
        }
        let then = integer(&witness.look(&scene), "tick");
        let next = scene.daemon.wait_for_tick(then + 3);
        assert_eq!(next["windows"]["stale"], Value::Array(Vec::new()), "{kind}");
        witness.look(&scene);
    }
    let (truth, _tree) = mover.stop();
    let last = scene.daemon.wait_until("the whole package", |snapshot| {
        let now = paid(snapshot, "package");
        assert!(now <= truth, "{now} µJ of {truth}");
        (now == truth).then(|| snapshot.clone())
    });
    conserves(&last);
    assert_eq!(last["config"]["last_reload_successful"], true);
    let memory = rows(&last, "zones").iter();
    let memory: Vec<&Value> = memory
        .filter(|zone| zone["source"] == "rapl-sysfs" && zone["component"] == "dram")
        .collect();
    let (paid, most) = (
        integer(memory[0], "dynamic_uj") + integer(memory[0], "idle_uj"),
        truth / 4,
    );
    assert!(
        0 < paid && paid < most,
        "memory was not read all the time: {paid} of {most}"
    );
    // The last configuration shows what the first did.
    scene.write(&over);
    assert_eq!(scene.post(&[]).status, 200);
    let end = counters(&scene.daemon.get("/metrics").text());
    for (name, before) in first
        .iter()
        .filter(|(name, _)| name.starts_with("kepler_node_") || name.starts_with("kepler_container_"))
    {
        assert!(
            end.get(name).is_some_and(|now| now >= before),
            "{name} has vanished or fallen: {:?}",
            end.get(name)
        );
    }
    assert!(scene.is_in_force() && witness.looks == 40);
    assert_eq!(scene.daemon.stop(), Some(0));
}

/// A process that runs for a while whenever it is woken, and sleeps in between.
struct Sleeper(Killed);

impl Sleeper {
    fn start() -> Self {
        let script = "while read x; do i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; done";
        let mut command = bare("sh");
        command.args(["-c", script]).stdin(Stdio::piped());
        Self(Killed(command.spawn().expect("a shell")))
    }

    fn wake(&mut self) {
        let stdin = self.0.0.stdin.as_mut().expect("it is piped");
        stdin.write_all(b"\n").expect("it reads");
    }

    fn row<'a>(&self, snapshot: &'a Value) -> Option<&'a Value> {
        let mut processes = rows(snapshot, "processes").iter();
        processes.find(|row| row["pid"] == self.0.pid())
    }
}

#[test]
fn a_process_that_sleeps_while_the_accountant_is_exchanged_goes_on_where_it_stopped() {
    let scene = Scene::new("exporter.ended.keep = \"1s\"");
    let mut sleeper = Sleeper::start();
    sleeper.wake();
    // Whoever runs pays, and has a row for that.
    let spent = Cell::new(START);
    let spend = || {
        spent.set(spent.get() + 100_000);
        scene.tree.set("intel-rapl:0", spent.get());
    };
    let mut rose = (0, 0);
    // It sleeps once five windows say the same.
    let before = scene.daemon.wait_until("its row", |snapshot| {
        spend();
        let (tick, cpu) = (
            integer(snapshot, "tick"),
            integer(sleeper.row(snapshot)?, "cpu_ns"),
        );
        if cpu > rose.1 {
            rose = (tick, cpu);
        }
        (cpu > 50_000_000 && tick > rose.0 + 5).then_some(cpu)
    });
    scene.write("exporter.ended.keep = \"1s\"\nprobes.hw_counters = \"off\"");
    assert_eq!(scene.post(&[]).status, 200);
    scene.daemon.wait_until("its row's end", |snapshot| {
        conserves(snapshot);
        sleeper.row(snapshot).is_none().then_some(())
    });
    sleeper.wake();
    let after = scene.daemon.wait_until("its row again", |snapshot| {
        spend();
        conserves(snapshot);
        Some(integer(sleeper.row(snapshot)?, "cpu_ns"))
    });
    assert!(after > before, "it fell from {before} to {after}");
    assert_eq!(scene.daemon.stop(), Some(0));
}

#[test]
fn what_is_wrong_is_refused_as_a_whole_and_the_old_one_stays() {
    let mut scene = Scene::new("");
    let began = scene.said("kepler_config_last_reload_success_timestamp_seconds");
    assert!(scene.is_in_force());
    for (wrong, words) in [
        ("tick = \"fast\"\nexporter.processes.max = 1", "100ms to 60s"),
        (
            "log.level = \"debug\"\nexporter.listen = \"127.0.0.1:1\"",
            "exporter.listen",
        ),
        (
            "sources.cpu = [\"estimator\"]\nestimator.models.package = \"/nonexistent/model.json\"",
            "/nonexistent/model.json",
        ),
        ("exporter.nosuch = 1", "nosuch"),
    ] {
        scene.write(wrong);
        let answer = scene.post(&[]);
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.text().contains(words), "{}", answer.text());
        let line = scene.daemon.wait_for_log(REFUSED);
        assert!(
            line["error"].as_str().is_some_and(|error| error.contains(words)),
            "{line}"
        );
        assert!(!scene.is_in_force());
        assert_eq!(scene.daemon.snapshot()["config"]["last_reload_successful"], false);
    }
    // The old one: the meter goes on, with the tick that it had.
    scene.tree.set("intel-rapl:0", START + 77);
    scene.daemon.wait_until("energy", |snapshot| {
        (paid(snapshot, "package") == 77).then_some(())
    });
    fs::remove_file(scene.file()).expect("it was there");
    scene.daemon.signal(Signal::HUP);
    let line = scene.daemon.wait_for_log(REFUSED);
    assert!(
        line["error"]
            .as_str()
            .is_some_and(|error| error.contains("does not exist")),
        "{line}"
    );
    assert_eq!(
        scene.said("kepler_config_last_reload_success_timestamp_seconds"),
        began
    );
    scene.write("");
    scene.daemon.signal(Signal::HUP);
    assert_eq!(
        scene.daemon.wait_for_log("reloaded")["changed"],
        "nothing has changed"
    );
    assert!(scene.is_in_force());
    assert!(scene.said("kepler_config_last_reload_success_timestamp_seconds") > began);
    assert_eq!(scene.daemon.stop(), Some(0));
}

#[test]
fn reloading_by_http_is_off_until_it_is_asked_for_and_nothing_for_browsers() {
    let mut scene = Scene::new("exporter.reload = false");
    let refused = scene.post(&[]);
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("exporter.reload"), "{}", refused.text());
    scene.write("exporter.reload = true");
    scene.daemon.signal(Signal::HUP);
    scene.daemon.wait_for_log("reloaded");
    assert_eq!(scene.post(&[]).status, 200);
    for header in [
        ("Origin", "http://evil.example"),
        ("Sec-Fetch-Site", "cross-site"),
    ] {
        assert_eq!(scene.post(&[header]).status, 403);
    }
    let get = scene.daemon.get("/-/reload");
    assert_eq!((get.status, get.header("allow")), (405, Some("POST")));
    scene.write("exporter.reload = false");
    assert_eq!(scene.post(&[]).status, 200, "it was on when it was asked");
    assert_eq!(scene.post(&[]).status, 403);
    assert_eq!(scene.daemon.stop(), Some(0));
}

#[test]
fn of_signals_in_a_hurry_the_last_word_counts() {
    let mut scene = Scene::new("");
    for max in [1, 2, 3, 4] {
        scene.write(&format!("exporter.processes.max = {max}\ntick = \"{max}00ms\""));
        scene.daemon.signal(Signal::HUP);
    }
    let about = |scene: &Scene| -> Value {
        serde_json::from_str(&scene.daemon.get("/api/v1/about").text()).expect("JSON")
    };
    scene.daemon.wait_until("the last one", |_| {
        (about(&scene)["tick_ms"] == 400).then_some(())
    });
    scene.daemon.wait_for_log("reloaded");
    assert_eq!(scene.daemon.stop(), Some(0));
}
