// SPDX-License-Identifier: Apache-2.0
//! Pods in the shape in which API servers write them, small, with everything in them that could be mistaken for what is
//! read.

use serde_json::{Value, json};

/// Whose shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// 1.20: ids of `docker://`, no field of later days.
    V1_20,
    /// 1.33: ids of `containerd://`, `managedFields`, fields of later days, sidecars.
    V1_33,
}

/// Ids of a pod's containers, made from one letter: `a` gives 64 times `a`.
#[must_use]
pub fn ids(letter: char) -> String {
    letter.to_string().repeat(64)
}

/// A pod of a Deployment `web` in namespace `shop` on a node, with a container by name for each id; an empty id is one that
/// has not begun.
#[must_use]
pub fn pod(release: Release, node: &str, name: &str, uid: &str, containers: &[(&str, &str)]) -> Value {
    let listed: Vec<Value> = containers
        .iter()
        .map(|(name, _)| {
            json!({
                "name": name, "image": format!("registry.example/{name}:1"), "resources": {},
                "env": [{ "name": "PASSWORD", "value": "a secret of somebody's" }],
                "terminationMessagePath": "/dev/termination-log", "imagePullPolicy": "IfNotPresent",
            })
        })
        .collect();
    let statuses: Vec<Value> = containers
        .iter()
        .map(|(name, id)| status_of(release, name, id))
        .collect();
    let mut pod = json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {
            "name": name, "generateName": "web-7d4b9c6f5-", "namespace": "shop", "uid": uid,
            "creationTimestamp": "2026-11-26T10:00:00Z",
            "labels": { "app": "web", "pod-template-hash": "7d4b9c6f5", "team": "blue" },
            "annotations": { "kubernetes.io/config.seen": "2026-11-26T10:00:00Z" },
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-7d4b9c6f5",
                "uid": "5b0c1a6e-0000-4000-8000-000000000001", "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": {
            "nodeName": node, "containers": listed, "restartPolicy": "Always", "dnsPolicy": "ClusterFirst",
            "serviceAccountName": "default", "tolerations": [{ "operator": "Exists" }],
        },
        "status": {
            "phase": "Running", "hostIP": "192.0.2.1", "podIP": "10.1.0.7", "qosClass": "Burstable",
            "conditions": [{ "type": "Ready", "status": "True", "lastProbeTime": null }],
            "containerStatuses": statuses,
        },
    });
    if release == Release::V1_33 {
        pod["metadata"]["managedFields"] = json!([{
            "manager": "kubelet", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
            "fieldsV1": { "f:status": { "f:containerStatuses": {} } }, "subresource": "status",
        }]);
        pod["metadata"]["generation"] = json!(1);
        pod["status"]["observedGeneration"] = json!(1);
        pod["status"]["hostIPs"] = json!([{ "ip": "192.0.2.1" }]);
    }
    pod
}

/// The status of a container with this id, of one that waits where it is empty.
#[must_use]
pub fn status_of(release: Release, name: &str, id: &str) -> Value {
    let runtime = match release {
        Release::V1_20 => "docker",
        Release::V1_33 => "containerd",
    };
    let mut status = json!({
        "name": name, "ready": !id.is_empty(), "restartCount": 0, "started": !id.is_empty(), "lastState": {},
        "image": format!("registry.example/{name}:1"),
        "imageID": if id.is_empty() { String::new() } else { format!("registry.example/{name}@sha256:{}", ids('0')) },
    });
    if id.is_empty() {
        status["state"] = json!({ "waiting": { "reason": "ContainerCreating" } });
    } else {
        status["state"] = json!({ "running": { "startedAt": "2026-11-26T10:00:01Z" } });
        status["containerID"] = json!(format!("{runtime}://{id}"));
    }
    if release == Release::V1_33 {
        status["volumeMounts"] = json!([{ "name": "token", "mountPath": "/var/run/x", "readOnly": true }]);
        status["user"] = json!({ "linux": { "uid": 0, "gid": 0, "supplementalGroups": [0] } });
    }
    status
}

/// The API server's copy of a pod that the kubelet made from a file: in cgroup paths it is `hash`.
#[must_use]
pub fn mirror_pod(node: &str, hash: &str, containers: &[(&str, &str)]) -> Value {
    let name = format!("kube-proxy-{node}");
    let mut pod = pod(
        Release::V1_33,
        node,
        &name,
        "9c2f6d1e-0000-4000-8000-00000000000f",
        containers,
    );
    pod["metadata"]["namespace"] = json!("kube-system");
    pod["metadata"]["annotations"] = json!({
        "kubernetes.io/config.hash": hash, "kubernetes.io/config.mirror": hash,
        "kubernetes.io/config.seen": "2026-11-26T09:59:00Z", "kubernetes.io/config.source": "file",
    });
    pod["metadata"]["labels"] = json!({ "component": "kube-proxy" });
    pod["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "v1", "kind": "Node", "name": node,
        "uid": "77777777-0000-4000-8000-000000000001", "controller": true,
    }]);
    pod
}
