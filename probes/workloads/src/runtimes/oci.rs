// SPDX-License-Identifier: Apache-2.0
//! Annotations in the `config.json` of an OCI bundle, which containerd and CRI-O keep while the container runs.
//!
//! containerd's CRI plugin (pkg/cri/annotations): `io.kubernetes.cri.*`; CRI-O (pkg/annotations): kubelet's own
//! `io.kubernetes.*` and `io.kubernetes.cri-o.ImageName`; nerdctl (pkg/labels, copied to annotations): `nerdctl/name`.

use super::facts::{Facts, SANDBOX};
use serde::Deserialize;

#[derive(Deserialize)]
struct Spec {
    annotations: Option<Annotations>,
}

#[derive(Default, Deserialize)]
struct Annotations {
    #[serde(rename = "io.kubernetes.cri.container-type")]
    cri_type: Option<String>,
    #[serde(rename = "io.kubernetes.cri.container-name")]
    cri_name: Option<String>,
    #[serde(rename = "io.kubernetes.cri.image-name")]
    cri_image: Option<String>,
    #[serde(rename = "io.kubernetes.cri.sandbox-name")]
    cri_pod: Option<String>,
    #[serde(rename = "io.kubernetes.cri.sandbox-namespace")]
    cri_namespace: Option<String>,
    #[serde(rename = "io.kubernetes.container.name")]
    crio_name: Option<String>,
    #[serde(rename = "io.kubernetes.cri-o.ImageName")]
    crio_image: Option<String>,
    #[serde(rename = "io.kubernetes.pod.name")]
    crio_pod: Option<String>,
    #[serde(rename = "io.kubernetes.pod.namespace")]
    crio_namespace: Option<String>,
    #[serde(rename = "nerdctl/name")]
    nerdctl_name: Option<String>,
}

/// What a bundle says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Bundle {
    Named(Facts),
    /// Whoever made the container gave it no name but its id.
    Nameless,
    /// No bundle's file, or one that is being written.
    Torn,
}

/// What the file says.
pub(super) fn parse(bytes: &[u8]) -> Bundle {
    let Ok(Spec { annotations }) = serde_json::from_slice(bytes) else {
        return Bundle::Torn;
    };
    let notes = annotations.unwrap_or_default();
    // containerd gives a sandbox no name, and Kubernetes' API does not list it.
    let sandbox = (notes.cri_type.as_deref() == Some("sandbox")).then_some(SANDBOX);
    let name = [&notes.cri_name, &notes.crio_name, &notes.nerdctl_name];
    let name = sandbox.or_else(|| name.into_iter().find_map(Option::as_deref));
    let image = notes.cri_image.or(notes.crio_image);
    let pod = notes.cri_pod.or(notes.crio_pod);
    let namespace = notes.cri_namespace.or(notes.crio_namespace);
    Facts::new(name, image.as_deref()).map_or(Bundle::Nameless, |facts| {
        Bundle::Named(facts.in_pod(pod.as_deref(), namespace.as_deref()))
    })
}
