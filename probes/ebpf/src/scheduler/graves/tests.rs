// SPDX-License-Identifier: Apache-2.0

use super::*;
use crate::listing::Moment;
use crate::settings::Settings;
use attribution::model::{MonotonicNanos, TickId};

const KEY: DeadRowKey = DeadRowKey {
    started_ns: 50_000_000,
    cgroup_id: 40,
    tgid: 7,
    package: 0,
};

fn row(cpu_ns: u64, flags: u32) -> DeadRow {
    DeadRow {
        cpu_ns,
        switches: cpu_ns / 10,
        flags,
        ..DeadRow::default()
    }
}

/// CPU time and switches of each row, and whether it says `ended`; without a process first.
fn drawn(processes: &mut Processes) -> Vec<(u64, u64, bool)> {
    let mut rows = Vec::new();
    let now = Moment {
        tick: TickId(1),
        acked: TickId(0),
        at: MonotonicNanos::ZERO,
    };
    processes.report(&now, &mut rows, &mut Vec::new(), &mut Vec::new());
    processes.unnamed.report(&now, &mut rows, &mut Vec::new());
    rows.sort_by_key(|row| (row.task, row.cgroup, row.package));
    rows.iter()
        .map(|row| {
            (
                row.cpu.as_nanos(),
                row.events.get(attribution::model::Event::Switches),
                row.ended,
            )
        })
        .collect()
}

fn nobody() -> Processes {
    let settings = Settings::default();
    Processes::new(settings.unnamed(), settings.patience())
}

fn graves() -> Graves {
    let mut graves = Graves::default();
    graves.begin(1_000);
    graves
}

#[test]
fn a_row_is_charged_by_what_was_added_and_from_zero_when_it_was_made_again() {
    // map:     100   100   250   (deleted)  30
    // charged: 100   100   250              280
    let (mut graves, mut processes) = (graves(), nobody());
    for (total, charged) in [(100, 100), (100, 100), (250, 250)] {
        graves.record_row(&KEY, &row(total, 0), &mut processes);
        assert_eq!(drawn(&mut processes), [(charged, charged / 10, false)]);
    }
    graves.forget(&[KEY]);
    graves.record_row(&KEY, &row(30, ROW_LEADER_GONE), &mut processes);
    assert_eq!(drawn(&mut processes), [(280, 28, true)]);
}

#[test]
fn a_pid_that_two_processes_had_in_the_same_clock_tick_is_one_task_and_keeps_the_time_of_both() {
    let (mut graves, mut processes) = (graves(), nobody());
    let twin = DeadRowKey {
        started_ns: KEY.started_ns + 9_999_999,
        ..KEY
    };
    graves.record_row(&KEY, &row(100, 0), &mut processes);
    graves.record_row(&twin, &row(200, 0), &mut processes);
    assert_eq!(drawn(&mut processes), [(300, 30, false)]);
}

#[test]
fn time_of_cgroups_and_of_nobody_has_no_process() {
    let (mut graves, mut processes) = (graves(), nobody());
    let key = DeadCgroupKey {
        cgroup_id: 40,
        ..DeadCgroupKey::default()
    };
    for total in [100, 300] {
        let cgroup = DeadCgroup {
            cpu_ns: total,
            switches: total / 10,
        };
        graves.record_cgroup(&key, &cgroup, &mut processes);
        let burials = Burials {
            cpu_ns: total / 2,
            ..Burials::default()
        };
        graves.record_unplaced(&burials, 0, &mut processes);
    }
    assert_eq!(drawn(&mut processes), [(150, 0, false), (300, 30, false)]);
}

#[test]
fn an_entry_of_a_cgroup_that_is_deleted_is_charged_to_its_end_and_the_next_one_from_zero() {
    // map:     100   170 (deleted)   180   20 (deleted, and not known before)
    // charged: 100   170             350  370
    let (mut graves, mut processes) = (graves(), nobody());
    let key = DeadCgroupKey {
        cgroup_id: 40,
        ..DeadCgroupKey::default()
    };
    let cgroup = |cpu_ns| DeadCgroup {
        cpu_ns,
        switches: cpu_ns / 10,
    };
    graves.record_cgroup(&key, &cgroup(100), &mut processes);
    graves.take_cgroup(&key, Some(&cgroup(170)), &mut processes);
    assert_eq!(drawn(&mut processes), [(170, 17, false)]);
    // More than before: what it held when it was deleted is not taken off.
    graves.record_cgroup(&key, &cgroup(180), &mut processes);
    assert_eq!(drawn(&mut processes), [(350, 35, false)]);
    graves.take_cgroup(&key, None, &mut processes);
    graves.take_cgroup(&key, Some(&cgroup(20)), &mut processes);
    assert_eq!(drawn(&mut processes), [(370, 37, false)]);
    assert!(graves.cgroups.is_empty());
}

#[test]
fn a_rise_that_all_cpus_together_could_not_have_made_is_refused_once() {
    let (mut graves, mut processes) = (graves(), nobody());
    graves.record_row(&KEY, &row(1_001, 0), &mut processes);
    graves.record_row(&KEY, &row(1_011, 0), &mut processes);
    assert_eq!(drawn(&mut processes), [(10, 1, false)]);
    assert_eq!(graves.implausible(), 1);
}

#[test]
fn a_map_is_read_at_each_change_and_once_after_the_last() {
    let mut stir = Stir::default();
    let reads: Vec<_> = [0, 0, 3, 3, 3, 4, 5, 5, 5]
        .into_iter()
        .map(|count| stir.stirred(count))
        .collect();
    assert_eq!(reads, [false, false, true, true, false, true, true, true, false]);
}

#[test]
fn the_counts_of_all_cpus_are_added() {
    let cpu = Burials {
        cpu_ns: 1,
        switches: 2,
        reported: 3,
        added: 4,
        threads_full: 5,
        rows_full: 6,
        cgroups_full: 7,
    };
    let both = Burials {
        cpu_ns: 2,
        switches: 4,
        reported: 6,
        added: 8,
        threads_full: 10,
        rows_full: 12,
        cgroups_full: 14,
    };
    assert_eq!(sum(&[cpu, cpu]), both);
}
