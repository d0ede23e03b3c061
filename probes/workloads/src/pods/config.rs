// SPDX-License-Identifier: Apache-2.0
//! The section `kubernetes`: owns its keys, defaults and ranges.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

/// Where Kubernetes puts the service account of a pod's containers.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Most labels that may be asked for: each is kept for each pod.
const MOST_LABELS: usize = 32;

/// Section `kubernetes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KubernetesConfig {
    /// Who is asked for the names of pods and containers.
    pub mode: Mode,
    /// This node's name in the cluster; empty for the host's name. `NODE_NAME` sets it where nothing else does.
    pub node_name: String,
    /// A kubeconfig file to reach the API server with; empty for the service account. None is looked for.
    pub kubeconfig: PathBuf,
    /// The folder with `token` and `ca.crt`.
    pub service_account: PathBuf,
    /// The API server as seen from a pod. `KUBERNETES_SERVICE_HOST` sets it where nothing else does.
    pub service_host: String,
    /// Its port. `KUBERNETES_SERVICE_PORT` sets it where nothing else does.
    pub service_port: Port,
    /// Labels of pods to keep, by name.
    pub labels: Labels,
    /// How long a container waits for its name before it is shown without one, 1 s to 10 min.
    pub wait: Wait,
    /// How long it waits at most while nobody can be asked, 1 s to 1 day; never shorter than `wait`.
    pub wait_away: WaitAway,
    /// The kubelet, for `mode = "kubelet"`.
    pub kubelet: KubeletConfig,
}

impl Default for KubernetesConfig {
    fn default() -> Self {
        Self {
            mode: Mode::Auto,
            node_name: String::new(),
            kubeconfig: PathBuf::new(),
            service_account: PathBuf::from(SERVICE_ACCOUNT),
            service_host: String::new(),
            service_port: Port(443),
            labels: Labels::default(),
            // A kubelet tells the API server of a started container within a second or two, under load within ten.
            wait: Wait(Duration::from_secs(30)),
            // Control planes are upgraded in five to ten minutes.
            wait_away: WaitAway(Duration::from_secs(900)),
            kubelet: KubeletConfig::default(),
        }
    }
}

/// `kubernetes.kubelet`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KubeletConfig {
    /// Its address; empty for the node's name. `NODE_IP` sets it where nothing else does.
    pub address: String,
    /// Its port for those who log in.
    pub port: Port,
    /// Certificates (PEM) of which one must have signed the kubelet's; empty for the service account's `ca.crt`.
    pub ca_file: PathBuf,
    /// Time from one question to the next, 1 s to 10 min.
    pub interval: Wait,
}

impl Default for KubeletConfig {
    fn default() -> Self {
        Self {
            address: String::new(),
            port: Port(10_250),
            ca_file: PathBuf::new(),
            interval: Wait(Duration::from_secs(10)),
        }
    }
}

/// Who is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The API server, if this is a pod or a kubeconfig is named; else nobody.
    #[default]
    Auto,
    /// The API server.
    Api,
    /// The kubelet of this node.
    Kubelet,
    /// Nobody.
    Off,
}

/// A port, 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Port(pub u16);

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match u16::deserialize(from) {
            Ok(port) if port > 0 => Ok(Self(port)),
            _ => Err(D::Error::custom(
                "not a port, expected an integer from 1 to 65535",
            )),
        }
    }
}

/// A duration from 1 s to 10 min, as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait(pub Duration);

/// A duration from 1 s to 1 day, as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitAway(pub Duration);

impl Serialize for Wait {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_duration(self.0))
    }
}

impl Serialize for WaitAway {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_duration(self.0))
    }
}

impl<'de> Deserialize<'de> for Wait {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        duration(from, 600)
            .ok_or_else(|| {
                D::Error::custom("not such a duration, expected one from 1s to 10m, such as \"30s\"")
            })
            .map(Self)
    }
}

impl<'de> Deserialize<'de> for WaitAway {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        duration(from, 86_400)
            .ok_or_else(|| {
                D::Error::custom("not such a duration, expected one from 1s to 1day, such as \"15m\"")
            })
            .map(Self)
    }
}

/// A duration from one second to so many.
fn duration<'de, D: Deserializer<'de>>(from: D, most: u64) -> Option<Duration> {
    let wait = humantime::parse_duration(&String::deserialize(from).ok()?).ok()?;
    (Duration::from_secs(1)..=Duration::from_secs(most))
        .contains(&wait)
        .then_some(wait)
}

/// Names of labels: a list, or text with commas, because the environment has no lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Labels(pub Vec<String>);

impl Labels {
    /// Keeps these, too; as bounded as their own list is.
    pub fn keep<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        for name in names {
            if !self.0.iter().any(|kept| kept == name) {
                self.0.push(name.to_owned());
            }
        }
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            List(Vec<String>),
            Text(String),
        }
        const ALLOWED: &str =
            "no list of labels, expected at most 32 names such as [\"app\", \"app.kubernetes.io/part-of\"]";
        let mut names = match Given::deserialize(from).map_err(|_other_type| D::Error::custom(ALLOWED))? {
            Given::List(names) => names,
            Given::Text(text) if text.trim().is_empty() => Vec::new(),
            Given::Text(text) => text.split(',').map(|name| name.trim().to_owned()).collect(),
        };
        if names.len() > MOST_LABELS || names.iter().any(|name| !is_label(name)) {
            return Err(D::Error::custom(ALLOWED));
        }
        // Each once: they are keys of one object in the JSON.
        let mut seen = HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
        Ok(Self(names))
    }
}

/// Whether a pod can have a label of this name ("Labels and Selectors" in Kubernetes' documentation), roughly: what is
/// refused here can never be found.
fn is_label(name: &str) -> bool {
    let of_name = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.' | '/');
    !name.is_empty() && name.len() <= 253 + 1 + 63 && name.chars().all(of_name)
}
