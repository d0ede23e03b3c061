// SPDX-License-Identifier: Apache-2.0
//! Single tasks: running without a pause, with threads, under a new name; and the CPUs as a whole.

use crate::burn::burning;
use crate::support::{
    Consumer, Guarded, comm_of, machine, nanos, pause, permille, pin, schedstat, stolen, task_of,
    undisturbed, wait_until,
};
use attribution::model::TaskKind;
use rustix::time::{ClockId, clock_gettime};
use std::collections::VecDeque;

/// What had been charged to this process at a drain, and what it had run by the scheduler's own account a little later:
/// asked before the drain, the scheduler would write down what the probe is to estimate.
#[derive(Clone, Copy)]
struct Reading {
    charged: u64,
    truth: u64,
    /// CLOCK_MONOTONIC of `truth`.
    at: u64,
    /// How much of `truth` is of the thread that drains.
    own: u64,
    /// What threads of this process can have run between the two.
    late: u64,
    /// What a hypervisor has taken from all CPUs since boot, to some 10 ms.
    stolen: u64,
}

impl Reading {
    /// `threads`: how many of them may run at once.
    fn take(consumer: &mut Consumer, threads: u64) -> Self {
        let pid = std::process::id();
        consumer.drain();
        let truth = schedstat(pid);
        let at = clock(ClockId::Monotonic);
        Self {
            charged: consumer.charged_to(task_of(pid)),
            truth,
            at,
            own: clock(ClockId::ThreadCPUTime),
            late: threads * (at - consumer.section.began.as_nanos()),
            stolen: stolen(),
        }
    }
}

fn clock(id: ClockId) -> u64 {
    let now = clock_gettime(id);
    u64::try_from(now.tv_sec * 1_000_000_000 + now.tv_nsec).unwrap()
}

/// Drains, of 30, that may be more than 1 % off. The clocks' gap, by which a flush estimates, is read right after the run
/// queue's clock; where a hypervisor takes the CPU away between the two, it is too large by that time until the next
/// measurement. Some milliseconds, once in several hundred drains here.
const OFF: usize = 1;

/// Drains that what a hypervisor took may be in: the kernel tells it in steps of 10 ms, and the clocks' gap is measured again some drains later.
const STOLEN_FOR: usize = 3;

/// Drains while threads of ours burn on `cpus`, and holds each drain to 1 % of what the scheduler says.
fn every_drain_charges_what_ran(consumer: &mut Consumer, name: &str, cpus: &[u32]) {
    let burners = u64::try_from(cpus.len()).unwrap();
    burning(cpus, || {
        pause(100);
        let first = Reading::take(consumer, burners + 1);
        let (mut last, mut worst, mut off) = (first, 0, Vec::new());
        let mut taken = VecDeque::from([first.stolen; STOLEN_FOR]);
        for longer in [1, 3, 2].repeat(10) {
            // No whole number of the scheduler's ticks, of 4 or 10 ms: its own figures are older now and younger then, by
            // more than 1 % of so short a time.
            pause(100 + longer);
            let next = Reading::take(consumer, burners + 1);
            let (rise, truth) = (next.charged - last.charged, next.truth - last.truth);
            // What a hypervisor steals is in the probe's estimate, and the time of a thread whose switches it was not
            // shown goes to who comes next: both are time that passed on the burners' CPUs and that the scheduler did not
            // charge to them.
            let passed = burners * (next.at - last.at) + (next.own - last.own);
            taken.push_back(next.stolen);
            let stolen = next.stolen - taken.pop_front().unwrap_or_default();
            let most = truth.max(passed) + truth / 100 + last.late + stolen;
            // What was estimated too much is taken back later.
            let owed = (last.charged - first.charged).saturating_sub(last.truth - first.truth);
            let least = (truth - truth / 100).saturating_sub(next.late + owed + stolen);
            let of = |what: &str| {
                format!("{rise} ns in a drain, and not {least} to {most}, of {truth} ns: {what}")
            };
            if !(least..=most).contains(&rise) {
                off.push(of("one of few"));
            }
            assert!(
                rise.abs_diff(truth) < truth / 20 + (most - truth).max(truth - least),
                "{}",
                of("far off")
            );
            worst = worst.max(rise.abs_diff(truth) * 1_000 / truth);
            last = next;
        }
        assert!(off.len() <= OFF, "{off:#?}");
        let (charged, truth) = (last.charged - first.charged, last.truth - first.truth);
        let ratio = permille(charged, truth);
        eprintln!("{name}: {ratio} per mille of schedstat; the worst drain was {worst} per mille off");
        let (least, most) = (truth / 100 * 99 - last.late, truth / 100 * 101 + first.late);
        assert!((least..=most).contains(&charged), "{charged} ns of {truth} ns");
    });
}

#[test]
fn a_task_that_never_sleeps_is_charged_in_every_drain() {
    let Some(_machine) = machine() else { return };
    let cpus = aya::util::online_cpus().unwrap();
    // Away from the burner: each drain would end its slice by waking up on its CPU, and no flush would be needed.
    pin(cpus[0]);
    let mut consumer = Consumer::open(16_384);
    let cpu = &cpus[cpus.len() - 1..];
    undisturbed(|| every_drain_charges_what_ran(&mut consumer, "a burning task", cpu));
    assert!(
        consumer
            .rows_of(task_of(std::process::id()))
            .all(|row| row.kind == TaskKind::User && !row.ended)
    );
}

#[test]
fn threads_of_one_process_on_two_cpus_are_one_task() {
    let Some(_machine) = machine() else { return };
    let cpus = aya::util::online_cpus().unwrap();
    if cpus.len() < 2 {
        eprintln!("skipped: needs two CPUs");
        return;
    }
    let mut consumer = Consumer::open(16_384);
    undisturbed(|| every_drain_charges_what_ran(&mut consumer, "two threads", &cpus[..2]));
    assert_eq!(consumer.rows_of(task_of(std::process::id())).count(), 1);
}

#[test]
fn busy_and_idle_time_are_all_the_time_and_rows_are_all_the_busy_time() {
    let Some(_machine) = machine() else { return };
    let cpus = u64::try_from(aya::util::online_cpus().unwrap().len()).unwrap();
    let mut consumer = Consumer::open(16_384);
    consumer.drain();
    let (start, busy, idle) = (consumer.section.ended, consumer.busy(), consumer.idle());
    let charged = consumer.charged(|_| true);
    let steal = stolen();
    // Half of the time busy, half idle, on one CPU or another.
    let burner = Guarded::sh("while :; do :; done", &[]);
    for _ in 0..10 {
        pause(100);
        consumer.drain();
    }
    drop(burner);
    for _ in 0..10 {
        pause(100);
        consumer.drain();
    }
    let elapsed = nanos(consumer.section.ended.since(start));
    let (busy, idle) = (consumer.busy() - busy, consumer.idle() - idle);
    eprintln!("busy {busy}, idle {idle}, elapsed {elapsed} x {cpus}");
    // What is stolen is nobody's. Its account is coarse, and so is the time of the last clock of an idle CPU.
    let whole = permille(busy + idle + (stolen() - steal), elapsed * cpus);
    assert!(
        (990..=1_010).contains(&whole),
        "{whole} per mille of {cpus} x {elapsed} ns"
    );
    assert_eq!(consumer.usage.packages.len(), 1);
    assert_eq!(u64::from(consumer.usage.packages[0].cpus), cpus);

    // Rows are read a moment before the slots.
    let named = permille(consumer.charged(|_| true) - charged, busy);
    assert!(
        (990..=1_010).contains(&named),
        "rows hold {named} per mille of the busy time"
    );
    assert_eq!(consumer.lost(), []);
}

#[test]
fn a_sleeping_task_has_the_name_that_exec_gave_it() {
    let Some(_machine) = machine() else { return };
    let mut consumer = Consumer::open(16_384);
    assert_eq!(consumer.probe.states()[0].reason, "");
    let child = Guarded::sh("read go; exec sleep 1000", &[]);
    renamed(&mut consumer, child, "sleep");
}

#[test]
fn a_sleeping_task_has_the_name_that_it_gave_itself() {
    let Some(_machine) = machine() else { return };
    let mut consumer = Consumer::open(16_384);
    let child = Guarded::sh("read go; printf myself > /proc/$$/comm; read more", &[]);
    renamed(&mut consumer, child, "myself");
}

/// Drains before and after the shell `child` takes its new name. It sleeps at both drains, so no flush looks at it.
fn renamed(consumer: &mut Consumer, child: Guarded, name: &str) {
    let task = task_of(child.pid());
    let mut names = Vec::new();
    wait_until("the shell has a row", || {
        consumer.drain();
        names = consumer.rows_of(task).map(|row| row.comm.to_text()).collect();
        !names.is_empty()
    });
    assert_eq!(names, ["sh"]);
    child.go();
    wait_until("the shell is renamed", || comm_of(child.pid()) == name);
    wait_until("it sleeps", || {
        std::fs::read_to_string(format!("/proc/{}/stat", child.pid())).is_ok_and(|stat| stat.contains(") S "))
    });
    consumer.drain();
    let names: Vec<_> = consumer.rows_of(task).map(|row| row.comm.to_text()).collect();
    assert_eq!(names, [name]);

    // It is waited for when it can be, and its last switch, which says so, comes after that, perhaps on another CPU.
    drop(child);
    wait_until("the dead are said to be dead", || {
        consumer.drain();
        consumer.rows_of(task).all(|row| row.ended)
    });
    assert_ne!(
        consumer.rows_of(task).count(),
        0,
        "the dead are in the report that first says so"
    );
    consumer.drain();
    assert_eq!(consumer.rows_of(task).count(), 0, "the acknowledged dead are not");
}
