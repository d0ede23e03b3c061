// SPDX-License-Identifier: Apache-2.0
//! From what is on the wire to what is known: which UID a pod has in cgroup paths, who made it, which container has which
//! name. Pure.

use super::config::Labels;
use super::requests::Requests;
use super::shape::{Container, ContainerStatus, OwnerReference, Pod};
use attribution::model::{ContainerFacts, ContainerId, PodFacts, PodUid};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The label by which a Deployment tells its ReplicaSets apart; its value ends their names.
const TEMPLATE_HASH: &str = "pod-template-hash";
/// Most containers of a pod that are kept, former ones included; beyond it the rest stays without names. A pod has some
/// ten; the API sets no bound of its own below the size of an object.
const MOST_CONTAINERS: usize = 512;
/// Longest text that is kept of a pod, in bytes: Kubernetes allows 253 for a name and 63 for a label's value, a reference of an
/// image has some 400 at most. Whoever answers in its place may say anything, and it becomes a label of every series.
const LONGEST: usize = 512;
/// Longest UID and longest id of a container: they are looked for in the names of folders (NAME_MAX).
const LONGEST_ID: usize = 255;

/// A pod by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KnownPod {
    pub(super) facts: Arc<PodFacts>,
    /// Those that have an id: living ones, and of each the one before.
    pub(super) containers: Vec<(ContainerId, Arc<ContainerFacts>)>,
    /// What it has reserved.
    pub(super) requests: Requests,
    /// Whether all of its containers have ended for good.
    pub(super) is_over: bool,
    /// Whether it is the copy of one that a kubelet made from a file.
    pub(super) is_mirror: bool,
}

impl KnownPod {
    pub(super) fn container(&self, id: &ContainerId) -> Option<&Arc<ContainerFacts>> {
        let mut all = self.containers.iter();
        all.find_map(|(of, facts)| (of == id).then_some(facts))
    }
}

/// The UID by which cgroup paths know a pod; `None` for what is no pod. A kubelet that makes a pod from a file calls it by
/// a hash of that file, and the API server knows it as a copy ("mirror") with another UID and that hash as an annotation.
/// In the kubelet's own list the hash is the UID. The annotation `kubernetes.io/config.hash` alone says nothing: it goes
/// along when somebody copies a manifest.
pub(super) fn uid_in_paths(pod: &Pod) -> Option<PodUid> {
    let uid = mirrored(pod).unwrap_or(pod.metadata.uid.as_str());
    (1..=LONGEST_ID).contains(&uid.len()).then(|| PodUid::new(uid))
}

/// Whether a pod is such a copy.
pub(super) fn is_mirror(pod: &Pod) -> bool {
    mirrored(pod).is_some()
}

fn mirrored(pod: &Pod) -> Option<&str> {
    let annotations = pod.metadata.annotations.as_ref()?;
    annotations.mirror.as_deref().filter(|uid| !uid.is_empty())
}

/// What is to be remembered of a pod.
pub(super) fn known(pod: &Pod, wanted: &Labels) -> KnownPod {
    let none = BTreeMap::new();
    let (meta, status) = (&pod.metadata, &pod.status);
    let labels = meta.labels.as_ref().unwrap_or(&none);
    let wanted = wanted
        .0
        .iter()
        .filter_map(|name| Some((name.clone(), kept(labels.get(name)?))));
    KnownPod {
        facts: Arc::new(PodFacts {
            name: kept(&meta.name),
            namespace: kept(&meta.namespace),
            made_by: made_by(
                meta.owner_references.as_deref().unwrap_or_default(),
                labels.get(TEMPLATE_HASH).map(String::as_str),
            ),
            qos: status.qos_class.as_deref().map(kept).unwrap_or_default(),
            labels: wanted.collect(),
        }),
        containers: containers(pod),
        is_mirror: is_mirror(pod),
        requests: Requests::of(pod),
        is_over: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
    }
}

/// Kind and name of what made a pod. A ReplicaSet whose name ends with the hash of its template is one of a Deployment's,
/// and what stands before is the Deployment's name; any other owner is told as it is, a CronJob's Job too, for a Job's name
/// does not prove whose it is.
pub(super) fn made_by(owners: &[OwnerReference], template_hash: Option<&str>) -> Option<(String, String)> {
    let owner = owners.iter().find(|owner| owner.controller == Some(true))?;
    let deployment = template_hash
        .filter(|hash| owner.kind == "ReplicaSet" && !hash.is_empty())
        .and_then(|hash| owner.name.strip_suffix(hash)?.strip_suffix('-'))
        .filter(|name| !name.is_empty());
    Some(match deployment {
        Some(name) => ("Deployment".to_owned(), kept(name)),
        None => (kept(&owner.kind), kept(&owner.name)),
    })
}

fn containers(pod: &Pod) -> Vec<(ContainerId, Arc<ContainerFacts>)> {
    let (spec, status) = (&pod.spec, &pod.status);
    let kinds = [
        (&spec.containers, &status.container_statuses),
        (&spec.init_containers, &status.init_container_statuses),
        (&spec.ephemeral_containers, &status.ephemeral_container_statuses),
    ];
    let mut known: Vec<(ContainerId, Arc<ContainerFacts>)> = Vec::new();
    for (listed, statuses) in kinds {
        let listed = listed.as_deref().unwrap_or_default();
        for status in statuses.as_deref().unwrap_or_default() {
            let facts = Arc::new(ContainerFacts {
                name: kept(&status.name),
                image: image(status, listed),
            });
            for id in ids(status) {
                if known.len() < MOST_CONTAINERS && !known.iter().any(|(of, _)| *of == id) {
                    known.push((id, Arc::clone(&facts)));
                }
            }
        }
    }
    known
}

/// Ids of a container: the one that it has, and the one that it had before it was started again.
fn ids(status: &ContainerStatus) -> impl Iterator<Item = ContainerId> {
    let ended = [&status.state, &status.last_state].into_iter().flatten();
    let ended = ended.filter_map(|state| state.terminated.as_ref()?.container_id.as_deref());
    let all = status.container_id.as_deref().into_iter().chain(ended);
    all.filter_map(|id| bare_id(id).map(ContainerId::new))
}

/// An id without its runtime: `containerd://ID`.
pub(super) fn bare_id(id: &str) -> Option<&str> {
    let bare = id.split_once("://").map_or(id, |(_, bare)| bare);
    (1..=LONGEST_ID).contains(&bare.len()).then_some(bare)
}

/// Docker reports an image that has no name here by its digest; the pod says what it was asked for by.
fn image(status: &ContainerStatus, listed: &[Container]) -> Option<String> {
    let is_name = |image: &&str| !image.is_empty() && !image.starts_with("sha256:");
    let reported = status.image.as_deref().filter(is_name);
    let asked = || {
        listed
            .iter()
            .find(|container| container.name == status.name)?
            .image
            .as_deref()
    };
    reported.or_else(asked).map(kept)
}

/// A text as it is kept: cut where it is too long, and without what would be a command to a terminal.
fn kept(text: &str) -> String {
    let clean = |char: char| match char.is_control() {
        true => char::REPLACEMENT_CHARACTER,
        false => char,
    };
    let mut out = String::new();
    for char in text.chars().map(clean) {
        if out.len() + char.len_utf8() > LONGEST {
            break;
        }
        out.push(char);
    }
    out
}
