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
        CgroupId, Comm, CpuNanos, EventCounts, Identity, PackageId, TallyKind, TaskKey, TaskKind, TaskUsage,
        Usage,
    };
    use probe_workloads::cgroup::owner_of;
    use std::io::Write as _;
    use std::sync::Arc;
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

    fn settings() -> Settings {
        Settings {
            floor: FloorPolicy::None,
            idle_share: IdleShare::Usage,
            split: attribution::engine::SplitRules::default(),
            processes_max: 100,
            ended_keep: Duration::from_secs(30),
        }
    }

    /// For whoever watches: what it took.
    fn say(words: &str) {
        drop(writeln!(std::io::stderr(), "{words}"));
    }

    #[test]
    fn a_fork_bomb_of_20000_processes_a_tick_takes_some_bytes_for_each_while_it_lasts_and_nothing_after_it() {
        let cgroups = Cgroups::in_memory();
        let mut crowd = Crowd::new(1, 50, &cgroups);
        let mut node = Node::new(resolver(&cgroups, true), settings());
        let mut tick = |crowd: &mut Crowd, processes: u32| {
            crowd.tick_of(TICK);
            crowd.storm(processes, 1, &cgroups);
            node.window(crowd.usage(true), crowd.now());
            (memory(), node.engine.held())
        };
        let mut quiet = tick(&mut crowd, 1);
        for _ in 0..10 {
            quiet = tick(&mut crowd, 1);
        }
        let mut most = 0;
        for _ in 0..4 {
            let (bytes, held) = tick(&mut crowd, 20_000);
            most = most.max(bytes - quiet.0);
            assert!(held.processes <= 200, "{held:?}");
            // Those of this tick and those of the last one, which have ended and are paid now.
            assert!(held.accounts <= 2 * 20_000 + 100, "{held:?}");
        }
        let mut after = tick(&mut crowd, 1);
        for _ in 0..10 {
            after = tick(&mut crowd, 1);
        }
        say(&format!(
            "fork bomb: {} KiB more at most, {} KiB after it",
            most >> 10,
            after.0.saturating_sub(quiet.0) >> 10
        ));
        // The report itself is a part of it: 40,000 rows of some 300 bytes.
        assert!(most < 80 << 20, "{most} bytes");
        assert_eq!(after.1.accounts, quiet.1.accounts);
    }

    #[test]
    fn a_hundred_thousand_cgroups_take_some_bytes_for_each_while_they_live_and_a_bounded_rest_after_that() {
        let cgroups = Cgroups::in_memory();
        let mut node = Node::new(resolver(&cgroups, true), settings());
        let mut boot = Duration::from_secs(86_400);
        let before = memory();
        let number = 100_000_u32;
        let owners: Vec<_> = (0..number)
            .map(|n| Arc::new(owner_of(&format!("/docker/{n:064x}"))))
            .collect();
        let ids = || (0..).map(|n: u64| CgroupId(1_000 + n));
        let identity = Arc::new(Identity {
            cgroups: ids().zip(owners).collect(),
            ..Identity::default()
        });
        let usage = |ended: bool| Usage {
            tasks: (0..number)
                .zip(ids())
                .map(|(n, cgroup)| TaskUsage {
                    task: Some(TaskKey {
                        tgid: 10 + n,
                        start_ticks: 1,
                    }),
                    cgroup,
                    package: PackageId(0),
                    cpu: CpuNanos::from_nanos(1_000_000),
                    events: EventCounts::ZERO,
                    comm: Comm::from_bytes(b"work"),
                    kind: TaskKind::User,
                    ended,
                })
                .collect(),
            ..Usage::default()
        };
        let known = memory() - before;
        for ended in [false, false, true] {
            boot += TICK;
            node.pay(usage(ended), Arc::clone(&identity), boot);
        }
        let living = memory() - before - known;
        assert!(node.engine.held().groups >= 100_000, "{:?}", node.engine.held());
        drop(identity);
        for _ in 0..10 {
            boot += TICK;
            node.pay(Usage::default(), Arc::default(), boot);
        }
        let (left, held) = (memory().saturating_sub(before), node.engine.held());
        say(&format!(
            "100,000 cgroups: {} MiB for who they are, {} MiB for what they used, {} KiB left for the next ones; {held:?}",
            known >> 20,
            living >> 20,
            left >> 10
        ));
        assert!(living < 1_024 * 100_000, "{living} bytes");
        assert!(held.groups <= 16_384 && held.shelved <= 4 * 1_024, "{held:?}");
        // Room that was needed once is kept, and the next hundred thousand take that.
        let wave = |node: &mut Node, boot: &mut Duration| {
            for ended in [false, false, true] {
                *boot += TICK;
                node.pay(usage(ended), Arc::default(), *boot);
            }
            memory().saturating_sub(before)
        };
        let (second, third) = (wave(&mut node, &mut boot), wave(&mut node, &mut boot));
        assert!(third < second + second / 20, "{third} bytes after {second}");
        assert!(
            second < 2 * living,
            "{second} bytes, the first ones took {living}"
        );
    }
}
