// SPDX-License-Identifier: Apache-2.0
//! Components that move from one source to another while it runs. The socket's package is read by both from one and the same
//! counter, so what is paid in all has to be what it counted.

use super::*;
use crate::model::facts::SourceFacts;

const NEXT: SourceId = SourceId("hwmon");
const SECOND: u64 = 1_000_000_000;

fn facts(read: &[(SourceId, &[Component])]) -> Arc<NodeFacts> {
    let of = |(source, components): &(SourceId, &[Component])| SourceFacts {
        source: *source,
        components: components.to_vec(),
        detail: String::new(),
    };
    Arc::new(NodeFacts {
        sources: read.iter().map(of).collect(),
        ..NodeFacts::default()
    })
}

/// The package is read by the meter, and from now on by another one.
fn moving() -> Node {
    let mut node = Node::new(settings());
    node.engine
        .adopt(settings(), facts(&[(METER, &[Component::Package])]));
    node.zones.truncate(1);
    window(&mut node, true, None);
    window(&mut node, true, None);
    node.engine
        .adopt(settings(), facts(&[(NEXT, &[Component::Package])]));
    node.engine.expect_source(NEXT);
    node.engine.dismiss_source(METER);
    node
}

/// 400 ms of task 1 and 10 J. The meter answers or not; the next one says what the counter stood at so many seconds ago.
fn window(node: &mut Node, meter: bool, next: Option<u64>) -> Snapshot {
    node.run(1, 10, 0, 400_000_000);
    node.spend(0, 10_000_000);
    node.open();
    node.engine.on_identity(node.identity_report());
    node.engine.on_usage(node.usage_report());
    if meter {
        node.engine.on_energy(METER, node.energy_report(None));
    }
    if let Some(ago) = next {
        let mut report = node.energy_report(None);
        report.reporter = ReporterId::new(NEXT.0);
        for reading in &mut report.body.zones {
            reading.at = MonotonicNanos::from_nanos(reading.at.as_nanos() - ago * SECOND);
            // It began to count long before.
            reading.total = reading
                .total
                .saturating_sub(Microjoules::from_micro(ago * 10_000_000))
                + Microjoules::from_micro(7_000_000);
        }
        node.engine.on_energy(NEXT, report);
    }
    let snapshot = node.close();
    let paid: u64 = snapshot.zones.iter().map(|zone| zone.dynamic.as_micro()).sum();
    assert_eq!(dynamic(container(&snapshot, "a")).iter().sum::<u64>(), paid);
    snapshot
}

/// Joules paid in each zone.
fn paid(snapshot: &Snapshot) -> Vec<u64> {
    let zones = snapshot.zones.iter();
    zones.map(|zone| zone.dynamic.as_micro() / 1_000_000).collect()
}

fn up(snapshot: &Snapshot) -> Vec<bool> {
    snapshot.zones.iter().map(|zone| zone.up).collect()
}

#[test]
fn the_one_before_is_paid_until_the_tick_that_both_have_answered_and_the_other_from_there_on() {
    let mut node = moving();
    assert!(node.engine.hands_over());
    let both = window(&mut node, true, Some(0));
    assert_eq!((paid(&both), up(&both)), (vec![20, 0], vec![true, true]));
    assert_eq!(both.zones[0].power, Some(Microwatts::from_watts(10)));
    assert!(!node.engine.hands_over());
    // Its reports are refused, and nobody waits for it.
    let next = window(&mut node, true, Some(0));
    assert_eq!((paid(&next), up(&next)), (vec![20, 10], vec![false, true]));
    assert!(next.windows.late_now.is_empty() && next.sources[0].age.is_none());
    assert_eq!(paid(&window(&mut node, false, Some(0))), [20, 20]);
}

#[test]
fn while_one_of_them_is_late_nothing_is_paid_twice_and_nothing_is_lost() {
    // Which of the two answers in each window, and joules paid to either by then. 10 are paid already, and 10 come with each window.
    type Answers = [(bool, bool); 3];
    let cases: [(Answers, [[u64; 2]; 3], u64); 4] = [
        // The meter is late, and then says what the other one may not be paid for.
        (
            [(false, true), (true, true), (true, true)],
            [[10, 0], [30, 0], [30, 10]],
            50,
        ),
        (
            [(true, false), (true, true), (true, true)],
            [[20, 0], [30, 0], [30, 10]],
            50,
        ),
        // Each once: what the other one said first is not its start.
        (
            [(false, true), (true, false), (true, true)],
            [[10, 0], [30, 0], [40, 0]],
            50,
        ),
        // The meter is never heard again: what was used before the other one's first reading is in neither.
        (
            [(false, true), (false, true), (false, true)],
            [[10, 0], [10, 0], [10, 0]],
            40,
        ),
    ];
    for (answers, paid_by_then, in_the_end) in cases {
        let mut node = moving();
        for ((meter, next), expected) in answers.into_iter().zip(paid_by_then) {
            assert!(node.engine.hands_over() || expected == [30, 10]);
            let mut now = paid(&window(&mut node, meter, next.then_some(0)));
            now.resize(2, 0);
            assert_eq!(now, expected, "{answers:?}");
        }
        assert!(!node.engine.hands_over(), "{answers:?}");
        let last = paid(&window(&mut node, false, Some(0)));
        assert_eq!(last.iter().sum::<u64>(), in_the_end, "{answers:?}");
    }
}

#[test]
fn of_a_meter_that_was_read_long_before_the_part_counts_that_the_other_one_was_not_paid_for() {
    let mut node = moving();
    // Its answer is two seconds old.
    assert_eq!(paid(&window(&mut node, true, Some(2))), [20, 0]);
    assert!(!node.engine.hands_over());
    assert_eq!(paid(&window(&mut node, false, Some(3))), [20, 0], "nothing newer");
    assert_eq!(
        paid(&window(&mut node, false, Some(0))),
        [20, 20],
        "two seconds of four"
    );
    assert_eq!(paid(&window(&mut node, false, Some(0))), [20, 30]);
}

#[test]
fn a_source_that_stays_is_not_paid_for_what_it_still_says_of_a_component_that_another_one_reads() {
    let mut node = Node::new(settings());
    let both: &[Component] = &[Component::Package, Component::Dram];
    node.zones = vec![node.zones[0].clone(), node.zones[2].clone()];
    node.engine.adopt(settings(), facts(&[(METER, both)]));
    node.window();
    let apart = facts(&[(METER, &both[1..]), (NEXT, &both[..1])]);
    node.engine.adopt(settings(), apart);
    node.engine.expect_source(NEXT);
    let mut step = |back: bool| {
        if back {
            node.engine.adopt(settings(), facts(&[(METER, both)]));
            node.engine.dismiss_source(NEXT);
        }
        node.spend(0, 5_000_000);
        node.spend(1, 1_000_000);
        node.open();
        node.engine.on_identity(node.identity_report());
        node.engine.on_usage(node.usage_report());
        node.engine.on_energy(METER, node.energy_report(None));
        let mut report = node.energy_report(Some(1));
        report.reporter = ReporterId::new(NEXT.0);
        node.engine.on_energy(NEXT, report);
        assert!(node.engine.complete());
        let snapshot = node.close();
        (paid(&snapshot), up(&snapshot), node.engine.hands_over())
    };
    // Package and memory of the meter, package of the other one.
    assert_eq!(step(false), (vec![5, 1, 0], vec![true, true, true], false));
    assert_eq!(step(false), (vec![5, 2, 5], vec![false, true, true], false));
    // And back again.
    assert_eq!(step(true), (vec![5, 3, 10], vec![true, true, true], false));
    assert_eq!(step(false), (vec![10, 4, 10], vec![true, true, false], false));
}

#[test]
fn what_one_source_reads_no_more_and_nobody_else_begins_to_ends_at_once() {
    let mut node = moving();
    let nobody = facts(&[]);
    node.engine.adopt(settings(), nobody);
    assert!(!node.engine.hands_over(), "one under way is over with the next");
    node.engine.dismiss_source(NEXT);
    let gone = window(&mut node, true, Some(0));
    assert_eq!((paid(&gone), up(&gone)), (vec![10], vec![false]));
}
