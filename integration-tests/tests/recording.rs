// SPDX-License-Identifier: Apache-2.0
//! A recording of the real daemon: what it replays to, what it feeds, what is said of one that cannot be used.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_precision_loss,
    reason = "helpers of tests fail as tests do"
)]

use integration_tests::daemon::{Daemon, command};
use integration_tests::figures::{conserves, integer, rows};
use integration_tests::tree::Powercap;
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use tempfile::TempDir;

const START: u64 = 1_000_000;

/// A recording of a powercap tree whose counters the test moved.
struct Recorded {
    folder: TempDir,
    /// What the pages showed meanwhile, as it came.
    pages: Vec<String>,
    /// What the recorder printed of its last window.
    last: String,
}

impl Recorded {
    fn file(&self) -> PathBuf {
        self.folder.path().join("node.keplrec")
    }
}

/// Arguments for a daemon on `tree`, at ten windows a second.
fn on(tree: &Powercap) -> Vec<String> {
    let root = format!("sources.rapl.root={}", tree.root().display());
    let words = [
        "--tick",
        "100ms",
        "--set",
        &root,
        "--set",
        "sources.cpu=rapl",
        "--set",
    ];
    let more = [
        "sources.dram=rapl",
        "--set",
        "sources.platform=",
        "--set",
        "sources.gpu=",
    ];
    words.iter().chain(&more).map(|word| (*word).to_owned()).collect()
}

/// Everything paid in a zone so far.
fn paid(snapshot: &Value, component: &str) -> u64 {
    let zones = rows(snapshot, "zones")
        .iter()
        .filter(|zone| zone["component"] == component);
    zones
        .map(|zone| integer(zone, "dynamic_uj") + integer(zone, "idle_uj"))
        .sum()
}

/// Records until the tree has counted 9 J in the package and 3 J in memory.
fn record(further: &[&str]) -> Recorded {
    let folder = TempDir::new().expect("a folder");
    let tree = Powercap::new(START);
    let printed = folder.path().join("printed");
    let mut command = command();
    command
        .arg("record")
        .arg(folder.path().join("node.keplrec"))
        .args([
            "--serve",
            "--json",
            "--listen",
            "127.0.0.1:0",
            "--set",
            "log.format=json",
        ])
        .args(on(&tree))
        .args(further)
        .stdout(File::create(&printed).expect("a file"));
    let mut daemon = Daemon::spawn(command);
    daemon.wait_for_tick(3);
    let mut pages = Vec::new();
    for step in 1..=3 {
        tree.set("intel-rapl:0", START + step * 3_000_000);
        tree.set("intel-rapl:0:0", START + step * 1_000_000);
        daemon.wait_until("paid", |snapshot| {
            (paid(snapshot, "package") == step * 3_000_000 && paid(snapshot, "dram") == step * 1_000_000)
                .then_some(())
        });
        pages.push(daemon.get("/api/v1/snapshot").text());
    }
    daemon.signal(rustix::process::Signal::INT);
    let status = daemon.wait();
    assert_eq!(status.code(), Some(0), "{}", daemon.log().join("\n"));
    let last = fs::read_to_string(printed).expect("what it printed");
    Recorded { folder, pages, last }
}

fn replay(file: &Path, further: &[&str]) -> Output {
    let mut command = command();
    command.arg("replay").arg(file).args(further);
    command.output().expect("kepler runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn replayed(file: &Path, further: &[&str]) -> String {
    let output = replay(file, further);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn parsed(json: &str) -> Value {
    serde_json::from_str(json).expect("JSON")
}

#[test]
fn a_replay_gives_byte_for_byte_what_the_daemon_showed() {
    let recorded = record(&[]);
    let file = recorded.file();
    let mode = fs::metadata(&file).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    assert_eq!(replayed(&file, &["--json"]), recorded.last);
    let every = replayed(&file, &["--every", "1"]);
    for page in &recorded.pages {
        assert!(
            every.lines().any(|line| line == page),
            "a page that no window of the replay has"
        );
    }
    assert_eq!(every.lines().last(), recorded.last.lines().last());
    assert_eq!(replayed(&file, &["--every", "1"]), every, "the same each time");

    let last = parsed(&recorded.last);
    assert_eq!(
        (paid(&last, "package"), paid(&last, "dram")),
        (9_000_000, 3_000_000)
    );
    conserves(&last);

    let summary = replayed(&file, &[]);
    assert!(
        summary.contains("package/socket0") && summary.contains("; complete"),
        "{summary}"
    );
    assert!(summary.contains("system processes"), "{summary}");
}

/// Idle energy of all rows of a level.
fn idle(snapshot: &Value, level: &str) -> u64 {
    let charges = rows(snapshot, level).iter().flat_map(|row| rows(row, "charges"));
    charges.map(|charge| integer(charge, "idle_uj")).sum()
}

#[test]
fn another_rule_splits_the_same_energy_otherwise_and_the_recorded_rule_is_kept_unasked() {
    let settings = [
        "--set",
        "attribution.idle.floor={\"package\": 1.0, \"dram\": 0.5}",
    ];
    let recorded = record(&[settings.as_slice(), &["--set", "attribution.idle.share=node"]].concat());
    let file = recorded.file();
    let as_recorded = parsed(&recorded.last);
    assert!(integer(&rows(&as_recorded, "zones")[0], "idle_uj") > 0);
    assert_eq!(idle(&as_recorded, "containers"), 0);
    assert_eq!(replayed(&file, &["--json"]), recorded.last);

    let by_usage = parsed(&replayed(
        &file,
        &["--json", "--set", "attribution.idle.share=usage"],
    ));
    conserves(&by_usage);
    assert!(idle(&by_usage, "containers") > 0);
    for component in ["package", "dram"] {
        assert_eq!(paid(&by_usage, component), paid(&as_recorded, component));
    }
    let refused = replay(&file, &["--set", "attribution.idle.share=fair"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        text(&refused.stderr).contains("reserved"),
        "{}",
        text(&refused.stderr)
    );
}

#[test]
fn a_live_daemon_is_fed_with_the_recorded_energy_and_its_zones_are_down_at_the_end() {
    let recorded = record(&[]);
    let file = format!("sources.replay.file={}", recorded.file().display());
    let fed = [
        "--tick",
        "100ms",
        "--set",
        "sources.cpu=replay",
        "--set",
        "sources.dram=replay",
        "--set",
    ];
    let more = [
        &file,
        "--set",
        "sources.platform=",
        "--set",
        "attribution.idle.floor=none",
    ];
    let daemon = Daemon::start(&[fed.as_slice(), &more].concat());
    let snapshot = daemon.wait_until("all of it", |snapshot| {
        (paid(snapshot, "package") == 9_000_000 && paid(snapshot, "dram") == 3_000_000)
            .then(|| snapshot.clone())
    });
    conserves(&snapshot);
    let zone = &rows(&snapshot, "zones")[0];
    assert_eq!(
        (&zone["source"], &zone["provenance"]),
        (&"replay".into(), &"counted".into())
    );
    let ended = daemon.wait_until("the end", |snapshot| {
        let down = rows(snapshot, "zones").iter().all(|zone| zone["up"] == false);
        down.then(|| snapshot.clone())
    });
    let words = ended["sources"][0]["errors"][0]["latest"]
        .as_str()
        .unwrap_or_default();
    assert!(words.contains("the recording has ended"), "{words}");
    assert_eq!(paid(&ended, "package"), 9_000_000);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_recording_that_was_cut_off_is_used_up_to_the_cut_and_that_is_said() {
    let recorded = record(&[]);
    let bytes = fs::read(recorded.file()).expect("a recording");
    let cut = recorded.folder.path().join("cut");
    fs::write(&cut, &bytes[..bytes.len() * 2 / 3]).expect("a file");
    let output = replay(&cut, &["--json"]);
    assert_eq!(output.status.code(), Some(0));
    let (snapshot, said) = (parsed(&text(&output.stdout)), text(&output.stderr));
    assert!(
        said.contains("cut off after") && said.contains("were not"),
        "{said}"
    );
    assert!(integer(&snapshot, "tick") > 0);
    assert!(integer(&snapshot, "tick") < integer(&parsed(&recorded.last), "tick"));
    conserves(&snapshot);
}

#[test]
fn what_cannot_be_recorded_or_replayed_is_told_in_words() {
    let folder = TempDir::new().expect("a folder");
    let there = folder.path().join("there");
    fs::write(&there, "\u{89}something else").expect("a file");
    let said = |arguments: &[&str], code: i32| {
        let output = command().args(arguments).output().expect("kepler runs");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        said
    };
    let path = there.to_str().expect("text");
    let words = said(&["replay", path], 1);
    assert!(words.contains("there: is no recording"), "{words}");
    let words = said(&["replay", "/no/such"], 1);
    assert!(words.contains("/no/such: No such file"), "{words}");
    for (flag, value) in [
        ("--config", path),
        ("--tick", "2s"),
        ("--listen", "127.0.0.1:1"),
        ("--log-level", "debug"),
    ] {
        let words = said(&["replay", path, flag, value], 2);
        assert!(words.contains(flag) && words.contains("--set"), "{words}");
    }
    fs::write(&there, [b"\x89keplrec".as_slice(), &[99]].concat()).expect("a file");
    let words = said(&["replay", path], 1);
    assert!(words.contains("format 99") && words.contains("newer"), "{words}");

    let words = said(&["record", path, "--for", "1s"], 1);
    assert!(words.contains("name another file"), "{words}");
    assert_eq!(fs::read(&there).expect("it is as it was").len(), 9);
    let words = said(&["record", "/no/such/folder/a", "--for", "1s"], 1);
    assert!(words.contains("is there such a folder?"), "{words}");
}

#[test]
fn an_anonymous_recording_ends_by_itself_and_has_no_name_in_it() {
    let folder = TempDir::new().expect("a folder");
    let tree = Powercap::new(START);
    let file = folder.path().join("node.keplrec");
    // A state directory that the daemon would warn about is not even looked at.
    let state = format!("state.dir={}", file.join("state").display());
    let mut command = command();
    command
        .arg("record")
        .arg(&file)
        .args(["--for", "1s", "--anonymise", "--set", &state])
        .args(on(&tree));
    let output = command.output().expect("kepler runs");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let said = text(&output.stderr);
    assert!(!said.contains("idle floor"), "{said}");
    let bytes = text(&fs::read(&file).expect("a recording"));
    let root = tree.root().display().to_string();
    assert!(!bytes.contains(&root) && !bytes.contains("/system.slice"));
    let snapshot = parsed(&replayed(&file, &["--json"]));
    assert!(integer(&snapshot, "tick") >= 5);
    let users = rows(&snapshot, "processes")
        .iter()
        .filter(|row| row["kind"] == "user");
    for row in users {
        let name = row["command"].as_str().expect("a name");
        assert!(
            name.is_empty() || name.chars().all(|sign| sign.is_ascii_hexdigit()),
            "{name}"
        );
    }
    assert!(replayed(&file, &[]).contains("names replaced"));
}
