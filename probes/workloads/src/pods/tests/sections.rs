// SPDX-License-Identifier: Apache-2.0
//! The section, and what it comes to on which machine.

use super::super::config::{KubernetesConfig, Mode};
use super::super::plan::{Access, Plan, PodsError, plan};
use serde_json::{Value, json};
use std::path::PathBuf;

fn section(given: Value) -> KubernetesConfig {
    serde_json::from_value(given).unwrap()
}

/// In a pod: with the folder of its service account.
fn in_a_pod(folder: &tempfile::TempDir, mut given: Value) -> KubernetesConfig {
    std::fs::write(folder.path().join("token"), "t").unwrap();
    given["service_account"] = json!(folder.path());
    given["service_host"] = json!("10.96.0.1");
    section(given)
}

fn at(plan: Option<Plan>) -> Option<(String, String)> {
    match plan? {
        Plan::Api { access, node } => match access {
            Access::Token { url, .. } => Some((url, node)),
            Access::Kubeconfig(file) => Some((file.display().to_string(), node)),
        },
        Plan::Kubelet {
            access: Access::Token { url, ca, .. },
            ..
        } => Some((url, ca.display().to_string())),
        Plan::Kubelet { .. } => None,
    }
}

#[test]
fn the_default_asks_nobody_outside_of_kubernetes() {
    assert_eq!(plan(&KubernetesConfig::default(), "host"), Ok(None));
    // One of two signs is none: a host name alone, or a folder that somebody mounted.
    let half = section(json!({ "service_host": "10.96.0.1", "service_account": "/nonexistent" }));
    assert_eq!(plan(&half, "host"), Ok(None));
    let folder = tempfile::tempdir().unwrap();
    let mut other_half = in_a_pod(&folder, json!({}));
    other_half.service_host.clear();
    assert_eq!(plan(&other_half, "host"), Ok(None));
}

#[test]
fn in_a_pod_the_api_server_is_asked_for_this_node() {
    let folder = tempfile::tempdir().unwrap();
    let asked = |given| at(plan(&in_a_pod(&folder, given), "Host-A.Example").unwrap());
    let api = |url: &str, node: &str| Some((url.to_owned(), node.to_owned()));
    assert_eq!(asked(json!({})), api("https://10.96.0.1:443", "host-a.example"));
    assert_eq!(
        asked(json!({ "node_name": "Node-1", "service_port": 6443 })),
        api("https://10.96.0.1:6443", "Node-1")
    );
    assert_eq!(asked(json!({ "mode": "off" })), None);
    assert_eq!(
        asked(json!({ "kubeconfig": "/etc/k" })),
        api("/etc/k", "host-a.example")
    );
    let bracketed = KubernetesConfig {
        service_host: "[fd00::1]".to_owned(),
        ..in_a_pod(&folder, json!({}))
    };
    assert_eq!(
        at(plan(&bracketed, "n").unwrap()),
        api("https://[fd00::1]:443", "n")
    );
    let version_6 = in_a_pod(&folder, json!({}));
    let version_6 = KubernetesConfig {
        service_host: "fd00::1".to_owned(),
        ..version_6
    };
    assert_eq!(
        at(plan(&version_6, "n").unwrap()),
        api("https://[fd00::1]:443", "n")
    );
}

#[test]
fn a_kubelet_is_asked_at_its_node_with_the_certificate_that_is_named() {
    let folder = PathBuf::from("/sa");
    let asked = |kubelet: Value| {
        let section = section(json!({ "mode": "kubelet", "service_account": folder, "kubelet": kubelet }));
        at(plan(&section, "node-1").unwrap()).unwrap()
    };
    let pair = |url: &str, ca: &str| (url.to_owned(), ca.to_owned());
    assert_eq!(asked(json!({})), pair("https://node-1:10250", "/sa/ca.crt"));
    assert_eq!(
        asked(json!({ "address": "192.0.2.7", "port": 1, "ca_file": "/k.crt" })),
        pair("https://192.0.2.7:1", "/k.crt")
    );
}

#[test]
fn an_api_server_that_nothing_names_is_refused_in_words() {
    let section = section(json!({ "mode": "api" }));
    let error = plan(&section, "host").unwrap_err();
    assert_eq!(error, PodsError::NoServer);
    for words in [
        "kubernetes.mode",
        "KUBERNETES_SERVICE_HOST",
        "kubernetes.kubeconfig",
        "off",
    ] {
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn sections_are_read_as_people_and_environments_write_them() {
    assert_eq!(section(json!({})), KubernetesConfig::default());
    let written = serde_json::to_value(KubernetesConfig::default()).unwrap();
    assert_eq!(section(written.clone()), KubernetesConfig::default(), "{written}");
    assert_eq!(
        (written["mode"].clone(), written["wait"].clone()),
        (json!("auto"), json!("30s"))
    );
    for edge in ["1s", "10m"] {
        assert_eq!(
            serde_json::to_value(section(json!({ "wait": edge })).wait).unwrap(),
            edge
        );
    }
    for edge in ["1s", "15m", "1day"] {
        let away = section(json!({ "wait_away": edge })).wait_away;
        assert_eq!(serde_json::to_value(away).unwrap(), edge);
    }
    assert_eq!(
        section(json!({ "labels": ["a", "b", "a"] })).labels.0,
        ["a", "b"],
        "each once"
    );
    assert_eq!(section(json!({ "mode": "kubelet" })).mode, Mode::Kubelet);
    let mut kept = section(json!({ "labels": ["a"] })).labels;
    kept.keep(["b", "a", "b"].into_iter());
    assert_eq!(kept.0, ["a", "b"], "what somebody else needs is kept, too");
    let list = section(json!({ "labels": ["app", "app.kubernetes.io/part-of"] }));
    assert_eq!(
        list,
        section(json!({ "labels": "app, app.kubernetes.io/part-of" }))
    );
    assert_eq!(section(json!({ "labels": "" })).labels.0, Vec::<String>::new());
    for (wrong, words) in [
        (json!({ "mode": "on" }), "kubelet"),
        (json!({ "labels": 5 }), "list of labels"),
        (json!({ "labels": ["a b"] }), "list of labels"),
        (json!({ "labels": ["a,"] }), "list of labels"),
        (json!({ "labels": vec!["a"; 33] }), "list of labels"),
        (json!({ "labels": ["a".repeat(318)] }), "list of labels"),
        (json!({ "wait": "0s" }), "1s to 10m"),
        (json!({ "wait": "10m 1ms" }), "1s to 10m"),
        (json!({ "wait": 30 }), "1s to 10m"),
        (json!({ "wait_away": "999ms" }), "1s to 1day"),
        (json!({ "wait_away": "1day 1ms" }), "1s to 1day"),
        (json!({ "wait_away": 900 }), "1s to 1day"),
        (json!({ "kubelet": { "port": 0 } }), "1 to 65535"),
        (json!({ "service_port": 65_536 }), "1 to 65535"),
        (json!({ "namespaces": [] }), "unknown field"),
    ] {
        let error = serde_json::from_value::<KubernetesConfig>(wrong.clone()).unwrap_err();
        assert!(error.to_string().contains(words), "{wrong}: {error}");
    }
}
