// SPDX-License-Identifier: Apache-2.0
//! What the daemon costs on this machine, as a table: `make bench`.
//!
//! Not a test: nothing here fails for being slow. CPU time comes from the scheduler's own accounting of the daemon's
//! threads, the probe's nanoseconds from the kernel's BPF statistics; both are counts of one run, and no wall clock of a
//! busy machine goes into them but the start-up's.

#![allow(
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a program that prints a table"
)]

use integration_tests::daemon::{Daemon, pause};
use integration_tests::{http, is_root};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Processes of each row, 100 of them busy.
const SIZES: [usize; 3] = [100, 1_000, 4_000];
const BUSY: usize = 100;
/// Windows that are measured.
const TICKS: u64 = 20;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("idle") => idle(),
        Some("busy") => busy(),
        _ => bench(),
    }
}

/// A process that sleeps until it gets a line, and again; ends with its parent, whose pipe it reads.
fn idle() {
    std::io::stdin().lines().for_each(drop);
}

/// A process that works half a percent of its time.
#[expect(clippy::disallowed_methods, reason = "sleeping is its work")]
fn busy() {
    let parent = std::os::unix::process::parent_id();
    while std::os::unix::process::parent_id() == parent {
        let began = Instant::now();
        while began.elapsed() < Duration::from_micros(50) {
            std::hint::spin_loop();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn bench() {
    println!(
        "kernel {}, {} CPUs",
        read("/proc/sys/kernel/osrelease").trim(),
        cpus()
    );
    probe();
    println!();
    println!(
        "| processes | CPU per tick | of it, kernel | RSS | RSS, scraped each tick | scrape | first complete snapshot |"
    );
    println!("|---|---|---|---|---|---|---|");
    for size in SIZES {
        row(&mut Crowd::new(size), size);
    }
    println!();
    println!(
        "tick 1 s; {BUSY} of the processes busy (50 µs of work each 10 ms), the others asleep; means of {TICKS} ticks"
    );
}

/// One row of the table.
fn row(crowd: &mut Crowd, size: usize) {
    drop(integration_tests::daemon::binary());
    let began = Instant::now();
    let daemon = Daemon::start(&["--tick", "1s"]);
    let complete = |snapshot: &Value| snapshot["zones"][0]["power_uw"].is_u64().then_some(());
    let first = poll(&daemon, began, complete);
    // From now on every process is one that ran since the start, as on a node that has been up for long.
    crowd.stir();
    // The resolver looks twice at processes in the root cgroup that are younger than ten seconds.
    let settled = daemon.wait_for_tick(15);
    let tick = settled["tick"].as_u64().unwrap_or(0);
    let (before, before_kernel) = cpu(daemon.pid());
    let measured = daemon_ticks(&daemon, tick + TICKS);
    let (after, after_kernel) = cpu(daemon.pid());
    let ticks = measured.saturating_sub(tick).max(1) as f64;
    let quiet = rss(daemon.pid());
    let (mut time, mut bytes) = (Duration::ZERO, 0);
    for more in 1..=5 {
        let began = Instant::now();
        bytes = daemon.get("/metrics").body.len();
        time += began.elapsed();
        daemon_ticks(&daemon, measured + more);
    }
    println!(
        "| {size} | {:.2} ms | {:.2} ms | {:.1} MiB | {:.1} MiB | {:.1} ms, {} KiB | {:.0} ms ({:.2} ticks) |",
        (after - before) as f64 / 1e6 / ticks,
        (after_kernel - before_kernel) as f64 * 10.0 / ticks,
        quiet as f64 / 1024.0,
        rss(daemon.pid()) as f64 / 1024.0,
        time.as_secs_f64() * 1e3 / 5.0,
        bytes / 1024,
        first.as_secs_f64() * 1e3,
        first.as_secs_f64(),
    );
}

/// Waits for a tick without asking the daemon more than needed: one small request a second.
#[expect(clippy::disallowed_methods, reason = "asking more often would be measured")]
fn daemon_ticks(daemon: &Daemon, tick: u64) -> u64 {
    let ready = || http::get(daemon.address, "/livez", &[]).is_ok();
    assert!(ready(), "the daemon answers");
    let now = daemon.snapshot()["tick"].as_u64().unwrap_or(0);
    std::thread::sleep(Duration::from_secs(tick.saturating_sub(now)));
    daemon.wait_for_tick(tick)["tick"].as_u64().unwrap_or(tick)
}

fn poll(daemon: &Daemon, began: Instant, done: impl Fn(&Value) -> Option<()>) -> Duration {
    daemon.wait_until("a complete snapshot", |snapshot| {
        done(snapshot).map(|()| began.elapsed())
    })
}

/// CPU time of all threads that live, in nanoseconds, and the process's system time in clock ticks.
fn cpu(pid: u32) -> (u64, u64) {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it lives");
    let nanos = tasks.flatten().map(|task| {
        let text = read(task.path().join("schedstat"));
        text.split(' ')
            .next()
            .and_then(|field| field.parse::<u64>().ok())
            .unwrap_or(0)
    });
    let stat = read(format!("/proc/{pid}/stat"));
    let system = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.split_ascii_whitespace().nth(12)?.parse().ok());
    (nanos.sum(), system.unwrap_or(0))
}

/// Resident memory in KiB.
fn rss(pid: u32) -> u64 {
    let status = read(format!("/proc/{pid}/status"));
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok())
        .unwrap_or(0)
}

/// Nanoseconds per `sched_switch`, from the kernel's statistics of the daemon's programs.
fn probe() {
    const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";
    if !is_root() {
        println!("skipped: nanoseconds per switch need root");
        return;
    }
    let before = read(SWITCH);
    let daemon = Daemon::start(&["--tick", "1s", "--set", "probes.cpu_time=switch"]);
    daemon.wait_for_tick(2);
    fs::write(SWITCH, "1").expect("root may");
    let mut runs = Vec::new();
    for _ in 0..5 {
        let then = programs(daemon.pid());
        let load = Command::new("perf")
            .args(["bench", "sched", "pipe", "-l", "200000"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !load.is_ok_and(|status| status.success()) {
            println!("note: perf is not installed, so the switches are those of this machine at rest");
            (0..50).for_each(|_| pause());
        }
        let now = programs(daemon.pid());
        let run = now
            .iter()
            .zip(&then)
            .max_by_key(|(now, then)| now.1 - then.1)
            .map(|(now, then)| (now.0 - then.0, now.1 - then.1));
        runs.extend(
            run.filter(|(_, count)| *count > 0)
                .map(|(nanos, count)| (nanos as f64 / count as f64, count)),
        );
    }
    fs::write(SWITCH, before.trim()).expect("root may");
    runs.sort_by(|a, b| a.0.total_cmp(&b.0));
    if let Some((median, count)) = runs.get(runs.len() / 2) {
        println!(
            "sched_switch: {median:.0} ns per run (median of {}, {count} runs each; with the statistics' own two clock reads)",
            runs.len()
        );
    }
}

/// Run time in nanoseconds and run count of each eBPF program that a process holds.
fn programs(pid: u32) -> Vec<(u64, u64)> {
    let mut infos: Vec<_> = fs::read_dir(format!("/proc/{pid}/fdinfo"))
        .expect("it lives")
        .flatten()
        .map(|entry| entry.path())
        .collect();
    infos.sort();
    let field = |text: &str, name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    };
    let texts = infos.iter().map(read);
    texts
        .filter_map(|text| Some((field(&text, "run_time_ns:")?, field(&text, "run_cnt:")?)))
        .collect()
}

/// Many processes.
struct Crowd(Vec<Child>);

impl Crowd {
    fn new(size: usize) -> Self {
        let own = std::env::current_exe().expect("a path");
        let start = |kind: &str| {
            let mut command = Command::new(&own);
            command.arg(kind).stdin(Stdio::piped()).stdout(Stdio::null());
            command.spawn().expect("a process")
        };
        let crowd = (0..size)
            .map(|index| start(if index < BUSY { "busy" } else { "idle" }))
            .collect();
        Self(crowd)
    }
}

impl Crowd {
    /// Wakes every process once.
    fn stir(&mut self) {
        for child in &mut self.0 {
            if let Some(stdin) = &mut child.stdin {
                drop(stdin.write_all(b"\n"));
            }
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &mut self.0 {
            drop(child.kill());
        }
        for child in &mut self.0 {
            drop(child.wait());
        }
    }
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(0, Into::into)
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
