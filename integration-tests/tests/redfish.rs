// SPDX-License-Identifier: Apache-2.0
//! The daemon with a BMC: its watts become platform joules, and whatever the BMC does costs those and nothing else.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_precision_loss,
    reason = "helpers of tests fail as tests do"
)]

use integration_tests::bmc::{Bmc, Certificate, Login, Reply};
use integration_tests::daemon::{Daemon, command};
use integration_tests::figures::{conserves, integer, nothing_fell, rows};
use integration_tests::promtext::{Sample, of, parse};
use serde_json::{Value, json};
use std::process::Command;
use std::time::{Duration, Instant};

const WATTS: f64 = 300.5;
const PASSWORD: &str = "open-sesame-4711";

/// A command for a daemon whose platform is this BMC, asked every second with a tick of 500 ms.
fn with(bmc: &Bmc, settings: &[&str]) -> Command {
    let mut command = command();
    command.args([
        "--listen",
        "127.0.0.1:0",
        "--set",
        "log.format=json",
        "--tick",
        "500ms",
    ]);
    let (url, fingerprint) = (
        format!("sources.redfish.url={}", bmc.url()),
        format!("sources.redfish.fingerprint={}", bmc.fingerprint()),
    );
    let ours = [
        &url,
        &fingerprint,
        "sources.redfish.interval=1s",
        "sources.redfish.timeout=500ms",
        "sources.platform=redfish,estimator",
        "sources.cpu=estimator",
        "sources.dram=estimator",
    ];
    for setting in ours.iter().chain(settings) {
        command.args(["--set", setting]);
    }
    // Nobody is there: a password that went to a proxy would be told to another one than the BMC.
    for variable in ["HTTPS_PROXY", "ALL_PROXY"] {
        command.env(variable, "http://127.0.0.1:9");
    }
    command
}

fn bmc() -> Bmc {
    let bmc = Bmc::start(Certificate::Signed);
    bmc.serve_one(WATTS);
    bmc
}

/// Microjoules of the platform so far; `None` while there is no zone.
fn platform(snapshot: &Value) -> Option<u64> {
    let zone = rows(snapshot, "zones")
        .iter()
        .find(|zone| zone["component"] == "platform" && zone["source"] == "redfish")?;
    Some(integer(zone, "dynamic_uj") + integer(zone, "idle_uj"))
}

fn is_up(snapshot: &Value) -> bool {
    rows(snapshot, "zones")
        .iter()
        .any(|zone| zone["source"] == "redfish" && zone["up"] == true)
}

fn errors(snapshot: &Value, reason: &str) -> u64 {
    let sources = rows(snapshot, "sources").iter();
    sources
        .filter(|source| source["source"] == "redfish")
        .flat_map(|source| rows(source, "errors"))
        .filter(|error| error["reason"] == reason)
        .map(|error| integer(error, "count"))
        .sum()
}

fn wait_for_joules_beyond(daemon: &Daemon, microjoules: u64) -> Value {
    daemon.wait_until("more platform energy", |snapshot| {
        (platform(snapshot)? > microjoules).then(|| snapshot.clone())
    })
}

fn scrape(daemon: &Daemon) -> (String, Vec<Sample>) {
    let text = daemon.get("/metrics").text();
    let samples = parse(&text);
    (text, samples)
}

fn of_redfish<'a>(samples: &'a [Sample], name: &str) -> Vec<&'a Sample> {
    let all = of(samples, name).into_iter();
    all.filter(|sample| sample.label("source") == "redfish").collect()
}

/// Windows that did not have the BMC's source in time.
fn late(samples: &[Sample]) -> u64 {
    of(samples, "kepler_windows_late_total")
        .iter()
        .filter(|sample| sample.label("reporter") == "redfish")
        .map(|sample| sample.millionths())
        .sum()
}

#[test]
fn the_bmcs_watts_become_platform_joules_with_its_name() {
    let bmc = bmc();
    let began = Instant::now();
    let daemon = Daemon::spawn(with(&bmc, &[]));
    let first = wait_for_joules_beyond(&daemon, 0);
    let later = wait_for_joules_beyond(&daemon, platform(&first).unwrap_or(0) + 900_000_000);
    let most = WATTS * began.elapsed().as_secs_f64();
    let joules = Duration::from_micros(platform(&later).expect("a zone")).as_secs_f64();
    assert!(joules <= most, "{joules} J of at most {most}");
    conserves(&later);
    nothing_fell(&first, &later);

    let (_, samples) = scrape(&daemon);
    let rows = of_redfish(&samples, "kepler_node_platform_joules_total");
    assert!(!rows.is_empty() && rows.iter().all(|row| row.label("package") == "1U"));
    let up = of_redfish(&samples, "kepler_source_up");
    assert!(
        up.iter()
            .any(|row| row.label("component") == "platform" && row.value == "1")
    );
    let info = of_redfish(&samples, "kepler_source_info");
    assert!(
        info.iter()
            .all(|row| row.label("provenance") == "integrated" && row.label("detail").contains(&bmc.url()))
    );
    assert!(!info.is_empty());
    let age = of_redfish(&samples, "kepler_source_reading_age_seconds");
    assert_eq!(age.len(), 1);
    assert!((0.0..30.0).contains(&age[0].float()), "{age:?}");
    assert_eq!(late(&samples), 0);
    assert_eq!(bmc.most_in_flight(), 1);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_bmc_that_hangs_delays_no_window_and_is_billed_again_when_it_answers() {
    let bmc = bmc();
    let daemon = Daemon::spawn(with(&bmc, &[]));
    let before = wait_for_joules_beyond(&daemon, 0);
    bmc.set_all(Some(Reply::Hang));
    let hanging = daemon.wait_until("time-outs", |snapshot| {
        (errors(snapshot, "timeout") > 1).then(|| snapshot.clone())
    });
    let tick = integer(&hanging, "tick");
    let during = daemon.wait_for_tick(tick + 10);
    nothing_fell(&before, &during);
    conserves(&during);
    let (_, samples) = scrape(&daemon);
    assert_eq!(late(&samples), 0, "the tick waits for no BMC");
    let paid = platform(&during).expect("a zone");
    bmc.set_all(None);
    let after = wait_for_joules_beyond(&daemon, paid);
    nothing_fell(&during, &after);
    assert!(is_up(&after));
    assert_eq!(late(&scrape(&daemon).1), 0);
    assert_eq!(bmc.most_in_flight(), 1);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn every_other_fault_is_counted_by_its_reason_and_over_when_it_is_over() {
    let bmc = bmc();
    let daemon = Daemon::spawn(with(&bmc, &[]));
    let mut paid = platform(&wait_for_joules_beyond(&daemon, 0)).unwrap_or(0);
    let environment = |watts: Value| Reply::Json(json!({ "PowerWatts": { "Reading": watts } }));
    for (fault, reason) in [
        (Reply::Status(500), "io"),
        (Reply::BreakOff(json!({ "PowerWatts": { "Reading": 300 } })), "io"),
        (Reply::Bytes(b"{\"Pow".to_vec()), "parse"),
        (environment(json!("N/A")), "parse"),
        (environment(json!(4_294_967.295)), "implausible"),
        (Reply::Redirect("https://198.51.100.7/".to_owned()), "parse"),
    ] {
        let before = errors(&daemon.snapshot(), reason);
        bmc.set("/redfish/v1/Chassis/1U/EnvironmentMetrics", fault);
        daemon.wait_until(reason, |snapshot| {
            (errors(snapshot, reason) > before).then_some(())
        });
        bmc.set(
            "/redfish/v1/Chassis/1U/EnvironmentMetrics",
            environment(json!(WATTS)),
        );
        let after = wait_for_joules_beyond(&daemon, paid);
        paid = platform(&after).unwrap_or(0);
        conserves(&after);
    }
    assert_eq!(late(&scrape(&daemon).1), 0);
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_bmc_that_is_away_when_the_daemon_starts_is_not_given_up_for_another_meter() {
    let bmc = bmc();
    bmc.set_all(Some(Reply::HangUp));
    let daemon = Daemon::spawn(with(&bmc, &[]));
    let without = daemon.wait_until("errors", |snapshot| {
        (errors(snapshot, "io") > 0).then(|| snapshot.clone())
    });
    assert_eq!(platform(&without), None);
    let estimated = |snapshot: &Value| {
        rows(snapshot, "zones")
            .iter()
            .any(|zone| zone["component"] == "platform" && zone["source"] != "redfish")
    };
    assert!(!estimated(&without), "no other meter carries its place");
    bmc.set_all(None);
    let with = wait_for_joules_beyond(&daemon, 0);
    assert!(!estimated(&with));
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn the_password_is_nowhere_to_be_seen_and_the_session_ends_with_the_daemon() {
    let bmc = bmc();
    bmc.set_login(Login::Session("kepler", PASSWORD.to_owned()));
    let settings = [
        "sources.redfish.username=kepler",
        "sources.redfish.auth=session",
        "log.level=trace",
    ];
    let mut command = with(&bmc, &settings);
    command.env("KEPLER_SOURCES__REDFISH__PASSWORD", PASSWORD);
    let daemon = Daemon::spawn(command);
    wait_for_joules_beyond(&daemon, 0);
    bmc.end_sessions();
    let paid = platform(&daemon.snapshot()).unwrap_or(0);
    wait_for_joules_beyond(&daemon, paid);
    assert_eq!(bmc.sessions(), 1);
    // A password that is not accepted any more, with its words in the snapshot.
    bmc.set_login(Login::Session("kepler", "another".to_owned()));
    bmc.end_sessions();
    daemon.wait_until("a refusal", |snapshot| {
        (errors(snapshot, "auth") > 0).then_some(())
    });
    for path in ["/metrics", "/api/v1/snapshot", "/"] {
        assert!(!daemon.get(path).text().contains(PASSWORD), "{path}");
    }
    bmc.set_login(Login::Session("kepler", PASSWORD.to_owned()));
    let log = daemon.log().join("\n");
    assert!(log.contains("reading failed"));
    assert!(!log.contains(PASSWORD) && !log.contains("token-"), "{log}");
    assert_eq!(daemon.stop(), Some(0));

    let again = Daemon::spawn({
        let mut command = with(&bmc, &settings);
        command.env("KEPLER_SOURCES__REDFISH__PASSWORD", PASSWORD);
        command
    });
    wait_for_joules_beyond(&again, 0);
    assert_eq!(bmc.sessions(), 1);
    assert_eq!(again.stop(), Some(0));
    assert_eq!(bmc.sessions(), 0, "logged out");
}
