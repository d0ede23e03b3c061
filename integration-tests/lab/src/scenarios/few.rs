// SPDX-License-Identifier: Apache-2.0
//! A few workloads whose differences are known: one scenario for each assumption that a rule may make.

use super::stage::{END, START, container, cores, server, spread, whole_cores};
use super::{Scenario, plain};
use crate::node::Node;
use crate::tasks::{COMPUTE, MEMORY, VECTOR, busy};

pub(super) fn all() -> Vec<Scenario> {
    vec![
        plain("busy-loop", "one thread computes on an otherwise idle node", busy_loop),
        plain("three-to-one", "two loops share one CPU by weights 3:1", three_to_one),
        plain("cpu-and-memory", "eight threads compute beside eight that wait for memory", cpu_and_memory),
        plain("vectors", "eight threads of wide vectors beside eight of integers", vectors),
        plain("smt-pairs", "a has four cores alone, b and c share four", smt_pairs),
        plain("frequencies", "a on four cores at 3.5 GHz, b on four at 1.2 GHz", frequencies),
        plain("two-sockets", "twelve threads of a on one socket, two of b on the other", two_sockets),
        plain("two-sockets-memory", "a computes on one socket, b waits for memory on the other", two_sockets_memory),
    ]
}

fn busy_loop() -> Node {
    let mut node = server(1);
    let a = container(&mut node, "a");
    spread(&mut node, a, [8], COMPUTE, |_| busy(START, END));
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

fn pair(seed: u64, a: (crate::tasks::Work, usize, usize), b: (crate::tasks::Work, usize, usize)) -> Node {
    let mut node = server(seed);
    for (name, (work, first, count), socket) in [("a", a, 0), ("b", b, usize::from(b.1 == a.1))] {
        let whose = container(&mut node, name);
        let cpus = cores(&node, socket, first, count);
        spread(&mut node, whose, cpus, work, |_| busy(START, END));
    }
    node
}

fn cpu_and_memory() -> Node {
    pair(3, (COMPUTE, 0, 8), (MEMORY, 8, 8))
}

fn vectors() -> Node {
    pair(4, (VECTOR, 0, 8), (COMPUTE, 8, 8))
}

fn smt_pairs() -> Node {
    let mut node = server(5);
    let names = ["a", "b", "c"].map(|name| container(&mut node, name));
    let alone = cores(&node, 0, 0, 4);
    let shared = whole_cores(&node, 0, 4, 4);
    spread(&mut node, names[0], alone, COMPUTE, |_| busy(START, END));
    spread(&mut node, names[1], shared.iter().copied().step_by(2), COMPUTE, |_| busy(START, END));
    spread(&mut node, names[2], shared.iter().copied().skip(1).step_by(2), COMPUTE, |_| busy(START, END));
    node
}

fn frequencies() -> Node {
    let mut node = pair(6, (COMPUTE, 0, 4), (COMPUTE, 4, 4));
    for core in 0..4 {
        node.pin_frequency(core, 3.5);
        node.pin_frequency(core + 4, 1.2);
    }
    node
}

fn two_sockets() -> Node {
    pair(7, (COMPUTE, 0, 12), (COMPUTE, 0, 2))
}

fn two_sockets_memory() -> Node {
    pair(8, (COMPUTE, 0, 8), (MEMORY, 0, 8))
}
