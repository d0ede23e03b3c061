// SPDX-License-Identifier: Apache-2.0
//! A few workloads whose differences are known: one scenario for each assumption that a rule may make.

use super::stage::{END, SEEN, START, at_once, container, cores, seen_before, server, spread, whole_cores};
use super::{Scenario, plain};
use crate::node::Node;
use crate::tasks::{COMPUTE, MEMORY, Plan, S, VECTOR, Work, busy};

pub(super) fn all() -> Vec<Scenario> {
    vec![
        plain(
            "busy-loop",
            "one thread computes on an otherwise idle node",
            busy_loop,
        ),
        plain(
            "three-to-one",
            "two loops share one CPU by weights 3:1",
            three_to_one,
        ),
        plain(
            "cpu-and-memory",
            "eight threads compute beside eight that wait for memory",
            || cpu_and_memory(at_once),
        ),
        plain(
            "vectors",
            "eight threads of wide vectors beside eight of integers",
            || vectors(at_once),
        ),
        plain("smt-pairs", "a has four cores alone, b and c share four", || {
            smt_pairs(at_once)
        }),
        plain(
            "frequencies",
            "a on four cores at 3.5 GHz, b on four at 1.2 GHz",
            || frequencies(at_once),
        ),
        plain(
            "two-sockets",
            "twelve threads of a on one socket, two of b on the other",
            two_sockets,
        ),
        plain(
            "two-sockets-memory",
            "a computes on one socket, b waits for memory on the other",
            two_sockets_memory,
        ),
        seen(
            "cpu-and-memory-seen",
            "as above, after two minutes of coming and going",
            || cpu_and_memory(seen_before),
        ),
        seen(
            "vectors-seen",
            "as above, after two minutes of coming and going",
            || vectors(seen_before),
        ),
        seen(
            "smt-pairs-seen",
            "as above, after two minutes of coming and going",
            || smt_pairs(seen_before),
        ),
        seen(
            "frequencies-seen",
            "as above, after two minutes of coming and going",
            || frequencies(seen_before),
        ),
    ]
}

fn seen(name: &'static str, about: &'static str, build: fn() -> Node) -> Scenario {
    Scenario {
        from: SEEN,
        to: SEEN + 60 * S,
        ..plain(name, about, build)
    }
}

fn busy_loop() -> Node {
    let mut node = server(1);
    let a = container(&mut node, "a");
    spread(&mut node, a, [8], COMPUTE, at_once);
    node
}

fn three_to_one() -> Node {
    let mut node = server(2);
    for (name, weight) in [("a", 3), ("b", 1)] {
        let whose = container(&mut node, name);
        let process = node.process(whose, 0);
        node.thread(process, 8, weight, COMPUTE, busy(START, END));
    }
    node
}

/// A kind of work on so many cores from a first one on.
type Load = (Work, usize, usize);
/// How a thread spends its time.
type Planner = fn(&mut Node) -> Plan;

/// `a` on the first socket; `b` too, or on the other one where it has the same cores.
fn pair(seed: u64, a: Load, b: Load, plan: Planner) -> Node {
    let mut node = server(seed);
    for (name, (work, first, count), socket) in [("a", a, 0), ("b", b, usize::from(b.1 == a.1))] {
        let whose = container(&mut node, name);
        let cpus = cores(&node, socket, first, count);
        spread(&mut node, whose, cpus, work, plan);
    }
    node
}

fn cpu_and_memory(plan: Planner) -> Node {
    pair(3, (COMPUTE, 0, 8), (MEMORY, 8, 8), plan)
}

fn vectors(plan: Planner) -> Node {
    pair(4, (VECTOR, 0, 8), (COMPUTE, 8, 8), plan)
}

fn smt_pairs(plan: Planner) -> Node {
    let mut node = server(5);
    let names = ["a", "b", "c"].map(|name| container(&mut node, name));
    let alone = cores(&node, 0, 0, 4);
    let shared = whole_cores(&node, 0, 4, 4);
    spread(&mut node, names[0], alone, COMPUTE, plan);
    spread(
        &mut node,
        names[1],
        shared.iter().copied().step_by(2),
        COMPUTE,
        plan,
    );
    spread(
        &mut node,
        names[2],
        shared.iter().copied().skip(1).step_by(2),
        COMPUTE,
        plan,
    );
    node
}

fn frequencies(plan: Planner) -> Node {
    let mut node = pair(6, (COMPUTE, 0, 4), (COMPUTE, 4, 4), plan);
    for core in 0..4 {
        node.pin_frequency(core, 3.5);
        node.pin_frequency(core + 4, 1.2);
    }
    node
}

fn two_sockets() -> Node {
    pair(7, (COMPUTE, 0, 12), (COMPUTE, 0, 2), at_once)
}

fn two_sockets_memory() -> Node {
    pair(8, (COMPUTE, 0, 8), (MEMORY, 0, 8), at_once)
}
