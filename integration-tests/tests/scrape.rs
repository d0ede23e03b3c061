// SPDX-License-Identifier: Apache-2.0
//! What Prometheus sees: the real server scrapes the real daemon, promtool reads it, and the sums hold to the last digit.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_precision_loss,
    reason = "helpers of tests fail as tests do"
)]

use integration_tests::daemon::Daemon;
use integration_tests::figures::{conserves, integer, nothing_fell, rows};
use integration_tests::prometheus::{Prometheus, Target};
use integration_tests::promtext::{Sample, of, parse};
use integration_tests::{has_command, http, skip};
use serde_json::Value;
use std::io::Write;
use std::process::{Command, Stdio};

const COMPONENTS: [&str; 7] = ["package", "core", "uncore", "dram", "gpu", "other", "platform"];

fn estimating() -> Daemon {
    estimating_with(&[])
}

fn estimating_with(more: &[&str]) -> Daemon {
    let basic = [
        "--tick",
        "200ms",
        "--set",
        "sources.cpu=estimator",
        "--set",
        "sources.dram=estimator",
    ];
    let daemon = Daemon::start(&[&basic, more].concat());
    daemon.wait_for_tick(4);
    daemon
}

/// Samples of one scrape.
fn scrape(daemon: &Daemon) -> (String, Vec<Sample>) {
    let response = daemon.get("/metrics");
    assert_eq!(response.status, 200);
    let text = response.text();
    let samples = parse(&text);
    (text, samples)
}

fn sum<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> u64 {
    samples.into_iter().map(Sample::millionths).sum()
}

fn with_mode<'a>(samples: &'a [Sample], name: &str, mode: &str) -> Vec<&'a Sample> {
    of(samples, name)
        .into_iter()
        .filter(|sample| sample.label("mode") == mode)
        .collect()
}

#[test]
fn promtool_has_nothing_to_say_of_either_schema_and_of_both_together() {
    if !has_command("promtool") {
        return skip("needs promtool (Debian package prometheus)");
    }
    for (schemas, levels) in [("kepler", 5), ("kepler-0.11", 0), ("kepler,kepler-0.11", 5)] {
        let daemon = estimating_with(&["--set", &format!("exporter.schemas={schemas}")]);
        let (text, _) = scrape(&daemon);
        has_nothing_to_say(&text, levels);
    }
}

/// But about the milliseconds of `levels` at most: not every level has rows here.
fn has_nothing_to_say(text: &str, levels: usize) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    promtool
        .stdin
        .take()
        .expect("a pipe")
        .write_all(text.as_bytes())
        .expect("it reads");
    let output = promtool.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    // The one name that promtool dislikes is older than promtool's rule, and dashboards hang on it.
    let known = |line: &&str| {
        line.ends_with("_bpf_cpu_time_ms_total metric names should not contain abbreviated units")
    };
    let (known, other): (Vec<&str>, Vec<&str>) = said.lines().partition(known);
    assert_eq!(other, Vec::<&str>::new());
    assert!(known.len() <= levels, "{known:?}");
    assert_eq!(known.is_empty(), output.status.success());
}

#[test]
fn in_every_scrape_the_node_is_the_sum_of_its_parts_to_the_printed_digit() {
    let daemon = estimating();
    let mut earlier: Option<Vec<Sample>> = None;
    for round in 1..=5_u64 {
        daemon.wait_for_tick(4 + round * 2);
        let (text, samples) = scrape(&daemon);
        for mode in ["dynamic", "idle"] {
            let parts = ["package", "dram", "gpu", "other"];
            let parts: u64 = parts
                .iter()
                .map(|part| {
                    sum(with_mode(
                        &samples,
                        &format!("kepler_node_{part}_joules_total"),
                        mode,
                    ))
                })
                .sum();
            assert_eq!(
                sum(with_mode(&samples, "kepler_node_joules_total", mode)),
                parts,
                "{mode}"
            );
            let nobody = if mode == "dynamic" {
                "kepler_node_unattributed_joules_total"
            } else {
                "kepler_node_unreserved_idle_joules_total"
            };
            for component in COMPONENTS {
                let node = sum(with_mode(
                    &samples,
                    &format!("kepler_node_{component}_joules_total"),
                    mode,
                ));
                let nobody = sum(of(&samples, nobody)
                    .into_iter()
                    .filter(|sample| sample.label("component") == component));
                for level in ["container", "process"] {
                    let named = sum(with_mode(
                        &samples,
                        &format!("kepler_{level}_{component}_joules_total"),
                        mode,
                    ));
                    assert_eq!(named + nobody, node, "{mode} {component} by {level}:\n{text}");
                }
            }
        }
        assert!(sum(of(&samples, "kepler_node_joules_total")) > 0);
        if let Some(earlier) = earlier.replace(samples.clone()) {
            for then in earlier.iter().filter(|sample| sample.name.ends_with("_total")) {
                let now = samples
                    .iter()
                    .find(|now| now.name == then.name && now.labels == then.labels);
                assert!(
                    now.is_none_or(|now| now.float() >= then.float()),
                    "{then:?} fell to {now:?}"
                );
            }
        }
    }
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn the_json_snapshot_conserves_to_the_microjoule_and_nothing_falls() {
    let daemon = estimating();
    let mut before: Option<Value> = None;
    for round in 1..=5_u64 {
        let snapshot = daemon.wait_for_tick(4 + round * 2);
        conserves(&snapshot);
        if let Some(before) = before.replace(snapshot.clone()) {
            nothing_fell(&before, &snapshot);
        }
    }
}

#[test]
fn gzip_is_the_same_page_smaller() {
    let daemon = estimating();
    let plain = daemon.get("/metrics");
    let packed = http::get(daemon.address, "/metrics", &[("Accept-Encoding", "gzip")]).expect("an answer");
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert!(
        packed.body.len() * 3 < plain.body.len(),
        "{} of {}",
        packed.body.len(),
        plain.body.len()
    );
    assert_eq!(packed.body.get(..2), Some([0x1f, 0x8b].as_slice()));
}

#[test]
fn estimates_carry_no_meters_name_and_tell_their_error() {
    let daemon = estimating();
    let (_, samples) = scrape(&daemon);
    for component in ["package", "dram", "platform"] {
        let node = of(&samples, &format!("kepler_node_{component}_joules_total"))
            .into_iter()
            .cloned()
            .collect::<Vec<_>>();
        assert!(
            !node.is_empty()
                && node
                    .iter()
                    .all(|sample| sample.label("source") == "trained_power_model")
        );
        let error = of(&samples, "kepler_estimate_relative_error");
        assert!(
            error
                .iter()
                .any(|sample| sample.label("component") == component && sample.float() > 0.0)
        );
    }
    let info = of(&samples, "kepler_source_info");
    assert!(
        info.iter()
            .all(|sample| sample.label("provenance") == "estimated"),
        "{info:?}"
    );
}

#[test]
fn the_observer_is_observed() {
    let daemon = estimating();
    let (_, samples) = scrape(&daemon);
    for name in [
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_start_time_seconds",
    ] {
        assert!(
            of(&samples, name)
                .first()
                .is_some_and(|sample| sample.float() > 0.0),
            "{name}"
        );
    }
    assert!(
        of(&samples, "kepler_windows_total")
            .first()
            .is_some_and(|sample| sample.float() >= 3.0)
    );
    assert!(!of(&samples, "kepler_window_lateness_seconds_bucket").is_empty());
    let pid = daemon.pid().to_string();
    daemon.wait_until("the daemon's own process", |_| {
        let (_, samples) = scrape(&daemon);
        let own = of(&samples, "kepler_process_joules_total");
        own.into_iter()
            .any(|sample| sample.label("pid") == pid && sample.label("command") == "kepler")
            .then_some(())
    });
}

#[test]
fn health_routes_and_the_front_page_answer() {
    let daemon = estimating();
    assert_eq!(daemon.get("/livez").status, 200);
    assert_eq!(daemon.get("/readyz").status, 200);
    let page = daemon.get("/");
    assert_eq!(page.status, 200);
    for link in ["/metrics", "/livez", "/readyz", "/api/v1/snapshot"] {
        assert!(page.text().contains(link), "{link}");
    }
    assert_eq!(daemon.get("/nothing").status, 404);
    assert_eq!(
        http::request(daemon.address, "POST", "/metrics", &[])
            .expect("an answer")
            .status,
        405
    );
}

#[test]
fn why_each_other_source_was_passed_over_is_in_the_snapshot_and_in_the_log() {
    let daemon = Daemon::start(&[
        "--tick",
        "100ms",
        "--set",
        "sources.rapl.root=/nonexistent",
        "--set",
        "sources.cpu=rapl,estimator",
    ]);
    let snapshot = daemon.wait_for_tick(2);
    let cpu = rows(&snapshot["facts"], "selections")
        .iter()
        .find(|row| row["key"] == "cpu")
        .expect("cpu")
        .clone();
    assert_eq!(cpu["chosen"], serde_json::json!(["estimator"]));
    let reason = cpu["passed_over"][0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("/nonexistent"), "{reason}");
    assert!(
        daemon
            .log()
            .iter()
            .any(|line| line.contains("passed over") && line.contains("/nonexistent"))
    );
}

#[test]
fn a_real_prometheus_scrapes_it_and_its_sums_agree() {
    if !has_command("prometheus") {
        return skip("needs prometheus (Debian package prometheus)");
    }
    let daemon = estimating();
    let target = Target {
        job: "kepler",
        instance: None,
        address: daemon.address,
    };
    let prometheus = Prometheus::start(&[target], &[]);
    prometheus.wait_until("four scrapes", |prometheus| {
        prometheus.value("count_over_time(up{job=\"kepler\"}[1m]) >= 4")
    });
    assert_eq!(
        prometheus.value("min_over_time(up[1m])"),
        Some(1.0),
        "a scrape failed"
    );
    assert!(
        prometheus
            .value("sum(rate(kepler_node_joules_total[1m]))")
            .is_some_and(|watts| watts > 0.0)
    );
    let gap = prometheus.value(
        "abs(sum(kepler_node_package_joules_total) - sum(kepler_container_package_joules_total) \
         - sum(kepler_node_unattributed_joules_total{component=\"package\"}) \
         - sum(kepler_node_unreserved_idle_joules_total{component=\"package\"}))",
    );
    assert!(gap.is_some_and(|gap| gap < 1e-6), "{gap:?}");
    assert!(prometheus.query("kepler_process_joules_total").len() > 1);
    // It asked for OpenMetrics, and each counter says since when it counts.
    let began = prometheus.value("min(kepler_node_joules_created)");
    let started = prometheus.value("min(process_start_time_seconds)");
    let late = began.zip(started).map(|(began, started)| began - started);
    assert!(late.is_some_and(|late| (-1.0..60.0).contains(&late)), "{late:?}");
    assert_eq!(
        prometheus.value("count(kepler_process_joules_total) - count(kepler_process_joules_created)"),
        Some(0.0)
    );
    assert!(integer(&daemon.snapshot(), "tick") > 4);
}
