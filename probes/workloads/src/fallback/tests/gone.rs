// SPDX-License-Identifier: Apache-2.0
//! Cgroups that go or find no room: what ran in them stays paid, once, whoever counts it later.

use super::*;

fn total(usage: &Usage) -> u64 {
    sum(usage, |_| true)
}

#[test]
fn a_cgroup_that_is_first_seen_after_its_child_is_gone_does_not_pay_for_the_child_again() {
    let mut node = Node::new();
    let mut reader = node.open_with_clocks();
    // A unit is started; its control process runs in a cgroup of its own below it.
    let unit = node.cgroup("/foo.service", 100);
    let control = node.cgroup("/foo.service/.control", 100);
    node.runs(7, 100, "/foo.service/.control");
    let usage = node.drain(&mut reader);
    assert_eq!(sum(&usage, |row| row.cgroup == control), 100);
    node.die(7);
    node.remove("/foo.service/.control");
    // The main process begins; 5 ticks ran in the unit unseen.
    node.runs(8, 1, "/foo.service");
    node.cgroup("/foo.service", 106);
    node.drain_acked(&mut reader, TickId(0));
    let usage = node.drain_acked(&mut reader, TickId(0));
    assert_eq!(
        (ticks(&usage, 8), residue(&usage, unit), total(&usage)),
        (1, 5, 106)
    );
}

#[test]
fn a_cgroup_seen_late_between_one_above_and_a_child_that_is_gone_pays_nothing_twice() {
    let mut node = Node::new();
    let mut reader = node.open_with_clocks();
    for path in ["/a", "/a/b", "/a/b/c"] {
        node.cgroup(path, 100);
    }
    node.runs(6, 0, "/a");
    node.runs(7, 100, "/a/b/c");
    node.drain(&mut reader);
    node.die(7);
    node.remove("/a/b/c");
    node.drain_acked(&mut reader, TickId(0));
    node.runs(8, 1, "/a/b");
    for (path, ran) in [("/a", 111), ("/a/b", 104)] {
        node.cgroup(path, ran);
    }
    node.drain_acked(&mut reader, TickId(0));
    let usage = node.drain_acked(&mut reader, TickId(0));
    let of = |path: &str| CgroupId(fs::metadata(node.path(&format!("cgroup{path}"))).unwrap().ino());
    assert_eq!((residue(&usage, of("/a")), residue(&usage, of("/a/b"))), (7, 3));
    assert_eq!(total(&usage), 111);
}

#[test]
fn what_a_cgroup_ran_after_the_last_look_at_it_is_the_residue_of_the_one_it_was_in() {
    let mut node = Node::new();
    node.cgroup("/old.slice", 5_000);
    let mut reader = node.open_with_clocks();
    node.cgroup("/old.slice/a.service", 0);
    node.runs(7, 10, "/old.slice/a.service");
    node.drain(&mut reader);
    node.die(7);
    node.remove("/old.slice/a.service");
    let slice = node.cgroup("/old.slice", 5_030);
    let usage = node.drain_acked(&mut reader, TickId(0));
    assert_eq!(residue(&usage, slice), 0, "it may be from before open");
    node.cgroup("/old.slice", 5_035);
    let usage = node.drain_acked(&mut reader, TickId(0));
    assert_eq!((residue(&usage, slice), total(&usage)), (5, 15));
}

#[test]
fn another_cgroup_of_the_same_path_inherits_nothing() {
    let mut node = Node::new();
    let mut reader = node.open_with_clocks();
    for path in ["/a", "/a/b", "/a/b/c"] {
        node.cgroup(path, 100);
    }
    node.runs(6, 0, "/a");
    node.runs(7, 100, "/a/b/c");
    node.drain(&mut reader);
    node.die(7);
    node.remove("/a/b");
    let above = node.cgroup("/a", 140);
    let again = node.cgroup("/a/b", 40);
    node.runs(8, 10, "/a/b");
    for _ in 0..2 {
        node.drain_acked(&mut reader, TickId(0));
    }
    let usage = node.drain_acked(&mut reader, TickId(0));
    assert_eq!((residue(&usage, above), residue(&usage, again)), (0, 30));
    assert_eq!(total(&usage), 140);
}

#[test]
fn what_a_zombie_ran_last_in_a_cgroup_that_is_gone_is_not_paid_above_it_as_well() {
    let mut node = Node::new();
    let mut reader = node.open_with_clocks();
    for path in ["/a", "/a/b", "/a/b/c"] {
        node.cgroup(path, 10);
    }
    let above = node.cgroup("/a", 10);
    node.runs(6, 0, "/a");
    node.runs(7, 10, "/a/b/c");
    node.runs(8, 0, "/a/b");
    node.drain(&mut reader);
    node.remove("/a/b");
    node.runs(7, 15, "/a/b/c (deleted)");
    node.cgroup("/a", 15);
    for _ in 0..2 {
        let usage = node.drain_acked(&mut reader, TickId(0));
        assert_eq!((ticks(&usage, 7), residue(&usage, above)), (15, 0));
    }
}

#[test]
fn a_zombie_of_a_unit_that_is_started_again_is_not_charged_to_the_new_one() {
    let mut node = Node::new();
    let mut reader = node.open_with_clocks();
    let old = node.cgroup("/a", 10);
    node.runs(7, 10, "/a");
    node.drain(&mut reader);
    node.remove("/a");
    node.cgroup("/a", 0);
    node.runs(7, 15, "/a (deleted)");
    let usage = node.drain(&mut reader);
    assert_eq!(sum(&usage, |row| row.cgroup == old), 15);
}

#[test]
fn what_ran_before_a_move_out_of_a_cgroup_that_is_gone_is_not_paid_above_it_as_well() {
    let mut node = Node::new();
    let mut reader = node.open_with_clocks();
    for path in ["/a", "/a/b", "/x"] {
        node.cgroup(path, 0);
    }
    node.runs(6, 0, "/a");
    node.runs(7, 0, "/a/b");
    node.drain(&mut reader);
    node.remove("/a/b");
    node.runs(7, 15, "/x");
    let above = node.cgroup("/a", 15);
    for _ in 0..2 {
        let usage = node.drain_acked(&mut reader, TickId(0));
        assert_eq!((ticks(&usage, 7), residue(&usage, above)), (15, 0));
    }
}

#[test]
fn a_zombie_first_seen_when_its_cgroup_is_gone_is_charged_to_the_one_that_is_left_above() {
    let mut node = Node::new();
    let mut reader = node.open_with_clocks();
    let above = node.cgroup("/a", 15);
    node.runs(7, 15, "/a/b/c (deleted)");
    for _ in 0..2 {
        let usage = node.drain_acked(&mut reader, TickId(0));
        assert_eq!(sum(&usage, |row| row.cgroup == above), 15);
        assert_eq!((ticks(&usage, 7), total(&usage)), (15, 15));
    }
}

#[test]
fn a_cgroup_that_found_no_room_at_first_does_not_pay_its_life_again_when_it_does() {
    let mut node = Node::new();
    let mut reader = node.open_with_clocks();
    reader.keep_room_for(1);
    node.cgroup("/first", 0);
    node.runs(6, 0, "/first");
    node.drain(&mut reader);
    let late = node.cgroup("/late", 500);
    node.runs(7, 500, "/late");
    let usage = node.drain(&mut reader);
    assert_eq!((ticks(&usage, 7), lost(&usage, "cgroup overflow")), (500, 1));
    node.die(6);
    node.remove("/first");
    node.runs(7, 501, "/late");
    node.cgroup("/late", 501);
    node.drain(&mut reader);
    node.drain(&mut reader);
    node.cgroup("/late", 506);
    let usage = node.drain(&mut reader);
    assert_eq!((ticks(&usage, 7), residue(&usage, late)), (501, 5));
    assert_eq!(lost(&usage, "cgroup overflow"), 1);
}

#[test]
fn what_runs_in_a_cgroup_without_room_is_not_paid_above_it_as_well() {
    let mut node = Node::new();
    let mut reader = node.open_with_clocks();
    reader.keep_room_for(2);
    for path in ["/a", "/a/b", "/a/b/c", "/g"] {
        node.cgroup(path, 0);
    }
    node.runs(5, 0, "/a");
    node.runs(6, 0, "/g");
    node.drain(&mut reader);
    node.runs(7, 10, "/a/b/c");
    for path in ["/a", "/a/b", "/a/b/c"] {
        node.cgroup(path, 10);
    }
    for _ in 0..2 {
        let usage = node.drain(&mut reader);
        assert_eq!((ticks(&usage, 7), total(&usage)), (10, 10));
    }
    // There comes to be room, and the one in between is seen.
    node.die(6);
    node.remove("/g");
    node.runs(8, 1, "/a/b");
    let (outer, inner) = (node.cgroup("/a", 11), node.cgroup("/a/b", 11));
    for _ in 0..2 {
        let usage = node.drain(&mut reader);
        assert_eq!((ticks(&usage, 8), total(&usage)), (1, 11));
    }
    node.cgroup("/a", 20);
    node.cgroup("/a/b", 18);
    let usage = node.drain(&mut reader);
    assert_eq!((residue(&usage, outer), residue(&usage, inner)), (2, 7));
}

#[test]
fn a_zombie_of_a_cgroup_that_found_no_room_and_is_gone_is_not_paid_above_it_as_well() {
    let mut node = Node::new();
    let mut reader = node.open_with_clocks();
    reader.keep_room_for(1);
    let above = node.cgroup("/a", 0);
    node.cgroup("/a/b", 0);
    node.runs(6, 0, "/a");
    node.drain(&mut reader);
    node.runs(7, 0, "/a/b");
    node.drain(&mut reader);
    node.remove("/a/b");
    node.runs(7, 15, "/a/b (deleted)");
    node.cgroup("/a", 15);
    for _ in 0..2 {
        let usage = node.drain(&mut reader);
        assert_eq!((ticks(&usage, 7), residue(&usage, above)), (15, 0));
    }
}

#[test]
fn a_zombie_of_the_root_as_far_as_anybody_knew_takes_no_explanation_of_the_root_along() {
    let mut node = Node::new();
    let mut reader = node.open_with_clocks();
    let above = node.cgroup("/a", 0);
    node.runs(5, 0, "/");
    node.runs(6, 0, "/a");
    node.runs(7, 0, "/");
    node.drain(&mut reader);
    node.runs(7, 1, "/a/b (deleted)");
    for round in 1..4 {
        node.runs(5, round * 40, "/");
        node.cgroup("/a", round * 30);
        node.drain(&mut reader);
    }
    let usage = node.drain(&mut reader);
    assert_eq!(residue(&usage, above), 90);
}

/// Removes a cgroup when the next clock is read, which is after the counters.
#[derive(Clone)]
struct Removes(Clocks, Arc<Mutex<Option<[PathBuf; 2]>>>);

impl ProcessClock for Removes {
    fn read(&self, pid: u32) -> ClockReading {
        if let Some([folder, aside]) = self.1.lock().unwrap().take() {
            fs::rename(folder, aside).unwrap();
        }
        self.0.read(pid)
    }
}

#[test]
fn a_zombie_first_seen_when_its_cgroup_went_after_its_counter_was_read_is_charged_to_that() {
    let mut node = Node::new();
    let id = node.cgroup("/a", 0);
    node.process(6, 100, 0, "/a");
    node.clocks.set(6, 0);
    let clock = Removes(node.clocks.clone(), Arc::default());
    let boxed = Box::new(clock.clone());
    let mut reader = ProcReader::open_with(&node.roots(true), &two_packages(), Ok(boxed)).unwrap();
    node.cgroup("/a", 15);
    node.runs(7, 15, "/a (deleted)");
    *clock.1.lock().unwrap() = Some([node.path("cgroup/a"), node.path("aside")]);
    let usage = node.drain_acked(&mut reader, TickId(0));
    assert_eq!((ticks(&usage, 7), total(&usage)), (15, 15));
    assert_eq!(sum(&usage, |row| row.cgroup == id), 15);
}
