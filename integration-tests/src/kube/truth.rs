// SPDX-License-Identifier: Apache-2.0
//! What the kubelet knows of its pods, and what it counted: owns the shapes of `/pods` and `/stats/summary`.

use super::run::{Dated, Kubelet};
use super::series::Points;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A pod as the kubelet knew it, over the whole run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `Guaranteed`, `Burstable` or `BestEffort`.
    pub qos: String,
    /// Names of its containers by their ids; every one that ever was, init containers and those before a restart, too.
    pub containers: BTreeMap<String, String>,
}

/// All pods that ever were, by UID: the one that is in their cgroups' paths.
#[must_use]
pub fn pods(kubelet: &[Kubelet]) -> BTreeMap<String, Pod> {
    let mut all: BTreeMap<String, Pod> = BTreeMap::new();
    for item in kubelet.iter().flat_map(|said| array(&said.pods["items"])) {
        let (meta, status) = (&item["metadata"], &item["status"]);
        let pod = all.entry(text(&meta["uid"])).or_default();
        pod.namespace = text(&meta["namespace"]);
        pod.name = text(&meta["name"]);
        pod.qos = text(&status["qosClass"]);
        let statuses = array(&status["initContainerStatuses"])
            .iter()
            .chain(array(&status["containerStatuses"]));
        for status in statuses {
            let ids = [
                &status["containerID"],
                &status["state"]["terminated"]["containerID"],
                &status["lastState"]["terminated"]["containerID"],
            ];
            for id in ids.into_iter().filter_map(Value::as_str) {
                if let Some((_, id)) = id.split_once("://") {
                    pod.containers.insert(id.to_owned(), text(&status["name"]));
                }
            }
        }
    }
    all
}

/// Ids of the containers that ran at two looks in a row at least, so that there was time to learn their names.
#[must_use]
pub fn lasting(kubelet: &[Kubelet]) -> BTreeSet<String> {
    let running = |said: &Kubelet| -> BTreeSet<String> {
        let statuses = array(&said.pods["items"])
            .iter()
            .flat_map(|item| array(&item["status"]["containerStatuses"]));
        statuses
            .filter(|status| status["state"]["running"].is_object())
            .filter_map(|status| Some(status["containerID"].as_str()?.split_once("://")?.1.to_owned()))
            .collect()
    };
    let looks: Vec<BTreeSet<String>> = kubelet.iter().map(running).collect();
    let pairs = looks.iter().zip(looks.iter().skip(1));
    pairs
        .flat_map(|(before, after)| before.intersection(after).cloned())
        .collect()
}

/// CPU time of a pod, as the summary has it.
#[must_use]
pub fn pod_usage(kubelet: &[Kubelet], uid: &str) -> Points {
    let moments = moments(kubelet, uid);
    let rows = kubelet.iter().flat_map(|said| array(&said.summary["pods"]));
    let usages = rows
        .filter(|row| row["podRef"]["uid"] == uid)
        .filter_map(|row| row["cpu"]["usageCoreNanoSeconds"].as_u64());
    Points::new(usages.filter_map(|usage| Some((*moments.get(&usage)?, usage))))
}

/// CPU time of a container as the summary has it: one that was never restarted. It is read when the summary is asked for.
#[must_use]
pub fn container_usage(kubelet: &[Kubelet], uid: &str, name: &str) -> Points {
    let points = kubelet.iter().flat_map(|said| {
        let ours = array(&said.summary["pods"])
            .iter()
            .filter(|row| row["podRef"]["uid"] == uid);
        let containers = ours.flat_map(|row| array(&row["containers"]));
        let named = containers.filter(|row| row["name"] == name);
        named.filter_map(|row| Some((said.at, row["cpu"]["usageCoreNanoSeconds"].as_u64()?)))
    });
    Points::new(points)
}

/// When the pod's cgroup was found at each count.
fn moments(kubelet: &[Kubelet], uid: &str) -> BTreeMap<u64, u64> {
    let cgroup = format!("/pod{uid}");
    let dated = kubelet.iter().flat_map(|said| &said.dated);
    let ours = dated.filter(|Dated { path, .. }| path.ends_with(&cgroup));
    ours.map(|Dated { usage, at, .. }| (*usage, *at)).collect()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
