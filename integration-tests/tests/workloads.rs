// SPDX-License-Identifier: Apache-2.0
//! Real work in real cgroups and containers: short-lived, never sleeping, started, ended. Needs root.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_precision_loss,
    reason = "helpers of tests fail as tests do"
)]

use integration_tests::cgroup::{self, Cgroup};
use integration_tests::child::Killed;
use integration_tests::daemon::Daemon;
use integration_tests::figures::{conserves, container, energy, integer, rows};
use integration_tests::runc::{self, Container};
use integration_tests::say;
use serde_json::Value;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// An id like a runtime's, but of this test alone.
fn id(test: u8) -> String {
    format!("{:08x}{test:02x}{}", std::process::id(), &ID[10..])
}

fn daemon(tick: &str) -> Daemon {
    let daemon = Daemon::start(&[
        "--tick",
        tick,
        "--set",
        "probes.cpu_time=switch",
        "--set",
        "sources.cpu=estimator",
    ]);
    daemon.wait_for_tick(2);
    daemon
}

fn shell(script: &str) -> Killed {
    let child = Command::new("sh")
        .args(["-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn();
    Killed(child.expect("sh starts"))
}

#[test]
fn a_storm_of_5000_short_processes_is_charged_to_its_container() {
    if !cgroup::is_here() {
        return;
    }
    let id = id(1);
    let cgroup = Cgroup::create(&format!("docker/{id}")).expect("a cgroup");
    let daemon = daemon("1s");
    // The shell joins the cgroup, so its own time belongs to it as well, for the kernel and for us.
    let mut storm = shell(&format!(
        "{}; i=0; while [ $i -lt 5000 ]; do /bin/true; i=$((i+1)); done",
        cgroup.enter()
    ));
    assert!(storm.0.wait().expect("it ends").success());
    let kernel = cgroup.usage_usec().expect("cpu.stat") * 1_000;
    let tick = integer(&daemon.snapshot(), "tick");
    let snapshot = daemon.wait_for_tick(tick + 2);
    let ours = container(&snapshot, &id).map_or(0, |row| integer(row, "cpu_ns"));
    let ratio = ours as f64 / kernel as f64;
    say(&format!(
        "storm: kernel {kernel} ns, charged {ours} ns, {:.2} %",
        ratio * 100.0
    ));
    assert!((0.98..=1.02).contains(&ratio), "{ratio}");
    assert!(container(&snapshot, &id).is_some_and(|row| energy(row) > 0));
    conserves(&snapshot);
    let ended = daemon.wait_until("its end", |snapshot| {
        container(snapshot, &id)
            .filter(|row| row["ended"] == true)
            .map(|_| snapshot.clone())
    });
    conserves(&ended);
}

#[test]
fn a_pinned_loop_that_never_sleeps_is_charged_in_every_tick() {
    if !cgroup::is_here() {
        return;
    }
    let id = id(2);
    let cgroup = Cgroup::create(&format!("docker/{id}")).expect("a cgroup");
    let daemon = daemon("1s");
    let _burner = shell(&format!(
        "{}; exec taskset -c 0 sh -c 'while :; do :; done'",
        cgroup.enter()
    ));
    daemon.wait_until("the loop", |snapshot| container(snapshot, &id).map(|_| ()));
    // What another process took of its CPU is no fault of ours: the kernel's own count of the cgroup is the measure.
    let mut last: Option<(u64, u64)> = None;
    let mut tick = integer(&daemon.snapshot(), "tick") + 1;
    for _ in 0..5 {
        let snapshot = daemon.wait_for_tick(tick + 1);
        let kernel = cgroup.usage_usec().expect("cpu.stat") * 1_000;
        tick = integer(&snapshot, "tick");
        let ours = integer(container(&snapshot, &id).expect("a row"), "cpu_ns");
        if let Some((ours_then, kernel_then)) = last {
            let (charged, ran) = (ours - ours_then, kernel - kernel_then);
            say(&format!(
                "loop: tick {tick}: kernel {ran} ns, charged {charged} ns"
            ));
            // The two are read at moments that differ by the time that a request takes.
            assert!(
                charged.abs_diff(ran) * 50 <= ran.max(charged) + 50 * 20_000_000,
                "{charged} of {ran}"
            );
            assert!(charged > 0);
        }
        last = Some((ours, kernel));
    }
}

#[test]
fn a_container_of_a_real_runtime_gets_its_id_its_pod_and_its_energy() {
    if !runc::is_here() {
        return;
    }
    let id = id(3);
    let pod = "11111111-2222-3333-4444-555555555555";
    let runc = Container::new(
        &id,
        &format!("/kubepods/burstable/pod{pod}/{id}"),
        "while :; do :; done",
    );
    runc.start();
    let daemon = daemon("200ms");
    let snapshot = daemon.wait_until("the container's energy", |snapshot| {
        container(snapshot, &id)
            .filter(|row| energy(row) > 1_000)
            .map(|_| snapshot.clone())
    });
    let row = container(&snapshot, &id).expect("a row");
    assert_eq!(row["owner"]["pod"], pod);
    assert!(
        rows(&snapshot, "pods")
            .iter()
            .any(|row| row["uid"] == pod && energy(row) > 0)
    );
    drop(runc);
    let ended = daemon.wait_until("its end", |snapshot| {
        container(snapshot, &id)
            .filter(|row| row["ended"] == true)
            .map(|_| snapshot.clone())
    });
    let total = energy(container(&ended, &id).expect("still visible"));
    let later = daemon.wait_for_tick(integer(&ended, "tick") + 3);
    assert_eq!(
        container(&later, &id).map(energy),
        Some(total),
        "an ended workload keeps its final total"
    );
}

#[test]
fn a_process_that_ends_stays_with_its_final_total_and_its_pid_is_not_mixed_up() {
    if !cgroup::is_here() {
        return;
    }
    let daemon = daemon("200ms");
    let end = Instant::now() + Duration::from_secs(30);
    let mut worker = shell("exec sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; sleep 1'");
    let pid = u64::from(worker.0.id());
    let row = |snapshot: &Value| {
        rows(snapshot, "processes")
            .iter()
            .find(|row| row["pid"] == pid)
            .cloned()
    };
    daemon.wait_until("a row of its own", |snapshot| {
        row(snapshot).filter(|row| energy(row) > 0)
    });
    worker.0.wait().expect("it ends");
    let ended = daemon.wait_until("its end", |snapshot| {
        row(snapshot).filter(|row| row["ended"] == true)
    });
    assert!(Instant::now() < end);
    let later = daemon.wait_for_tick(integer(&daemon.snapshot(), "tick") + 3);
    assert_eq!(
        row(&later).map(|row| integer(&row, "cpu_ns")),
        Some(integer(&ended, "cpu_ns"))
    );
}
