// SPDX-License-Identifier: Apache-2.0
//! Docker's `containers/ID/config.v2.json` (moby `container.Container`, written before the container starts and whole, by
//! renaming): `Name` with a slash before it, `Config.Image` as it was asked for, `Config.Labels`.

use super::facts::Facts;
use serde::Deserialize;

#[derive(Deserialize)]
struct Container {
    #[serde(rename = "Name")]
    name: Option<String>,
    #[serde(rename = "Config")]
    config: Option<Config>,
}

#[derive(Deserialize)]
struct Config {
    #[serde(rename = "Image")]
    image: Option<String>,
    #[serde(rename = "Labels")]
    labels: Option<Labels>,
}

/// What dockershim and cri-dockerd put on the containers of pods.
#[derive(Default, Deserialize)]
struct Labels {
    #[serde(rename = "io.kubernetes.container.name")]
    container: Option<String>,
    #[serde(rename = "io.kubernetes.pod.name")]
    pod: Option<String>,
    #[serde(rename = "io.kubernetes.pod.namespace")]
    namespace: Option<String>,
}

/// What the file says. Anybody can put kubelet's labels on a container of his, so they count only in a pod.
pub(super) fn parse(bytes: &[u8], in_pod: bool) -> Option<Facts> {
    let Container { name, config } = serde_json::from_slice(bytes).ok()?;
    let (image, labels) = config.map_or((None, None), |config| (config.image, config.labels));
    let labels = labels.filter(|_| in_pod).unwrap_or_default();
    let own = name.as_deref().map(|name| name.strip_prefix('/').unwrap_or(name));
    let name = labels.container.as_deref().or(own);
    Some(Facts::new(name, image.as_deref())?.in_pod(labels.pod.as_deref(), labels.namespace.as_deref()))
}
