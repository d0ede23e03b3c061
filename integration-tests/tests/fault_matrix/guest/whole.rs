// SPDX-License-Identifier: Apache-2.0
//! The whole daemon on this kernel: under each accountant, and where the kernel's types are hidden. Its lines `daemon WHAT:
//! VALUE` are the table "The whole daemon" of docs/kernels.md.

use super::{JOULE, burner, joules, may_change_the_machine, row_of};
use integration_tests::daemon::behind;
use integration_tests::figures::{energy, integer};
use integration_tests::say;
use integration_tests::trial::{Plan, Trial};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::process::Command;

/// What the daemon says when neither accountant of eBPF can be had.
const FALLS_BACK: &str = "no eBPF: CPU time comes from /proc, short-lived processes only as their container";
/// How many joules the meter counts while the busy loop runs.
const JOULES: u64 = 12;

#[test]
fn the_daemon_takes_an_accountant_by_itself_and_a_busy_loop_pays() {
    // Softirqs are nobody's under `switch`, and the scheduler's figure has them.
    whole("auto", &[], &["scheduler", "switch"], 40);
}

#[test]
fn the_daemon_under_the_accountant_switch_and_a_busy_loop_pays() {
    whole("switch", &["probes.softirq=off"], &["switch"], 10);
}

#[test]
fn the_daemon_under_the_accountant_scheduler_and_a_busy_loop_pays() {
    whole("scheduler", &[], &["scheduler"], 10);
}

/// No fault: its name is that of nobody's row.
const WHOLE: Plan = Plan {
    name: "whole",
    thing: "",
    injected: "",
    must: "",
};

/// CPU time may be off by `permille`.
fn whole(asked: &str, settings: &[&str], allowed: &[&str], permille: u64) {
    if !may_change_the_machine() {
        return;
    }
    let asked_for = format!("probes.cpu_time={asked}");
    let settings: Vec<&str> = [&*asked_for].iter().chain(settings).copied().collect();
    let mut trial = Trial::begin(WHOLE, &settings);
    let chosen = trial.daemon.snapshot()["facts"]["accounting"].clone();
    let name = chosen["chosen"].as_str().expect("a name");
    assert!(allowed.contains(&name), "{chosen}");
    if asked == "auto" {
        say(&format!("daemon that chooses by itself: {name}"));
    }
    let paid = a_busy_loop_pays(&mut trial, permille);
    let seen = trial.close();
    say(&format!("daemon under {asked}, a busy loop: {paid}"));
    say(&format!("daemon under {asked}, all in all: {}", seen.join("; ")));
}

/// Runs one, and says what it was charged.
fn a_busy_loop_pays(trial: &mut Trial, permille: u64) -> String {
    let burner = burner("1");
    let pid = burner.0.id();
    joules(trial, 0, JOULES);
    kill_process(Pid::from_child(&burner.0), Signal::STOP).expect("it lives");
    // The scheduler's figure of a task that does not run is whole.
    trial.daemon.wait_until("the busy loop is stopped", |_| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.contains(") T ").then_some(())
    });
    let snapshot = trial.windows(2);
    let row = row_of(&snapshot, pid).expect("its row");
    let (charged, truth) = (integer(row, "cpu_ns"), schedstat(pid));
    assert!(
        charged.abs_diff(truth) <= truth * permille / 1_000,
        "{charged} ns of {truth} ns"
    );
    let share = energy(row) * 1_000 / (JOULES * JOULE);
    // One of two CPUs, and the other one is busy with the daemon and with the test.
    assert!(share >= 250, "{share} per mille of the meter's energy in {row}");
    format!(
        "pays {}.{} % of the meter, for {}.{} % of its CPU time",
        share / 10,
        share % 10,
        charged * 100 / truth,
        charged * 1_000 / truth % 10
    )
}

/// Nanoseconds that a process of one thread has run.
fn schedstat(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).expect("it lives");
    let first = text.split(' ').next().and_then(|text| text.parse().ok());
    first.expect("a number")
}

#[test]
fn the_daemon_without_the_kernels_types_falls_back_and_says_so() {
    let plan = Plan {
        name: "no-btf",
        thing: "the kernel's types (BTF)",
        injected: "an empty folder over `/sys/kernel/btf` when the daemon starts, as on a kernel without `CONFIG_DEBUG_INFO_BTF`",
        must: "it starts all the same and says why: CPU time comes from `/proc`, a busy loop pays, joules are whole",
    };
    if !may_change_the_machine() {
        return;
    }
    let mut trial = Trial::begin_with(plan, &[], hide_types);
    let log: Vec<Value> = trial
        .daemon
        .log()
        .iter()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let line = log
        .iter()
        .find(|line| line["message"] == FALLS_BACK)
        .expect("a word");
    let reason = line["reason"].as_str().expect("a reason");
    assert!(reason.contains("/sys/kernel/btf"), "{reason}");
    trial.wait_for_state("kepler_probe_up", &[("probe", "proc_fallback")], 1.0);
    trial.wait_for_state("kepler_probe_up", &[("probe", "sched_switch")], 0.0);
    let paid = a_busy_loop_pays(&mut trial, 50);
    say(&format!("daemon without types: {FALLS_BACK}, because {reason}"));
    say(&format!("daemon without types, a busy loop: {paid}"));
    trial.saw(format!("log: \"{FALLS_BACK}\", reason \"{reason}\""));
    trial.saw(format!("a busy loop {paid}"));
    trial.end();
}

/// The same command, in a mount namespace in which the kernel shows no types.
fn hide_types(command: &mut Command) {
    let script = "mkdir -p /tmp/empty && mount --bind /tmp/empty /sys/kernel/btf && exec \"$@\"";
    behind(command, "unshare", &["-m", "sh", "-c", script, "sh"]);
}
