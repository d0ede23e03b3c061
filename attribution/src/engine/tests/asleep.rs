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
