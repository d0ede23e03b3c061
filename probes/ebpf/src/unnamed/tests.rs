// SPDX-License-Identifier: Apache-2.0

use super::*;
use attribution::model::{Event, MonotonicNanos, TickId};

const KEEP: Duration = Duration::from_secs(60);
const HOME: Place = Place {
    cgroup: 40,
    package: 0,
};

fn moment(tick: u64, acked: u64) -> Moment {
    Moment {
        tick: TickId(tick),
        acked: TickId(acked),
        at: MonotonicNanos::from_nanos(tick * 1_000_000_000),
    }
}

/// Reports at second `tick` as the report of that number. Rows as (cgroup, CPU time), and the cgroups that left.
fn report(unnamed: &mut Unnamed, tick: u64, acked: u64) -> (Vec<(u64, u64)>, Vec<u64>) {
    let (mut rows, mut left) = (Vec::new(), Vec::new());
    unnamed.report(&moment(tick, acked), &mut rows, &mut left);
    assert!(rows.iter().all(|row| row.task.is_none() && !row.ended));
    (
        rows.iter()
            .map(|row| (row.cgroup.0, row.cpu.as_nanos()))
            .collect(),
        left.iter().map(|place| place.cgroup).collect(),
    )
}

fn add(unnamed: &mut Unnamed, cgroup: u64, cpu_ns: u64) {
    unnamed.add(Place { cgroup, ..HOME }, cpu_ns, &EventCounts::ZERO);
}

#[test]
fn a_row_leaves_a_while_after_its_last_rise_and_its_entry_with_it() {
    let mut unnamed = Unnamed::new(9, KEEP);
    add(&mut unnamed, 40, 100);
    assert_eq!(report(&mut unnamed, 1, 0), (vec![(40, 100)], vec![]));
    add(&mut unnamed, 40, 10);
    assert_eq!(report(&mut unnamed, 50, 49), (vec![(40, 110)], vec![]));
    assert_eq!(report(&mut unnamed, 109, 108), (vec![(40, 110)], vec![]));
    assert_eq!(report(&mut unnamed, 110, 109), (vec![], vec![40]));
    assert_eq!(report(&mut unnamed, 111, 110), (vec![], vec![]));
    assert!(unnamed.rows.is_empty(), "it is forgotten");
    assert_eq!(unnamed.gone, 0);
}

#[test]
fn an_event_is_a_rise_as_well_and_nothing_is_none() {
    let mut unnamed = Unnamed::new(9, KEEP);
    unnamed.add(HOME, 0, &EventCounts::ZERO);
    assert_eq!(report(&mut unnamed, 1, 0), (vec![], vec![]));
    let switch = EventCounts::ZERO.with(Event::Switches, 1);
    unnamed.add(HOME, 0, &switch);
    assert_eq!(report(&mut unnamed, 2, 1), (vec![(40, 0)], vec![]));
    unnamed.add(HOME, 0, &EventCounts::ZERO);
    assert_eq!(report(&mut unnamed, 62, 61), (vec![], vec![40]));
}

#[test]
fn an_entry_has_a_row_and_leaves_although_it_holds_nothing_and_there_is_no_room() {
    let mut unnamed = Unnamed::new(1, KEEP);
    add(&mut unnamed, 39, 1);
    unnamed.see(HOME);
    assert_eq!(report(&mut unnamed, 1, 0), (vec![(39, 1), (40, 0)], vec![]));
    add(&mut unnamed, 40, 7);
    unnamed.see(HOME);
    assert_eq!(report(&mut unnamed, 2, 1), (vec![(39, 1), (40, 7)], vec![]));
    unnamed.see(HOME);
    assert_eq!(report(&mut unnamed, 62, 61), (vec![], vec![39, 40]));
}

#[test]
fn what_is_not_paid_yet_stays() {
    let mut unnamed = Unnamed::new(9, KEEP);
    add(&mut unnamed, 40, 100);
    report(&mut unnamed, 3, 2);
    assert_eq!(report(&mut unnamed, 900, 2), (vec![(40, 100)], vec![]));
    assert_eq!(report(&mut unnamed, 901, 3), (vec![], vec![40]));
}

#[test]
fn what_comes_later_is_a_new_row_once_a_report_without_it_was_heard() {
    // report 61 is without the row; until it is acknowledged, whoever books still has the 100.
    let mut unnamed = Unnamed::new(9, KEEP);
    add(&mut unnamed, 40, 100);
    report(&mut unnamed, 1, 0);
    assert_eq!(report(&mut unnamed, 61, 60), (vec![], vec![40]));
    // In the entry when it was deleted, and in the one after it.
    add(&mut unnamed, 40, 7);
    assert_eq!(report(&mut unnamed, 62, 60), (vec![], vec![]));
    add(&mut unnamed, 40, 500);
    assert_eq!(report(&mut unnamed, 63, 60), (vec![], vec![]));
    assert_eq!(report(&mut unnamed, 64, 61), (vec![(40, 507)], vec![]));
    assert_eq!(report(&mut unnamed, 65, 64), (vec![(40, 507)], vec![]));
    assert_eq!(report(&mut unnamed, 124, 64), (vec![], vec![40]));
}

#[test]
fn the_root_cgroup_stays() {
    let mut unnamed = Unnamed::new(9, KEEP);
    add(&mut unnamed, CgroupId::ROOT.0, 100);
    report(&mut unnamed, 1, 0);
    assert_eq!(report(&mut unnamed, 999, 998), (vec![(1, 100)], vec![]));
}

#[test]
fn beyond_the_room_time_is_the_roots_and_who_left_makes_room() {
    let mut unnamed = Unnamed::new(2, KEEP);
    for cgroup in 40..44 {
        add(&mut unnamed, cgroup, 10);
    }
    let rows = vec![(1, 20), (40, 10), (41, 10)];
    assert_eq!(report(&mut unnamed, 1, 0), (rows.clone(), vec![]));
    add(&mut unnamed, 40, 1);
    assert_eq!(report(&mut unnamed, 31, 30).0, [(1, 20), (40, 11), (41, 10)]);
    assert_eq!(report(&mut unnamed, 61, 60), (vec![(1, 20), (40, 11)], vec![41]));
    // The root is a row as well.
    add(&mut unnamed, 50, 5);
    assert_eq!(report(&mut unnamed, 62, 61).0, [(1, 25), (40, 11)]);
    assert_eq!(report(&mut unnamed, 91, 90), (vec![(1, 25)], vec![40]));
    add(&mut unnamed, 51, 5);
    assert_eq!(report(&mut unnamed, 92, 90).0, [(1, 25), (51, 5)]);
}

#[test]
fn packages_leave_each_for_itself() {
    let mut unnamed = Unnamed::new(9, KEEP);
    let other = Place { package: 1, ..HOME };
    unnamed.add(HOME, 1, &EventCounts::ZERO);
    report(&mut unnamed, 1, 0);
    unnamed.add(other, 2, &EventCounts::ZERO);
    report(&mut unnamed, 2, 1);
    let (mut rows, mut left) = (Vec::new(), Vec::new());
    unnamed.report(&moment(61, 60), &mut rows, &mut left);
    assert_eq!(left, [HOME]);
    assert_eq!((rows.len(), rows[0].package), (1, PackageId(1)));
}
