// SPDX-License-Identifier: Apache-2.0

use super::*;
use crate::abi::Events;
use attribution::model::Event;

/// More than any step here.
const MOST: Duration = Duration::from_secs(1);

fn slot(package: u32, busy_ns: u64, idle_ns: u64) -> Slot {
    Slot {
        busy_ns,
        idle_ns,
        package,
        ..Slot::default()
    }
}

fn report(cpus: &Cpus) -> Vec<(u16, u32, u64, u64)> {
    let mut rows = Vec::new();
    cpus.packages(&mut rows);
    rows.iter()
        .map(|row: &PackageTime| (row.package.0, row.cpus, row.busy.as_nanos(), row.idle.as_nanos()))
        .collect()
}

#[test]
fn cpus_of_a_package_are_added_and_cpus_that_never_were_are_left_out() {
    let mut cpus = Cpus::default();
    let slots = [slot(0, 10, 1), slot(1, 20, 2), slot(0, 30, 3), slot(7, 0, 0)];
    cpus.record(&slots, &[0, 1, 2], 1_000, MOST);
    assert_eq!(report(&cpus), [(0, 2, 40, 4), (1, 1, 20, 2)]);
    assert_eq!(PackageId(1), package_id(1));
}

#[test]
fn a_cpu_that_comes_online_counts_once_it_is_listed_and_on_the_package_that_it_was_told_meanwhile() {
    let mut cpus = Cpus::default();
    // It ran before it was told.
    let mut slots = [slot(0, 10, 1), slot(0, 5, 2)];
    slots[1].unplaced_ns = 4;
    let softirqs = [1, 2].map(|count| {
        let mut softirqs = Softirqs::default();
        (softirqs.count[0], softirqs.ns[0]) = (count, 1);
        softirqs
    });
    let counted = |cpus: &Cpus| {
        let (mut times, mut unplaced) = (Vec::new(), Vec::new());
        cpus.softirq_times(&softirqs, &mut times);
        cpus.unplaced_rows(&mut unplaced);
        let times: Vec<_> = times.iter().map(|row| (row.package.0, row.count)).collect();
        (times, unplaced.len())
    };
    cpus.record(&slots, &[0], 1_000, MOST);
    assert_eq!(report(&cpus), [(0, 1, 10, 1)]);
    assert_eq!(counted(&cpus), (vec![(0, 1)], 0));
    slots[1].package = 1;
    cpus.record(&slots, &[0, 1], 2_000, MOST);
    assert_eq!(report(&cpus), [(0, 1, 10, 1), (1, 1, 5, 2)]);
    assert_eq!(counted(&cpus), (vec![(0, 1), (1, 2)], 1));
    // And on when it is offline.
    cpus.record(&slots, &[0], 3_000, MOST);
    assert_eq!(report(&cpus), [(0, 1, 10, 1), (1, 0, 5, 2)]);
}

#[test]
fn the_idle_slice_that_runs_is_counted_up_to_now() {
    let mut cpus = Cpus::default();
    let idle = Slot {
        idle_since: 1_000,
        ..slot(0, 5, 100)
    };
    cpus.record(&[idle], &[0], 1_250, MOST);
    assert_eq!(report(&cpus), [(0, 1, 5, 350)]);
    // A stamp that is newer than our reading of the clock: nothing runs yet.
    let mut cpus = Cpus::default();
    cpus.record(&[idle], &[0], 900, MOST);
    assert_eq!(report(&cpus), [(0, 1, 5, 100)]);
}

#[test]
fn a_running_task_and_an_unknown_start_add_no_idle_time() {
    let mut cpus = Cpus::default();
    let unknown = slot(0, 0, 0);
    cpus.record(&[slot(0, 5, 100), unknown], &[0, 1], 1_250, MOST);
    assert_eq!(report(&cpus), [(0, 2, 5, 100)]);
}

#[test]
fn nothing_falls_when_a_cpu_goes_offline_or_a_copy_was_torn() {
    let mut cpus = Cpus::default();
    let idle = Slot {
        idle_since: 1_000,
        ..slot(0, 5, 100)
    };
    cpus.record(&[idle], &[0], 1_250, MOST);
    cpus.record(&[idle], &[], 2_000, MOST);
    assert_eq!(report(&cpus), [(0, 0, 5, 350)]);
    // The slice that ended is not in idle_ns yet, but `idle_since` is new.
    let torn = Slot {
        idle_since: 1_900,
        ..idle
    };
    cpus.record(&[torn], &[0], 2_000, MOST);
    assert_eq!(report(&cpus), [(0, 1, 5, 350)]);
}

#[test]
fn idle_time_is_no_longer_than_the_clock_says_the_cpu_was_not_busy() {
    let mut cpus = Cpus::default();
    cpus.record(&[slot(0, 0, 0)], &[0], 1_000, MOST);
    // A flush came 10 before the clock was read: 90 of 100 are shown, and the next reading may show 10 more.
    cpus.record(&[slot(0, 90, 0)], &[0], 1_100, MOST);
    cpus.record(&[slot(0, 120, 80)], &[0], 1_200, MOST);
    assert_eq!(report(&cpus), [(0, 1, 120, 80)]);
    // The run queue's clock went on for 30 while the other one stood still.
    cpus.record(&[slot(0, 150, 180)], &[0], 1_300, MOST);
    assert_eq!(report(&cpus), [(0, 1, 150, 150)]);
    // What was left out does not come back.
    cpus.record(&[slot(0, 160, 270)], &[0], 1_400, MOST);
    assert_eq!(report(&cpus), [(0, 1, 160, 240)]);
}

#[test]
fn stolen_time_and_an_absence_are_no_room_for_idle_time_later() {
    let (stolen, passed) = (10 * UNREAD_MAX_NS, 1_000);
    let most = Duration::from_secs(3600);
    let mut cpus = Cpus::default();
    cpus.record(&[slot(0, 1, 0), slot(1, 1, 0)], &[0, 1], 1_000, most);
    cpus.record(&[slot(0, 1, 0), slot(1, 1, 0)], &[0], stolen, most);
    let later = stolen + passed;
    cpus.record(&[slot(0, 1, stolen), slot(1, 1, stolen)], &[0, 1], later, most);
    assert_eq!(
        report(&cpus),
        [(0, 1, 1, UNREAD_MAX_NS + passed), (1, 1, 1, passed)]
    );
}

#[test]
fn what_was_lost_is_added_over_all_cpus() {
    let one = Slot {
        map_full: 1,
        overflow_full: 2,
        implausible: 3,
        unseen: 4,
        ..slot(0, 0, 0)
    };
    let lost = Cpus::default().record(&[one, one], &[0, 1], 0, MOST);
    assert_eq!(
        lost,
        Lost {
            map_full: 2,
            overflow_full: 4,
            counters_full: 0,
            implausible: 6,
            unseen: 8
        }
    );
}

#[test]
fn time_without_room_goes_to_the_root_cgroup_of_its_package() {
    let with = |package, unplaced_ns| Slot {
        unplaced_ns,
        ..slot(package, 0, 0)
    };
    let mut rows = vec![
        unnamed::usage(CgroupId::ROOT, PackageId(0), 100, EventCounts::ZERO),
        unnamed::usage(CgroupId(40), PackageId(1), 7, EventCounts::ZERO),
    ];
    let mut cpus = Cpus::default();
    let slots = [with(0, 3), with(1, 5), with(1, 6), with(2, 0)];
    cpus.record(&slots, &[0, 1, 2, 3], 0, MOST);
    // What a flush charged too much goes back, and no row falls for it.
    let less = [with(0, 2), with(1, 5), with(1, 6), with(2, 0_u64.wrapping_sub(9))];
    cpus.record(&less, &[0, 1, 2, 3], 0, MOST);
    cpus.unplaced_rows(&mut rows);
    let rows: Vec<_> = rows
        .iter()
        .map(|row| (row.task, row.cgroup.0, row.package.0, row.cpu.as_nanos()))
        .collect();
    assert_eq!(rows, [(None, 1, 0, 103), (None, 40, 1, 7), (None, 1, 1, 11)]);
}

#[test]
fn a_rise_longer_than_the_time_that_passed_is_refused_once_and_counted() {
    let with = |busy_ns, softirq_ns, idle_ns| Slot {
        softirq_ns,
        ..slot(0, busy_ns, idle_ns)
    };
    let most = Duration::from_nanos(100);
    let mut cpus = Cpus::default();
    let first = cpus.record(&[with(100, 0, 0)], &[0], 1_000, most);
    assert_eq!(first.implausible, 0);
    let lost = cpus.record(&[with(201, 101, 101)], &[0], 1_100, most);
    assert_eq!(lost.implausible, 3);
    assert_eq!(report(&cpus), [(0, 1, 100, 0)]);
    // The next rises count from there, and what was refused stays counted.
    let lost = cpus.record(&[with(211, 106, 121)], &[0], 1_200, most);
    assert_eq!(lost.implausible, 3);
    assert_eq!(report(&cpus), [(0, 1, 115, 20)]);
}

#[test]
fn softirqs_have_a_row_for_each_package_with_what_hit_idle_cpus() {
    let with = |package, softirq_ns, net_rx| Slot {
        softirq_ns,
        idled: Events {
            net_rx,
            ..Events::default()
        },
        ..slot(package, 1, 0)
    };
    let mut cpus = Cpus::default();
    let never_there = Slot {
        softirq_ns: 1_000,
        ..slot(3, 0, 0)
    };
    let slots = [with(0, 10, 1), with(1, 20, 2), with(0, 30, 4), never_there];
    cpus.record(&slots, &[0, 1, 2], 1_000, MOST);
    // Rows that are there already are not theirs.
    let mut rows = vec![unnamed::usage(CgroupId::ROOT, PackageId(0), 7, EventCounts::ZERO)];
    cpus.softirq_rows(&mut rows);
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            let hits = row.events.get(Event::NetRxIrqs);
            (row.task, row.package.0, row.cpu.as_nanos(), hits)
        })
        .collect();
    let softirq = Some(TaskKey::SOFTIRQ);
    assert_eq!(rows, [(None, 0, 7, 0), (softirq, 0, 40, 5), (softirq, 1, 20, 2)]);
    // And it is busy time.
    assert_eq!(report(&cpus), [(0, 2, 42, 0), (1, 1, 21, 0)]);
}

#[test]
fn softirqs_are_added_by_package_and_vector_and_a_vector_that_never_ran_is_left_out() {
    let with = |vectors: &[(usize, u64, u64)]| {
        let mut softirqs = Softirqs::default();
        for (vector, count, ns) in vectors {
            softirqs.count[*vector] = *count;
            softirqs.ns[*vector] = *ns;
        }
        softirqs
    };
    let slots = [slot(0, 0, 0), slot(1, 0, 0), slot(0, 0, 0)];
    // Numbers of vectors: 1 timer, 3 net_rx, 9 rcu; 10 and more the kernel does not have.
    let softirqs = [
        with(&[(3, 5, 50), (9, 1, 9)]),
        with(&[(3, 7, 70)]),
        with(&[(1, 2, 0), (3, 6, 60), (10, 1, 1)]),
    ];
    let mut cpus = Cpus::default();
    cpus.record(&slots, &[0, 1, 2], 1_000, MOST);
    let mut rows = Vec::new();
    cpus.softirq_times(&softirqs, &mut rows);
    let rows: Vec<_> = rows
        .iter()
        .map(|row| (row.package.0, row.vector, row.count, row.time.as_nanos()))
        .collect();
    assert_eq!(
        rows,
        [
            (0, "net_rx", 11, 110),
            (0, "rcu", 1, 9),
            (1, "net_rx", 7, 70),
            (0, "timer", 2, 0)
        ]
    );
}
