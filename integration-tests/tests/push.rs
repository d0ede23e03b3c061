// SPDX-License-Identifier: Apache-2.0
//! The real daemon pushes to a real Prometheus, and to a real VictoriaMetrics: what it shows there is what its own page shows, an outage leaves no gap that the queue
//! could fill, and its series end with it.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

use integration_tests::daemon::{Daemon, PATIENCE, pause};
use integration_tests::figures::integer;
use integration_tests::promtext::{Sample, of, parse};
use integration_tests::receiver::{Receiver, Reply};
use integration_tests::{has_command, http, say, skip};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;
use tempfile::TempDir;

const NEEDED: &str = "needs prometheus (Debian package prometheus)";

/// How this Prometheus is told to receive OTLP; `None` where it cannot.
fn otlp_flag() -> Option<&'static str> {
    let help = help();
    if help.contains("--web.enable-otlp-receiver") {
        Some("--web.enable-otlp-receiver")
    } else {
        help.contains("otlp-write-receiver")
            .then_some("--enable-feature=otlp-write-receiver")
    }
}

/// Whether it says which versions of remote write it takes: the others know the first one only.
fn takes_version_2() -> bool {
    help().contains("accepted-protobuf-messages")
}

fn help() -> String {
    let output = Command::new("prometheus")
        .arg("--help")
        .output()
        .expect("prometheus starts");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

/// A Prometheus that scrapes nobody, or what answers queries as it does, killed when dropped.
struct Prometheus(Child, SocketAddr);

/// Labels that say who sent a series: those that we add, and those that receivers make of the resource and of the scope.
const OF_THE_SENDER: [&str; 8] = [
    "job",
    "instance",
    "service_name",
    "service_instance_id",
    "service_version",
    "host_name",
    "scope_name",
    "scope_version",
];

/// All series. Whoever scrapes nobody, not even itself, has ours only.
const ALL: &str = "{__name__=~\".+\"}";

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Prometheus {
    fn start(folder: &Path, address: SocketAddr, flags: &[&str]) -> Self {
        let config = folder.join("prometheus.yml");
        fs::write(&config, "global: {}\n").expect("a file");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--web.enable-remote-write-receiver")
            .args(flags)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus starts");
        Self(child, address)
    }

    /// A VictoriaMetrics that shows at once what it has taken.
    fn start_victoria(folder: &Path, address: SocketAddr) -> Self {
        let child = Command::new("victoria-metrics")
            .arg(format!("-storageDataPath={}", folder.join("data").display()))
            .arg(format!("-httpListenAddr={address}"))
            .args([
                "-search.latencyOffset=0s",
                "-search.disableCache",
                "-opentelemetry.usePrometheusNaming",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("victoria-metrics starts");
        Self(child, address)
    }

    /// Result of an instant query.
    fn query(&self, expression: &str) -> Vec<Value> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let response = http::get(self.1, &format!("/api/v1/query?query={encoded}"), &[]);
        let answer: Value = response
            .ok()
            .and_then(|r| serde_json::from_str(&r.text()).ok())
            .unwrap_or_default();
        answer["data"]["result"].as_array().cloned().unwrap_or_default()
    }

    fn value(&self, expression: &str) -> Option<f64> {
        self.query(expression).first()?["value"][1].as_str()?.parse().ok()
    }

    /// All that it shows of the daemon now, but for what says who sent it.
    fn shown(&self) -> BTreeMap<String, f64> {
        let of = |result: &Value| {
            let labels = result["metric"].as_object().expect("labels");
            let label =
                |(name, value): (&String, &Value)| (name.clone(), value.as_str().unwrap_or("").to_owned());
            let mut labels: BTreeMap<_, _> = labels.iter().map(label).collect();
            let node = labels
                .get("instance")
                .or_else(|| labels.get("service_instance_id"));
            assert_eq!(node.map(String::as_str), Some("node-1"), "{labels:?}");
            labels.retain(|name, _| !OF_THE_SENDER.contains(&name.as_str()));
            let name = labels.remove("__name__").expect("a name");
            let value = result["value"][1].as_str().and_then(|text| text.parse().ok());
            (named(&name, labels), value.expect("a number"))
        };
        let all = self.query(ALL);
        all.iter()
            .filter(|result| {
                result["metric"]["__name__"] != "target_info"
                    && is_of_the_snapshot(&result["metric"]["__name__"])
            })
            .map(of)
            .collect()
    }
}

/// Whether a metric is the same at each scrape of one snapshot.
fn is_of_the_snapshot(name: &Value) -> bool {
    let name = name.as_str().unwrap_or("");
    ![
        "process_",
        "kepler_scrape_",
        "kepler_push_",
        "kepler_exporter_",
        "kepler_web_",
    ]
    .iter()
    .any(|own| name.starts_with(own))
}

/// Bounds are numbers, however they are written.
fn named(name: &str, mut labels: BTreeMap<String, String>) -> String {
    labels.retain(|_, value| !value.is_empty());
    if let Some(bound) = labels.get_mut("le") {
        let number: f64 = bound.parse().expect("a bound");
        *bound = number.to_string();
    }
    format!("{name} {labels:?}")
}

fn on_the_page(daemon: &Daemon) -> BTreeMap<String, f64> {
    let samples = parse(&daemon.get("/metrics").text());
    let of_the_snapshot = samples
        .into_iter()
        .filter(|sample| is_of_the_snapshot(&Value::from(sample.name.clone())));
    of_the_snapshot
        .map(|sample| (named(&sample.name, sample.labels.clone()), sample.float()))
        .collect()
}

fn pushing(tick: &str, more: &[&str]) -> Daemon {
    let basic = [
        "--tick",
        tick,
        "--set",
        "sources.cpu=estimator",
        "--set",
        "sources.dram=estimator",
        "--set",
        "kubernetes.node_name=node-1",
    ];
    Daemon::start(&[&basic, more].concat())
}

fn until(what: &str, so: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < end, "never: {what}");
        pause();
    }
}

fn own(daemon: &Daemon, name: &str) -> Vec<Sample> {
    let samples = parse(&daemon.get("/metrics").text());
    of(&samples, name).into_iter().cloned().collect()
}

fn sum(samples: &[Sample]) -> f64 {
    samples.iter().map(Sample::float).sum()
}

/// Waits until Prometheus shows all that the page shows, number for number. A window closes every few seconds and is pushed within
/// one, so most of the time both are of the same.
fn agree(daemon: &Daemon, prometheus: &Prometheus) {
    // Some windows: a busy machine may miss one.
    let end = Instant::now() + 3 * PATIENCE;
    loop {
        let page = on_the_page(daemon);
        let shown = prometheus.shown();
        let is_whole = page
            .keys()
            .any(|series| series.starts_with("kepler_process_joules_total "));
        if page == shown && is_whole {
            return;
        }
        if Instant::now() > end {
            let differs = |(series, value): &(&String, &f64)| shown.get(*series) != Some(*value);
            let first: Vec<_> = page.iter().filter(differs).take(5).collect();
            let more: Vec<_> = shown
                .keys()
                .filter(|series| !page.contains_key(*series))
                .take(5)
                .collect();
            panic!(
                "{} on the page, {} pushed; {first:?}; too much: {more:?}",
                page.len(),
                shown.len()
            );
        }
        pause();
    }
}

#[test]
fn a_real_prometheus_shows_what_the_page_shows_in_every_protocol_that_it_knows() {
    if !has_command("prometheus") {
        return skip(NEEDED);
    }
    let flag = otlp_flag();
    let flags: Vec<&str> = flag.into_iter().collect();
    let mut ways = vec![(
        "remote_write",
        "/api/v1/write",
        vec!["exporter.push.remote_write.version=1.0"],
    )];
    if takes_version_2() {
        ways.push((
            "remote_write",
            "/api/v1/write",
            vec!["exporter.push.remote_write.version=2.0"],
        ));
    } else {
        say("skipped: remote write 2.0, which this prometheus does not receive (3.0 does)");
    }
    match flag {
        Some(_) => ways.push(("otlp", "/api/v1/otlp/v1/metrics", vec![])),
        None => say("skipped: OTLP, which this prometheus does not receive (2.47 does)"),
    }
    for (receiver, path, more) in ways {
        let folder = TempDir::new().expect("a folder");
        let prometheus = Prometheus::start(folder.path(), free_port(), &flags);
        let url = format!("exporter.push.{receiver}.url=http://{}{path}", prometheus.1);
        let interval = format!("exporter.push.{receiver}.interval=1s");
        let mut arguments = vec![
            "--set",
            &url,
            "--set",
            &interval,
            "--set",
            "exporter.schemas=kepler,kepler-0.11",
        ];
        arguments.extend(more.iter().flat_map(|more| ["--set", more]));
        let daemon = pushing("3s", &arguments);
        agree(&daemon, &prometheus);
        assert_eq!(sum(&own(&daemon, "kepler_push_dropped_samples_total")), 0.0);
        promtool_has_nothing_to_say_of(&daemon);
        assert_eq!(daemon.stop(), Some(0));
        until("the end of all series", || prometheus.query(ALL).is_empty());
    }
}

#[test]
fn a_real_victoria_metrics_shows_what_the_page_shows_by_otlp_and_by_remote_write() {
    if !has_command("victoria-metrics") {
        return skip("needs victoria-metrics (Debian package of that name, of Debian 13 or later)");
    }
    let help = Command::new("victoria-metrics")
        .arg("-help")
        .output()
        .expect("it starts");
    let help = String::from_utf8_lossy(&[help.stdout, help.stderr].concat()).into_owned();
    if !help.contains("-opentelemetry.usePrometheusNaming") {
        return skip("this victoria-metrics does not receive OTLP (that of Debian 13 does)");
    }
    for (receiver, path) in [
        ("otlp", "/opentelemetry/v1/metrics"),
        ("remote_write", "/api/v1/write"),
    ] {
        let folder = TempDir::new().expect("a folder");
        let victoria = Prometheus::start_victoria(folder.path(), free_port());
        let url = format!("exporter.push.{receiver}.url=http://{}{path}", victoria.1);
        let interval = format!("exporter.push.{receiver}.interval=1s");
        let schemas = "exporter.schemas=kepler,kepler-0.11";
        // It takes a second or two to show what it has.
        let daemon = pushing("8s", &["--set", &url, "--set", &interval, "--set", schemas]);
        agree(&daemon, &victoria);
        assert_eq!(sum(&own(&daemon, "kepler_push_dropped_samples_total")), 0.0);
        assert_eq!(daemon.stop(), Some(0));
        until("the end of all series", || {
            let mut left = victoria.query(ALL);
            left.retain(|result| result["metric"]["__name__"] != "target_info");
            left.is_empty()
        });
    }
}

fn promtool_has_nothing_to_say_of(daemon: &Daemon) {
    let text = daemon.get("/metrics").text();
    let lines = text.lines().filter(|line| line.contains("kepler_push_"));
    let ours: String = lines.map(|line| format!("{line}\n")).collect();
    assert!(ours.contains("kepler_push_up{"), "{text}");
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool, which comes with prometheus");
    let mut stdin = promtool.stdin.take().expect("a pipe");
    stdin.write_all(ours.as_bytes()).expect("it reads");
    drop(stdin);
    let output = promtool.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_eq!((output.status.code(), said.as_str()), (Some(0), ""));
}

#[test]
fn a_receiver_that_was_away_gets_what_happened_meanwhile_and_no_counter_falls() {
    if !has_command("prometheus") {
        return skip(NEEDED);
    }
    let (folder, address) = (TempDir::new().expect("a folder"), free_port());
    let prometheus = Prometheus::start(folder.path(), address, &[]);
    let url = format!("exporter.push.remote_write.url=http://{address}/api/v1/write");
    let set = ["--set", &url, "--set", "exporter.push.remote_write.interval=1s"];
    let daemon = pushing("500ms", &set);
    let windows = || sum(&own(&daemon, "kepler_windows_total"));
    until("a first push", || {
        prometheus.value("kepler_windows_total").is_some()
    });
    drop(prometheus);
    let gone = windows();
    until("six seconds of windows", || windows() > gone + 12.0);
    assert!(sum(&own(&daemon, "kepler_push_queue_samples")) > 0.0);
    let back = windows();
    let prometheus = Prometheus::start(folder.path(), address, &[]);
    until("the newest window", || {
        prometheus
            .value("kepler_windows_total")
            .is_some_and(|shown| shown > back)
    });
    assert_eq!(sum(&own(&daemon, "kepler_push_dropped_samples_total")), 0.0);

    let histories =
        prometheus.query("{job=\"kepler\",__name__=~\"kepler_.+_total|process_cpu_seconds_total\"}[10m]");
    assert!(histories.len() > 20, "{}", histories.len());
    let mut of_the_outage = 0;
    for history in &histories {
        let point = |point: &Value| {
            point[1]
                .as_str()
                .and_then(|text| text.parse::<f64>().ok())
                .expect("a number")
        };
        let values: Vec<f64> = history["values"]
            .as_array()
            .expect("values")
            .iter()
            .map(point)
            .collect();
        assert!(values.is_sorted(), "{} fell: {values:?}", history["metric"]);
        if history["metric"]["__name__"] == "kepler_windows_total" {
            of_the_outage = values
                .iter()
                .filter(|value| (gone + 1.0..=back).contains(*value))
                .count();
        }
    }
    assert!(
        of_the_outage >= 3,
        "{of_the_outage} samples of twelve windows in a second each"
    );
    assert_eq!(daemon.stop(), Some(0));
    until("the end of all series", || prometheus.query(ALL).is_empty());
}

#[test]
fn a_receiver_that_hangs_delays_neither_windows_nor_the_end() {
    let receiver = Receiver::start();
    receiver.usually(Reply::Hang);
    let url = format!("exporter.push.otlp.url=http://{}/v1/metrics", receiver.address);
    let set = [
        "--set",
        &url,
        "--set",
        "exporter.push.otlp.interval=1s",
        "--set",
        "exporter.push.otlp.request.timeout=2m",
    ];
    let daemon = pushing("200ms", &set);
    receiver.wait_until("a push", |sent| !sent.is_empty());
    let tick = integer(&daemon.snapshot(), "tick");
    daemon.wait_for_tick(tick + 15);
    assert_eq!(receiver.sent().len(), 1, "it still waits for the first answer");
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn what_cannot_be_pushed_is_refused_before_anything_starts() {
    for (set, words) in [
        (
            "exporter.push.otlp.url=collector:4318",
            "neither http:// nor https://",
        ),
        (
            "exporter.push.remote_write.schemas=kepler-0.11",
            "exporter.schemas",
        ),
        ("exporter.push.remote_write.request.username=a", "password_file"),
    ] {
        let output = integration_tests::daemon::command()
            .args(["--listen", "127.0.0.1:0", "--set", set])
            .output()
            .expect("kepler runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(words), "{set}: {said}");
    }
}
