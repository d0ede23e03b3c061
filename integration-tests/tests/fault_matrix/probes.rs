// SPDX-License-Identifier: Apache-2.0
//! Rows of the programs in the kernel: they are refused.

use integration_tests::child::Killed;
use integration_tests::daemon::{bare, behind};
use integration_tests::figures::{energy, integer, rows};
use integration_tests::trial::{Plan, START, Trial};
use integration_tests::{has_command, is_root, skip};
use serde_json::Value;
use std::process::Command;

const ZONE: &str = "intel-rapl:0";

#[test]
fn the_kernel_refuses_the_programs() {
    let plan = Plan {
        name: "no-ebpf",
        thing: "eBPF",
        injected: "the daemon starts without `CAP_BPF`, `CAP_PERFMON` and `CAP_SYS_ADMIN`",
        must: "it starts all the same and says why: CPU time comes from `/proc`, a busy loop pays, joules are whole",
    };
    if !is_root() || !has_command("setpriv") {
        return skip("needs root and setpriv to drop privilege");
    }
    let mut trial = Trial::begin_with(plan, &[], drop_rights);
    trial.wait_for_state("kepler_probe_up", &[("probe", "proc_fallback")], 1.0);
    trial.wait_for_state("kepler_probe_up", &[("probe", "sched_switch")], 0.0);
    trial.wait_for_state("kepler_probe_up", &[("probe", "iter_task")], 0.0);
    let log = trial.daemon.log();
    let said = log.iter().find(|line| line.contains("no eBPF"));
    let said: Value = serde_json::from_str(said.expect("a word")).expect("JSON");
    let reason = said["reason"].as_str().expect("a reason");
    assert!(reason.contains("CAP_BPF"), "{reason}");
    let burner = Killed::start(bare("sh").args(["-c", "while :; do :; done"]));
    let mut snapshot = Value::Null;
    for step in 1..=10 {
        trial.meter.set(ZONE, START + step * 500_000);
        snapshot = trial.windows(1);
    }
    trial.wait_for_paid("package", 0, 5_000_000);
    let row = rows(&snapshot, "processes")
        .iter()
        .find(|row| row["pid"] == burner.pid())
        .expect("the busy loop has a row");
    assert!(integer(row, "cpu_ns") > 0 && energy(row) > 0, "{row}");
    trial.saw("5 J of 5 J paid, a busy loop has its part; the reason names the rights that are missing");
    trial.end();
}

/// The same command without what eBPF needs.
fn drop_rights(command: &mut Command) {
    behind(
        command,
        "setpriv",
        &["--bounding-set=-bpf,-perfmon,-sys_admin", "--"],
    );
}
