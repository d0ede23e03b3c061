// SPDX-License-Identifier: Apache-2.0
//! The tables are drawn as: what the hash holds at each tick -> what the report says.

mod left;

use super::*;
use crate::abi::Events;
use attribution::model::MonotonicNanos;
use proptest::prelude::*;

const PATIENCE: Patience = Patience {
    keep: Duration::from_secs(60),
    most: 100,
};

const NS_PER_TICK: u64 = 10_000_000;

fn key(tgid: u32, started_ns: u64, cgroup_id: u64) -> TaskMapKey {
    TaskMapKey {
        started_ns,
        cgroup_id,
        tgid,
        package: 0,
    }
}

fn value(cpu_ns: u64, flags: u64) -> TaskMapValue {
    named(cpu_ns, flags, 1, b"task")
}

fn named(cpu_ns: u64, flags: u64, comm_stamp_ns: u64, name: &[u8]) -> TaskMapValue {
    TaskMapValue {
        cpu_ns,
        comm_stamp_ns,
        flags,
        events: Events::default(),
        comm: Comm::from_bytes(name).0,
    }
}

struct Report {
    rows: Vec<TaskUsage>,
    forgotten: Vec<TaskMapKey>,
    /// Of rows that left.
    left: Vec<TaskMapKey>,
}

impl Report {
    fn nanos(&self) -> Vec<u64> {
        self.rows.iter().map(|row| row.cpu.as_nanos()).collect()
    }
}

/// Reports at second `tick` as the report of that number.
fn drain(accounts: &mut Accounts, tick: u64, acked: u64, entries: &[(TaskMapKey, TaskMapValue)]) -> Report {
    for (key, value) in entries {
        accounts.record(key, value);
    }
    let (mut rows, mut forgotten, mut left) = (Vec::new(), Vec::new(), Vec::new());
    let now = Moment {
        tick: TickId(tick),
        acked: TickId(acked),
        at: MonotonicNanos::from_nanos(tick * 1_000_000_000),
    };
    accounts.report(&now, &mut rows, &mut forgotten, &mut left);
    rows.sort_by_key(|row| (row.task, row.cgroup, row.package));
    Report {
        rows,
        forgotten,
        left,
    }
}

#[test]
fn a_row_is_the_kernels_total_and_stays_listed_when_it_rests() {
    let mut accounts = Accounts::new(PATIENCE);
    let task = key(7, 5, 40);
    assert_eq!(
        drain(&mut accounts, 1, 0, &[(task, value(100, 0))]).nanos(),
        [100]
    );
    assert_eq!(
        drain(&mut accounts, 2, 1, &[(task, value(100, 0))]).nanos(),
        [100]
    );
    let last = drain(&mut accounts, 3, 2, &[(task, value(250, 0))]);
    assert_eq!(last.nanos(), [250]);
    assert_eq!(
        last.rows[0].task,
        Some(TaskKey {
            tgid: 7,
            start_ticks: 0
        })
    );
    assert_eq!(last.rows[0].cgroup, CgroupId(40));
    assert_eq!(last.rows[0].kind, TaskKind::User);
}

#[test]
fn an_entry_that_was_deleted_adds_from_zero_when_it_comes_back() {
    // hash:   900   deleted   30   950
    // report: 900    900     930  1850
    let mut accounts = Accounts::new(PATIENCE);
    let task = key(7, 5, 40);
    assert_eq!(
        drain(&mut accounts, 1, 0, &[(task, value(900, 0))]).nanos(),
        [900]
    );
    accounts.entry_deleted(&task);
    assert_eq!(drain(&mut accounts, 2, 0, &[]).nanos(), [900]);
    assert_eq!(drain(&mut accounts, 3, 0, &[(task, value(30, 0))]).nanos(), [930]);
    assert_eq!(
        drain(&mut accounts, 4, 0, &[(task, value(950, 0))]).nanos(),
        [1850]
    );
}

#[test]
fn what_a_flush_charged_too_much_is_paid_by_the_next_slices() {
    // hash:   900   880 (taken back)   890   910
    // report: 900   900                900   910
    let mut accounts = Accounts::new(PATIENCE);
    let task = key(7, 5, 40);
    let reports: Vec<_> = (1_u64..)
        .zip([900, 880, 890, 910])
        .map(|(tick, total)| drain(&mut accounts, tick, 0, &[(task, value(total, 0))]).nanos())
        .collect();
    assert_eq!(reports, [[900], [900], [900], [910]]);
}

#[test]
fn what_a_seat_rose_by_is_added_to_the_row_of_the_hash() {
    let mut accounts = Accounts::new(PATIENCE);
    let task = key(7, 5, 40);
    drain(&mut accounts, 1, 0, &[(task, value(900, 0))]);
    let seat = named(50, TASK_ENDED, 9, b"renamed");
    let sitting = Sitting {
        key: task,
        value: seat,
        rise: Total::default().advance(seat.cpu_ns, &seat.events),
    };
    accounts.record_sitting(&sitting);
    let report = drain(&mut accounts, 2, 0, &[(task, value(910, 0))]);
    assert_eq!(report.nanos(), [960]);
    assert_eq!(report.rows[0].comm, Comm::from_bytes(b"renamed"));
    assert!(report.rows[0].ended);
    assert_eq!(accounts.rows(), 1);
}

#[test]
fn the_dead_stay_until_the_window_with_their_last_news_has_closed() {
    // tick    1     2       3       4       5        6
    // hash   100   150 E   150 E   160 E   160 E    160 E
    // acked   0     1       1       2       3        4
    // report 100   150 E   150 E   160 E   160 E     -      (tick 4 had the last news)
    let mut accounts = Accounts::new(PATIENCE);
    let task = key(7, 5, 40);
    assert!(!drain(&mut accounts, 1, 0, &[(task, value(100, 0))]).rows[0].ended);
    for (tick, acked, total) in [(2, 1, 150), (3, 1, 150), (4, 2, 160), (5, 3, 160)] {
        let report = drain(&mut accounts, tick, acked, &[(task, value(total, TASK_ENDED))]);
        assert_eq!(report.nanos(), [total], "tick {tick}");
        assert!(report.rows[0].ended, "tick {tick}");
        assert!(report.forgotten.is_empty(), "tick {tick}");
    }
    let report = drain(&mut accounts, 6, 4, &[(task, value(160, TASK_ENDED))]);
    assert!(report.rows.is_empty());
    assert_eq!(report.forgotten, [task]);
    // A slice that came after the deletion begins a row of its own: the old one is paid and no longer listed.
    assert_eq!(
        drain(&mut accounts, 7, 6, &[(task, value(3, TASK_ENDED))]).nanos(),
        [3]
    );
}

#[test]
fn time_that_came_in_the_very_drain_that_would_forget_is_reported() {
    let mut accounts = Accounts::new(PATIENCE);
    let task = key(7, 5, 40);
    drain(&mut accounts, 1, 0, &[(task, value(100, TASK_ENDED))]);
    let report = drain(&mut accounts, 2, 1, &[(task, value(101, TASK_ENDED))]);
    assert_eq!(report.nanos(), [101]);
    assert!(report.forgotten.is_empty());
}

#[test]
fn one_dead_row_marks_and_forgets_all_rows_of_the_task() {
    let mut accounts = Accounts::new(PATIENCE);
    let entries = [
        (key(7, 5, 40), value(10, 0)),
        (key(7, 5, 41), value(20, TASK_ENDED)),
        (
            TaskMapKey {
                package: 1,
                ..key(7, 5, 40)
            },
            value(30, 0),
        ),
        (key(8, 5, 40), value(40, 0)),
    ];
    let report = drain(&mut accounts, 1, 0, &entries);
    let ended: Vec<_> = report
        .rows
        .iter()
        .map(|row| (row.cpu.as_nanos(), row.ended))
        .collect();
    assert_eq!(ended, [(10, true), (30, true), (20, true), (40, false)]);
    assert_eq!(report.rows[1].package, PackageId(1));

    let report = drain(&mut accounts, 2, 1, &entries);
    assert_eq!(report.nanos(), [40]);
    assert_eq!(report.forgotten.len(), 3);
    assert!(entries[..3].iter().all(|(key, _)| report.forgotten.contains(key)));
}

#[test]
fn a_pid_used_twice_within_one_clock_tick_is_one_task_with_the_sum() {
    let mut accounts = Accounts::new(PATIENCE);
    let (first, second) = (key(7, 3 * NS_PER_TICK, 40), key(7, 3 * NS_PER_TICK + 9, 40));
    let later = key(7, 4 * NS_PER_TICK, 40);
    let entries = [
        (first, value(100, TASK_ENDED)),
        (second, value(11, TASK_ENDED)),
        (later, value(5, 0)),
    ];
    assert_eq!(drain(&mut accounts, 1, 0, &entries).nanos(), [111, 5]);
    let entries = [
        (first, value(100, TASK_ENDED)),
        (second, value(13, TASK_ENDED)),
        (later, value(5, 0)),
    ];
    assert_eq!(drain(&mut accounts, 2, 0, &entries).nanos(), [113, 5]);
    let report = drain(&mut accounts, 3, 2, &entries);
    assert_eq!(report.nanos(), [5]);
    assert_eq!(report.forgotten, [first, second]);
}

#[test]
fn the_newest_name_is_on_all_rows() {
    let mut accounts = Accounts::new(PATIENCE);
    let (here, there) = (key(7, 5, 40), key(7, 5, 41));
    let names =
        |report: &Report| -> Vec<String> { report.rows.iter().map(|row| row.comm.to_text()).collect() };
    let report = drain(
        &mut accounts,
        1,
        0,
        &[(here, named(1, 0, 20, b"new")), (there, named(1, 0, 10, b"old"))],
    );
    assert_eq!(names(&report), ["new", "new"]);
    let report = drain(
        &mut accounts,
        2,
        0,
        &[
            (here, named(1, 0, 20, b"new")),
            (there, named(1, 0, 30, b"newer")),
        ],
    );
    assert_eq!(names(&report), ["newer", "newer"]);
}

#[test]
fn a_kernel_thread_is_called_one() {
    let mut accounts = Accounts::new(PATIENCE);
    let report = drain(&mut accounts, 1, 0, &[(key(2, 5, 1), value(1, TASK_KTHREAD))]);
    assert_eq!(report.rows[0].kind, TaskKind::Kernel);
}

#[test]
fn a_silent_task_that_nobody_knows_is_dead_and_one_that_ran_is_not() {
    let mut accounts = Accounts::new(PATIENCE);
    let entries = |ran| [(key(7, 5, 40), value(10, 0)), (key(8, 5, 40), value(ran, 0))];
    drain(&mut accounts, 1, 0, &entries(10));
    for (key, value) in entries(11) {
        accounts.record(&key, &value);
    }
    accounts.bury_silent(|_| false);
    let report = drain(&mut accounts, 2, 1, &[]);
    let ended: Vec<_> = report.rows.iter().map(|row| row.ended).collect();
    assert_eq!(ended, [true, false]);
    accounts.bury_silent(|key| key.tgid == 8);
    assert_eq!(drain(&mut accounts, 3, 2, &[]).forgotten, [key(7, 5, 40)]);
}

#[test]
fn a_rise_longer_than_the_time_that_passed_is_refused_once_and_counted() {
    let mut accounts = Accounts::new(PATIENCE);
    accounts.expect_at_most(Duration::from_nanos(100));
    let task = key(7, 5, 40);
    let ran = |cpu_ns| TaskMapValue {
        events: Events {
            switches: cpu_ns,
            ..Events::default()
        },
        ..value(cpu_ns, 0)
    };
    let reports: Vec<_> = (1_u64..)
        .zip([100, 201, 211])
        .map(|(tick, total)| {
            let row = drain(&mut accounts, tick, 0, &[(task, ran(total))]).rows[0];
            let switches = row.events.get(attribution::model::Event::Switches);
            (row.cpu.as_nanos(), switches, accounts.refused())
        })
        .collect();
    // The next rise counts from what was refused.
    assert_eq!(reports, [(100, 100, 0), (100, 100, 1), (110, 110, 1)]);
}

/// What the kernel may do to one entry between two drains.
#[derive(Clone, Copy, Debug)]
enum Event {
    Run(u32),
    End,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..1_000_000_u32).prop_map(Event::Run),
        1 => Just(Event::End),
    ]
}

proptest! {
    /// A consumer that charges each row's rise, and takes a row that was away as new, ends with exactly what ran: no
    /// row falls while it is listed, nothing is lost by forgetting, nothing is told twice.
    #[test]
    fn rises_of_rows_add_up_to_what_ran(
        steps in prop::collection::vec((prop::collection::vec((0..4_u64, event()), 0..8), 0..3_u64), 1..60)
    ) {
        let mut accounts = Accounts::new(PATIENCE);
        let mut hash: HashMap<TaskMapKey, TaskMapValue> = HashMap::new();
        let mut seen: HashMap<(Option<TaskKey>, CgroupId), u64> = HashMap::new();
        let (mut ran, mut charged) = (0_u64, 0_u64);
        // Two more drains at the end: what the last step did is read, then forgotten where dead.
        let quiet = [(Vec::new(), 0), (Vec::new(), 0)];
        for (index, (events, lag)) in steps.iter().chain(&quiet).enumerate() {
            for (which, event) in events {
                // Two tasks, two cgroups each; tasks 0 and 1 differ by nanoseconds only and share a name.
                let key = key(7, NS_PER_TICK + which / 2, 40 + which % 2);
                match event {
                    Event::Run(nanos) => {
                        hash.entry(key).or_insert_with(|| value(0, 0)).cpu_ns += u64::from(*nanos);
                        ran += u64::from(*nanos);
                    }
                    Event::End => hash.entry(key).or_insert_with(|| value(0, 0)).flags |= TASK_ENDED,
                }
            }
            let tick = index as u64 + 1;
            let entries: Vec<_> = hash.iter().map(|(key, value)| (*key, *value)).collect();
            let report = drain(&mut accounts, tick, tick.saturating_sub(1 + lag), &entries);
            for key in &report.forgotten {
                prop_assert!(hash.remove(key).is_some());
            }
            let mut now = HashMap::new();
            for row in &report.rows {
                let name = (row.task, row.cgroup);
                let before = seen.get(&name).copied().unwrap_or(0);
                prop_assert!(row.cpu.as_nanos() >= before, "fell from {before} to {:?}", row.cpu);
                charged += row.cpu.as_nanos() - before;
                prop_assert!(now.insert(name, row.cpu.as_nanos()).is_none(), "two rows of one name");
            }
            seen = now;
            prop_assert_eq!(charged, ran);
        }
    }
}
