// SPDX-License-Identifier: Apache-2.0
//! Names: those that the kubelet has, one for each series, and none beside them.

use super::{Judge, seconds};
use crate::kube::series::{self, Shown, last_row};
use crate::kube::truth::{self, Pod};
use std::collections::BTreeSet;

/// Who made what, by the beginning of the pod's name.
const MAKERS: [(&str, &str, &str); 5] = [
    ("web-", "Deployment", "web"),
    ("duo-", "Deployment", "duo"),
    ("agent-", "DaemonSet", "agent"),
    ("db-", "StatefulSet", "db"),
    ("batch-", "Job", "batch"),
];
/// How a pod's sandbox is called, which is none of its containers.
const SANDBOX: &str = "POD";

impl Judge<'_> {
    pub(super) fn names(&mut self) {
        let mut wrong = Vec::new();
        let lasting = truth::lasting(&self.run.main.kubelet);
        let mut checked = 0;
        for pod in self.pods.values() {
            for (id, name) in pod.containers.iter().filter(|(id, _)| lasting.contains(*id)) {
                let wanted = vec![name.clone(), pod.name.clone(), pod.namespace.clone()];
                wrong.extend(misses(&self.containers, id, &wanted));
                checked += 1;
            }
        }
        self.all(
            "names of every container that ran for some seconds: its own, its pod's, its namespace",
            "the kubelet's",
            checked,
            &wrong,
        );
        let mut wrong = Vec::new();
        for (uid, pod) in &self.pods {
            let wanted = vec![pod.name.clone(), pod.namespace.clone()];
            wrong.extend(misses(&self.shown_pods, uid, &wanted));
        }
        self.all("names of every pod", "the kubelet's", self.pods.len(), &wrong);
        let (seen, wrong) = self.named_by(|pod, name| pod.name == "ready-made" && name == "prepare");
        self.fact(
            "an init container by name",
            "ready-made prepare",
            wrong.unwrap_or_else(|| format!("{seen} series")),
            seen == 1,
        );
        let away = self.run.when("api down").unwrap_or(u64::MAX);
        for (what, wait) in [
            ("", self.longest_wait(away)),
            (
                ", also while the API server was away",
                self.longest_wait(u64::MAX),
            ),
        ] {
            let shown = wait.map_or_else(|| "none came".to_owned(), seconds);
            let what = format!("the longest that a name was waited for{what}");
            self.fact(&what, "it comes", shown, wait.is_some());
        }
    }

    /// How many containers of that kind have a series of their right name.
    pub(super) fn named_by(&self, wanted: impl Fn(&Pod, &str) -> bool) -> (usize, Option<String>) {
        let mut count = 0;
        for pod in self.pods.values() {
            for (id, name) in pod.containers.iter().filter(|(_, name)| wanted(pod, name)) {
                let names = vec![name.clone(), pod.name.clone(), pod.namespace.clone()];
                count += usize::from(misses(&self.containers, id, &names).is_none());
            }
        }
        (count, (count == 0).then(|| "no series".to_owned()))
    }

    /// From a container's first row in the snapshot to its first series by name, of those named before a moment.
    fn longest_wait(&self, before: u64) -> Option<u64> {
        let frames = self.frames();
        let ids = self.pods.values().flat_map(|pod| pod.containers.keys());
        let waits = ids.filter_map(|id| {
            let first = series::cpu(frames, "containers", "id", id).all().first()?.0;
            let names = self.containers.get(id)?;
            let (_, numbers) = names.iter().find(|(names, _)| !names[0].is_empty())?;
            let named = frames.get(*numbers.first()?)?.at;
            (named < before).then(|| named.checked_sub(first)).flatten()
        });
        waits.max()
    }

    pub(super) fn one_series(&mut self) {
        for (what, shown) in [
            ("container", self.containers.clone()),
            ("pod", self.shown_pods.clone()),
        ] {
            let twice = shown.iter().filter(|(_, names)| names.len() > 1);
            let wrong: Vec<_> = twice
                .map(|(id, names)| format!("{id}: {:?}", names.keys()))
                .collect();
            self.all(
                &format!("every {what} is shown under one name only, from its first series on"),
                "one name",
                shown.len(),
                &wrong,
            );
            let wrong: Vec<_> = shown
                .iter()
                .filter(|(_, names)| names.values().any(|numbers| has_gap(numbers)))
                .map(|(id, _)| id.clone())
                .collect();
            self.all(
                &format!("no {what}'s series goes away and comes back"),
                "none",
                shown.len(),
                &wrong,
            );
        }
        let known: BTreeSet<&String> = self.pods.values().flat_map(|pod| pod.containers.keys()).collect();
        let invented: Vec<_> = self
            .containers
            .iter()
            .filter(|(id, names)| !known.contains(id) && names.keys().any(|names| is_of_pod(names)))
            .filter(|(_, names)| !names.keys().all(|names| self.is_sandbox(names)))
            .map(|(id, names)| format!("{id}: {:?}", names.keys()))
            .collect();
        self.all(
            "no name of a pod's container but those that the kubelet has",
            "none",
            self.containers.len(),
            &invented,
        );
        let (counters, fallen) = series::fallen(self.frames());
        let frames = self.frames().len();
        self.all(
            &format!("no counter of the metrics falls over {frames} scrapes"),
            "none",
            counters,
            &fallen,
        );
    }

    /// A pod's sandbox has the pod's names.
    fn is_sandbox(&self, names: &[String]) -> bool {
        let [container, pod, namespace] = names else {
            return false;
        };
        let theirs = |known: &Pod| known.name == *pod && known.namespace == *namespace;
        container == SANDBOX && self.pods.values().any(theirs)
    }

    pub(super) fn who_made_it(&mut self) {
        let (mut checked, mut wrong) = (BTreeSet::new(), Vec::new());
        let mut classes = Vec::new();
        for (uid, pod) in &self.pods {
            let Some(row) = last_row(self.frames(), "pods", "uid", uid) else {
                continue;
            };
            if row["qos"] != pod.qos.as_str() {
                classes.push(format!("{}: {}, and it is {}", pod.name, row["qos"], pod.qos));
            }
            let maker = MAKERS.iter().find(|(begin, ..)| pod.name.starts_with(begin));
            if let Some((_, kind, name)) = maker {
                checked.insert(*name);
                let made_by = &row["made_by"];
                if made_by["kind"] != *kind || made_by["name"] != *name {
                    wrong.push(format!("{}: {made_by}, and it is {kind} {name}", pod.name));
                }
            }
        }
        let kinds = "Deployment, DaemonSet, StatefulSet, Job";
        let complete = checked.len();
        if complete < MAKERS.len() {
            wrong.push(format!("only {checked:?} were there"));
        }
        self.all("who made a pod, in the snapshot", kinds, complete, &wrong);
        self.all(
            "QoS classes, in the snapshot",
            "the kubelet's",
            self.pods.len(),
            &classes,
        );
    }
}

/// Why a row was not shown under these names only.
pub(super) fn misses(shown: &Shown, id: &str, wanted: &[String]) -> Option<String> {
    let Some(names) = shown.get(id) else {
        return Some(format!("{wanted:?} ({id}) was never shown"));
    };
    let wrong = names.keys().find(|names| names.as_slice() != wanted)?;
    Some(format!("{wanted:?} ({id}) was shown as {wrong:?}"))
}

/// Whether a row of the container level is one of a pod.
fn is_of_pod(names: &[String]) -> bool {
    let host = |name: &String| name.ends_with("_processes");
    names.iter().skip(1).any(|name| !name.is_empty()) && !names.iter().any(host)
}

fn has_gap(numbers: &[usize]) -> bool {
    numbers
        .iter()
        .zip(numbers.iter().skip(1))
        .any(|(before, after)| after - before > 1)
}
