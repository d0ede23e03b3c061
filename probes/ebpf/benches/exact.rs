// SPDX-License-Identifier: Apache-2.0
//! How much of the kernel's own time a probe finds: in a storm of forks, and of threads that never stop.
//! `cargo bench -p probe-ebpf --bench exact`
//!
//! Truth of the storm is `cpu.stat` of its cgroup. Truth of a burner is its own CPU clock, which it writes down all the
//! time: the figure in its schedstat is as old as the last scheduler tick, some milliseconds. Steal is printed beside:
//! the kernel leaves it out of every task's time, and a probe that goes by the clock does not.
#![allow(clippy::print_stdout, reason = "a program that prints tables")]

mod support;

use rustix::time::{ClockId, clock_gettime};
use std::error::Error;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use support::cgroup::Cgroup;
use support::{
    ACCOUNTANTS, Consumer, Guarded, float, may_run, median, myself, online_cpus, pause, pin, stolen,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const FORKS: u32 = 10_000;
/// Of a second each.
const TICKS: usize = 21;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, burn, file, cpus @ ..] = &arguments[..]
        && burn == "burn"
    {
        return burn_on(Path::new(file), cpus);
    }
    if !may_run() {
        return Ok(());
    }
    // Away from the burner: waking up beside it would end its slice, and no flush would be needed.
    let cpus = online_cpus();
    let (Some(first), Some(last)) = (cpus.first(), cpus.last()) else {
        return Ok(());
    };
    pin(*first);
    forks()?;
    burners("a pinned burner", &[*last])?;
    if first == last {
        println!("skipped: two threads on two CPUs need two CPUs");
        return Ok(());
    }
    burners("two threads of one process on two CPUs", &[*first, *last])
}

fn forks() -> Result<()> {
    println!("| accountant | {FORKS} forks: of the kernel's time | processes | kernel's time | steal |");
    println!("|---|---|---|---|---|");
    for (name, open) in ACCOUNTANTS {
        let Some(cgroup) = Cgroup::new("forks") else {
            return Ok(());
        };
        let mut consumer = Consumer::new(open()?);
        consumer.drain();
        let steal = stolen();
        let mut storm = cgroup.storm(FORKS, "/bin/true");
        while storm.0.try_wait()?.is_none() {
            pause(100);
            consumer.drain();
        }
        // The dead are freed a while after they ended.
        for _ in 0..3 {
            pause(100);
            consumer.drain();
        }
        let (charged, processes) = consumer.charged_in(cgroup.id());
        let truth = float(cgroup.cpu_stat());
        println!(
            "| {name} | {:.2} % | {processes} | {:.2} s | {:.2} s |",
            float(charged) * 100.0 / truth,
            truth / 1e9,
            float(stolen() - steal) / 1e9
        );
    }
    println!();
    Ok(())
}

/// A burner with one thread on each of `cpus`, over some ticks.
fn burners(title: &str, cpus: &[u32]) -> Result<()> {
    println!(
        "| accountant | {title}: deviation per tick, median | worst | of all ticks | from schedstat | steal |"
    );
    println!("|---|---|---|---|---|---|");
    for (name, open) in ACCOUNTANTS {
        let folder = tempfile::tempdir()?;
        let burner = Burner::start(&folder.path().join("clock"), cpus)?;
        let mut consumer = Consumer::new(open()?);
        let steal = stolen();
        let mut readings = Vec::new();
        for _ in 0..=TICKS {
            pause(1_000);
            let before = burner.clock()?;
            consumer.drain();
            let after = burner.clock()?;
            readings.push(Reading {
                charged: float(consumer.charged_to(burner.process.0.id())),
                // A drain takes its figures somewhere between the two.
                clock: float(before.midpoint(after)),
                schedstat: float(burner.schedstat()?),
            });
        }
        let deviations: Vec<f64> = readings
            .windows(2)
            .filter_map(|pair| Some(pair.last()?.since(pair.first()?).deviation().abs()))
            .collect();
        let (Some(first), Some(last)) = (readings.first(), readings.last()) else {
            continue;
        };
        let whole = last.since(first);
        println!(
            "| {name} | {:.3} % | {:.3} % | {:+.3} % | {:+.3} % | {:.2} s |",
            median(&deviations),
            deviations.iter().copied().fold(0.0, f64::max),
            whole.deviation(),
            (whole.charged / whole.schedstat - 1.0) * 100.0,
            float(stolen() - steal) / 1e9
        );
    }
    println!();
    Ok(())
}

/// What is known of a burner at one moment, or between two.
struct Reading {
    charged: f64,
    clock: f64,
    schedstat: f64,
}

impl Reading {
    fn since(&self, before: &Self) -> Self {
        Self {
            charged: self.charged - before.charged,
            clock: self.clock - before.clock,
            schedstat: self.schedstat - before.schedstat,
        }
    }

    /// Of what was charged from its own clock, in per cent.
    fn deviation(&self) -> f64 {
        (self.charged / self.clock - 1.0) * 100.0
    }
}

/// This program as a process with threads that burn; each keeps its CPU time in a file, eight bytes a thread.
struct Burner {
    process: Guarded,
    file: File,
    threads: u64,
}

impl Burner {
    fn start(file: &Path, cpus: &[u32]) -> Result<Self> {
        fs::write(file, [])?;
        let mut command = Command::new(myself());
        command
            .arg("burn")
            .arg(file)
            .args(cpus.iter().map(u32::to_string));
        let burner = Self {
            process: Guarded::start(&mut command),
            file: File::open(file)?,
            threads: u64::try_from(cpus.len())?,
        };
        while burner.file.metadata()?.len() < burner.threads * 8 {
            pause(10);
        }
        Ok(burner)
    }

    /// CPU time by its own clocks, in nanoseconds, as of some microseconds ago.
    fn clock(&self) -> Result<u64> {
        let mut sum = 0;
        for thread in 0..self.threads {
            let mut bytes = [0; 8];
            self.file.read_exact_at(&mut bytes, thread * 8)?;
            sum += u64::from_ne_bytes(bytes);
        }
        Ok(sum)
    }

    fn schedstat(&self) -> Result<u64> {
        let mut sum = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.process.0.id()))? {
            let text = fs::read_to_string(thread?.path().join("schedstat"))?;
            sum += text.split(' ').next().unwrap_or_default().parse::<u64>()?;
        }
        Ok(sum)
    }
}

/// The burner itself. Ends with its parent.
fn burn_on(file: &Path, cpus: &[String]) -> Result<()> {
    let file = fs::OpenOptions::new().write(true).open(file)?;
    let parent = std::os::unix::process::parent_id();
    std::thread::scope(|scope| {
        for (at, cpu) in (0..).step_by(8).zip(cpus) {
            let (file, cpu) = (&file, cpu.parse::<u32>());
            scope.spawn(move || {
                pin(cpu.expect("the parent gives numbers"));
                while std::os::unix::process::parent_id() == parent {
                    let now = clock_gettime(ClockId::ThreadCPUTime);
                    let nanos = u64::try_from(now.tv_sec * 1_000_000_000 + now.tv_nsec).unwrap_or(0);
                    file.write_all_at(&nanos.to_ne_bytes(), at)
                        .expect("the file is ours");
                    (0..10_000).for_each(|_| std::hint::spin_loop());
                }
            });
        }
    });
    Ok(())
}
