// SPDX-License-Identifier: Apache-2.0
//! A meter that hangs: no report comes that leaves its zones out, and what it said last is not so any more all the same.

use super::*;

const MS: u64 = 1_000_000;

/// A window in which no meter is heard.
fn unheard(node: &mut Node) -> Snapshot {
    node.open();
    let (usage, identity) = (node.usage_report(), node.identity_report());
    node.engine.on_identity(identity);
    node.engine.on_usage(usage);
    node.close()
}

fn zone_0(snapshot: &Snapshot) -> (bool, Option<u64>, u64) {
    let zone = &snapshot.zones[0];
    (
        zone.up,
        zone.power.map(Microwatts::as_micro),
        zone.dynamic.as_micro(),
    )
}

#[test]
fn the_watts_of_a_meter_that_hangs_leave_after_five_seconds_and_its_joules_stay() {
    let mut node = Node::new(settings());
    node.run(1, 10, 0, 100 * MS);
    node.window();
    node.run(1, 10, 0, 100 * MS);
    node.spend(0, 1_000);
    assert_eq!(zone_0(&node.window()), (true, Some(1_000), 1_000));
    // One late window is not down, and four are not.
    for second in 1..=4 {
        node.run(1, 10, 0, 100 * MS);
        assert_eq!(
            zone_0(&unheard(&mut node)),
            (true, Some(1_000), 1_000),
            "second {second}"
        );
    }
    for second in 5..=20 {
        node.run(1, 10, 0, 100 * MS);
        let snapshot = unheard(&mut node);
        assert_eq!(zone_0(&snapshot), (false, None, 1_000), "second {second}");
        assert!(
            snapshot.zones.iter().all(|zone| !zone.up),
            "its thread reads the others, too"
        );
    }
    // It has counted on, and everything goes on.
    node.run(1, 10, 0, 100 * MS);
    node.spend(0, 42_000);
    assert_eq!(zone_0(&node.window()), (true, Some(2_000), 43_000));
    node.spend(0, 1_000);
    node.run(1, 10, 0, 100 * MS);
    let last = node.window();
    assert_eq!(zone_0(&last), (true, Some(1_000), 44_000));
    assert_eq!(dynamic(container(&last, "a")), [44_000]);
}

#[test]
fn a_meter_that_answers_older_questions_only_is_late_and_not_down() {
    let mut node = Node::new(settings());
    node.window();
    for _ in 0..30 {
        node.spend(0, 1_000);
        let energy = node.energy_report(None);
        let snapshot = unheard(&mut node);
        // It was asked in the last window, and needs longer than one for its answer.
        node.engine.on_energy(METER, energy);
        assert!(snapshot.zones.iter().all(|zone| zone.up));
    }
}
