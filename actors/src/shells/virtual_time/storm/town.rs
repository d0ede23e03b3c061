// SPDX-License-Identifier: Apache-2.0
//! Who lives on the node of a storm, and what they cost: everything is a function of the time, so the truth is known at every
//! moment.

use super::super::scramble;
use attribution::model::*;
use std::sync::Arc;

const SECOND: u64 = 1_000_000_000;
const CPUS: u32 = 8;
/// Containers, two to a pod; whoever is in none is in a unit.
const CONTAINERS: u64 = 6;
/// Watts at rest and of a busy CPU, by zone.
const ZONES: [(Component, u64, u64); 2] = [(Component::Package, 12, 9), (Component::Dram, 3, 1)];

/// A process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    pub(super) tgid: u32,
    pub(super) born: u64,
    pub(super) dies: u64,
    /// Of a CPU, in percent.
    share: u64,
    cgroup: u64,
}

impl Life {
    /// CPU time until `now`.
    pub(super) fn cpu(&self, now: u64) -> u64 {
        now.clamp(self.born, self.dies).saturating_sub(self.born) * self.share / 100
    }

    pub(super) fn key(&self) -> TaskKey {
        TaskKey {
            tgid: self.tgid,
            start_ticks: self.born / 10_000_000,
        }
    }

    pub(super) fn usage(&self, now: u64) -> TaskUsage {
        TaskUsage {
            task: Some(self.key()),
            cgroup: CgroupId(self.cgroup),
            package: PackageId(0),
            cpu: CpuNanos::from_nanos(self.cpu(now)),
            events: EventCounts::ZERO,
            comm: Comm::from_bytes(b"storm"),
            kind: TaskKind::User,
            ended: now >= self.dies,
        }
    }
}

/// Everybody who lives there in a minute.
#[derive(Clone, Debug)]
pub(super) struct Town(pub(super) Vec<Life>);

impl Town {
    pub(super) fn of(seed: u64) -> Self {
        let life = |index: u32| {
            let dice = scramble(seed << 20 ^ u64::from(index) ^ 0x70_0000);
            let born = if index < 6 { 0 } else { dice % (50 * SECOND) };
            // A third of them for less than a tick.
            let longest = if dice.is_multiple_of(3) {
                SECOND
            } else {
                30 * SECOND
            };
            Life {
                tgid: 100 + index,
                born,
                dies: born + 1 + (dice >> 9) % longest,
                share: 5 + (dice >> 33) % 90,
                cgroup: 10 + (dice >> 40) % (CONTAINERS + 2),
            }
        };
        Self((0..36).map(life).collect())
    }

    /// CPU time of all until `now`.
    pub(super) fn busy(&self, now: u64) -> u64 {
        self.0.iter().map(|life| life.cpu(now)).sum()
    }

    /// What the meters have counted until `now`, zone by zone, in microjoules: a watt is a thousandth of one in a microsecond.
    pub(super) fn energy(&self, now: u64) -> [u64; ZONES.len()] {
        ZONES.map(|(_, rest, busy)| (rest * now + busy * self.busy(now)) / 1_000)
    }

    pub(super) fn readings(&self, now: u64) -> Energy {
        let reading = |((component, ..), total): ((Component, u64, u64), u64)| ZoneReading {
            zone: Zone {
                component,
                place: Place::socket(PackageId(0)),
            },
            total: Microjoules::from_micro(total),
            idle: None,
            provenance: Provenance::Counted,
            at: MonotonicNanos::from_nanos(now),
            device: None,
        };
        Energy {
            zones: ZONES.into_iter().zip(self.energy(now)).map(reading).collect(),
            errors: Vec::new(),
        }
    }

    /// A report of those in `lives`.
    pub(super) fn report(&self, lives: &[Life], now: u64) -> Usage {
        let busy = self.busy(now);
        Usage {
            tasks: lives.iter().map(|life| life.usage(now)).collect(),
            packages: vec![PackageTime {
                package: PackageId(0),
                cpus: CPUS,
                busy: CpuNanos::from_nanos(busy),
                idle: CpuNanos::from_nanos((u64::from(CPUS) * now).saturating_sub(busy)),
            }],
            ..Usage::default()
        }
    }

    /// Owners of what is in a report.
    pub(super) fn identity(usage: &Usage) -> Identity {
        let owner = |cgroup: u64| {
            let number = cgroup - 10;
            if number >= CONTAINERS {
                return CgroupOwner {
                    path: format!("/system.slice/{number}.service"),
                    unit: Some(format!("{number}.service")),
                    slice: Some("system.slice".into()),
                    ..CgroupOwner::default()
                };
            }
            CgroupOwner {
                path: format!("/kubepods.slice/{number}"),
                container: Some(ContainerId::new(&format!("{number:064}"))),
                pod: Some(PodUid::new(&format!("{:036}", number / 2))),
                runtime: "containerd",
                ..CgroupOwner::default()
            }
        };
        let cgroups = usage.tasks.iter().map(|task| task.cgroup);
        Identity {
            cgroups: cgroups
                .map(|cgroup| (cgroup, Arc::new(owner(cgroup.0))))
                .collect(),
            ..Identity::default()
        }
    }
}
