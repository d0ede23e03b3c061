// SPDX-License-Identifier: Apache-2.0
//! Idle energy by reservation: who pays, how much, and for whom nobody does. The node has 8 CPUs and 1000 bytes of memory;
//! all energy is idle: the floor is 1 MW.

use super::*;
use proptest::prelude::*;

const MS: u64 = 1_000_000;

fn all_idle() -> Settings {
    Settings {
        floor: FloorPolicy::Fixed(
            Component::ALL
                .map(|component| (component, Microwatts::from_watts(1_000_000)))
                .to_vec(),
        ),
        processes_max: 10,
        ..settings()
    }
}

fn node() -> Node {
    let mut node = Node::new(all_idle()).with_memory(1_000);
    // One sleeper in each container and in the unit.
    for (tgid, cgroup) in [(1, 10), (2, 11), (3, 12)] {
        node.run(tgid, cgroup, 0, MS);
    }
    node.window();
    node
}

fn a() -> Tenant {
    Tenant::Container(ContainerId::new("a"))
}

fn b() -> Tenant {
    Tenant::Container(ContainerId::new("b"))
}

fn process(snapshot: &Snapshot, tgid: u32) -> Vec<u64> {
    let row = snapshot.processes.iter().find(|row| row.task.tgid == tgid);
    row.map(|row| idle(&row.ledger)).unwrap_or_default()
}

fn unreserved(snapshot: &Snapshot) -> Vec<u64> {
    let zones = snapshot.zones.iter();
    let metered = zones.filter(|zone| zone.zone.component != Component::Other);
    metered.map(|zone| zone.unreserved_idle.as_micro()).collect()
}

fn spend_everywhere(node: &mut Node, micro: u64) {
    (0..4).for_each(|zone| node.spend(zone, micro));
}

#[test]
fn a_workload_pays_its_share_of_cpus_for_the_package_and_of_memory_for_memory() {
    //            reserved          package 0, 1 and psys: of 8 CPUs    memory: of 1000 bytes
    // a          2 CPUs, 500 B     8000 * 2/8 = 2000                   8000 * 0.5 = 4000
    // b, pod p   1 CPU,  100 B     8000 * 1/8 = 1000                   8000 * 0.1 =  800
    // nobody                                    5000                                3200
    let mut node = node();
    node.reserve(a(), 2_000, 500);
    node.reserve(b(), 1_000, 100);
    spend_everywhere(&mut node, 8_000);
    let snapshot = node.window();
    assert_eq!(idle(container(&snapshot, "a")), [2_000, 2_000, 4_000, 2_000]);
    assert_eq!(idle(container(&snapshot, "b")), [1_000, 1_000, 800, 1_000]);
    let [pods, _] = pod_totals(&snapshot);
    assert_eq!(idle(&pods), [1_000, 1_000, 800, 1_000]);
    assert_eq!(unreserved(&snapshot), [5_000, 5_000, 3_200, 5_000]);
    // And the snapshot says why.
    let reserved = Some(Reservation {
        millicpus: 1_000,
        memory: 100,
    });
    let of_b = snapshot
        .containers
        .iter()
        .find(|row| idle(&row.ledger) == [1_000, 1_000, 800, 1_000]);
    assert_eq!(of_b.and_then(|row| row.names.reserved), reserved);
    assert_eq!(snapshot.pods.first().and_then(|row| row.names.reserved), reserved);
    assert_eq!(idle(container(&snapshot, "system")), [0_u64; 0]);
}

#[test]
fn more_reserved_than_there_is_is_scaled_down_and_nothing_is_left() {
    // Of 8 CPUs: a 6, b 4: 0.6 and 0.4.
    // Of 1000 bytes: a all there is and more, which is all there is; b as much: one half each.
    let mut node = node();
    node.reserve(a(), 6_000, u64::MAX);
    node.reserve(b(), 4_000, 1_000);
    spend_everywhere(&mut node, 8_000);
    let snapshot = node.window();
    assert_eq!(idle(container(&snapshot, "a")), [4_800, 4_800, 4_000, 4_800]);
    assert_eq!(idle(container(&snapshot, "b")), [3_200, 3_200, 4_000, 3_200]);
    assert_eq!(unreserved(&snapshot), [0; 4]);
}

#[test]
fn cpus_that_come_and_go_change_the_capacity_and_not_what_was_paid() {
    let mut node = node();
    node.reserve(a(), 2_000, 0);
    // (CPUs online of each socket, what a has paid for package 0 so far)
    for (cpus, paid) in [
        ([4, 4], 2_000),
        ([4, 0], 6_000),
        ([1, 0], 14_000),
        ([8, 8], 15_000),
    ] {
        node.cpus = cpus;
        node.spend(0, 8_000);
        let snapshot = node.window();
        assert_eq!(idle(container(&snapshot, "a")), [paid], "{cpus:?}");
    }
}

#[test]
fn where_the_capacity_is_not_known_nobody_has_reserved_a_share_of_it() {
    let mut node = node();
    node.engine.facts = Arc::default();
    node.cpus = [0; 2];
    node.reserve(a(), 2_000, 500);
    spend_everywhere(&mut node, 8_000);
    let snapshot = node.window();
    assert_eq!(unreserved(&snapshot), [8_000; 4]);
}

#[test]
fn inside_a_tenant_those_pay_who_ran_wherever_that_was() {
    //      ran on             of a's 2000
    // 1    socket 1, 3 ms     1500
    // 4    socket 0, 1 ms      500
    // 5    sleeps                0
    let mut node = node();
    node.run(4, 10, 0, MS);
    node.run(5, 10, 0, MS);
    node.reserve(a(), 2_000, 0);
    node.window();
    node.run(1, 10, 1, 3 * MS);
    node.run(4, 10, 0, MS);
    node.spend(0, 8_000);
    let snapshot = node.window();
    assert_eq!(process(&snapshot, 1), [1_500]);
    assert_eq!(process(&snapshot, 4), [500]);
    assert_eq!(process(&snapshot, 5), [0_u64; 0]);
}

#[test]
fn where_nobody_ran_all_who_live_pay_alike_also_those_without_a_row_of_their_own() {
    // Four in a, of which two have rows: 500 each, and 1000 of the others together.
    let mut node = Node::new(Settings {
        processes_max: 2,
        ..all_idle()
    });
    node.reserve(a(), 2_000, 0);
    node.window();
    for tgid in 4..8 {
        node.run(tgid, 10, 0, MS);
    }
    node.spend(0, 8);
    let before = node.window();
    assert_eq!((process(&before, 4), process(&before, 5)), (vec![1], vec![1]));
    node.spend(0, 8_000);
    let snapshot = node.window();
    assert_eq!(
        (process(&snapshot, 4), process(&snapshot, 5)),
        (vec![501], vec![501])
    );
    assert_eq!(idle(&snapshot.other_processes), [1_000]);
    assert_eq!(idle(container(&snapshot, "a")), [2_002]);
}

#[test]
fn a_sleeper_gets_no_row_for_the_idle_energy_of_others() {
    let mut node = Node::new(all_idle());
    for tgid in 4..14 {
        node.run(tgid, 10, 0, MS);
    }
    node.reserve(a(), 2_000, 0);
    node.window();
    node.spend(0, 8_000);
    let snapshot = node.window();
    assert!(snapshot.processes.is_empty(), "{:?}", snapshot.processes);
    assert_eq!(idle(&snapshot.other_processes), [2_000]);
}

#[test]
fn who_does_not_live_pays_nothing_and_is_in_nobodys_way() {
    //                        8000 of package 0
    // a      12 CPUs, dead      0
    // gone   12 CPUs, never     0
    // b       2 CPUs         2000
    let mut node = node();
    node.reserve(a(), 12_000, 0);
    node.reserve(b(), 2_000, 0);
    node.reserve(Tenant::Container(ContainerId::new("gone")), 12_000, 0);
    node.run(1, 10, 0, MS);
    node.end(1);
    node.spend(0, 8_000);
    let snapshot = node.window();
    assert_eq!(idle(container(&snapshot, "a")), [0_u64; 0]);
    assert_eq!(idle(container(&snapshot, "b")), [2_000]);
    assert_eq!(unreserved(&snapshot)[0], 6_000);
    // It comes back under its old name, and pays for 8 of 10.
    node.run(7, 10, 0, MS);
    node.spend(0, 10_000);
    let snapshot = node.window();
    assert_eq!(idle(container(&snapshot, "a")), [8_000]);
}

#[test]
fn a_machine_pays_and_one_in_a_container_is_one_tenant_and_not_two() {
    //                                      8000 of package 0
    // 1  qemu in a: a has 2, web 4         2000, by a, the other process of which is 9
    // 2  qemu in b: only its own 4 known   4000
    // 3  qemu in a unit: 2                 2000
    let mut node = node();
    node.run(9, 10, 0, MS);
    node.window();
    for (tgid, vm) in [(1, "web"), (2, "db"), (3, "ci")] {
        let (cgroup, task) = (u64::from(tgid) + 9, TaskKey { tgid, start_ticks: 0 });
        let base = node.owners.cgroups.get(&CgroupId(cgroup)).cloned().unwrap();
        let owner = CgroupOwner {
            vm: Some(VmId::new(vm)),
            ..CgroupOwner::clone(&base)
        };
        node.owners.tasks.insert(task, Arc::new(owner));
    }
    node.reserve(a(), 2_000, 0);
    for (vm, millicpus) in [("web", 4_000), ("db", 4_000), ("ci", 2_000)] {
        node.reserve(Tenant::Vm(VmId::new(vm)), millicpus, 0);
    }
    node.run(1, 10, 0, 3 * MS);
    node.run(9, 10, 0, MS);
    node.spend(0, 8_000);
    let snapshot = node.window();
    let vm = |id: &str| {
        let row = snapshot.vms.iter().find(|row| row.key == VmId::new(id));
        row.map(|row| idle(&row.ledger)).unwrap_or_default()
    };
    assert_eq!(idle(container(&snapshot, "a")), [2_000]);
    assert_eq!((vm("web"), process(&snapshot, 9)), (vec![1_500], vec![500]));
    assert_eq!(
        (idle(container(&snapshot, "b")), vm("db")),
        (vec![4_000], vec![4_000])
    );
    assert_eq!(
        (idle(container(&snapshot, "system")), vm("ci")),
        (vec![2_000], vec![2_000])
    );
    assert_eq!(unreserved(&snapshot)[0], 0);
}

#[test]
fn a_reservation_that_becomes_known_changes_or_goes_counts_from_the_next_window_on() {
    let mut node = node();
    for (reserved, paid) in [
        (None, 0),
        (Some(2_000), 2_000),
        (Some(4_000), 6_000),
        (None, 6_000),
    ] {
        node.owners.reserved.clear();
        if let Some(millicpus) = reserved {
            node.reserve(a(), millicpus, 0);
        }
        node.spend(0, 8_000);
        let snapshot = node.window();
        assert_eq!(idle(container(&snapshot, "a")).iter().sum::<u64>(), paid);
    }
}

#[test]
fn a_container_whose_cgroup_is_found_late_pays_from_then_on() {
    let mut node = node();
    node.reserve(Tenant::Container(ContainerId::new("late")), 2_000, 0);
    node.run(5, 30, 0, MS);
    node.spend(0, 8_000);
    assert_eq!(unreserved(&node.window())[0], 8_000);
    node.owners
        .cgroups
        .insert(CgroupId(30), owner("/docker/late", Some("late"), None));
    node.spend(0, 8_000);
    let snapshot = node.window();
    assert_eq!(idle(container(&snapshot, "late")), [2_000]);
    assert_eq!(unreserved(&snapshot)[0], 14_000);
}

#[test]
fn late_energy_is_paid_by_the_tenants_of_the_window_in_which_it_comes() {
    let mut node = node();
    node.reserve(a(), 2_000, 0);
    node.spend(0, 8_000);
    node.open();
    let (usage, identity, energy) = (
        node.usage_report(),
        node.identity_report(),
        node.energy_report(Some(0)),
    );
    node.engine.on_identity(identity);
    node.engine.on_usage(usage);
    node.engine.on_energy(METER, energy);
    assert_eq!(idle(container(&node.close(), "a")), [0_u64; 0]);
    assert_eq!(idle(container(&node.window(), "a")), [2_000]);
}

#[test]
fn use_pays_idle_energy_of_a_late_zone_by_all_that_was_carried() {
    // a ran 1 ms while the zone was late, b 3 ms when it came.
    let mut node = Node::new(Settings {
        idle_share: IdleShare::Usage,
        ..all_idle()
    });
    node.window();
    node.run(1, 10, 0, MS);
    node.open();
    let (usage, identity, energy) = (
        node.usage_report(),
        node.identity_report(),
        node.energy_report(Some(0)),
    );
    node.engine.on_identity(identity);
    node.engine.on_usage(usage);
    node.engine.on_energy(METER, energy);
    node.close();
    node.run(2, 11, 0, 3 * MS);
    node.spend(0, 8_000);
    let snapshot = node.window();
    assert_eq!(idle(container(&snapshot, "a")), [2_000]);
    assert_eq!(idle(container(&snapshot, "b")), [6_000]);
}

#[test]
fn without_usage_for_long_reservations_still_pay() {
    let mut node = node();
    node.reserve(a(), 2_000, 0);
    node.window();
    for _ in 0..3 {
        node.open();
        let (identity, energy) = (node.identity_report(), node.energy_report(None));
        node.engine.on_identity(identity);
        node.engine.on_energy(METER, energy);
        node.close();
    }
    node.spend(0, 8_000);
    node.open();
    let energy = node.energy_report(None);
    node.engine.on_energy(METER, energy);
    assert_eq!(idle(container(&node.close(), "a")), [2_000]);
}

#[test]
fn the_worked_example_of_the_manual() {
    // docs/idle.md: 8 CPUs, 32 GiB, 16 J of the package and 4 J of memory; in tenths of a joule.
    //                        web  build  cache  batch  node
    let cases = [
        (IdleShare::Reserved, [40, 80, 10, 0, 30], [5, 20, 0, 0, 15]),
        (IdleShare::Usage, [8, 24, 0, 128, 0], [2, 6, 0, 32, 0]),
        (IdleShare::Equal, [40, 40, 40, 40, 0], [10, 10, 10, 10, 0]),
        (IdleShare::Node, [0, 0, 0, 0, 160], [0, 0, 0, 0, 40]),
    ];
    const GIB: u64 = 1 << 30;
    for (idle_share, package, memory) in cases {
        let rules = Settings {
            idle_share,
            ..all_idle()
        };
        let mut node = Node::new(rules).with_memory(32 * GIB);
        for (cgroup, name) in [(31, "web"), (33, "cache"), (34, "batch")] {
            let owner = owner("/docker/x", Some(name), None);
            node.owners.cgroups.insert(CgroupId(cgroup), owner);
        }
        let build = CgroupOwner {
            vm: Some(VmId::new("build")),
            ..CgroupOwner::default()
        };
        node.owners.cgroups.insert(CgroupId(32), Arc::new(build));
        let named = |name: &str| Tenant::Container(ContainerId::new(name));
        node.reserve(named("web"), 2_000, 4 * GIB);
        node.reserve(Tenant::Vm(VmId::new("build")), 4_000, 16 * GIB);
        node.reserve(named("cache"), 500, 0);
        (31..35).for_each(|at| node.run(at, u64::from(at), 0, MS));
        node.window();
        for (at, ran) in [(31, 100), (32, 300), (34, 1_600)] {
            node.run(at, u64::from(at), 0, ran * MS);
        }
        node.spend(0, 16_000_000);
        node.spend(2, 4_000_000);
        let snapshot = node.window();
        let of = |name: &str, zone: usize| {
            let ledger = match snapshot.vms.iter().find(|row| row.key.as_str() == name) {
                Some(row) => &row.ledger,
                None => container(&snapshot, name),
            };
            idle(ledger).get(zone).copied().unwrap_or(0) / 100_000
        };
        for (zone, expected) in [(0, package), (2, memory)] {
            let paid = ["web", "build", "cache", "batch"].map(|name| of(name, zone));
            assert_eq!(paid, expected[..4], "{idle_share:?} {zone}");
            assert_eq!(
                unreserved(&snapshot)[zone] / 100_000,
                expected[4],
                "{idle_share:?}"
            );
        }
    }
}

#[test]
fn a_thousand_sleepers_cost_one_bill_a_zone_and_no_buffer_grows_from_window_to_window() {
    let mut node = Node::new(all_idle()).with_memory(1_000);
    for tgid in 4..1_004 {
        node.run(tgid, if tgid % 2 == 0 { 10 } else { 11 }, 0, MS);
    }
    node.reserve(a(), 2_000, 10);
    node.reserve(b(), 1_000, 10);
    node.window();
    let mut room = Vec::new();
    for window in 0..4 {
        spend_everywhere(&mut node, 8_000);
        node.window();
        assert_eq!(node.engine.work.charges.len(), 2 * 4, "two tenants, four zones");
        room.push(node.engine.reserved.room());
        assert_eq!(room.first(), room.last(), "window {window}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_tenant_pays_its_share_to_the_microjoule(
        reserved in prop::collection::vec((0..20_000_u64, 0..3_000_u64), 1..8),
        sleepers in 1..4_u32,
        cpus in [0..9_u32, 0..9_u32],
        amount in 0..1_000_000_u64,
    ) {
        let mut node = Node::new(all_idle()).with_memory(1_000);
        node.cpus = cpus;
        for (at, (millicpus, memory)) in (0_u32..).zip(&reserved) {
            let (name, cgroup) = (format!("c{at}"), u64::from(at) + 100);
            node.owners.cgroups.insert(CgroupId(cgroup), owner("/docker/c", Some(&name), None));
            node.reserve(Tenant::Container(ContainerId::new(&name)), *millicpus, *memory);
            (0..sleepers).for_each(|more| node.run(at * 10 + more + 1, cgroup, 0, MS));
        }
        node.window();
        spend_everywhere(&mut node, amount);
        let snapshot = node.window();
        let capacity = u64::from(cpus[0] + cpus[1]) * 1_000;
        let held = reserved.iter().map(|one| (one.0.min(capacity), one.1.min(1_000)));
        let held: Vec<(u64, u64)> = held.collect();
        let sums = held
            .iter()
            .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        for (at, (millicpus, memory)) in held.iter().enumerate() {
            let paid = idle(container(&snapshot, &format!("c{at}")));
            for (zone, of, all) in [(0, *millicpus, capacity.max(sums.0).max(1)), (2, *memory, sums.1.max(1_000))] {
                let exact = amount * of / all;
                let paid = paid.get(zone).copied().unwrap_or(0);
                prop_assert!(paid == exact || (of > 0 && paid == exact + 1), "{paid} of {exact}");
            }
        }
    }
}
