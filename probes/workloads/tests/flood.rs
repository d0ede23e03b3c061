// SPDX-License-Identifier: Apache-2.0
//! Processes and containers that come and go, through the resolver and the engine: no map grows. The benchmark `resolve`
//! does the same with a million and a hundred thousand, and holds memory against it.

#[cfg(test)]
#[path = "../benches/support/mod.rs"]
#[allow(
    dead_code,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "the benchmark's own, of which this uses a part"
)]
mod support;

#[cfg(test)]
mod tests {
    use super::support::{Cgroups, Crowd, Node};
    use attribution::engine::{FloorPolicy, IdleShare, Settings};
    use attribution::model::CpuNanos;
    use std::time::Duration;

    const TICK: Duration = Duration::from_secs(5);

    #[test]
    fn whatever_comes_and_goes_the_maps_of_resolver_and_engine_stay_as_large_as_they_are() {
        let cgroups = Cgroups::in_memory();
        let mut crowd = Crowd::new(10, 50, &cgroups);
        let settings = Settings {
            floor: FloorPolicy::None,
            idle_share: IdleShare::Usage,
            split: attribution::engine::SplitRules::default(),
            processes_max: 100,
            ended_keep: Duration::from_secs(30),
        };
        let mut node = Node::new(cgroups.roots(true), settings);
        let mut settled = None;
        for tick in 1..=120 {
            crowd.tick_of(TICK);
            crowd.storm(200, 20, &cgroups);
            node.window(crowd.usage(true), crowd.now());
            // The shelf of rows that have left takes longest to be full: 1,024 of them, 20 a tick.
            if tick > 70 {
                let mut held = (node.resolver.held(), node.engine.held());
                // Rows fall free with a storm's end: a hundred for the living and at most as many of the ended.
                assert!(held.1.processes <= 200);
                held.1.processes = 0;
                assert_eq!(*settled.get_or_insert(held), held, "tick {tick}");
            }
        }
        let (resolver, engine) = settled.unwrap();
        assert_eq!((resolver.cgroups, resolver.tasks), (50, 0), "{resolver:?}");
        assert_eq!((engine.accounts, engine.shelved), (450, 1_024), "{engine:?}");
        // Ten that stay, those of the storm at hand and of the one before, 30 s of such that have ended, and their pod.
        assert_eq!(engine.groups, 10 + 2 * 20 + 7 * 20 + 1, "{engine:?}");
        assert_eq!(node.system(), CpuNanos::ZERO, "all of it was a container's");
    }
}
