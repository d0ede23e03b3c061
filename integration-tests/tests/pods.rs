// SPDX-License-Identifier: Apache-2.0
//! The daemon in a cluster: a real container in a cgroup as kubelet makes it, and an API server of our own that names it.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

use integration_tests::api_server::{ApiServer, Fault, Release, pod};
use integration_tests::daemon::{Daemon, command};
use integration_tests::figures::{conserves, container, energy, integer, nothing_fell, rows};
use integration_tests::promtext::{Sample, of, parse};
use integration_tests::runc::{self, Container};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;
use tempfile::TempDir;

const TOKEN: &str = "token-1";
const NODE: &str = "node-1";
const POD: &str = "web-7d4b9c6f5-x2x4z";

/// Ids of a container and of its pod that no other test of this machine has.
fn ids(test: u8) -> (String, String) {
    let unique = format!("{:08x}{test:02x}", std::process::id());
    (
        format!("{unique}{}", "c".repeat(54)),
        format!("{unique}-2222-3333-4444-555555555555"),
    )
}

fn prepared(settings: &[String]) -> Command {
    let mut command = command();
    command.args([
        "--listen",
        "127.0.0.1:0",
        "--tick",
        "200ms",
        "--set",
        "log.format=json",
    ]);
    command.args(["--set", "sources.cpu=estimator"]);
    for setting in settings {
        command.args(["--set", setting]);
    }
    command
}

/// A daemon whose cluster is this.
fn daemon(server: &ApiServer, folder: &TempDir) -> Daemon {
    let kubeconfig = server.write_kubeconfig(folder.path(), TOKEN);
    Daemon::spawn(prepared(&[
        format!("kubernetes.kubeconfig={}", kubeconfig.display()),
        format!("kubernetes.node_name={NODE}"),
    ]))
}

fn scrape(daemon: &Daemon) -> Vec<Sample> {
    parse(&daemon.get("/metrics").text())
}

/// Whether the probe is up, and why not.
fn probe(samples: &[Sample]) -> Option<(bool, String)> {
    let up = of(samples, "kepler_probe_up");
    let pods = up.iter().find(|sample| sample.label("probe") == "pods")?;
    Some((pods.value == "1", pods.label("reason").to_owned()))
}

fn wait_for_probe(daemon: &Daemon, is_up: bool) {
    daemon.wait_until("a state of the probe", |_| {
        probe(&scrape(daemon)).filter(|(up, _)| *up == is_up)
    });
}

/// Labels of all series of a container, without their metrics' names and modes.
fn series(samples: &[Sample], id: &str) -> BTreeSet<[String; 3]> {
    let ours = samples
        .iter()
        .filter(|sample| sample.name.starts_with("kepler_container_") && sample.label("container_id") == id);
    ours.map(|sample| {
        ["container_name", "pod_name", "container_namespace"].map(|label| sample.label(label).to_owned())
    })
    .collect()
}

fn joules(samples: &[Sample], id: &str) -> Option<u64> {
    let all = of(samples, "kepler_container_joules_total");
    let ours = all.iter().filter(|sample| sample.label("container_id") == id);
    ours.map(|sample| sample.millionths())
        .reduce(|sum, next| sum + next)
}

fn named() -> BTreeSet<[String; 3]> {
    BTreeSet::from([["web", POD, "shop"].map(str::to_owned)])
}

/// A container that burns CPU until it is dropped.
fn busy(id: &str, cgroup: &str) -> Container {
    let container = Container::new(id, cgroup, "while :; do :; done");
    container.start();
    container
}

#[test]
fn a_container_has_one_series_under_its_names_also_when_its_pod_becomes_known_three_seconds_late() {
    if !runc::is_here() {
        return;
    }
    let (server, folder) = (ApiServer::start(TOKEN), TempDir::new().expect("a folder"));
    let daemon = daemon(&server, &folder);
    wait_for_probe(&daemon, true);
    let (id, uid) = ids(1);
    let _container = busy(&id, &format!("/kubepods/burstable/pod{uid}/{id}"));
    let mut all = BTreeSet::new();
    let mut seen = |samples: &[Sample]| all.extend(series(samples, &id));
    let first = daemon.wait_until("the container", |snapshot| {
        seen(&scrape(&daemon));
        container(snapshot, &id)
            .filter(|row| energy(row) > 0)
            .map(|_| snapshot.clone())
    });
    assert_eq!(container(&first, &id).expect("a row")["awaited"], true);
    let late = integer(&first, "tick") + 15;
    let before = daemon.wait_until("three seconds", |snapshot| {
        seen(&scrape(&daemon));
        (integer(snapshot, "tick") >= late).then(|| snapshot.clone())
    });
    let waiting = integer(container(&before, &id).expect("a row"), "cpu_ns");
    server.put(pod(Release::V1_33, NODE, POD, &uid, &[("web", &id)]));
    let after = daemon.wait_until("its series", |snapshot| {
        let samples = scrape(&daemon);
        seen(&samples);
        // In millionths of a millisecond: nanoseconds.
        let ran = of(&samples, "kepler_container_bpf_cpu_time_ms_total");
        let ran = ran
            .iter()
            .find(|sample| sample.label("container_id") == id)?
            .millionths();
        assert!(
            ran >= waiting,
            "{ran} of {waiting}: all is there from the first scrape on"
        );
        container(snapshot, &id)
            .filter(|row| row["awaited"] == false)
            .map(|_| snapshot.clone())
    });
    let end = integer(&after, "tick") + 10;
    let last = daemon.wait_until("ten more", |snapshot| {
        seen(&scrape(&daemon));
        (integer(snapshot, "tick") >= end).then(|| snapshot.clone())
    });
    assert_eq!(all, named(), "one series, from the first scrape on");
    let samples = scrape(&daemon);
    let pods = of(&samples, "kepler_pod_joules_total");
    let ours = pods
        .iter()
        .find(|sample| sample.label("pod_id") == uid)
        .expect("a pod");
    assert_eq!(
        (ours.label("pod_name"), ours.label("pod_namespace")),
        (POD, "shop")
    );
    let row = rows(&last, "pods")
        .iter()
        .find(|row| row["uid"] == uid)
        .expect("a pod");
    assert_eq!(
        (row["made_by"]["kind"].clone(), row["made_by"]["name"].clone()),
        ("Deployment".into(), "web".into())
    );
    assert_eq!(row["qos"], "Burstable");
    // What the resolver counts of itself reaches both pages.
    let walks = rows(&last, "tallies")
        .iter()
        .find(|tally| tally["probe"] == "resolver" && tally["what"] == "walks");
    assert!(walks.expect("a count")["count"].as_u64() > Some(0));
    let lost = of(&samples, "kepler_probe_lost_events_total");
    assert!(
        lost.iter()
            .any(|sample| sample.label("probe") == "resolver" && sample.label("reason") == "tasks denied")
    );
    nothing_fell(&first, &last);
    conserves(&last);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn an_api_server_that_is_away_for_a_while_takes_no_name_and_no_joule() {
    if !runc::is_here() {
        return;
    }
    let (server, folder) = (ApiServer::start(TOKEN), TempDir::new().expect("a folder"));
    let (id, uid) = ids(2);
    server.put(pod(Release::V1_20, NODE, POD, &uid, &[("web", &id)]));
    let runc = busy(&id, &format!("/kubepods/burstable/pod{uid}/{id}"));
    let daemon = daemon(&server, &folder);
    daemon.wait_until("its series", |_| {
        joules(&scrape(&daemon), &id).filter(|joules| *joules > 0)
    });
    wait_for_probe(&daemon, true);
    let before = daemon.snapshot();
    server.set_fault(Fault::Away);
    wait_for_probe(&daemon, false);
    let away = scrape(&daemon);
    assert_eq!(
        probe(&away),
        Some((false, "no connection to the server".to_owned()))
    );
    let during = daemon.wait_for_tick(integer(&before, "tick") + 15);
    nothing_fell(&before, &during);
    let later = scrape(&daemon);
    assert_eq!(series(&later, &id), named());
    assert!(joules(&later, &id) > joules(&away, &id), "figures go on");
    // The pod is deleted while nobody hears of it, and its container ends.
    server.remove(POD);
    drop(runc);
    server.set_fault(Fault::None);
    wait_for_probe(&daemon, true);
    let ended = daemon.wait_until("its end", |snapshot| {
        container(snapshot, &id)
            .filter(|row| row["ended"] == true)
            .map(|_| snapshot.clone())
    });
    nothing_fell(&during, &ended);
    conserves(&ended);
    assert_eq!(series(&scrape(&daemon), &id), named(), "it ends under its name");
    let noise = daemon
        .log()
        .iter()
        .filter(|line| line.contains("pods cannot be asked for"))
        .count();
    assert_eq!(noise, 1, "said once: {:#?}", daemon.log());
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_container_that_begins_while_the_api_server_is_away_has_one_series_all_the_same() {
    if !runc::is_here() {
        return;
    }
    let (server, folder) = (ApiServer::start(TOKEN), TempDir::new().expect("a folder"));
    let kubeconfig = server.write_kubeconfig(folder.path(), TOKEN);
    let daemon = Daemon::spawn(prepared(&[
        format!("kubernetes.kubeconfig={}", kubeconfig.display()),
        format!("kubernetes.node_name={NODE}"),
        "kubernetes.wait=1s".to_owned(),
    ]));
    wait_for_probe(&daemon, true);
    server.set_fault(Fault::Away);
    wait_for_probe(&daemon, false);
    let (id, uid) = ids(3);
    server.put(pod(Release::V1_33, NODE, POD, &uid, &[("web", &id)]));
    let runc = busy(&id, &format!("/kubepods/burstable/pod{uid}/{id}"));
    let first = daemon.wait_until("the container", |snapshot| {
        container(snapshot, &id).map(|_| snapshot.clone())
    });
    // Three times the wait.
    let during = daemon.wait_for_tick(integer(&first, "tick") + 15);
    assert_eq!(container(&during, &id).expect("a row")["awaited"], true);
    assert_eq!(series(&scrape(&daemon), &id), BTreeSet::new());
    drop(runc);
    server.set_fault(Fault::None);
    let samples = daemon.wait_until("its series", |_| {
        let samples = scrape(&daemon);
        (!series(&samples, &id).is_empty()).then_some(samples)
    });
    assert_eq!(series(&samples, &id), named());
    let last = daemon.snapshot();
    nothing_fell(&during, &last);
    conserves(&last);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn in_a_pod_the_environment_says_where_everything_is() {
    let (server, folder) = (ApiServer::start(TOKEN), TempDir::new().expect("a folder"));
    server.write_service_account(folder.path(), TOKEN);
    let mut command = prepared(&[format!("kubernetes.service_account={}", folder.path().display())]);
    command
        .env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        .env("KUBERNETES_SERVICE_PORT", server.port().to_string())
        .env("NODE_NAME", NODE);
    let daemon = Daemon::spawn(command);
    wait_for_probe(&daemon, true);
    assert!(server.count(&["fieldSelector=spec.nodeName%3Dnode-1", "watch=true"]) > 0);
    let log = daemon.log().join("\n");
    assert!(!log.contains(TOKEN), "the token is nowhere to be seen");
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn outside_of_kubernetes_nobody_is_asked_and_nothing_is_said() {
    let daemon = Daemon::spawn(prepared(&[]));
    let snapshot: Value = daemon.wait_for_tick(3);
    assert_eq!(probe(&scrape(&daemon)), None);
    assert!(
        rows(&snapshot["facts"], "probes")
            .iter()
            .all(|probe| probe["probe"] != "pods")
    );
    assert!(
        daemon
            .log()
            .iter()
            .all(|line| !line.contains("pods") && !line.contains("kube"))
    );
    assert_eq!(daemon.stop(), Some(0));
}
