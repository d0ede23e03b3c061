// SPDX-License-Identifier: Apache-2.0
//! What the accountant that reads the scheduler's figures costs, as a table: a drain by the number of living threads,
//! and the hook on the dead. Needs root. `cargo bench -p probe-ebpf --bench scheduler`

use attribution::model::{PackageId, TickId};
use probe_ebpf::{ProgramCost, SchedulerProbe, Settings, enable_stats};
use rustix::time::{ClockId, clock_gettime};
use std::sync::{Arc, Barrier};
use std::thread::{Builder, JoinHandle};

/// Drains per row of the table: the median of so many is steady to a few per cent.
const DRAINS: u64 = 101;

/// The rows: threads that sleep in addition to those of the machine.
const CROWDS: [usize; 3] = [0, 1_000, 10_000];

/// Threads that begin and end for the cost of the hook.
const DEATHS: usize = 20_000;

fn main() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root (CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN for the statistics)");
        return;
    }
    let cpus = aya::util::online_cpus().expect("the kernel lists its CPUs");
    let settings = Settings {
        packages_of_cpu: cpus.into_iter().map(|cpu| (cpu, PackageId(0))).collect(),
        max_tasks: 16_384,
        ..Settings::default()
    };
    eprintln!("threads | CPU of a drain, median | per thread | without statistics | program, per thread");
    for crowd in CROWDS {
        row(&settings, crowd);
    }
    deaths(&settings);
}

fn row(settings: &Settings, crowd: usize) {
    let mut probe = SchedulerProbe::open(settings).expect("the programs load");
    let crowd = Crowd::gather(crowd);
    drains(&mut probe, 3);
    let plain = drains(&mut probe, DRAINS);
    let before = cost(&probe, 0);
    let stats = enable_stats().expect("the kernel's statistics can be switched on");
    let counted = drains(&mut probe, DRAINS);
    drop(stats);
    let after = cost(&probe, 0);
    let threads = u64::try_from(probe.threads()).unwrap_or(u64::MAX).max(1);
    eprintln!(
        "{threads:7} | {:19} us | {:7} ns | {:15} ns | {:17} ns",
        counted / 1_000,
        counted / threads,
        plain / threads,
        each(before, after)
    );
    crowd.leave();
}

fn deaths(settings: &Settings) {
    let mut probe = SchedulerProbe::open(settings).expect("the programs load");
    let stats = enable_stats().expect("the kernel's statistics can be switched on");
    let before = cost(&probe, 1);
    for round in 0..20 {
        for _ in 0..DEATHS / 20 {
            std::thread::spawn(|| ()).join().expect("the thread does nothing");
        }
        drains(&mut probe, 1 + round % 2);
    }
    drop(stats);
    let after = cost(&probe, 1);
    eprintln!(
        "sched_process_free: {} runs, {} ns each",
        after.run_count - before.run_count,
        each(before, after)
    );
}

/// Median CPU time of this thread for a drain, in nanoseconds.
fn drains(probe: &mut SchedulerProbe, count: u64) -> u64 {
    let mut rows = Vec::new();
    let mut times: Vec<u64> = (1..=count)
        .map(|tick| {
            let before = thread_cpu();
            let usage = probe.drain(TickId(tick), TickId(tick), std::mem::take(&mut rows));
            rows = usage.expect("a drain works").1.tasks;
            thread_cpu() - before
        })
        .collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or(0)
}

fn thread_cpu() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(now.tv_sec * 1_000_000_000 + now.tv_nsec).unwrap_or(0)
}

fn cost(probe: &SchedulerProbe, program: usize) -> ProgramCost {
    *probe.cost().get(program).expect("both programs are loaded")
}

fn each(before: ProgramCost, after: ProgramCost) -> u128 {
    let time = after.run_time - before.run_time;
    time.as_nanos() / u128::from((after.run_count - before.run_count).max(1))
}

/// Threads that do nothing until they are told to leave.
struct Crowd {
    gate: Arc<Barrier>,
    members: Vec<JoinHandle<()>>,
}

impl Crowd {
    fn gather(count: usize) -> Self {
        let gate = Arc::new(Barrier::new(count + 1));
        let members = (0..count)
            .map(|_| {
                let gate = Arc::clone(&gate);
                Builder::new()
                    .stack_size(16 * 1024)
                    .spawn(move || {
                        gate.wait();
                    })
                    .expect("the machine has room for the threads")
            })
            .collect();
        Self { gate, members }
    }

    fn leave(self) {
        self.gate.wait();
        for member in self.members {
            member.join().expect("the thread only waited");
        }
    }
}
