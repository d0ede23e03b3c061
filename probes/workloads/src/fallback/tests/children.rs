// SPDX-License-Identifier: Apache-2.0
//! Time of children that nobody saw, from their parent's child time.

use super::*;

/// A parent with pid 2, an init, that is there at `open` or is born after it, and a node that is always busy enough.
struct Family {
    node: Node,
    reader: ProcReader,
    parent: Stat<'static>,
    ran: u64,
    busy: u64,
}

impl Family {
    fn new(cgroup: &'static str, child_ticks_at_open: Option<u64>) -> Self {
        let node = Node::new();
        let mut parent = Stat {
            parent: 0,
            start: 200,
            cgroup,
            ..Stat::of(2)
        };
        if let Some(child_ticks) = child_ticks_at_open {
            parent.child_ticks = child_ticks;
            node.write(parent);
            node.clocks.set(2, 1);
        }
        let reader = node.open_with_clocks();
        let mut family = Self {
            node,
            reader,
            parent,
            ran: 1,
            busy: 0,
        };
        if child_ticks_at_open.is_none() {
            family.waits_for(0);
            family.drain();
        }
        family
    }

    /// The parent runs for a moment and waits for children who ran so many ticks in all.
    fn waits_for(&mut self, ticks: u64) {
        self.parent.child_ticks += ticks;
        self.ran += 1;
        self.node.write(self.parent);
        self.node.clocks.set(2, self.ran);
    }

    /// A child that a scan will see.
    fn child(&self, pid: u32, parent: u32, ran_ticks: u64, child_ticks: u64, cgroup: &str) {
        self.node.write(Stat {
            parent,
            start: 200 + u64::from(pid),
            child_ticks,
            cgroup,
            ..Stat::of(pid)
        });
        self.node.clocks.set(pid, ran_ticks * TICK);
    }

    fn drain(&mut self) -> Usage {
        self.busy += 1_000;
        self.drain_busy(self.busy)
    }

    fn drain_busy(&mut self, busy: u64) -> Usage {
        self.node.cpu(&format!("cpu0 {busy} 0 0 0 0 0 0 0\n"));
        self.node.drain_acked(&mut self.reader, TickId(0))
    }
}

#[test]
fn children_that_lived_between_two_scans_are_a_row_without_a_task_of_the_root() {
    let mut family = Family::new("/", None);
    family.waits_for(50);
    let usage = family.drain();
    assert_eq!(residue(&usage, CgroupId::ROOT), 50);
    assert_eq!(sum(&usage, |_| true), 50);
    family.waits_for(7);
    assert_eq!(residue(&family.drain(), CgroupId::ROOT), 57);
    assert_eq!(residue(&family.drain(), CgroupId::ROOT), 57, "once");
}

#[test]
fn children_from_before_open_are_not_ours_nor_what_ticks_hid_of_them() {
    let mut family = Family::new("/", Some(5_000));
    family.waits_for(2);
    assert_eq!(residue(&family.drain(), CgroupId::ROOT), 0);
    family.waits_for(10);
    assert_eq!(residue(&family.drain(), CgroupId::ROOT), 10);
}

#[test]
fn of_a_known_child_only_the_last_slice_is_left() {
    let mut family = Family::new("/", None);
    family.child(9, 2, 30, 0, "/");
    assert_eq!(ticks(&family.drain(), 9), 30);
    family.node.die(9);
    family.waits_for(33);
    let usage = family.drain();
    assert_eq!((ticks(&usage, 9), residue(&usage, CgroupId::ROOT)), (30, 3));
    assert_eq!(sum(&usage, |_| true), 33);
}

#[test]
fn a_child_from_before_open_brings_none_of_its_past_along() {
    let mut family = Family::new("/", None);
    family.child(9, 2, 7, 40, "/");
    family.drain();
    // As if it had been missed at open, with 7 ticks of its own and 40 of its children.
    let mut family = Family {
        reader: family.node.open_with_clocks(),
        ..family
    };
    family.node.die(9);
    family.waits_for(7 + 40 + 5);
    // 2 ticks may be hidden in the base of the parent, 2 in that of the child.
    assert_eq!(residue(&family.drain(), CgroupId::ROOT), 5 - 4);
}

#[test]
fn grandchildren_are_paid_once_though_both_generations_end_in_one_window() {
    let mut family = Family::new("/", None);
    family.child(9, 2, 10, 0, "/");
    family.child(10, 9, 20, 0, "/");
    family.drain();
    // 9 waits for one that nobody saw (4 ticks); that is paid at the next scan.
    family.child(9, 2, 11, 4, "/");
    assert_eq!(residue(&family.drain(), CgroupId::ROOT), 4);
    // Then it waits for 10 and ends, and 2 waits for it: 11 + 4 + 20 and 3 that nobody saw.
    family.node.die(9);
    family.node.die(10);
    family.waits_for(11 + 4 + 20 + 3);
    let usage = family.drain();
    assert_eq!(residue(&usage, CgroupId::ROOT), 4 + 3);
    assert_eq!(sum(&usage, |_| true), 11 + 4 + 20 + 3);
}

#[test]
fn who_waits_for_the_orphans_of_the_dead_pays_them_no_second_time() {
    let mut family = Family::new("/", None);
    // 10's parent is not in the book: pid 2 may be who inherits it.
    family.child(10, 99, 20, 0, "/");
    family.drain();
    family.node.die(10);
    family.waits_for(25);
    assert_eq!(residue(&family.drain(), CgroupId::ROOT), 5);
    // Nor when its parent's pid is in younger hands.
    family.child(12, 2, 1, 0, "/");
    family.drain();
    family.child(11, 12, 20, 0, "/");
    family.drain();
    family.node.die(11);
    family.waits_for(20);
    assert_eq!(residue(&family.drain(), CgroupId::ROOT), 5);
}

#[test]
fn a_zombie_waits_for_nobody_so_its_children_are_known_to_who_inherits_them() {
    let mut family = Family::new("/", None);
    family.child(9, 2, 1, 0, "/");
    family.child(10, 9, 20, 0, "/");
    family.drain();
    // 9 is a zombie; 2 inherits 10, and waits for it first.
    family.node.write(Stat {
        parent: 2,
        start: 209,
        flags: 4,
        ..Stat::of(9)
    });
    family.node.die(10);
    family.waits_for(20);
    assert_eq!(residue(&family.drain(), CgroupId::ROOT), 0);
}

#[test]
fn a_child_that_ends_after_the_reading_is_known_before_the_next_one() {
    let mut family = Family::new("/", None);
    family.child(9, 2, 30, 0, "/");
    family.drain();
    // The scan reads the parent, then finds the child gone.
    family.node.die(9);
    assert_eq!(residue(&family.drain(), CgroupId::ROOT), 0);
    family.waits_for(30);
    assert_eq!(residue(&family.drain(), CgroupId::ROOT), 0);
}

/// Clocks with something to happen before each reading of one of them.
struct Staged {
    clocks: Clocks,
    of: u32,
    before: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
}

impl ProcessClock for Staged {
    fn read(&self, pid: u32) -> ClockReading {
        if pid == self.of
            && let Some(happen) = self.before.lock().unwrap().pop()
        {
            happen();
        }
        self.clocks.read(pid)
    }
}

/// A child that its parent waits for in the middle of a scan, after the child was read and before the parent is: when both
/// are new, or when the parent's clock failed a moment before.
fn waited_for_in_the_middle(parent_fails: bool) {
    let mut node = Node::new();
    // Whoever is listed first is the child.
    for pid in [5, 9] {
        node.process(pid, 200, 0, "/");
    }
    let mut pids = Vec::new();
    crate::procfs::ProcFs::new(&node.path("proc"))
        .pids(&mut pids)
        .unwrap();
    node.die(5);
    node.die(9);
    let (child, parent) = (pids[0], pids[1]);
    let (root, clocks) = (node.dir.path().to_owned(), node.clocks.clone());
    let waits = move || {
        fs::remove_dir_all(root.join(format!("proc/{child}"))).unwrap();
        clocks.say(child, ClockReading::Gone);
        clocks.set(parent, 3);
        Stat {
            start: 200,
            child_ticks: 30,
            ..Stat::of(parent)
        }
        .write(&root);
    };
    let clocks = node.clocks.clone();
    let fails = move || clocks.say(parent, ClockReading::Gone);
    let clocks = node.clocks.clone();
    // Taken from the end.
    let before: Vec<Box<dyn FnOnce() + Send>> = if parent_fails {
        vec![Box::new(waits), Box::new(fails), Box::new(|| {})]
    } else {
        vec![Box::new(waits)]
    };
    let clock = Box::new(Staged {
        clocks,
        of: parent,
        before: Mutex::new(before),
    });
    let mut reader = ProcReader::open_with(&node.roots(true), &two_packages(), Ok(clock)).unwrap();
    for (pid, parent, nanos) in [(parent, 1, 2), (child, parent, 30 * TICK)] {
        node.write(Stat {
            parent,
            start: 200,
            ..Stat::of(pid)
        });
        node.clocks.set(pid, nanos);
    }
    for scan in 1..=3 {
        node.cpu(&format!("cpu0 {} 0 0 0 0 0 0 0\n", scan * 1_000));
        let usage = node.drain_acked(&mut reader, TickId(0));
        assert_eq!(
            (ticks(&usage, child), residue(&usage, CgroupId::ROOT)),
            (30, 0),
            "scan {scan}"
        );
        node.clocks.set(parent, 10 + scan);
    }
    assert!(!node.path(&format!("proc/{child}")).exists(), "it was waited for");
}

#[test]
fn a_child_waited_for_between_its_own_reading_and_its_new_parents_is_paid_once() {
    waited_for_in_the_middle(false);
}

#[test]
fn a_child_waited_for_before_its_parent_is_found_alive_after_all_is_paid_once() {
    waited_for_in_the_middle(true);
}

#[test]
fn where_a_cgroup_counts_its_residue_pays_and_the_child_time_does_not() {
    let mut family = Family::new("/a.service", None);
    let id = family.node.cgroup("/a.service", 0);
    family.waits_for(0);
    family.drain();
    family.waits_for(50);
    family.node.cgroup("/a.service", 60);
    let usage = family.drain();
    assert!((59..=60).contains(&residue(&usage, id)));
    assert_eq!(residue(&usage, CgroupId::ROOT), 0);
}

#[test]
fn a_child_out_of_a_cgroup_that_counts_is_not_paid_by_its_parent_in_the_root() {
    let mut family = Family::new("/", None);
    let id = family.node.cgroup("/a.service", 10);
    family.child(9, 2, 10, 0, "/a.service");
    family.drain();
    // Its cgroup pays the last slice and what its unseen children ran; with it or after it goes.
    family.node.cgroup("/a.service", 40);
    family.node.die(9);
    family.waits_for(40);
    let usage = family.drain();
    assert_eq!((residue(&usage, id), residue(&usage, CgroupId::ROOT)), (30, 0));
    family.waits_for(0);
    assert_eq!(residue(&family.drain(), CgroupId::ROOT), 0);
    family.waits_for(12);
    let usage = family.drain();
    assert_eq!(residue(&usage, CgroupId::ROOT), 12 - 2, "the next one is");
}

#[test]
fn a_child_whose_cgroup_went_with_it_is_not_paid_by_its_parent_either() {
    let mut family = Family::new("/", None);
    family.node.cgroup("/a.service", 10);
    family.child(9, 2, 10, 0, "/a.service");
    family.drain();
    fs::remove_dir_all(family.node.path("cgroup/a.service")).unwrap();
    family.node.die(9);
    family.waits_for(40);
    assert_eq!(residue(&family.drain(), CgroupId::ROOT), 0);
}

#[test]
fn a_cgroup_whose_counter_cannot_be_had_takes_its_children_from_the_child_time() {
    let mut family = Family::new("/a.service", None);
    let id = family.node.cgroup("/a.service", 0);
    fs::remove_file(family.node.path("cgroup/a.service/cpu.stat")).unwrap();
    family.waits_for(0);
    family.drain();
    family.waits_for(50);
    let usage = family.drain();
    assert_eq!((residue(&usage, id), residue(&usage, CgroupId::ROOT)), (50, 0));
}

#[test]
fn no_more_is_charged_than_the_node_was_busy_and_the_rest_waits() {
    let mut family = Family::new("/", None);
    family.drain_busy(family.busy);
    family.drain_busy(family.busy);
    family.waits_for(50);
    // 20 ticks, and 5 that the one CPU's may be off; the parent ran a moment, too.
    let usage = family.drain_busy(family.busy + 20);
    assert_eq!(residue(&usage, CgroupId::ROOT), 24);
    let usage = family.drain_busy(family.busy + 30);
    assert_eq!(
        residue(&usage, CgroupId::ROOT),
        34,
        "what the ticks were off is owed"
    );
    let usage = family.drain_busy(family.busy + 130);
    assert_eq!(residue(&usage, CgroupId::ROOT), 50);
}

#[test]
fn without_proc_stat_nothing_is_charged_and_nothing_is_lost() {
    let mut family = Family::new("/", None);
    family.waits_for(50);
    fs::remove_file(family.node.path("proc/stat")).unwrap();
    let usage = family.node.drain_acked(&mut family.reader, TickId(0));
    assert_eq!(residue(&usage, CgroupId::ROOT), 0);
    assert_eq!(residue(&family.drain(), CgroupId::ROOT), 50);
}
