// SPDX-License-Identifier: Apache-2.0
//! A probe that is silent: what meters count meanwhile is nobody's, and neither idle nor a lesson.

use super::features::spinner_and_streamer;
use super::*;

/// A window in which only the meters are heard.
fn unheard(node: &mut Node) -> Snapshot {
    node.open();
    let (identity, energy) = (node.identity_report(), node.energy_report(None));
    node.engine.on_identity(identity);
    node.engine.on_energy(METER, energy);
    node.close()
}

fn split_of(snapshot: &Snapshot) -> [u64; 3] {
    let zone = &snapshot.zones[0];
    [zone.dynamic, zone.unattributed, zone.idle].map(Microjoules::as_micro)
}

#[test]
fn a_node_whose_cpu_time_nobody_tells_is_not_called_idle() {
    for floor in [FloorPolicy::BusyRatio, FloorPolicy::Measured] {
        let mut node = Node::new(Settings { floor, ..settings() });
        // It was never told.
        let mut snapshot = Snapshot::default();
        for _ in 0..6 {
            node.spend(0, 1_000);
            snapshot = unheard(&mut node);
        }
        let [dynamic, unattributed, idle] = split_of(&snapshot);
        assert_eq!((dynamic > 0, unattributed, idle), (true, dynamic, 0));
        // It is told, and then no more.
        node.run(1, 10, 0, 900 * 1_000_000);
        node.window();
        node.window();
        let before = node.window();
        for _ in 0..6 {
            node.spend(0, 1_000);
            snapshot = unheard(&mut node);
        }
        assert_eq!(split_of(&snapshot)[2], split_of(&before)[2]);
        assert_eq!(split_of(&snapshot)[1], split_of(&before)[1] + 6_000);
    }
}

#[test]
fn who_came_while_the_probe_was_silent_counts_from_before_the_silence() {
    let mut node = Node::new(settings());
    node.run(1, 10, 0, 1_000);
    let before = node.window();
    node.run(2, 12, 0, 5_000);
    unheard(&mut node);
    unheard(&mut node);
    node.spend(0, 1_000);
    let snapshot = node.window();
    let newcomer = snapshot.processes.iter().find(|row| row.task.tgid == 2).unwrap();
    assert_eq!(newcomer.ledger.cpu.as_nanos(), 5_000);
    assert_eq!(newcomer.began, before.window.ended);
    let unit = &snapshot.units[0];
    assert_eq!(
        (unit.ledger.cpu.as_nanos(), unit.began),
        (5_000, before.window.ended)
    );
}

#[test]
fn a_socket_without_cpus_is_idle() {
    let mut node = Node::new(Settings {
        floor: FloorPolicy::BusyRatio,
        ..settings()
    });
    node.window();
    for _ in 0..2 {
        node.spend(1, 1_000);
        node.open();
        let (mut usage, identity, energy) = (
            node.usage_report(),
            node.identity_report(),
            node.energy_report(None),
        );
        Arc::make_mut(&mut usage.body).packages.truncate(1);
        node.engine.on_usage(usage);
        node.engine.on_identity(identity);
        node.engine.on_energy(METER, energy);
        node.close();
    }
    let snapshot = node.window();
    assert_eq!(snapshot.zones[1].idle.as_micro(), 2_000);
}

#[test]
fn a_silent_probe_teaches_learned_weights_nothing_and_what_it_says_after_neither() {
    let mut node = Node::new(Settings {
        split: SplitRules {
            learned: true,
            ..SplitRules::default()
        },
        ..settings()
    });
    node.window();
    spinner_and_streamer(&mut node, 80, |_, _| {});
    let mut fit = None;
    spinner_and_streamer(&mut node, 1, |_, snapshot| fit = snapshot.zones[0].fit);
    assert!(fit.is_some());
    for _ in 0..600 {
        node.spend(0, 15_000_000);
        unheard(&mut node);
    }
    // Ten minutes of two loops in one report.
    for (pid, cgroup) in [(1, 10), (2, 11)] {
        node.run(pid, cgroup, 0, 600_000_000_000);
        node.happen(pid, cgroup, 0, Event::CpuCycles, 1_800_000_000_000);
    }
    node.spend(0, 15_000_000);
    let snapshot = node.window();
    assert_eq!(snapshot.zones[0].fit, fit, "nothing was learned");
    let mut used = 0;
    spinner_and_streamer(&mut node, 20, |_, snapshot| {
        used += u32::from(snapshot.zones[0].feature == Feature::Learned);
    });
    assert_eq!(used, 20, "and nothing forgotten");
}

#[test]
fn a_silent_probe_says_nothing_of_siblings() {
    let smt = SmtRule::Learned;
    let split = SplitRules {
        smt,
        ..SplitRules::default()
    };
    let mut node = Node::new(Settings { split, ..settings() });
    node.window();
    for window in 0..200_u64 {
        let (alone, beside) = (window * 61 % 97 * 10_000_000, window * 53 % 97 * 10_000_000);
        node.run(1, 10, 0, alone + beside);
        node.happen(1, 10, 0, Event::SmtOverlap, beside);
        // 10 W alone, 7 W beside a sibling.
        node.spend(0, alone / 100 + beside * 7 / 1_000);
        node.window();
    }
    for _ in 0..600 {
        node.spend(0, 15_000_000);
        unheard(&mut node);
    }
    assert_eq!(node.window().smt_weight, Some(Permille(700)));
}

#[test]
fn a_reservation_that_is_withdrawn_while_the_probe_is_silent_is_not_paid_for() {
    let mut node = Node::new(Settings {
        floor: FloorPolicy::Fixed(vec![(Component::Package, Microwatts::from_watts(1_000_000))]),
        ..settings()
    });
    let tenants = ["a", "b"].map(|id| Tenant::Container(ContainerId::new(id)));
    for (tenant, (pid, cgroup)) in tenants.iter().zip([(1, 10), (2, 11)]) {
        node.reserve(tenant.clone(), 4_000, 0);
        node.run(pid, cgroup, 0, 1_000_000);
    }
    node.window();
    for _ in 0..4 {
        unheard(&mut node);
    }
    // Each has half of the node. Then a is deleted.
    node.spend(0, 1_000);
    let before = unheard(&mut node);
    node.owners.reserved.remove(&tenants[0]);
    node.spend(0, 1_000);
    let after = unheard(&mut node);
    let paid = |snapshot: &Snapshot| ["a", "b"].map(|id| idle(container(snapshot, id)));
    assert_eq!(paid(&before), [[500], [500]]);
    assert_eq!(paid(&after), [[500], [1_000]]);
    assert_eq!(after.zones[0].unreserved_idle.as_micro(), 500);
}

#[test]
fn who_is_not_known_any_more_pays_no_reservation_while_the_probe_is_silent() {
    let mut node = Node::new(Settings {
        floor: FloorPolicy::Fixed(vec![(Component::Package, Microwatts::from_watts(1_000_000))]),
        ..settings()
    });
    for (id, (pid, cgroup)) in ["a", "b"].into_iter().zip([(1, 10), (2, 11)]) {
        node.reserve(Tenant::Container(ContainerId::new(id)), 4_000, 0);
        node.run(pid, cgroup, 0, 1_000_000);
    }
    node.window();
    for _ in 0..4 {
        unheard(&mut node);
    }
    // The reservation is told of still, but its cgroup is gone.
    node.owners.cgroups.remove(&CgroupId(10));
    node.spend(0, 1_000);
    let after = unheard(&mut node);
    assert_eq!(idle(container(&after, "a")), [0; 0]);
    assert_eq!(idle(container(&after, "b")), [500]);
    // Another container in its cgroup has no part in what was reserved for it.
    let other = owner("/docker/c", Some("c"), None);
    node.owners.cgroups.insert(CgroupId(10), other);
    node.reserve(Tenant::Container(ContainerId::new("c")), 4_000, 0);
    node.spend(0, 1_000);
    let after = unheard(&mut node);
    assert_eq!(idle(container(&after, "a")), [0; 0]);
}
