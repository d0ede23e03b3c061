// SPDX-License-Identifier: Apache-2.0
//! Rules and reporters that change while it runs.

use super::*;

/// Task 1 of container `a` runs 400 ms and socket 0 uses 10 J.
fn second(node: &mut Node) {
    node.run(1, 10, 0, 400_000_000);
    node.spend(0, 10_000_000);
}

fn busy(snapshot: &Snapshot) -> (u64, u64) {
    let ledger = container(snapshot, "a");
    (ledger.cpu.as_nanos() / 1_000_000, dynamic(ledger)[0])
}

/// The usage report as another probe gives it, which began to count when this one had counted `base`.
fn of_another(node: &Node, base: &[TaskUsage]) -> Report<Arc<Usage>> {
    let mut report = node.usage_report();
    let usage = Arc::make_mut(&mut report.body);
    usage.era = 1;
    usage.base = Arc::from(base);
    report
}

fn window(node: &mut Node, usage: Report<Arc<Usage>>) -> Snapshot {
    node.engine.on_identity(node.identity_report());
    node.engine.on_usage(usage);
    node.engine.on_energy(METER, node.energy_report(None));
    node.close()
}

#[test]
fn other_rules_hold_from_the_next_window_on_and_nothing_falls() {
    let mut node = Node::new(settings());
    node.window();
    second(&mut node);
    let before = node.window();
    let idle = Settings {
        floor: FloorPolicy::Fixed(vec![(Component::Package, Microwatts::from_watts(4))]),
        idle_share: IdleShare::Usage,
        processes_max: 0,
        ..settings()
    };
    node.engine.adopt(idle, Arc::default());
    second(&mut node);
    let after = node.window();
    assert_eq!(busy(&before), (400, 10_000_000));
    assert_eq!(busy(&after), (800, 16_000_000), "4 J of the second 10 J are idle");
    assert_eq!(idle_of(&after), 4_000_000);
    assert_eq!(after.processes.len(), 1, "who has a row keeps it");
}

fn idle_of(snapshot: &Snapshot) -> u64 {
    idle(container(snapshot, "a"))[0]
}

#[test]
fn a_source_that_is_dismissed_is_waited_for_by_nobody_and_goes_on_where_it_stopped() {
    let mut node = Node::new(settings());
    node.window();
    second(&mut node);
    node.window();
    node.engine.dismiss_source(METER);
    // It uses power, and nobody counts it.
    for _ in 0..3 {
        node.run(1, 10, 0, 400_000_000);
        node.open();
        node.engine.on_identity(node.identity_report());
        node.engine.on_usage(node.usage_report());
        assert!(node.engine.complete());
        node.engine.on_energy(METER, node.energy_report(None));
        let away = node.close();
        assert_eq!(busy(&away).1, 10_000_000);
        assert!(away.zones.iter().all(|zone| !zone.up && zone.power.is_none()));
        assert!(away.windows.late_now.is_empty() && away.sources[0].age.is_none());
    }
    node.engine.expect_source(METER);
    node.run(1, 10, 0, 400_000_000);
    let back = node.window();
    assert_eq!(
        (busy(&back).1, back.zones[0].power),
        (10_000_000, None),
        "a base to count from"
    );
    // Who ran while it was away does not pay for now.
    node.run(2, 11, 0, 400_000_000);
    node.spend(0, 5_000_000);
    let paid = node.window();
    assert_eq!(
        (busy(&paid).1, dynamic(container(&paid, "b"))[0]),
        (10_000_000, 5_000_000)
    );
}

#[test]
fn a_component_that_a_source_is_read_for_no_more_is_paid_to_the_end_and_goes_on_later() {
    use crate::model::facts::SourceFacts;
    let facts = |components: &[Component]| {
        let facts = SourceFacts {
            source: METER,
            components: components.to_vec(),
            detail: String::new(),
        };
        Arc::new(NodeFacts {
            sources: vec![facts],
            ..NodeFacts::default()
        })
    };
    let both = [Component::Package, Component::Dram];
    let mut node = Node::new(settings());
    node.engine.adopt(settings(), facts(&both));
    node.window();
    second(&mut node);
    node.window();
    node.engine.adopt(settings(), facts(&both[..1]));
    // The last report of the reader before still has it.
    second(&mut node);
    node.spend(2, 3_000_000);
    let last = node.window();
    let dram = |snapshot: &Snapshot| {
        let zone = &snapshot.zones[2];
        (zone.dynamic.as_micro(), zone.up, zone.power)
    };
    assert_eq!(dram(&last), (3_000_000, false, None));
    let without = |node: &mut Node| {
        second(node);
        node.open();
        node.engine.on_identity(node.identity_report());
        node.engine.on_usage(node.usage_report());
        node.engine.on_energy(METER, node.energy_report(Some(2)));
        node.close()
    };
    for _ in 0..2 {
        assert_eq!(dram(&without(&mut node)), (3_000_000, false, None));
    }
    // Read again, it begins with its first reading; package went on all the time.
    node.engine.adopt(settings(), facts(&both));
    second(&mut node);
    assert_eq!(dram(&node.window()), (3_000_000, true, None));
    node.run(2, 11, 0, 400_000_000);
    node.spend(2, 2_000_000);
    let back = node.window();
    assert_eq!(dram(&back).0, 5_000_000);
    assert_eq!(
        dynamic(container(&back, "a"))[2],
        3_000_000,
        "who ran meanwhile does not pay"
    );
    assert_eq!(dynamic(container(&back, "a"))[0], 50_000_000);
}

#[test]
fn what_a_dismissed_source_has_said_is_still_paid() {
    let mut node = Node::new(settings());
    node.window();
    second(&mut node);
    node.open();
    node.engine.on_energy(METER, node.energy_report(None));
    // Usage is late, so the energy waits for it.
    assert_eq!(node.close().zones[0].dynamic, Microjoules::ZERO);
    node.engine.dismiss_source(METER);
    node.open();
    node.engine.on_identity(node.identity_report());
    node.engine.on_usage(node.usage_report());
    assert_eq!(busy(&node.close()), (400, 10_000_000));
}

#[test]
fn another_probe_goes_on_where_the_one_before_it_stopped() {
    let mut node = Node::new(settings());
    node.window();
    second(&mut node);
    node.run(2, 11, 0, 100_000_000);
    node.end(2);
    node.open();
    node.engine.on_energy(METER, node.energy_report(None));
    node.engine.on_identity(node.identity_report());
    node.engine.on_usage(node.usage_report());
    let last = node.close();
    let was = |snapshot: &Snapshot| container(snapshot, "b").cpu.as_nanos() / 1_000_000;
    assert_eq!((busy(&last).0, was(&last)), (400, 100));
    // The other probe has counted for a while: 50 ms of task 1, and all of task 2, which it does not know to be paid.
    node.usage.clear();
    node.run(1, 10, 0, 50_000_000);
    node.run(2, 11, 0, 30_000_000);
    node.end(2);
    let base: Vec<TaskUsage> = node.usage.values().copied().collect();
    node.run(1, 10, 0, 7_000_000);
    node.open();
    let report = of_another(&node, &base);
    let first = window(&mut node, report);
    assert_eq!((busy(&first).0, was(&first)), (407, 100));
    // It goes on, and says what its base was for as long as it counts.
    node.run(1, 10, 0, 5_000_000);
    node.open();
    let report = of_another(&node, &base);
    let next = window(&mut node, report);
    assert_eq!((busy(&next).0, was(&next)), (412, 100));
}

#[test]
fn rows_that_only_the_next_probe_has_are_paid_from_its_first_report_on() {
    let one = TaskKey {
        tgid: 1,
        start_ticks: 0,
    };
    // What /proc saw of nobody by name, softirqs as only one of eBPF's accountants tells them, and a second package.
    for (task, cgroup, socket, payer) in [
        (None, 10, 0, "a"),
        (Some(TaskKey::SOFTIRQ), 1, 0, "kernel"),
        (Some(one), 10, 1, "a"),
    ] {
        let mut node = Node::new(settings());
        node.window();
        second(&mut node);
        node.run(3, 1, 0, 1_000_000);
        let before = node.window();
        let row = |millis: u64| TaskUsage {
            task,
            cgroup: CgroupId(cgroup),
            package: PackageId(socket),
            cpu: CpuNanos::from_nanos(millis * 1_000_000),
            events: EventCounts::ZERO,
            comm: Comm::default(),
            kind: if cgroup == 1 {
                TaskKind::Kernel
            } else {
                TaskKind::User
            },
            ended: false,
        };
        node.usage = BTreeMap::from([((1, cgroup, socket), row(507))]);
        node.open();
        let report = of_another(&node, &[row(500)]);
        let after = window(&mut node, report);
        let ran = |snapshot: &Snapshot| container(snapshot, payer).cpu.as_nanos() / 1_000_000;
        assert_eq!(ran(&after), ran(&before) + 7, "{task:?} on {socket}");
    }
}

#[test]
fn who_sleeps_while_another_probe_comes_goes_on_where_it_stopped_however_long_it_sleeps() {
    let mut node = Node::new(settings());
    node.window();
    second(&mut node);
    let before = node.window();
    let own = |snapshot: &Snapshot| -> Vec<(u64, u64, u64)> {
        let rows = snapshot.processes.iter();
        rows.map(|row| {
            let joules = dynamic(&row.ledger).first().map_or(0, |micro| micro / 1_000_000);
            (
                row.ledger.cpu.as_nanos() / 1_000_000,
                joules,
                row.began.as_nanos(),
            )
        })
        .collect()
    };
    let [(400, 10, began)] = own(&before)[..] else {
        panic!("{:?}", own(&before));
    };
    // The other probe lists who has run since it came.
    node.usage.clear();
    let away = |node: &mut Node| {
        node.open();
        let report = of_another(node, &[]);
        window(node, report)
    };
    let asleep = away(&mut node);
    assert!(asleep.processes[0].ended, "nobody lists it");
    node.tick += settings().ended_keep.as_secs() + 1;
    let gone = away(&mut node);
    assert_eq!(own(&gone), []);
    assert_eq!(gone.retired.processes.cpu.as_nanos(), 400_000_000);
    assert_eq!(node.engine.held().shelved, 1 + 1, "with its container");
    second(&mut node);
    let back = away(&mut node);
    assert_eq!(own(&back), [(800, 20, began)]);
    assert_eq!(back.retired.processes.cpu, CpuNanos::ZERO);
}

#[test]
fn the_last_report_of_a_probe_is_booked_before_the_first_of_the_next() {
    let mut node = Node::new(settings());
    node.window();
    second(&mut node);
    // Somebody new, whose identity is late: the report waits.
    node.run(9, 77, 0, 200_000_000);
    node.open();
    node.engine.on_usage(node.usage_report());
    node.engine.on_energy(METER, node.energy_report(None));
    node.close();
    node.usage.clear();
    node.run(1, 10, 0, 1_000_000);
    node.open();
    node.engine.on_usage(of_another(&node, &[]));
    node.engine.on_identity(node.identity_report());
    node.engine.on_energy(METER, node.energy_report(None));
    let booked = node.close();
    assert_eq!(busy(&booked).0, 400);
    assert_eq!(container(&booked, "system").cpu.as_nanos(), 200_000_000);
    node.open();
    let report = of_another(&node, &[]);
    assert_eq!(busy(&window(&mut node, report)).0, 401);
}
