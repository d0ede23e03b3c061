// SPDX-License-Identifier: Apache-2.0
//! Objects of Kubernetes, held to its own types: read into them and written again, and what is gone then was no field.
//! Types of the Prometheus operator are not among them; `make test-deploy` holds these to the operator's own.

#![allow(dead_code, reason = "two tests share this, and neither needs all of it")]

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use serde_json::Value;

/// Whose types the Prometheus operator brings.
pub(crate) const OF_THE_OPERATOR: &str = "monitoring.coreos.com/v1";

/// The documents of a file.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_saphyr::from_multiple(text).expect("YAML");
    all.into_iter().filter(|one| !one.is_null()).collect()
}

macro_rules! round {
    ($type:ty, $object:expr) => {
        serde_json::from_value::<$type>($object.clone()).and_then(|read| serde_json::to_value(read))
    };
}

/// What is wrong with an object.
pub(crate) fn complaints(object: &Value) -> Vec<String> {
    let kind = object["kind"].as_str().unwrap_or_default();
    if object["apiVersion"] == OF_THE_OPERATOR {
        return Vec::new();
    }
    let again = match kind {
        "ClusterRole" => round!(ClusterRole, object),
        "ClusterRoleBinding" => round!(ClusterRoleBinding, object),
        "ConfigMap" => round!(ConfigMap, object),
        "DaemonSet" => round!(DaemonSet, object),
        "Namespace" => round!(Namespace, object),
        "NetworkPolicy" => round!(NetworkPolicy, object),
        "PriorityClass" => round!(PriorityClass, object),
        "Secret" => round!(Secret, object),
        "Service" => round!(Service, object),
        "ServiceAccount" => round!(ServiceAccount, object),
        _ => return vec![format!("no type is known for {kind:?}")],
    };
    let mut complaints = Vec::new();
    match again {
        Ok(again) => compare(kind, object, &again, &mut complaints),
        Err(error) => complaints.push(format!("{kind}: {error}")),
    }
    complaints
}

fn compare(at: &str, wanted: &Value, found: &Value, complaints: &mut Vec<String>) {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => {
            for (key, value) in wanted {
                match found.get(key) {
                    Some(found) => compare(&format!("{at}.{key}"), value, found, complaints),
                    None => complaints.push(format!("{at}.{key} is no field")),
                }
            }
        }
        (Value::Array(wanted), Value::Array(found)) if wanted.len() == found.len() => {
            for (index, (wanted, found)) in wanted.iter().zip(found).enumerate() {
                compare(&format!("{at}[{index}]"), wanted, found, complaints);
            }
        }
        (wanted, found) if wanted == found => {}
        (wanted, found) => complaints.push(format!("{at} is {wanted} and means {found}")),
    }
}

/// The pod template of a DaemonSet among objects.
pub(crate) fn pod(objects: &[Value]) -> &Value {
    let daemons = objects.iter().find(|object| object["kind"] == "DaemonSet");
    &daemons.expect("a DaemonSet")["spec"]["template"]["spec"]
}

/// What holds for every way to run it: nobody is privileged, nothing is written but the state, and probes ask the right paths.
pub(crate) fn is_modest(objects: &[Value]) {
    let pod = pod(objects);
    let container = &pod["containers"][0];
    let security = &container["securityContext"];
    assert_eq!(security["privileged"], false);
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["capabilities"]["drop"], serde_json::json!(["ALL"]));
    let added = security["capabilities"]["add"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let wanted = ["BPF", "PERFMON", "SYS_PTRACE", "DAC_READ_SEARCH"];
    assert!(
        added
            .iter()
            .all(|one| wanted.contains(&one.as_str().unwrap_or_default())),
        "{added:?}"
    );
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(pod["enableServiceLinks"], false);
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/livez");
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz");
    let name = |one: &Value| one["name"].as_str().map(str::to_owned).unwrap_or_default();
    let volumes: Vec<String> = pod["volumes"]
        .as_array()
        .into_iter()
        .flatten()
        .map(name)
        .collect();
    for mount in container["volumeMounts"].as_array().into_iter().flatten() {
        assert!(volumes.contains(&name(mount)), "no volume for {mount}");
        let writes = mount["readOnly"] != true;
        assert!(
            !writes || mount["mountPath"] == "/var/lib/kepler",
            "{mount} may be written"
        );
    }
}

/// The configuration file that a ConfigMap of ours has, and what it is called.
pub(crate) fn config(objects: &[Value]) -> (String, String) {
    let maps = objects.iter().filter(|object| object["kind"] == "ConfigMap");
    let mut files = maps.flat_map(|map| map["data"].as_object().into_iter().flatten());
    let file = files.find(|(name, _)| ["kepler.toml", "kepler.yaml"].contains(&name.as_str()));
    let (name, text) = file.expect("a configuration");
    (name.clone(), text.as_str().expect("text").to_owned())
}
