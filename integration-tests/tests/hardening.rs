// SPDX-License-Identifier: Apache-2.0
//! What the running daemon has given up, by the kernel's own word, and what it does with fewer rights.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![expect(clippy::indexing_slicing, reason = "helpers of tests fail as tests do")]

use integration_tests::daemon::{self, Daemon};
use serde_json::Value;
use std::fs;

/// linux/capability.h
const DAC_READ_SEARCH: u64 = 1 << 2;
const SYS_ADMIN: u64 = 1 << 21;
const PERFMON: u64 = 1 << 38;
const BPF: u64 = 1 << 39;
/// Those that docs/hardening.md says the daemon uses.
const ALL_THAT_IS_USED: u64 =
    DAC_READ_SEARCH | 1 << 10 | 1 << 17 | 1 << 19 | SYS_ADMIN | 1 << 24 | PERFMON | BPF;

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root, to have rights that can be given up");
    }
    root
}

/// A line of a thread's status, as a number in base 16.
fn field(status: &str, name: &str) -> u64 {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .unwrap_or("");
    u64::from_str_radix(line.trim_start_matches(':').trim(), 16).expect("a number")
}

/// What each thread of the daemon has: its effective capabilities, those that it could get, `no_new_privs` and the mode of seccomp.
fn threads(daemon: &Daemon) -> Vec<[u64; 4]> {
    let folders = fs::read_dir(format!("/proc/{}/task", daemon.pid())).expect("it runs");
    let statuses = folders.map(|folder| fs::read_to_string(folder.expect("an entry").path().join("status")));
    let of = |status: String| ["CapEff", "CapBnd", "NoNewPrivs", "Seccomp"].map(|name| field(&status, name));
    statuses.map(|status| of(status.expect("a thread"))).collect()
}

/// All lines of its log with this message.
fn said(daemon: &Daemon, message: &str) -> Vec<Value> {
    let log = daemon.log();
    let lines = log
        .iter()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["message"] == message).collect()
}

fn ours(effective_of_file: &str) -> u64 {
    field(
        &fs::read_to_string(effective_of_file).expect("our status"),
        "CapEff",
    )
}

#[test]
fn every_thread_of_the_daemon_keeps_what_it_uses_and_cannot_gain_more() {
    if !is_root() {
        return;
    }
    let daemon = Daemon::start(&[
        "--set",
        "security.hardening=required",
        "--set",
        "exporter.schemas=kepler,kepler-0.11",
    ]);
    daemon.wait_for_tick(1);
    let threads = threads(&daemon);
    let kept = ours("/proc/self/status") & ALL_THAT_IS_USED;
    for [effective, bounding, no_new_privs, seccomp] in &threads {
        assert_eq!(effective & !kept, 0, "{effective:x}");
        assert_eq!(bounding & !ALL_THAT_IS_USED, 0, "{bounding:x}");
        assert_eq!((*no_new_privs, *seccomp), (1, 2));
    }
    // The thread that faces the network, and those that it starts, have less.
    let with_less = threads
        .iter()
        .filter(|[effective, ..]| *effective == kept & DAC_READ_SEARCH);
    assert!(with_less.count() >= 1);
    let hardened = said(&daemon, "hardened");
    let measures = |of: &str| -> Vec<&str> {
        let ours = hardened.iter().filter(|line| line["of"] == of);
        ours.map(|line| line["measure"].as_str().expect("a name"))
            .collect()
    };
    assert_eq!(
        measures("the process"),
        ["no_new_privs", "capabilities", "seccomp", "landlock"]
    );
    assert_eq!(
        measures("the thread that answers HTTP"),
        ["capabilities", "landlock"]
    );
    // What it says of itself comes from files that it may still read.
    let metrics = daemon.get("/metrics").text();
    for other in ["process_start_time_seconds ", "kepler_node_cpu_info{"] {
        assert!(metrics.contains(&format!("\n{other}")), "{other}");
    }
    assert!(metrics.contains("\nprocess_resident_memory_bytes "), "{metrics}");
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn hardening_can_be_switched_off() {
    if !is_root() {
        return;
    }
    let daemon = Daemon::start(&["--set", "security.hardening=off"]);
    daemon.wait_for_tick(1);
    let ours = ours("/proc/self/status");
    for [effective, _, no_new_privs, seccomp] in threads(&daemon) {
        assert_eq!((effective, no_new_privs, seccomp), (ours, 0, 0));
    }
    assert!(!daemon.log().iter().any(|line| line.contains("hardened")));
}

/// What the daemon says of its accountant when it has only these capabilities.
fn accountant_with(capabilities: &str) -> Value {
    let mut command = daemon::bare("setpriv");
    command
        .env("KEPLER_STATE__DIR", "")
        .arg(format!("--bounding-set={capabilities}"))
        .arg(format!("--inh-caps={capabilities}"))
        .arg(daemon::binary())
        .args([
            "--listen",
            "127.0.0.1:0",
            "--set",
            "log.format=json",
            "--set",
            "sources.cpu=estimator",
        ]);
    let daemon = Daemon::spawn(command);
    // It measures with whatever it has.
    let snapshot = daemon.wait_for_tick(2);
    assert!(!snapshot["processes"].as_array().expect("rows").is_empty());
    said(&daemon, "CPU time").remove(0)
}

#[test]
fn two_capabilities_are_enough_for_ebpf_and_without_one_of_them_the_daemon_says_which() {
    if !is_root() {
        return;
    }
    let both = accountant_with("-all,+bpf,+perfmon");
    assert_ne!(both["accountant"], "proc", "{both}");
    for (capabilities, missing) in [
        ("-all,+bpf", "missing CAP_PERFMON;"),
        ("-all,+perfmon", "missing CAP_BPF;"),
        ("-all", "missing CAP_BPF and CAP_PERFMON;"),
    ] {
        let said = accountant_with(capabilities);
        assert_eq!(said["accountant"], "proc", "{said}");
        assert!(
            said["reason"].as_str().expect("words").contains(missing),
            "{said}"
        );
    }
}
