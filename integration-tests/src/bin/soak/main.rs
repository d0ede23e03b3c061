// SPDX-License-Identifier: Apache-2.0
//! `soak [LENGTH]`: the release build at a tick of 100 ms for an hour, or for so many seconds, beside processes, containers and
//! scrapers that come and go. Says whether memory, descriptors and threads stand still, and fails where they do not, where a
//! snapshot does not conserve, or where a counter falls. What it printed is in docs/soak.md.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a program that prints a table")]
#![expect(clippy::panic, reason = "a law that does not hold ends it")]

mod churn;
mod series;

use churn::Churn;
use integration_tests::daemon::{Daemon, pause};
use integration_tests::promtext::{self, Sample};
use integration_tests::say;
use integration_tests::tree::Powercap;
use integration_tests::trial::watch::Watch;
use series::Series;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

const START: u64 = 1_000_000;
/// A shorter one says nothing of memory.
const SHORTEST: u64 = 600;
/// Time for caches, the history's ring and the ended to fill: what is told begins after it, and after a third of the run.
const WARM: Duration = Duration::from_secs(240);

fn main() {
    let seconds = std::env::args().nth(1).map_or(3_600, |text| {
        text.parse()
            .ok()
            .filter(|seconds| *seconds >= SHORTEST)
            .unwrap_or_else(|| panic!("usage: soak [SECONDS], {SHORTEST} at least, not {text:?}"))
    });
    let meter = Arc::new(Powercap::new(START));
    let daemon = daemon(&meter);
    let mut watch = Watch::start(daemon.address);
    let churn = Churn::start(daemon.address);
    let began = Instant::now();
    let length = Duration::from_secs(seconds);
    let (mut heap, mut memory) = (Series::default(), Series::default());
    let (mut files, mut threads) = (Series::default(), Series::default());
    let mut next = Duration::ZERO;
    while began.elapsed() < length {
        let at = began.elapsed();
        let joules = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
        meter.set("intel-rapl:0", START + joules * 40);
        meter.set("intel-rapl:0:0", START + joules * 4);
        if at >= next {
            next = at + Duration::from_secs(1);
            let pid = daemon.pid();
            heap.push(at, field(pid, "RssAnon:"));
            memory.push(at, field(pid, "VmRSS:"));
            threads.push(at, field(pid, "Threads:"));
            files.push(at, entries(pid));
        }
        pause();
    }
    let counts = churn.stop();
    let looks = watch.stop();
    let page = promtext::parse(&daemon.get("/metrics").text());
    let log = daemon.log();
    assert!(!log.iter().any(|line| line.contains("panicked")), "{log:#?}");
    assert_eq!(daemon.stop(), Some(0));
    println!(
        "{seconds} s at a tick of 100 ms, beside other load of {} on two of the machine's CPUs: {counts}. {} snapshots conserved, no counter fell.\n",
        load(),
        looks.snapshots,
    );
    let settled = WARM.max(length / 3);
    let flat = [
        ("memory of its own, KiB", &heap, 1_024.0),
        (
            "all resident memory, with pages of its file, KiB",
            &memory,
            2_048.0,
        ),
        ("descriptors", &files, 4.0),
        ("threads", &threads, 1.0),
    ]
    .map(|(name, series, most)| row(name, series, settled, most));
    tenths(length, &[&heap, &memory, &files, &threads]);
    lateness(&page);
    if flat.contains(&false) {
        say("something grows");
        std::process::exit(1);
    }
}

fn daemon(meter: &Powercap) -> Daemon {
    let root = format!("sources.rapl.root={}", meter.root().display());
    let mut arguments = vec!["--tick", "100ms"];
    for setting in [
        &*root,
        "sources.cpu=rapl",
        "sources.dram=rapl",
        "sources.platform=estimator",
        "sources.gpu=",
        "exporter.schemas=[\"kepler\",\"kepler-0.11\"]",
        "exporter.levels=[\"node\",\"pod\",\"container\",\"vm\",\"unit\",\"process\"]",
    ] {
        arguments.extend(["--set", setting]);
    }
    let daemon = Daemon::start(&arguments);
    daemon.wait_for_tick(3);
    daemon
}

/// Prints what became of a series; whether it stands still: less than `most` more an hour, by its slope.
fn row(name: &str, series: &Series, settled: Duration, most: f64) -> bool {
    let told = series.told(settled).expect("a reading each second");
    println!(
        "- {name}: {} at the beginning of what is told, {} at its end, {} at most; slope {:+.2} an hour",
        told.first, told.last, told.most, told.slope_per_hour
    );
    told.slope_per_hour < most
}

/// What each was at the end of each tenth of the run.
fn tenths(length: Duration, series: &[&Series]) {
    println!(
        "\n| after | memory of its own, KiB | all resident, KiB | descriptors | threads |\n|---|---|---|---|---|"
    );
    let columns: Vec<Vec<u64>> = series.iter().map(|series| series.tenths(length)).collect();
    for tenth in 0..10 {
        let cells: Vec<String> = columns
            .iter()
            .filter_map(|column| column.get(tenth).map(u64::to_string))
            .collect();
        let seconds = length.as_secs() * (u64::try_from(tenth).unwrap_or(0) + 1) / 10;
        println!("| {seconds} s | {} |", cells.join(" | "));
    }
}

/// The histogram of how late windows closed, as the daemon tells it.
fn lateness(page: &[Sample]) {
    println!("\n| windows closed at most so late | of all |\n|---|---|");
    let buckets = promtext::of(page, "kepler_window_lateness_seconds_bucket");
    let all = buckets.last().map_or(0, |bucket| bucket.millionths());
    for bucket in buckets {
        let permille = bucket.millionths() * 100_000 / all.max(1);
        println!(
            "| {} s | {}.{:03} % |",
            bucket.label("le"),
            permille / 1_000,
            permille % 1_000
        );
    }
}

fn field(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok());
    value.unwrap_or_else(|| panic!("the daemon is gone: no {name}"))
}

fn entries(pid: u32) -> u64 {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    u64::try_from(files).unwrap_or(u64::MAX)
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}
