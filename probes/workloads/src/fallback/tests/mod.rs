// SPDX-License-Identifier: Apache-2.0
//! The fallback over fixture trees, and over the real `/proc`.

mod children;
mod clocks;
mod gone;
mod kernel;
mod moves;

use super::*;
use crate::cgroup::Hierarchy;
use crate::procfs::{ClockReading, ProcessClock};
use crate::{Machine, Roots};
use attribution::model::{CgroupId, MonotonicNanos, PackageId, TaskKind, TaskUsage, TickId, Usage};
use proptest::prelude::*;
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

const ID: &str = "a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90";
const TICK: u64 = 10_000_000;

/// Clocks by pid, set by the test.
#[derive(Clone, Default)]
struct Clocks(Arc<Mutex<HashMap<u32, ClockReading>>>);

impl Clocks {
    fn set(&self, pid: u32, nanos: u64) {
        self.say(pid, ClockReading::Time(CpuNanos::from_nanos(nanos)));
    }

    fn say(&self, pid: u32, reading: ClockReading) {
        self.0.lock().unwrap().insert(pid, reading);
    }
}

impl ProcessClock for Clocks {
    fn read(&self, pid: u32) -> ClockReading {
        let clocks = self.0.lock().unwrap();
        clocks.get(&pid).copied().unwrap_or(ClockReading::Gone)
    }
}

/// One process as its files tell it.
#[derive(Clone, Copy)]
struct Stat<'a> {
    pid: u32,
    parent: u32,
    comm: &'a str,
    flags: u32,
    ticks: u64,
    child_ticks: u64,
    start: u64,
    cpu: u32,
    cgroup: &'a str,
}

impl Stat<'_> {
    fn of(pid: u32) -> Self {
        Self {
            pid,
            parent: 1,
            comm: "p",
            flags: 0,
            ticks: 0,
            child_ticks: 0,
            start: 100,
            cpu: 0,
            cgroup: "/",
        }
    }

    /// Puts its files in place.
    fn write(&self, root: &Path) {
        let Stat {
            pid,
            parent,
            comm,
            flags,
            ticks,
            child_ticks,
            start,
            cpu,
            cgroup,
        } = *self;
        let folder = root.join(format!("proc/{pid}"));
        fs::create_dir_all(&folder).unwrap();
        let zeros = "0 ".repeat(16);
        let stat = format!(
            "{pid} ({comm}) S {parent} 1 1 0 -1 {flags} 0 0 0 0 {ticks} 0 {child_ticks} 0 20 0 1 0 {start} {zeros}{cpu} 0\n"
        );
        fs::write(folder.join("stat"), stat).unwrap();
        fs::write(
            folder.join("cgroup"),
            format!("4:cpuacct:{cgroup}\n0::{cgroup}\n"),
        )
        .unwrap();
    }
}

/// A node as a tree; processes are born at 100 ticks unless said otherwise.
struct Node {
    dir: tempfile::TempDir,
    tick: u64,
    clocks: Clocks,
}

impl Node {
    fn new() -> Self {
        let node = Self {
            dir: tempfile::tempdir().unwrap(),
            tick: 0,
            clocks: Clocks::default(),
        };
        fs::create_dir_all(node.path("cgroup")).unwrap();
        fs::create_dir_all(node.path("proc")).unwrap();
        node.cpu("cpu0 0 0 0 0 0 0 0 0 0 0\n");
        node
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn cpu(&self, lines: &str) {
        fs::write(self.path("proc/stat"), lines).unwrap();
    }

    /// (Re)writes a process.
    fn process(&self, pid: u32, start: u64, ticks: u64, cgroup: &str) {
        self.process_on(pid, start, ticks, cgroup, 0);
    }

    fn process_on(&self, pid: u32, start: u64, ticks: u64, cgroup: &str, cpu: u32) {
        let comm = format!("p{pid}");
        self.write(Stat {
            comm: &comm,
            ticks,
            start,
            cpu,
            cgroup,
            ..Stat::of(pid)
        });
    }

    /// (Re)writes a process's files.
    fn write(&self, stat: Stat<'_>) {
        stat.write(self.dir.path());
    }

    fn die(&self, pid: u32) {
        fs::remove_dir_all(self.path(&format!("proc/{pid}"))).unwrap();
        self.clocks.say(pid, ClockReading::Gone);
    }

    /// Process `pid`, born after `open`, has run so many ticks by its clock and is in `cgroup`.
    fn runs(&self, pid: u32, ran: u64, cgroup: &str) {
        self.process(pid, 200, 0, cgroup);
        self.clocks.set(pid, ran * TICK);
    }

    /// Moves a cgroup out of the tree, so that none made later has its inode.
    fn remove(&self, path: &str) {
        let aside = self.path(&format!("gone{}", self.tick));
        fs::rename(self.path(&format!("cgroup{path}")), aside).unwrap();
    }

    /// (Re)writes a cgroup whose counter stands at so many ticks.
    fn cgroup(&self, path: &str, ticks: u64) -> CgroupId {
        let folder = self.path("cgroup").join(path.trim_start_matches('/'));
        fs::create_dir_all(&folder).unwrap();
        self.counter(path, ticks * TICK);
        CgroupId(fs::metadata(folder).unwrap().ino())
    }

    /// Sets a cgroup's counter.
    fn counter(&self, path: &str, usage: u64) {
        let folder = self.path("cgroup").join(path.trim_start_matches('/'));
        fs::write(
            folder.join("cpu.stat"),
            format!("usage_usec {}\nuser_usec 0\n", usage / 1_000),
        )
        .unwrap();
        fs::write(folder.join("cpuacct.usage"), format!("{usage}\n")).unwrap();
    }

    fn roots(&self, unified: bool) -> Roots {
        Roots::in_folder(self.dir.path(), unified)
    }

    fn open(&self) -> ProcReader {
        ProcReader::open(&self.roots(true), &two_packages()).unwrap()
    }

    /// With clocks, as far as the test sets them.
    fn open_with_clocks(&self) -> ProcReader {
        let clock = Box::new(self.clocks.clone());
        ProcReader::open_with(&self.roots(true), &two_packages(), Ok(clock)).unwrap()
    }

    /// The next tick, with everything before it acknowledged.
    fn drain(&mut self, reader: &mut ProcReader) -> Usage {
        let acked = TickId(self.tick);
        self.drain_acked(reader, acked)
    }

    fn drain_acked(&mut self, reader: &mut ProcReader, acked: TickId) -> Usage {
        self.tick += 1;
        let mut now = || MonotonicNanos::from_nanos(1);
        let (_, usage) = reader
            .drain(TickId(self.tick), acked, &mut now, Vec::new())
            .unwrap();
        usage
    }
}

/// CPU 0 is on package 0, CPU 1 on package 1.
fn two_packages() -> Machine {
    Machine {
        packages_of_cpu: vec![(0, PackageId(0)), (1, PackageId(1))],
        ..Machine::default()
    }
}

/// Ticks of a process's rows, all packages and cgroups together.
fn ticks(usage: &Usage, pid: u32) -> u64 {
    sum(usage, |row| row.task.is_some_and(|task| task.tgid == pid))
}

/// Ticks of a cgroup's row without a task.
fn residue(usage: &Usage, cgroup: CgroupId) -> u64 {
    sum(usage, |row| row.task.is_none() && row.cgroup == cgroup)
}

fn sum(usage: &Usage, of: impl Fn(&TaskUsage) -> bool) -> u64 {
    let rows = usage.tasks.iter().filter(|row| of(row));
    rows.map(|row| row.cpu.as_nanos()).sum::<u64>() / TICK
}

fn lost(usage: &Usage, reason: &str) -> u64 {
    let found = usage.lost.iter().find(|lost| lost.reason == reason);
    found.unwrap().count
}

#[test]
fn counting_begins_at_open_and_a_later_process_counts_whole() {
    let mut node = Node::new();
    node.process(7, 100, 500, "/");
    let mut reader = node.open();
    assert!(
        node.drain(&mut reader).tasks.is_empty(),
        "who has not run since has no row"
    );
    node.process(7, 100, 503, "/");
    node.process(8, 200, 4, "/");
    let usage = node.drain(&mut reader);
    assert_eq!((ticks(&usage, 7), ticks(&usage, 8)), (3, 4));
    let row = usage
        .tasks
        .iter()
        .find(|row| row.task.unwrap().tgid == 8)
        .unwrap();
    assert_eq!(
        (row.cgroup, row.kind, row.ended),
        (CgroupId::ROOT, TaskKind::User, false)
    );
    assert_eq!(row.comm.to_text(), "p8");
}

#[test]
fn a_process_that_open_missed_does_not_bring_its_past_along() {
    let mut node = Node::new();
    node.process(7, 100, 1, "/");
    fs::create_dir_all(node.path("proc/6")).unwrap();
    fs::write(node.path("proc/6/stat"), "unreadable now").unwrap();
    let mut reader = node.open();
    node.process(6, 90, 100_000, "/");
    node.drain(&mut reader);
    node.process(6, 90, 100_002, "/");
    assert_eq!(ticks(&node.drain(&mut reader), 6), 2);
}

#[test]
fn a_process_born_in_the_tick_of_open_counts_whole() {
    let mut node = Node::new();
    node.process(7, 100, 1, "/");
    let mut reader = node.open();
    node.process(8, 100, 3, "/");
    assert_eq!(ticks(&node.drain(&mut reader), 8), 3);
}

#[test]
fn time_goes_to_the_package_that_the_process_is_on() {
    let mut node = Node::new();
    node.process(7, 100, 0, "/");
    let mut reader = node.open();
    node.process_on(7, 100, 3, "/", 0);
    node.drain(&mut reader);
    node.process_on(7, 100, 8, "/", 1);
    let usage = node.drain(&mut reader);
    let mut rows: Vec<_> = usage
        .tasks
        .iter()
        .map(|row| (row.package.0, row.cpu.as_nanos() / TICK))
        .collect();
    rows.sort_unstable();
    assert_eq!(rows, [(0, 3), (1, 5)]);
}

#[test]
fn the_dead_stay_listed_with_their_last_total_until_acknowledged() {
    let mut node = Node::new();
    let mut reader = node.open();
    node.process(7, 200, 5, "/");
    node.drain(&mut reader);
    node.die(7);
    let usage = node.drain(&mut reader);
    assert!(usage.tasks[0].ended && ticks(&usage, 7) == 5);
    let listed = TickId(node.tick);
    let usage = node.drain_acked(&mut reader, TickId(listed.0 - 1));
    assert_eq!(
        (usage.tasks.len(), ticks(&usage, 7)),
        (1, 5),
        "its window is still open"
    );
    assert!(node.drain_acked(&mut reader, listed).tasks.is_empty());
}

#[test]
fn a_reused_pid_is_another_process() {
    let mut node = Node::new();
    let mut reader = node.open();
    node.process(7, 200, 5, "/");
    node.drain(&mut reader);
    node.process(7, 300, 2, "/");
    let usage = node.drain(&mut reader);
    let of = |start: u64| {
        let mut rows = usage.tasks.iter();
        let row = rows.find(|row| row.task.unwrap().start_ticks == start).unwrap();
        (row.cpu.as_nanos() / TICK, row.ended)
    };
    assert_eq!((of(200), of(300)), ((5, true), (2, false)));
}

#[test]
fn a_process_that_cannot_be_read_for_a_while_is_counted_and_not_buried() {
    let mut node = Node::new();
    let mut reader = node.open();
    node.process(7, 200, 5, "/");
    node.process(8, 200, 5, "/");
    node.drain(&mut reader);
    fs::write(node.path("proc/7/stat"), "nonsense").unwrap();
    let usage = node.drain(&mut reader);
    assert_eq!((ticks(&usage, 7), ticks(&usage, 8)), (5, 5));
    assert!(usage.tasks.iter().all(|row| !row.ended));
    assert_eq!((lost(&usage, "unparsable"), lost(&usage, "denied")), (1, 0));
    node.process(7, 200, 9, "/");
    assert_eq!(ticks(&node.drain(&mut reader), 7), 9);
}

#[test]
fn what_a_cgroup_counted_beyond_its_processes_is_its_own_row() {
    let mut node = Node::new();
    let id = node.cgroup("/a.service", 1_000);
    node.process(7, 100, 50, "/a.service");
    let mut reader = node.open();
    // The process ran 10 ticks, the cgroup counted 100: 90 less the 2 that rounding may hide.
    node.process(7, 100, 60, "/a.service");
    node.cgroup("/a.service", 1_100);
    let usage = node.drain(&mut reader);
    assert_eq!((ticks(&usage, 7), residue(&usage, id)), (10, 88));
    let row = usage.tasks.iter().find(|row| row.task.is_some()).unwrap();
    assert_eq!(row.cgroup, id);
    // Later the process explains more than the counter says: the residue stays.
    node.process(7, 100, 90, "/a.service");
    assert_eq!(residue(&node.drain(&mut reader), id), 88);
    // Dead, it hides nothing any more.
    node.cgroup("/a.service", 1_200);
    node.die(7);
    let usage = node.drain(&mut reader);
    assert_eq!((ticks(&usage, 7), residue(&usage, id)), (40, 160));
}

#[test]
fn a_cgroup_made_after_open_counts_whole_and_one_that_was_there_does_not() {
    let mut node = Node::new();
    let old = node.cgroup("/old.service", 5_000);
    let mut reader = node.open();
    let new = node.cgroup("/new.service", 100);
    node.process(7, 200, 10, "/new.service");
    node.process(8, 200, 10, "/old.service");
    node.drain(&mut reader);
    let usage = node.drain(&mut reader);
    assert_eq!((residue(&usage, new), residue(&usage, old)), (88, 0));
    node.cgroup("/old.service", 5_050);
    assert_eq!(residue(&node.drain(&mut reader), old), 48);
}

#[test]
fn what_a_new_cgroup_has_to_pay_is_not_paid_above_it_before() {
    let mut node = Node::new();
    let mut reader = node.open_with_clocks();
    node.cgroup("/a", 0);
    node.process(6, 200, 0, "/a");
    node.clocks.set(6, 0);
    node.drain(&mut reader);
    let outer = node.cgroup("/a", 45);
    let inner = node.cgroup("/a/b", 40);
    node.process(7, 200, 0, "/a/b");
    node.clocks.set(7, 10 * TICK);
    let usage = node.drain(&mut reader);
    assert_eq!((residue(&usage, outer), residue(&usage, inner)), (5, 0));
    let usage = node.drain(&mut reader);
    assert_eq!((residue(&usage, outer), residue(&usage, inner)), (5, 30));
}

#[test]
fn what_was_paid_above_a_new_cgroup_before_anybody_was_seen_in_it_is_not_paid_again() {
    let mut node = Node::new();
    let mut reader = node.open_with_clocks();
    node.cgroup("/a", 0);
    node.runs(6, 0, "/a");
    node.drain(&mut reader);
    let outer = node.cgroup("/a", 40);
    let (inner, innermost) = (node.cgroup("/a/b", 40), node.cgroup("/a/b/c", 25));
    assert_eq!(residue(&node.drain(&mut reader), outer), 40);
    // Somebody is seen in both, and 7 more ran below that nobody sees.
    node.runs(7, 1, "/a/b");
    node.runs(8, 2, "/a/b/c");
    for (path, ran) in [("/a", 50), ("/a/b", 50), ("/a/b/c", 30)] {
        node.cgroup(path, ran);
    }
    node.drain(&mut reader);
    node.drain(&mut reader);
    let usage = node.drain(&mut reader);
    assert_eq!(sum(&usage, |_| true), 50);
    assert_eq!(
        (
            residue(&usage, outer),
            residue(&usage, inner),
            residue(&usage, innermost)
        ),
        (47, 0, 0)
    );
    // From then on it is the new ones'.
    for (path, ran) in [("/a", 59), ("/a/b", 58), ("/a/b/c", 35)] {
        node.cgroup(path, ran);
    }
    let usage = node.drain(&mut reader);
    assert_eq!(
        (
            residue(&usage, outer),
            residue(&usage, inner),
            residue(&usage, innermost)
        ),
        (48, 3, 5)
    );
}

#[test]
fn time_in_a_nested_cgroup_is_not_counted_again_above_it() {
    let mut node = Node::new();
    let mut reader = node.open();
    let outer = node.cgroup(&format!("/docker/{ID}"), 100);
    let inner = node.cgroup(&format!("/docker/{ID}/init.scope"), 60);
    node.process(7, 200, 30, &format!("/docker/{ID}/init.scope"));
    node.drain(&mut reader);
    let usage = node.drain(&mut reader);
    // inner: 60 - 30 - 2; outer, whose root is watched although nobody is in it: 100 - 30 - 28 - 2
    assert_eq!((residue(&usage, inner), residue(&usage, outer)), (28, 40));
    // The inner one goes; what it explained stays explained above.
    fs::remove_dir_all(node.path(&format!("cgroup/docker/{ID}/init.scope"))).unwrap();
    node.die(7);
    let usage = node.drain_acked(&mut reader, TickId(0));
    assert_eq!(
        (residue(&usage, inner), residue(&usage, outer), ticks(&usage, 7)),
        (28, 42, 30)
    );
    assert!(usage.tasks.iter().find(|row| row.cgroup == inner).unwrap().ended);
    assert_eq!(residue(&node.drain(&mut reader), inner), 0, "acknowledged");
}

/// Pid 10 works 10 ticks between two drains and moves from a to b after `moves_after` of them in all; somebody idle sits
/// in b from the start.
fn a_moving_process(moves_after: u64) {
    let mut node = Node::new();
    let (a, b) = (node.cgroup("/a.service", 0), node.cgroup("/b.service", 0));
    node.process(10, 100, 0, "/a.service");
    node.process(11, 100, 0, "/b.service");
    let mut reader = node.open();
    let mut usage = Usage::default();
    for drain in 1..=25 {
        let worked = drain * 10;
        let in_a = worked.min(moves_after);
        let now_in = if in_a < worked { "/b.service" } else { "/a.service" };
        node.process(10, 100, worked, now_in);
        node.cgroup("/a.service", in_a);
        node.cgroup("/b.service", worked - in_a);
        usage = node.drain(&mut reader);
        let paid = sum(&usage, |_| true);
        assert!(paid <= worked, "drain {drain}: {paid} of {worked}");
    }
    assert_eq!(ticks(&usage, 10), 250);
    assert_eq!((residue(&usage, a), residue(&usage, b)), (0, 0));
    let in_b = sum(&usage, |row| row.cgroup == b);
    assert!(in_b >= 250 - moves_after, "followed at once: {in_b}");
}

#[test]
fn a_move_between_two_scans_pays_no_time_twice() {
    a_moving_process(50);
}

#[test]
fn a_move_halfway_between_two_scans_pays_no_time_twice() {
    a_moving_process(95);
}

#[test]
fn without_a_unified_hierarchy_cpuacct_counts() {
    let mut node = Node::new();
    let id = node.cgroup(&format!("/docker/{ID}"), 0);
    node.process(7, 100, 0, &format!("/docker/{ID}"));
    let mut reader = ProcReader::open(&node.roots(false), &two_packages()).unwrap();
    assert_eq!(reader.hierarchy(), Some(Hierarchy::Version1));
    node.process(7, 100, 10, &format!("/docker/{ID}"));
    node.cgroup(&format!("/docker/{ID}"), 50);
    let usage = node.drain(&mut reader);
    assert_eq!((ticks(&usage, 7), residue(&usage, id)), (10, 38));
}

#[test]
fn a_unit_that_is_started_again_is_another_cgroup() {
    let mut node = Node::new();
    let first = node.cgroup("/a.service", 100);
    node.process(7, 100, 0, "/a.service");
    let mut reader = node.open();
    node.cgroup("/a.service", 150);
    assert_eq!(residue(&node.drain(&mut reader), first), 48);
    node.remove("/a.service");
    node.die(7);
    let second = node.cgroup("/a.service", 20);
    assert_ne!(first, second);
    node.process(8, 300, 1, "/a.service");
    let usage = node.drain_acked(&mut reader, TickId(0));
    assert_eq!((residue(&usage, first), ticks(&usage, 8)), (48, 1));
    let usage = node.drain(&mut reader);
    assert_eq!((residue(&usage, first), residue(&usage, second)), (0, 17));
}

#[test]
fn every_counter_that_cannot_be_read_is_counted() {
    let mut node = Node::new();
    let names = ["/a.service", "/b.service", "/c.service"];
    for (pid, name) in (7..).zip(names) {
        node.cgroup(name, 0);
        node.process(pid, 100, 0, name);
    }
    let mut reader = node.open();
    for name in names {
        fs::write(node.path(&format!("cgroup{name}/cpu.stat")), "nonsense").unwrap();
    }
    assert_eq!(lost(&node.drain(&mut reader), "unparsable"), 3);
    assert_eq!(lost(&node.drain(&mut reader), "unparsable"), 6);
}

#[test]
fn packages_come_from_proc_stat_and_the_section_from_the_clock() {
    let node = Node::new();
    node.cpu("cpu0 10 0 0 10 0 0 0 0 0 0\ncpu1 10 0 0 10 0 0 0 0 0 0\n");
    let mut reader = node.open();
    node.cpu("cpu0 13 0 0 14 0 0 0 0 0 0\ncpu1 10 0 5 10 6 0 0 0 0 0\n");
    let mut clock = 5;
    let mut now = || {
        clock += 1;
        MonotonicNanos::from_nanos(clock)
    };
    let (section, usage) = reader.drain(TickId(1), TickId(0), &mut now, Vec::new()).unwrap();
    assert_eq!((section.began.as_nanos(), section.ended.as_nanos()), (6, 7));
    let found: Vec<_> = usage
        .packages
        .iter()
        .map(|row| {
            (
                row.package.0,
                row.cpus,
                row.busy.as_nanos() / TICK,
                row.idle.as_nanos() / TICK,
            )
        })
        .collect();
    assert_eq!(found, [(0, 1, 3, 4), (1, 1, 5, 6)]);
}

#[test]
fn an_unreadable_stat_costs_the_packages_and_a_missing_proc_the_drain() {
    let mut node = Node::new();
    let mut reader = node.open();
    fs::remove_file(node.path("proc/stat")).unwrap();
    node.process(7, 200, 1, "/");
    let usage = node.drain(&mut reader);
    assert_eq!(
        (ticks(&usage, 7), usage.packages.len(), lost(&usage, "unparsable")),
        (1, 1, 1)
    );
    fs::remove_dir_all(node.path("proc")).unwrap();
    let mut now = || MonotonicNanos::from_nanos(1);
    assert!(reader.drain(TickId(9), TickId(0), &mut now, Vec::new()).is_err());
    assert!(ProcReader::open(&node.roots(true), &two_packages()).is_err());
}

/// One step of a made-up life: pid, whether it lives, its counter, its start, its cgroup, the cgroup's counter.
fn step() -> impl Strategy<Value = (u32, bool, u64, u64, usize, u64)> {
    (
        1_u32..5,
        any::<bool>(),
        0_u64..200,
        200_u64..203,
        0_usize..3,
        0_u64..400,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_the_files_say_no_row_falls_and_no_two_are_the_same(
        steps in proptest::collection::vec(step(), 1..40)
    ) {
        let mut node = Node::new();
        let names = ["/a.service".to_owned(), format!("/docker/{ID}"), format!("/docker/{ID}/x")];
        for name in &names {
            node.cgroup(name, 10);
        }
        let mut reader = node.open();
        let mut before: HashMap<_, u64> = HashMap::new();
        for (pid, lives, counter, start, at, usage) in steps {
            if lives {
                node.process_on(pid, start, counter, &names[at], pid % 2);
            } else if node.path(&format!("proc/{pid}")).exists() {
                node.die(pid);
            }
            node.cgroup(&names[at], usage);
            let report = node.drain_acked(&mut reader, TickId(0));
            let mut seen = HashMap::new();
            for row in &report.tasks {
                let key = (row.task, row.cgroup, row.package);
                // A made-up pid may come back with a start it had before; a kernel's does not.
                *seen.entry((key, row.ended)).or_insert(0_u32) += 1;
                if row.task.is_none() {
                    prop_assert_eq!(seen[&(key, row.ended)], 1);
                    let last = before.insert(key, row.cpu.as_nanos()).unwrap_or(0);
                    prop_assert!(row.cpu.as_nanos() >= last);
                } else if !row.ended {
                    prop_assert_eq!(seen[&(key, false)], 1);
                }
            }
        }
    }
}

#[test]
fn the_real_proc_shows_this_process_working() {
    let roots = Roots::detect(Path::new("/proc")).unwrap();
    let machine = Machine::read(Path::new("/proc"), Path::new("/sys"));
    // Before counting begins: what opening itself uses is counted, too.
    let start = std::time::Instant::now();
    let mut reader = ProcReader::open(&roots, &machine).unwrap();
    let mut clock = || MonotonicNanos::from_nanos(u64::try_from(start.elapsed().as_nanos()).unwrap());
    // Draining is work enough: some ticks of it have to show before the deadline.
    for tick in 1.. {
        let (section, usage) = reader
            .drain(TickId(tick), TickId(tick - 1), &mut clock, Vec::new())
            .unwrap();
        assert!(section.began < section.ended);
        let own = ticks(&usage, std::process::id());
        if own >= 5 {
            let busy: u64 = usage.packages.iter().map(|row| row.busy.as_nanos() / TICK).sum();
            let cpus: u32 = usage.packages.iter().map(|row| row.cpus).sum();
            assert!(own <= busy + 10, "{own} of {busy} ticks");
            assert_eq!(usize::try_from(cpus).unwrap(), machine.threads());
            assert!(own * TICK <= section.ended.as_nanos() * u64::from(cpus));
            return;
        }
        assert!(
            start.elapsed().as_secs() < 120,
            "only {own} ticks in {tick} drains"
        );
    }
}
