// SPDX-License-Identifier: Apache-2.0
//! Rows of meters.

use integration_tests::bmc::{Bmc, Certificate, Reply};
use integration_tests::figures::{integer, rows};
use integration_tests::trial::{Plan, START, Trial};
use rustix::fs::{FileType, Mode, mknodat};
use serde_json::Value;
use std::fs::{self, OpenOptions};

const ZONE: &str = "intel-rapl:0";
const FIRST: u64 = 1_000_000;

/// The test's own zone has been paid once, so that there is something that could fall.
fn paid_once(plan: Plan, settings: &[&str]) -> Trial {
    let trial = Trial::begin(plan, settings);
    trial.meter.set(ZONE, START + FIRST);
    trial.wait_for_paid("package", 0, FIRST);
    trial
}

/// The zone is as it should be again, and has counted 2 J meanwhile.
fn is_back(trial: &mut Trial) {
    trial.wait_for_paid("package", 0, FIRST + 2_000_000);
    trial.wait_for_value("kepler_source_up", &[("component", "package")], |up| up > 0.0);
    trial.saw("up again without a restart, and the 2 J that it counted meanwhile are paid");
}

#[test]
fn a_zone_that_vanishes() {
    let plan = Plan {
        name: "rapl-gone",
        thing: "RAPL zone",
        injected: "its folder vanishes (`rmmod`), and comes back",
        must: "its watts are absent, its joules stay; what it counted meanwhile is paid when it is back",
    };
    let mut trial = paid_once(plan, &[]);
    trial.meter.remove(ZONE);
    trial.wait_for_rise(
        "kepler_source_errors_total",
        &[("source", "rapl-sysfs"), ("reason", "gone")],
    );
    trial.meter.zone(ZONE, "package-0", START + FIRST + 2_000_000);
    is_back(&mut trial);
    trial.end();
}

#[test]
fn a_zone_that_says_nonsense() {
    let plan = Plan {
        name: "rapl-nonsense",
        thing: "RAPL zone",
        injected: "`energy_uj` holds text, nothing, a negative number, 23 digits",
        must: "never a joule of it, each a failed reading",
    };
    let mut trial = paid_once(plan, &[]);
    for nonsense in ["banana\n", "", "-5\n", "99999999999999999999999\n"] {
        trial.meter.write(ZONE, nonsense);
        trial.windows(2);
    }
    trial.wait_for_rise(
        "kepler_source_errors_total",
        &[("source", "rapl-sysfs"), ("reason", "parse")],
    );
    trial.meter.set(ZONE, START + FIRST + 2_000_000);
    is_back(&mut trial);
    trial.end();
}

#[test]
fn a_zone_that_cannot_be_read() {
    let plan = Plan {
        name: "rapl-io",
        thing: "RAPL zone",
        injected: "each read of `energy_uj` fails (EISDIR)",
        must: "as a zone that vanishes",
    };
    let mut trial = paid_once(plan, &[]);
    let file = trial.file(ZONE, "energy_uj");
    fs::remove_file(&file).expect("it was there");
    fs::create_dir(&file).expect("a folder in its place");
    trial.wait_for_rise(
        "kepler_source_errors_total",
        &[("source", "rapl-sysfs"), ("reason", "io")],
    );
    fs::remove_dir(&file).expect("ours");
    trial.meter.set(ZONE, START + FIRST + 2_000_000);
    is_back(&mut trial);
    trial.end();
}

#[test]
fn a_zone_that_begins_anew() {
    let plan = Plan {
        name: "rapl-reset",
        thing: "RAPL zone",
        injected: "the counter jumps back to 5 µJ",
        must: "no wrap is made of it: what was counted before the jump and not read is lost and said so, not 262 kJ won",
    };
    let mut trial = paid_once(plan, &[]);
    trial.meter.set(ZONE, 5);
    trial.wait_for_rise(
        "kepler_source_errors_total",
        &[("source", "rapl-sysfs"), ("reason", "reset")],
    );
    trial.meter.set(ZONE, 2_000_005);
    is_back(&mut trial);
    trial.end();
}

#[test]
fn a_source_that_hangs() {
    let plan = Plan {
        name: "rapl-hangs",
        thing: "RAPL zone",
        injected: "a read of `energy_uj` does not return (a pipe in its place)",
        must: "no window waits for it beyond its deadline; everybody else's figures go on; its watts are absent after 5 s, its joules stay",
    };
    // The other zone is read by the same thread and stands still as well; CPU time does not.
    let mut trial = paid_once(plan, &[]);
    let file = trial.file(ZONE, "energy_uj");
    let pipe = file.with_extension("pipe");
    mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::from(0o600), 0).expect("a pipe");
    fs::rename(&pipe, &file).expect("in its place");
    trial.wait_for_rise("kepler_windows_late_total", &[("reporter", "rapl-sysfs")]);
    let cpu = |snapshot: &Value| {
        rows(snapshot, "packages")
            .iter()
            .map(|row| integer(row, "busy_ns"))
            .sum::<u64>()
    };
    let (before, later) = (cpu(&trial.windows(2)), cpu(&trial.windows(5)));
    assert!(later > before, "{later} after {before}: CPU time stands still");
    trial.wait_until_down("rapl-sysfs", "package");
    trial.wait_for_paid("package", 0, FIRST);
    // Whoever waits for the pipe's other end has it now, and then its end.
    let end = OpenOptions::new()
        .write(true)
        .open(&file)
        .expect("somebody reads");
    trial.meter.set(ZONE, START + FIRST + 2_000_000);
    drop(end);
    is_back(&mut trial);
    trial.end();
}

#[test]
fn a_bmc_that_hangs() {
    let plan = Plan {
        name: "bmc-hangs",
        thing: "BMC (Redfish)",
        injected: "it takes requests and never answers; then it answers again",
        must: "no window is late for it, at most one request is in flight, its watts are absent after a minute, the platform's joules stay and go on when it answers",
    };
    let bmc = Bmc::start(Certificate::Signed);
    bmc.serve_one(300.0);
    let (url, pin) = (
        format!("sources.redfish.url={}", bmc.url()),
        format!("sources.redfish.fingerprint={}", bmc.fingerprint()),
    );
    let settings = [
        &*url,
        &*pin,
        "sources.redfish.interval=1s",
        "sources.redfish.timeout=500ms",
        "sources.platform=redfish",
    ];
    let mut trial = Trial::begin(plan, &settings);
    let joules = |trial: &Trial, more: f64| {
        trial.wait_for_value("kepler_node_platform_joules_total", &[], |now| now > more)
    };
    let before = joules(&trial, 0.0);
    bmc.set_all(Some(Reply::Hang));
    trial.wait_for_rise(
        "kepler_source_errors_total",
        &[("source", "redfish"), ("reason", "timeout")],
    );
    // A walk over many chassis takes its time, so an answer is good for a minute: 600 ticks.
    for _ in 0..5 {
        trial.windows(100);
    }
    trial.wait_until_down("redfish", "platform");
    let stands = joules(&trial, 0.0);
    assert!(stands >= before, "{stands} J after {before} J");
    bmc.set_all(None);
    // It is asked again after half a minute, after so long a silence.
    for _ in 0..3 {
        trial.windows(100);
    }
    joules(&trial, stands + 300.0);
    let platform = [("source", "redfish"), ("component", "platform")];
    trial.wait_for_value("kepler_source_up", &platform, |up| up == 1.0);
    // One that was waited for would have made every window of that minute late; a machine that is busy makes one.
    let windows = trial.wait_for_value("kepler_windows_total", &[], |_| true);
    let late = [("reporter", "redfish")];
    let late = trial.wait_for_value("kepler_windows_late_total", &late, |late| late < windows / 100.0);
    assert_eq!(bmc.most_in_flight(), 1);
    trial.saw(format!(
        "platform joules go on, {late} of {windows} windows late for it, 1 request in flight at most"
    ));
    trial.end();
}
