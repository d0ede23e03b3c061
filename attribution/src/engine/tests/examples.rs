// SPDX-License-Identifier: Apache-2.0
//! One situation each, with the expected bill in the open.

use super::*;

const MS: u64 = 1_000_000;

#[test]
fn dynamic_energy_follows_cpu_time_on_the_socket_that_spent_it() {
    //            socket 0   socket 1
    // container a   300 ms      -
    // container b   100 ms    50 ms
    // package     4000 µJ   900 µJ  -> a 3000, b 1000 + 900
    let mut node = Node::new(settings());
    node.window();
    node.run(1, 10, 0, 300 * MS);
    node.run(2, 11, 0, 100 * MS);
    node.run(2, 11, 1, 50 * MS);
    node.spend(0, 4_000);
    node.spend(1, 900);
    let snapshot = node.window();
    assert_eq!(dynamic(container(&snapshot, "a")), [3_000]);
    assert_eq!(dynamic(container(&snapshot, "b")), [1_000, 900]);
    assert_eq!(
        snapshot.pods.first().map(|row| dynamic(&row.ledger)),
        Some(vec![1_000, 900])
    );
    assert_eq!(snapshot.coverage, Some(Permille(1_000)));
}

#[test]
fn a_zone_of_the_whole_machine_is_paid_by_all_sockets() {
    let mut node = Node::new(settings());
    node.window();
    node.run(1, 10, 0, 100 * MS);
    node.run(2, 11, 1, 300 * MS);
    node.spend(3, 8_000);
    let snapshot = node.window();
    // No component used anything, so that all of it is the rest's, too.
    assert_eq!(dynamic(container(&snapshot, "a")), [0, 0, 0, 2_000, 2_000]);
    assert_eq!(dynamic(container(&snapshot, "b")), [0, 0, 0, 6_000, 6_000]);
}

#[test]
fn the_first_reading_is_a_base_and_no_bill() {
    let mut node = Node::new(settings());
    node.run(1, 10, 0, 100 * MS);
    node.spend(0, 5_000_000);
    let snapshot = node.window();
    assert_eq!(
        snapshot.zones.first().map(|zone| zone.dynamic + zone.idle),
        Some(Microjoules::ZERO)
    );
    assert_eq!(snapshot.zones.first().and_then(|zone| zone.power), None);
}

#[test]
fn energy_that_nobody_ran_for_is_unattributed() {
    let mut node = Node::new(settings());
    node.window();
    node.spend(0, 700);
    let snapshot = node.window();
    assert_eq!(
        snapshot.zones.first().map(|zone| zone.unattributed.as_micro()),
        Some(700)
    );
}

#[test]
fn late_energy_is_paid_by_those_who_ran_then() {
    // window   a runs   b runs   meter
    //   1      100 ms     -      (late)
    //   2        -      300 ms   in, counts 4000 µJ for both windows -> a 1000, b 3000
    let mut node = Node::new(settings());
    node.window();
    node.run(1, 10, 0, 100 * MS);
    node.end(1);
    node.open();
    let (usage, identity) = (node.usage_report(), node.identity_report());
    node.engine.on_usage(usage);
    node.engine.on_identity(identity);
    let snapshot = node.close();
    assert_eq!(snapshot.windows.late_now, [ReporterId::new(METER.0)]);
    node.run(2, 11, 0, 300 * MS);
    node.spend(0, 4_000);
    let snapshot = node.window();
    assert_eq!(dynamic(container(&snapshot, "a")), [1_000]);
    assert_eq!(dynamic(container(&snapshot, "b")), [3_000]);
}

#[test]
fn late_usage_makes_the_energy_wait_for_it() {
    let mut node = Node::new(settings());
    node.window();
    node.run(1, 10, 0, 100 * MS);
    node.spend(0, 1_000);
    node.open();
    let (energy, identity) = (node.energy_report(None), node.identity_report());
    node.engine.on_energy(METER, energy);
    node.engine.on_identity(identity);
    let waiting = node.close();
    assert_eq!(
        waiting.zones.first().map(|zone| zone.dynamic),
        Some(Microjoules::ZERO)
    );
    node.spend(0, 500);
    let snapshot = node.window();
    assert_eq!(dynamic(container(&snapshot, "a")), [1_500]);
}

#[test]
fn when_usage_stays_away_energy_is_unattributed_and_not_hidden() {
    let mut node = Node::new(settings());
    node.window();
    let mut last = Snapshot::default();
    for _ in 0..4 {
        node.spend(0, 1_000);
        node.open();
        let energy = node.energy_report(None);
        node.engine.on_energy(METER, energy);
        last = node.close();
    }
    assert_eq!(
        last.zones.first().map(|zone| zone.unattributed.as_micro()),
        Some(4_000)
    );
    assert!(last.windows.stale.contains(&ReporterId::new(USAGE)));
}

#[test]
fn a_task_that_ended_inside_the_window_is_paid_and_its_container_stays_visible() {
    let mut node = Node::new(settings());
    node.window();
    node.run(1, 10, 0, 5 * MS);
    node.end(1);
    node.spend(0, 1_000);
    assert_eq!(dynamic(container(&node.window(), "a")), [1_000]);
    let after = node.window();
    assert_eq!(dynamic(container(&after, "a")), [1_000]);
    assert_eq!(after.containers.first().map(|row| row.ended), Some(true));
    node.tick += 200;
    let much_later = node.window();
    assert_eq!(much_later.containers.len(), 0);
    assert_eq!(dynamic(&much_later.retired.containers), [1_000]);
}

#[test]
fn kernel_threads_and_host_processes_have_rows_of_their_own() {
    let mut node = Node::new(settings());
    node.window();
    node.run(2, 1, 0, 100 * MS); // the root cgroup holds kernel threads in this harness
    node.run(3, 12, 0, 200 * MS);
    node.run(4, 99, 0, 100 * MS); // a cgroup that nobody could resolve
    node.spend(0, 4_000);
    let snapshot = node.window();
    assert_eq!(dynamic(container(&snapshot, "kernel")), [1_000]);
    assert_eq!(dynamic(container(&snapshot, "system")), [3_000]);
    let units: Vec<_> = snapshot
        .units
        .iter()
        .map(|row| (row.key.unit.as_str(), dynamic(&row.ledger)))
        .collect();
    assert_eq!(units, [("", vec![1_000]), ("ssh.service", vec![2_000])]);
}

/// Sends all but what the resolver says.
fn without_owners(node: &mut Node) -> Snapshot {
    node.open();
    let (usage, energy) = (node.usage_report(), node.energy_report(None));
    node.engine.on_usage(usage);
    node.engine.on_energy(METER, energy);
    node.close()
}

#[test]
fn a_new_process_is_paid_when_its_owner_is_heard_and_not_by_the_host_before() {
    let mut node = Node::new(settings());
    node.run(1, 12, 0, 100);
    node.window();
    node.run(1, 12, 0, 100);
    node.run(2, 10, 0, 300);
    node.spend(0, 4_000);
    let held = without_owners(&mut node);
    assert_eq!(dynamic(container(&held, "system")), [0_u64; 0]);
    assert_eq!(held.windows.late_now, [ReporterId::new(RESOLVER)]);
    node.end(2);
    let snapshot = node.window();
    assert_eq!(dynamic(container(&snapshot, "a")), [3_000]);
    assert_eq!(dynamic(container(&snapshot, "system")), [1_000]);
}

#[test]
fn a_late_resolver_holds_up_nobody_who_is_known() {
    let mut node = Node::new(settings());
    node.run(1, 12, 0, 100);
    node.run(2, 10, 0, 100);
    node.run(3, 1, 0, 100);
    node.window();
    node.run(2, 10, 0, 300);
    node.run(4, 1, 0, 100); // A new kernel thread is the kernel's, whatever a resolver says.
    node.spend(0, 4_000);
    let snapshot = without_owners(&mut node);
    assert_eq!(dynamic(container(&snapshot, "a")), [3_000]);
    assert_eq!(dynamic(container(&snapshot, "kernel")), [1_000]);
}

#[test]
fn a_resolver_that_stays_away_holds_up_a_new_process_for_two_windows_and_no_more() {
    let mut node = Node::new(settings());
    node.window();
    let mut seen = Vec::new();
    for tgid in 1..=5 {
        node.run(tgid, 12, 0, 100);
        node.spend(0, 1_000);
        let snapshot = without_owners(&mut node);
        let system = snapshot
            .containers
            .iter()
            .find(|row| row.key == ContainerKey::System);
        seen.push(system.map_or(0, |row| dynamic(&row.ledger).iter().sum()));
    }
    assert_eq!(seen, [0, 0, 3_000, 4_000, 5_000]);
}

#[test]
fn where_nobody_resolves_nothing_waits() {
    let mut engine = Engine::new(settings(), Arc::default());
    engine.expect(&ReporterId::new(USAGE));
    engine.expect_source(METER);
    let mut node = Node {
        engine,
        ..Node::new(settings())
    };
    without_owners(&mut node);
    node.run(1, 12, 0, 100);
    node.spend(0, 1_000);
    assert_eq!(dynamic(container(&without_owners(&mut node), "system")), [1_000]);
}

#[test]
fn a_cgroup_that_gets_its_name_late_keeps_what_it_paid_before_and_no_total_falls() {
    let mut node = Node::new(settings());
    node.window();
    node.run(1, 20, 0, 100 * MS);
    node.spend(0, 1_000);
    node.window();
    node.owners
        .cgroups
        .insert(CgroupId(20), owner("/docker/late", Some("late"), None));
    node.run(1, 20, 0, 100 * MS);
    node.spend(0, 500);
    let snapshot = node.window();
    assert_eq!(dynamic(container(&snapshot, "system")), [1_000]);
    assert_eq!(dynamic(container(&snapshot, "late")), [500]);
}

#[test]
fn a_process_that_moves_pays_in_each_cgroup_for_what_it_did_there() {
    let mut node = Node::new(settings());
    node.window();
    node.run(1, 12, 0, 100 * MS);
    node.run(1, 10, 0, 300 * MS);
    node.spend(0, 4_000);
    let snapshot = node.window();
    assert_eq!(dynamic(container(&snapshot, "system")), [1_000]);
    assert_eq!(dynamic(container(&snapshot, "a")), [3_000]);
    assert_eq!(
        snapshot
            .processes
            .iter()
            .map(|row| dynamic(&row.ledger))
            .collect::<Vec<_>>(),
        [[4_000]]
    );
}

#[test]
fn a_zone_that_stays_away_for_an_hour_comes_back_to_nobodys_bill() {
    let mut node = Node::new(settings());
    node.window();
    for _ in 0..61 {
        node.run(1, 10, 0, 100 * MS);
        node.tick += 59;
        node.open();
        let (usage, identity, energy) = (
            node.usage_report(),
            node.identity_report(),
            node.energy_report(Some(0)),
        );
        node.engine.on_usage(usage);
        node.engine.on_identity(identity);
        node.engine.on_energy(METER, energy);
        assert_eq!(node.close().zones.first().map(|zone| zone.up), Some(false));
    }
    node.spend(0, 61_000);
    let snapshot = node.window();
    assert_eq!(
        snapshot.zones.first().map(|zone| zone.unattributed.as_micro()),
        Some(61_000)
    );
}

#[test]
fn idle_energy_is_shared_by_the_rule_that_was_set() {
    // Floor 1 W, a window of 1 s with 3 J: 1 J idle. a ran 1 ms, b 3 ms.
    //   reserved, node: 0, 0      equal: 0.5 J each      usage: 0.25 J, 0.75 J
    let cases = [
        (IdleShare::Reserved, vec![0], vec![0], 1_000_000),
        (IdleShare::Node, vec![0], vec![0], 1_000_000),
        (IdleShare::Equal, vec![500_000], vec![500_000], 0),
        (IdleShare::Usage, vec![250_000], vec![750_000], 0),
    ];
    for (share, a, b, unreserved) in cases {
        let floor = FloorPolicy::Fixed(vec![(Component::Package, Microwatts::from_watts(1))]);
        let mut node = Node::new(Settings {
            floor,
            idle_share: share,
            ..settings()
        });
        node.window();
        node.run(1, 10, 0, MS);
        node.run(2, 11, 0, 3 * MS);
        node.spend(0, 3_000_000);
        let snapshot = node.window();
        assert_eq!(
            (idle(container(&snapshot, "a")), idle(container(&snapshot, "b"))),
            (a, b),
            "{share:?}"
        );
        assert_eq!(
            snapshot.zones.first().map(|z| z.unreserved_idle.as_micro()),
            Some(unreserved),
            "{share:?}"
        );
        assert_eq!(
            snapshot.zones.first().and_then(|z| z.power),
            Some(Microwatts::from_watts(3))
        );
    }
}

#[test]
fn an_estimators_own_idle_part_is_taken_as_it_is() {
    let mut node = Node::new(Settings {
        floor: FloorPolicy::BusyRatio,
        ..settings()
    });
    for total in [0, 10_000] {
        node.run(1, 10, 0, 100 * MS);
        node.open();
        let (usage, identity, mut energy) = (
            node.usage_report(),
            node.identity_report(),
            node.energy_report(None),
        );
        energy.body.zones.truncate(1);
        energy.body.zones.iter_mut().for_each(|reading| {
            reading.total = Microjoules::from_micro(total);
            reading.idle = Some(Microjoules::from_micro(total / 4));
        });
        node.engine.on_usage(usage);
        node.engine.on_identity(identity);
        node.engine.on_energy(METER, energy);
        node.close();
    }
    let snapshot = node.window();
    assert_eq!(
        snapshot
            .zones
            .first()
            .map(|z| (z.dynamic.as_micro(), z.idle.as_micro())),
        Some((7_500, 2_500))
    );
}

#[test]
fn the_power_of_a_zone_uses_the_time_between_its_readings() {
    let mut node = Node::new(settings());
    node.window();
    node.tick += 3; // three ticks were skipped: 4 s between the readings
    node.spend(0, 8_000_000);
    let snapshot = node.window();
    assert_eq!(
        snapshot.zones.first().and_then(|zone| zone.power),
        Some(Microwatts::from_watts(2))
    );
    assert_eq!(
        snapshot.zones.first().map(|zone| zone.age),
        Some(Duration::from_millis(800))
    );
}

#[test]
fn coverage_is_nothing_once_the_usage_is_stale_and_comes_back_with_it() {
    let mut node = Node::new(settings());
    node.window();
    node.run(1, 10, 0, 100 * MS);
    assert_eq!(node.window().coverage, Some(Permille(1_000)));
    let mut seen = Vec::new();
    for _ in 0..20 {
        node.open();
        let (identity, energy) = (node.identity_report(), node.energy_report(None));
        node.engine.on_identity(identity);
        node.engine.on_energy(METER, energy);
        seen.push(node.close().coverage);
    }
    assert_eq!(seen.last(), Some(&Some(Permille(0))));
    node.run(1, 10, 0, 100 * MS);
    assert_eq!(node.window().coverage, Some(Permille(1_000)));
}

#[test]
fn a_process_that_sleeps_gets_its_owner_when_it_becomes_known() {
    let mut node = Node::new(settings());
    let owners = std::mem::take(&mut node.owners);
    node.window();
    node.run(1, 10, 0, 100 * MS);
    node.spend(0, 4_000);
    let owner = |snapshot: &Snapshot| snapshot.processes.first().map(|row| row.owner.is_some());
    assert_eq!(owner(&node.window()), Some(false));
    node.owners = owners;
    assert_eq!(owner(&node.window()), Some(true));
}

#[test]
fn late_energy_of_a_container_that_the_resolver_has_forgotten_is_still_the_containers() {
    let mut node = Node::new(settings());
    node.window();
    node.run(1, 10, 0, 100 * MS);
    node.end(1);
    node.spend(0, 1_000);
    node.open();
    let (usage, identity) = (node.usage_report(), node.identity_report());
    node.engine.on_usage(usage);
    node.engine.on_identity(identity);
    node.close();
    // The probe has forgotten it, and so the resolver does not name its cgroup any more.
    node.owners.cgroups.remove(&CgroupId(10));
    node.run(2, 11, 0, 100 * MS);
    let snapshot = node.window();
    assert_eq!(dynamic(container(&snapshot, "a")), [500]);
    assert_eq!(dynamic(container(&snapshot, "b")), [500]);
}

#[test]
fn a_meter_that_is_asked_every_third_tick_is_paid_by_all_who_ran_since() {
    let mut node = Node::new(settings());
    node.window();
    let mut read_at = node.now();
    let mut last = None;
    for tick in 1..=3 {
        // a runs in the first two windows, b in the last one.
        node.run(1, if tick < 3 { 10 } else { 11 }, 0, 100 * MS);
        node.open();
        if tick == 3 {
            node.spend(0, 900);
            read_at = node.now();
        }
        let mut energy = node.energy_report(None);
        energy.body.zones.iter_mut().for_each(|zone| zone.at = read_at);
        let usage = node.usage_report();
        node.engine.on_usage(usage);
        node.engine.on_identity(node.identity_report());
        node.engine.on_energy(METER, energy);
        let snapshot = node.close();
        assert_eq!(snapshot.zones.first().map(|zone| zone.up), Some(true));
        last = Some(snapshot);
    }
    let snapshot = last.expect("three windows");
    assert_eq!(dynamic(container(&snapshot, "a")), [600]);
    assert_eq!(dynamic(container(&snapshot, "b")), [300]);
    let three_seconds = Microjoules::from_micro(900).mean_power(Duration::from_secs(3));
    assert_eq!(
        snapshot.zones.first().and_then(|zone| zone.power),
        Some(three_seconds)
    );
}

#[test]
fn a_meter_that_finds_out_later_what_it_reads_is_described_anew() {
    let source = |detail: &str| SourceFacts {
        source: METER,
        components: vec![Component::Platform],
        detail: detail.to_owned(),
    };
    let facts = NodeFacts {
        sources: vec![source("not asked yet")],
        ..NodeFacts::default()
    };
    let mut node = Node::new(settings());
    node.engine = Engine::new(settings(), Arc::new(facts));
    node.engine.describe(METER, "Chassis/1U");
    node.engine.describe(SourceId("another"), "nobody");
    node.open();
    assert_eq!(node.close().facts.sources, [source("Chassis/1U")]);
}

#[test]
fn a_process_that_execs_and_then_sleeps_has_its_new_name() {
    let mut node = Node::new(settings());
    node.window();
    node.run(1, 10, 0, 100 * MS);
    node.rename(1, b"runc:[2:INIT]");
    node.spend(0, 1_000);
    let name = |snapshot: &Snapshot| snapshot.processes.first().map(|row| row.comm);
    assert_eq!(name(&node.window()), Some(Comm::from_bytes(b"runc:[2:INIT]")));
    // The probe saw the exec; the clock that charges did not move, and never will again.
    node.rename(1, b"sleep");
    let snapshot = node.window();
    assert_eq!(name(&snapshot), Some(Comm::from_bytes(b"sleep")));
    assert_eq!(dynamic(container(&snapshot, "a")), [1_000]);
}

#[test]
fn a_probe_that_asks_for_names_stands_in_every_snapshot_as_it_stood_last() {
    let mut node = Node::new(settings());
    let state = |up, reason: &str| ProbeState {
        probe: "pods",
        up,
        reason: reason.to_owned(),
    };
    for state in [
        state(false, "no answer yet"),
        state(true, ""),
        state(false, "403"),
    ] {
        node.owners.probes = vec![state.clone()];
        assert_eq!(node.window().facts.probes, [state]);
    }
    node.owners.probes.clear();
    assert_eq!(
        node.window().facts.probes.len(),
        1,
        "what is not said again stays"
    );
}

#[test]
fn what_those_who_know_names_count_of_themselves_is_in_every_snapshot_as_they_said_it_last() {
    let mut node = Node::new(settings());
    let walks = |count| {
        vec![Tally {
            probe: "resolver",
            what: "walks",
            kind: TallyKind::Done,
            count,
        }]
    };
    for count in [1, 2] {
        node.engine.on_tallies(walks(count));
        assert_eq!(node.window().tallies, walks(count));
    }
    assert_eq!(node.window().tallies, walks(2), "a report that is late");
}

#[test]
fn an_estimators_idle_part_is_no_more_than_its_energy() {
    let mut node = Node::new(settings());
    for (total, rest) in [(0, 0), (1_000, 5_000)] {
        node.open();
        let (usage, mut energy) = (node.usage_report(), node.energy_report(None));
        energy.body.zones.truncate(1);
        energy.body.zones.iter_mut().for_each(|reading| {
            reading.total = Microjoules::from_micro(total);
            reading.idle = Some(Microjoules::from_micro(rest));
        });
        node.engine.on_usage(usage);
        node.engine.on_energy(METER, energy);
        let snapshot = node.close();
        let zone = &snapshot.zones[0];
        assert_eq!((zone.dynamic.as_micro(), zone.idle.as_micro()), (0, total));
    }
}

#[test]
fn a_process_that_left_one_cgroup_and_sleeps_in_another_lives() {
    let mut node = Node::new(settings());
    node.run(1, 12, 0, MS);
    node.window();
    node.run(1, 12, 0, MS);
    node.run(1, 10, 0, MS);
    node.spend(0, 1_000);
    node.window();
    // The probe forgets what it did where it was; where it is it sleeps.
    node.usage.retain(|(_, cgroup, _), _| *cgroup == 10);
    let rows: Vec<bool> = node.window().processes.iter().map(|row| row.ended).collect();
    assert_eq!(rows, [false]);
}

#[test]
fn a_source_that_reports_no_zone_has_the_age_of_its_last_reading() {
    let mut node = Node::new(settings());
    node.window();
    node.zones.clear();
    let snapshot = node.window();
    assert_eq!(snapshot.sources[0].age, Some(Duration::from_millis(1_800)));
}
