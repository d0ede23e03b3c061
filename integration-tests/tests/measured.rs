// SPDX-License-Identifier: Apache-2.0
//! `kepler run -- COMMAND`: whose energy it is, that none is lost, and that the command is left alone.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_precision_loss,
    reason = "helpers of tests fail as tests do"
)]

use integration_tests::daemon::{Daemon, PATIENCE, bare, command, pause};
use integration_tests::tree::Powercap;
use integration_tests::{cgroup, has_command, is_root, skip};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tempfile::TempDir;

/// Works for a while: a child, a grandchild, and one that has forked away from both.
const BURNER: &str = "burn() { i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done; }; \
    burn & (burn & burn; wait) & (setsid sh -c 'i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done; echo done > \"$0\"' \"$0\" &) ; \
    wait; while [ ! -s \"$0\" ]; do burn; done; burn";

/// A command line for a machine without a meter.
fn run(more: &[&str]) -> Command {
    let mut run = command();
    run.args([
        "run",
        "--set",
        "sources.cpu=estimator",
        "--set",
        "sources.dram=",
        "--set",
        "sources.platform=",
    ]);
    run.args(more);
    run
}

/// What it says of a command in JSON.
fn measured(run: &mut Command, command: &[&str]) -> Value {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("figures.json");
    let output = run
        .arg("--json")
        .arg(&file)
        .arg("--")
        .args(command)
        .output()
        .expect("it runs");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{error}: {words}"));
    serde_json::from_str(&text).expect("JSON")
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

/// That cgroups of commands are all gone.
fn nothing_is_left_of(document: &Value) {
    let name = document["energy"]["name"].as_str().expect("a cgroup");
    let own = fs::read_to_string("/proc/self/cgroup").expect("our own cgroup");
    let own = own
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .expect("the unified one");
    let mount = cgroup::unified().expect("a mount");
    for folder in [mount.join(own), mount] {
        assert!(!folder.join(name).exists(), "{name} is still there");
    }
}

#[test]
fn a_command_pays_for_all_its_children_by_their_share_of_cpu_time() {
    if !cgroup::is_here() {
        return;
    }
    let folder = TempDir::new().expect("a folder");
    let flag = folder.path().join("flag");
    let flag = flag.to_str().expect("text");
    let document = measured(
        &mut run(&["--set", "attribution.idle.share=node"]),
        &["sh", "-c", BURNER, flag],
    );
    let energy = &document["energy"];
    assert_eq!(
        (&energy["by"], &document["exit_code"]),
        (&"cgroup".into(), &0.into()),
        "{document:#}"
    );
    let kernels = number(&document["user_ns"]) + number(&document["system_ns"]);
    let ours = number(&energy["cpu_ns"]);
    assert!(kernels > 5e8, "a burner that burns nothing: {document:#}");
    assert!(
        (ours / kernels - 1.0).abs() < 0.02,
        "CPU time {ours} and by getrusage {kernels}: {document:#}"
    );
    let package = &energy["components"][0];
    let of_energy = number(&package["dynamic_uj"]) / number(&package["node_dynamic_uj"]);
    let of_time = ours / number(&energy["node_cpu_ns"]);
    assert!(
        (of_energy / of_time - 1.0).abs() < 0.05,
        "{of_energy} of the energy for {of_time} of the time: {document:#}"
    );
    assert_eq!(package["provenance"], Value::from(vec!["estimated"]));
    assert_eq!(energy["estimated"], true);
    nothing_is_left_of(&document);
}

#[test]
fn a_command_that_is_shorter_than_a_tick_has_its_energy() {
    if !cgroup::is_here() {
        return;
    }
    let short = "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done";
    let document = measured(&mut run(&[]), &["sh", "-c", short]);
    let energy = &document["energy"];
    assert!(number(&energy["dynamic_uj"]) > 0.0, "{document:#}");
    let package = &energy["components"][0];
    let of_energy = number(&package["dynamic_uj"]) / number(&package["node_dynamic_uj"]);
    let of_time = number(&energy["cpu_ns"]) / number(&energy["node_cpu_ns"]);
    assert!(
        (of_energy / of_time - 1.0).abs() < 0.1,
        "{of_energy} of the energy for {of_time} of the time: {document:#}"
    );
    assert!(number(&energy["cpu_ns"]) > 1e7, "{document:#}");
    nothing_is_left_of(&document);
}

/// Sets its flag when it goes.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn what_a_meter_counts_is_said_to_be_counted() {
    if !cgroup::is_here() {
        return;
    }
    let tree = Powercap::new(1_000_000);
    let root = format!("sources.rapl.root={}", tree.root().display());
    let stop = AtomicBool::new(false);
    let document = std::thread::scope(|scope| {
        // Also when the test fails, which would wait for the thread for ever.
        let _stops = Stops(&stop);
        scope.spawn(|| {
            let mut counter = 1_000_000;
            while !stop.load(Ordering::Relaxed) {
                counter += 50_000;
                tree.set("intel-rapl:0", counter);
                pause();
            }
        });
        let mut run = command();
        run.args([
            "run",
            "--set",
            &root,
            "--set",
            "sources.cpu=rapl",
            "--set",
            "sources.dram=",
            "--set",
            "sources.platform=",
        ]);
        run.args(["--set", "attribution.idle.floor=none"]);
        measured(
            &mut run,
            &["sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"],
        )
    });
    let package = &document["energy"]["components"][0];
    assert_eq!(
        package["sources"],
        Value::from(vec!["rapl-sysfs"]),
        "{document:#}"
    );
    assert_eq!(
        package["provenance"],
        Value::from(vec!["counted"]),
        "{document:#}"
    );
    assert_eq!(document["energy"]["estimated"], false);
    // This meter goes with the time and not with the work, so that a part of it is all that is known.
    let (ours, nodes) = (
        number(&package["dynamic_uj"]),
        number(&package["node_dynamic_uj"]),
    );
    assert!(ours > 0.0 && ours <= nodes, "{document:#}");
}

#[test]
fn the_command_keeps_its_input_its_output_and_its_exit_code() {
    let mut child = run(&[
        "--via",
        "inside",
        "--",
        "sh",
        "-c",
        "cat; echo to stderr >&2; exit 7",
    ])
    .stdin(Stdio::piped())
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .expect("it starts");
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(b"what went in\n")
        .expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "what went in\n");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.starts_with("to stderr\n"), "{words}");
    assert!(
        words.contains("J dynamic") && words.contains("s wall") && words.contains("estimated"),
        "{words}"
    );
}

#[test]
fn what_cannot_be_run_has_the_codes_of_a_shell() {
    let folder = TempDir::new().expect("a folder");
    let text = folder.path().join("no-program");
    fs::write(&text, "x").expect("a file");
    let code = |program: &str| {
        run(&["--via", "inside", "--", program])
            .output()
            .expect("it runs")
            .status
            .code()
    };
    assert_eq!(code("/no/such/command"), Some(127));
    assert_eq!(code(text.to_str().expect("text")), Some(126));
    let wrong = run(&["--set", "no.such=key", "--", "true"])
        .output()
        .expect("it runs");
    assert_eq!(wrong.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("no.such"));
    let daemon = command()
        .args(["run", "--from", "http://127.0.0.1:1"])
        .output()
        .expect("it runs");
    assert_eq!(
        daemon.status.code(),
        Some(2),
        "a flag that the daemon has no use for"
    );
    let killed = run(&["--via", "inside", "--", "sh", "-c", "kill -KILL $$"])
        .output()
        .expect("it runs");
    assert_eq!(killed.status.code(), Some(137));
}

#[test]
fn signals_reach_the_command() {
    let mut child = run(&[
        "--via",
        "inside",
        "--",
        "sh",
        "-c",
        "trap 'echo told; exit 9' TERM; echo ready; while :; do sleep 0.05; done",
    ])
    .stdin(Stdio::null())
    .stdout(Stdio::piped())
    .stderr(Stdio::null())
    .spawn()
    .expect("it starts");
    let mut output = child.stdout.take().expect("a pipe");
    let mut said = [0; 6];
    output.read_exact(&mut said).expect("it is ready");
    assert_eq!(&said, b"ready\n");
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .expect("a pid");
    kill_process(pid, Signal::TERM).expect("it lives");
    let mut rest = String::new();
    output.read_to_string(&mut rest).expect("text");
    assert_eq!(rest, "told\n");
    assert_eq!(child.wait().expect("it ends").code(), Some(9));
}

#[test]
fn whoever_outlives_the_command_is_left_alone_and_counted() {
    if !cgroup::is_here() {
        return;
    }
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("pid");
    let words = format!("sleep 300 >/dev/null 2>&1 & echo $! > {}", file.display());
    let document = measured(&mut run(&[]), &["sh", "-c", &words]);
    assert_eq!(document["energy"]["still_running"], 1, "{document:#}");
    nothing_is_left_of(&document);
    let pid = fs::read_to_string(&file).expect("a pid");
    let pid = pid.trim().parse().ok().and_then(Pid::from_raw).expect("a pid");
    kill_process(pid, Signal::KILL).expect("it lives on");
}

#[test]
fn without_root_a_daemon_is_asked_and_without_one_it_is_said_what_is_missing() {
    if !is_root() || !has_command("setpriv") {
        skip("needs root and setpriv, to become somebody else");
        return;
    }
    let daemon = Daemon::start(&[
        "--tick",
        "100ms",
        "--set",
        "sources.cpu=estimator",
        "--set",
        "sources.platform=",
    ]);
    daemon.wait_for_tick(3);
    let folder = TempDir::new().expect("a folder");
    // Whoever has no rights reads nothing below our folders, so the program goes where everybody reads.
    let program = folder.path().join("kepler");
    fs::copy(integration_tests::daemon::binary(), &program).expect("a copy");
    let figures = folder.path().join("figures.json");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(folder.path(), open).expect("it is ours");
    let nobody = |from: &str, command: &str| {
        let output = bare("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&program)
            .args(["run", "--from", from, "--json"])
            .arg(&figures)
            .args(["--set", "state.dir=", "--", "sh", "-c", command])
            .output()
            .expect("it runs");
        let text = fs::read_to_string(&figures).unwrap_or_default();
        let document = serde_json::from_str::<Value>(&text);
        document.unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)))
    };
    let from = format!("http://{}", daemon.address);
    let burn = "i=0; while [ $i -lt 1000000 ]; do i=$((i+1)); done";
    let end = Instant::now() + PATIENCE;
    let document = loop {
        let document = nobody(&from, burn);
        // A process has a row from the window on in which one is free and it costs most.
        if number(&document["energy"]["dynamic_uj"]) > 0.0 {
            break document;
        }
        assert!(Instant::now() < end, "{document:#}");
    };
    let energy = &document["energy"];
    assert_eq!(energy["by"], "descent", "{document:#}");
    assert!(
        energy["measured_by"]
            .as_str()
            .is_some_and(|by| by.contains(&from)),
        "{document:#}"
    );
    drop(daemon);
    let document = nobody(&from, burn);
    let energy = &document["energy"];
    let remarks = energy["remarks"].to_string();
    assert!(
        remarks.contains("not root") && remarks.contains("no cgroup of its own"),
        "{document:#}"
    );
    assert_eq!(
        (&energy["by"], &energy["estimated"]),
        (&"descent".into(), &true.into()),
        "{document:#}"
    );
    assert!(number(&energy["dynamic_uj"]) > 0.0, "{document:#}");
}
