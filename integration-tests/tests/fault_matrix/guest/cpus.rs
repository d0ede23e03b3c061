// SPDX-License-Identifier: Apache-2.0
//! Rows of CPUs that come and go.

use super::{burner, first_bill, joules, may_change_the_machine, row_of, runs_on};
use integration_tests::figures::{energy, rows};
use integration_tests::trial::{Plan, Trial};
use serde_json::Value;
use std::fs;

/// A CPU that is put back when the test ends, however it ends.
pub(super) struct Cpu1;

impl Cpu1 {
    const ONLINE: &str = "/sys/devices/system/cpu/cpu1/online";

    pub(super) fn plug(&self, online: bool) {
        fs::write(Self::ONLINE, if online { "1" } else { "0" }).expect("a CPU that can be unplugged");
    }
}

impl Drop for Cpu1 {
    fn drop(&mut self) {
        drop(fs::write(Self::ONLINE, "1"));
    }
}

#[test]
fn a_cpu_is_unplugged_and_plugged_under_the_accountant_scheduler() {
    let plan = Plan {
        name: "cpu-unplugged-scheduler",
        thing: "a CPU",
        injected: "twice unplugged and plugged again, a busy loop on it (`scheduler`)",
        must: "the loop's CPU time goes on on the other CPU, no time is counted that has not passed, coverage is right again",
    };
    unplugged(plan, "scheduler");
}

#[test]
fn a_cpu_is_unplugged_and_plugged_under_the_accountant_switch() {
    let plan = Plan {
        name: "cpu-unplugged-switch",
        thing: "a CPU",
        injected: "the same (`switch`)",
        must: "the same",
    };
    unplugged(plan, "switch");
}

fn unplugged(plan: Plan, accountant: &str) {
    if !may_change_the_machine() {
        return;
    }
    let mut trial = Trial::begin(plan, &[&format!("probes.cpu_time={accountant}")]);
    let burner = burner("0,1");
    let cpu1 = Cpu1;
    let mut ran = first_bill(&trial, burner.0.id());
    for round in 0..2 {
        let began = trial.windows(1);
        cpu1.plug(false);
        joules(&trial, 2 + round * 6, 3);
        trial.wait_for_state("kepler_cpus_online", &[], 1.0);
        ran = runs_on(&trial, burner.0.id(), ran);
        cpu1.plug(true);
        let ended = joules(&trial, 5 + round * 6, 3);
        trial.wait_for_state("kepler_cpus_online", &[], 2.0);
        ran = runs_on(&trial, burner.0.id(), ran);
        no_time_from_nowhere(&began, &ended);
    }
    let covered = trial.wait_for_value("kepler_cpu_time_coverage_ratio", &[], |ratio| ratio > 0.95);
    trial.saw(format!("14 J of 14 J paid; coverage {covered:.3} afterwards"));
    trial.end();
}

/// Busy and idle time of both CPUs is no more than the windows between the two took.
fn no_time_from_nowhere(began: &Value, ended: &Value) {
    let moment = |snapshot: &Value| snapshot["window"]["ended_ns"].as_u64().expect("a moment");
    let time = |snapshot: &Value| -> u64 {
        let packages = rows(snapshot, "packages").iter();
        packages
            .flat_map(|package| [&package["busy_ns"], &package["idle_ns"]])
            .filter_map(Value::as_u64)
            .sum()
    };
    let (passed, counted) = (moment(ended) - moment(began), time(ended) - time(began));
    // Reports are as old as their reading: up to a window at either end.
    let most = (passed + 1_000_000_000) * 2;
    assert!(counted <= most, "{counted} ns on two CPUs in {passed} ns");
}

#[test]
fn the_daemon_starts_while_a_cpu_is_away_and_it_comes_later() {
    let plan = Plan {
        name: "cpu-late",
        thing: "a CPU",
        injected: "unplugged when the daemon starts, plugged later; a busy loop on it",
        must: "it is measured from when it is there, and the loop pays",
    };
    if !may_change_the_machine() {
        return;
    }
    let cpu1 = Cpu1;
    cpu1.plug(false);
    let mut trial = Trial::begin(plan, &[]);
    trial.wait_for_state("kepler_cpus_online", &[], 1.0);
    joules(&trial, 0, 2);
    cpu1.plug(true);
    let burner = burner("1");
    let snapshot = joules(&trial, 2, 6);
    trial.wait_for_state("kepler_cpus_online", &[], 2.0);
    runs_on(&trial, burner.0.id(), 0);
    let row = row_of(&snapshot, burner.0.id()).expect("its row");
    assert!(energy(row) > 1_000_000, "{row}");
    let covered = trial.wait_for_value("kepler_cpu_time_coverage_ratio", &[], |ratio| ratio > 0.95);
    trial.saw(format!("8 J of 8 J paid; coverage {covered:.3} with both"));
    trial.end();
}
