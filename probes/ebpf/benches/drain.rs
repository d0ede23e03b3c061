// SPDX-License-Identifier: Apache-2.0
//! Nanoseconds per entry of a drain, as CPU time of the thread that drains. `cargo bench -p probe-ebpf --bench drain`
//!
//! The entries are those of real processes. Some have ended: nothing is acknowledged, so they stay in the hash and are
//! read and reported by each drain. Others sleep: they have seats, which are looked at and reported.
#![allow(clippy::print_stdout, reason = "a program that prints a table")]

mod support;

use attribution::model::TickId;
use probe_ebpf::Probe;
use rustix::time::{ClockId, clock_gettime};
use std::error::Error;
use std::fs;
use support::cgroup::Cgroup;
use support::{float, may_run, median, pause, settings};

/// Entries of each row, besides the few of the machine's own processes.
const SIZES: [u32; 2] = [1_000, 10_000];

/// Entries that are read for each row, in all drains together: enough for the scheduler's ticks to tell user from kernel.
const READS: u32 = 2_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    if !may_run() {
        return Ok(());
    }
    println!("| processes | entries | a drain, CPU time | ns per entry | of it in the kernel |");
    println!("|---|---|---|---|---|");
    for (what, each) in [("ended", "(:)"), ("asleep", "{ sleep 600 & }")] {
        for size in SIZES {
            row(what, each, size)?;
        }
    }
    println!();
    println!(
        "medians of {READS} / entries drains; the kernel's share is of all of them, by the scheduler's ticks"
    );
    Ok(())
}

fn row(what: &str, each: &str, size: u32) -> Result<(), Box<dyn Error>> {
    let Some(cgroup) = Cgroup::new("drain") else {
        return Ok(());
    };
    let mut probe = Probe::open(&settings(16_384))?;
    let mut storm = cgroup.storm(size, each);
    let mut tick = 0;
    let mut rows = Vec::new();
    let mut drain = |probe: &mut Probe| -> Result<f64, Box<dyn Error>> {
        tick += 1;
        let before = thread_nanos();
        rows = probe
            .drain(TickId(tick), TickId(0), std::mem::take(&mut rows))?
            .1
            .tasks;
        Ok(float(thread_nanos().saturating_sub(before)))
    };
    while storm.0.try_wait()?.is_none() {
        pause(100);
        drain(&mut probe)?;
    }
    // Until the last of them have their seats, and none in the hash.
    for _ in 0..5 {
        pause(100);
        drain(&mut probe)?;
    }
    let (user, kernel) = thread_ticks();
    let times = (0..READS / size)
        .map(|_| drain(&mut probe))
        .collect::<Result<Vec<_>, _>>()?;
    let (user, kernel) = (thread_ticks().0 - user, thread_ticks().1 - kernel);
    let (time, entries) = (median(&times), probe.entries());
    println!(
        "| {what} | {entries} | {:.2} ms | {:.0} | {:.0} % |",
        time / 1e6,
        time / f64::from(entries),
        kernel * 100.0 / (user + kernel).max(1.0)
    );
    cgroup.kill()?;
    Ok(())
}

/// CPU time of this thread, in nanoseconds.
fn thread_nanos() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(now.tv_sec * 1_000_000_000 + now.tv_nsec).unwrap_or(0)
}

/// User and system time of this thread (proc(5): fields 14 and 15), in hundredths of a second.
fn thread_ticks() -> (f64, f64) {
    let text = fs::read_to_string("/proc/thread-self/stat").unwrap_or_default();
    let mut fields = text.rsplit(") ").next().unwrap_or_default().split(' ').skip(11);
    let mut field = || fields.next().and_then(|field| field.parse().ok()).unwrap_or(0.0);
    (field(), field())
}
