// SPDX-License-Identifier: Apache-2.0
//! What the daemon costs on this machine, as a table: `make bench`.
//!
//! Not a test: nothing here fails for being slow. CPU time comes from the scheduler's own accounting of the daemon's
//! threads, the programs' from the kernel's BPF statistics; both are counts of one run, and no wall clock of a busy
//! machine goes into them but the start-up's. What the probes cost by themselves: probes/ebpf/benches.

#![allow(
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a program that prints a table"
)]

use crowd::{BUSY, Crowd};
use integration_tests::daemon::Daemon;
use integration_tests::http;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

mod crowd;
mod total;

/// Processes of each row.
const SIZES: [usize; 3] = [100, 1_000, 4_000];
/// Windows that are measured.
const TICKS: u64 = 20;
/// Ways of accounting CPU time (setting `probes.cpu_time`) whose whole cost is measured, unless arguments name others.
const ACCOUNTANTS: [&str; 2] = ["switch", "scheduler"];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if !crowd::became(arguments.get(1).map(String::as_str)) {
        match arguments.get(1..) {
            None | Some([]) => bench(&ACCOUNTANTS.map(str::to_owned)),
            Some(named) => bench(named),
        }
    }
}

fn bench(accountants: &[String]) {
    println!(
        "kernel {}, {} CPUs",
        read("/proc/sys/kernel/osrelease").trim(),
        cpus()
    );
    println!();
    total::table(accountants);
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
    // The resolver looks several times at processes in the root cgroup until they are ten seconds old.
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
fn daemon_ticks(daemon: &Daemon, tick: u64) -> u64 {
    let ready = || http::get(daemon.address, "/livez", &[]).is_ok();
    assert!(ready(), "the daemon answers");
    let now = daemon.snapshot()["tick"].as_u64().unwrap_or(0);
    nap(tick.saturating_sub(now));
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

#[expect(
    clippy::disallowed_methods,
    reason = "whoever asks meanwhile is measured, too"
)]
fn nap(seconds: u64) {
    std::thread::sleep(Duration::from_secs(seconds));
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(0, Into::into)
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
