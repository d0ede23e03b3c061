// SPDX-License-Identifier: Apache-2.0
//! What pods look like on the wire: owns the few fields that are read, and refuses nothing that it does not need.
//!
//! `Pod` of the core API, version v1, as the API server and the kubelet write it. Kubernetes' own types would do, but they
//! hold a pod's whole specification, its environment with what is secret in it included, and one field of a type that
//! they do not know would cost the whole list.

use serde::Deserialize;
use std::collections::BTreeMap;

/// `PodList`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct PodList {
    #[serde(default)]
    pub(super) metadata: ListMeta,
    #[serde(default)]
    pub(super) items: Option<Vec<Pod>>,
}

/// `ListMeta`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ListMeta {
    pub(super) resource_version: Option<String>,
}

/// `Pod`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Pod {
    pub(super) metadata: Meta,
    pub(super) spec: Spec,
    pub(super) status: State,
}

/// `ObjectMeta`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Meta {
    pub(super) uid: String,
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) resource_version: Option<String>,
    pub(super) labels: Option<BTreeMap<String, String>>,
    pub(super) annotations: Option<Annotations>,
    pub(super) owner_references: Option<Vec<OwnerReference>>,
}

/// The annotation that a kubelet writes on the copy of a pod that it made from a file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Annotations {
    #[serde(rename = "kubernetes.io/config.mirror")]
    pub(super) mirror: Option<String>,
}

/// `OwnerReference`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct OwnerReference {
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) controller: Option<bool>,
}

/// `PodSpec`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Spec {
    pub(super) containers: Option<Vec<Container>>,
    pub(super) init_containers: Option<Vec<Container>>,
    pub(super) ephemeral_containers: Option<Vec<Container>>,
    /// Of the pod as a whole, since Kubernetes 1.34.
    pub(super) resources: Option<Resources>,
    /// What its runtime class takes beside it.
    pub(super) overhead: Option<Amounts>,
}

/// `Container`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Container {
    pub(super) name: String,
    pub(super) image: Option<String>,
    pub(super) resources: Option<Resources>,
    pub(super) restart_policy: Option<String>,
}

/// `ResourceRequirements`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Resources {
    pub(super) requests: Option<Amounts>,
    pub(super) limits: Option<Amounts>,
}

/// `ResourceList`, as far as idle energy is paid by it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Amounts {
    pub(super) cpu: Option<Quantity>,
    pub(super) memory: Option<Quantity>,
}

/// `Quantity`: text, and a number where somebody wrote one. Anything else costs itself and not its pod.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Quantity {
    Text(String),
    Number(serde_json::Number),
    Other(serde::de::IgnoredAny),
}

/// `PodStatus`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct State {
    pub(super) phase: Option<String>,
    pub(super) qos_class: Option<String>,
    pub(super) container_statuses: Option<Vec<ContainerStatus>>,
    pub(super) init_container_statuses: Option<Vec<ContainerStatus>>,
    pub(super) ephemeral_container_statuses: Option<Vec<ContainerStatus>>,
}

/// `ContainerStatus`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ContainerStatus {
    pub(super) name: String,
    pub(super) image: Option<String>,
    #[serde(rename = "containerID")]
    pub(super) container_id: Option<String>,
    /// What the kubelet holds for it, once it was resized.
    pub(super) allocated_resources: Option<Amounts>,
    pub(super) state: Option<ContainerState>,
    pub(super) last_state: Option<ContainerState>,
}

/// `ContainerState`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ContainerState {
    pub(super) terminated: Option<Terminated>,
}

/// `ContainerStateTerminated`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Terminated {
    #[serde(rename = "containerID")]
    pub(super) container_id: Option<String>,
}

/// One line of a watch.
#[derive(Debug)]
pub(super) enum Event {
    /// A pod as it is now.
    Is(Box<Pod>),
    /// A pod as it was last.
    Was(Box<Pod>),
    /// Nothing happened up to this version.
    Bookmark(String),
    /// The server ends the watch: a code as of HTTP, and its words.
    Error(u16, String),
    /// Something newer than this program.
    Unknown,
}

/// Reads a line of a watch.
pub(super) fn event(line: &[u8]) -> Result<Event, serde_json::Error> {
    #[derive(Deserialize)]
    struct Kind {
        r#type: String,
    }
    #[derive(Deserialize)]
    struct With<T> {
        object: T,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Status {
        code: u16,
        message: String,
        reason: String,
    }
    let pod = || serde_json::from_slice::<With<Pod>>(line).map(|with| Box::new(with.object));
    let Kind { r#type } = serde_json::from_slice(line)?;
    Ok(match r#type.as_str() {
        "ADDED" | "MODIFIED" => Event::Is(pod()?),
        "DELETED" => Event::Was(pod()?),
        "BOOKMARK" => Event::Bookmark(pod()?.metadata.resource_version.unwrap_or_default()),
        "ERROR" => {
            let Status {
                code,
                message,
                reason,
            } = serde_json::from_slice::<With<Status>>(line)?.object;
            let words = if message.is_empty() { reason } else { message };
            Event::Error(code, words)
        }
        _ => Event::Unknown,
    })
}

/// Why a request was refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) words: String,
    /// Seconds that the server asks to be left alone.
    pub(super) retry: Option<u64>,
}

/// Reads why a request was refused: a `Status`, else whatever a proxy wrote.
pub(super) fn refusal(body: &[u8]) -> Refusal {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Details {
        retry_after_seconds: Option<u64>,
    }
    #[derive(Deserialize)]
    struct Status {
        message: String,
        details: Option<Details>,
    }
    match serde_json::from_slice::<Status>(body) {
        Ok(status) => Refusal {
            words: status.message,
            retry: status.details.and_then(|details| details.retry_after_seconds),
        },
        Err(_) => Refusal {
            words: String::from_utf8_lossy(body).trim().to_owned(),
            retry: None,
        },
    }
}

/// Reads a whole list.
pub(super) fn list(body: &[u8]) -> Result<PodList, serde_json::Error> {
    serde_json::from_slice(body)
}
