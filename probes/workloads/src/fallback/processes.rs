// SPDX-License-Identifier: Apache-2.0
//! One process between scans: what it counted, and where that was charged. Reads no file.

use super::children::{ALL, ChildTime};
use super::kin::Parent;
use crate::procfs::PidStat;
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
    pub(super) parent: Parent,
    /// The latest reading of its clock or its ticks.
    reading: CpuNanos,
    /// The highest one.
    time: CpuNanos,
    /// The cgroup as of the last look.
    pub(super) cgroup: CgroupId,
    /// The package it was last charged on.
    pub(super) package: PackageId,
    /// The scan that last read it; 0 before the first one has.
    pub(super) looked: u64,
    /// The scan that last found it listed.
    pub(super) listed: u64,
    pub(super) children: ChildTime,
    rows: Vec<Row>,
}

impl Process {
    /// A process seen for the first time.
    pub(super) fn new(stat: &PidStat, children: ChildTime) -> Self {
        Self {
            key: stat.key(),
            comm: stat.comm,
            kind: stat.kind(),
            parent: Parent::Unknown,
            reading: CpuNanos::ZERO,
            time: CpuNanos::ZERO,
            cgroup: CgroupId::ROOT,
            package: PackageId(0),
            looked: 0,
            listed: 0,
            children,
            rows: Vec::new(),
        }
    }

    /// Whether no scan has read it yet.
    pub(super) const fn is_new(&self) -> bool {
        self.looked == 0
    }

    /// Whether a clock says that it did not run since the last look. A pid in new hands has another reading, higher or
    /// lower, and is found out by its start; should a new process have run to the very nanosecond for as long as the old
    /// one, then it is found out with its next slice, and until then neither has anything to be charged.
    pub(super) fn stood_still(&self, reading: CpuNanos) -> bool {
        !self.is_new() && self.reading == reading
    }

    /// Whether this scan has to look at its cgroup: at first sight, and whenever there is time to charge. Time charged to
    /// the wrong cgroup would be paid again as the right one's residue, and residues never fall; few processes run
    /// between two scans, so looking costs little.
    pub(super) fn check_is_due(&self, reading: CpuNanos) -> bool {
        self.is_new() || reading > self.time
    }

    /// Takes the new reading in and returns what it rose by; one that goes back adds nothing until it is past its
    /// highest again.
    pub(super) fn advance(&mut self, stat: &PidStat, reading: CpuNanos, round: u64) -> CpuNanos {
        self.comm = stat.comm;
        self.looked = round;
        self.reading = reading;
        let rise = reading.saturating_sub(self.time);
        self.time = self.time.max(reading);
        rise
    }

    /// What its parent's child time will contain of it that is accounted for, now that it is dead. Where a counter pays
    /// for its cgroup (`is_counted`), also what nobody saw of it and of its children has been paid.
    pub(super) fn accounted(&self, is_counted: bool) -> CpuNanos {
        if is_counted {
            ALL
        } else {
            self.time + self.children.accounted()
        }
    }

    /// Charges time to the cgroup it is in.
    pub(super) fn charge(&mut self, package: PackageId, time: CpuNanos) {
        if time.is_zero() {
            return;
        }
        self.package = package;
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

    fn stat() -> PidStat {
        PidStat {
            pid: 7,
            comm: Comm::from_bytes(b"sh"),
            parent: 1,
            flags: 0,
            user_ticks: 0,
            system_ticks: 0,
            child_user_ticks: 0,
            child_system_ticks: 0,
            start_ticks: 5,
            processor: 0,
        }
    }

    fn nanos(nanos: u64) -> CpuNanos {
        CpuNanos::from_nanos(nanos)
    }

    fn process() -> Process {
        Process::new(&stat(), ChildTime::from_birth())
    }

    #[test]
    fn a_counter_that_goes_back_takes_nothing_back_and_pays_nothing_twice() {
        let mut process = process();
        let rises = [10, 4, 9, 12].map(|reading| process.advance(&stat(), nanos(reading), 1));
        assert_eq!(rises, [10, 0, 0, 2].map(nanos));
    }

    #[test]
    fn a_process_that_wanders_without_end_loses_no_time_and_takes_no_memory() {
        let mut process = process();
        for cgroup in 0..1_000 {
            process.cgroup = CgroupId(cgroup);
            process.charge(PackageId(0), nanos(1));
        }
        let rows: Vec<_> = process.report(false).collect();
        assert_eq!(rows.len(), ROWS);
        assert_eq!(rows.iter().map(|row| row.cpu).sum::<CpuNanos>(), nanos(1_000));
    }

    #[test]
    fn the_cgroup_is_looked_at_at_first_sight_and_when_there_is_time_to_charge() {
        let mut process = process();
        let looks = [0, 0, 5, 5, 4, 6].map(|reading| {
            let due = process.check_is_due(nanos(reading));
            process.advance(&stat(), nanos(reading), 1);
            due
        });
        assert_eq!(looks, [true, false, true, false, false, true]);
    }

    #[test]
    fn only_the_very_same_reading_says_that_it_did_not_run() {
        let mut process = process();
        assert!(!process.stood_still(nanos(0)), "never seen");
        process.advance(&stat(), nanos(7), 1);
        assert!(process.stood_still(nanos(7)));
        assert!(!process.stood_still(nanos(6)) && !process.stood_still(nanos(8)));
    }
}
