// SPDX-License-Identifier: Apache-2.0
//! What the names of a node's pods cost an API server: the figures that docs/scale.md multiplies.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]

use integration_tests::api_server::{ApiServer, Release, pod};
use integration_tests::daemon::{Daemon, pause};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const TOKEN: &str = "token-1";
const PODS: usize = 100;
/// Longest wait for what should happen at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// A pod with one container; `id` is empty where it has not begun.
fn of_node(node: &str, number: usize, id: &str) -> Value {
    let name = format!("web-7d4b9c6f5-{number:05}");
    let uid = format!("5d2c5b0e-41a5-4c0d-9c0a-{number:012x}");
    pod(Release::V1_33, node, &name, &uid, &[("web", id)])
}

fn id(number: usize) -> String {
    format!("{number:064x}")
}

/// The states that a watch tells of a pod which is made, begins and is deleted, but for the deletion itself.
fn life(number: usize) -> Vec<Value> {
    let waiting = of_node("node-1", number, "");
    let running = of_node("node-1", number, &id(number));
    let mut ending = running.clone();
    if let Some(metadata) = ending.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("deletionTimestamp".to_owned(), json!("2026-11-26T11:00:00Z"));
    }
    vec![waiting, running, ending]
}

#[test]
fn a_node_lists_its_own_pods_once_and_then_hears_of_their_changes_only() {
    let (server, folder) = (ApiServer::start(TOKEN), TempDir::new().expect("a folder"));
    for number in 0..PODS {
        server.put(of_node("node-1", number, &id(number)));
        server.put(of_node("node-2", number + PODS, &id(number + PODS)));
    }
    let kubeconfig = server.write_kubeconfig(folder.path(), TOKEN);
    let kubeconfig = format!("kubernetes.kubeconfig={}", kubeconfig.display());
    let daemon = Daemon::start(&[
        "--set",
        &kubeconfig,
        "--set",
        "kubernetes.node_name=node-1",
        "--set",
        "sources.cpu=estimator",
    ]);
    server.wait_for(&["fieldSelector=spec.nodeName%3Dnode-1", "watch=true"], 1);
    let list = server.told();
    assert_eq!(
        server.count(&["resourceVersion=0"]),
        1,
        "one list, out of the server's memory"
    );

    let born = 2 * PODS;
    let states = life(born);
    for state in &states {
        server.put(state.clone());
    }
    // Nobody here wants to know.
    server.put(of_node("node-2", born + 1, ""));
    server.remove(&format!("web-7d4b9c6f5-{born:05}"));
    let version = json!("1000").to_string().len() + r#""resourceVersion":,"#.len();
    let object =
        |state: &Value| state.to_string().len() + version + r#"{"type":"MODIFIED","object":}"#.len() + 1;
    // Deleted is the last state once more.
    let said: usize = states.iter().chain(states.last()).map(object).sum();
    let end = Instant::now() + PATIENCE;
    let told = loop {
        let told = server.told() - list;
        // `ADDED` and `DELETED` are shorter than `MODIFIED`.
        if told + 4 >= said {
            break told;
        }
        assert!(Instant::now() < end, "{told} of {said} bytes were told");
        pause();
    };
    assert_eq!(told + 4, said, "this node's changes and no others");
    assert_eq!(server.count(&["watch=true"]), 1);
    assert_eq!(server.count(&["resourceVersion=0"]), 1);
    println!("a list of {PODS} pods: {list} bytes, {} each", list / PODS);
    println!(
        "a pod that comes and goes: {} events, {told} bytes",
        states.len() + 1
    );
    assert_eq!(daemon.stop(), Some(0));
}
