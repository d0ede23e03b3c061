// SPDX-License-Identifier: Apache-2.0
//! One process between scans: what it counted, and where that was charged. Reads no file.

use crate::procfs::{PidStat, ticks_to_nanos};
use attribution::model::{CgroupId, Comm, CpuNanos, EventCounts, PackageId, TaskKey, TaskKind, TaskUsage};

/// Rows of one process: packages times the cgroups it was in. A process that wanders further charges its last row.
const ROWS: usize = 64;

/// CPU time of a process in one cgroup on one package.
#[derive(Clone, Copy, Debug)]
struct Row {
    cgroup: CgroupId,
    package: PackageId,
    cpu: CpuNanos,
}

/// A living process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) key: TaskKey,
    comm: Comm,
    kind: TaskKind,
    /// The highest counter seen.
    ticks: u64,
    /// The cgroup as of the last look.
    pub(super) cgroup: CgroupId,
    /// The scan that last saw it.
    pub(super) round: u64,
    rows: Vec<Row>,
}

impl Process {
    /// A process seen for the first time: its counter counts whole, for it began after `open`.
    pub(super) fn new(stat: &PidStat, cgroup: CgroupId) -> Self {
        Self {
            key: stat.key(),
            comm: stat.comm,
            kind: stat.kind(),
            ticks: 0,
            cgroup,
            round: 0,
            rows: Vec::new(),
        }
    }

    /// Whether this scan has to look at its cgroup: at first sight, and whenever there is time to charge. Time charged to
    /// the wrong cgroup would be paid again as the right one's residue, and residues never fall; few processes run
    /// between two scans, so looking costs little.
    pub(super) fn check_is_due(&self, stat: &PidStat) -> bool {
        let is_new = self.round == 0;
        // A dying process shows `/` in version 1, whatever it was in.
        !stat.exiting() && (is_new || stat.cpu_ticks() > self.ticks)
    }

    /// Takes the new counter in and returns what it rose by; a counter that goes back adds nothing until it is past its
    /// highest again.
    pub(super) fn advance(&mut self, stat: &PidStat, round: u64) -> CpuNanos {
        self.comm = stat.comm;
        self.round = round;
        let rise = stat.cpu_ticks().saturating_sub(self.ticks);
        self.ticks = self.ticks.max(stat.cpu_ticks());
        ticks_to_nanos(rise)
    }

    /// Charges time to the cgroup it is in.
    pub(super) fn charge(&mut self, package: PackageId, time: CpuNanos) {
        if time.is_zero() {
            return;
        }
        let cgroup = self.cgroup;
        let known = self
            .rows
            .iter()
            .position(|row| (row.cgroup, row.package) == (cgroup, package));
        if known.is_none() && self.rows.len() < ROWS {
            self.rows.push(Row {
                cgroup,
                package,
                cpu: time,
            });
            return;
        }
        let row = match known {
            Some(at) => self.rows.get_mut(at),
            None => self.rows.last_mut(),
        };
        if let Some(row) = row {
            row.cpu += time;
        }
    }

    /// Forgets what was charged: the start of counting.
    pub(super) fn begin(&mut self) {
        self.rows.clear();
    }

    /// Its rows as a report lists them.
    pub(super) fn report(&self, ended: bool) -> impl Iterator<Item = TaskUsage> {
        self.rows.iter().map(move |row| TaskUsage {
            task: Some(self.key),
            cgroup: row.cgroup,
            package: row.package,
            cpu: row.cpu,
            events: EventCounts::ZERO,
            comm: self.comm,
            kind: self.kind,
            ended,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(user_ticks: u64) -> PidStat {
        PidStat {
            pid: 7,
            comm: Comm::from_bytes(b"sh"),
            parent: 1,
            flags: 0,
            user_ticks,
            system_ticks: 0,
            start_ticks: 5,
            processor: 0,
        }
    }

    #[test]
    fn a_counter_that_goes_back_takes_nothing_back_and_pays_nothing_twice() {
        let mut process = Process::new(&stat(0), CgroupId::ROOT);
        let rises: Vec<u64> = [10, 4, 9, 12]
            .into_iter()
            .map(|ticks| process.advance(&stat(ticks), 1).as_nanos() / 10_000_000)
            .collect();
        assert_eq!(rises, [10, 0, 0, 2]);
    }

    #[test]
    fn a_process_that_wanders_without_end_loses_no_time_and_takes_no_memory() {
        let mut process = Process::new(&stat(0), CgroupId::ROOT);
        for cgroup in 0..1_000 {
            process.cgroup = CgroupId(cgroup);
            process.charge(PackageId(0), CpuNanos::from_nanos(1));
        }
        let rows: Vec<_> = process.report(false).collect();
        assert_eq!(rows.len(), ROWS);
        assert_eq!(
            rows.iter().map(|row| row.cpu).sum::<CpuNanos>(),
            CpuNanos::from_nanos(1_000)
        );
    }

    #[test]
    fn the_cgroup_is_looked_at_when_there_is_time_to_charge_and_never_when_dying() {
        let mut process = Process::new(&stat(0), CgroupId::ROOT);
        let looks = [0, 0, 5, 5, 4, 6].map(|ticks| {
            let due = process.check_is_due(&stat(ticks));
            process.advance(&stat(ticks), 1);
            due
        });
        assert_eq!(looks, [true, false, true, false, false, true]);
        let dying = PidStat { flags: 4, ..stat(9) };
        assert!(!process.check_is_due(&dying));
        assert!(!Process::new(&dying, CgroupId::ROOT).check_is_due(&dying));
    }
}
