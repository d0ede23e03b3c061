// SPDX-License-Identifier: Apache-2.0
//! Thousands of processes that live for a millisecond, in a cgroup of their own whose `cpu.stat` is the truth.

use crate::support::{Cgroup, Consumer, machine, permille, storm_of};

#[test]
fn five_thousand_short_processes_are_charged_and_then_forgotten() {
    let Some(_machine) = machine() else { return };
    let cgroup = Cgroup::new("storm");
    let mut consumer = Consumer::open(16_384);
    let processes = storm_of(5_000);
    let (charged, truth) = consumer.weather(&cgroup, processes);
    let ratio = permille(charged, truth);
    eprintln!(
        "storm: {charged} ns, {ratio} per mille of cpu.stat, {} tasks",
        consumer.tasks_in(cgroup.id())
    );
    assert!((990..=1_010).contains(&ratio), "{charged} ns of {truth} ns");
    // Every process has been a row, and its shell.
    assert!(consumer.tasks_in(cgroup.id()) > usize::try_from(processes).unwrap());

    let left = consumer
        .usage
        .tasks
        .iter()
        .filter(|row| row.cgroup == cgroup.id());
    assert_eq!(left.count(), 0, "rows of the dead");
    // The dead have left the hash as well; what there is belongs to the rest of the machine.
    let entries = consumer.probe.entries();
    assert!(
        entries < processes,
        "{entries} entries after {processes} have died"
    );
    assert_eq!(consumer.lost(), []);
}

#[test]
fn a_hash_that_is_far_too_small_loses_names_and_no_time() {
    let Some(_machine) = machine() else { return };
    let cgroup = Cgroup::new("overflow");
    // And two seats: a guest has few more processes than that.
    let mut consumer = Consumer::open(4);
    consumer.drain();
    let (busy, named) = (consumer.busy(), consumer.charged(|_| true));
    // A second of them: some kernels show no program the switches of threads of their own, whose time goes to who comes
    // next, some milliseconds here and there.
    let (charged, truth) = consumer.weather(&cgroup, storm_of(2_000));

    // Rows are read a moment before the busy time of the CPUs.
    let whole = permille(consumer.charged(|_| true) - named, consumer.busy() - busy);
    eprintln!("overflow: rows hold {whole} of 1000 parts of the busy time");
    assert!(
        (990..=1_010).contains(&whole),
        "rows hold {whole} per mille of the busy time"
    );

    let ratio = permille(charged, truth);
    let unnamed = consumer.charged(|name| name.0.is_none() && name.1 == cgroup.id());
    eprintln!(
        "overflow: {ratio} per mille of cpu.stat, {} of them unnamed",
        permille(unnamed, truth)
    );
    assert!((990..=1_010).contains(&ratio), "{charged} ns of {truth} ns");
    assert!(unnamed > 0);
    let full = consumer.usage.lost.iter().find(|lost| lost.reason == "map_full");
    assert!(full.is_some_and(|lost| lost.count > 0 && lost.probe == "sched_switch"));
    let left = consumer
        .usage
        .tasks
        .iter()
        .filter(|row| row.task.is_some() && row.cgroup == cgroup.id());
    assert_eq!(left.count(), 0, "rows of the dead");
}
