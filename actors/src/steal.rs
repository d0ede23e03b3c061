// SPDX-License-Identifier: Apache-2.0
//! Time that a hypervisor took from each CPU, from `/proc/stat`: eBPF does not see it. Only a guest can be stolen from.

use attribution::model::{MonotonicNanos, Usage};
use probe_workloads::procfs::{CpuTimes, ProcFs, ticks_to_nanos};
use std::path::Path;
use std::time::Duration;

/// The file costs some 20 µs and more with each CPU and interrupt, and its unit is 10 ms: shorter ticks than this one
/// share a reading. Below a second, so that the usual tick has its own.
const READ_EVERY: Duration = Duration::from_millis(500);

/// Steal in clock ticks.
#[derive(Clone, Copy, Default)]
struct Stolen {
    /// At first sight: what was stolen before is not ours to report.
    first: Option<u64>,
    newest: u64,
}

/// Reads it and remembers where it began.
pub(crate) struct Steal {
    proc: ProcFs,
    lines: Vec<CpuTimes>,
    read_at: Option<MonotonicNanos>,
    /// By the kernel's number of the CPU: at most 8,192 (`NR_CPUS` of x86).
    cpus: Vec<Stolen>,
}

impl Steal {
    /// Counts from now on what the proc mount at `root` says.
    pub(crate) fn new(root: &Path) -> Self {
        let mut steal = Self {
            proc: ProcFs::new(root),
            lines: Vec::new(),
            read_at: None,
            cpus: Vec::new(),
        };
        steal.read();
        steal
    }

    /// Fills in the steal of each CPU. A CPU that is offline keeps what it had.
    pub(crate) fn add_to(&mut self, usage: &mut Usage, now: MonotonicNanos) {
        if self.read_at.is_none_or(|at| now.since(at) >= READ_EVERY) {
            self.read();
            self.read_at = Some(now);
        }
        for row in &mut usage.cpus {
            let stolen = usize::try_from(row.cpu).ok().and_then(|cpu| self.cpus.get(cpu));
            let ticks = stolen.and_then(|stolen| Some(stolen.newest.saturating_sub(stolen.first?)));
            row.steal = ticks.map(ticks_to_nanos);
        }
    }

    fn read(&mut self) {
        if let Err(error) = self.proc.cpu_times(&mut self.lines) {
            tracing::debug!(%error, "steal cannot be read");
            return;
        }
        for line in &self.lines {
            let Ok(cpu) = usize::try_from(line.cpu) else {
                continue;
            };
            if self.cpus.len() <= cpu {
                self.cpus.resize(cpu + 1, Stolen::default());
            }
            if let Some(stolen) = self.cpus.get_mut(cpu) {
                stolen.first.get_or_insert(line.steal_ticks);
                stolen.newest = line.steal_ticks;
            }
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
        let mut steal = Steal::new(folder.path());
        let mut stolen = |lines: &[(u32, u64)], millis: u64| {
            write(lines);
            steal.add_to(&mut usage, MonotonicNanos::from_nanos(millis * MILLI));
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
}
