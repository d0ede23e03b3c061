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
    use super::support::{Cgroups, Crowd, Node, memory, resolver};
    use attribution::engine::{FloorPolicy, IdleShare, Settings};
    use attribution::model::{
        Comm, CpuNanos, EventCounts, PackageId, TallyKind, TaskKey, TaskKind, TaskUsage, Usage,
    };
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
        let mut node = Node::new(resolver(&cgroups, true), settings);
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

    /// A workload of each level that lives for one report and is listed as dead in the next: containers alone, containers in
    /// pods, machines with a worker in the kernel, transient units.
    struct Storm<'a> {
        cgroups: &'a Cgroups,
        made: u32,
        living: Vec<(String, TaskUsage)>,
        dead: Vec<(String, TaskUsage)>,
    }

    impl Storm<'_> {
        fn tick(&mut self, workloads: u32, now: Duration) -> Usage {
            for (path, row) in self.dead.drain(..) {
                self.cgroups.remove_process(row.task.unwrap());
                if !path.is_empty() {
                    self.cgroups.remove_at(&path);
                }
            }
            self.dead.append(&mut self.living);
            self.dead.iter_mut().for_each(|(_, row)| row.ended = true);
            for _ in 0..workloads {
                self.made += 1;
                self.born(self.made, now);
            }
            let rows = self
                .dead
                .iter()
                .chain(&self.living)
                .map(|(_, row)| *row)
                .collect();
            Usage {
                tasks: rows,
                ..Usage::default()
            }
        }

        fn born(&mut self, n: u32, now: Duration) {
            let (path, command) = match n % 4 {
                0 => (format!("/docker/{n:064x}"), "/bin/work\0".to_owned()),
                1 => (
                    format!("/kubepods/pod{n:08x}-a/{n:064x}"),
                    "/bin/work\0".to_owned(),
                ),
                2 => (
                    format!(r"/machine.slice/machine-qemu\x2d{n}\x2dweb.scope"),
                    format!("/usr/bin/qemu-system-x86_64\0-uuid\0{n:08x}-8e0b-4b1a-9c53-1d2f3a4b5c6d\0"),
                ),
                _ => (
                    format!("/system.slice/run-r{n:032x}.scope"),
                    "/bin/work\0".to_owned(),
                ),
            };
            let task = TaskKey {
                tgid: n * 2,
                start_ticks: u64::try_from(now.as_millis() / 10).unwrap(),
            };
            self.cgroups.write_process_at(task, &path, command.as_bytes());
            let row = TaskUsage {
                task: Some(task),
                cgroup: self.cgroups.make_at(&path),
                package: PackageId(0),
                cpu: CpuNanos::from_nanos(1_000_000),
                events: EventCounts::ZERO,
                comm: Comm::from_bytes(b"work"),
                kind: TaskKind::User,
                ended: false,
            };
            self.living.push((path, row));
            if n % 4 == 2 {
                let worker = TaskUsage {
                    task: Some(TaskKey {
                        tgid: n * 2 + 1,
                        ..task
                    }),
                    comm: Comm::from_bytes(format!("vhost-{}", n * 2).as_bytes()),
                    kind: TaskKind::Kernel,
                    ..row
                };
                self.living.push((String::new(), worker));
            }
        }
    }

    #[test]
    fn workloads_of_every_level_come_and_go_and_nothing_of_them_is_kept_for_longer_than_was_set() {
        let cgroups = Cgroups::in_memory();
        let settings = Settings {
            floor: FloorPolicy::None,
            idle_share: IdleShare::Usage,
            split: attribution::engine::SplitRules::default(),
            processes_max: 100,
            ended_keep: Duration::from_secs(30),
        };
        let mut node = Node::new(resolver(&cgroups, true), settings);
        let mut storm = Storm {
            cgroups: &cgroups,
            made: 0,
            living: Vec::new(),
            dead: Vec::new(),
        };
        let mut now = Duration::from_secs(86_400);
        let mut settled = None;
        for tick in 1..=110 {
            now += TICK;
            node.window(storm.tick(80, now), now);
            // 1,024 rows a level are remembered, 20 a tick come; the rows of containers are of three ticks' worth.
            if tick > 80 {
                let (resolver, mut engine) = (node.resolver.held(), node.engine.held());
                engine.processes = 0;
                let identity = &node.identity;
                let known = (identity.tasks.len(), identity.cgroups.len(), identity.vms.len());
                let held = node
                    .resolver
                    .tallies()
                    .into_iter()
                    .filter(|tally| tally.kind == TallyKind::Held);
                let held: Vec<_> = held
                    .filter(|tally| tally.probe == "vms")
                    .map(|tally| tally.count)
                    .collect();
                let (then, bytes) = *settled.get_or_insert_with(|| ((resolver, engine, known), memory()));
                assert_eq!((resolver, engine, known), then, "tick {tick}");
                // Processes, those of machines, machines and their workers: two storms of them, and nothing else.
                assert_eq!(held, [2 * 80, 2 * 20, 2 * 20, 2 * 20]);
                assert!(memory() < bytes + bytes / 20, "{bytes} -> {} bytes", memory());
            }
        }
        let ((_, engine, known), _) = settled.unwrap();
        // Two storms are listed, the machines' processes and workers by name.
        assert_eq!(known, (2 * 2 * 20, 2 * 80, 2 * 20));
        assert_eq!(engine.shelved, 4 * 1_024, "{engine:?}");
        // Containers 40 a tick, pods, machines and units 20 each: two storms, and those that ended within 30 s; and the rows
        // of the host and of the kernel.
        assert_eq!(engine.groups, 9 * (40 + 3 * 20) + 2, "{engine:?}");
    }
}
