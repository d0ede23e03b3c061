// SPDX-License-Identifier: Apache-2.0
//! Single tasks: running without a pause, with threads, under a new name; and the CPUs as a whole.

use crate::support::{
    Consumer, Guarded, burner_on, comm_of, machine, nanos, pause, permille, pin, schedstat, stale_ns, stolen,
    task_of, wait_until,
};
use attribution::model::TaskKind;
use std::hint::black_box;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn a_task_that_never_sleeps_is_charged_in_every_drain() {
    let Some(_machine) = machine() else { return };
    let cpus = aya::util::online_cpus().unwrap();
    let (here, cpu) = (cpus[0], *cpus.last().unwrap());
    // Away from the burner: each drain would end its slice by waking up on its CPU, and no flush would be needed.
    pin(here);
    let mut consumer = Consumer::open(16_384);
    let burner = burner_on(cpu);
    let task = task_of(burner.pid());

    consumer.drain();
    let (first_truth, first_charged) = (schedstat(burner.pid()), consumer.charged_to(task));
    let steal = stolen();
    let (mut truth, mut charged, mut began) = (first_truth, first_charged, consumer.section.began);
    for _ in 0..12 {
        pause(200);
        let truth_before_drain = schedstat(burner.pid());
        consumer.drain();
        let rise = consumer.charged_to(task) - charged;
        // Nobody runs for longer than the time that passed.
        assert!(
            rise <= nanos(consumer.section.ended.since(began)),
            "{rise} ns in one drain"
        );
        // What the scheduler has already charged, we have, too.
        let expected = (truth_before_drain - truth).saturating_sub(stale_ns());
        assert!(
            rise >= expected / 100 * 98,
            "{rise} ns of {expected} ns in one drain"
        );
        truth = schedstat(burner.pid());
        charged += rise;
        began = consumer.section.began;
    }
    // The scheduler does not charge all of what preemptions cost; it is in our slices.
    let (charged, truth) = (charged - first_charged, truth - first_truth);
    let ratio = permille(charged, truth);
    eprintln!("a burning task: {ratio} per mille of schedstat");
    let most = truth / 100 * 104 + (stolen() - steal);
    assert!(ratio >= 980 && charged <= most, "{charged} ns of {truth} ns");
    assert!(
        consumer
            .rows_of(task)
            .all(|row| row.kind == TaskKind::User && !row.ended)
    );
}

#[test]
fn threads_of_one_process_on_two_cpus_are_one_task() {
    let Some(_machine) = machine() else { return };
    let cpus = aya::util::online_cpus().unwrap();
    let [one, two, ..] = cpus[..] else {
        eprintln!("skipped: needs two CPUs");
        return;
    };
    let mut consumer = Consumer::open(16_384);
    let pid = std::process::id();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for cpu in [one, two] {
            let stop = &stop;
            scope.spawn(move || {
                pin(cpu);
                while !stop.load(Ordering::Relaxed) {
                    black_box(cpu);
                }
            });
        }
        // The truth from before and after each drain: how long lies between, nobody knows on a busy machine.
        let mut read = || {
            let before = schedstat(pid);
            consumer.drain();
            (before, consumer.charged_to(task_of(pid)), schedstat(pid))
        };
        pause(300);
        let steal = stolen();
        let first = read();
        pause(1_500);
        let last = read();
        stop.store(true, Ordering::Relaxed);
        let (least, most, charged) = (last.0 - first.2, last.2 - first.0, last.1 - first.1);
        let steal = stolen() - steal;
        eprintln!(
            "two threads: {} per mille of schedstat",
            permille(charged, least.midpoint(most))
        );
        assert!(
            charged >= least / 100 * 98 && charged <= most / 100 * 104 + steal,
            "{charged} ns of {least} to {most} ns"
        );
    });
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
    child.0.stdin.as_ref().unwrap().write_all(b"\n").unwrap();
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
