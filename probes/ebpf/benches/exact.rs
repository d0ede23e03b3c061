// SPDX-License-Identifier: Apache-2.0
//! How much of the kernel's own time a probe finds: in a storm of forks, and of threads that never stop.
//! `cargo bench -p probe-ebpf --bench exact`
//!
//! Truth of the storm is `cpu.stat` of its cgroup. Truth of a burner is its own CPU clock, which it writes down when it is
//! asked: schedstat is as old as the last scheduler tick, some milliseconds. It is asked after each drain and not before,
//! because reading that clock makes the scheduler's figure fresh, which would flatter whoever relies on it. Steal is
//! printed beside: it is in no task's time, but what was stolen since `switch` last compared the clocks is in its estimate
//! of the task that runs.
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
        let mut burner = Burner::start(&folder.path().join("clock"), cpus)?;
        let mut consumer = Consumer::new(open()?);
        let steal = stolen();
        let mut readings = Vec::new();
        for _ in 0..=TICKS {
            pause(1_000);
            consumer.drain();
            readings.push(Reading {
                charged: float(consumer.charged_to(burner.process.0.id())),
                clock: float(burner.clock()?),
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

/// This program as a process with threads that burn. Both sides share a file: first the number of the latest question,
/// then for each thread the number of the question it has answered and its CPU time; eight bytes each.
struct Burner {
    process: Guarded,
    file: File,
    threads: u64,
    asked: u64,
}

impl Burner {
    fn start(path: &Path, cpus: &[u32]) -> Result<Self> {
        fs::write(path, 0_u64.to_ne_bytes())?;
        let mut command = Command::new(myself());
        command
            .arg("burn")
            .arg(path)
            .args(cpus.iter().map(u32::to_string));
        let mut burner = Self {
            process: Guarded::start(&mut command),
            file: open(path)?,
            threads: u64::try_from(cpus.len())?,
            asked: 0,
        };
        burner.clock()?;
        Ok(burner)
    }

    /// Its CPU time now, by its own clocks, in nanoseconds.
    fn clock(&mut self) -> Result<u64> {
        self.asked += 1;
        self.file.write_all_at(&self.asked.to_ne_bytes(), 0)?;
        let mut sum = 0;
        for thread in 0..self.threads {
            // Patience for a process that has yet to start, or that shares its CPU.
            for _ in 0..10_000 {
                if read_number(&self.file, answer_of(thread)).ok() == Some(self.asked) {
                    break;
                }
                pause(1);
            }
            if read_number(&self.file, answer_of(thread))? != self.asked {
                return Err("the burner does not answer".into());
            }
            sum += read_number(&self.file, answer_of(thread) + 8)?;
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

/// Where in the file a thread answers.
fn answer_of(thread: u64) -> u64 {
    8 + thread * 16
}

fn read_number(file: &File, at: u64) -> std::io::Result<u64> {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, at)?;
    Ok(u64::from_ne_bytes(bytes))
}

fn open(path: &Path) -> std::io::Result<File> {
    fs::OpenOptions::new().read(true).write(true).open(path)
}

/// The burner itself. Ends with its parent.
fn burn_on(path: &Path, cpus: &[String]) -> Result<()> {
    let file = open(path)?;
    let parent = std::os::unix::process::parent_id();
    std::thread::scope(|scope| {
        for (thread, cpu) in (0..).zip(cpus) {
            let (file, cpu) = (&file, cpu.parse::<u32>());
            scope.spawn(move || {
                pin(cpu.expect("the parent gives numbers"));
                let mut answered = 0;
                while std::os::unix::process::parent_id() == parent {
                    (0..1_000).for_each(|_| std::hint::spin_loop());
                    let asked = read_number(file, 0).expect("the file is ours");
                    if asked == answered {
                        continue;
                    }
                    let now = clock_gettime(ClockId::ThreadCPUTime);
                    let nanos = u64::try_from(now.tv_sec * 1_000_000_000 + now.tv_nsec).unwrap_or(0);
                    let answer = [asked.to_ne_bytes(), nanos.to_ne_bytes()].concat();
                    file.write_all_at(&answer, answer_of(thread))
                        .expect("the file is ours");
                    answered = asked;
                }
            });
        }
    });
    Ok(())
}
