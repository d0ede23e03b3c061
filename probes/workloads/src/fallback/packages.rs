// SPDX-License-Identifier: Apache-2.0
//! Busy and idle time of packages, from the `cpuN` lines of `/proc/stat`.

use crate::machine::Machine;
use crate::procfs::{CpuTimes, ticks_to_nanos};
use attribution::model::{CpuNanos, PackageId, PackageTime};
use std::collections::{BTreeMap, HashMap};

#[derive(Clone, Copy, Default)]
struct Last {
    busy: u64,
    idle: u64,
}

#[derive(Default)]
struct Total {
    cpus: u32,
    busy: CpuNanos,
    idle: CpuNanos,
}

/// Totals by package since the first sight of each CPU.
#[derive(Default)]
pub(super) struct PackageBook {
    /// One entry for each CPU that was ever online.
    last: HashMap<u32, Last>,
    totals: BTreeMap<PackageId, Total>,
}

impl PackageBook {
    /// Adds what each CPU did since the last call. A CPU seen for the first time adds nothing yet, and a counter that went
    /// back (`iowait` may, and idle does when a CPU leaves and returns: proc_stat(5)) starts again from where it is.
    pub(super) fn add(&mut self, lines: &[CpuTimes], machine: &Machine) {
        for total in self.totals.values_mut() {
            total.cpus = 0;
        }
        for line in lines {
            let now = Last {
                busy: line.busy_ticks,
                idle: line.idle_ticks,
            };
            let before = self.last.insert(line.cpu, now).unwrap_or(now);
            let total = self.totals.entry(machine.package_of(line.cpu)).or_default();
            total.cpus += 1;
            total.busy += ticks_to_nanos(now.busy.saturating_sub(before.busy));
            total.idle += ticks_to_nanos(now.idle.saturating_sub(before.idle));
        }
    }

    /// The totals as a report lists them.
    pub(super) fn report(&self) -> Vec<PackageTime> {
        self.totals
            .iter()
            .map(|(package, total)| PackageTime {
                package: *package,
                cpus: total.cpus,
                busy: total.busy,
                idle: total.idle,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(cpu: u32, busy_ticks: u64, idle_ticks: u64) -> CpuTimes {
        CpuTimes {
            cpu,
            busy_ticks,
            idle_ticks,
            steal_ticks: 99,
        }
    }

    #[test]
    fn packages_add_up_their_cpus_from_the_first_sight_and_never_fall() {
        let machine = Machine {
            packages_of_cpu: vec![(0, PackageId(0)), (1, PackageId(1)), (2, PackageId(0))],
            ..Machine::default()
        };
        let mut book = PackageBook::default();
        book.add(&[line(0, 500, 500), line(1, 500, 500)], &machine);
        // CPU 2 comes online, CPU 1's idle goes back.
        book.add(
            &[line(0, 503, 510), line(1, 501, 400), line(2, 700, 700)],
            &machine,
        );
        book.add(
            &[line(0, 503, 510), line(1, 501, 405), line(2, 701, 700)],
            &machine,
        );
        let ticks = |ticks: u64| CpuNanos::from_nanos(ticks * 10_000_000);
        let expected = |package, cpus, busy, idle| PackageTime {
            package: PackageId(package),
            cpus,
            busy: ticks(busy),
            idle: ticks(idle),
        };
        assert_eq!(book.report(), [expected(0, 2, 4, 10), expected(1, 1, 1, 5)]);
        book.add(&[line(0, 503, 510)], &machine);
        assert_eq!(
            book.report()[1],
            expected(1, 0, 1, 5),
            "its CPUs are offline, its total stays"
        );
    }
}
