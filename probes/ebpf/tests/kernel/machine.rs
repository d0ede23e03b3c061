// SPDX-License-Identifier: Apache-2.0
//! The machine changes under the probe: CPUs come and go, clocks are set, it sleeps, pids wrap. No figure may fall or
//! rise by more than the time that passed, and nobody may be forgotten. Only in a guest (`make test-kernels`).

use crate::events::CPU_CLOCK;
use crate::packages;
use crate::support::{
    Cgroup, Consumer, Drained, Guarded, burner, burner_on, machine_to_change, nanos, pause, permille,
    schedstat, settings, task_of, wait_until,
};
use attribution::model::{CgroupId, Event, PackageId, PackageTime, TaskKey, TaskUsage};
use probe_ebpf::Settings;
use probe_ebpf::counters::Counter;
use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::process::Command;

const CPU1_ONLINE: &str = "/sys/devices/system/cpu/cpu1/online";

/// A CPU that is put back when the test ends, however it ends.
struct Cpu1;

impl Cpu1 {
    fn plug(&self, online: bool) {
        fs::write(CPU1_ONLINE, if online { "1" } else { "0" }).unwrap();
    }
}

impl Drop for Cpu1 {
    fn drop(&mut self) {
        drop(fs::write(CPU1_ONLINE, "1"));
    }
}

/// What every drain must keep, whatever happens to the machine between two of them.
struct Watch {
    consumer: Consumer,
    packages: Vec<PackageTime>,
    rows: HashMap<(Option<TaskKey>, CgroupId, PackageId), u64>,
    cpus: u64,
}

impl Watch {
    /// `cpus`: as many as are ever online.
    fn begin(cpus: u64) -> Self {
        let mut watch = Self {
            consumer: Consumer::open(16_384),
            packages: Vec::new(),
            rows: HashMap::new(),
            cpus,
        };
        watch.consumer.drain();
        watch.remember();
        watch
    }

    fn remember(&mut self) {
        self.packages.clone_from(&self.consumer.usage.packages);
        let rows = &self.consumer.usage.tasks;
        self.rows = rows
            .iter()
            .map(|row| ((row.task, row.cgroup, row.package), row.cpu.as_nanos()))
            .collect();
    }

    /// Drains (which refuses rows that fall) and compares with the drain before. Returns the time between the two.
    fn drain(&mut self, when: &str) -> u64 {
        let began = self.consumer.section.began;
        self.consumer.drain();
        let elapsed = nanos(self.consumer.section.ended.since(began));
        let most = elapsed * self.cpus;
        for row in &self.consumer.usage.packages {
            let before = self.packages.iter().find(|before| before.package == row.package);
            let Some(before) = before else { continue };
            for (what, now, before) in [("busy", row.busy, before.busy), ("idle", row.idle, before.idle)] {
                let rise = now.as_nanos().checked_sub(before.as_nanos());
                let rise =
                    rise.unwrap_or_else(|| panic!("{when}: {what} time fell from {before:?} to {now:?}"));
                assert!(
                    rise <= most,
                    "{when}: {what} time rose by {rise} ns in {elapsed} ns"
                );
            }
            let whole = (row.busy.as_nanos() + row.idle.as_nanos())
                - (before.busy.as_nanos() + before.idle.as_nanos());
            assert!(
                whole <= most,
                "{when}: busy and idle time rose by {whole} ns in {elapsed} ns"
            );
        }
        for row in &self.consumer.usage.tasks {
            let before = self.rows.get(&(row.task, row.cgroup, row.package));
            let rise = row.cpu.as_nanos() - before.copied().unwrap_or(0);
            assert!(rise <= most, "{when}: {row:?} rose by {rise} ns in {elapsed} ns");
        }
        self.remember();
        elapsed
    }
}

/// Stops `burner`, which was started after the watch had begun, and compares what it was charged with what the scheduler
/// says. Off the CPU both have charged all of it: the scheduler's figure of a running task is as old as its last tick.
fn settle(watch: &mut Watch, burner: &Guarded, what: &str) {
    let pid = burner.pid();
    kill_process(Pid::from_child(&burner.0), Signal::STOP).unwrap();
    wait_until("the burner is stopped", || {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") T "))
    });
    watch.drain("stopped");
    let (charged, truth) = (watch.consumer.charged_to(task_of(pid)), schedstat(pid));
    eprintln!("{what}: {} per mille of schedstat", permille(charged, truth));
    assert!(truth > 100_000_000, "the burner ran for {truth} ns only");
    assert!(
        charged.abs_diff(truth) <= truth / 100,
        "{charged} ns of {truth} ns"
    );
}

#[test]
fn a_cpu_that_is_unplugged_and_plugged_again_adds_no_time_that_has_not_passed() {
    let Some(_machine) = machine_to_change() else {
        return;
    };
    let cpu1 = Cpu1;
    let mut watch = Watch::begin(2);
    // On the CPU that goes away; the kernel moves it to the other one.
    let burner = burner_on(1);
    watch.drain("before");
    for round in 0..3 {
        cpu1.plug(false);
        for _ in 0..5 {
            pause(100);
            watch.drain(&format!("round {round}, unplugged"));
            assert_eq!(watch.consumer.usage.packages[0].cpus, 1);
        }
        // The first drain after it has come back is short: what it slept must not be in it.
        cpu1.plug(true);
        for _ in 0..5 {
            pause(20);
            watch.drain(&format!("round {round}, plugged again"));
        }
        assert_eq!(watch.consumer.usage.packages[0].cpus, 2);
    }
    settle(&mut watch, &burner, "a burner whose CPU comes and goes");
    let failed = watch
        .consumer
        .usage
        .lost
        .iter()
        .find(|lost| lost.reason == "flush_failed");
    assert!(failed.is_none(), "{failed:?}");
}

#[test]
fn a_cpu_that_was_not_there_at_the_start_is_measured_when_it_comes() {
    let Some(_machine) = machine_to_change() else {
        return;
    };
    let cpu1 = Cpu1;
    cpu1.plug(false);
    let mut watch = Watch::begin(2);
    cpu1.plug(true);
    let burner = burner_on(1);
    watch.drain("just come");
    for _ in 0..10 {
        pause(100);
        watch.drain("come");
    }
    settle(&mut watch, &burner, "a burner on a CPU that was plugged in later");
    assert_eq!(watch.consumer.usage.packages[0].cpus, 2);
}

#[test]
fn hardware_counters_go_on_after_a_cpu_was_away_between_two_drains() {
    let Some(_machine) = machine_to_change() else {
        return;
    };
    let cpu1 = Cpu1;
    let mut consumer = Consumer::with(&Settings {
        counters: vec![Counter {
            event: Event::CpuCycles,
            source: CPU_CLOCK,
        }],
        ..settings(16_384)
    });
    consumer.drain();
    // As while a machine sleeps: no drain sees the CPU missing.
    cpu1.plug(false);
    cpu1.plug(true);
    let burner = burner_on(1);
    let mut read = || {
        pause(200);
        consumer.drain();
        let rows: Vec<TaskUsage> = consumer.rows_of(task_of(burner.pid())).copied().collect();
        let counted: u64 = rows.iter().map(|row| row.events.get(Event::CpuCycles)).sum();
        (counted, rows.iter().map(|row| row.cpu.as_nanos()).sum::<u64>())
    };
    // The drain that finds the events standing still opens others.
    read();
    let before = read();
    read();
    let after = read();
    let ratio = permille(after.0 - before.0, after.1 - before.1);
    eprintln!("a counter on a CPU that was away: {ratio} per mille of the time");
    // An emulated CPU waits for its host thread, which perf's clock counts and the scheduler does, too; a flush is ahead
    // of the one and not of the other by up to a tick of 4 ms in 400.
    assert!((950..=1_050).contains(&ratio), "{after:?} less {before:?}");
}

fn a_cpu_is_plugged_later<P: Drained>(open: impl Fn(&Settings) -> Consumer<P>) {
    let machine = packages::Machine::of_two_packages().unwrap();
    let cpu1 = Cpu1;
    cpu1.plug(false);
    let mut consumer = open(&machine.settings());
    consumer.drain();
    cpu1.plug(true);
    pause(50);
    consumer.drain();
    packages::the_last_cpu_is_on(&mut consumer, &machine, PackageId(1));
    assert_eq!(packages::unknown(&consumer), 0);
}

#[test]
fn a_cpu_that_was_offline_at_the_start_counts_to_its_own_package() {
    let Some(_machine) = machine_to_change() else {
        return;
    };
    a_cpu_is_plugged_later(Consumer::with);
    a_cpu_is_plugged_later(Consumer::with_scheduler);
}

#[test]
fn setting_the_clock_forward_and_back_changes_no_figure() {
    let Some(_machine) = machine_to_change() else {
        return;
    };
    let mut watch = Watch::begin(2);
    let burner = burner("");
    watch.drain("before");
    for (when, seconds) in [
        ("a day forward", 86_400),
        ("two days back", -172_800),
        ("a day forward", 86_400),
    ] {
        let now = clock_gettime(ClockId::Realtime);
        let time = Timespec {
            tv_sec: now.tv_sec + seconds,
            tv_nsec: now.tv_nsec,
        };
        clock_settime(ClockId::Realtime, time).unwrap();
        for _ in 0..3 {
            pause(50);
            let elapsed = watch.drain(when);
            // Of the clock that is not set.
            assert!(
                elapsed < 20_000_000_000,
                "{when}: {elapsed} ns between two drains"
            );
        }
    }
    settle(&mut watch, &burner, "a burner under a clock that jumps");
    assert!(
        watch.consumer.lost().is_empty(),
        "{:?}",
        watch.consumer.usage.lost
    );
}

#[test]
fn a_machine_that_slept_charges_nobody_for_the_night() {
    let Some(_machine) = machine_to_change() else {
        return;
    };
    // Deep sleep (ACPI S3), out of which the emulator can wake the guest; out of s2idle it cannot.
    if !fs::read_to_string("/sys/power/mem_sleep").is_ok_and(|modes| modes.contains("[deep]")) {
        eprintln!("skipped: this kernel knows no deep sleep");
        return;
    }
    let mut watch = Watch::begin(2);
    let burner = burner("");
    watch.drain("before");
    let away = || clock_gettime(ClockId::Boottime).tv_sec - clock_gettime(ClockId::Monotonic).tv_sec;
    let before = away();
    // Whoever reads this (guest/run.sh) wakes the guest. Not the alarm of its own clock: the emulator takes one that has
    // still to come for one that has come already, now and then, and the guest is awake at once.
    eprintln!("@asleep");
    if let Err(error) = fs::write("/sys/power/state", "mem") {
        panic!("it does not sleep: {error}\n{}", last_words_of_the_kernel());
    }
    let elapsed = watch.drain("woken");
    eprintln!("@awake");
    eprintln!(
        "asleep for {} s; {elapsed} ns of CLOCK_MONOTONIC between two drains",
        away() - before
    );
    assert!(
        away() - before >= 1,
        "it did not sleep\n{}",
        last_words_of_the_kernel()
    );
    for _ in 0..5 {
        pause(100);
        watch.drain("awake");
    }
    settle(&mut watch, &burner, "a burner on a machine that slept");
}

/// What the kernel says about a sleep that was none: the end of its log.
fn last_words_of_the_kernel() -> String {
    // busybox has it in the guest.
    let log = Command::new("dmesg").output().map_or_else(
        |error| format!("dmesg: {error}"),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    );
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// A pid limit that is put back when the test ends.
struct PidMax(String);

impl PidMax {
    const PATH: &str = "/proc/sys/kernel/pid_max";

    fn shrink_to(limit: u32) -> Self {
        let before = fs::read_to_string(Self::PATH).unwrap();
        fs::write(Self::PATH, limit.to_string()).unwrap();
        Self(before)
    }
}

impl Drop for PidMax {
    fn drop(&mut self) {
        drop(fs::write(Self::PATH, &self.0));
    }
}

#[test]
fn pids_that_wrap_many_times_mix_no_two_processes() {
    let Some(_machine) = machine_to_change() else {
        return;
    };
    // The kernel allows no less than 301, and gives no pid below 300 again after the first wrap: some hundred pids for
    // four hundred processes.
    let _limit = PidMax::shrink_to(400);
    let cgroups = [Cgroup::new("wrap-one"), Cgroup::new("wrap-two")];
    let processes = 200;
    let mut consumer = Consumer::open(16_384);
    let mut storms = cgroups.each_ref().map(|cgroup| cgroup.storm_to_come(processes));
    let before = cgroups.each_ref().map(|cgroup| consumer.before_storm(cgroup));
    let mut homes: HashMap<TaskKey, CgroupId> = HashMap::new();
    let mut keys_of_pid: BTreeMap<u32, u32> = BTreeMap::new();
    let shells = storms.each_ref().map(|storm| task_of(storm.pid()));
    storms.iter().for_each(Guarded::go);
    while storms
        .iter_mut()
        .any(|storm| storm.0.try_wait().unwrap().is_none())
    {
        pause(100);
        consumer.drain();
        for row in &consumer.usage.tasks {
            let (Some(task), true) = (row.task, cgroups.iter().any(|cgroup| cgroup.id() == row.cgroup))
            else {
                continue;
            };
            let home = homes.entry(task).or_insert_with(|| {
                *keys_of_pid.entry(task.tgid).or_default() += 1;
                row.cgroup
            });
            assert_eq!(*home, row.cgroup, "{task:?} in two cgroups");
            let comm = row.comm.to_text();
            assert!(
                comm == "true" || comm == "sh" && (shells.contains(&task) || !row.ended),
                "{row:?}"
            );
        }
    }
    for _ in 0..3 {
        pause(20);
        consumer.drain();
    }
    for (cgroup, before) in cgroups.iter().zip(before) {
        // Each process and its shell are one row each: none is two, and no two are one.
        assert_eq!(
            consumer.tasks_in(cgroup.id()),
            usize::try_from(processes).unwrap() + 1
        );
        let charged = consumer.charged_in(cgroup) - before.0;
        let truth = cgroup.cpu_stat() - before.1;
        let ratio = permille(charged, truth);
        eprintln!("a storm of reused pids: {ratio} per mille of cpu.stat");
        assert!((990..=1_010).contains(&ratio), "{charged} ns of {truth} ns");
    }
    let most = keys_of_pid.values().max().copied().unwrap_or(0);
    eprintln!("one pid was {most} processes");
    assert!(most >= 3, "pids did not wrap");
}
