// SPDX-License-Identifier: Apache-2.0
//! Sources that change places beside a platform, with late and silent ones among them: what is paid in all, and what is left for the
//! platform's rest. The package draws 50 W and the platform 120 W, and every tick is a second.

use super::devices::{GPUS, gpu};
use super::*;
use crate::model::facts::SourceFacts;

const NEXT: SourceId = SourceId("hwmon");
const BMC: SourceId = SourceId("redfish");
const ACPI: SourceId = SourceId("acpi");
const MODEL: SourceId = SourceId("trained_power_model");
const GPUS_NEXT: SourceId = SourceId("drm");
const RAIL: u64 = 50;
const WALL: u64 = 120;

type Reads = (SourceId, Component);
type Says = (SourceId, Vec<ZoneReading>);

fn adopt(node: &mut Node, reads: &[Reads], comes: Option<SourceId>, goes: Option<SourceId>) {
    let of = |(source, component): &Reads| SourceFacts {
        source: *source,
        components: vec![*component],
        detail: String::new(),
    };
    let facts = NodeFacts {
        sources: reads.iter().map(of).collect(),
        ..NodeFacts::default()
    };
    node.engine.adopt(settings(), Arc::new(facts));
    if let Some(source) = comes {
        node.engine.expect_source(source);
    }
    if let Some(source) = goes {
        node.engine.dismiss_source(source);
    }
}

/// A node whose sources have been read for five seconds.
fn node(reads: &[Reads]) -> Node {
    let mut node = Node::new(settings());
    node.engine.dismiss_source(METER);
    adopt(&mut node, reads, None, None);
    for (source, _) in reads {
        node.engine.expect_source(*source);
    }
    for _ in 0..5 {
        let all: Vec<Says> = reads
            .iter()
            .map(|(source, component)| (*source, vec![now(&node, *source, *component)]))
            .collect();
        window(&mut node, &all, true);
    }
    node
}

fn place(source: SourceId, component: Component) -> Zone {
    match component {
        Component::Platform | Component::Other => Zone {
            component,
            place: Place::Named(Arc::from(source.0)),
        },
        _ => zone(component, 0),
    }
}

/// What a source says in the window that comes, of a reading at that second.
fn at(source: SourceId, component: Component, second: u64) -> ZoneReading {
    let watts = if component == Component::Platform {
        WALL
    } else {
        RAIL
    };
    let provenance = if source == MODEL {
        Provenance::Estimated {
            relative_error_p90: Permille(300),
        }
    } else {
        Provenance::Counted
    };
    ZoneReading {
        zone: place(source, component),
        total: Microjoules::from_micro(watts * second * 1_000_000),
        idle: None,
        provenance,
        at: MonotonicNanos::from_nanos(second * 1_000_000_000),
        device: None,
    }
}

fn now(node: &Node, source: SourceId, component: Component) -> ZoneReading {
    at(source, component, node.tick + 1)
}

fn rail(node: &Node, source: SourceId) -> Says {
    (source, vec![now(node, source, Component::Package)])
}

fn wall(node: &Node, source: SourceId) -> Says {
    (source, vec![now(node, source, Component::Platform)])
}

fn window(node: &mut Node, says: &[Says], usage: bool) -> Snapshot {
    node.run(1, 10, 0, 400_000_000);
    node.open();
    node.engine.on_identity(node.identity_report());
    if usage {
        node.engine.on_usage(node.usage_report());
    }
    for (source, zones) in says {
        let body = Energy {
            zones: zones.clone(),
            errors: Vec::new(),
        };
        let report = node.report(source.0, body);
        node.engine.on_energy(*source, report);
    }
    node.close()
}

fn joules(snapshot: &Snapshot, source: SourceId, component: Component) -> u64 {
    let zones = snapshot.zones.iter();
    let ours = zones.filter(|it| it.zone == place(source, component));
    let ours = ours.filter(|it| it.source == source || component == Component::Other);
    ours.map(|it| (it.dynamic + it.idle).as_micro() / 1_000_000).sum()
}

fn rails(snapshot: &Snapshot) -> u64 {
    let of = |source| joules(snapshot, source, Component::Package);
    of(METER) + of(NEXT)
}

const PACKAGE_AND_WALL: [Reads; 2] = [(METER, Component::Package), (BMC, Component::Platform)];
const NEXT_AND_WALL: [Reads; 2] = [(NEXT, Component::Package), (BMC, Component::Platform)];

#[test]
fn the_rest_goes_on_beside_another_meter_of_the_platform() {
    let mut node = node(&PACKAGE_AND_WALL);
    let after = [(METER, Component::Package), (ACPI, Component::Platform)];
    adopt(&mut node, &after, Some(ACPI), Some(BMC));
    let mut last = Snapshot::default();
    while node.tick < 20 {
        let mut says = vec![rail(&node, METER), wall(&node, ACPI)];
        if node.engine.hands_over() {
            says.push(wall(&node, BMC));
        }
        last = window(&mut node, &says, true);
    }
    assert_eq!(joules(&last, BMC, Component::Other), 5 * (WALL - RAIL));
    // Its first window after the sixth is the base of its rest.
    assert_eq!(joules(&last, ACPI, Component::Other), 13 * (WALL - RAIL));
}

#[test]
fn a_platform_that_comes_back_begins_its_rest_anew() {
    let mut node = node(&PACKAGE_AND_WALL);
    adopt(&mut node, &PACKAGE_AND_WALL[..1], None, Some(BMC));
    while node.tick < 60 {
        let says = [rail(&node, METER)];
        window(&mut node, &says, true);
    }
    adopt(&mut node, &PACKAGE_AND_WALL, Some(BMC), None);
    let mut last = Snapshot::default();
    while node.tick < 65 {
        let mut whole = now(&node, BMC, Component::Platform);
        // Its total goes on where it stood.
        whole.total = whole
            .total
            .saturating_sub(Microjoules::from_micro(55 * WALL * 1_000_000));
        let says = [rail(&node, METER), (BMC, vec![whole])];
        last = window(&mut node, &says, true);
    }
    assert_eq!(joules(&last, BMC, Component::Other), (4 + 4) * (WALL - RAIL));
}

#[test]
fn nobody_waits_for_a_gpu_that_is_not_read_any_more() {
    for next in [None, Some(GPUS_NEXT)] {
        let mut node = node(&[]);
        let reads: Vec<Reads> = vec![(GPUS, Component::Gpu)];
        adopt(&mut node, &reads, Some(GPUS), None);
        let says = |node: &Node, source, who: Option<u32>| {
            let users = who.map(|pid| DeviceUser {
                pid,
                used: DeviceNanos::from_nanos(node.tick * 1_000_000),
            });
            let device = DeviceUse {
                busy: Some(DeviceNanos::from_nanos(node.tick * 1_000_000)),
                users: users.into_iter().collect(),
            };
            let reading = ZoneReading {
                zone: gpu(if source == GPUS { 0 } else { 1 }),
                device: Some(device),
                ..now(node, source, Component::Package)
            };
            (source, vec![reading])
        };
        for _ in 0..5 {
            node.run(7, 11, 0, 1_000_000);
            let all = [says(&node, GPUS, Some(7))];
            window(&mut node, &all, true);
        }
        let reads: Vec<Reads> = next.map(|source| (source, Component::Gpu)).into_iter().collect();
        adopt(&mut node, &reads, next, Some(GPUS));
        for step in 0..6 {
            if step == 3 {
                node.end(7);
            }
            let mut all = vec![says(&node, GPUS, Some(7))];
            all.extend(next.map(|source| says(&node, source, None)));
            window(&mut node, &all, true);
        }
        assert_eq!(node.engine.held().accounts, 1, "only task 1 lives: {next:?}");
    }
}

#[test]
fn the_rest_is_no_estimate_any_more_where_a_meter_follows_the_estimator() {
    let before = [(MODEL, Component::Package), (BMC, Component::Platform)];
    let mut node = node(&before);
    adopt(&mut node, &PACKAGE_AND_WALL, Some(METER), Some(MODEL));
    let mut rests = Vec::new();
    while node.tick < 9 {
        let says = [rail(&node, MODEL), rail(&node, METER), wall(&node, BMC)];
        let snapshot = window(&mut node, &says, true);
        let rest = snapshot
            .zones
            .iter()
            .find(|it| it.zone.component == Component::Other);
        rests.push(rest.map(|it| (it.source, it.provenance)));
    }
    let unsure = Permille(300 * 50 / 70);
    let estimate = Provenance::Estimated {
        relative_error_p90: unsure,
    };
    assert_eq!(
        rests[0],
        Some((MODEL, estimate)),
        "the last second of the estimator"
    );
    assert_eq!(rests[1..], [Some((BMC, Provenance::Integrated)); 3]);
}

/// A package that moves, and in each window from the sixth second on whether the one before and the next are heard.
fn moves(heard: &[(bool, bool)]) -> Vec<(u64, u64)> {
    let mut node = node(&PACKAGE_AND_WALL);
    adopt(&mut node, &NEXT_AND_WALL, Some(NEXT), Some(METER));
    let mut told = Vec::new();
    while node.tick < 20 {
        let at = usize::try_from(node.tick - 5).expect("a few");
        let (before, next) = heard.get(at).copied().unwrap_or((false, true));
        let mut says = vec![wall(&node, BMC)];
        says.extend(before.then(|| rail(&node, METER)));
        says.extend(next.then(|| rail(&node, NEXT)));
        let snapshot = window(&mut node, &says, true);
        told.push((rails(&snapshot), joules(&snapshot, BMC, Component::Other)));
    }
    told
}

#[test]
fn the_rest_does_not_wait_for_a_zone_that_was_handed_over() {
    let told = moves(&[(true, true)]);
    for ((package, rest), second) in told.into_iter().zip(6..) {
        // What the next one counts is paid with the window after.
        assert_eq!(package, RAIL * (second - 1), "second {second}");
        assert_eq!(rest, (WALL - RAIL) * (second - 1), "second {second}");
    }
}

#[test]
fn what_one_zone_is_paid_for_is_taken_out_of_the_platform_once_whoever_was_late() {
    let cases: [&[(bool, bool)]; 4] = [
        &[(false, true), (true, false), (true, true)],
        &[(false, true), (false, true), (true, true)],
        &[(true, false), (true, true)],
        &[(false, true), (false, true), (true, false)],
    ];
    for heard in cases {
        let told = moves(heard);
        let (package, rest) = *told.last().expect("windows");
        // What is in neither stays in the rest.
        assert_eq!(package + rest, WALL * 19, "{heard:?}");
    }
}

#[test]
fn one_that_has_nothing_newer_is_waited_for_and_then_the_next_ones_first_reading_counts() {
    // What the one before says in each window: of a reading at that second, an error, or nothing.
    type Answer = Option<Option<u64>>;
    let cases: [([Answer; 3], usize, u64); 5] = [
        // A meter that is asked rarely, with a newer reading in time.
        ([Some(Some(5)), Some(Some(7)), None], 2, 9),
        ([Some(Some(5)), Some(Some(5)), Some(Some(8))], 3, 9),
        // And without: the sixth second is in neither.
        ([Some(Some(5)), Some(Some(5)), Some(Some(5))], 3, 8),
        // It hangs, and then answers with an error.
        ([None, None, Some(None)], 3, 8),
        ([Some(None), Some(None), Some(None)], 3, 8),
    ];
    for (says, windows, seconds) in cases {
        let mut node = node(&PACKAGE_AND_WALL[..1]);
        adopt(&mut node, &NEXT_AND_WALL[..1], Some(NEXT), Some(METER));
        let mut over = 0;
        for answer in says {
            over += usize::from(node.engine.hands_over());
            let mut all = vec![rail(&node, NEXT)];
            all.extend(answer.map(|told| {
                let reading = told.map(|second| at(METER, Component::Package, second));
                (METER, reading.into_iter().collect())
            }));
            window(&mut node, &all, true);
        }
        assert!(!node.engine.hands_over());
        let mut last = Snapshot::default();
        while node.tick < 10 {
            let all = [rail(&node, NEXT)];
            last = window(&mut node, &all, true);
        }
        assert_eq!((over, rails(&last)), (windows, RAIL * seconds), "{says:?}");
    }
}

#[test]
fn a_night_before_the_last_reading_of_one_is_not_paid_again_by_one_that_is_asked_rarely() {
    const NIGHT: u64 = 14_000;
    let mut node = node(&PACKAGE_AND_WALL);
    adopt(&mut node, &NEXT_AND_WALL, Some(NEXT), Some(METER));
    let awake = |(source, mut zones): Says| -> Says {
        zones[0].total += Microjoules::from_micro(NIGHT * 1_000_000);
        (source, zones)
    };
    let first = (NEXT, vec![at(NEXT, Component::Package, 6)]);
    let evening = [first.clone(), wall(&node, BMC)];
    window(&mut node, &evening, true);
    node.engine.on_sleep(Duration::from_secs(99));
    let morning = [awake(rail(&node, METER)), first.clone(), awake(wall(&node, BMC))];
    window(&mut node, &morning, true);
    assert!(!node.engine.hands_over());
    let mut last = Snapshot::default();
    while node.tick < 20 {
        // Somebody who ran only in the interval that nobody is paid for.
        if node.tick == 8 {
            node.run(2, 11, 0, 400_000_000);
        }
        let next = if node.tick < 11 {
            first.clone()
        } else {
            awake(rail(&node, NEXT))
        };
        let says = [next, awake(wall(&node, BMC))];
        last = window(&mut node, &says, true);
    }
    // The one before until the seventh second, and the next one from the twelfth on.
    assert_eq!(rails(&last), RAIL * (6 + 8) + NIGHT);
    let rest = joules(&last, BMC, Component::Other);
    assert_eq!(
        rails(&last) + rest,
        WALL * 19 + NIGHT,
        "what is in neither is in the rest"
    );
    let next = last
        .zones
        .iter()
        .position(|zone| zone.source == NEXT)
        .expect("a zone");
    let paid = dynamic(container(&last, "b"));
    assert_eq!(paid.get(next).copied().unwrap_or(0), 0);
}

#[test]
fn what_one_has_counted_is_paid_also_where_it_is_read_again_before_usage_is_told() {
    for late in [1, 2] {
        let mut node = node(&PACKAGE_AND_WALL[..1]);
        adopt(&mut node, &NEXT_AND_WALL[..1], Some(NEXT), Some(METER));
        let all = |node: &Node| [rail(node, METER), rail(node, NEXT)];
        let says = all(&node);
        window(&mut node, &says, false);
        assert!(!node.engine.hands_over());
        adopt(&mut node, &PACKAGE_AND_WALL[..1], Some(METER), Some(NEXT));
        let mut last = Snapshot::default();
        while node.tick < 11 {
            let (says, heard) = (all(&node), node.tick >= 5 + late);
            last = window(&mut node, &says, heard);
        }
        assert_eq!(rails(&last), RAIL * 10, "{late} windows without usage");
        assert_eq!(
            dynamic(container(&last, "a")).iter().sum::<u64>(),
            RAIL * 10_000_000
        );
    }
}

#[test]
fn one_that_fails_while_another_component_is_still_handed_over_takes_nothing_from_the_next() {
    let (before, after) = (
        [(METER, Component::Package), (ACPI, Component::Dram)],
        [(NEXT, Component::Package), (BMC, Component::Dram)],
    );
    let mut node = node(&before);
    adopt(&mut node, &after, Some(NEXT), Some(METER));
    node.engine.expect_source(BMC);
    node.engine.dismiss_source(ACPI);
    let both = [rail(&node, METER), rail(&node, NEXT)];
    window(&mut node, &both, true);
    let mut last = Snapshot::default();
    while node.tick < 10 {
        assert_eq!(node.engine.hands_over(), node.tick < 8);
        let says = [(METER, Vec::new()), rail(&node, NEXT)];
        last = window(&mut node, &says, true);
    }
    assert_eq!(rails(&last), RAIL * 9);
}

#[test]
fn a_night_in_which_nobody_read_a_zone_is_not_in_what_it_is_paid_for_later() {
    let reads = [(METER, Component::Package)];
    let mut node = node(&reads);
    adopt(&mut node, &[], None, Some(METER));
    for _ in 0..3 {
        window(&mut node, &[], true);
    }
    node.engine.on_sleep(Duration::from_secs(99));
    adopt(&mut node, &reads, Some(METER), None);
    let mut last = Snapshot::default();
    for _ in 0..2 {
        let says = [rail(&node, METER)];
        last = window(&mut node, &says, true);
    }
    let zone = last.zones.first().expect("the package");
    assert_eq!(
        (zone.idle, zone.power),
        (Microjoules::ZERO, Some(Microwatts::from_watts(RAIL)))
    );
}
