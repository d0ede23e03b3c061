// SPDX-License-Identifier: Apache-2.0
//! The ring against what a reader would add up, and against its bounds.

use super::*;
use attribution::model::snapshot::{Charge, GroupRow, Ledger, Names, ProcessRow, ZoneAccount};
use attribution::model::{
    CgroupId, Comm, Feature, FloorOrigin, Microjoules, Microwatts, Permille, Place, PodUid, Provenance,
    Section, SourceId, TaskKey, TaskKind, TickId, Zone,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SECOND: Duration = Duration::from_secs(1);

fn at(millis: u64) -> MonotonicNanos {
    MonotonicNanos::ZERO.after(Duration::from_millis(millis))
}

fn joules(joules: u64) -> Microjoules {
    Microjoules::from_micro(joules * 1_000_000)
}

fn zone(component: Component, dynamic: Microjoules, idle: Microjoules) -> ZoneAccount {
    ZoneAccount {
        zone: Zone {
            component,
            place: Place::Named(component.name().into()),
        },
        source: SourceId("test"),
        provenance: Provenance::Counted,
        dynamic,
        idle,
        unattributed: Microjoules::ZERO,
        unreserved_idle: Microjoules::ZERO,
        power: Some(Microwatts::from_watts(1)),
        floor: None,
        floor_origin: FloorOrigin::None,
        floor_error: None,
        feature: Feature::CpuTime,
        fit: None,
        age: Duration::ZERO,
        up: true,
    }
}

fn ledger(dynamic: Microjoules, idle: Microjoules) -> Ledger {
    Ledger {
        charges: vec![Charge {
            dynamic,
            idle,
            ..Charge::default()
        }],
        ..Ledger::default()
    }
}

fn pod(uid: &str, dynamic: Microjoules) -> GroupRow<PodUid> {
    GroupRow {
        began: MonotonicNanos::default(),
        key: PodUid::new(uid),
        owner: None,
        names: Names::default(),
        ledger: ledger(dynamic, Microjoules::ZERO),
        ended: false,
    }
}

/// The window of this tick, which ends at this moment.
fn snapshot(tick: u64, ended: u64, zones: Vec<ZoneAccount>) -> Snapshot {
    let mut snapshot = Snapshot {
        tick: TickId(tick),
        window: Section {
            began: at(ended - 1_000),
            ended: at(ended),
        },
        zones,
        ..Snapshot::default()
    };
    snapshot.windows.closed = tick;
    snapshot
}

fn dynamic(history: &History, component: Component) -> Vec<Option<u64>> {
    let parts = history.slots(0).map(|slot| slot.part(component));
    parts
        .map(|part| part.map(|part| part.dynamic.as_micro() / 1_000_000))
        .collect()
}

fn kept<'a>(history: &'a History, id: &str) -> &'a Series {
    history.largest(Level::Pod).unwrap().find(id).unwrap()
}

fn of_workload(history: &History, id: &str) -> Vec<Option<u64>> {
    let series = kept(history, id);
    let cells = history.slots(0).map(|slot| series.cell(slot.number));
    cells
        .map(|cell| cell.map(|cell| cell.dynamic.as_micro() / 1_000_000))
        .collect()
}

#[test]
fn a_slot_holds_what_was_used_in_it() {
    let mut history = History::new(SECOND);
    for (tick, total) in [(1, 10), (2, 25), (3, 27)] {
        let zones = vec![zone(Component::Package, joules(total), joules(2 * total))];
        assert!(history.record(&snapshot(tick, 1_000 + 1_000 * tick, zones)));
    }
    assert_eq!(
        dynamic(&history, Component::Package),
        [Some(10), Some(15), Some(2)]
    );
    let last = history.slots(3).next().unwrap();
    assert_eq!(last.part(Component::Package).unwrap().idle, joules(4));
    assert_eq!(
        (last.began, last.ended, history.began()),
        (at(3_000), at(4_000), Some(at(1_000)))
    );
    assert!(last.part(Component::Dram).is_none());
}

#[test]
fn before_the_first_window_there_is_nothing() {
    let mut history = History::new(SECOND);
    assert!(!history.record(&Snapshot::default()));
    assert_eq!((history.newest(), history.began()), (0, None));
}

#[test]
fn of_a_daemon_that_ran_before_only_what_comes_is_told() {
    let mut history = History::new(SECOND);
    for (tick, total) in [(50, 1_000), (51, 1_007)] {
        let mut now = snapshot(
            tick,
            1_000 * tick,
            vec![zone(Component::Package, joules(total), joules(0))],
        );
        now.pods = vec![pod("a", joules(total))];
        history.record(&now);
    }
    assert_eq!(dynamic(&history, Component::Package), [Some(7)]);
    assert_eq!(
        of_workload(&history, "a"),
        [None],
        "it was there before: its record begins now"
    );
}

#[test]
fn short_ticks_share_a_slot_and_lose_nothing() {
    // Three of 400 ms are the smallest number that is a second.
    let mut history = History::new(Duration::from_millis(400));
    for tick in 1..=9_u64 {
        let mut now = snapshot(
            tick,
            10_000 + 400 * tick,
            vec![zone(Component::Package, joules(tick), joules(0))],
        );
        now.window.began = at(10_000 + 400 * (tick - 1));
        history.record(&now);
    }
    let sum: u64 = dynamic(&history, Component::Package).into_iter().flatten().sum();
    // The first window is a slot of its own, so that a page has something at once.
    assert_eq!((history.newest(), sum), (3, 7));
    assert_eq!(history.slot_length(), Duration::from_millis(1_200));
    let lengths: Vec<_> = history.slots(2).map(|slot| slot.length().as_millis()).collect();
    assert_eq!(lengths, [1_200, 1_200]);
}

#[test]
fn energy_of_a_slow_meter_belongs_to_the_time_since_its_last_reading() {
    let mut history = History::new(SECOND);
    let slow = |total: u64, age: u64| ZoneAccount {
        age: Duration::from_secs(age),
        ..zone(Component::Other, joules(total), joules(0))
    };
    let record = |history: &mut History, tick: u64, total: u64, age: u64| {
        let mut now = snapshot(tick, 1_000 * tick, vec![slow(total, age)]);
        now.pods = vec![pod("a", joules(total))];
        history.record(&now);
    };
    record(&mut history, 1, 4, 0);
    for tick in 2..=4 {
        record(&mut history, tick, 4, tick - 1);
    }
    assert_eq!(
        dynamic(&history, Component::Other),
        [Some(4), None, None, None],
        "it waits, and that is not nothing"
    );
    let (slot, _) = history
        .newest_known(Component::Other, Duration::from_secs(60))
        .unwrap();
    assert_eq!(slot.number, 1);
    assert!(
        history.newest_known(Component::Other, SECOND).is_none(),
        "too old to be power now"
    );
    record(&mut history, 5, 16, 0);
    assert_eq!(
        dynamic(&history, Component::Other),
        [Some(4), Some(3), Some(3), Some(3), Some(3)]
    );
    assert_eq!(
        of_workload(&history, "a"),
        [Some(4), Some(3), Some(3), Some(3), Some(3)]
    );
}

#[test]
fn a_meter_that_is_down_leaves_its_neighbour_alone_and_pays_later() {
    let mut history = History::new(SECOND);
    let other = |total: u64, up: bool| {
        let zone = zone(Component::Package, joules(total), joules(0));
        ZoneAccount {
            zone: Zone {
                place: Place::Named("socket1".into()),
                ..zone.zone.clone()
            },
            up,
            ..zone
        }
    };
    let socket0 = |total: u64| zone(Component::Package, joules(total), joules(0));
    history.record(&snapshot(1, 1_000, vec![socket0(1), other(1, true)]));
    history.record(&snapshot(2, 2_000, vec![socket0(2), other(1, false)]));
    assert_eq!(dynamic(&history, Component::Package), [Some(2), Some(1)]);
    history.record(&snapshot(3, 3_000, vec![socket0(3), other(5, true)]));
    assert_eq!(dynamic(&history, Component::Package), [Some(2), Some(3), Some(3)]);
}

#[test]
fn a_zone_at_rest_uses_nothing_and_is_not_waited_for() {
    let mut history = History::new(SECOND);
    let rests = || ZoneAccount {
        power: Some(Microwatts::ZERO),
        ..zone(Component::Dram, joules(0), joules(0))
    };
    history.record(&snapshot(1, 1_000, vec![rests()]));
    history.record(&snapshot(2, 2_000, vec![rests()]));
    assert_eq!(dynamic(&history, Component::Dram), [Some(0), Some(0)]);
}

#[test]
fn an_estimate_is_marked_with_its_error_in_every_slot() {
    let mut history = History::new(SECOND);
    let mut guess = zone(Component::Package, joules(1), joules(0));
    guess.provenance = Provenance::Estimated {
        relative_error_p90: Permille(150),
    };
    history.record(&snapshot(
        1,
        1_000,
        vec![guess, zone(Component::Dram, joules(1), joules(0))],
    ));
    let slot = history.slots(0).next().unwrap();
    assert_eq!(slot.part(Component::Package).unwrap().error, Some(Permille(150)));
    assert_eq!(slot.part(Component::Dram).unwrap().error, None);
}

#[test]
fn the_ring_keeps_fifteen_minutes_and_forgets_the_oldest() {
    let mut history = History::new(SECOND);
    for tick in 1..=2_000_u64 {
        let mut now = snapshot(
            tick,
            1_000 * tick,
            vec![zone(Component::Package, joules(tick), joules(0))],
        );
        now.pods = vec![pod("a", joules(2 * tick))];
        history.record(&now);
    }
    let numbers: Vec<_> = history.slots(0).map(|slot| slot.number).collect();
    assert_eq!((numbers.len(), numbers[0], numbers[900]), (901, 1_100, 2_000));
    assert!(
        dynamic(&history, Component::Package)
            .iter()
            .all(|one| *one == Some(1))
    );
    assert!(of_workload(&history, "a").iter().all(|one| *one == Some(2)));
}

#[test]
fn power_of_a_row_is_a_mean_of_the_last_seconds() {
    let mut history = History::new(SECOND);
    for tick in 1..=30_u64 {
        let mut now = snapshot(
            tick,
            1_000 * tick,
            vec![zone(Component::Package, joules(tick), joules(0))],
        );
        // Three watts, and then thirty.
        let total = if tick <= 20 {
            3 * tick
        } else {
            60 + 30 * (tick - 20)
        };
        now.pods = vec![pod("a", joules(total))];
        history.record(&now);
        let rate = {
            let row = Row::Pod(&now.pods[0]);
            history.rate(&row, row.energy(&now.zones)).unwrap()
        };
        if tick == 20 {
            assert_eq!(rate.dynamic, Microwatts::from_watts(3));
        }
        if tick == 30 {
            let expected = Rate {
                dynamic: Microwatts::from_watts(30),
                idle: Microwatts::ZERO,
            };
            assert_eq!(rate, expected);
        }
    }
}

#[test]
fn a_row_that_was_away_and_goes_on_where_it_stopped_has_not_used_all_of_that_now() {
    let mut history = History::new(SECOND);
    for tick in 1..=50_u64 {
        let zones = vec![zone(Component::Package, joules(tick), joules(0))];
        let mut now = snapshot(tick, 1_000 * tick, zones);
        if tick > 30 {
            now.pods = vec![pod("a", joules(1_000 + tick - 30))];
        }
        history.record(&now);
        let Some(row) = now.pods.first().map(Row::Pod) else {
            continue;
        };
        let rate = history.rate(&row, row.energy(&now.zones));
        assert!(
            rate.is_none_or(|rate| rate.dynamic == Microwatts::from_watts(1)),
            "{tick}: {rate:?}"
        );
        assert!(
            rate.is_none() || tick > 35,
            "{tick}: there is no table in which it is"
        );
        assert!(rate.is_some() || tick <= 40, "{tick}");
    }
    let used: u64 = of_workload(&history, "a").into_iter().flatten().sum();
    assert_eq!(used, 19, "from the slot after the one in which it came back on");
}

#[test]
fn who_uses_much_takes_the_place_of_who_uses_least() {
    let mut history = History::new(SECOND);
    for tick in 1..=20_u64 {
        let mut now = snapshot(
            tick,
            1_000 * tick,
            vec![zone(Component::Package, joules(tick), joules(0))],
        );
        let small =
            (0..KEPT as u64).map(|number| pod(&format!("small-{number}"), joules(tick * (number + 1))));
        now.pods = small.collect();
        if tick > 10 {
            now.pods.push(GroupRow {
                began: at(10_000),
                ..pod("big", joules(1_000 * (tick - 10)))
            });
        }
        history.record(&now);
    }
    let pods = history.largest(Level::Pod).unwrap();
    assert_eq!(pods.kept().len(), KEPT);
    assert!(pods.find("small-0").is_none() && pods.find("small-1").is_some());
    let big = of_workload(&history, "big");
    let expected: Vec<_> = (1..=20).map(|slot| (slot > 10).then_some(1_000)).collect();
    assert_eq!(big, expected, "nothing is told of the time before its record");
}

#[test]
fn one_that_ended_is_remembered_until_its_last_slot_leaves() {
    let mut history = History::new(SECOND);
    for tick in 1..=1_000_u64 {
        let mut now = snapshot(
            tick,
            1_000 * tick,
            vec![zone(Component::Package, joules(tick), joules(0))],
        );
        if tick <= 3 {
            now.pods = vec![pod("a", joules(tick))];
        }
        history.record(&now);
        let there = history.largest(Level::Pod).unwrap().find("a").is_some();
        assert_eq!(there, tick < 3 + 901, "{tick}");
    }
}

#[test]
fn the_fullest_history_stays_below_four_mebibytes() {
    let rows = |tick: u64| {
        let zones: Vec<_> = (0..64)
            .map(|_| zone(Component::Gpu, joules(tick), joules(tick)))
            .collect();
        let mut now = snapshot(tick, 1_000 * tick, zones);
        let ledger = |number: u64| Ledger {
            charges: vec![
                Charge {
                    dynamic: Microjoules::from_micro(tick * (number + 1)),
                    ..Charge::default()
                };
                64
            ],
            ..Ledger::default()
        };
        let long = |number: u64| format!("{number:0>253}");
        let group = |number: u64| GroupRow {
            began: MonotonicNanos::default(),
            ledger: ledger(number),
            ..pod(&long(number), Microjoules::ZERO)
        };
        now.pods = (0..2_000).map(group).collect();
        let named = |number| GroupRow {
            began: MonotonicNanos::default(),
            key: attribution::model::VmId::new(&long(number)),
            owner: None,
            names: Names::default(),
            ledger: ledger(number),
            ended: false,
        };
        now.vms = (0..2_000).map(named).collect();
        let of_unit = |number| GroupRow {
            began: MonotonicNanos::default(),
            key: attribution::model::snapshot::UnitKey {
                unit: long(number),
                slice: long(number),
            },
            owner: None,
            names: Names::default(),
            ledger: ledger(number),
            ended: false,
        };
        now.units = (0..2_000).map(of_unit).collect();
        let of_container = |number| GroupRow {
            began: MonotonicNanos::default(),
            key: attribution::model::snapshot::ContainerKey::Container(attribution::model::ContainerId::new(
                &long(number),
            )),
            owner: None,
            names: Names::default(),
            ledger: ledger(number),
            ended: false,
        };
        now.containers = (0..2_000).map(of_container).collect();
        let process = |number: u64| ProcessRow {
            began: MonotonicNanos::default(),
            task: TaskKey {
                tgid: u32::try_from(number).unwrap(),
                start_ticks: number,
            },
            comm: Comm::from_bytes(b"fifteen-letters"),
            kind: TaskKind::User,
            cgroup: CgroupId::ROOT,
            owner: None,
            ledger: ledger(number),
            ended: false,
        };
        now.processes = (0..2_000).map(process).collect();
        now
    };
    let snapshots: Vec<_> = (1..=3).map(rows).collect();
    let region = Region::new(ALLOCATOR);
    let mut history = History::new(SECOND);
    // Its rings have their size from the first slot on; two more let every table take its turn.
    for (snapshot, moment) in snapshots.iter().zip([1_000, 10_000, 20_000]) {
        let mut snapshot = snapshot.clone();
        snapshot.window.ended = at(moment);
        history.record(&snapshot);
        drop(snapshot);
    }
    let change = region.change();
    let held = change.bytes_allocated - change.bytes_deallocated;
    assert!(history.largest.iter().all(|largest| largest.kept().len() == KEPT));
    assert!(held > 3_000_000, "it was not full: {held}");
    assert!(held <= MOST_BYTES, "{held}");
}

#[test]
fn another_tick_keeps_the_history_where_slots_stay_as_long_and_else_numbers_go_on() {
    let tick = |millis| Duration::from_millis(millis);
    let mut history = History::new(tick(1_000));
    let mut number = 0;
    let mut window = |history: &mut History, millis: u64| {
        number += 1;
        let mut snapshot = Snapshot::default();
        (snapshot.tick, snapshot.windows.closed) = (TickId(number), number);
        snapshot.window.began = MonotonicNanos::from_nanos(millis.saturating_sub(1_000) * 1_000_000);
        snapshot.window.ended = MonotonicNanos::from_nanos(millis * 1_000_000);
        history.record(&snapshot)
    };
    assert!(window(&mut history, 1_000) && window(&mut history, 2_000));
    history.retime(tick(500));
    assert_eq!((history.newest(), history.slot_length()), (2, tick(1_000)));
    assert!(!window(&mut history, 2_500) && window(&mut history, 3_000));
    history.retime(tick(5_000));
    assert_eq!((history.newest(), history.slot_length()), (3, tick(5_000)));
    assert!(window(&mut history, 8_000) && window(&mut history, 13_000));
    assert_eq!((history.newest(), history.slots(0).count()), (4, 1));
}
