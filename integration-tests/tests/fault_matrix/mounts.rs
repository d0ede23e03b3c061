// SPDX-License-Identifier: Apache-2.0
//! Rows of file systems of the kernel that go away under the daemon, in a mount namespace of its own.

use integration_tests::cgroup::{self, Cgroup};
use integration_tests::daemon::{bare, behind};
use integration_tests::trial::{Plan, START, Trial};
use integration_tests::{has_command, is_root, skip};
use std::path::Path;

const ZONE: &str = "intel-rapl:0";
const LOST: &str = "kepler_probe_lost_events_total";

/// Some that the daemon has never seen, for long enough to be looked at.
fn newcomers(group: Option<&Cgroup>) {
    let enter = group.map_or_else(|| ":".to_owned(), Cgroup::enter);
    let script = format!("{enter}; for one in 1 2 3 4 5 6 7 8 9; do sleep 0.1; done");
    assert!(bare("sh").args(["-c", &script]).status().expect("sh").success());
}

/// Puts an empty file system over `place`, as the daemon sees it, and takes it away again.
fn hidden(plan: Plan, place: &Path, names: impl FnOnce(&mut Trial)) {
    if !is_root() || !has_command("unshare") || !has_command("nsenter") {
        return skip("needs root, unshare and nsenter");
    }
    let mut trial = Trial::begin_with(plan, &[], |command| {
        behind(command, "unshare", &["--mount", "--propagation", "private", "--"]);
        command.env("KEPLER_STATE__DIR", "");
    });
    let pid = trial.daemon.pid().to_string();
    let inside = |words: &[&str]| {
        let mut enter = bare("nsenter");
        enter
            .args(["--target", &pid, "--mount", "--"])
            .args(words)
            .arg(place);
        assert!(enter.status().expect("nsenter").success(), "{words:?}");
    };
    inside(&["mount", "-t", "tmpfs", "none"]);
    trial.windows(5);
    trial.meter.set(ZONE, START + 3_000_000);
    trial.wait_for_paid("package", 0, 3_000_000);
    names(&mut trial);
    inside(&["umount"]);
    trial.windows(5);
    trial.meter.set(ZONE, START + 5_000_000);
    trial.wait_for_paid("package", 0, 5_000_000);
    let covered = trial.wait_for_value("kepler_cpu_time_coverage_ratio", &[], |ratio| ratio > 0.5);
    trial.saw(format!(
        "5 J of 5 J paid, `kepler_cpu_time_coverage_ratio` {covered:.3} afterwards"
    ));
    trial.end();
}

#[test]
fn proc_is_gone() {
    let plan = Plan {
        name: "proc",
        thing: "`/proc`",
        injected: "an empty file system over it, and away again",
        must: "CPU time that the kernel's programs count goes on, under what names there were",
    };
    hidden(plan, Path::new("/proc"), |trial| {
        newcomers(None);
        trial.wait_for_rise(LOST, &[("probe", "resolver"), ("reason", "tasks vanished")]);
    });
}

#[test]
fn the_cgroup_tree_is_gone() {
    let plan = Plan {
        name: "cgroupfs",
        thing: "cgroup tree",
        injected: "an empty file system over it, and away again",
        must: "as for `/proc`",
    };
    if !cgroup::is_here() {
        return;
    }
    let place = cgroup::unified().expect("it is here");
    hidden(plan, &place, |trial| {
        let group =
            Cgroup::create(&format!("kepler-faults-hidden-{}", std::process::id())).expect("a cgroup");
        newcomers(Some(&group));
        trial.wait_for_rise(LOST, &[("probe", "resolver"), ("reason", "cgroups missed")]);
    });
}
