// SPDX-License-Identifier: Apache-2.0
//! Where what was learned is laid down for the resolver: owns the table, the state of whoever asks for it, and what is
//! logged about that, which is once for each kind of trouble.

use super::access::{Failure, Kind};
use super::book::{Book, Pods};
use super::config::Labels;
use super::shape::Pod;
use crate::resolver::Tallies;
use attribution::model::{PodUid, ProbeState, TallyKind};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long the table has to be kept current for trouble to be over: what comes again before is the same trouble.
const STEADY: Duration = Duration::from_secs(30);

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
    /// Whether nobody answers, or with a no that only people change.
    pub(super) const fn is_no(self) -> bool {
        matches!(
            self,
            Self::Ended | Self::Down(Kind::Untrusted | Kind::Unauthorized | Kind::Forbidden | Kind::Setup)
        )
    }

    /// Whether waiting for a name makes sense no longer than the wait: names come soon, or not by themselves.
    pub(super) const fn wait_runs(self) -> bool {
        matches!(self, Self::Current) || self.is_no()
    }

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
        Kind::Busy => "429: the server has too much to do",
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
            "set kubernetes.kubelet.ca_file; a kubelet without serverTLSBootstrap signs for itself, and for the node's name only: /var/lib/kubelet/pki/kubelet.crt, and kubernetes.kubelet.address"
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
    /// Answers since the start: whatever shows that the server is there and would have told.
    pub(super) answers: u64,
    /// When the last of them came.
    pub(super) answered: Option<Instant>,
    /// Questions that failed, since the start.
    pub(super) failed: u64,
    /// Pods that found no room, each time that they were told.
    pub(super) refused: u64,
}

/// What is to be logged of trouble: each kind once, until all was well for a while.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    logged: Vec<Kind>,
    /// Whether trouble was logged and its end was not.
    owes_end: bool,
    /// Since when all is well.
    well: Option<Duration>,
    /// Whether the last list was of nobody.
    was_empty: bool,
}

impl Troubles {
    /// Trouble of this kind, now: whether it is to be logged.
    pub(super) fn is_new(&mut self, kind: Kind, now: Duration) -> bool {
        let well = self.well.take();
        if well.is_some_and(|since| now.saturating_sub(since) >= STEADY) {
            self.logged.clear();
        }
        let is_new = !self.logged.contains(&kind);
        if is_new {
            self.logged.push(kind);
            self.owes_end = true;
        }
        is_new
    }

    /// All is well, now: whether that is to be logged.
    pub(super) fn are_over(&mut self, now: Duration) -> bool {
        self.well.get_or_insert(now);
        std::mem::take(&mut self.owes_end)
    }

    /// A list of somebody or of nobody: whether it is the first of nobody.
    pub(super) const fn is_newly_empty(&mut self, is_empty: bool) -> bool {
        let was_empty = std::mem::replace(&mut self.was_empty, is_empty);
        is_empty && !was_empty
    }
}

/// See the module's head.
pub(super) struct Desk {
    book: Book,
    tell: watch::Sender<Known>,
    began: Instant,
    state: State,
    troubles: Troubles,
    known: Known,
    is_kubelet: bool,
}

impl Desk {
    pub(super) fn new(labels: Labels, tell: watch::Sender<Known>, is_kubelet: bool) -> Self {
        Self {
            book: Book::new(labels),
            tell,
            began: Instant::now(),
            state: State::Asking,
            troubles: Troubles::default(),
            known: Known::default(),
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
        self.heard(true);
    }

    /// A pod as it is.
    pub(super) fn put(&mut self, pod: &Pod) {
        let now = self.now();
        let is_news = self.book.put(pod, now);
        self.heard(is_news);
    }

    /// A pod as it was last.
    pub(super) fn remove(&mut self, pod: &Pod) {
        let now = self.now();
        let is_news = self.book.remove(pod, now);
        self.heard(is_news);
    }

    /// A list of nobody at the API server: said once, until there is somebody.
    pub(super) fn note_empty(&mut self, node: &str, is_empty: bool) {
        if self.troubles.is_newly_empty(is_empty) {
            tracing::warn!(
                node,
                "the API server knows no pod on this node; is kubernetes.node_name (NODE_NAME) right?"
            );
        }
    }

    /// An answer that says nothing new of a pod.
    pub(super) fn still_there(&mut self) {
        self.heard(false);
    }

    fn heard(&mut self, is_news: bool) {
        self.known.answers += 1;
        self.known.answered = Some(Instant::now());
        if is_news {
            self.known.pods = Arc::new(self.book.pods().clone());
        }
        self.publish();
    }

    /// The table is current from now on, and the server has just answered.
    pub(super) fn current(&mut self) {
        let pods = self.book.pods().len();
        if self.state == State::Asking {
            tracing::info!(pods, "pods of this node are known");
        }
        let now = self.now();
        if self.troubles.are_over(now) {
            tracing::info!(pods, "pods of this node are known again");
        }
        self.state = State::Current;
        self.heard(false);
    }

    /// The table ages from now on.
    pub(super) fn failed(&mut self, failure: &Failure) {
        let (reason, detail) = (reason(failure.kind), failure.detail.as_str());
        let now = self.now();
        if self.troubles.is_new(failure.kind, now) {
            let advice = advice(failure.kind, self.is_kubelet);
            tracing::warn!(reason, detail, advice, "pods cannot be asked for");
        } else {
            tracing::debug!(reason, detail, "pods cannot be asked for");
        }
        self.state = State::Down(failure.kind);
        self.known.failed += 1;
        self.publish();
    }

    fn publish(&mut self) {
        if self.known.refused == 0 && self.book.refused() > 0 {
            tracing::warn!("more pods than this node can have: the rest stays without names");
        }
        self.known.refused = self.book.refused();
        self.known.state = self.state;
        self.tell.send_replace(self.known.clone());
    }
}

impl Known {
    /// What is counted of the asking; see [`crate::resolver::Namer`].
    pub(super) fn count(&self, tallies: &mut Tallies) {
        tallies.add(PROBE, TallyKind::Done, &[("answers", self.answers)]);
        let lost = [
            ("failed questions", self.failed),
            ("pods without room", self.refused),
        ];
        tallies.add(PROBE, TallyKind::Lost, &lost);
        let pods = u64::try_from(self.pods.len()).unwrap_or(u64::MAX);
        tallies.add(PROBE, TallyKind::Held, &[("pods", pods)]);
        if let Some(answered) = self.answered {
            let age = answered.elapsed().as_secs();
            tallies.add(PROBE, TallyKind::Held, &[("seconds since the last answer", age)]);
        }
    }

    pub(super) fn pod(&self, uid: &PodUid) -> Option<&Arc<super::rules::KnownPod>> {
        self.pods.get(uid)
    }
}
