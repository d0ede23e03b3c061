// SPDX-License-Identifier: Apache-2.0
//! A process that goes from cgroup to cgroup: the rows of those that it has left leave, and its time is whole. Under both
//! accountants. Rows rest for no time here, so they leave with the first report without news.

use crate::scheduler::own_cpu;
use crate::support::{
    Cgroup, Consumer, Drained, guest, machine, pause, permille, settings, task_of, unified_mount, wait_until,
};
use probe_ebpf::{Probe, SchedulerProbe, Settings};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

fn restless() -> Settings {
    Settings {
        keep_resting: Duration::ZERO,
        ..settings(16_384)
    }
}

/// Moves this process back at the end of its test.
struct Home(PathBuf);

impl Home {
    fn new() -> Self {
        let lines = fs::read_to_string("/proc/self/cgroup").unwrap();
        let path = lines.lines().find_map(|line| line.strip_prefix("0::/")).unwrap();
        Self(unified_mount().join(path))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        enter(&self.0);
    }
}

fn enter(cgroup: &Path) {
    fs::write(cgroup.join("cgroup.procs"), std::process::id().to_string()).unwrap();
}

/// A thread that begins, burns 5 ms and ends.
fn burn() {
    let burner = thread::spawn(|| {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(5) {}
    });
    burner.join().unwrap();
}

/// Goes through so many cgroups, each of which goes when it has left it. Returns how many rows it had at most.
fn hop<P: Drained>(consumer: &mut Consumer<P>, cgroups: u32) -> usize {
    let (mut most, mut last) = (0, None);
    let _home = Home::new();
    for number in 0..cgroups {
        let cgroup = Cgroup::new(&format!("hop-{number}"));
        enter(&cgroup.path);
        drop(last.replace(cgroup));
        burn();
        consumer.drain();
        most = most.max(consumer.rows_of(task_of(std::process::id())).count());
    }
    most
}

/// Goes from one cgroup to another and back. Returns how often a row came back.
fn return_often<P: Drained>(consumer: &mut Consumer<P>) -> u32 {
    let cgroups = [Cgroup::new("hop-here"), Cgroup::new("hop-there")];
    let _home = Home::new();
    let (mut was_listed, mut came_back) = (true, 0);
    for cgroup in cgroups.iter().cycle().take(20) {
        enter(&cgroup.path);
        burn();
        for _ in 0..3 {
            consumer.drain();
            let mut rows = consumer.rows_of(task_of(std::process::id()));
            let is_listed = rows.any(|row| row.cgroup == cgroups[0].id());
            came_back += u32::from(is_listed && !was_listed);
            was_listed = is_listed;
        }
    }
    came_back
}

/// `entries`: rows that the accountant found in the kernel.
fn hops<P: Drained>(mut consumer: Consumer<P>, entries: impl Fn(&P) -> u32) {
    let cgroups = if guest() { 30 } else { 100 };
    let task = task_of(std::process::id());
    consumer.drain();
    let (charged, ran, found) = (consumer.charged_to(task), own_cpu(), entries(&consumer.probe));
    let most = hop(&mut consumer, cgroups);
    let came_back = return_often(&mut consumer);
    // The threads are freed an RCU grace period later.
    let mut share = 0;
    wait_until("98 % is charged", || {
        pause(50);
        consumer.drain();
        share = permille(consumer.charged_to(task) - charged, own_cpu() - ran);
        share >= 980
    });
    consumer.drain();
    let more = entries(&consumer.probe).saturating_sub(found);
    let rows = consumer.rows_of(task).count();
    eprintln!(
        "a process in {cgroups} cgroups: {most} rows at most and {rows} in the end, one came back {came_back} times, \
         {share} per mille of its time, {more} more entries"
    );
    // Interrupts are in the clock of a CPU and not in the CPU time of a process, and take some per cent of it in an emulator.
    let most_share = if guest() { 1_060 } else { 1_020 };
    assert!(share <= most_share, "{share} per mille");
    assert!(most <= 8, "{most} rows at once");
    assert!(rows <= 2, "{rows} rows in the end");
    assert!(came_back >= 5, "a row came back {came_back} times");
    // Others come and go on this machine as well.
    assert!(more < cgroups / 2, "{more} more entries of {cgroups} cgroups");
}

#[test]
fn a_process_that_goes_from_cgroup_to_cgroup_keeps_few_rows_and_all_its_time() {
    let Some(_machine) = machine() else { return };
    hops(Consumer::with(&restless()), Probe::entries);
}

#[test]
fn a_process_that_goes_from_cgroup_to_cgroup_keeps_few_rows_and_all_its_time_by_the_scheduler() {
    let Some(_machine) = machine() else { return };
    hops(Consumer::with_scheduler(&restless()), SchedulerProbe::entries);
}
