// SPDX-License-Identifier: Apache-2.0
//! Rows that need a machine of one's own, and the whole daemon on another kernel. Only in a guest: `make test-kernels` boots
//! four kernels, runs these in each, and writes docs/kernels.md and the second table of docs/faults.md.

mod clock;
mod cpus;
mod perf;
mod sleep;
mod whole;

use integration_tests::child::Killed;
use integration_tests::daemon::bare;
use integration_tests::figures::rows;
use integration_tests::trial::{START, Trial};
use integration_tests::{in_guest, skip};
use serde_json::Value;

/// The zone that the tests move.
const ZONE: &str = "intel-rapl:0";
const JOULE: u64 = 1_000_000;

/// Whether the machine may be changed; says so where it may not.
fn may_change_the_machine() -> bool {
    if !in_guest() {
        skip("changes the whole machine: only in a guest (make test-kernels)");
    }
    in_guest()
}

/// A busy loop on these CPUs.
fn burner(cpus: &str) -> Killed {
    Killed::start(bare("taskset").args(["-c", cpus, "sh", "-c", "while :; do :; done"]))
}

/// The row of a process.
fn row_of(snapshot: &Value, pid: u32) -> Option<&Value> {
    rows(snapshot, "processes").iter().find(|row| row["pid"] == pid)
}

/// The meter counts a joule in each of so many windows more; `paid` joules were counted before. Gives the newest snapshot.
fn joules(trial: &Trial, paid: u64, more: u64) -> Value {
    let mut snapshot = Value::Null;
    for joule in paid + 1..=paid + more {
        trial.meter.set(ZONE, START + joule * JOULE);
        snapshot = trial.windows(1);
    }
    trial.wait_for_paid("package", 0, (paid + more) * JOULE);
    snapshot
}

/// Two joules, so that who runs has a row: nobody has one who was never charged energy. Gives the process's nanoseconds.
fn first_bill(trial: &Trial, pid: u32) -> u64 {
    joules(trial, 0, 2);
    runs_on(trial, pid, 0)
}

/// Waits until the process was charged more CPU time than in `before`, and gives how many nanoseconds it has.
fn runs_on(trial: &Trial, pid: u32, before: u64) -> u64 {
    trial.daemon.wait_until("the busy loop runs on", |snapshot| {
        let now = row_of(snapshot, pid)?["cpu_ns"].as_u64()?;
        (now > before).then_some(now)
    })
}
