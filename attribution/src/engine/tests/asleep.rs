// SPDX-License-Identifier: Apache-2.0
//! A machine that slept: the night is nobody's doing.

use super::*;

const JOULE: u64 = 1_000_000;

/// One window of a second in which process 1 ran, by these rules, after so many seconds of sleep; the meter counted 100 J.
fn morning(settings: Settings, slept: u64) -> (Snapshot, u64) {
    let mut node = Node::new(settings);
    node.window();
    node.run(1, 10, 0, 100_000_000);
    node.window();
    node.engine.on_sleep(Duration::from_secs(slept));
    node.run(1, 10, 0, 100_000_000);
    node.spend(0, 100 * JOULE);
    let snapshot = node.window();
    let paid = dynamic(container(&snapshot, "a")).iter().sum();
    (snapshot, paid)
}

fn package(snapshot: &Snapshot) -> &snapshot::ZoneAccount {
    snapshot.zones.first().expect("a zone")
}

#[test]
fn energy_of_the_night_is_idle_and_its_power_is_that_of_the_whole_time() {
    // 100 J in 1 s awake and 99 s asleep: 99 J are the night's, 1 W is the power.
    let (snapshot, paid) = morning(settings(), 99);
    let zone = package(&snapshot);
    assert_eq!(
        (zone.idle.as_micro(), zone.dynamic.as_micro(), paid),
        (99 * JOULE, JOULE, JOULE)
    );
    assert_eq!(zone.power, Some(Microwatts::from_watts(1)));
    let (snapshot, paid) = morning(settings(), 0);
    assert_eq!(paid, 100 * JOULE);
    assert_eq!(package(&snapshot).power, Some(Microwatts::from_watts(100)));
}

#[test]
fn a_night_is_of_one_window_and_a_total_that_is_said_again_is_no_other_night() {
    let mut node = Node::new(settings());
    node.window();
    node.engine.on_sleep(Duration::from_secs(99));
    node.spend(0, 100 * JOULE);
    node.window();
    node.engine.on_sleep(Duration::from_secs(99));
    node.spend(0, 100 * JOULE);
    let snapshot = node.window();
    assert_eq!(package(&snapshot).idle.as_micro(), 99 * JOULE);
    assert_eq!(package(&snapshot).power, Some(Microwatts::from_watts(100)));
}

#[test]
fn a_reading_from_before_the_night_has_nothing_of_it() {
    let mut node = Node::new(settings());
    node.window();
    node.spend(0, 10 * JOULE);
    node.open();
    let report = node.energy_report(None);
    node.engine.on_energy(METER, report);
    node.engine.on_sleep(Duration::from_secs(99));
    node.engine.on_identity(node.identity_report());
    node.engine.on_usage(node.usage_report());
    let snapshot = node.close();
    assert_eq!(package(&snapshot).idle, Microjoules::ZERO);
    node.spend(0, 100 * JOULE);
    assert_eq!(package(&node.window()).idle.as_micro(), 99 * JOULE);
}

#[test]
fn what_was_integrated_has_nothing_of_the_night() {
    let mut node = Node::new(settings());
    node.window();
    node.engine.on_sleep(Duration::from_secs(99));
    node.spend(0, 100 * JOULE);
    node.open();
    let mut report = node.energy_report(None);
    for reading in &mut report.body.zones {
        reading.provenance = Provenance::Integrated;
    }
    node.engine.on_energy(METER, report);
    node.engine.on_identity(node.identity_report());
    node.engine.on_usage(node.usage_report());
    let snapshot = node.close();
    assert_eq!(package(&snapshot).idle, Microjoules::ZERO);
    assert_eq!(package(&snapshot).power, Some(Microwatts::from_watts(100)));
}

#[test]
fn a_night_teaches_nothing_about_what_rest_costs() {
    let floor_after = |slept: u64| {
        let mut node = Node::new(Settings {
            floor: FloorPolicy::Measured,
            ..settings()
        });
        for window in 0..40 {
            // Every other window is one after a night, in which the counter stood still.
            let is_night = window % 2 == 1;
            if is_night {
                node.engine.on_sleep(Duration::from_secs(slept * window));
            }
            node.spend(0, if is_night { JOULE } else { 50 * JOULE });
            node.window();
        }
        package(&node.window()).floor.expect("a floor").as_micro()
    };
    let (with_nights, without) = (floor_after(3_600), floor_after(0));
    assert!(
        with_nights > 45 * JOULE && without < 45 * JOULE,
        "{with_nights} {without}"
    );
}

/// A package with 50 W and a BMC that sees 80 W, whose machine sleeps between the second and the third of five windows. The package
/// counted 14 kJ meanwhile, and the BMC so many joules. What `other` has after each window, in joules, and what of it is idle.
fn other_beside_a_night(provenance: Provenance, platforms_night: u64) -> Vec<(u64, u64)> {
    const SLEPT: u64 = 8 * 3_600;
    let mut node = Node::new(settings());
    let [package, platform] = [0, 3];
    let window = |node: &mut Node| {
        node.open();
        let mut report = node.energy_report(None);
        for reading in &mut report.body.zones {
            if reading.zone.component == Component::Platform {
                reading.provenance = provenance;
            }
        }
        node.engine.on_energy(METER, report);
        node.engine.on_identity(node.identity_report());
        node.engine.on_usage(node.usage_report());
        let snapshot = node.close();
        let is_other = |zone: &&snapshot::ZoneAccount| zone.zone.component == Component::Other;
        let other = snapshot.zones.iter().find(is_other).expect("other");
        let joules = |energy: Microjoules| energy.as_micro() / JOULE;
        (joules(other.dynamic + other.idle), joules(other.idle))
    };
    window(&mut node);
    (1..=5)
        .map(|number| {
            if number == 3 {
                node.engine.on_sleep(Duration::from_secs(SLEPT));
                node.spend(package, 14_000 * JOULE);
                node.spend(platform, platforms_night * JOULE);
            }
            node.spend(package, 50 * JOULE);
            node.spend(platform, 80 * JOULE);
            window(&mut node)
        })
        .collect()
}

#[test]
fn a_night_that_the_platform_has_not_seen_is_not_taken_out_of_it() {
    let others = other_beside_a_night(Provenance::Integrated, 0);
    // Of 14,050 J in 28,801 s the night is all but 0.5 J: of that window almost all of the platform's is left.
    assert_eq!(others, [(30, 0), (60, 0), (139, 0), (169, 0), (199, 0)]);
}

#[test]
fn what_is_left_of_the_night_of_a_platform_that_counted_is_idle() {
    let others = other_beside_a_night(Provenance::Counted, 20_000);
    let night = 6_029;
    assert_eq!(
        others,
        [(30, 0), (60, 0), (6_090, night), (6_120, night), (6_150, night)]
    );
}
