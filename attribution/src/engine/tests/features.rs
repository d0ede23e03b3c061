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
