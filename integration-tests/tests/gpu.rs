// SPDX-License-Identifier: Apache-2.0
//! The daemon on a stand-in for NVIDIA's library: GPU energy goes to those who used that GPU, in proportion, and to nobody
//! else. The same on a real GPU: `gpu/run.sh real`.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_precision_loss,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

use integration_tests::daemon::Daemon;
use integration_tests::figures::{charged, conserves, integer, nothing_fell, rows};
use integration_tests::nvml::Gpus;
use integration_tests::promtext::{Sample, of, parse};
use serde_json::Value;
use std::process::{Child, Command};

fn daemon(gpus: &Gpus) -> Daemon {
    let [library, root] = gpus.settings();
    let settings = [
        "sources.gpu=nvml",
        &library,
        &root,
        "sources.cpu=",
        "sources.dram=",
        "sources.platform=",
        "attribution.idle.floor=none",
    ];
    let mut arguments = vec!["--tick", "100ms"];
    for setting in settings {
        arguments.extend(["--set", setting]);
    }
    let daemon = Daemon::start(&arguments);
    daemon.wait_for_tick(4);
    daemon
}

/// A process that runs a little, all the time.
struct Worker(Child);

impl Worker {
    fn new() -> Self {
        Self(
            Command::new("sh")
                .args(["-c", "while :; do sleep 0.02; done"])
                .spawn()
                .expect("sh"),
        )
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The zone of this GPU: its number and row.
fn zone<'a>(snapshot: &'a Value, uuid: &str) -> Option<(usize, &'a Value)> {
    rows(snapshot, "zones")
        .iter()
        .enumerate()
        .find(|(_, zone)| zone["component"] == "gpu" && zone["place"] == uuid)
}

/// Everything that was paid for this GPU so far, dynamic.
fn paid(snapshot: &Value, uuid: &str) -> u64 {
    zone(snapshot, uuid).map_or(0, |(_, zone)| integer(zone, "dynamic_uj"))
}

/// What a process has paid for it.
fn share(snapshot: &Value, uuid: &str, pid: u32) -> u64 {
    let Some((index, _)) = zone(snapshot, uuid) else {
        return 0;
    };
    let ours = rows(snapshot, "processes").iter().filter(|row| row["pid"] == pid);
    ours.map(|row| charged(row, index, "dynamic")).sum()
}

fn unattributed(snapshot: &Value, uuid: &str) -> u64 {
    zone(snapshot, uuid).map_or(0, |(_, zone)| integer(zone, "unattributed_uj"))
}

/// A snapshot in which this GPU has been paid at least `more` microjoules beyond `before`.
fn later(daemon: &Daemon, before: &Value, uuid: &str, more: u64) -> Value {
    daemon.wait_until("more energy", |snapshot| {
        (paid(snapshot, uuid) >= paid(before, uuid) + more).then(|| snapshot.clone())
    })
}

#[test]
fn two_processes_pay_in_proportion_to_their_use_of_each_gpu_and_nobody_else_pays() {
    let (a, b, idler) = (Worker::new(), Worker::new(), Worker::new());
    let gpus = Gpus::new(&format!(
        "gpu 0 uuid=GPU-aaaa power_mw=400000 util=80\n\
         gpu 1 uuid=GPU-bbbb power_mw=100000 util=50\n\
         proc 0 pid={0} sm=60\nproc 0 pid={1} sm=20\nproc 1 pid={1} sm=50\nproc 1 pid={2}\n",
        a.pid(),
        b.pid(),
        idler.pid(),
    ));
    let daemon = daemon(&gpus);
    // From when the driver's samples are known.
    let before = daemon.wait_until("a share", |snapshot| {
        let known = share(snapshot, "GPU-aaaa", a.pid()) > 0 && share(snapshot, "GPU-bbbb", b.pid()) > 0;
        known.then(|| snapshot.clone())
    });
    let after = later(&daemon, &before, "GPU-aaaa", 400_000_000);
    conserves(&after);
    nothing_fell(&before, &after);
    let step = |of: &dyn Fn(&Value) -> u64| (of(&after) - of(&before)) as f64;
    let near = |value: f64, expected: f64| (value / expected - 1.0).abs() < 0.01;
    let all = step(&|snapshot| paid(snapshot, "GPU-aaaa"));
    assert!(near(
        step(&|snapshot| share(snapshot, "GPU-aaaa", a.pid())),
        all * 0.75
    ));
    assert!(near(
        step(&|snapshot| share(snapshot, "GPU-aaaa", b.pid())),
        all * 0.25
    ));
    let all = step(&|snapshot| paid(snapshot, "GPU-bbbb"));
    assert!(near(step(&|snapshot| share(snapshot, "GPU-bbbb", b.pid())), all));
    // Who is on a GPU and does not use it, and who is not, pays nothing.
    for uuid in ["GPU-aaaa", "GPU-bbbb"] {
        assert_eq!(share(&after, uuid, idler.pid()), 0);
        let (index, _) = zone(&after, uuid).unwrap();
        for row in rows(&after, "processes") {
            let known = row["pid"] == a.pid() || row["pid"] == b.pid();
            assert!(known || charged(row, index, "dynamic") == 0, "{row:#}");
        }
    }
    labels(&daemon, a.pid());
    assert_eq!(daemon.stop(), Some(0));
}

/// The names and labels of the metrics contract.
fn labels(daemon: &Daemon, pid: u32) {
    let text = daemon.get("/metrics").text();
    let samples = parse(&text);
    let node = of(&samples, "kepler_node_gpu_joules_total");
    for uuid in ["GPU-aaaa", "GPU-bbbb"] {
        let is_it = |sample: &&&Sample| {
            sample.label("package") == uuid
                && sample.label("source") == "nvml"
                && sample.label("mode") == "dynamic"
        };
        assert!(node.iter().find(is_it).expect(uuid).millionths() > 0);
    }
    let pid = pid.to_string();
    let is_ours = |sample: &&&Sample| sample.label("pid") == pid && sample.label("mode") == "dynamic";
    let energy = of(&samples, "kepler_process_gpu_joules_total");
    assert!(energy.iter().find(is_ours).expect("its energy").millionths() > 0);
    let used = of(&samples, "kepler_process_gpu_compute_util_total");
    let ours = |sample: &&&Sample| sample.label("pid") == pid && sample.label("gpu_id") == "GPU-aaaa";
    assert!(used.iter().find(ours).expect("its use").float() > 0.0, "{text}");
    let info = of(&samples, "kepler_source_info");
    assert!(
        info.iter()
            .any(|sample| sample.label("source") == "nvml" && sample.label("provenance") == "counted")
    );
}

#[test]
fn a_busy_gpu_without_a_known_user_is_nobodys() {
    let worker = Worker::new();
    let gpus = Gpus::new("gpu 0 uuid=GPU-aaaa power_mw=300000 util=70\n");
    let daemon = daemon(&gpus);
    let before = daemon.snapshot();
    let after = later(&daemon, &before, "GPU-aaaa", 100_000_000);
    conserves(&after);
    assert_eq!(unattributed(&after, "GPU-aaaa"), paid(&after, "GPU-aaaa"));
    assert_eq!(share(&after, "GPU-aaaa", worker.pid()), 0);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_driver_that_is_restarted_costs_an_interval_and_no_counter_falls() {
    let worker = Worker::new();
    let script = |epoch: u32| {
        format!(
            "driver epoch={epoch}\ngpu 0 uuid=GPU-aaaa power_mw=300000 util=70\nproc 0 pid={} sm=70\n",
            worker.pid()
        )
    };
    let gpus = Gpus::new(&script(1));
    let daemon = daemon(&gpus);
    let before = daemon.wait_until("a share", |snapshot| {
        (share(snapshot, "GPU-aaaa", worker.pid()) > 0).then(|| snapshot.clone())
    });
    gpus.script(&script(2));
    let after = later(&daemon, &before, "GPU-aaaa", 300_000_000);
    conserves(&after);
    nothing_fell(&before, &after);
    assert!(share(&after, "GPU-aaaa", worker.pid()) > share(&before, "GPU-aaaa", worker.pid()));
    assert_eq!(daemon.stop(), Some(0));
}
