// SPDX-License-Identifier: Apache-2.0
//! Rows of cgroups that a living task has left.

use super::*;
use crate::counters::GENERIC;

/// The kernel's hash, and whoever books the reports.
struct Books {
    accounts: Accounts,
    hash: HashMap<TaskMapKey, TaskMapValue>,
    seen: HashMap<u64, u64>,
    charged: u64,
    stamp_ns: u64,
}

impl Books {
    fn new(patience: Patience) -> Self {
        Self {
            accounts: Accounts::new(patience),
            hash: HashMap::new(),
            seen: HashMap::new(),
            charged: 0,
            stamp_ns: 0,
        }
    }

    /// The task runs in a cgroup; a new entry has its name read.
    fn run(&mut self, cgroup: u64, cpu_ns: u64) {
        self.stamp_ns += 1;
        let fresh = named(0, 0, self.stamp_ns, b"task");
        self.hash.entry(key(7, 5, cgroup)).or_insert(fresh).cpu_ns += cpu_ns;
    }

    /// Rows as (cgroup, CPU time). In the entries of those that leave `late` comes between their reading and their deletion.
    fn report(&mut self, tick: u64, acked: u64, late: u64, is_booked: bool) -> Vec<(u64, u64)> {
        let entries: Vec<_> = self.hash.iter().map(|(key, value)| (*key, *value)).collect();
        let report = drain(&mut self.accounts, tick, acked, &entries);
        for key in &report.left {
            let last = self.hash.remove(key).map(|last| TaskMapValue {
                cpu_ns: last.cpu_ns + late,
                ..last
            });
            self.accounts.entry_taken(key, last.as_ref());
        }
        for key in &report.forgotten {
            self.hash.remove(key);
        }
        let rows: Vec<_> = report
            .rows
            .iter()
            .map(|row| (row.cgroup.0, row.cpu.as_nanos()))
            .collect();
        if is_booked {
            for (cgroup, cpu_ns) in &rows {
                let before = self.seen.get(cgroup).copied().unwrap_or(0);
                self.charged += cpu_ns.checked_sub(before).expect("a row fell");
            }
            self.seen = rows.iter().copied().collect();
        }
        rows
    }

    fn booked(&mut self, tick: u64) -> Vec<(u64, u64)> {
        self.report(tick, tick - 1, 0, true)
    }
}

#[test]
fn a_task_that_goes_from_cgroup_to_cgroup_keeps_few_rows_and_all_its_time() {
    let mut books = Books::new(PATIENCE);
    let mut most = 0;
    for tick in 1..=500 {
        books.run(tick, 1_000 + tick);
        most = most.max(books.booked(tick).len());
    }
    assert_eq!(most, 60, "a minute's");
    for tick in 501..=561 {
        books.booked(tick);
    }
    assert_eq!(books.booked(562), [(500, 1_500)], "where it sleeps");
    assert_eq!(books.charged, (1..=500).map(|tick| 1_000 + tick).sum::<u64>());
    assert_eq!(books.hash.len(), 1, "the others' entries are deleted");
    let task = books.accounts.tasks.values().next().unwrap();
    assert_eq!(task.rows.iter().len(), 1, "and their rows forgotten");
    // However long.
    assert_eq!(books.booked(9_000), [(500, 1_500)]);
}

#[test]
fn while_many_are_listed_rows_leave_as_soon_as_they_are_paid() {
    let mut books = Books::new(Patience { most: 3, ..PATIENCE });
    let mut listed = Vec::new();
    for tick in 1..=6 {
        books.run(tick, 10);
        let acked = if tick < 5 { 0 } else { tick - 1 };
        listed.push(books.report(tick, acked, 0, true).len());
    }
    assert_eq!(listed, [1, 2, 3, 4, 1, 2]);
    assert_eq!(books.charged, 60);
}

#[test]
fn what_comes_later_is_a_new_row_once_a_report_without_it_was_heard() {
    let mut books = Books::new(PATIENCE);
    books.run(40, 100);
    books.booked(1);
    books.run(41, 1);
    books.booked(2);
    // In the entry when it is deleted, and in the one after it.
    assert_eq!(books.report(61, 60, 7, true), [(41, 1)]);
    assert_eq!(books.report(62, 60, 0, true), [(41, 1)]);
    books.run(40, 500);
    assert_eq!(books.report(63, 60, 0, true), [(41, 1)]);
    assert_eq!(books.report(64, 61, 0, true), [(40, 507), (41, 1)]);
    assert_eq!(books.charged, 608);
}

#[test]
fn what_is_not_paid_yet_stays() {
    let mut books = Books::new(PATIENCE);
    books.run(40, 100);
    books.report(1, 0, 0, true);
    books.run(41, 1);
    books.report(2, 0, 0, true);
    assert_eq!(books.report(900, 0, 0, true), [(40, 100), (41, 1)]);
    assert_eq!(books.report(901, 1, 0, true), [(41, 1)]);
}

#[test]
fn of_two_cgroups_in_one_report_the_one_whose_entry_was_made_last_is_its_home() {
    for (first, second) in [(40, 41), (41, 40)] {
        let mut books = Books::new(PATIENCE);
        books.run(first, 10);
        books.run(second, 10);
        books.booked(1);
        assert_eq!(books.booked(61), [(second, 10)]);
    }
}

#[test]
fn its_home_stays_on_every_package() {
    let mut accounts = Accounts::new(PATIENCE);
    let other = TaskMapKey {
        package: 1,
        ..key(7, 5, 40)
    };
    drain(&mut accounts, 1, 0, &[(other, value(30, 0))]);
    drain(&mut accounts, 2, 1, &[(key(7, 5, 40), value(10, 0))]);
    assert_eq!(drain(&mut accounts, 900, 899, &[]).nanos(), [10, 30]);
}

#[test]
fn what_was_kept_back_is_reported_before_a_dead_task_is_forgotten() {
    let mut books = Books::new(PATIENCE);
    books.run(40, 100);
    books.booked(1);
    books.run(41, 1);
    books.booked(2);
    assert_eq!(books.report(61, 60, 7, true), [(41, 1)]);
    books.hash.get_mut(&key(7, 5, 41)).unwrap().flags = TASK_ENDED;
    assert_eq!(books.report(62, 60, 0, true), [(41, 1)]);
    assert_eq!(books.report(63, 62, 0, true), [(40, 7), (41, 1)]);
    assert_eq!(books.booked(64), []);
    assert_eq!((books.charged, books.hash.len()), (108, 0));
}

#[test]
fn hardware_counts_that_come_later_are_kept_back_and_begin_at_zero() {
    let mut accounts = Accounts::new(PATIENCE);
    let mut open = [None; COUNTERS];
    open[0] = GENERIC.first().copied();
    let event = open[0].unwrap().event;
    let counted = |count| HardwareValue {
        enabled_ns: [1_000; COUNTERS],
        count: [count; COUNTERS],
        ..HardwareValue::default()
    };
    let of = |report: &Report| -> Vec<u64> { report.rows.iter().map(|row| row.events.get(event)).collect() };
    let (was, is) = (key(7, 5, 40), key(7, 5, 41));
    accounts.record(&was, &value(1, 0));
    accounts.record_hardware(&was, &counted(900), &open);
    assert_eq!(of(&drain(&mut accounts, 1, 0, &[])), [900]);
    drain(&mut accounts, 2, 1, &[(is, value(1, 0))]);
    assert_eq!(drain(&mut accounts, 61, 60, &[]).left, [was]);
    accounts.hardware_taken(&was, Some(&counted(930)), &open);
    assert_eq!(of(&drain(&mut accounts, 62, 60, &[])), [0]);
    accounts.record_hardware(&was, &counted(25), &open);
    assert_eq!(of(&drain(&mut accounts, 63, 61, &[])), [55, 0]);
}

proptest! {
    /// A consumer that does not hear every report, and acknowledges what it heard, ends with exactly what ran. No row that it
    /// heard in two reports, one after the other, fell.
    #[test]
    fn a_consumer_that_misses_reports_is_told_all_that_ran(
        steps in prop::collection::vec((prop::collection::vec((40..44_u64, 1..1_000_u64), 0..4), 0..9_u64, any::<bool>()), 1..80)
    ) {
        let mut books = Books::new(Patience { keep: Duration::from_secs(3), most: 100 });
        let (mut ran, mut heard) = (0, 0);
        let quiet = std::iter::repeat_n((Vec::new(), 0, true), 12);
        for (tick, (runs, late, is_booked)) in (1..).zip(steps.into_iter().chain(quiet)) {
            for (cgroup, cpu_ns) in runs {
                books.run(cgroup, cpu_ns);
                ran += cpu_ns;
            }
            let entries = books.hash.len();
            books.report(tick, heard, late, is_booked);
            ran += late * u64::try_from(entries - books.hash.len()).unwrap();
            if is_booked {
                heard = tick;
            }
            prop_assert!(books.charged <= ran);
        }
        prop_assert_eq!(books.charged, ran);
        prop_assert!(books.accounts.rows() <= 1);
    }
}
