// SPDX-License-Identifier: Apache-2.0
//! Many processes, short processes, processes that come and go within a tick.

use super::stage::{END, START, coming_and_going, container, cores, server, spread, whole_cores};
use super::{Scenario, plain};
use crate::node::Node;
use crate::tasks::{COMPUTE, MEMORY, MS, S, SERVICE, VECTOR, asleep, busy, duty, once, phases};

pub(super) fn all() -> Vec<Scenario> {
    vec![
        plain(
            "short-lived",
            "10,000 processes of 1 to 19 ms of one pod beside one steady thread",
            short_lived,
        ),
        plain(
            "bursts",
            "3 ms every 40 ms on eight CPUs beside two steady threads",
            bursts,
        ),
        plain(
            "sleepers",
            "5,000 sleeping processes, 100 of which wake now and then",
            sleepers,
        ),
        plain(
            "full-node",
            "services, batch, vectors, memory and short jobs share the whole node",
            full_node,
        ),
        Scenario {
            to: 330 * S,
            ..plain(
                "five-minutes",
                "six pods of four kinds come and go on both sockets",
                five_minutes,
            )
        },
    ]
}

/// Processes that begin by chance between the start and the end of what is judged.
fn swarm(node: &mut Node, name: &str, count: u64, cpus: &[usize]) {
    let whose = container(node, name);
    for index in 0..count {
        let at = START + node.rng.below(60 * S);
        let process = node.process(whose, at);
        let cpu = cpus[usize::try_from(index).unwrap_or(0) % cpus.len()];
        let run = MS + node.rng.below(18 * MS);
        node.thread(process, cpu, 1, SERVICE, once(at, run));
    }
}

fn short_lived() -> Node {
    let mut node = server(11);
    let steady = container(&mut node, "steady");
    spread(&mut node, steady, [20], SERVICE, |_| busy(START, END));
    let cpus = cores(&node, 0, 1, 8);
    swarm(&mut node, "swarm", 10_000, &cpus);
    node
}

fn bursts() -> Node {
    let mut node = server(12);
    let steady = container(&mut node, "steady");
    spread(&mut node, steady, [20, 22], COMPUTE, |_| busy(START, END));
    let bursty = container(&mut node, "bursty");
    let cpus = cores(&node, 0, 1, 8);
    spread(&mut node, bursty, cpus, COMPUTE, |node| {
        duty(node.rng.fork(), START, END, 40 * MS, 3 * MS)
    });
    node
}

fn sleepers() -> Node {
    let mut node = server(13);
    let pod = container(&mut node, "sleepers");
    for index in 0..5_000_usize {
        let process = node.process(pod, 0);
        let cpu = index % node.machine.cpus();
        let plan = if index % 50 == 0 {
            let phase = node.rng.below(S);
            duty(node.rng.fork(), phase, END, S, MS)
        } else {
            asleep()
        };
        node.thread(process, cpu, 1, SERVICE, plan);
    }
    node
}

fn full_node() -> Node {
    let mut node = server(14);
    let web = container(&mut node, "web");
    let cpus = whole_cores(&node, 0, 0, 6);
    spread(&mut node, web, cpus, SERVICE, |node| {
        duty(node.rng.fork(), START, END, 20 * MS, 6 * MS)
    });
    let batch = container(&mut node, "batch");
    let cpus = whole_cores(&node, 1, 0, 6);
    spread(&mut node, batch, cpus, COMPUTE, |_| busy(START, END));
    let vectors = container(&mut node, "vectors");
    let cpus = cores(&node, 1, 8, 4);
    spread(&mut node, vectors, cpus, VECTOR, |_| busy(START, END));
    let database = container(&mut node, "database");
    let cpus = whole_cores(&node, 0, 8, 3);
    spread(&mut node, database, cpus, MEMORY, |node| {
        duty(node.rng.fork(), START, END, 100 * MS, 60 * MS)
    });
    let cpus = whole_cores(&node, 0, 11, 5);
    swarm(&mut node, "jobs", 5_000, &cpus);
    node
}

fn five_minutes() -> Node {
    let mut node = server(15);
    let kinds = [COMPUTE, MEMORY, VECTOR, SERVICE, COMPUTE, MEMORY];
    for (index, work) in kinds.into_iter().enumerate() {
        let whose = container(&mut node, &format!("pod-{index}"));
        // Neighbours share cores: the pods of odd numbers have the second thread of half of the cores of those before them.
        let (socket, half, first) = (index / 2 % 2, index % 2, index / 4 * 10);
        let cpus = cores(&node, socket, first + half * 2, 4)
            .iter()
            .map(|cpu| cpu + half)
            .collect::<Vec<_>>();
        spread(&mut node, whose, cpus, work, |node| {
            phases(coming_and_going(node, START, END))
        });
    }
    node
}
