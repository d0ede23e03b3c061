// SPDX-License-Identifier: Apache-2.0
//! Keeps the table current from the API server: lists this node's pods, watches them from there on, and begins again
//! where it stopped.
//!
//! A watch that ends is begun again at the last version that was heard of; only a version that the server has forgotten
//! (410), an answer that makes no sense, or a pod that runs here and is not in the table makes it list anew. What is in the
//! table stays while the server is away.

use super::access::{self, Failure, Kind, Lines, Patience};
use super::desk::Desk;
use super::plan::Access;
use super::retry::{Backoff, chance, jittered};
use super::shape::{self, Event};
use futures_util::future::{Either, select};
use kube::Client;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

/// Where pods are listed and watched.
pub(super) const PODS: &str = "/api/v1/pods";
/// Longest wait before a watch that ended is begun again.
const SOON: Duration = Duration::from_secs(1);

/// Where we are.
struct Watcher {
    access: Access,
    patience: Patience,
    node: String,
    client: Option<Client>,
    /// What was heard last; `None` before the first list and where a new one is needed.
    version: Option<String>,
    /// Since when the watch of this round has counted as one.
    open: Option<Instant>,
    /// Whether the last failure was that the version is gone.
    expired: bool,
}

/// How a watch ended.
enum End {
    /// As watches do: it is begun again.
    Over,
    /// Somebody looks for a pod that is not there.
    Nudged,
}

/// Never returns by itself.
pub(super) async fn follow(
    (access, node): (Access, String),
    patience: Patience,
    desk: &mut Desk,
    nudge: &Notify,
) {
    let mut watcher = Watcher {
        access,
        patience,
        node,
        client: None,
        version: None,
        open: None,
        expired: false,
    };
    let mut backoff = Backoff::default();
    loop {
        let end = watcher.round(desk, nudge).await;
        let was_open = watcher.open.take();
        let was_steady = was_open.is_some_and(|since| since.elapsed() >= patience.steady);
        let pause = pause(&mut backoff, &end, was_steady, chance());
        match end {
            Ok(End::Nudged) => watcher.version = None,
            Ok(End::Over) => {}
            Err(failure) => {
                if watcher.is_trouble(&failure) {
                    desk.failed(&failure);
                }
                watcher.after(&failure);
            }
        }
        sleep(pause).await;
    }
}

/// How long to wait after a round. `was_steady`: its watch was open for a while.
fn pause(backoff: &mut Backoff, end: &Result<End, Failure>, was_steady: bool, random: u64) -> Duration {
    if was_steady {
        backoff.succeeded();
    }
    match end {
        Ok(End::Nudged) => Duration::ZERO,
        // All nodes lose a server that restarts at the same moment.
        Ok(End::Over) if was_steady => jittered(SOON, random),
        // Something between us and the server cuts watches short.
        Ok(End::Over) => backoff.failed(random),
        Err(failure) => backoff.failed_for(failure.retry, random),
    }
}

impl Watcher {
    /// A list if there is need, and a watch to its end.
    async fn round(&mut self, desk: &mut Desk, nudge: &Notify) -> Result<End, Failure> {
        let client = match &self.client {
            Some(client) => client.clone(),
            None => self
                .client
                .insert(access::client(&self.access, self.patience).await?)
                .clone(),
        };
        let version = match &self.version {
            Some(version) => version.clone(),
            None => self.list(&client, desk).await?,
        };
        // At least half of it, by chance.
        let lasts = jittered(self.patience.watch, chance());
        let mut lines = access::watch(&client, &self.node, &version, lasts, self.patience).await?;
        // Until it has proven itself: whatever answers with a page of its own ends at once.
        match lines.next(Instant::now() + self.patience.settle).await {
            Ok(Some(line)) => self.hear(&line, desk)?,
            Ok(None) => return Err(at_once(&lines)),
            Err(failure) if failure.kind == Kind::Slow => {}
            Err(failure) => return Err(failure),
        }
        desk.current();
        self.open = Some(Instant::now());
        self.expired = false;
        let until = Instant::now() + lasts + self.patience.grace;
        loop {
            let line = {
                let next = pin!(lines.next(until));
                match select(next, pin!(nudge.notified())).await {
                    Either::Left((line, _)) => line,
                    Either::Right(_) => return Ok(End::Nudged),
                }
            };
            match line {
                Ok(Some(line)) => self.hear(&line, desk)?,
                Ok(None) => return Ok(End::Over),
                // A server that goes away breaks its watches off or falls silent. Whether it is gone is seen at the next
                // question.
                Err(failure) if matches!(failure.kind, Kind::Unreachable | Kind::Slow) => {
                    return Ok(End::Over);
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    async fn list(&mut self, client: &Client, desk: &mut Desk) -> Result<String, Failure> {
        let body = access::list(client, PODS, Some(&self.node), self.patience).await?;
        let list = shape::list(&body).map_err(malformed)?;
        let pods = list.items.unwrap_or_default();
        desk.note_empty(&self.node, pods.is_empty());
        desk.replace(&pods);
        let version = list.metadata.resource_version.unwrap_or_default();
        self.version = Some(version.clone());
        Ok(version)
    }

    fn hear(&mut self, line: &[u8], desk: &mut Desk) -> Result<(), Failure> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        match shape::event(line).map_err(malformed)? {
            Event::Is(pod) => {
                desk.put(&pod);
                self.remember(pod.metadata.resource_version);
            }
            Event::Was(pod) => {
                desk.remove(&pod);
                self.remember(pod.metadata.resource_version);
            }
            Event::Bookmark(version) => {
                desk.still_there();
                self.remember(Some(version));
            }
            Event::Error(code, words) => return Err(Failure::of_event(code, &words)),
            Event::Unknown => {}
        }
        Ok(())
    }

    fn remember(&mut self, version: Option<String>) {
        if let Some(version) = version.filter(|version| !version.is_empty()) {
            self.version = Some(version);
        }
    }

    /// An old version is nobody's fault, unless the list has none that is new.
    fn is_trouble(&self, failure: &Failure) -> bool {
        failure.kind != Kind::Expired || self.expired
    }

    /// Token, certificates and addresses are read anew, and where the server did answer the list is, for the list may be
    /// all that can be had: so it is, too, where a watch is not answered in time (a proxy that waits for its end). A busy
    /// server is not asked for more than it was.
    fn after(&mut self, failure: &Failure) {
        self.client = None;
        self.expired = failure.kind == Kind::Expired;
        match failure.kind {
            Kind::Unreachable | Kind::Untrusted | Kind::Setup | Kind::Unauthorized | Kind::Busy => {}
            Kind::Forbidden | Kind::Expired | Kind::Refused | Kind::Malformed | Kind::Slow => {
                self.version = None;
            }
        }
    }
}

fn at_once(lines: &Lines) -> Failure {
    if lines.has_rest() {
        return Failure::new(Kind::Malformed, "what should be a watch is something else");
    }
    Failure::new(Kind::Refused, "a watch ended as soon as it began")
}

fn malformed(error: serde_json::Error) -> Failure {
    Failure::new(
        Kind::Malformed,
        format!("no pods as Kubernetes writes them: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_followed_by_a_pause_that_is_short_only_after_a_steady_watch() {
        let failed = |seconds: Option<u64>| {
            Err(Failure {
                retry: seconds.map(Duration::from_secs),
                ..Failure::new(Kind::Busy, "")
            })
        };
        let mut backoff = Backoff::default();
        // how it ended, whether its watch was steady, and the longest pause in seconds
        for (end, was_steady, seconds) in [
            (Ok(End::Over), false, 1),
            (Ok(End::Over), false, 2),
            (failed(None), false, 4),
            (Ok(End::Nudged), false, 0),
            (failed(Some(60)), false, 61),
            (Ok(End::Over), true, 1),
            (failed(None), false, 1),
            (failed(None), false, 2),
            (failed(None), true, 1),
        ] {
            let pause = pause(&mut backoff, &end, was_steady, 1_023);
            assert_eq!(pause, Duration::from_secs(seconds));
        }
    }

    #[test]
    fn a_blank_line_and_a_bookmark_without_a_version_change_nothing() {
        let (tell, _told) = tokio::sync::watch::channel(Default::default());
        let mut desk = Desk::new(Default::default(), tell, false);
        let mut watcher = Watcher {
            access: Access::Kubeconfig(Default::default()),
            patience: Patience::default(),
            node: String::new(),
            client: None,
            version: Some("7".to_owned()),
            open: None,
            expired: false,
        };
        for line in [
            "",
            " \r",
            "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"\"}}}",
        ] {
            assert!(watcher.hear(line.as_bytes(), &mut desk).is_ok(), "{line}");
            assert_eq!(watcher.version.as_deref(), Some("7"), "{line}");
        }
        assert!(watcher.hear(b"x", &mut desk).is_err());
    }
}
