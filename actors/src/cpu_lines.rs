// SPDX-License-Identifier: Apache-2.0
//! What `/proc/stat` says of each CPU, for accountants that do not see it: the time that a hypervisor took from it (eBPF
//! does not see that), and all of a CPU's time where the accountant counts by package only.

use attribution::model::{MonotonicNanos, Usage};
use probe_workloads::procfs::{CpuTimes, ProcFs};
use probe_workloads::{CpuBook, Machine};
use std::path::Path;
use std::time::Duration;

/// The file costs some 20 µs and more with each CPU and interrupt, and its unit is 10 ms: shorter ticks than this one
/// share a reading. Below a second, so that the usual tick has its own.
const READ_EVERY: Duration = Duration::from_millis(500);

/// Reads it and adds up since its making.
pub(crate) struct CpuLines {
    proc: ProcFs,
    machine: Machine,
    lines: Vec<CpuTimes>,
    read_at: Option<MonotonicNanos>,
    book: CpuBook,
}

impl CpuLines {
    /// Counts from now on what the proc mount at `root` says.
    pub(crate) fn new(root: &Path, machine: &Machine) -> Self {
        let mut lines = Self {
            proc: ProcFs::new(root),
            machine: machine.clone(),
            lines: Vec::new(),
            read_at: None,
            book: CpuBook::new(machine.hypervisor == Some(true)),
        };
        lines.read();
        lines
    }

    /// Fills in the steal of each CPU that has a row. A CPU that is offline keeps what it had.
    pub(crate) fn add_steal(&mut self, usage: &mut Usage, now: MonotonicNanos) {
        self.read_when_due(now);
        for row in &mut usage.cpus {
            row.steal = self.book.steal(row.cpu);
        }
    }

    /// Appends a row for each CPU.
    pub(crate) fn add_cpus(&mut self, usage: &mut Usage, now: MonotonicNanos) {
        self.read_when_due(now);
        usage.cpus.extend(self.book.cpus());
    }

    fn read_when_due(&mut self, now: MonotonicNanos) {
        if self.read_at.is_none_or(|at| now.since(at) >= READ_EVERY) {
            self.read();
            self.read_at = Some(now);
        }
    }

    fn read(&mut self) {
        match self.proc.cpu_times(&mut self.lines) {
            Ok(()) => {
                // Of which nobody knows the package, the accountant says.
                self.machine.notice(self.lines.iter().map(|line| line.cpu));
                self.book.add(&self.lines, &self.machine);
            }
            Err(error) => tracing::debug!(%error, "the times of single CPUs cannot be read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use attribution::model::{CpuNanos, CpuTime, PackageId};

    const MILLI: u64 = 1_000_000;

    fn usage(cpus: &[u32]) -> Usage {
        let row = |cpu: &u32| CpuTime {
            cpu: *cpu,
            package: PackageId(0),
            online: true,
            busy: CpuNanos::ZERO,
            idle: CpuNanos::ZERO,
            steal: None,
        };
        Usage {
            cpus: cpus.iter().map(row).collect(),
            ..Usage::default()
        }
    }

    #[test]
    fn the_steal_of_a_cpu_counts_from_its_first_sight_and_is_read_twice_a_second_at_most() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |lines: &[(u32, u64)]| {
            let mut text = "cpu 0 0 0 0 0 0 0 0 0 0\n".to_owned();
            for (cpu, steal) in lines {
                text.push_str(&format!("cpu{cpu} 1 0 1 1 0 0 0 {steal} 0 0\n"));
            }
            std::fs::write(folder.path().join("stat"), text).expect("written");
        };
        let mut usage = usage(&[0, 2, 3]);
        write(&[(0, 100), (2, 7)]);
        let guest = Machine {
            hypervisor: Some(true),
            ..Machine::default()
        };
        let mut cpus = CpuLines::new(folder.path(), &guest);
        let mut stolen = |lines: &[(u32, u64)], millis: u64| {
            write(lines);
            cpus.add_steal(&mut usage, MonotonicNanos::from_nanos(millis * MILLI));
            let millis = |row: &CpuTime| row.steal.map(|steal| steal.as_nanos() / MILLI);
            usage.cpus.iter().map(millis).collect::<Vec<_>>()
        };
        assert_eq!(stolen(&[(0, 103), (2, 7)], 1_000), [Some(30), Some(0), None]);
        assert_eq!(
            stolen(&[(0, 104), (2, 8)], 1_400),
            [Some(30), Some(0), None],
            "too soon"
        );
        assert_eq!(
            stolen(&[(0, 105), (3, 50)], 1_500),
            [Some(50), Some(0), Some(0)],
            "2 is offline"
        );
        assert_eq!(
            stolen(&[(0, 105), (2, 9), (3, 51)], 2_000),
            [Some(50), Some(20), Some(10)]
        );
    }
    #[test]
    fn every_cpu_has_a_row_where_the_accountant_has_none_and_steal_only_in_a_guest() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |busy: u64| {
            let text =
                format!("cpu 0 0 0 0 0 0 0 0 0 0\ncpu0 {busy} 0 0 7 0 0 0 5 0 0\ncpu1 1 0 0 9 0 0 0 0 0 0\n");
            std::fs::write(folder.path().join("stat"), text).expect("written");
        };
        for (hypervisor, steal) in [(Some(true), Some(CpuNanos::ZERO)), (Some(false), None)] {
            let machine = Machine {
                hypervisor,
                ..Machine::default()
            };
            write(1);
            let mut cpus = CpuLines::new(folder.path(), &machine);
            write(4);
            let mut usage = Usage::default();
            cpus.add_cpus(&mut usage, MonotonicNanos::from_nanos(MILLI));
            let rows: Vec<_> = usage
                .cpus
                .iter()
                .map(|row| (row.cpu, row.busy.as_nanos() / MILLI, row.steal))
                .collect();
            assert_eq!(rows, [(0, 30, steal), (1, 0, steal)]);
        }
    }
}
