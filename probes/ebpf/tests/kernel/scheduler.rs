// SPDX-License-Identifier: Apache-2.0
//! The accountant that reads the scheduler's own figures: alone, and side by side with the one at the context switch.

use crate::burn::burning;
use crate::support::{
    Cgroup, Consumer, Guarded, comm_of, guest, machine, pause, permille, pin, storm_of, task_of, undisturbed,
    wait_until,
};
use attribution::model::Event;
use probe_ebpf::SchedulerProbe;
use rustix::time::{ClockId, clock_gettime};
use std::io::{BufRead as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

/// Runs `count` short processes, draining `every` so many milliseconds, until what the kernel accounts for them is
/// charged. Returns both, charged first, without what the shell took before: it began elsewhere, and a rise goes to the
/// cgroup in which its thread is seen.
fn weather(consumer: &mut Consumer<SchedulerProbe>, cgroup: &Cgroup, count: u32, every: u32) -> (u64, u64) {
    let mut storm = cgroup.storm_to_come(count);
    let (charged, truth) = consumer.before_storm(cgroup);
    storm.go();
    while storm.0.try_wait().unwrap().is_none() {
        pause(every);
        consumer.drain();
    }
    // Frees trail behind by an RCU grace period.
    let mut ratio = 0;
    wait_until("99 % is charged", || {
        consumer.drain();
        let before = ratio;
        ratio = permille(consumer.charged_in(cgroup) - charged, cgroup.cpu_stat() - truth);
        if ratio != before {
            eprintln!("{ratio} per mille charged, lost: {:?}", consumer.usage.lost);
        }
        ratio >= 990
    });
    for _ in 0..5 {
        pause(50);
        consumer.drain();
    }
    (consumer.charged_in(cgroup) - charged, cgroup.cpu_stat() - truth)
}

/// CPU time of this process, up to now. Asking brings the scheduler's own figures up to date, so ask after a drain.
pub(crate) fn own_cpu() -> u64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    u64::try_from(now.tv_sec * 1_000_000_000 + now.tv_nsec).unwrap()
}

/// What had been charged to this process at the end of a drain, and what it had run by then: `least` to `most`.
///
/// A drain reads the threads in its middle, and what this process runs after that is charged in the next one. On a real
/// machine that is a millisecond at most. An emulator translates what runs for the first time, so there the first drain
/// takes ten times as long as the others, and by as much the first second read too high (1,092 to 1,497 per mille). And
/// the thread that drains may lose its CPU to one that burns before it asks the clock: too little in one second, as much
/// too much in the next (932, 1,067).
#[derive(Clone, Copy)]
struct Reading {
    charged: u64,
    least: u64,
    most: u64,
}

impl Reading {
    fn take(consumer: &mut Consumer<SchedulerProbe>) -> Self {
        // Before a drain the question makes the scheduler's figures fresher than any tick leaves them, so not where the
        // time after it is as good.
        let before = guest().then(own_cpu);
        consumer.drain();
        let most = own_cpu();
        Self {
            charged: consumer.charged_to(task_of(std::process::id())),
            least: before.unwrap_or(most),
            most,
        }
    }

    /// What was charged since, and the nearest to it of what can have been run.
    fn since(self, first: Self) -> (u64, u64) {
        let charged = self.charged - first.charged;
        let (least, most) = (self.least.saturating_sub(first.most), self.most - first.least);
        (charged, charged.clamp(least, most))
    }
}

/// What each of `ticks` drains, a second apart, charges to this process, in thousandths of what it ran.
fn own_ratios(consumer: &mut Consumer<SchedulerProbe>, ticks: u32) -> Vec<u64> {
    pause(100);
    let mut last = Reading::take(consumer);
    (0..ticks)
        .map(|_| {
            pause(1_000);
            let next = Reading::take(consumer);
            let (charged, truth) = next.since(last);
            last = next;
            permille(charged, truth)
        })
        .collect()
}

#[test]
fn ten_thousand_short_processes_are_charged_and_then_forgotten() {
    let Some(_machine) = machine() else { return };
    let cgroup = Cgroup::new("scheduler-storm");
    let mut consumer = Consumer::open_scheduler(16_384);
    let processes = storm_of(10_000);
    let (charged, truth) = weather(&mut consumer, &cgroup, processes, 100);
    let tasks = consumer.tasks_in(cgroup.id());
    eprintln!(
        "a storm, by the scheduler: {charged} ns, {} per mille of cpu.stat, {tasks} tasks",
        permille(charged, truth)
    );
    assert!(charged <= truth / 100 * 101, "{charged} ns of {truth} ns");
    // Every process has been a row, and its shell.
    assert!(
        tasks >= usize::try_from(processes * 99 / 100).unwrap(),
        "{tasks} tasks"
    );

    let left = consumer.usage.tasks.iter();
    let left = left.filter(|row| row.cgroup == cgroup.id() && row.ended);
    assert_eq!(left.count(), 0, "rows of the dead");
    assert!(consumer.usage.lost.is_empty(), "{:?}", consumer.usage.lost);
    assert!(consumer.usage.counted.has(Event::Switches));
}

#[test]
fn a_task_that_never_sleeps_is_charged_in_every_second_and_to_a_hundredth_in_all() {
    let Some(_machine) = machine() else { return };
    let cpus = aya::util::online_cpus().unwrap();
    pin(cpus[0]);
    let mut consumer = Consumer::open_scheduler(1_024);
    let cpu = &cpus[cpus.len() - 1..];
    undisturbed(|| burning(cpu, || is_charged_in_every_second(&mut consumer)));
}

fn is_charged_in_every_second(consumer: &mut Consumer<SchedulerProbe>) {
    let ratios = own_ratios(consumer, 5);
    eprintln!("a burning thread: {ratios:?} per mille");
    // Both figures are as old as the scheduler's last tick, 4 to 10 ms each time: that much of a second, and more of
    // one that others had a part of. It does not add up over seconds.
    assert!(
        ratios.iter().all(|ratio| (960..=1_040).contains(ratio)),
        "{ratios:?}"
    );
    let mean = ratios.iter().sum::<u64>() / 5;
    assert!((990..=1_010).contains(&mean), "{ratios:?}");
}

#[test]
fn threads_of_one_process_on_two_cpus_are_one_task() {
    let Some(_machine) = machine() else { return };
    let cpus = aya::util::online_cpus().unwrap();
    let [one, two, ..] = cpus[..] else {
        eprintln!("skipped: needs two CPUs");
        return;
    };
    let mut consumer = Consumer::open_scheduler(1_024);
    let task = task_of(std::process::id());
    let began = Reading::take(&mut consumer);
    burning(&[one, two], || {
        undisturbed(|| {
            let ratios = own_ratios(&mut consumer, 3);
            eprintln!("two threads: {ratios:?} per mille");
            assert!(
                ratios.iter().all(|ratio| (985..=1_015).contains(ratio)),
                "{ratios:?}"
            );
        });
        assert_eq!(consumer.rows_of(task).count(), 1);
    });
    // The dead threads leave the last of their time.
    wait_until("both threads are freed", || {
        let (charged, truth) = Reading::take(&mut consumer).since(began);
        charged.abs_diff(truth) <= truth / 200
    });
}

#[test]
fn a_dead_process_is_listed_with_its_last_time_and_then_forgotten() {
    let Some(_machine) = machine() else { return };
    let cgroup = Cgroup::new("scheduler-dead");
    let mut consumer = Consumer::open_scheduler(1_024);
    let mut child = Guarded::sh(
        r#"echo $$ > "$1/cgroup.procs"; read go; i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"#,
        &[cgroup.path.to_str().unwrap()],
    );
    let task = task_of(child.pid());
    wait_until("it waits in its cgroup", || {
        cgroup.cpu_stat() > 0 && cgroup.rests()
    });
    consumer.drain();
    let (truth, charged) = (cgroup.cpu_stat(), consumer.charged_to(task));
    child.0.stdin.take().unwrap().write_all(b"\n").unwrap();
    child.0.wait().unwrap();
    wait_until("the dead process is listed as dead", || {
        consumer.drain();
        consumer.rows_of(task).any(|row| row.ended)
    });
    assert!(consumer.rows_of(task).all(|row| row.ended));
    let (truth, charged) = (cgroup.cpu_stat() - truth, consumer.charged_to(task) - charged);
    assert!(
        charged.abs_diff(truth) <= truth / 100,
        "{charged} ns of {truth} ns"
    );
    consumer.drain();
    assert_eq!(consumer.rows_of(task).count(), 0, "the acknowledged dead are not");
}

/// In a process of its own, whose second thread this is: the test below, started with a word more.
fn become_a_shell() -> ! {
    let mut lines = std::io::stdin().lock().lines();
    for _ in 0..2 {
        lines.next().unwrap().unwrap();
        let began = own_cpu();
        while own_cpu() - began < 200_000_000 {}
    }
    let burn = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; read more";
    panic!("{}", Command::new("sh").args(["-c", burn]).exec());
}

#[test]
fn a_thread_that_execs_takes_its_leaders_name_and_no_time_is_lost_or_doubled() {
    if std::env::args().any(|argument| argument == "become-a-shell") {
        become_a_shell();
    }
    let Some(_machine) = machine() else { return };
    let cgroup = Cgroup::new("scheduler-exec");
    let mut consumer = Consumer::open_scheduler(1_024);
    let mut child = Command::new(std::env::current_exe().unwrap());
    let name = "scheduler::a_thread_that_execs_takes_its_leaders_name_and_no_time_is_lost_or_doubled";
    child.args([name, "become-a-shell"]);
    child.args(["--exact", "--nocapture", "--test-threads=2"]);
    let mut child = Guarded(child.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap());
    let (pid, task) = (child.pid(), task_of(child.pid()));
    std::fs::write(cgroup.path.join("cgroup.procs"), pid.to_string()).unwrap();
    let mut stdin = child.0.stdin.take().unwrap();
    let threads = || std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().count();
    wait_until("the second thread is there", || threads() == 2);
    wait_until("it waits for the first line", || cgroup.rests());

    consumer.drain();
    let (truth, charged) = (cgroup.cpu_stat(), consumer.charged_to(task));
    stdin.write_all(b"1\n").unwrap();
    pause(50);
    wait_until("it waits for the second line", || cgroup.rests());
    consumer.drain();
    stdin.write_all(b"2\n").unwrap();
    wait_until("the thread is a shell", || comm_of(pid) == "sh");
    for _ in 0..5 {
        consumer.drain();
        pause(20);
    }
    wait_until("the shell waits", || cgroup.rests());
    consumer.drain();
    consumer.drain();
    let (truth, charged) = (cgroup.cpu_stat() - truth, consumer.charged_to(task) - charged);
    eprintln!("exec by a thread: {} per mille", permille(charged, truth));
    assert!(truth > 400_000_000, "{truth} ns");
    assert!(
        charged.abs_diff(truth) <= truth / 100,
        "{charged} ns of {truth} ns"
    );
    let names: Vec<_> = consumer.rows_of(task).map(|row| row.comm.to_text()).collect();
    assert!(names.iter().all(|name| name == "sh"), "{names:?}");
    assert!(consumer.rows_of(task).all(|row| !row.ended));
    assert!(consumer.usage.lost.is_empty(), "{:?}", consumer.usage.lost);
}

#[test]
fn maps_that_are_far_too_small_lose_names_and_no_time_but_what_they_say() {
    let Some(_machine) = machine() else { return };
    let cgroup = Cgroup::new("scheduler-overflow");
    let mut consumer = Consumer::open_scheduler(4);
    // An emulator ends some 25 processes a second, and more than 4 must end between two drains.
    let every = if guest() { 500 } else { 100 };
    // Frees come in batches, from a softirq on top of whoever has the CPU, and some kernels of virtual machines run no
    // program on top of a thread of their own: a batch that is not heard must be less than the 1 %.
    let (charged, truth) = weather(&mut consumer, &cgroup, storm_of(2_000), every);
    assert!(charged <= truth / 100 * 101, "{charged} ns of {truth} ns");
    let unnamed = consumer.charged(|name| name.0.is_none() && name.1 == cgroup.id());
    assert!(unnamed > 0);
    let full = consumer.usage.lost.iter().find(|lost| lost.reason == "map_full");
    assert!(full.is_some_and(|lost| lost.count > 0 && lost.probe == "iter_task"));
}

#[test]
fn both_accountants_and_the_kernel_agree_under_load() {
    let Some(_machine) = machine() else { return };
    let cgroup = Cgroup::new("scheduler-both");
    let path = cgroup.path.to_str().unwrap();
    let fifos = tempfile::tempdir().unwrap();
    let mut scheduler = Consumer::open_scheduler(16_384);
    let mut switch = Consumer::open(16_384);
    // A rise goes to the cgroup in which its thread is seen, so nothing begins before all are where they belong.
    let go = r#"echo $$ > "$1/cgroup.procs"; cd "$2"; read go; "#;
    let ping_pong = "mkfifo a b; (while read l; do echo $l; done < a > b) & \
        exec 3> a 4< b; while :; do echo x >&3; read l <&4; done";
    let load = ["while :; do :; done", "while :; do /bin/true; done", ping_pong]
        .map(|script| Guarded::sh(&format!("{go}{script}"), &[path, fifos.path().to_str().unwrap()]));
    let members = || std::fs::read_to_string(cgroup.path.join("cgroup.procs")).unwrap();
    wait_until("all wait in the cgroup", || {
        members().lines().count() == 3 && cgroup.rests()
    });
    scheduler.drain();
    switch.drain();
    let (truth, before) = (
        cgroup.cpu_stat(),
        (switch.charged_in(&cgroup), scheduler.charged_in(&cgroup)),
    );
    load.iter().for_each(Guarded::go);
    for _ in 0..25 {
        pause(200);
        scheduler.drain();
        switch.drain();
    }
    drop(load);
    wait_until("the load is gone", || cgroup.rests());
    for _ in 0..5 {
        pause(50);
        scheduler.drain();
        switch.drain();
    }
    let truth = cgroup.cpu_stat() - truth;
    let by = (
        switch.charged_in(&cgroup) - before.0,
        scheduler.charged_in(&cgroup) - before.1,
    );
    eprintln!(
        "cpu.stat {truth} ns; switch {} per mille, scheduler {} per mille",
        permille(by.0, truth),
        permille(by.1, truth)
    );
    assert!(by.1.abs_diff(truth) <= truth / 100, "{} ns of {truth} ns", by.1);
    assert!(by.0.abs_diff(truth) <= truth / 100, "{} ns of {truth} ns", by.0);
    assert!(by.0.abs_diff(by.1) <= truth / 100, "{by:?}");
}
