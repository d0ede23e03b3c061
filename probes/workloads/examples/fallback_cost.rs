// SPDX-License-Identifier: Apache-2.0
//! What a drain of the fallback costs on this machine, as a table:
//! `cargo run --release -p probe-workloads --example fallback_cost`.
//!
//! Nothing here fails for being slow. Figures are CPU time of the reading thread (`CLOCK_THREAD_CPUTIME_ID`), so what
//! else the machine does goes into them only through its caches.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a program that prints a table"
)]

use attribution::model::{MonotonicNanos, TickId};
use probe_workloads::{Machine, ProcReader, Roots};
use rustix::time::{ClockId, clock_gettime};
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Drains of each kind; the table has their median and the cheapest.
const DRAINS: u64 = 31;

fn main() {
    let roots = Roots::detect(Path::new("/proc")).unwrap();
    let machine = Machine::read(Path::new("/proc"), Path::new("/sys"));
    println!("| processes | time from | ran | us a drain, median | min | us a process |");
    println!("|---|---|---|---|---|---|");
    for count in [100, 1_000] {
        let mut children = Children::start(count);
        for running in [0, count / 20, count] {
            let mut clocks = ProcReader::open(&roots, &machine).unwrap();
            let source = if clocks.no_clock().is_none() {
                "clocks"
            } else {
                "ticks"
            };
            measure(&mut clocks, &mut children, running, source);
            let mut ticks = ProcReader::open_with(&roots, &machine, Err("to compare".to_owned())).unwrap();
            measure(&mut ticks, &mut children, running, "ticks");
        }
    }
}

/// Drains again and again; before each, the first `running` of the children run for a moment.
fn measure(reader: &mut ProcReader, children: &mut Children, running: usize, source: &str) {
    let mut costs: Vec<u64> = (1..=DRAINS)
        .map(|tick| {
            children.run(running);
            let before = thread_time();
            let mut now = || MonotonicNanos::from_nanos(tick);
            reader
                .drain(TickId(tick), TickId(tick - 1), &mut now, Vec::new())
                .unwrap();
            thread_time() - before
        })
        .collect();
    costs.sort_unstable();
    let (median, min) = (costs[costs.len() / 2], costs[0]);
    let listed = children.listed();
    println!(
        "| {listed} | {source} | {running} | {} | {} | {}.{:02} |",
        median / 1_000,
        min / 1_000,
        median / listed / 1_000,
        median / listed % 1_000 / 10,
    );
}

fn thread_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap()
}

/// Processes that wait for a line, and run for a moment when they get one.
struct Children(Vec<Child>);

impl Children {
    fn start(count: usize) -> Self {
        let start = || {
            let mut cat = Command::new("cat");
            cat.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
        };
        Self((0..count).map(|_| start()).collect())
    }

    fn run(&mut self, count: usize) {
        for child in self.0.iter_mut().take(count) {
            child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        }
    }

    /// All processes of the machine.
    fn listed(&self) -> u64 {
        let mut pids = Vec::new();
        probe_workloads::procfs::ProcFs::new(Path::new("/proc"))
            .pids(&mut pids)
            .unwrap();
        u64::try_from(pids.len()).unwrap()
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
