// SPDX-License-Identifier: Apache-2.0
//! Meters and reporters that misbehave. Two workloads take turns, so that it matters whose energy is lost or comes late.

use super::stage::{START, container, cores, server, spread};
use super::{Scenario, Timing, plain};
use crate::node::Node;
use crate::tasks::{COMPUTE, MEMORY, MS, Nanos, S, phases};

pub(super) fn all() -> Vec<Scenario> {
    let skew = Scenario {
        timing: Timing::Skewed,
        ..plain(
            "skew",
            "two workloads take turns; usage and meters are read up to 40 ms apart",
            turns,
        )
    };
    let late = Scenario {
        timing: Timing::Late,
        ..plain(
            "late",
            "two workloads take turns; reports come after the deadline now and then",
            turns,
        )
    };
    vec![
        plain("wrap", "two workloads take turns; a package counter wraps", wrap),
        plain(
            "reset",
            "two workloads take turns; a package counter begins again at zero",
            reset,
        ),
        plain(
            "gap",
            "two workloads take turns; a package counter cannot be read for seven seconds",
            gap,
        ),
        skew,
        late,
    ]
}

/// `a` computes for 2.6 s, then `b` waits for memory for 2.6 s, and so on.
fn turns() -> Node {
    let mut node = server(31);
    let [a, b] = ["a", "b"].map(|name| container(&mut node, name));
    let turn = 2_600 * MS;
    let of = |first: Nanos| -> Vec<(Nanos, Nanos)> {
        (0..60)
            .map(|index| START + (2 * index + first) * turn)
            .map(|from| (from, from + turn))
            .collect()
    };
    let cpus = cores(&node, 0, 2, 6);
    spread(&mut node, a, cpus, COMPUTE, |_| phases(of(0)));
    let cpus = cores(&node, 0, 9, 6);
    spread(&mut node, b, cpus, MEMORY, |_| phases(of(1)));
    node
}

fn wrap() -> Node {
    let mut node = turns();
    // About 32 s of idle floor and 28 s of load.
    node.sockets[0].package.wrap_after(2_500.0);
    node
}

fn reset() -> Node {
    let mut node = turns();
    node.sockets[0].package.resets = Some(52 * S);
    node
}

fn gap() -> Node {
    let mut node = turns();
    node.sockets[0].package.gap = Some((50 * S + 500 * MS, 57 * S + 500 * MS));
    node
}
