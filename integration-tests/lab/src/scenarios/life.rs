// SPDX-License-Identifier: Apache-2.0
//! How load changes over time: ends, stairs, a node that never was idle, a GPU.

use super::stage::{END, START, container, cores, server, spread, whole_cores};
use super::{Scenario, Timing, plain};
use crate::gpu::{Gpu, Job};
use crate::node::Node;
use crate::tasks::{COMPUTE, MS, Nanos, S, SERVICE, busy, duty};

pub(super) fn all() -> Vec<Scenario> {
    let mut staircase = plain(
        "staircase",
        "from idle to full load in eight steps of 15 s",
        staircase,
    );
    staircase.to = 150 * S;
    let busy_start = Scenario {
        name: "busy-start",
        about: "a node that is busy from its first second and grows quieter after a minute",
        build: busy_start,
        from: 0,
        to: 120 * S,
        timing: Timing::Prompt,
    };
    vec![
        plain(
            "ended-pod",
            "pods of 1.7 s each, one after the other, beside one that stays",
            ended_pod,
        ),
        staircase,
        busy_start,
        plain(
            "gpu",
            "two jobs on a GPU, one after the other, beside CPU work",
            gpu,
        ),
    ]
}

fn ended_pod() -> Node {
    let mut node = server(21);
    let stays = container(&mut node, "stays");
    spread(&mut node, stays, [8, 10], COMPUTE, |_| busy(START, END));
    for turn in 0..20_u64 {
        let whose = container(&mut node, &format!("pod-{turn}"));
        let from = START + turn * 2_900 * MS;
        let process = node.process(whose, from);
        let cpus = cores(&node, 0, 6, 2);
        for cpu in cpus {
            node.thread(process, cpu, 1, COMPUTE, busy(from, from + 1_700 * MS));
        }
    }
    node
}

fn staircase() -> Node {
    let mut node = server(22);
    let names = ["a", "b"].map(|name| container(&mut node, name));
    for step in 0..8_usize {
        let from = START + step as Nanos * 15 * S;
        for (socket, whose) in names.into_iter().enumerate() {
            // The second pod takes the other thread of its cores from the fifth step on, the first one two whole cores a step.
            let cpus = match (socket, step) {
                (0, _) => whole_cores(&node, 0, step * 2, 2),
                (_, 0..4) => cores(&node, 1, step * 4, 4),
                _ => cores(&node, 1, (step - 4) * 4, 4)
                    .iter()
                    .map(|cpu| cpu + 1)
                    .collect(),
            };
            spread(&mut node, whose, cpus, COMPUTE, |_| busy(from, END));
        }
    }
    node
}

fn busy_start() -> Node {
    let mut node = server(23);
    let [a, b] = ["a", "b"].map(|name| container(&mut node, name));
    let cpus = cores(&node, 0, 0, 12);
    spread(&mut node, a, cpus, COMPUTE, |_| busy(0, 60 * S));
    let cpus = cores(&node, 1, 0, 6);
    spread(&mut node, b, cpus, SERVICE, |node| {
        duty(node.rng.fork(), 0, END, 10 * MS, 5 * MS)
    });
    node
}

fn gpu() -> Node {
    let mut node = server(24);
    let [train, infer, web] = ["train", "infer", "web"].map(|name| container(&mut node, name));
    let train = spread(&mut node, train, [4], SERVICE, |_| busy(START, 60 * S));
    let infer = spread(&mut node, infer, [6], SERVICE, |_| busy(50 * S, END));
    let cpus = cores(&node, 1, 0, 8);
    spread(&mut node, web, cpus, COMPUTE, |_| busy(START, END));
    node.install(Gpu::new(vec![
        Job {
            process: train,
            from: 32 * S + 300 * MS,
            to: 60 * S,
            busy: 0.7,
            watts: 250.0,
        },
        Job {
            process: infer,
            from: 50 * S + 700 * MS,
            to: END,
            busy: 0.3,
            watts: 250.0,
        },
    ]));
    node
}
