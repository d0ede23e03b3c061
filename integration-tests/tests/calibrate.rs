// SPDX-License-Identifier: Apache-2.0
//! `kepler calibrate` on this machine, beside a powercap tree that the test moves: it hears the meter that the daemon would
//! hear, ends in order, and leaves no half of a file. What comes out of a known machine is tested where time is
//! an argument (`actors/tests/calibrate.rs`): how busy this one is nobody knows.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![allow(clippy::panic, reason = "helpers of tests fail as tests do")]

use integration_tests::daemon::{PATIENCE, command, pause};
use integration_tests::tree::Powercap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;
use tempfile::TempDir;

const START: u64 = 1_000_000;

/// A calibration of this machine with this meter.
fn calibrate(tree: &Powercap, out: &Path, further: &[&str]) -> Command {
    let mut command = command();
    let root = format!("sources.rapl.root={}", tree.root().display());
    command
        .arg("calibrate")
        .arg("--out")
        .arg(out)
        .args(["--tick", "100ms", "--set", &root]);
    for set in [
        "sources.cpu=rapl",
        "sources.dram=",
        "sources.platform=",
        "sources.gpu=",
        "log.format=json",
    ] {
        command.args(["--set", set]);
    }
    command
        .args(further)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What it says while it runs.
fn lines(child: &mut Child) -> Receiver<String> {
    let stderr = child.stderr.take().expect("a pipe");
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            drop(sender.send(line));
        }
    });
    lines
}

/// Moves the meter until a line holds these words; gives all lines until then.
fn until(lines: &Receiver<String>, words: &str, mut meanwhile: impl FnMut()) -> Vec<String> {
    let end = Instant::now() + PATIENCE;
    let mut said = Vec::new();
    while Instant::now() < end {
        meanwhile();
        said.extend(lines.try_iter());
        if said.iter().any(|line| line.contains(words)) {
            return said;
        }
        pause();
    }
    panic!("never said {words:?}:\n{}", said.join("\n"));
}

fn names(folder: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(folder.path()).expect("a folder");
    let names = entries.map(|entry| {
        entry
            .expect("an entry")
            .file_name()
            .to_string_lossy()
            .into_owned()
    });
    names.collect()
}

#[test]
fn an_interrupt_ends_it_in_order_and_too_little_is_said_to_be_too_little() {
    let (tree, folder) = (Powercap::new(START), TempDir::new().expect("a folder"));
    let out = folder.path().join("model.json");
    let mut child = calibrate(&tree, &out, &["--stress"])
        .spawn()
        .expect("kepler starts");
    let lines = lines(&mut child);
    let mut counter = START;
    let mut move_on = || {
        counter += 500_000;
        tree.set("intel-rapl:0", counter);
    };
    let said = until(&lines, "package/socket0 0 readings", &mut move_on);
    assert!(
        said.iter()
            .any(|line| line.contains("making load")
                && line.contains("nothing else of the machine is changed")),
        "{}",
        said.join("\n")
    );
    assert_eq!(names(&folder).len(), 1, "a draft and no model");

    let pid = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it lives");
    let said = until(&lines, "readings, and 10 are needed", &mut move_on).join("\n");
    assert!(
        said.contains("stopped") && said.contains("package/socket0: "),
        "{said}"
    );
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
    assert_eq!(names(&folder), Vec::<String>::new());
}

#[test]
fn without_a_meter_it_says_which_were_looked_for_and_what_to_do() {
    let (tree, folder) = (Powercap::new(START), TempDir::new().expect("a folder"));
    tree.remove("intel-rapl:0:0");
    tree.remove("intel-rapl:0");
    let out = folder.path().join("model.json");
    let output = calibrate(&tree, &out, &[]).output().expect("kepler runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains("there is no meter for package, memory or platform") && told.contains("cpu: rapl: "),
        "{told}"
    );
    assert!(told.contains("--from"), "{told}");
    assert_eq!(names(&folder), Vec::<String>::new());
}

#[test]
fn a_recording_as_a_meter_is_refused_because_the_load_would_be_another() {
    let folder = TempDir::new().expect("a folder");
    let tree = Powercap::new(START);
    let file = folder.path().join("node.keplrec");
    let mut record = command();
    let root = format!("sources.rapl.root={}", tree.root().display());
    record
        .arg("record")
        .arg(&file)
        .args(["--for", "1s", "--tick", "100ms", "--set", &root]);
    let recorded = record.output().expect("kepler runs");
    assert_eq!(
        recorded.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&recorded.stderr)
    );
    let out = folder.path().join("model.json");
    let replayed = format!("sources.replay.file={}", file.display());
    let output = calibrate(&tree, &out, &["--set", "sources.cpu=replay", "--set", &replayed])
        .output()
        .expect("kepler runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("kepler calibrate --from FILE"), "{told}");
}
