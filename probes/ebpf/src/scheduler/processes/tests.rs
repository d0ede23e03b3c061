// SPDX-License-Identifier: Apache-2.0

mod left;

use super::*;
use attribution::model::MonotonicNanos;

/// Of rows without a process.
const ROOM: usize = 50;
const KEEP: Duration = Duration::from_secs(60);
const PATIENCE: Patience = Patience {
    keep: KEEP,
    most: 100,
};

const HOME: Place = Place {
    cgroup: 40,
    package: 0,
};
const TASK: TaskKey = TaskKey {
    tgid: 7,
    start_ticks: 5,
};

fn look(comm: &[u8], at_ns: u64) -> Look {
    Look {
        comm: Comm::from_bytes(comm).0,
        at_ns,
        kind: TaskKind::User,
    }
}

fn nobody() -> Processes {
    Processes::new(Unnamed::new(ROOM, KEEP), PATIENCE)
}

fn counts(cpu_ns: u64) -> Counts {
    Counts { cpu_ns, switches: 1 }
}

fn moment(tick: u64, acked: u64, second: u64) -> Moment {
    Moment {
        tick: TickId(tick),
        acked: TickId(acked),
        at: MonotonicNanos::from_nanos(second * 1_000_000_000),
    }
}

fn report(processes: &mut Processes, tick: u64, acked: u64) -> (Vec<TaskUsage>, Vec<DeadRowKey>) {
    let (mut rows, mut forgotten) = (Vec::new(), Vec::new());
    let now = moment(tick, acked, tick);
    processes.report(&now, &mut rows, &mut forgotten, &mut Vec::new());
    rows.sort_by_key(|row| (row.task, row.cgroup, row.package));
    (rows, forgotten)
}

/// CPU time of each row, and whether it says `ended`.
fn drawn(processes: &mut Processes, tick: u64, acked: u64) -> Vec<(u64, bool)> {
    let (rows, _) = report(processes, tick, acked);
    rows.iter().map(|row| (row.cpu.as_nanos(), row.ended)).collect()
}

#[test]
fn a_living_process_stays_listed_and_one_that_never_ran_is_not() {
    let mut processes = nobody();
    processes.came(TASK, look(b"a", 1));
    assert_eq!(drawn(&mut processes, 1, 0), []);
    processes.charge(TASK, HOME, counts(100), look(b"a", 1));
    for tick in 2..6 {
        processes.pass_ended();
        assert_eq!(drawn(&mut processes, tick, tick - 1), [(100, false)]);
    }
}

#[test]
fn each_cgroup_and_package_has_a_row_of_its_own() {
    let mut processes = nobody();
    let elsewhere = Place { cgroup: 41, ..HOME };
    let other_package = Place { package: 1, ..HOME };
    for place in [HOME, elsewhere, other_package, HOME] {
        processes.charge(TASK, place, counts(10), look(b"a", 1));
    }
    let (rows, _) = report(&mut processes, 1, 0);
    let drawn: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row.cgroup.0,
                row.package.0,
                row.cpu.as_nanos(),
                row.events.get(Event::Switches),
            )
        })
        .collect();
    assert_eq!(drawn, [(40, 0, 20, 2), (40, 1, 10, 1), (41, 0, 10, 1)]);
    assert_eq!(processes.busy_ns(), &BTreeMap::from([(0, 30), (1, 10)]));
}

#[test]
fn the_dead_stay_until_the_window_with_their_last_news_has_closed() {
    // tick    1      2        3        4        5        6
    // news   100   dead      -       +10       -        -
    // acked   0      1        1        2        3        4
    // report 100   100 E    100 E    110 E    110 E      -      (tick 4 had the last news)
    let mut processes = nobody();
    processes.came(TASK, look(b"a", 1));
    processes.charge(TASK, HOME, counts(100), look(b"a", 1));
    assert_eq!(drawn(&mut processes, 1, 0), [(100, false)]);
    processes.died(TASK, 0xf00);
    processes.leader_went(TASK, look(b"a", 2));
    assert_eq!(drawn(&mut processes, 2, 1), [(100, true)]);
    assert_eq!(drawn(&mut processes, 3, 1), [(100, true)]);
    processes.charge(TASK, HOME, counts(10), look(b"a", 3));
    assert_eq!(drawn(&mut processes, 4, 2), [(110, true)]);
    assert_eq!(drawn(&mut processes, 5, 3), [(110, true)]);
    assert_eq!(drawn(&mut processes, 6, 4), []);
    // What comes now is a row of its own.
    processes.charge(TASK, HOME, counts(3), look(b"a", 4));
    assert_eq!(drawn(&mut processes, 7, 6), [(3, false)]);
}

#[test]
fn a_process_ends_with_its_last_thread_and_not_with_its_leader() {
    let mut processes = nobody();
    processes.came(TASK, look(b"a", 1));
    processes.came(TASK, look(b"a", 1));
    processes.charge(TASK, HOME, counts(100), look(b"a", 1));
    processes.died(TASK, 0xf00);
    processes.leader_went(TASK, look(b"a", 2));
    assert_eq!(drawn(&mut processes, 1, 0), [(100, false)]);
    processes.died(TASK, 0xf00);
    assert_eq!(drawn(&mut processes, 2, 1), [(100, true)]);
}

#[test]
fn a_process_whose_leader_did_not_say_that_it_died_ends_when_two_passes_have_not_shown_it() {
    let mut processes = nobody();
    // A thread of it died; the leader began after the pass went by, or its last word is lost.
    processes.charge(TASK, HOME, counts(100), look(b"a", 1));
    assert_eq!(drawn(&mut processes, 1, 0), [(100, false)]);
    processes.pass_ended();
    assert_eq!(drawn(&mut processes, 2, 1), [(100, false)]);
    processes.pass_ended();
    assert_eq!(drawn(&mut processes, 3, 2), [(100, true)]);
    assert_eq!(drawn(&mut processes, 4, 3), []);
}

#[test]
fn the_rows_of_the_forgotten_are_deleted_from_the_kernel_and_no_others() {
    let mut processes = nobody();
    let key = |cgroup_id| DeadRowKey {
        cgroup_id,
        ..DeadRowKey::default()
    };
    let living = TaskKey { tgid: 8, ..TASK };
    processes.has_dead_row(TASK, key(1), look(b"a", 1));
    processes.has_dead_row(TASK, key(2), look(b"a", 1));
    processes.leader_went(TASK, look(b"a", 1));
    processes.came(living, look(b"b", 1));
    processes.has_dead_row(living, key(3), look(b"b", 1));
    assert_eq!(report(&mut processes, 1, 0).1, []);
    assert_eq!(report(&mut processes, 2, 1).1, [key(1), key(2)]);
    assert_eq!(report(&mut processes, 3, 2).1, []);
}

#[test]
fn the_newest_name_wins_in_whatever_order_names_come() {
    let mut processes = nobody();
    processes.charge(TASK, HOME, counts(1), look(b"first", 10));
    processes.led(TASK, 0xf00, look(b"newest", 30));
    processes.leader_went(TASK, look(b"older", 20));
    let (rows, _) = report(&mut processes, 1, 0);
    assert_eq!(rows[0].comm.to_text(), "newest");
    assert_eq!(processes.leader_of(TASK), Some(0xf00));
}

#[test]
fn time_without_a_process_has_rows_by_cgroup_and_beyond_the_room_one_for_all() {
    let mut processes = nobody();
    let room = u64::try_from(ROOM).unwrap();
    for cgroup in 1..=room + 9 {
        processes.charge_unnamed(Place { cgroup, package: 0 }, counts(10));
    }
    let (mut rows, mut left) = (Vec::new(), Vec::new());
    let mut report = |processes: &mut Processes, tick, second: u64| {
        rows.clear();
        let now = moment(tick, tick - 1, second);
        processes.unnamed.report(&now, &mut rows, &mut left);
        let of = |row: &TaskUsage| (row.cgroup.0, row.cpu.as_nanos(), row.events.get(Event::Switches));
        rows.iter().map(of).collect::<Vec<_>>()
    };
    let rows = report(&mut processes, 1, 0);
    assert_eq!(rows.len(), ROOM);
    assert_eq!(rows[..2], [(1, 100, 10), (2, 10, 1)]);
    let all: u64 = rows.iter().map(|(_, cpu_ns, _)| cpu_ns).sum();
    assert_eq!(all, (room + 9) * 10);
    assert_eq!(processes.busy_ns(), &BTreeMap::from([(0, all)]));
    // Once the others have left there is room for another cgroup.
    assert_eq!(report(&mut processes, 2, 60), [(1, 100, 10)]);
    processes.charge_unnamed(
        Place {
            cgroup: 99,
            package: 0,
        },
        counts(3),
    );
    assert_eq!(report(&mut processes, 3, 61), [(1, 100, 10), (99, 3, 1)]);
    assert_eq!(processes.busy_ns(), &BTreeMap::from([(0, all + 3)]));
}
