// SPDX-License-Identifier: Apache-2.0
//! Time that found no room by process: its row leaves once nothing comes any more, and makes room for another cgroup's.
//! Under both accountants. Rows are kept for no time here, so they leave with the first report without news.

use crate::events::CPU_CLOCK;
use crate::support::{
    Cgroup, Consumer, Drained, Guarded, cgroups, guest, machine, pause, permille, settings, stolen,
    wait_until,
};
use attribution::model::{CgroupId, Event, LostEvents};
use probe_ebpf::Settings;
use probe_ebpf::counters::Counter;
use std::collections::BTreeSet;
use std::time::Duration;

/// Too little room for processes, and for `max_unnamed` cgroups without.
fn cramped(max_unnamed: u32) -> Settings {
    Settings {
        max_unnamed,
        keep_resting: Duration::ZERO,
        // The hash of hardware counts has as many of these rows.
        counters: vec![Counter {
            event: Event::CpuCycles,
            source: CPU_CLOCK,
        }],
        ..settings(4)
    }
}

/// Room for whoever is on this machine, and a few of ours.
fn room() -> u32 {
    cgroups() + 8
}

fn is_listed<P: Drained>(consumer: &Consumer<P>, id: CgroupId) -> bool {
    let mut rows = consumer.usage.tasks.iter();
    rows.any(|row| row.task.is_none() && row.cgroup == id)
}

fn unnamed<P: Drained>(consumer: &Consumer<P>, id: CgroupId) -> u64 {
    consumer.charged(|name| name.0.is_none() && name.1 == id)
}

/// More cgroups than there is room for come and go, one after the other, and none loses its time to the root.
fn cgroups_come_and_go<P: Drained>(mut consumer: Consumer<P>, room: usize) {
    let mut had_none = BTreeSet::new();
    for number in 0.. {
        assert!(number < 4 * room, "{} of {number} without a name", had_none.len());
        let cgroup = Cgroup::new(&format!("passing-{number}"));
        let mut storm = cgroup.storm_to_come(30);
        storm.go();
        storm.0.wait().unwrap();
        let (id, truth) = (cgroup.id(), cgroup.cpu_stat());
        wait_until("its time is charged to it", || {
            consumer.drain();
            permille(consumer.charged_in(&cgroup), truth) >= 900
        });
        if unnamed(&consumer, id) > 0 {
            had_none.insert(id.0);
        }
        if had_none.len() > room {
            break;
        }
    }
    wait_until("who is gone is not listed any more", || {
        pause(20);
        consumer.drain();
        !had_none.iter().any(|id| is_listed(&consumer, CgroupId(*id)))
    });
    let full = |lost: &&LostEvents| lost.reason == "overflow_full" || lost.probe == "hw_counters";
    assert_eq!(consumer.lost().iter().find(full), None);
}

#[test]
fn cgroups_whose_time_has_no_process_make_room_for_others() {
    let Some(_machine) = machine() else { return };
    let room = room();
    let consumer = Consumer::with(&cramped(room));
    cgroups_come_and_go(consumer, usize::try_from(room).unwrap());
}

#[test]
fn cgroups_whose_time_has_no_process_make_room_for_others_by_the_scheduler() {
    let Some(_machine) = machine() else { return };
    let room = room();
    let consumer = Consumer::with_scheduler(&cramped(room));
    cgroups_come_and_go(consumer, usize::try_from(room).unwrap());
}

/// A cgroup that runs and rests in turns: its row leaves in each rest and comes back, and its time is whole.
fn comes_back<P: Drained>(mut consumer: Consumer<P>) {
    let cgroup = Cgroup::new("again");
    let script = r#"echo $$ > "$1/cgroup.procs"; read go; n=0;
        while [ $n -lt "$2" ]; do
            i=0; while [ $i -lt 60 ]; do /bin/true; i=$((i+1)); done;
            sleep "$3"; n=$((n+1));
        done"#;
    // An emulator ends some 25 processes a second, and more than 4 must end between two drains.
    let (every, times, rest) = if guest() {
        (500, "5", "2")
    } else {
        (30, "12", "0.4")
    };
    let mut bursts = Guarded::sh(script, &[cgroup.path.to_str().unwrap(), times, rest]);
    let before = consumer.before_storm(&cgroup);
    let steal = stolen();
    bursts.go();
    let (mut was_listed, mut left) = (false, 0);
    while bursts.0.try_wait().unwrap().is_none() {
        pause(every);
        consumer.drain();
        let listed = is_listed(&consumer, cgroup.id());
        left += u32::from(was_listed && !listed);
        was_listed = listed;
    }
    let truth = cgroup.cpu_stat() - before.1;
    // The dead are freed an RCU grace period later, and the last of them is not marked yet.
    let mut share = 0;
    let whole = (0..500).any(|_| {
        pause(30);
        consumer.drain();
        share = permille(consumer.charged_in(&cgroup) - before.0, truth);
        share >= 990
    });
    let lost = &consumer.usage.lost;
    assert!(
        whole,
        "{share} per mille of {truth} ns are charged; lost: {lost:?}"
    );
    for _ in 0..5 {
        pause(30);
        consumer.drain();
    }
    let charged = consumer.charged_in(&cgroup) - before.0;
    eprintln!(
        "a row that left {left} times: {} per mille of cpu.stat, {} of them unnamed",
        permille(charged, truth),
        permille(unnamed(&consumer, cgroup.id()), truth)
    );
    assert!(left >= 3, "it left {left} times");
    // The clock of a CPU runs on while a hypervisor has it, the scheduler's figures do not.
    let most = truth / 100 * 101 + (stolen() - steal);
    assert!(charged <= most, "{charged} ns of {truth} ns, {most} at most");
}

#[test]
fn a_row_without_a_process_that_left_and_came_back_has_lost_no_time() {
    let Some(_machine) = machine() else { return };
    comes_back(Consumer::with(&cramped(room())));
}

#[test]
fn a_row_without_a_process_that_left_and_came_back_has_lost_no_time_by_the_scheduler() {
    let Some(_machine) = machine() else { return };
    comes_back(Consumer::with_scheduler(&cramped(room())));
}
