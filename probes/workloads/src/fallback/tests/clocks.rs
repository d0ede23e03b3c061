// SPDX-License-Identifier: Apache-2.0
//! Time from the processes' clocks.

use super::*;

fn nanos(usage: &Usage, pid: u32) -> u64 {
    let rows = usage.tasks.iter();
    rows.filter(|row| row.task.is_some_and(|task| task.tgid == pid))
        .map(|row| row.cpu.as_nanos())
        .sum()
}

#[test]
fn a_process_whose_clock_stands_still_is_asked_nothing_and_one_that_ran_is() {
    let mut node = Node::new();
    node.process(7, 100, 0, "/");
    node.clocks.set(7, 5_000);
    let mut reader = node.open_with_clocks();
    fs::write(node.path("proc/7/stat"), "nonsense").unwrap();
    fs::write(node.path("proc/7/cgroup"), "nonsense").unwrap();
    assert_eq!(lost(&node.drain(&mut reader), "unparsable"), 0);
    node.clocks.set(7, 5_001);
    assert_eq!(lost(&node.drain(&mut reader), "unparsable"), 1);
    node.process(7, 100, 0, "/");
    assert_eq!(nanos(&node.drain(&mut reader), 7), 1);
}

#[test]
fn the_name_follows_exec_for_that_takes_time() {
    let mut node = Node::new();
    let mut reader = node.open_with_clocks();
    for (comm, clock) in [("sh", 10), ("true", 20)] {
        node.write(Stat {
            comm,
            start: 200,
            ..Stat::of(7)
        });
        node.clocks.set(7, clock);
        let usage = node.drain(&mut reader);
        assert_eq!(usage.tasks[0].comm.to_text(), comm);
    }
}

#[test]
fn a_reused_pid_is_found_out_by_its_start_whatever_its_clock_says() {
    for second in [3, 5, 9] {
        let mut node = Node::new();
        let mut reader = node.open_with_clocks();
        node.process(7, 200, 0, "/");
        node.clocks.set(7, 5);
        node.drain(&mut reader);
        // Another process; with the same clock it shows only when it runs on.
        node.process(7, 300, 0, "/");
        node.clocks.set(7, second);
        node.drain_acked(&mut reader, TickId(0));
        node.clocks.set(7, second + 2);
        let usage = node.drain_acked(&mut reader, TickId(0));
        let of = |start: u64| {
            let mut rows = usage.tasks.iter();
            let row = rows.find(|row| row.task.unwrap().start_ticks == start).unwrap();
            (row.cpu.as_nanos(), row.ended)
        };
        assert_eq!((of(200), of(300)), ((5, true), (second + 2, false)));
    }
}

#[test]
fn a_clock_that_fails_for_a_moment_buries_nobody_and_pays_nothing_twice() {
    let mut node = Node::new();
    let mut reader = node.open_with_clocks();
    node.process(7, 200, 0, "/");
    node.clocks.set(7, 50);
    node.drain(&mut reader);
    for reading in [ClockReading::Gone, ClockReading::Refused] {
        node.clocks.say(7, reading);
        let usage = node.drain(&mut reader);
        assert_eq!(
            (nanos(&usage, 7), usage.tasks[0].ended),
            (50, false),
            "{reading:?}"
        );
    }
    node.clocks.set(7, 60);
    let usage = node.drain(&mut reader);
    assert_eq!((nanos(&usage, 7), lost(&usage, "clock refused")), (60, 1));
}

#[test]
fn a_pid_that_changed_hands_while_its_clock_failed_is_another_process() {
    let mut node = Node::new();
    let mut reader = node.open_with_clocks();
    node.process(7, 200, 0, "/");
    node.clocks.set(7, 50);
    node.drain(&mut reader);
    node.process(7, 300, 0, "/");
    node.clocks.say(7, ClockReading::Gone);
    let usage = node.drain(&mut reader);
    assert!(usage.tasks[0].ended && usage.tasks.len() == 1);
}

#[test]
fn clocks_hide_nothing_so_the_whole_rest_is_the_cgroups_residue() {
    let mut node = Node::new();
    let id = node.cgroup("/a.service", 1_000);
    node.process(7, 100, 0, "/a.service");
    node.clocks.set(7, 500);
    let mut reader = node.open_with_clocks();
    node.clocks.set(7, 500 + 10 * TICK);
    node.cgroup("/a.service", 1_100);
    let usage = node.drain(&mut reader);
    assert_eq!((ticks(&usage, 7), residue(&usage, id)), (10, 90));
}

#[test]
fn a_tree_that_is_no_proc_mount_is_read_in_ticks_and_says_so_and_loses_nothing() {
    let mut node = Node::new();
    let mut reader = node.open();
    assert!(reader.no_clock().unwrap().ends_with("is no proc mount"));
    let usage = node.drain(&mut reader);
    assert!(usage.lost.iter().all(|lost| lost.count == 0), "{:?}", usage.lost);
    assert_eq!(node.open_with_clocks().no_clock(), None);
}

#[test]
fn a_zombie_of_version_1_that_nobody_saw_alive_is_left_to_its_cgroup() {
    const PF_EXITING: u32 = 4;
    let mut node = Node::new();
    let clock = Box::new(node.clocks.clone());
    let mut reader = ProcReader::open_with(&node.roots(false), &two_packages(), Ok(clock)).unwrap();
    let zombie = Stat {
        start: 200,
        flags: PF_EXITING,
        ..Stat::of(7)
    };
    node.write(zombie);
    node.clocks.set(7, 50);
    assert!(node.drain(&mut reader).tasks.is_empty());
    // Seen alive it keeps the cgroup that it had.
    let id = node.cgroup("/a.service", 0);
    node.write(Stat {
        pid: 8,
        cgroup: "/a.service",
        flags: 0,
        ..zombie
    });
    node.clocks.set(8, 50);
    node.drain(&mut reader);
    node.write(Stat { pid: 8, ..zombie });
    node.clocks.set(8, 70);
    let usage = node.drain(&mut reader);
    let rows: Vec<_> = usage
        .tasks
        .iter()
        .map(|row| (row.cgroup, row.cpu.as_nanos()))
        .collect();
    assert_eq!(rows, [(id, 70)]);
}

#[test]
fn a_zombie_of_the_unified_hierarchy_still_shows_its_cgroup() {
    let mut node = Node::new();
    let mut reader = node.open_with_clocks();
    let id = node.cgroup("/a.service", 0);
    node.write(Stat {
        start: 200,
        flags: 4,
        cgroup: "/a.service",
        ..Stat::of(7)
    });
    node.clocks.set(7, 50);
    assert_eq!(node.drain(&mut reader).tasks[0].cgroup, id);
}

#[test]
fn every_cpu_has_a_row_and_a_guest_says_what_was_stolen() {
    let mut node = Node::new();
    node.cpu("cpu0 1 0 0 1 0 0 0 1\ncpu1 1 0 0 1 0 0 0 1\n");
    let machine = Machine {
        hypervisor: Some(true),
        ..two_packages()
    };
    let mut reader = ProcReader::open(&node.roots(true), &machine).unwrap();
    node.cpu("cpu0 3 0 0 4 0 0 0 5\n");
    let usage = node.drain(&mut reader);
    let cpus: Vec<_> = usage
        .cpus
        .iter()
        .map(|cpu| {
            let steal = cpu.steal.unwrap().as_nanos();
            (
                cpu.cpu,
                cpu.online,
                cpu.busy.as_nanos() / TICK,
                cpu.idle.as_nanos() / TICK,
                steal / TICK,
            )
        })
        .collect();
    assert_eq!(cpus, [(0, true, 2, 3, 4), (1, false, 0, 0, 0)]);
    for hypervisor in [Some(false), None] {
        let machine = Machine {
            hypervisor,
            ..two_packages()
        };
        let mut reader = ProcReader::open(&node.roots(true), &machine).unwrap();
        assert_eq!(node.drain(&mut reader).cpus[0].steal, None);
    }
}
