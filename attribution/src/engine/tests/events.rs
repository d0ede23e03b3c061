// SPDX-License-Identifier: Apache-2.0
//! What is counted beside CPU time, and the row of softirqs: one situation each.

use super::*;

const MS: u64 = 1_000_000;

/// What a ledger holds, without the zeros.
fn counts(ledger: &Ledger) -> Vec<(Event, u64)> {
    let all = Event::ALL
        .into_iter()
        .map(|event| (event, ledger.events.get(event)));
    all.filter(|(_, count)| *count > 0).collect()
}

fn processes(snapshot: &Snapshot) -> Vec<(u32, Vec<(Event, u64)>)> {
    let rows = snapshot.processes.iter();
    rows.map(|row| (row.task.tgid, counts(&row.ledger))).collect()
}

#[test]
fn events_are_booked_on_every_level_like_cpu_time_also_for_the_dead() {
    // pid  where                cycles  switches   energy
    //   1  container a            400         -    earns a row
    //   2  container b, pod p     100         7    earns a row, then ends
    //   3  ssh.service              -         5    earns none: it ran for nothing
    //   4  kernel thread           30         -    the same
    let mut node = Node::new(Settings {
        split: SplitRules {
            by_time_alone: true,
            ..SplitRules::default()
        },
        ..settings()
    });
    node.window();
    node.run(1, 10, 0, 100 * MS);
    node.happen(1, 10, 0, Event::CpuCycles, 400);
    node.run(2, 11, 0, 100 * MS);
    node.happen(2, 11, 0, Event::CpuCycles, 60);
    node.happen(2, 11, 1, Event::CpuCycles, 40);
    node.happen(2, 11, 1, Event::Switches, 7);
    node.happen(3, 12, 0, Event::Switches, 5);
    node.happen(4, 1, 0, Event::CpuCycles, 30);
    node.end(2);
    node.spend(0, 4_000);
    node.window();
    let last = node.window();
    assert_eq!(counts(container(&last, "a")), [(Event::CpuCycles, 400)]);
    let b = [(Event::CpuCycles, 100), (Event::Switches, 7)];
    assert_eq!(counts(container(&last, "b")), b);
    assert_eq!(
        last.pods
            .iter()
            .map(|row| counts(&row.ledger))
            .collect::<Vec<_>>(),
        [b]
    );
    assert_eq!(counts(container(&last, "system")), [(Event::Switches, 5)]);
    assert_eq!(counts(&unit_total(&last)), [(Event::Switches, 5)]);
    assert_eq!(counts(container(&last, "kernel")), [(Event::CpuCycles, 30)]);
    // A dead process without a row is in `other`, as its CPU time is.
    assert_eq!(processes(&last), [(1, vec![(Event::CpuCycles, 400)])]);
    let rest = [(Event::CpuCycles, 130), (Event::Switches, 12)];
    assert_eq!(counts(&last.other_processes), rest);
}

#[test]
fn a_process_row_counts_events_from_the_window_in_which_it_earned_it() {
    let mut node = Node::new(settings());
    node.window();
    node.happen(1, 10, 0, Event::Switches, 3);
    assert_eq!(processes(&node.window()), []);
    node.run(1, 10, 0, MS);
    node.happen(1, 10, 0, Event::Switches, 4);
    node.spend(0, 10);
    let snapshot = node.window();
    assert_eq!(processes(&snapshot), [(1, vec![(Event::Switches, 4)])]);
    assert_eq!(counts(&snapshot.other_processes), [(Event::Switches, 3)]);
}

#[test]
fn what_left_takes_its_events_along_and_a_container_that_comes_back_goes_on() {
    let mut node = Node::new(settings());
    node.window();
    node.run(1, 10, 0, MS);
    node.happen(1, 10, 0, Event::PageCacheHits, 9);
    node.spend(0, 10);
    node.window();
    node.end(1);
    node.window();
    node.window();
    node.tick += 200;
    let without = node.window();
    assert_eq!((without.containers.len(), without.processes.len()), (0, 0));
    assert_eq!(counts(&without.retired.containers), [(Event::PageCacheHits, 9)]);
    assert_eq!(counts(&without.retired.processes), [(Event::PageCacheHits, 9)]);
    node.happen(2, 10, 0, Event::PageCacheHits, 2);
    let again = node.window();
    assert_eq!(counts(container(&again, "a")), [(Event::PageCacheHits, 11)]);
    assert_eq!(counts(&again.retired.containers), []);
}

#[test]
fn a_report_that_is_lost_costs_no_event() {
    let mut node = Node::new(settings());
    node.window();
    node.happen(1, 10, 0, Event::NetRxIrqs, 5);
    node.open();
    let (identity, energy) = (node.identity_report(), node.energy_report(None));
    node.engine.on_identity(identity);
    node.engine.on_energy(METER, energy);
    assert_eq!(node.close().containers.len(), 0);
    node.happen(1, 10, 0, Event::NetRxIrqs, 6);
    let snapshot = node.window();
    assert_eq!(counts(container(&snapshot, "a")), [(Event::NetRxIrqs, 11)]);
}

#[test]
fn a_total_that_went_back_counts_whole_also_when_it_went_to_zero_first() {
    // report      3   9   4   0   12
    // new         3   6   4   0   12   = 25
    let mut node = Node::new(settings());
    node.window();
    node.happen(1, 10, 0, Event::Switches, 0);
    for total in [3, 9, 4, 0, 12] {
        let row = node.usage.values_mut().next().unwrap();
        row.events = EventCounts::ZERO.with(Event::Switches, total);
        node.window();
    }
    let last = node.window();
    assert_eq!(counts(container(&last, "a")), [(Event::Switches, 25)]);
}

#[test]
fn a_row_that_was_gone_begins_at_zero_also_when_a_late_zone_still_owes_it_energy() {
    // The process stays below what it had counted before; only the carry of the late zone remembers it.
    let mut node = Node::new(settings());
    node.window();
    node.run(1, 10, 0, 100 * MS);
    node.happen(1, 10, 0, Event::Switches, 5);
    let late = |node: &mut Node| {
        node.open();
        let (usage, identity, energy) = (
            node.usage_report(),
            node.identity_report(),
            node.energy_report(Some(0)),
        );
        node.engine.on_usage(usage);
        node.engine.on_identity(identity);
        node.engine.on_energy(METER, energy);
        node.close()
    };
    late(&mut node);
    node.usage.clear();
    late(&mut node);
    node.run(1, 10, 0, 130 * MS);
    node.happen(1, 10, 0, Event::Switches, 7);
    let snapshot = late(&mut node);
    let a = container(&snapshot, "a");
    assert_eq!(a.cpu.as_nanos(), 230 * MS);
    assert_eq!(counts(a), [(Event::Switches, 12)]);
}

#[test]
fn what_was_counted_once_stays_counted() {
    let mut node = Node::new(settings());
    assert_eq!(node.window().counted, EventSet::NONE);
    node.happen(1, 10, 0, Event::Instructions, 1);
    node.window();
    node.counted = EventSet::NONE.with(Event::Switches);
    let both = EventSet::NONE.with(Event::Instructions).with(Event::Switches);
    assert_eq!(node.window().counted, both);
}

#[test]
fn single_cpus_and_softirqs_are_shown_as_the_newest_report_has_them() {
    let mut node = Node::new(settings());
    let cpu = CpuTime {
        cpu: 3,
        package: PackageId(1),
        online: true,
        busy: CpuNanos::from_nanos(5),
        idle: CpuNanos::from_nanos(6),
        steal: None,
    };
    let softirq = SoftirqTime {
        package: PackageId(1),
        vector: "net_rx",
        count: 7,
        time: CpuNanos::from_nanos(8),
    };
    node.open();
    let mut report = node.usage_report();
    report.body = Arc::new(Usage {
        cpus: vec![cpu],
        softirqs: vec![softirq],
        ..Usage::default()
    });
    node.engine.on_usage(report);
    let snapshot = node.close();
    assert_eq!((snapshot.cpus, snapshot.softirqs), (vec![cpu], vec![softirq]));
    node.open();
    let silent = node.close();
    assert_eq!((silent.cpus, silent.softirqs), (vec![cpu], vec![softirq]));
}

#[test]
fn softirqs_are_the_kernels_and_a_process_row_but_nobodys_unit() {
    let mut node = Node::new(settings());
    node.owners
        .cgroups
        .insert(CgroupId::ROOT, owner("/system.slice/ssh.service", None, None));
    node.window();
    node.run(0, 1, 0, 100 * MS);
    node.happen(0, 1, 0, Event::NetRxIrqs, 4);
    node.run(1, 10, 0, 300 * MS);
    node.spend(0, 4_000);
    let snapshot = node.window();
    assert_eq!(dynamic(container(&snapshot, "kernel")), [1_000]);
    assert_eq!(counts(container(&snapshot, "kernel")), [(Event::NetRxIrqs, 4)]);
    assert_eq!(snapshot.units.len(), 0);
    let row = snapshot
        .processes
        .iter()
        .find(|row| row.task == TaskKey::SOFTIRQ)
        .unwrap();
    assert_eq!(
        (row.comm.to_text().as_str(), row.kind),
        ("softirq", TaskKind::Kernel)
    );
    assert_eq!(
        (row.owner.is_none(), row.ended, dynamic(&row.ledger)),
        (true, false, vec![1_000])
    );
}

#[test]
fn softirqs_pay_no_part_of_idle_energy_that_is_shared_among_processes() {
    let mut node = Node::new(Settings {
        floor: FloorPolicy::Fixed(vec![(Component::Package, Microwatts::from_watts(1))]),
        idle_share: IdleShare::Equal,
        ..settings()
    });
    node.window();
    node.run(0, 1, 0, MS);
    node.run(1, 10, 0, MS);
    node.spend(0, 1_000_000);
    let snapshot = node.window();
    assert_eq!(idle(container(&snapshot, "a")), [1_000_000]);
    assert_eq!(idle(container(&snapshot, "kernel")), []);
}

#[test]
fn softirqs_that_a_report_left_out_go_on_in_their_row() {
    let mut node = Node::new(settings());
    node.window();
    node.run(0, 1, 0, MS);
    node.spend(0, 1_000);
    node.window();
    node.usage.clear();
    assert_eq!(node.window().processes.first().map(|row| row.ended), Some(true));
    node.run(0, 1, 0, MS);
    node.spend(0, 500);
    let snapshot = node.window();
    let rows = snapshot.processes.iter();
    let rows: Vec<_> = rows.map(|row| (row.ended, dynamic(&row.ledger))).collect();
    assert_eq!(rows, [(false, vec![1_500])]);
    node.tick += 200;
    assert_eq!(node.window().processes.len(), 1);
}

#[test]
fn a_dead_process_that_is_listed_once_more_stays_dead() {
    let mut node = Node::new(settings());
    node.window();
    node.run(1, 10, 0, MS);
    node.spend(0, 1_000);
    node.window();
    node.end(1);
    let mut row = node.usage[&(1, 10, 0)];
    node.window();
    // The probe had read it before it heard that it was paid.
    row.cpu += CpuNanos::from_nanos(MS);
    node.usage.insert((1, 10, 0), row);
    node.tick += 100;
    assert_eq!(node.window().processes.first().map(|row| row.ended), Some(true));
    node.tick += 100;
    assert_eq!(node.window().processes.len(), 0);
}
