// SPDX-License-Identifier: Apache-2.0
//! What a configuration comes to on this machine: who is asked, and as whom. Looks whether a token is there, and asks
//! nobody.

use super::config::{KubernetesConfig, Mode};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How somebody is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// As this file says.
    Kubeconfig(PathBuf),
    /// At this URL, with the token in this file, if one of these certificates signed theirs.
    Token {
        url: String,
        token: PathBuf,
        ca: PathBuf,
    },
}

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// The API server, for the pods of this node.
    Api { access: Access, node: String },
    /// The kubelet, each time after so long.
    Kubelet { access: Access, interval: Duration },
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kubeconfig(file) => write!(f, "as {} says", file.display()),
            Self::Token { url, token, ca } => {
                write!(f, "{url}, token {}, trusted by {}", token.display(), ca.display())
            }
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Api { access, node } => write!(f, "pods of node {node} from the API server ({access})"),
            Self::Kubelet { access, interval } => {
                let interval = humantime::format_duration(*interval);
                write!(f, "pods from the kubelet every {interval} ({access})")
            }
        }
    }
}

/// Why a section cannot be used here.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PodsError {
    /// The API server is to be asked and nothing says where it is.
    #[error(
        "kubernetes.mode is \"api\", but nothing says where the API server is: this is no pod (KUBERNETES_SERVICE_HOST is not set); set kubernetes.kubeconfig, or mode = \"off\""
    )]
    NoServer,
    /// No thread for it.
    #[error("cannot start a thread that watches pods: {0}")]
    Thread(String),
}

/// What is to be done; `None` for nothing. `host` is this host's name.
pub(super) fn plan(section: &KubernetesConfig, host: &str) -> Result<Option<Plan>, PodsError> {
    // A kubelet registers its node in lower case (RFC 1123).
    let node = match section.node_name.trim() {
        "" => host.to_ascii_lowercase(),
        name => name.to_owned(),
    };
    let has_file = !section.kubeconfig.as_os_str().is_empty();
    let has_host = !section.service_host.trim().is_empty();
    let is_pod = || has_host && token(section).exists();
    let api = || match (has_file, has_host) {
        (true, _) => Some(Access::Kubeconfig(section.kubeconfig.clone())),
        (false, true) => Some(Access::Token {
            url: url(&section.service_host, section.service_port.0),
            token: token(section),
            ca: section.service_account.join("ca.crt"),
        }),
        (false, false) => None,
    };
    match section.mode {
        Mode::Off => Ok(None),
        Mode::Auto if !has_file && !is_pod() => Ok(None),
        Mode::Auto | Mode::Api => match api() {
            Some(access) => Ok(Some(Plan::Api { access, node })),
            None => Err(PodsError::NoServer),
        },
        Mode::Kubelet => Ok(Some(kubelet(section, &node))),
    }
}

fn kubelet(section: &KubernetesConfig, node: &str) -> Plan {
    let kubelet = &section.kubelet;
    let address = match kubelet.address.trim() {
        "" => node,
        address => address,
    };
    let ca = if kubelet.ca_file.as_os_str().is_empty() {
        section.service_account.join("ca.crt")
    } else {
        kubelet.ca_file.clone()
    };
    Plan::Kubelet {
        access: Access::Token {
            url: url(address, kubelet.port.0),
            token: token(section),
            ca,
        },
        interval: kubelet.interval.0,
    }
}

fn token(section: &KubernetesConfig) -> PathBuf {
    section.service_account.join("token")
}

fn url(host: &str, port: u16) -> String {
    let host = host.trim();
    // An address of version 6 stands in brackets in a URL.
    if host.contains(':') && !host.starts_with('[') {
        format!("https://[{host}]:{port}")
    } else {
        format!("https://{host}:{port}")
    }
}
