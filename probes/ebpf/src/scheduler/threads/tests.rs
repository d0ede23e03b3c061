// SPDX-License-Identifier: Apache-2.0
//! Single cases as tables; all interleavings in [`machine`].

mod machine;

use super::*;
use crate::listing::Moment;
use crate::settings::Settings;
use attribution::model::{Event, MonotonicNanos, TickId};

const OPENED: u64 = 100 * SECOND_NS;

fn moment(tick: u64, began_ns: u64) -> Moment {
    Moment {
        tick: TickId(tick),
        acked: TickId(tick - 1),
        at: MonotonicNanos::from_nanos(began_ns),
    }
}

/// A process's leader that began when the probe was opened; tid and tgid are 7.
fn leader(cpu_ns: u64, at_ns: u64) -> ThreadRecord {
    ThreadRecord {
        task: 0xa000,
        at_ns: OPENED + at_ns,
        start_ns: OPENED,
        started_ns: OPENED + 5,
        cgroup_id: 40,
        cpu_ns,
        switches: cpu_ns / 10,
        tid: 7,
        tgid: 7,
        package: 0,
        flags: 0,
        comm: *b"task\0\0\0\0\0\0\0\0\0\0\0\0",
    }
}

/// Another thread of it.
fn second(cpu_ns: u64, at_ns: u64) -> ThreadRecord {
    ThreadRecord {
        task: 0xb000,
        tid: 9,
        start_ns: OPENED + 1,
        ..leader(cpu_ns, at_ns)
    }
}

struct Fixture {
    threads: Threads,
    processes: Processes,
    passes: u64,
}

impl Fixture {
    fn new() -> Self {
        Self {
            threads: Threads::new(OPENED),
            processes: Processes::new(Settings::default().unnamed(), Settings::default().patience()),
            passes: 0,
        }
    }

    /// A pass and a report; returns CPU time and `ended` by row, time without a process first.
    fn pass(&mut self, sightings: &[ThreadRecord], deaths: &[ThreadRecord]) -> Vec<(u64, bool)> {
        self.passes += 1;
        self.pass_at(OPENED + self.passes, sightings, deaths)
    }

    fn pass_at(
        &mut self,
        began_ns: u64,
        sightings: &[ThreadRecord],
        deaths: &[ThreadRecord],
    ) -> Vec<(u64, bool)> {
        let mut deaths = deaths.to_vec();
        self.threads.record(
            began_ns,
            sightings.iter().copied(),
            &mut deaths,
            &mut self.processes,
        );
        assert!(deaths.is_empty());
        let mut rows = Vec::new();
        let now = moment(1, began_ns);
        self.processes
            .report(&now, &mut rows, &mut Vec::new(), &mut Vec::new());
        self.processes.unnamed.report(&now, &mut rows, &mut Vec::new());
        rows.sort_by_key(|row| (row.task, row.cgroup, row.package));
        assert!(
            rows.iter()
                .all(|row| row.events.get(Event::Switches) == row.cpu.as_nanos() / 10)
        );
        rows.iter().map(|row| (row.cpu.as_nanos(), row.ended)).collect()
    }
}

#[test]
fn a_thread_from_before_the_probe_is_charged_from_its_first_sighting_on() {
    let before = |cpu_ns, at_ns| ThreadRecord {
        start_ns: OPENED - 1,
        ..leader(cpu_ns, at_ns)
    };
    let mut machine = Fixture::new();
    assert_eq!(machine.pass(&[before(900, 1)], &[]), []);
    assert_eq!(machine.pass(&[before(950, 2)], &[]), [(50, false)]);
    assert_eq!(machine.pass(&[], &[before(970, 3)]), [(70, true)]);
    // One that died before anybody saw it.
    let unseen = ThreadRecord {
        task: 0xc000,
        tid: 99,
        tgid: 99,
        ..before(5_000, 4)
    };
    assert_eq!(machine.pass(&[], &[unseen])[0], (70, true));
    assert_eq!(machine.threads.refused(), Refused::default());
}

#[test]
fn threads_of_one_process_are_added_and_a_dead_one_leaves_the_rest_of_its_time() {
    let mut machine = Fixture::new();
    assert_eq!(
        machine.pass(&[leader(100, 1), second(200, 1)], &[]),
        [(300, false)]
    );
    assert_eq!(machine.threads.len(), 2);
    // Gone from the pass and not yet freed: nothing falls, nothing ends.
    assert_eq!(machine.pass(&[leader(110, 2)], &[]), [(310, false)]);
    assert_eq!(machine.pass(&[leader(110, 4)], &[second(250, 3)]), [(360, false)]);
    assert_eq!(machine.pass(&[], &[leader(130, 5)]), [(380, true)]);
    assert_eq!(machine.threads.len(), 0);
}

#[test]
fn a_death_on_its_way_while_the_thread_was_still_shown_is_the_same_threads() {
    let mut machine = Fixture::new();
    assert_eq!(machine.pass(&[leader(100, 1)], &[leader(140, 2)]), [(140, true)]);
}

#[test]
fn the_owners_of_one_address_are_told_apart_by_the_order_of_their_time() {
    // at:   1 first seen 100   3 first dies 150   5 next seen 30   6 next dies 35   8 last seen 7
    let next = |cpu_ns, at_ns| ThreadRecord {
        tid: 20,
        tgid: 20,
        start_ns: OPENED + 4,
        started_ns: OPENED + SECOND_NS,
        ..leader(cpu_ns, at_ns)
    };
    let last = |cpu_ns, at_ns| ThreadRecord {
        tid: 30,
        tgid: 30,
        start_ns: OPENED + 7,
        started_ns: OPENED + 2 * SECOND_NS,
        ..leader(cpu_ns, at_ns)
    };
    let mut machine = Fixture::new();
    machine.pass(&[leader(100, 1)], &[]);
    let deaths = [next(35, 6), leader(150, 3)];
    assert_eq!(machine.pass(&[next(30, 5)], &deaths), [(150, true), (35, true)]);
    assert_eq!(
        machine.pass(&[last(7, 8)], &[]),
        [(150, true), (35, true), (7, false)]
    );
}

#[test]
fn a_thread_that_execs_takes_over_its_leaders_name_and_keeps_its_own_figures() {
    // The second thread execs: it gets tid 7 and the leader's start, and the leader dies as tid 9.
    let heir = |cpu_ns, at_ns| ThreadRecord {
        task: second(0, 0).task,
        ..leader(cpu_ns, at_ns)
    };
    let ousted = |cpu_ns, at_ns| ThreadRecord {
        task: leader(0, 0).task,
        tid: 9,
        ..leader(cpu_ns, at_ns)
    };
    let mut machine = Fixture::new();
    machine.pass(&[leader(100, 1), second(200, 1)], &[]);
    assert_eq!(machine.pass(&[heir(210, 2)], &[ousted(103, 3)]), [(313, false)]);
    assert_eq!(machine.pass(&[heir(250, 4)], &[]), [(353, false)]);
    assert_eq!(machine.pass(&[], &[heir(260, 5)]), [(363, true)]);
}

#[test]
fn a_thread_that_began_and_execed_between_two_passes_is_charged_in_whole() {
    let later = OPENED + 60 * SECOND_NS + MOURNING_NS;
    let heir = |cpu_ns, at_ns| ThreadRecord {
        task: 0xd000,
        at_ns: later + at_ns,
        ..leader(cpu_ns, 0)
    };
    for died in [false, true] {
        let mut machine = Fixture::new();
        machine.pass(&[leader(100, 1)], &[]);
        machine.pass_at(
            later,
            &[heir(0, 0)].map(|seen| ThreadRecord {
                task: 0xa000,
                cpu_ns: 100,
                switches: 10,
                ..seen
            }),
            &[],
        );
        let heir = heir(40, 2 * SECOND_NS);
        let (seen, dead) = if died {
            (vec![], vec![heir])
        } else {
            (vec![heir], vec![])
        };
        assert_eq!(machine.pass_at(later + SECOND_NS, &seen, &dead)[0].0, 140);
    }
}

#[test]
fn an_heir_at_the_address_of_the_leader_that_died_is_charged_in_whole() {
    // Two threads exec one after the other between two passes; the second one lies where the old leader lay.
    let later = OPENED + 60 * SECOND_NS + MOURNING_NS;
    let at = |cpu_ns, at_ns| ThreadRecord {
        at_ns: later + at_ns,
        ..leader(cpu_ns, 0)
    };
    let mut machine = Fixture::new();
    machine.pass(&[leader(100, 1)], &[]);
    machine.pass_at(later, &[at(100, 0)], &[]);
    let ousted = ThreadRecord { tid: 9, ..at(110, 1) };
    assert_eq!(
        machine.pass_at(later + 5, &[at(40, 5)], &[ousted]),
        [(150, false)]
    );
}

#[test]
fn an_old_thread_that_nobody_knows_is_no_news() {
    // It began long before the last pass, which did not show it.
    let later = OPENED + 60 * SECOND_NS + MOURNING_NS;
    let stranger = ThreadRecord {
        task: 0xd000,
        tid: 50,
        tgid: 50,
        at_ns: later + 5,
        ..leader(900, 0)
    };
    let mut machine = Fixture::new();
    machine.pass_at(later, &[], &[]);
    assert_eq!(machine.pass_at(later + 1, &[], &[stranger]), []);
    assert_eq!(machine.threads.refused().strangers, 1);
    assert_eq!(machine.pass_at(later + 2, &[stranger], &[]), []);
    let on = ThreadRecord {
        cpu_ns: 910,
        switches: 91,
        at_ns: later + 20,
        ..stranger
    };
    assert_eq!(machine.pass_at(later + 3, &[on], &[]), [(10, false)]);
}

#[test]
fn a_rise_longer_than_the_time_in_which_it_came_is_refused_once() {
    let mut machine = Fixture::new();
    machine.pass(&[leader(100, SECOND_NS)], &[]);
    // 2 s have passed, and a figure may be late by one.
    let most = 100 + 2 * SECOND_NS + STALE_NS;
    assert_eq!(
        machine.pass(&[leader(most + 10, 3 * SECOND_NS)], &[]),
        [(100, false)]
    );
    assert_eq!(machine.threads.refused().implausible, 1);
    assert_eq!(
        machine.pass(&[leader(most + 20, 3 * SECOND_NS + 20)], &[]),
        [(110, false)]
    );
    assert_eq!(machine.threads.refused().implausible, 1);
}

#[test]
fn a_rise_goes_to_the_cgroup_in_which_the_thread_is_seen() {
    let mut machine = Fixture::new();
    machine.pass(&[leader(100, 1)], &[]);
    let moved = |cpu_ns, at_ns| ThreadRecord {
        cgroup_id: 41,
        ..leader(cpu_ns, at_ns)
    };
    assert_eq!(machine.pass(&[moved(150, 2)], &[]), [(100, false), (50, false)]);
    assert_eq!(machine.pass(&[], &[moved(160, 3)]), [(100, true), (60, true)]);
}

#[test]
fn a_dead_thread_without_a_leader_belongs_to_its_process_if_it_was_seen_and_else_to_its_cgroup() {
    let nameless = |record: ThreadRecord| ThreadRecord {
        started_ns: 12_345,
        flags: THREAD_NAMELESS,
        ..record
    };
    let mut machine = Fixture::new();
    machine.pass(&[leader(100, 1), second(200, 1)], &[]);
    let unseen = ThreadRecord {
        task: 0xe000,
        tid: 11,
        ..second(50, 3)
    };
    let deaths = [leader(100, 2), nameless(second(220, 3)), nameless(unseen)];
    assert_eq!(machine.pass(&[], &deaths), [(50, false), (320, true)]);
}

#[test]
fn somebody_else_at_the_address_of_a_thread_that_died_without_a_word_is_new() {
    let other_process = ThreadRecord {
        tid: 20,
        tgid: 20,
        start_ns: OPENED + 2,
        ..leader(500, 3)
    };
    let other_thread = ThreadRecord {
        tid: 20,
        start_ns: OPENED + 2,
        ..second(500, 3)
    };
    let restarted = ThreadRecord {
        start_ns: OPENED + 2,
        ..second(10, 3)
    };
    for (next, charged) in [(other_process, 500), (other_thread, 500), (restarted, 10)] {
        let mut machine = Fixture::new();
        let first = if next.task == 0xa000 {
            leader(100, 1)
        } else {
            second(100, 1)
        };
        machine.pass(&[first], &[]);
        let rows = machine.pass(&[next], &[]);
        let all: u64 = rows.iter().map(|row| row.0).sum();
        assert_eq!(all, 100 + charged, "{next:?}");
        assert_eq!(machine.threads.len(), 1);
    }
}

#[test]
fn a_thread_whose_last_word_never_comes_is_forgotten_after_a_while_and_its_process_ends() {
    let mut machine = Fixture::new();
    machine.pass(&[leader(100, 1)], &[]);
    let late = OPENED + 1 + MOURNING_NS;
    assert_eq!(machine.pass_at(late, &[], &[]), [(100, false)]);
    assert_eq!(machine.threads.len(), 1);
    machine.pass_at(late + 1, &[], &[]);
    assert_eq!(machine.threads.len(), 0);
    machine.pass_at(late + 2, &[], &[]);
    assert_eq!(machine.pass_at(late + 3, &[], &[]), [(100, true)]);
    // If it comes after all, it is not charged in whole.
    let death = ThreadRecord {
        at_ns: late + 4,
        ..leader(120, 0)
    };
    assert_eq!(machine.pass_at(late + 5, &[], &[death]), [(100, true)]);
    assert_eq!(machine.threads.refused().strangers, 1);
}

#[test]
fn a_kernel_thread_is_one_of_the_kernel() {
    let mut machine = Fixture::new();
    let record = ThreadRecord {
        flags: THREAD_KTHREAD,
        ..leader(100, 1)
    };
    machine.pass(&[record], &[]);
    let mut rows = Vec::new();
    machine
        .processes
        .report(&moment(2, OPENED), &mut rows, &mut Vec::new(), &mut Vec::new());
    assert_eq!(rows[0].kind, TaskKind::Kernel);
    assert_eq!(rows[0].comm.to_text(), "task");
}
