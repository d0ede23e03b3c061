// SPDX-License-Identifier: Apache-2.0
//! Busy and idle time by package: what was charged, and what was left of the time that passed.
//!
//! Pure: no system call, no clock. The scheduler says who ran and not who rested, so idle time is the rest. What a
//! hypervisor stole, and interrupts where the kernel accounts them apart, is charged to no thread and so is in the rest.

use crate::accounts::package_id;
use crate::packages::Packages;
use attribution::model::{CpuNanos, PackageId, PackageTime};
use std::collections::BTreeMap;

/// The time of the CPUs of every package.
#[derive(Debug)]
pub(crate) struct Capacity {
    pub(crate) cpus: Packages,
    packages: BTreeMap<PackageId, Package>,
    at_ns: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Package {
    cpus: u32,
    capacity_ns: u64,
    busy_ns: u64,
    idle_ns: u64,
}

impl Capacity {
    /// Begins at `at_ns`.
    pub(crate) const fn new(cpus: Packages, at_ns: u64) -> Self {
        Self {
            cpus,
            packages: BTreeMap::new(),
            at_ns,
        }
    }

    /// Takes in the time up to `now_ns`, in which the CPUs `online` could run, and all that was ever charged.
    pub(crate) fn record(&mut self, now_ns: u64, online: &[u32], busy_ns: &BTreeMap<u32, u64>) {
        let elapsed = now_ns.saturating_sub(self.at_ns);
        self.at_ns = self.at_ns.max(now_ns);
        for package in self.packages.values_mut() {
            package.cpus = 0;
        }
        for cpu in online {
            let package = self.cpus.of(*cpu);
            let package = self.packages.entry(package).or_default();
            package.cpus = package.cpus.saturating_add(1);
            package.capacity_ns = package.capacity_ns.saturating_add(elapsed);
        }
        for (package, busy_ns) in busy_ns {
            let package = self.packages.entry(package_id(*package)).or_default();
            package.busy_ns = *busy_ns;
        }
        for package in self.packages.values_mut() {
            // The scheduler writes a running thread's time down some milliseconds late, so the rest may be too large for
            // now; it must not fall when that is made up for.
            let rest = package.capacity_ns.saturating_sub(package.busy_ns);
            package.idle_ns = package.idle_ns.max(rest);
        }
    }

    /// Appends one row per package that has, or had, CPUs online.
    pub(crate) fn report(&self, rows: &mut Vec<PackageTime>) {
        rows.extend(self.packages.iter().map(|(package, time)| PackageTime {
            package: *package,
            cpus: time.cpus,
            busy: CpuNanos::from_nanos(time.busy_ns),
            idle: CpuNanos::from_nanos(time.idle_ns),
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn report(capacity: &Capacity) -> Vec<(u16, u32, u64, u64)> {
        let mut rows = Vec::new();
        capacity.report(&mut rows);
        rows.iter()
            .map(|row| (row.package.0, row.cpus, row.busy.as_nanos(), row.idle.as_nanos()))
            .collect()
    }

    fn two_packages() -> Capacity {
        let listed = vec![(0, PackageId(0)), (1, PackageId(0)), (2, PackageId(1))];
        Capacity::new(Packages::new(listed, PathBuf::new()), 1_000)
    }

    #[test]
    fn idle_time_is_the_time_of_the_cpus_online_that_nobody_had() {
        let mut capacity = two_packages();
        capacity.record(1_100, &[0, 1, 2], &BTreeMap::from([(0, 150), (1, 10)]));
        assert_eq!(report(&capacity), [(0, 2, 150, 50), (1, 1, 10, 90)]);
        // CPU 1 goes, CPU 9 comes and counts to the first package; package 1 has no CPU any more.
        capacity.record(1_200, &[0, 9], &BTreeMap::from([(0, 150), (1, 10)]));
        assert_eq!(report(&capacity), [(0, 2, 150, 250), (1, 0, 10, 90)]);
        // CPU 5 comes, and is known to be on package 1.
        capacity.cpus.add(5, PackageId(1));
        capacity.record(1_300, &[0, 5], &BTreeMap::from([(0, 150), (1, 10)]));
        assert_eq!(report(&capacity), [(0, 1, 150, 350), (1, 1, 10, 190)]);
    }

    #[test]
    fn idle_time_never_falls_when_busy_time_comes_late() {
        let mut capacity = two_packages();
        capacity.record(1_100, &[2], &BTreeMap::from([(1, 96)]));
        capacity.record(1_200, &[2], &BTreeMap::from([(1, 200)]));
        assert_eq!(report(&capacity), [(1, 1, 200, 4)]);
        // More than all: clocks differ by a little.
        capacity.record(1_300, &[2], &BTreeMap::from([(1, 301)]));
        assert_eq!(report(&capacity), [(1, 1, 301, 4)]);
    }
}
