// SPDX-License-Identifier: Apache-2.0
//! The resolver over fixture trees: what it says, and how many files it needs for that.

use super::*;
use attribution::model::{Comm, ContainerId, CpuNanos, EventCounts, PackageId, Tally, TallyKind};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

const ID: &str = "a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90";
const OTHER: &str = "00000000111111112222222233333333444444445555555566666666deadbeef";
const SECOND: Duration = Duration::from_secs(1);

/// A proc tree and a cgroup tree.
struct Node(tempfile::TempDir);

impl Node {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["proc", "cgroup"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        Self(dir)
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.0.path().join(path)
    }

    fn roots(&self, unified: bool) -> Roots {
        Roots::in_folder(self.0.path(), unified)
    }

    fn resolver(&self) -> Resolver {
        Resolver::new(self.roots(true))
    }

    fn cgroup(&self, path: &str) -> CgroupId {
        let folder = self.path("cgroup").join(path.trim_start_matches('/'));
        fs::create_dir_all(&folder).unwrap();
        CgroupId(fs::metadata(folder).unwrap().ino())
    }

    fn process(&self, pid: u32, start_ticks: u64, cgroups: &str) -> TaskKey {
        let folder = self.path("proc").join(pid.to_string());
        fs::create_dir_all(&folder).unwrap();
        let zeros = "0 ".repeat(16);
        let stat = format!("{pid} (sh) S 1 1 1 0 -1 0 0 0 0 0 7 3 0 0 20 0 1 0 {start_ticks} {zeros}0 0\n");
        fs::write(folder.join("stat"), stat).unwrap();
        fs::write(folder.join("cgroup"), cgroups).unwrap();
        TaskKey {
            tgid: pid,
            start_ticks,
        }
    }
}

fn row(task: Option<TaskKey>, cgroup: CgroupId) -> TaskUsage {
    TaskUsage {
        task,
        cgroup,
        package: PackageId(0),
        cpu: CpuNanos::from_nanos(1),
        events: EventCounts::ZERO,
        comm: Comm::default(),
        kind: TaskKind::User,
        ended: false,
    }
}

fn usage(rows: &[TaskUsage]) -> Usage {
    Usage {
        tasks: rows.to_vec(),
        ..Usage::default()
    }
}

fn container(identity: &Identity, task: Option<TaskKey>, cgroup: CgroupId) -> Option<&str> {
    let owner = identity.owner(task, cgroup)?;
    owner.container.as_ref().map(ContainerId::as_str)
}

#[test]
fn an_id_is_looked_up_once_and_then_costs_no_file() {
    let node = Node::new();
    let id = node.cgroup(&format!("/docker/{ID}"));
    let mut resolver = node.resolver();
    let report = usage(&[row(None, id), row(None, CgroupId::ROOT)]);
    let first = resolver.resolve(&report, SECOND);
    assert_eq!(container(&first, None, id), Some(ID));
    assert_eq!(first.cgroups[&CgroupId::ROOT].path, "/");
    let after = *resolver.counters();
    assert_eq!((after.walks, after.cgroups_found), (1, 2));
    for (what, kind, count) in [
        ("walks", TallyKind::Done, 1),
        ("cgroups found", TallyKind::Done, 2),
        ("cgroups missed", TallyKind::Lost, 0),
        ("cgroups", TallyKind::Held, 2),
    ] {
        let told = Tally {
            probe: "resolver",
            what,
            kind,
            count,
        };
        assert!(resolver.tallies().contains(&told), "{told:?}");
    }
    fs::remove_dir_all(node.path("cgroup")).unwrap();
    let second = resolver.resolve(&report, SECOND);
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(*resolver.counters(), after);
}

#[test]
fn the_root_alone_needs_no_walk() {
    let node = Node::new();
    let mut resolver = node.resolver();
    resolver.resolve(&usage(&[row(None, CgroupId::ROOT)]), SECOND);
    assert_eq!(resolver.counters().walks, 0);
}

#[test]
fn an_id_that_is_nowhere_costs_one_walk_and_rides_along_with_the_next() {
    let node = Node::new();
    let mut resolver = node.resolver();
    let gone = CgroupId(u64::MAX);
    let identity = resolver.resolve(&usage(&[row(None, gone)]), SECOND);
    assert!(identity.owner(None, gone).is_none());
    resolver.resolve(&usage(&[row(None, gone)]), SECOND);
    assert_eq!(
        (resolver.counters().walks, resolver.counters().cgroups_missed),
        (1, 1)
    );
    let id = node.cgroup("/system.slice/a.service");
    let identity = resolver.resolve(&usage(&[row(None, gone), row(None, id)]), SECOND);
    assert_eq!(identity.cgroups[&id].unit.as_deref(), Some("a.service"));
    assert_eq!(
        (resolver.counters().walks, resolver.counters().cgroups_missed),
        (2, 1)
    );
}

#[test]
fn a_cgroup_that_no_report_names_any_more_is_dropped() {
    let node = Node::new();
    let (one, two) = (node.cgroup("/a.service"), node.cgroup("/b.service"));
    let mut resolver = node.resolver();
    let both = resolver.resolve(&usage(&[row(None, one), row(None, two)]), SECOND);
    let left = resolver.resolve(&usage(&[row(None, two)]), SECOND);
    assert_eq!(
        (both.cgroups.len(), left.cgroups.len()),
        (2, 1),
        "who holds the old one keeps it"
    );
    assert!(left.cgroups.contains_key(&two));
    assert_eq!(resolver.held().cgroups, 1);
}

#[test]
fn a_cgroup_named_twice_does_not_keep_another_one_alive() {
    let node = Node::new();
    let [a, b, c] = ["/a.service", "/b.service", "/c.service"].map(|path| row(None, node.cgroup(path)));
    let mut resolver = node.resolver();
    resolver.resolve(&usage(&[a, b, c]), SECOND);
    assert_eq!(resolver.resolve(&usage(&[a, b, a]), SECOND).cgroups.len(), 2);
}

#[test]
fn the_dead_are_not_asked_again() {
    let node = Node::new();
    let task = node.process(7, 100, &format!("4:cpu:/docker/{ID}\n0::/\n"));
    let mut report = row(Some(task), CgroupId::ROOT);
    let mut resolver = node.resolver();
    resolver.resolve(&usage(&[report]), SECOND * 2);
    report.ended = true;
    let identity = resolver.resolve(&usage(&[report]), SECOND * 3);
    assert_eq!(resolver.counters().tasks_read, 1);
    assert_eq!(
        container(&identity, Some(task), CgroupId::ROOT),
        Some(ID),
        "and stay what they were"
    );
}

#[test]
fn a_process_in_the_unified_root_is_asked_and_version_1_knows() {
    let node = Node::new();
    let old = node.process(
        7,
        100,
        &format!("9:name=systemd:/\n4:cpu,cpuacct:/docker/{ID}\n0::/\n"),
    );
    let host = node.process(8, 100, "4:cpu,cpuacct:/\n0::/\n");
    let mut kernel = row(Some(node.process(9, 100, "4:cpu:/a.service\n")), CgroupId::ROOT);
    kernel.kind = TaskKind::Kernel;
    let mut resolver = node.resolver();
    let report = usage(&[
        row(Some(old), CgroupId::ROOT),
        row(Some(host), CgroupId::ROOT),
        kernel,
    ]);
    let identity = resolver.resolve(&report, SECOND * 60);
    assert_eq!(container(&identity, Some(old), CgroupId::ROOT), Some(ID));
    assert_eq!(identity.tasks.len(), 1);
    assert_eq!(resolver.counters().tasks_read, 2, "kernel threads are not asked");
    let again = resolver.resolve(&report, SECOND * 61);
    assert!(Arc::ptr_eq(&identity, &again));
    assert_eq!(
        resolver.counters().tasks_read,
        2,
        "settled processes are not asked again"
    );
    let none = resolver.resolve(&usage(&[]), SECOND * 62);
    assert!(none.tasks.is_empty() && resolver.held().tasks == 0);
}

#[test]
fn a_process_in_a_unified_cgroup_is_not_asked() {
    let node = Node::new();
    let id = node.cgroup(&format!("/docker/{ID}"));
    let task = node.process(7, 100, "4:cpu:/a.service\n");
    let mut resolver = node.resolver();
    let identity = resolver.resolve(&usage(&[row(Some(task), id)]), SECOND);
    assert_eq!(container(&identity, Some(task), id), Some(ID));
    assert_eq!(resolver.counters().tasks_read, 0);
}

/// Version 1 mounted beside version 2.
fn hybrid(node: &Node) -> Resolver {
    let mut roots = node.roots(true);
    roots.cgroup_mounts.version1 = node.roots(false).cgroup_mounts.version1;
    Resolver::new(roots)
}

#[test]
fn a_container_that_is_one_in_version_1_only_is_found_where_both_are_in_use() {
    let node = Node::new();
    let service = node.cgroup("/system.slice/containerd.service");
    let unified = "0::/system.slice/containerd.service\n";
    let v1 = |path: &str| format!("9:name=systemd:{path}\n4:cpu,cpuacct:{path}\n{unified}");
    let old = node.process(7, 100, &v1(&format!("/docker/{ID}")));
    let daemon = node.process(8, 100, &v1("/system.slice/containerd.service"));
    let mut resolver = hybrid(&node);
    let report = usage(&[row(Some(old), service), row(Some(daemon), service)]);
    let identity = resolver.resolve(&report, SECOND * 60);
    assert_eq!(container(&identity, Some(old), service), Some(ID));
    let unit = &identity.owner(Some(daemon), service).unwrap().unit;
    assert_eq!(unit.as_deref(), Some("containerd.service"));
    assert_eq!(identity.tasks.len(), 1, "version 2 has said who the daemon is");
    let again = resolver.resolve(&report, SECOND * 61);
    assert!(Arc::ptr_eq(&identity, &again));
    assert_eq!(resolver.counters().tasks_read, 2);
    // A zombie has the root in version 1, and stays whose it was.
    node.process(7, 100, &format!("9:name=systemd:/\n4:cpu,cpuacct:/\n{unified}"));
    let identity = resolver.resolve(&report, SECOND * 400);
    assert_eq!(container(&identity, Some(old), service), Some(ID));
    // One that was moved out is the unit's again.
    node.process(7, 100, &v1("/system.slice/containerd.service"));
    let identity = resolver.resolve(&report, SECOND * 800);
    assert_eq!(container(&identity, Some(old), service), None);
    assert_eq!(identity.tasks.len(), 0);
}

#[test]
fn a_process_in_a_container_of_version_2_is_not_asked_beside_version_1_either() {
    let node = Node::new();
    let id = node.cgroup(&format!("/docker/{ID}"));
    let task = node.process(7, 100, &format!("4:cpu:/docker/{OTHER}\n0::/docker/{ID}\n"));
    let mut resolver = hybrid(&node);
    let identity = resolver.resolve(&usage(&[row(Some(task), id)]), SECOND * 60);
    assert_eq!(container(&identity, Some(task), id), Some(ID));
    assert_eq!(resolver.counters().tasks_read, 0);
}

#[test]
fn a_monitor_that_is_in_a_pod_in_version_1_only_is_the_pods() {
    let node = Node::new();
    let service = node.cgroup("/system.slice/crio.service");
    let monitor = node.process(
        7,
        100,
        "4:cpu:/kubepods/pod1-2/crio-conmon-x\n0::/system.slice/crio.service\n",
    );
    let mut resolver = hybrid(&node);
    let identity = resolver.resolve(&usage(&[row(Some(monitor), service)]), SECOND * 60);
    let pod = identity.owner(Some(monitor), service).unwrap().pod.clone();
    assert_eq!(pod.unwrap().as_str(), "1-2");
}

#[test]
fn a_young_process_that_its_runtime_moves_is_followed_and_an_old_one_is_asked_now_and_then() {
    let node = Node::new();
    // Born at 100 s.
    let task = node.process(
        7,
        10_000,
        "4:cpu,cpuacct:/system.slice/containerd.service\n0::/\n",
    );
    let report = usage(&[row(Some(task), CgroupId::ROOT)]);
    let mut resolver = node.resolver();
    let identity = resolver.resolve(&report, SECOND * 101);
    assert_eq!(container(&identity, Some(task), CgroupId::ROOT), None);
    node.process(7, 10_000, &format!("4:cpu,cpuacct:/docker/{ID}\n0::/\n"));
    let identity = resolver.resolve(&report, SECOND * 102);
    assert_eq!(container(&identity, Some(task), CgroupId::ROOT), Some(ID));
    // Who is in a container has arrived: asked when five minutes have passed, and not before.
    node.process(7, 10_000, &format!("4:cpu,cpuacct:/docker/{OTHER}\n0::/\n"));
    resolver.resolve(&report, SECOND * 320);
    let reads = resolver.counters().tasks_read;
    let identity = resolver.resolve(&report, SECOND * 402);
    assert_eq!(container(&identity, Some(task), CgroupId::ROOT), Some(OTHER));
    assert_eq!((reads, resolver.counters().tasks_read), (2, 3));
    node.process(7, 10_000, "4:cpu,cpuacct:/system.slice/moved.service\n0::/\n");
    let identity = resolver.resolve(&report, SECOND * 702);
    let unit = |identity: &Identity| identity.tasks[&task].unit.clone();
    assert_eq!(unit(&identity).as_deref(), Some("moved.service"));
    // However old it is: five minutes are the longest that a move stays unseen.
    let year = SECOND * 31_536_000;
    resolver.resolve(&report, year);
    node.process(7, 10_000, "4:cpu,cpuacct:/system.slice/again.service\n0::/\n");
    let identity = resolver.resolve(&report, year + SECOND * 200);
    assert_eq!(unit(&identity).as_deref(), Some("moved.service"));
    let identity = resolver.resolve(&report, year + SECOND * 300);
    assert_eq!(unit(&identity).as_deref(), Some("again.service"));
}

#[test]
fn old_processes_that_were_all_met_at_once_are_not_all_asked_again_at_once() {
    let node = Node::new();
    let rows: Vec<_> = (1..=256)
        .map(|pid| row(Some(node.process(pid, 100, "4:cpu:/a.service\n")), CgroupId::ROOT))
        .collect();
    let (report, day) = (usage(&rows), SECOND * 86_400);
    let mut resolver = node.resolver();
    resolver.resolve(&report, day);
    let mut most = 0;
    for seconds in 1..=300_u32 {
        let before = resolver.counters().tasks_read;
        resolver.resolve(&report, day + SECOND * seconds);
        most = most.max(resolver.counters().tasks_read - before);
    }
    assert_eq!(resolver.counters().tasks_read, 512);
    assert!(most <= 8, "{most}");
}

#[test]
fn a_young_process_is_asked_when_it_is_twice_as_old_and_each_second_however_short_the_tick() {
    let node = Node::new();
    // Born at 100 s.
    let task = node.process(
        7,
        10_000,
        "4:cpu,cpuacct:/system.slice/containerd.service\n0::/\n",
    );
    let report = usage(&[row(Some(task), CgroupId::ROOT)]);
    let mut resolver = node.resolver();
    let mut asked = Vec::new();
    for tenths in 1..=200_u32 {
        let before = resolver.counters().tasks_read;
        resolver.resolve(&report, SECOND * 100 + SECOND * tenths / 10);
        if resolver.counters().tasks_read > before {
            asked.push(tenths);
        }
    }
    assert_eq!(asked, [1, 2, 4, 8, 16, 26, 36, 46, 56, 66, 76, 86, 96, 106]);
}

#[test]
fn a_zombie_that_shows_the_root_stays_what_it_was() {
    let node = Node::new();
    let task = node.process(7, 10_000, &format!("4:cpu,cpuacct:/docker/{ID}\n0::/\n"));
    let report = usage(&[row(Some(task), CgroupId::ROOT)]);
    let mut resolver = node.resolver();
    resolver.resolve(&report, SECOND * 101);
    node.process(7, 10_000, "4:cpu,cpuacct:/\n0::/\n");
    let identity = resolver.resolve(&report, SECOND * 402);
    assert_eq!(resolver.counters().tasks_read, 2);
    assert_eq!(container(&identity, Some(task), CgroupId::ROOT), Some(ID));
}

#[test]
fn a_reused_pid_is_not_taken_for_the_process_that_had_it() {
    let node = Node::new();
    let new = node.process(7, 20_000, &format!("4:cpu:/docker/{ID}\n0::/\n"));
    let old = TaskKey {
        tgid: 7,
        start_ticks: 10_000,
    };
    let mut resolver = node.resolver();
    let identity = resolver.resolve(
        &usage(&[row(Some(old), CgroupId::ROOT), row(Some(new), CgroupId::ROOT)]),
        SECOND * 201,
    );
    assert_eq!(container(&identity, Some(old), CgroupId::ROOT), None);
    assert_eq!(container(&identity, Some(new), CgroupId::ROOT), Some(ID));
    assert_eq!(resolver.counters().tasks_vanished, 1);
}

#[test]
fn what_cannot_be_asked_is_counted_by_reason_and_costs_only_itself() {
    let node = Node::new();
    let broken = node.process(7, 100, "nonsense");
    let gone = TaskKey {
        tgid: 8,
        start_ticks: 1,
    };
    let fine = node.process(9, 100, "4:cpu:/a.service\n");
    let mut resolver = node.resolver();
    let report = usage(&[broken, gone, fine].map(|task| row(Some(task), CgroupId::ROOT)));
    let identity = resolver.resolve(&report, SECOND * 2);
    assert_eq!(identity.tasks.len(), 1);
    let counters = *resolver.counters();
    assert_eq!((counters.tasks_unparsable, counters.tasks_vanished), (1, 1));
    resolver.resolve(&report, SECOND * 3);
    assert_eq!(
        resolver.counters().tasks_read,
        4,
        "of the young only the one that answers is asked again"
    );
}

#[test]
fn without_a_unified_hierarchy_every_process_is_asked_and_ids_are_those_of_cpuacct() {
    let node = Node::new();
    let id = node.cgroup(&format!("/docker/{ID}"));
    let task = node.process(7, 100, &format!("4:cpuacct:/docker/{ID}\n"));
    let other = node.process(8, 100, &format!("4:cpuacct:/docker/{OTHER}\n"));
    let mut resolver = Resolver::new(node.roots(false));
    let report = usage(&[row(Some(task), CgroupId::ROOT), row(Some(other), id)]);
    let identity = resolver.resolve(&report, SECOND * 60);
    assert_eq!(container(&identity, Some(task), CgroupId::ROOT), Some(ID));
    assert_eq!(container(&identity, Some(other), id), Some(OTHER));
    assert_eq!(container(&identity, None, id), Some(ID));
}

#[test]
fn a_process_in_a_cgroup_that_our_mount_does_not_show_is_asked() {
    let node = Node::new();
    let hidden = CgroupId(u64::MAX);
    let task = node.process(7, 100, &format!("0::/../../kubepods/burstable/podx/{ID}\n"));
    let mut resolver = node.resolver();
    let identity = resolver.resolve(&usage(&[row(Some(task), hidden)]), SECOND * 60);
    assert_eq!(container(&identity, Some(task), hidden), Some(ID));
}

#[test]
fn the_processes_asked_in_one_call_are_bounded_and_the_rest_comes_next() {
    let node = Node::new();
    let tasks: Vec<TaskKey> = (1..=5_000).map(|tgid| TaskKey { tgid, start_ticks: 1 }).collect();
    let rows: Vec<_> = tasks
        .iter()
        .map(|task| row(Some(*task), CgroupId::ROOT))
        .collect();
    let mut resolver = node.resolver();
    resolver.resolve(&usage(&rows), SECOND * 60);
    assert_eq!(
        (resolver.counters().tasks_read, resolver.counters().tasks_deferred),
        (4_096, 904)
    );
    resolver.resolve(&usage(&rows), SECOND * 60);
    assert_eq!(resolver.counters().tasks_read, 5_000);
}

#[test]
fn this_very_process_is_found_through_the_real_proc() {
    let mut resolver = Resolver::new(Roots::detect(Path::new("/proc")).unwrap());
    let stat = ProcFs::new(Path::new("/proc"))
        .stat(std::process::id())
        .unwrap()
        .unwrap();
    resolver.resolve(&usage(&[row(Some(stat.key()), CgroupId::ROOT)]), SECOND);
    let counters = *resolver.counters();
    assert_eq!(
        (counters.tasks_read, counters.tasks_vanished),
        (1, 0),
        "{counters:?}"
    );
}

#[test]
fn processes_with_the_same_owner_share_it_and_it_leaves_with_the_last_of_them() {
    let node = Node::new();
    let lines = format!("4:cpu:/docker/{ID}\n0::/\n");
    let [one, two] = [7, 8].map(|pid| node.process(pid, 100, &lines));
    let mut resolver = node.resolver();
    let rows = [one, two].map(|task| row(Some(task), CgroupId::ROOT));
    let identity = resolver.resolve(&usage(&rows), SECOND * 60);
    assert!(Arc::ptr_eq(&identity.tasks[&one], &identity.tasks[&two]));
    drop(identity);
    resolver.resolve(&usage(&rows[..1]), SECOND * 61);
    assert_eq!(resolver.held().distinct, 1);
    resolver.resolve(&usage(&[]), SECOND * 62);
    resolver.resolve(&usage(&rows), SECOND * 63);
    resolver.resolve(&usage(&[]), SECOND * 64);
    assert!(resolver.held().distinct <= 1, "kept for one report at most");
}

#[test]
fn a_process_with_two_rows_is_asked_once_and_forgotten_once() {
    let node = Node::new();
    let task = node.process(7, 100, "4:cpu:/a.service\n");
    let other = node.process(8, 100, "4:cpu:/b.service\n");
    let mut resolver = node.resolver();
    let [row, other] = [task, other].map(|task| row(Some(task), CgroupId::ROOT));
    resolver.resolve(&usage(&[row, row, row, other]), SECOND * 60);
    assert_eq!(resolver.counters().tasks_read, 2);
    // Its many rows are not taken for those that have left.
    resolver.resolve(&usage(&[row, row, row]), SECOND * 61);
    assert_eq!(resolver.held().tasks, 1);
}

#[test]
fn the_owners_of_those_that_have_left_are_not_kept() {
    let node = Node::new();
    let mut resolver = node.resolver();
    for number in 0..20_u32 {
        let task = node.process(100 + number, 100, &format!("4:cpu:/docker/{number:064x}\n0::/\n"));
        resolver.resolve(&usage(&[row(Some(task), CgroupId::ROOT)]), SECOND * 60);
        assert!(resolver.held().distinct <= 2, "{:?}", resolver.held());
    }
}

#[test]
fn who_had_no_owner_leaves_without_a_change() {
    let node = Node::new();
    let nobody = node.process(7, 100, "4:cpu:/\n0::/\n");
    let mut resolver = node.resolver();
    let stays = row(None, CgroupId::ROOT);
    let before = resolver.resolve(
        &usage(&[
            stays,
            row(Some(nobody), CgroupId::ROOT),
            row(None, CgroupId(u64::MAX)),
        ]),
        SECOND * 60,
    );
    let after = resolver.resolve(&usage(&[stays]), SECOND * 61);
    assert!(Arc::ptr_eq(&before, &after));
    assert_eq!((resolver.held().tasks, resolver.held().cgroups), (0, 1));
}

#[test]
fn an_answer_that_is_the_old_one_changes_nothing() {
    let node = Node::new();
    let task = node.process(7, 100, &format!("4:cpu:/docker/{ID}\n0::/\n"));
    let report = usage(&[row(Some(task), CgroupId::ROOT)]);
    let mut resolver = node.resolver();
    let before = resolver.resolve(&report, SECOND * 60);
    let after = resolver.resolve(&report, SECOND * 600);
    assert_eq!(resolver.counters().tasks_read, 2);
    assert!(Arc::ptr_eq(&before, &after));
}

#[test]
fn a_process_of_a_minute_is_asked_after_one_more_and_not_after_five() {
    let node = Node::new();
    let task = node.process(7, 100, "4:cpu:/a.service\n");
    let report = usage(&[row(Some(task), CgroupId::ROOT)]);
    let mut resolver = node.resolver();
    resolver.resolve(&report, SECOND * 61);
    node.process(7, 100, "4:cpu:/b.service\n");
    let identity = resolver.resolve(&report, SECOND * 122);
    assert_eq!(identity.tasks[&task].unit.as_deref(), Some("b.service"));
}

#[test]
fn one_that_ended_is_not_asked_even_when_its_time_has_come() {
    let node = Node::new();
    let task = node.process(7, 100, "4:cpu:/a.service\n");
    let mut last = row(Some(task), CgroupId::ROOT);
    let mut resolver = node.resolver();
    resolver.resolve(&usage(&[last]), SECOND * 60);
    last.ended = true;
    resolver.resolve(&usage(&[last]), SECOND * 600);
    assert_eq!(resolver.counters().tasks_read, 1);
}

#[test]
fn an_id_that_was_nowhere_is_found_when_somebody_else_is_looked_for() {
    let node = Node::new();
    let late = node.cgroup("/late.service");
    fs::rename(node.path("cgroup/late.service"), node.path("away")).unwrap();
    let mut resolver = node.resolver();
    assert!(
        resolver
            .resolve(&usage(&[row(None, late)]), SECOND)
            .cgroups
            .is_empty()
    );
    fs::rename(node.path("away"), node.path("cgroup/late.service")).unwrap();
    let new = node.cgroup("/new.service");
    let identity = resolver.resolve(&usage(&[row(None, late), row(None, new)]), SECOND);
    assert_eq!(identity.cgroups[&late].unit.as_deref(), Some("late.service"));
}

#[test]
fn what_a_walk_could_not_see_is_counted() {
    let node = Node::new();
    node.cgroup(&"/d".repeat(crate::cgroup::WALK_DEPTH + 2));
    let mut resolver = node.resolver();
    resolver.resolve(&usage(&[row(None, CgroupId(u64::MAX))]), SECOND);
    assert_eq!(resolver.counters().truncated_walks, 1);

    let mut roots = node.roots(true);
    fs::write(node.path("file"), "").unwrap();
    roots.cgroup_mounts.unified.as_mut().unwrap().point = node.path("file/mount");
    let mut resolver = Resolver::new(roots);
    resolver.resolve(&usage(&[row(None, CgroupId(u64::MAX))]), SECOND);
    assert_eq!(resolver.counters().unreadable_directories, 1);
}
