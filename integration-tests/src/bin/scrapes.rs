// SPDX-License-Identifier: Apache-2.0
//! What many scrapers cost the daemon, as a table: `make bench-exporter`. wrk asks the real daemon over the loopback as fast as it
//! can, and the lateness of the daemon's windows is compared with as long a time without it.

#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a program that prints a table"
)]

use integration_tests::daemon::{Daemon, pause};
use integration_tests::figures::integer;
use integration_tests::has_command;
use serde_json::Value;
use std::process::Command;

/// Windows that each row is about; the tick is 100 ms.
const WINDOWS: u64 = 100;

/// What the daemon says of its windows so far.
#[derive(Clone, Copy)]
struct Windows {
    closed: u64,
    late_reports: u64,
    lateness_ns: u64,
    /// Windows that closed more than 5 ms behind their deadline.
    late: u64,
}

impl Windows {
    fn of(daemon: &Daemon) -> Self {
        let snapshot = daemon.snapshot();
        let windows = snapshot.get("windows").cloned().unwrap_or_default();
        let list = |key: &str| {
            windows
                .get(key)
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default()
        };
        let counts: Vec<u64> = list("lateness_counts").iter().filter_map(Value::as_u64).collect();
        Self {
            closed: integer(&windows, "closed"),
            late_reports: list("late").iter().map(|late| integer(late, "count")).sum(),
            lateness_ns: integer(&windows, "lateness_sum_ns"),
            late: counts.iter().skip(3).sum(),
        }
    }

    fn row(self, name: &str, then: Self, requests: &str) {
        let windows = self.closed - then.closed;
        println!(
            "| {name} | {requests} | {windows} | {:.3} ms | {} | {} |",
            (self.lateness_ns - then.lateness_ns) as f64 / 1e6 / windows as f64,
            self.late - then.late,
            self.late_reports - then.late_reports,
        );
    }
}

fn main() {
    if !has_command("wrk") {
        println!("skipped: needs wrk (Debian package wrk)");
        return;
    }
    let daemon = Daemon::start(&[
        "--tick",
        "100ms",
        "--set",
        "sources.cpu=estimator",
        "--set",
        "sources.dram=estimator",
    ]);
    daemon.wait_for_tick(20);
    println!(
        "a page of {} bytes, wrk with 2 threads and 50 connections\n",
        daemon.get("/metrics").body.len()
    );
    println!("| load | requests a second | windows | mean lateness | later than 5 ms | late reports |");
    println!("|---|---|---|---|---|---|");
    let rests = |name: &str| {
        let then = Windows::of(&daemon);
        while Windows::of(&daemon).closed < then.closed + WINDOWS {
            for _ in 0..10 {
                pause();
            }
        }
        Windows::of(&daemon).row(name, then, "-");
    };
    rests("none");
    for (name, header) in [
        ("text", "Accept-Encoding: identity"),
        ("gzip", "Accept-Encoding: gzip"),
        (
            "OpenMetrics, gzip",
            "Accept-Encoding: gzip\nAccept: application/openmetrics-text",
        ),
    ] {
        let then = Windows::of(&daemon);
        let mut wrk = Command::new("wrk");
        wrk.args(["-t2", "-c50", "-d10s"]);
        for line in header.lines() {
            wrk.args(["-H", line]);
        }
        let said = wrk.arg(format!("http://{}/metrics", daemon.address)).output();
        let said = said
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
            .unwrap_or_default();
        let find = |key: &str| {
            let line = said.lines().find_map(|line| line.trim().strip_prefix(key));
            line.map_or_else(|| "?".to_owned(), |rest| rest.trim().to_owned())
        };
        Windows::of(&daemon).row(name, then, &find("Requests/sec:"));
        let wrong = said
            .lines()
            .filter(|line| line.contains("Non-2xx") || line.contains("Socket errors"));
        wrong.for_each(|line| println!("{line}"));
    }
    rests("none");
}
