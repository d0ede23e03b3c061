// SPDX-License-Identifier: Apache-2.0
//! Snapshots sent to those who do not scrape: Prometheus remote write and OTLP (docs/push.md).
//!
//! Owns how a page becomes requests (`points`, `batch`, `remote_write`, `otlp`: pure), what waits and for how long (`queue`, `verdict`:
//! pure), and how it gets there (`wire`, `sender`). Refuses to know a figure of its own: what is sent is read from the text that a scrape
//! of the same snapshot gets. Refuses to hold anybody up: it reads the same `watch` as scrapes do, on a thread that its caller
//! gives it, and a receiver that does not answer costs its own samples.

mod batch;
mod config;
mod health;
mod messages;
mod otlp;
mod points;
mod queue;
mod remote_write;
mod sender;
#[cfg(test)]
mod tests;
mod tls;
mod verdict;
mod wire;

pub use config::{
    Age, Interval, OtlpConfig, PushConfig, QueueConfig, RemoteWriteConfig, RequestConfig, Target, Timeout,
    Version, contradictions,
};
pub(crate) use health::{Health, metrics};
pub use sender::Clocks;

use crate::page::{Page, RenderSettings};
use batch::{Choice, Encoder, Gatherer};
use queue::Queue;
use sender::Sender;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;
use verdict::Protocol;
use wire::Wire;

/// Pushes to the receivers that the configuration names.
pub struct Pusher {
    senders: Vec<Sender>,
}

impl std::fmt::Debug for Pusher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pusher")
            .field("receivers", &self.senders.len())
            .finish_non_exhaustive()
    }
}

impl Pusher {
    /// `None` where nobody is to be told. `node` is the machine's name.
    #[must_use]
    pub fn new(config: &PushConfig, node: &str, render: &RenderSettings) -> Option<Self> {
        let PushConfig { remote_write, otlp } = config;
        let version = render.build.version;
        let mut senders = Vec::new();
        if let Some(url) = remote_write.url.wanted() {
            let labels = remote_write::everywhere(&with(
                &remote_write.labels,
                [("job", "kepler"), ("instance", node)],
            ));
            let (protocol, encoder): (_, Box<dyn Encoder + Send>) = match remote_write.version {
                Version::V1 => (
                    Protocol::RemoteWrite1,
                    Box::new(remote_write::Version1::new(labels)),
                ),
                Version::V2 => (
                    Protocol::RemoteWrite2,
                    Box::new(remote_write::Version2::new(labels)),
                ),
            };
            let tells_heads = remote_write.version == Version::V1;
            senders.push(Sender {
                protocol,
                interval: remote_write.interval.0.0,
                age: remote_write.queue.age.0.0,
                gatherer: Gatherer::new(encoder, Choice::of(&remote_write.schemas), tells_heads),
                queue: remote_write.queue.queue(),
                wire: Wire::new(protocol, url, remote_write.request.clone(), version),
                health: render.observer.push(),
            });
        }
        if let Some(url) = otlp.url.wanted() {
            let usual = [
                ("service.name", "kepler"),
                ("service.instance.id", node),
                ("service.version", version),
                ("host.name", node),
            ];
            let resource = otlp::resource(&with(&otlp.attributes, usual));
            let encoder = Box::new(otlp::Otlp::new(resource, version));
            senders.push(Sender {
                protocol: Protocol::Otlp,
                interval: otlp.interval.0.0,
                age: otlp.queue.age.0.0,
                gatherer: Gatherer::new(encoder, Choice::of(&otlp.schemas), false),
                queue: otlp.queue.queue(),
                wire: Wire::new(Protocol::Otlp, url, otlp.request.clone(), version),
                health: render.observer.push(),
            });
        }
        for sender in &senders {
            sender.health.of(sender.protocol).switch_on();
        }
        (!senders.is_empty()).then_some(Self { senders })
    }

    /// Pushes until there are no more pages, and then what is left, for little more than a second. To be awaited on a thread of its
    /// own, in a runtime of tokio with time and network.
    pub async fn run(self, pages: watch::Receiver<Arc<Page>>, clocks: Clocks) {
        let run = |sender: Sender| sender.run(pages.clone(), clocks);
        futures_util::future::join_all(self.senders.into_iter().map(run)).await;
    }
}

/// What a receiver says to a request for nothing.
#[derive(Clone, Debug)]
pub struct Knock {
    /// Who: `remote_write` or `otlp`.
    pub receiver: &'static str,
    /// Scheme, host and port.
    pub address: String,
    /// The HTTP status of its answer, or why there is none.
    pub answer: Result<u16, String>,
}

/// Asks each receiver that the configuration names for nothing (`HEAD`), as who we are, and sends no figure. For whoever wants to
/// know beforehand whether they can be reached.
pub async fn knock(config: &PushConfig, version: &str) -> Vec<Knock> {
    let PushConfig { remote_write, otlp } = config;
    let receivers = [
        (Protocol::RemoteWrite1, &remote_write.url, &remote_write.request),
        (Protocol::Otlp, &otlp.url, &otlp.request),
    ];
    let ask = async |(protocol, url, request): (Protocol, &Target, &RequestConfig)| {
        let mut wire = Wire::new(protocol, url.wanted()?, request.clone(), version);
        let answer = wire.knock().await;
        Some(Knock {
            receiver: protocol.name(),
            address: wire.address(),
            answer: answer.map_err(|none| none.words),
        })
    };
    let answers = futures_util::future::join_all(receivers.into_iter().map(ask)).await;
    answers.into_iter().flatten().collect()
}

impl QueueConfig {
    fn queue(&self) -> Queue {
        let bytes = usize::try_from(self.mib).unwrap_or(1).saturating_mul(1 << 20);
        Queue::new(bytes, self.age.0.0)
    }
}

/// What is configured, and what is usual where it is not.
fn with<'u>(
    configured: &BTreeMap<String, String>,
    usual: impl IntoIterator<Item = (&'u str, &'u str)>,
) -> BTreeMap<String, String> {
    let mut all = configured.clone();
    for (name, value) in usual {
        if !value.is_empty() {
            all.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
    }
    all
}
