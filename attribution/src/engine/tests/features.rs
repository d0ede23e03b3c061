// SPDX-License-Identifier: Apache-2.0
//! Splits by what is counted: hardware threads that share a core, rows without counters, features that come and go.

use super::*;

const MS: u64 = 1_000_000;

fn features(snapshot: &Snapshot) -> Vec<&'static str> {
    snapshot.zones.iter().map(|zone| zone.feature.name()).collect()
}

#[test]
fn who_shares_a_core_pays_less_for_the_package_than_who_has_one_alone() {
    // pid  where        time    overlapped   by 0.575
    //   1  container a  100 ms       -          100     alone on its core
    //   2  container b  100 ms     100 ms        57.5   beside 3
    //   3  ssh.service  100 ms     100 ms        57.5
    let run = |split: SplitRules| {
        let mut node = Node::new(Settings { split, ..settings() });
        node.window();
        for (pid, cgroup, overlap) in [(1, 10, 0), (2, 11, 100 * MS), (3, 12, 100 * MS)] {
            node.run(pid, cgroup, 0, 100 * MS);
            node.happen(pid, cgroup, 0, Event::SmtOverlap, overlap);
        }
        node.spend(0, 2_150);
        let snapshot = node.window();
        ["a", "b", "system"].map(|id| dynamic(container(&snapshot, id))[0])
    };
    assert_eq!(run(SplitRules::default()), [1_000, 575, 575]);
    let smt = SmtRule::Fixed(Permille(1_000));
    assert_eq!(
        run(SplitRules {
            smt,
            ..SplitRules::default()
        }),
        [717, 717, 716]
    );
    let by_time_alone = SplitRules {
        by_time_alone: true,
        ..SplitRules::default()
    };
    assert_eq!(run(by_time_alone), [717, 717, 716]);
}

#[test]
fn softirqs_and_folded_rows_pay_for_the_package_although_nobody_counted_their_cycles() {
    // pid  where        time     cycles   as weight
    //   1  container a  100 ms   300 M      300
    //   2  container b  100 ms   100 M      100
    //   0  softirqs     100 ms      -       200: the mean
    let mut node = Node::new(settings());
    node.window();
    for (pid, cgroup, cycles) in [(1, 10, 300), (2, 11, 100), (0, 1, 0)] {
        node.run(pid, cgroup, 0, 100 * MS);
        node.happen(pid, cgroup, 0, Event::CpuCycles, cycles * MS);
        node.happen(pid, cgroup, 0, Event::CacheMisses, cycles);
    }
    node.spend(0, 600);
    node.spend(2, 400);
    let snapshot = node.window();
    assert_eq!(dynamic(container(&snapshot, "a")), [300, 0, 300]);
    assert_eq!(dynamic(container(&snapshot, "b")), [100, 0, 100]);
    assert_eq!(
        dynamic(container(&snapshot, "kernel")),
        [200],
        "no miss is no weight for memory"
    );
    assert_eq!(
        features(&snapshot),
        ["cpu_cycles", "cpu_time", "cache_misses", "energy", "energy"]
    );
}

#[test]
fn each_socket_is_paid_by_what_ran_on_it_by_its_own_counts() {
    // pid 1 has many cycles on socket 0, pid 2 the only ones on socket 1.
    let mut node = Node::new(settings());
    node.window();
    node.run(1, 10, 0, 100 * MS);
    node.happen(1, 10, 0, Event::CpuCycles, 900);
    node.run(2, 11, 0, 100 * MS);
    node.happen(2, 11, 0, Event::CpuCycles, 100);
    node.run(2, 11, 1, 1);
    node.happen(2, 11, 1, Event::CpuCycles, 1);
    node.spend(0, 1_000);
    node.spend(1, 77);
    let snapshot = node.window();
    assert_eq!(dynamic(container(&snapshot, "a")), [900]);
    assert_eq!(dynamic(container(&snapshot, "b")), [100, 77]);
}

#[test]
fn a_feature_that_nobody_counted_anything_of_gives_way_to_cpu_time() {
    let mut node = Node::new(settings());
    node.window();
    node.run(1, 10, 0, 100 * MS);
    node.run(2, 11, 0, 300 * MS);
    node.happen(1, 10, 0, Event::CpuCycles, 0);
    node.spend(0, 400);
    let snapshot = node.window();
    assert_eq!(dynamic(container(&snapshot, "a")), [100]);
    assert_eq!(features(&snapshot)[0], "cpu_time");
    node.happen(2, 11, 0, Event::CpuCycles, 5);
    node.spend(0, 10);
    assert_eq!(features(&node.window())[0], "cpu_cycles");
}

/// Windows in which a spinner (container a) and a streamer (container b) run as long as chance wants, on socket 0 whose
/// package they cost 20 and 5 W.
pub(super) fn spinner_and_streamer(node: &mut Node, windows: u64, mut each: impl FnMut(u64, &Snapshot)) {
    for window in 1..=windows {
        let chance = |prime: u64| window.wrapping_mul(prime) % 97;
        let (spin, stream) = (chance(61) * 10 * MS, chance(53) * 10 * MS);
        node.run(1, 10, 0, spin);
        node.run(2, 11, 0, stream);
        for (pid, cgroup, time, per_second) in [(1, 10, spin, 9), (2, 11, stream, 1)] {
            node.happen(pid, cgroup, 0, Event::CpuCycles, time * 3);
            node.happen(pid, cgroup, 0, Event::Instructions, time * per_second);
            let misses = if pid == 1 { 0 } else { time / 100 };
            node.happen(pid, cgroup, 0, Event::CacheMisses, misses);
        }
        node.spend(0, spin / 50 + stream / 200);
        let snapshot = node.window();
        each(window, &snapshot);
    }
}

#[test]
fn learned_weights_split_a_zone_once_they_are_better_and_by_cycles_until_then() {
    let mut node = Node::new(Settings {
        split: SplitRules {
            learned: true,
            ..SplitRules::default()
        },
        ..settings()
    });
    node.window();
    let mut before = 0;
    spinner_and_streamer(&mut node, 96, |window, snapshot| {
        let zone = &snapshot.zones[0];
        let streamer = dynamic(container(snapshot, "b")).first().copied().unwrap_or(0);
        let paid = std::mem::replace(&mut before, streamer);
        match window {
            1..20 => assert_eq!((zone.feature, zone.fit), (Feature::CpuCycles, None)),
            60.. => {
                assert_eq!(zone.feature, Feature::Learned, "window {window}");
                let truth = (window * 53 % 97) * 10 * MS / 200;
                let off = (streamer - paid).abs_diff(truth);
                assert!(off <= truth / 20 + 2_000, "window {window}: {off} of {truth}");
            }
            _ => {}
        }
    });
}

#[test]
fn what_siblings_weigh_is_in_the_snapshot_and_learned_where_that_is_asked_for() {
    let run = |smt| {
        let split = SplitRules {
            smt,
            ..SplitRules::default()
        };
        let mut node = Node::new(Settings { split, ..settings() });
        let first = node.window().smt_weight;
        let mut last = None;
        for window in 0..200_u64 {
            let (alone, beside) = (window * 61 % 97 * 10 * MS, window * 53 % 97 * 10 * MS);
            node.run(1, 10, 0, alone + beside);
            node.happen(1, 10, 0, Event::SmtOverlap, beside);
            // 10 W alone, 7 W beside a sibling.
            node.spend(0, alone / 100 + beside * 7 / 1_000);
            last = node.window().smt_weight;
        }
        assert_eq!(first, None, "nobody counts it yet");
        last
    };
    assert_eq!(run(SmtRule::default()), Some(Permille(575)));
    assert_eq!(run(SmtRule::Learned), Some(Permille(700)));
}
