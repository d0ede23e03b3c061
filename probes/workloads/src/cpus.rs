// SPDX-License-Identifier: Apache-2.0
//! Busy, idle and stolen time of CPUs and packages, from the `cpuN` lines of `/proc/stat`.
//!
//! Adds up rises only, so no total falls, whatever a line says. Reads no file itself.

use crate::machine::Machine;
use crate::procfs::{CpuTimes, ticks_to_nanos};
use attribution::model::{CpuNanos, CpuTime, PackageId, PackageTime};
use std::collections::BTreeMap;

/// One CPU since its first sight.
struct Cpu {
    package: PackageId,
    online: bool,
    /// The counters as last read.
    last: CpuTimes,
    busy: CpuNanos,
    idle: CpuNanos,
    steal: CpuNanos,
}

/// Totals since the first sight of each CPU, in steps of the kernel's clock tick (10 ms).
pub struct CpuBook {
    /// Without a hypervisor nothing steals, so the column of zeros is left out.
    is_guest: bool,
    /// One entry for each CPU that was ever online.
    cpus: BTreeMap<u32, Cpu>,
}

impl CpuBook {
    /// Nothing counted yet.
    #[must_use]
    pub fn new(is_guest: bool) -> Self {
        Self {
            is_guest,
            cpus: BTreeMap::new(),
        }
    }

    /// Adds what each CPU did since the last call and returns for how long they all together were busy. A CPU seen for the
    /// first time adds nothing yet, and a counter that went back (`iowait` may, and idle does when a CPU leaves and
    /// returns: proc_stat(5)) starts again from where it is.
    pub fn add(&mut self, lines: &[CpuTimes], machine: &Machine) -> CpuNanos {
        for cpu in self.cpus.values_mut() {
            cpu.online = false;
        }
        let mut all = CpuNanos::ZERO;
        for line in lines {
            let cpu = self.cpus.entry(line.cpu).or_insert_with(|| Cpu {
                package: machine.package_of(line.cpu),
                online: true,
                last: *line,
                busy: CpuNanos::ZERO,
                idle: CpuNanos::ZERO,
                steal: CpuNanos::ZERO,
            });
            cpu.online = true;
            let rise = |now: u64, before: u64| ticks_to_nanos(now.saturating_sub(before));
            let busy = rise(line.busy_ticks, cpu.last.busy_ticks);
            all += busy;
            cpu.busy += busy;
            cpu.idle += rise(line.idle_ticks, cpu.last.idle_ticks);
            cpu.steal += rise(line.steal_ticks, cpu.last.steal_ticks);
            cpu.last = *line;
        }
        all
    }

    /// Packages as a report lists them.
    #[must_use]
    pub fn packages(&self) -> Vec<PackageTime> {
        let mut totals: BTreeMap<PackageId, PackageTime> = BTreeMap::new();
        for cpu in self.cpus.values() {
            let total = totals.entry(cpu.package).or_insert(PackageTime {
                package: cpu.package,
                cpus: 0,
                busy: CpuNanos::ZERO,
                idle: CpuNanos::ZERO,
            });
            total.cpus += u32::from(cpu.online);
            total.busy += cpu.busy;
            total.idle += cpu.idle;
        }
        totals.into_values().collect()
    }

    /// CPUs as a report lists them. Here stolen time is in neither `busy` nor `idle`: the kernel takes it out of both
    /// before it adds a tick to them (`account_process_tick` in kernel/sched/cputime.c).
    #[must_use]
    pub fn cpus(&self) -> Vec<CpuTime> {
        let row = |(cpu, times): (&u32, &Cpu)| CpuTime {
            cpu: *cpu,
            package: times.package,
            online: times.online,
            busy: times.busy,
            idle: times.idle,
            steal: self.is_guest.then_some(times.steal),
        };
        self.cpus.iter().map(row).collect()
    }

    /// What a hypervisor took from a CPU, in a guest.
    #[must_use]
    pub fn steal(&self, cpu: u32) -> Option<CpuNanos> {
        let cpu = self.cpus.get(&cpu).filter(|_| self.is_guest)?;
        Some(cpu.steal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(cpu: u32, busy_ticks: u64, idle_ticks: u64, steal_ticks: u64) -> CpuTimes {
        CpuTimes {
            cpu,
            busy_ticks,
            idle_ticks,
            steal_ticks,
        }
    }

    fn ticks(ticks: u64) -> CpuNanos {
        CpuNanos::from_nanos(ticks * 10_000_000)
    }

    fn machine() -> Machine {
        Machine {
            packages_of_cpu: vec![(0, PackageId(0)), (1, PackageId(1)), (2, PackageId(0))],
            ..Machine::default()
        }
    }

    #[test]
    fn packages_add_up_their_cpus_from_the_first_sight_and_never_fall() {
        let machine = machine();
        let mut book = CpuBook::new(false);
        book.add(&[line(0, 500, 500, 99), line(1, 500, 500, 99)], &machine);
        // CPU 2 comes online, CPU 1's idle goes back.
        let lines = [
            line(0, 503, 510, 99),
            line(1, 501, 400, 99),
            line(2, 700, 700, 99),
        ];
        assert_eq!(book.add(&lines, &machine), ticks(4));
        let lines = [
            line(0, 503, 510, 99),
            line(1, 501, 405, 99),
            line(2, 701, 700, 99),
        ];
        assert_eq!(book.add(&lines, &machine), ticks(1));
        let expected = |package, cpus, busy, idle| PackageTime {
            package: PackageId(package),
            cpus,
            busy: ticks(busy),
            idle: ticks(idle),
        };
        assert_eq!(book.packages(), [expected(0, 2, 4, 10), expected(1, 1, 1, 5)]);
        book.add(&[line(0, 503, 510, 99)], &machine);
        assert_eq!(
            book.packages()[1],
            expected(1, 0, 1, 5),
            "its CPUs are offline, its total stays"
        );
    }

    #[test]
    fn a_guest_shows_what_was_stolen_from_each_cpu_and_a_machine_of_its_own_nothing() {
        let machine = machine();
        for is_guest in [true, false] {
            let mut book = CpuBook::new(is_guest);
            book.add(&[line(0, 5, 5, 5), line(1, 5, 5, 5)], &machine);
            book.add(&[line(0, 6, 7, 9)], &machine);
            let expected = |cpu: u16, online, busy, idle, steal| CpuTime {
                cpu: u32::from(cpu),
                package: PackageId(cpu),
                online,
                busy: ticks(busy),
                idle: ticks(idle),
                steal: is_guest.then_some(ticks(steal)),
            };
            assert_eq!(
                book.cpus(),
                [expected(0, true, 1, 2, 4), expected(1, false, 0, 0, 0)]
            );
        }
    }
}
