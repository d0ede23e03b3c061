// SPDX-License-Identifier: Apache-2.0
//! Where what was learned is laid down for the resolver: owns the table, the state of whoever asks for it, and what is
//! logged about that, which is once for each kind of trouble.

use super::access::{Failure, Kind};
use super::book::{Book, Pods};
use super::config::Labels;
use super::shape::Pod;
use attribution::model::{PodUid, ProbeState};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The probe's name in `kepler_probe_up`.
pub(super) const PROBE: &str = "pods";

/// How it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// No answer yet, and no failure either.
    #[default]
    Asking,
    /// The table is kept current.
    Current,
    /// The table ages.
    Down(Kind),
    /// Nobody asks any more.
    Ended,
}

impl State {
    /// As the metrics show it. The words are the same each time, for they are a label.
    pub(super) fn probe(self) -> ProbeState {
        let reason = match self {
            Self::Asking => "no answer yet",
            Self::Current => "",
            Self::Down(kind) => reason(kind),
            Self::Ended => "its thread has ended, restart the daemon",
        };
        ProbeState {
            probe: PROBE,
            up: self == Self::Current,
            reason: reason.to_owned(),
        }
    }
}

const fn reason(kind: Kind) -> &'static str {
    match kind {
        Kind::Unreachable => "no connection to the server",
        Kind::Untrusted => "the server's certificate is not trusted",
        Kind::Slow => "the server does not answer in time",
        Kind::Unauthorized => "401: the token is not accepted",
        Kind::Forbidden => "403: not allowed, see the log for the RBAC rule",
        Kind::Expired => "410: the version is gone, listing again",
        Kind::Refused => "the server refuses",
        Kind::Malformed => "the answer makes no sense",
        Kind::Setup => "no usable token, certificate or kubeconfig",
    }
}

/// What to do about it.
const fn advice(kind: Kind, is_kubelet: bool) -> &'static str {
    match (kind, is_kubelet) {
        (Kind::Forbidden, false) => {
            "grant the service account a ClusterRole with the rule apiGroups [\"\"], resources [\"pods\"], verbs [\"list\", \"watch\"]"
        }
        (Kind::Forbidden, true) => {
            "grant the service account a ClusterRole with the rule apiGroups [\"\"], resources [\"nodes/proxy\"], verbs [\"get\"] (from Kubernetes 1.33 on nodes/pods will do)"
        }
        (Kind::Unauthorized, false) => {
            "check the token in kubernetes.service_account or the user in kubernetes.kubeconfig"
        }
        (Kind::Unauthorized, true) => {
            "the kubelet has to run with webhook authentication (authentication.webhook.enabled) to accept a service account's token"
        }
        (Kind::Untrusted, false) => "check ca.crt in kubernetes.service_account, or the kubeconfig",
        (Kind::Untrusted, true) => {
            "set kubernetes.kubelet.ca_file; a kubelet without serverTLSBootstrap signs for itself: /var/lib/kubelet/pki/kubelet.crt"
        }
        (Kind::Setup, _) => "check the files under kubernetes.service_account, or the kubeconfig",
        _ => "it is tried again, the figures go on",
    }
}

/// What the resolver sees.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) pods: Arc<Pods>,
    pub(super) state: State,
}

/// See the module's head.
pub(super) struct Desk {
    book: Book,
    tell: watch::Sender<Known>,
    began: Instant,
    state: State,
    /// Kinds of trouble that were logged and are not over.
    logged: Vec<Kind>,
    refused: u64,
    is_kubelet: bool,
}

impl Desk {
    pub(super) fn new(labels: Labels, tell: watch::Sender<Known>, is_kubelet: bool) -> Self {
        Self {
            book: Book::new(labels),
            tell,
            began: Instant::now(),
            state: State::Asking,
            logged: Vec::new(),
            refused: 0,
            is_kubelet,
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Done when nobody wants to know any more.
    pub(super) fn closed(&self) -> impl Future<Output = ()> + use<> {
        let tell = self.tell.clone();
        async move { tell.closed().await }
    }

    /// A whole list.
    pub(super) fn replace(&mut self, pods: &[Pod]) {
        let now = self.now();
        self.book.replace(pods, now);
        self.publish();
    }

    /// A pod as it is.
    pub(super) fn put(&mut self, pod: &Pod) {
        let now = self.now();
        if self.book.put(pod, now) {
            self.publish();
        }
    }

    /// A pod as it was last.
    pub(super) fn remove(&mut self, pod: &Pod) {
        let now = self.now();
        if self.book.remove(pod, now) {
            self.publish();
        }
    }

    /// The table is current from now on.
    pub(super) fn current(&mut self) {
        let pods = self.book.pods().len();
        match self.state {
            State::Current => return,
            State::Asking => tracing::info!(pods, "pods of this node are known"),
            State::Down(_) | State::Ended => tracing::info!(pods, "pods of this node are known again"),
        }
        self.logged.clear();
        self.state = State::Current;
        self.publish();
    }

    /// The table ages from now on.
    pub(super) fn failed(&mut self, failure: &Failure) {
        let (reason, detail) = (reason(failure.kind), failure.detail.as_str());
        if self.logged.contains(&failure.kind) {
            tracing::debug!(reason, detail, "pods cannot be asked for");
        } else {
            self.logged.push(failure.kind);
            let advice = advice(failure.kind, self.is_kubelet);
            tracing::warn!(reason, detail, advice, "pods cannot be asked for");
        }
        let state = State::Down(failure.kind);
        if self.state != state {
            self.state = state;
            self.publish();
        }
    }

    fn publish(&mut self) {
        if self.refused == 0 && self.book.refused() > 0 {
            tracing::warn!("more pods than this node can have: the rest stays without names");
        }
        self.refused = self.book.refused();
        self.tell.send_replace(Known {
            pods: Arc::new(self.book.pods().clone()),
            state: self.state,
        });
    }
}

/// For tests and for looks from outside.
impl Known {
    pub(super) fn pod(&self, uid: &PodUid) -> Option<&Arc<super::rules::KnownPod>> {
        self.pods.get(uid)
    }
}
