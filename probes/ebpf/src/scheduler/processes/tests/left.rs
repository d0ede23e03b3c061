// SPDX-License-Identifier: Apache-2.0
//! Rows of cgroups that a living process has left. A report each second.

use super::*;
use std::collections::HashMap;

/// Reports, and whoever books them.
struct Books {
    processes: Processes,
    seen: HashMap<u64, u64>,
    charged: u64,
    left: Vec<DeadRowKey>,
}

impl Books {
    fn new(patience: Patience) -> Self {
        let mut processes = Processes::new(Unnamed::new(ROOM, KEEP), patience);
        processes.came(TASK, look(b"a", 1));
        Self {
            processes,
            seen: HashMap::new(),
            charged: 0,
            left: Vec::new(),
        }
    }

    fn charge(&mut self, cgroup: u64, cpu_ns: u64, at_ns: u64) {
        let place = Place { cgroup, ..HOME };
        self.processes
            .charge(TASK, place, counts(cpu_ns), look(b"a", at_ns));
    }

    /// Rows as (cgroup, CPU time).
    fn report(&mut self, tick: u64, acked: u64) -> Vec<(u64, u64)> {
        self.processes.pass_ended();
        let mut rows = Vec::new();
        let now = moment(tick, acked, tick);
        self.processes
            .report(&now, &mut rows, &mut Vec::new(), &mut self.left);
        let rows: Vec<_> = rows
            .iter()
            .map(|row| (row.cgroup.0, row.cpu.as_nanos()))
            .collect();
        for (cgroup, cpu_ns) in &rows {
            let before = self.seen.get(cgroup).copied().unwrap_or(0);
            self.charged += cpu_ns.checked_sub(before).expect("a row fell");
        }
        self.seen = rows.iter().copied().collect();
        rows
    }
}

#[test]
fn a_process_that_goes_from_cgroup_to_cgroup_keeps_few_rows_and_all_its_time() {
    let mut books = Books::new(PATIENCE);
    let mut most = 0;
    for tick in 1..=500 {
        books.charge(tick, 1_000 + tick, tick);
        most = most.max(books.report(tick, tick - 1).len());
    }
    assert_eq!(most, 60, "a minute's");
    for tick in 501..=561 {
        books.report(tick, tick - 1);
    }
    assert_eq!(books.report(562, 561), [(500, 1_500)], "where it sleeps");
    assert_eq!(books.charged, (1..=500).map(|tick| 1_000 + tick).sum::<u64>());
    assert_eq!(
        books.processes.tasks[&TASK].rows.iter().len(),
        1,
        "the others are forgotten"
    );
    // However long.
    assert_eq!(books.report(9_000, 8_999), [(500, 1_500)]);
}

#[test]
fn while_many_are_listed_rows_leave_as_soon_as_they_are_paid() {
    let mut books = Books::new(Patience { most: 3, ..PATIENCE });
    let mut listed = Vec::new();
    for tick in 1..=6 {
        books.charge(tick, 10, tick);
        let acked = if tick < 5 { 0 } else { tick - 1 };
        listed.push(books.report(tick, acked).len());
    }
    assert_eq!(listed, [1, 2, 3, 4, 1, 2]);
    assert_eq!(books.charged, 60);
}

#[test]
fn what_comes_later_is_a_new_row_once_a_report_without_it_was_heard() {
    let mut books = Books::new(PATIENCE);
    books.charge(40, 100, 1);
    books.report(1, 0);
    books.charge(41, 1, 2);
    books.report(2, 1);
    assert_eq!(books.report(61, 60), [(41, 1)]);
    books.charge(40, 7, 62);
    assert_eq!(books.report(62, 60), [(41, 1)]);
    books.charge(40, 500, 63);
    assert_eq!(books.report(63, 60), [(41, 1)]);
    assert_eq!(books.report(64, 61), [(40, 507), (41, 1)]);
    assert_eq!(books.charged, 608);
}

#[test]
fn what_is_not_paid_yet_stays() {
    let mut books = Books::new(PATIENCE);
    books.charge(40, 100, 1);
    books.report(1, 0);
    books.charge(41, 1, 2);
    books.report(2, 0);
    assert_eq!(books.report(900, 0), [(40, 100), (41, 1)]);
    assert_eq!(books.report(901, 1), [(41, 1)]);
}

#[test]
fn of_two_cgroups_in_one_report_the_one_that_was_seen_last_is_its_home() {
    for (first, second, home) in [(1, 2, 41), (2, 1, 40)] {
        let mut books = Books::new(PATIENCE);
        books.charge(40, 10, first);
        books.charge(41, 10, second);
        books.report(1, 0);
        assert_eq!(books.report(61, 60), [(home, 10)]);
    }
}

#[test]
fn entries_of_the_dead_leave_with_their_row_and_others_stay() {
    let key = |cgroup_id| DeadRowKey {
        cgroup_id,
        ..DeadRowKey::default()
    };
    let mut books = Books::new(PATIENCE);
    for cgroup in [40, 41] {
        books.processes.has_dead_row(TASK, key(cgroup), look(b"a", 1));
        books.charge(cgroup, 10, cgroup);
    }
    books.report(1, 0);
    assert_eq!(books.left, []);
    books.report(61, 60);
    assert_eq!(books.left, [key(40)]);
    books.processes.died(TASK, 0xf00);
    books.processes.leader_went(TASK, look(b"a", 2));
    let mut forgotten = Vec::new();
    for tick in [62, 63] {
        let now = moment(tick, tick - 1, tick);
        books
            .processes
            .report(&now, &mut Vec::new(), &mut forgotten, &mut Vec::new());
    }
    assert_eq!(forgotten, [key(41)]);
}

#[test]
fn what_was_kept_back_is_reported_before_a_dead_process_is_forgotten() {
    let mut books = Books::new(PATIENCE);
    books.charge(40, 100, 1);
    books.charge(41, 1, 2);
    books.report(1, 0);
    books.report(61, 60);
    books.charge(40, 7, 62);
    books.processes.died(TASK, 0xf00);
    books.processes.leader_went(TASK, look(b"a", 2));
    assert_eq!(books.report(62, 60), [(41, 1)]);
    assert_eq!(books.report(63, 62), [(40, 7), (41, 1)]);
    assert_eq!(books.report(64, 63), []);
    assert_eq!(books.charged, 108);
}
