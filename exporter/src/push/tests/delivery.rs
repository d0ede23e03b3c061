// SPDX-License-Identifier: Apache-2.0
//! Against a receiver that misbehaves. Time is real, because sockets are; nothing here depends on how long anything takes.

use super::super::{Clocks, Pusher};
use super::*;
use crate::text::writer::Format;
use attribution::model::{MonotonicNanos, TickId};
use integration_tests::receiver::{Papers, Receiver, Reply, Sent};
use std::time::Duration;
use tokio::sync::watch;

/// The snapshots' clock stands at the close of the sample's window, so that its Unix time is [`AT`].
const CLOCKS: Clocks = Clocks {
    now: || sample::CLOSED,
    unix: || Duration::from_millis(AT.unsigned_abs()),
};

/// A pusher on its thread, and where pages are put.
struct Pushing {
    pages: watch::Sender<Arc<Page>>,
    settings: Arc<RenderSettings>,
    thread: std::thread::JoinHandle<()>,
}

impl Pushing {
    /// `toml` is below `exporter`; `{url}` stands for the receiver.
    fn start(receiver: &Receiver, toml: &str) -> Self {
        Self::start_at(&format!("http://{}", receiver.address), toml, CLOCKS)
    }

    fn start_at(url: &str, toml: &str, clocks: Clocks) -> Self {
        let config = config(&toml.replace("{url}", url));
        let settings = Arc::new(sample::settings_of(&config).with_proc_root("/nonexistent".into()));
        let pusher = Pusher::new(&config.push, "node-1", &settings).unwrap();
        let (pages, watched) = watch::channel(Arc::new(page(Snapshot::default(), &settings)));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(pusher.run(watched, clocks));
        });
        let pushing = Self {
            pages,
            settings,
            thread,
        };
        pushing.publish(1);
        pushing
    }

    fn publish(&self, tick: u64) {
        let mut snapshot = sample::snapshot();
        snapshot.tick = TickId(tick);
        drop(self.pages.send_replace(Arc::new(page(snapshot, &self.settings))));
    }

    fn self_metric(&self, series: &str) -> u64 {
        let text = String::from_utf8(whole(&self.pages.borrow(), Format::Text).concat()).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(series))
            .unwrap_or_else(|| panic!("{series}:\n{text}"));
        line.trim().parse().unwrap()
    }

    /// Waits until a count of the daemon's about itself is so.
    fn wait_for(&self, series: &str, so: impl Fn(u64) -> bool) {
        let end = std::time::Instant::now() + integration_tests::daemon::PATIENCE;
        while !so(self.self_metric(series)) {
            assert!(
                std::time::Instant::now() < end,
                "{series} is {}",
                self.self_metric(series)
            );
            integration_tests::daemon::pause();
        }
    }

    fn end(self) {
        drop(self.pages);
        self.thread.join().unwrap();
    }
}

const V1: &str = "[push.remote_write]\nurl = '{url}/api/v1/write'\ninterval = '1s'\n";
const OTLP: &str = "[push.otlp]\nurl = '{url}/v1/metrics'\ninterval = '1s'\n";

fn samples_of(sent: &Sent) -> usize {
    of_v1(&sent.body).series.len()
}

/// All that was taken with 200, as batches.
fn taken(sent: &[Sent]) -> Vec<Batch> {
    let taken = sent.iter().filter(|sent| sent.status == 200);
    taken
        .map(|sent| Batch {
            body: Bytes::from(sent.body.clone()),
            samples: 0,
        })
        .collect()
}

#[test]
fn a_push_looks_as_its_protocol_says_and_the_end_of_the_daemon_ends_its_series() {
    let receiver = Receiver::start();
    let pushing = Pushing::start(&receiver, V1);
    let sent = receiver.wait_until("heads and samples", |sent| sent.len() >= 2);
    for (header, value) in [
        ("content-type", "application/x-protobuf"),
        ("content-encoding", "snappy"),
        ("x-prometheus-remote-write-version", "0.1.0"),
        ("user-agent", "kepler/0.1.0"),
    ] {
        assert_eq!(sent[1].header(header), value);
    }
    assert!(sent[1].head.starts_with("POST /api/v1/write "));
    let arrived = arrived_v1(&taken(&sent));
    let up = arrived
        .iter()
        .find(|(series, _)| series.starts_with("kepler_windows_total "));
    let (series, got) = up.unwrap();
    assert_eq!(
        series,
        "kepler_windows_total [(\"instance\", \"node-1\"), (\"job\", \"kepler\")]"
    );
    assert_eq!(got.at, AT, "when its window closed");
    let before = sent.len();
    pushing.end();
    let sent = receiver.sent();
    let ended = arrived_v1(&taken(&sent[before..]));
    assert_eq!(ended.len(), arrived.len());
    assert!(ended.values().all(|got| got.bits == STALE && got.at > AT));
}

#[test]
fn otlp_and_version_2_have_their_own_headers() {
    for (toml, kind, encoding) in [
        (OTLP.to_owned(), "application/x-protobuf", "gzip"),
        (
            format!("{V1}version = '2.0'\n"),
            "application/x-protobuf;proto=io.prometheus.write.v2.Request",
            "snappy",
        ),
    ] {
        let receiver = Receiver::start();
        let pushing = Pushing::start(&receiver, &toml);
        let sent = receiver.wait_until("a push", |sent| !sent.is_empty());
        assert_eq!(
            (sent[0].header("content-type"), sent[0].header("content-encoding")),
            (kind, encoding)
        );
        if encoding == "gzip" {
            let resource = of_otlp(&sent[0].body).resources[0].resource.clone().unwrap();
            let keys: Vec<_> = resource.attributes.iter().map(|of| word(&of.key)).collect();
            assert_eq!(
                keys,
                [
                    "host.name",
                    "service.instance.id",
                    "service.name",
                    "service.version"
                ]
            );
        } else {
            // It does not say what it wrote, so it is no receiver of version 2.0.
            pushing.wait_for(
                "kepler_push_failed_requests_total{receiver=\"remote_write\",reason=\"refused\"}",
                |n| n > 0,
            );
        }
        pushing.end();
    }
}

#[test]
fn what_may_pass_is_sent_again_in_order_and_nothing_is_lost() {
    let receiver = Receiver::start();
    let busy = Reply::Status(429, "Retry-After: 1\r\n".to_owned(), Vec::new());
    receiver.script([Reply::status(500), busy, Reply::HangUp, Reply::status(503)]);
    let pushing = Pushing::start(&receiver, V1);
    let sent = receiver.wait_until("samples", |sent| {
        sent.iter().filter(|sent| sent.status == 200).count() >= 2
    });
    let statuses: Vec<_> = sent.iter().map(|sent| sent.status).take(5).collect();
    assert_eq!(statuses, [500, 429, 0, 503, 200]);
    assert!(
        sent[..4].iter().all(|again| again.body == sent[4].body),
        "the same request until it is taken"
    );
    for (series, count) in [
        (
            "failed_requests_total{receiver=\"remote_write\",reason=\"busy\"}",
            3,
        ),
        (
            "failed_requests_total{receiver=\"remote_write\",reason=\"connection\"}",
            1,
        ),
        (
            "failed_requests_total{receiver=\"remote_write\",reason=\"refused\"}",
            0,
        ),
        (
            "dropped_samples_total{receiver=\"remote_write\",reason=\"refused\"}",
            0,
        ),
    ] {
        assert_eq!(
            pushing.self_metric(&format!("kepler_push_{series}")),
            count,
            "{series}"
        );
    }
    pushing.wait_for("kepler_push_up{receiver=\"remote_write\"}", |up| up == 1);
    pushing.wait_for(
        "kepler_push_queue_samples{receiver=\"remote_write\"}",
        |waiting| waiting == 0,
    );
    pushing.end();
}

#[test]
fn what_is_refused_is_dropped_and_counted_and_the_next_one_is_sent() {
    let receiver = Receiver::start();
    receiver.script([
        Reply::status(200),
        Reply::Status(400, String::new(), b"out of bounds".to_vec()),
    ]);
    let pushing = Pushing::start(&receiver, V1);
    let sent = receiver.wait_until("a refusal", |sent| sent.len() >= 2);
    let refused = samples_of(&sent[1]);
    pushing.publish(2);
    let sent = receiver.wait_until("the next one", |sent| sent.len() >= 3);
    assert_ne!(sent[2].body, sent[1].body);
    assert_eq!(sent[2].status, 200);
    let dropped = "kepler_push_dropped_samples_total{receiver=\"remote_write\",reason=\"refused\"}";
    assert_eq!(pushing.self_metric(dropped), u64::try_from(refused).unwrap());
    let next = u64::try_from(samples_of(&sent[2])).unwrap();
    pushing.wait_for(
        "kepler_push_sent_samples_total{receiver=\"remote_write\"}",
        |sent| sent == next,
    );
    pushing.end();
}

#[test]
fn a_receiver_that_hangs_or_drips_times_out_while_pages_are_taken_and_the_end_does_not_wait_for_it() {
    for reply in [Reply::Hang, Reply::Drip] {
        let receiver = Receiver::start();
        receiver.usually(reply);
        let pushing = Pushing::start(&receiver, &format!("{V1}request.timeout = '300ms'"));
        let one = "kepler_push_queue_samples{receiver=\"remote_write\"}";
        pushing.wait_for(one, |waiting| waiting > 0);
        let first = pushing.self_metric(one);
        pushing.publish(2);
        pushing.wait_for(one, |waiting| waiting > first);
        pushing.wait_for(
            "kepler_push_failed_requests_total{receiver=\"remote_write\",reason=\"timeout\"}",
            |n| n >= 2,
        );
        assert_eq!(
            pushing.self_metric("kepler_push_up{receiver=\"remote_write\"}"),
            0
        );
        let settings = Arc::clone(&pushing.settings);
        pushing.end();
        let page = page(sample::snapshot(), &settings);
        let shown = scraped(&page, Format::Text);
        let lost = shown["kepler_push_dropped_samples_total [(\"reason\", \"stopped\"), (\"receiver\", \"remote_write\")]"];
        assert!(
            f64::from_bits(lost) >= 3.0,
            "two pages, and the end of their series"
        );
    }
}

#[test]
fn a_clock_that_is_set_back_by_hours_silences_nobody_and_is_counted() {
    use std::sync::atomic::{AtomicU64, Ordering};
    const STEPS: &str = "kepler_push_clock_steps_total{receiver=\"remote_write\"}";
    static MILLIS: AtomicU64 = AtomicU64::new(AT.unsigned_abs());
    let receiver = Receiver::start();
    let clocks = Clocks {
        unix: || Duration::from_millis(MILLIS.load(Ordering::Relaxed)),
        ..CLOCKS
    };
    let pushing = Pushing::start_at(&format!("http://{}", receiver.address), V1, clocks);
    pushing.wait_for("kepler_push_sent_samples_total{receiver=\"remote_write\"}", |n| {
        n > 0
    });
    assert_eq!(pushing.self_metric(STEPS), 0);
    let back = AT - 7_200_000;
    MILLIS.store(back.unsigned_abs(), Ordering::Relaxed);
    pushing.publish(2);
    pushing.wait_for(STEPS, |steps| steps == 1);
    pushing.end();
    let requests = receiver.sent();
    let at: Vec<_> = requests
        .iter()
        .flat_map(|sent| of_v1(&sent.body).series)
        .map(|series| series.samples[0].at)
        .collect();
    assert!(at.iter().all(|at| *at == AT || (*at - back) < 10), "{at:?}");
    assert!(at.contains(&back));
}

#[test]
fn what_waits_too_long_is_dropped_with_its_reason() {
    /// A minute passes with each look.
    fn fast() -> MonotonicNanos {
        use std::sync::atomic::{AtomicU64, Ordering};
        static MINUTES: AtomicU64 = AtomicU64::new(0);
        sample::CLOSED.after(Duration::from_secs(60 * MINUTES.fetch_add(1, Ordering::Relaxed)))
    }
    let receiver = Receiver::start();
    receiver.usually(Reply::status(500));
    let url = format!("http://{}", receiver.address);
    let pushing = Pushing::start_at(
        &url,
        &format!("{V1}queue.age = '10s'"),
        Clocks { now: fast, ..CLOCKS },
    );
    pushing.wait_for(
        "kepler_push_dropped_samples_total{receiver=\"remote_write\",reason=\"old\"}",
        |n| n > 0,
    );
    pushing.end();
}

#[test]
fn both_sides_prove_who_they_are_and_secrets_are_read_again_at_each_request() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (
        receiver,
        Papers {
            ca,
            client,
            client_key,
        },
    ) = Receiver::start_with_tls();
    let url = format!("https://{}", receiver.address);
    let tls = format!(
        "ca_file = '{}'\ncert_file = '{}'\nkey_file = '{}'\n",
        file("ca", &ca),
        file("cert", &client),
        file("key", &client_key)
    );
    let token = file("token", "first \nmore\n");
    let toml = format!(
        "{OTLP}[push.otlp.request]\n{tls}token_file = '{token}'\nheaders = {{ X-Scope-OrgID = 'a' }}\n"
    );
    let pushing = Pushing::start_at(&url, &toml, CLOCKS);
    let sent = receiver.wait_until("a push", |sent| !sent.is_empty());
    assert_eq!(
        (sent[0].header("authorization"), sent[0].header("x-scope-orgid")),
        ("Bearer first", "a")
    );
    file("token", "second");
    pushing.publish(2);
    receiver.wait_until("the new token", |sent| {
        sent.iter()
            .any(|sent| sent.header("authorization") == "Bearer second")
    });
    pushing.end();

    let password = file("password", "b\n");
    let toml = format!("{OTLP}[push.otlp.request]\n{tls}username = 'a'\npassword_file = '{password}'\n");
    let pushing = Pushing::start_at(&url, &toml, CLOCKS);
    // RFC 7617: base64 of a:b.
    receiver.wait_until("a password", |sent| {
        sent.iter()
            .any(|sent| sent.header("authorization") == "Basic YTpi")
    });
    pushing.end();
}

#[test]
fn without_its_papers_nothing_is_sent_and_the_reason_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca");
    let (receiver, papers) = Receiver::start_with_tls();
    std::fs::write(&ca, papers.ca).unwrap();
    let url = format!("https://{}", receiver.address);
    let nowhere = folder.path().join("nowhere").display().to_string();
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "\n").unwrap();
    for (request, reason) in [
        // The system trusts no such authority.
        (String::new(), "connection"),
        // The receiver wants a certificate of ours.
        (format!("ca_file = '{}'", ca.display()), "connection"),
        (format!("ca_file = '{nowhere}'"), "credentials"),
        (
            format!("ca_file = '{}'\ntoken_file = '{}'", ca.display(), empty.display()),
            "credentials",
        ),
    ] {
        let pushing = Pushing::start_at(&url, &format!("{OTLP}[push.otlp.request]\n{request}"), CLOCKS);
        let series = format!("kepler_push_failed_requests_total{{receiver=\"otlp\",reason=\"{reason}\"}}");
        pushing.wait_for(&series, |failed| failed > 0);
        pushing.end();
    }
    assert!(receiver.sent().is_empty());
}
