// SPDX-License-Identifier: Apache-2.0
//! The four levels alike: who is a member of which row, what rows are called, and how they end.

use super::*;
use crate::model::snapshot::{GroupRow, Names};

const MS: u64 = 1_000_000;

impl Node {
    /// A window in which the resolver says what it said before.
    fn same(&mut self, identity: &Arc<Identity>) -> Snapshot {
        self.open();
        let (usage, energy) = (self.usage_report(), self.energy_report(None));
        let said = self.report(RESOLVER, Arc::clone(identity));
        self.engine.on_identity(said);
        self.engine.on_usage(usage);
        self.engine.on_energy(METER, energy);
        self.close()
    }

    /// Process 4 in cgroup 20 is a machine in container c of pod q.
    fn machine_in_pod(&mut self) {
        let inside = CgroupOwner {
            vm: Some(VmId::new("6f1c")),
            ..CgroupOwner::clone(&owner("/kubepods/podq/c", Some("c"), Some("q")))
        };
        self.owners.cgroups.insert(CgroupId(20), Arc::new(inside));
    }
}

/// Key, dynamic microjoules and whether it ended, of each row.
fn rows<K: std::fmt::Debug>(rows: &[GroupRow<K>]) -> Vec<(String, u64, bool)> {
    let row = |row: &GroupRow<K>| {
        let energy = dynamic(&row.ledger).iter().sum();
        (format!("{:?}", row.key), energy, row.ended)
    };
    rows.iter().map(row).collect()
}

/// Rows that have ended, on the levels of containers, pods, machines and units.
fn ended(snapshot: &Snapshot) -> [usize; 4] {
    fn count<K>(rows: &[GroupRow<K>]) -> usize {
        rows.iter().filter(|row| row.ended).count()
    }
    [
        count(&snapshot.containers),
        count(&snapshot.pods),
        count(&snapshot.vms),
        count(&snapshot.units),
    ]
}

#[test]
fn the_last_process_of_a_workload_ends_it_on_every_level_and_after_a_while_it_leaves_all() {
    let mut node = Node::new(settings());
    node.machine_in_pod();
    node.run(1, 12, 0, 0);
    node.run(4, 20, 0, 0);
    node.run(5, 20, 0, 0);
    node.window();
    node.run(1, 12, 0, 100 * MS);
    node.run(4, 20, 0, 100 * MS);
    node.spend(0, 2_000);
    assert_eq!(ended(&node.window()), [0; 4]);
    node.usage.retain(|(tgid, ..), _| *tgid == 5);
    assert_eq!(
        ended(&node.window()),
        [1, 0, 0, 1],
        "the host's row, and its unit"
    );
    node.usage.clear();
    let last = node.window();
    assert_eq!(ended(&last), [2, 1, 1, 1]);
    for level in [rows(&last.pods), rows(&last.vms), rows(&last.units)] {
        assert!(level.iter().all(|(_, energy, _)| *energy == 1_000), "{level:?}");
    }
    node.tick += 200;
    let gone = node.window();
    assert!(
        gone.containers.is_empty() && gone.pods.is_empty() && gone.vms.is_empty() && gone.units.is_empty()
    );
    let left = &gone.retired;
    for (level, energy) in [
        (&left.containers, 2_000),
        (&left.pods, 1_000),
        (&left.vms, 1_000),
        (&left.units, 1_000),
    ] {
        assert_eq!(dynamic(level), [energy]);
    }
}

#[test]
fn a_workload_that_only_time_without_a_process_is_known_of_ends_with_its_row_and_goes_on_with_the_next() {
    let mut node = Node::new(settings());
    node.machine_in_pod();
    let ran = |node: &mut Node, time| {
        node.run(4, 20, 0, time);
        node.usage.values_mut().for_each(|row| row.task = None);
        node.spend(0, 1_000);
        node.window()
    };
    ran(&mut node, 0);
    assert_eq!(ended(&ran(&mut node, 100 * MS)), [0; 4]);
    node.usage.clear();
    assert_eq!(ended(&node.window()), [1, 1, 1, 0]);
    // The next row begins at zero, and by more than the last one had.
    let back = ran(&mut node, 300 * MS);
    assert_eq!(ended(&back), [0; 4]);
    assert_eq!(container(&back, "c").cpu, CpuNanos::from_nanos(400 * MS));
    assert_eq!(rows(&back.vms)[0].1, 2_000);
}

#[test]
fn a_workload_whose_only_process_is_found_to_be_anothers_has_ended() {
    let mut node = Node::new(settings());
    node.run(1, 10, 0, 100);
    node.window();
    node.owners
        .cgroups
        .insert(CgroupId(10), owner("/docker/z", Some("z"), None));
    let moved = node.window();
    assert_eq!(
        rows(&moved.containers)
            .iter()
            .map(|(_, _, ended)| *ended)
            .collect::<Vec<_>>(),
        [true, false],
        "{:?}",
        rows(&moved.containers)
    );
}

#[test]
fn a_row_that_is_made_later_has_its_name_although_the_resolver_says_nothing_new() {
    let mut node = Node::new(settings());
    node.machine_in_pod();
    let container = ContainerFacts {
        name: "web".to_owned(),
        image: None,
    };
    node.owners
        .containers
        .insert(ContainerId::new("c"), Arc::new(container));
    node.owners.pods.insert(PodUid::new("q"), Arc::default());
    node.owners.vms.insert(VmId::new("6f1c"), Arc::default());
    let identity = Arc::new(node.owners.clone());
    node.same(&identity);
    node.run(4, 20, 0, 100);
    let snapshot = node.same(&identity);
    let names = &snapshot.containers[0].names;
    assert_eq!(
        names.container.as_ref().map(|facts| facts.name.as_str()),
        Some("web")
    );
    assert!(
        names.pod.is_some() && snapshot.pods[0].names.pod.is_some() && snapshot.vms[0].names.vm.is_some()
    );
}

#[test]
fn a_row_waits_for_each_name_that_will_come_and_for_none_that_it_has() {
    let named = |awaited_container, awaited_pod, container: bool, pod: bool| -> [bool; 2] {
        let mut node = Node::new(settings());
        if awaited_container {
            node.owners.awaited.containers.insert(ContainerId::new("b"));
        }
        if awaited_pod {
            node.owners.awaited.pods.insert(PodUid::new("p"));
        }
        if container {
            node.owners
                .containers
                .insert(ContainerId::new("b"), Arc::default());
        }
        if pod {
            node.owners.pods.insert(PodUid::new("p"), Arc::default());
        }
        node.run(2, 11, 0, 100);
        let snapshot = node.window();
        let awaited = |names: &Names| names.awaited;
        [
            awaited(&snapshot.containers[0].names),
            awaited(&snapshot.pods[0].names),
        ]
    };
    assert_eq!(named(false, false, false, false), [false, false]);
    assert_eq!(named(true, false, false, false), [true, false]);
    assert_eq!(named(false, true, false, false), [true, true]);
    assert_eq!(named(true, true, true, false), [true, true]);
    assert_eq!(named(true, true, false, true), [true, false]);
    assert_eq!(named(true, true, true, true), [false, false]);
}

#[test]
fn events_and_time_are_booked_on_every_level() {
    let mut node = Node::new(settings());
    node.machine_in_pod();
    node.window();
    for (tgid, cgroup) in [(1, 12), (4, 20)] {
        node.run(tgid, cgroup, 0, 100);
        node.happen(tgid, cgroup, 0, Event::Instructions, 7);
    }
    let snapshot = node.window();
    let ledgers = [
        &snapshot.containers[0].ledger,
        &snapshot.pods[0].ledger,
        &snapshot.vms[0].ledger,
        &snapshot.units[0].ledger,
    ];
    for ledger in ledgers {
        assert_eq!(
            (ledger.cpu.as_nanos(), ledger.events.get(Event::Instructions)),
            (100, 7)
        );
    }
}

#[test]
fn who_moves_twice_is_where_it_came_to() {
    let mut node = Node::new(settings());
    node.run(1, 10, 0, 100);
    node.window();
    let first = node.owners.cgroups.get(&CgroupId(10)).cloned().unwrap();
    for (place, expected) in [
        (owner("/docker/z", Some("z"), None), [("a", 0), ("z", 1_000)]),
        (first, [("a", 1_000), ("z", 1_000)]),
    ] {
        node.owners.cgroups.insert(CgroupId(10), Arc::clone(&place));
        node.run(1, 10, 0, 100);
        node.spend(0, 1_000);
        let snapshot = node.window();
        for (id, energy) in expected {
            assert_eq!(
                dynamic(container(&snapshot, id)).iter().sum::<u64>(),
                energy,
                "{id}"
            );
        }
        assert_eq!(snapshot.processes[0].owner, Some(place));
    }
}

#[test]
fn a_monitor_beside_the_containers_of_a_pod_is_the_hosts() {
    let mut node = Node::new(settings());
    node.owners
        .cgroups
        .insert(CgroupId(20), owner("/kubepods/podp/conmon", None, Some("p")));
    node.window();
    node.run(1, 20, 0, 100);
    node.spend(0, 1_000);
    let snapshot = node.window();
    assert_eq!(dynamic(container(&snapshot, "system")), [1_000]);
    assert_eq!(dynamic(&unit_total(&snapshot)), [1_000]);
    assert!(snapshot.pods.is_empty());
}

#[test]
fn a_processs_row_has_the_owner_of_where_it_ran_last() {
    let mut node = Node::new(settings());
    node.window();
    for cgroup in [10, 12] {
        node.run(1, cgroup, 0, 100);
        node.spend(0, 1_000);
        node.window();
    }
    node.owners
        .cgroups
        .insert(CgroupId(10), owner("/docker/z", Some("z"), None));
    let snapshot = node.window();
    let path = snapshot.processes[0]
        .owner
        .as_ref()
        .map(|owner| owner.path.as_str());
    assert_eq!(path, Some("/system.slice/ssh.service"));
}
