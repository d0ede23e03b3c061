// SPDX-License-Identifier: Apache-2.0
//! The node that every scenario begins with: a server that keeps house.

use crate::ledgers::ProcessId;
use crate::node::Node;
use crate::physics::SERVER;
use crate::tasks::{MS, Nanos, Place, Plan, S, SERVICE, Work, Workload, WorkloadId, busy, duty, phases};

/// After the end of every scenario.
pub(super) const END: Nanos = 400 * S;
/// When loads begin.
pub(super) const START: Nanos = 30 * S;

/// A server with kernel threads and host services.
///
/// Every CPU has a kernel thread that wakes about four times a second for 30 µs. Three services of the host wake every
/// 50 ms for 1 ms each. So nothing is ever wholly idle, and whoever runs is switched out now and then.
pub(super) fn server(seed: u64) -> Node {
    let mut node = Node::new(SERVER, seed);
    let kernel = workload(&mut node, "kernel", Place::Kernel);
    let system = workload(&mut node, "system", Place::System);
    for cpu in 0..node.machine.cpus() {
        let process = node.process(kernel, 0);
        let (phase, rng) = (node.rng.below(250 * MS), node.rng.fork());
        node.thread(process, cpu, 1, SERVICE, duty(rng, phase, END, 250 * MS, 30_000));
    }
    for service in 0..3 {
        let process = node.process(system, 0);
        let (phase, rng) = (node.rng.below(50 * MS), node.rng.fork());
        let cpu = [0, 2, node.machine.threads()][service];
        node.thread(process, cpu, 1, SERVICE, duty(rng, phase, END, 50 * MS, MS));
    }
    node
}

fn workload(node: &mut Node, name: &str, place: Place) -> WorkloadId {
    node.workload(Workload {
        name: name.to_owned(),
        place,
    })
}

/// Adds a container.
pub(super) fn container(node: &mut Node, name: &str) -> WorkloadId {
    workload(node, name, Place::Container)
}

/// Adds a process with one thread on each of `cpus`, all with the same plan.
pub(super) fn spread(
    node: &mut Node,
    whose: WorkloadId,
    cpus: impl IntoIterator<Item = usize>,
    work: Work,
    plan: impl Fn(&mut Node) -> Plan,
) -> ProcessId {
    let process = node.process(whose, 0);
    for cpu in cpus {
        let plan = plan(node);
        node.thread(process, cpu, 1, work, plan);
    }
    process
}

/// Runs from the start on.
pub(super) fn at_once(_: &mut Node) -> Plan {
    busy(START, END)
}

/// How long scenarios last that were seen before: two minutes of coming and going, then what is judged.
pub(super) const SEEN: Nanos = 150 * S;

/// Comes and goes by chance for two minutes, 2 to 8 s each, and then stays: what happens then was seen before in parts.
pub(super) fn seen_before(node: &mut Node) -> Plan {
    let mut coming = coming_and_going(node, START, SEEN);
    coming.push((SEEN, END));
    phases(coming)
}

/// Phases of 2 to 8 s with as long pauses in between.
pub(super) fn coming_and_going(node: &mut Node, from: Nanos, to: Nanos) -> Vec<(Nanos, Nanos)> {
    let mut list = Vec::new();
    let mut at = from + node.rng.below(8 * S);
    while at < to {
        let end = (at + 2 * S + node.rng.below(6 * S)).min(to);
        list.push((at, end));
        at = end + 2 * S + node.rng.below(6 * S);
    }
    list
}

/// The first hardware thread of so many cores of a socket, from core `first` on.
pub(super) fn cores(node: &Node, socket: usize, first: usize, count: usize) -> Vec<usize> {
    let offset = socket * node.machine.threads();
    (first..first + count).map(|core| offset + core * 2).collect()
}

/// Both hardware threads of so many cores of a socket, from core `first` on.
pub(super) fn whole_cores(node: &Node, socket: usize, first: usize, count: usize) -> Vec<usize> {
    cores(node, socket, first, count)
        .into_iter()
        .flat_map(|cpu| [cpu, cpu + 1])
        .collect()
}
