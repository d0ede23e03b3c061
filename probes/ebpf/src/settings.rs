// SPDX-License-Identifier: Apache-2.0
//! What a probe is told before it is opened. Plain values: who finds them out is somebody else's business.

use crate::counters::Counter;
use crate::listing::Patience;
use crate::unnamed::Unnamed;
use attribution::model::PackageId;
use std::path::PathBuf;
use std::time::Duration;

/// What the probe must be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Package of each CPU that is online (`/sys/devices/system/cpu/cpuN/topology/physical_package_id`).
    pub packages_of_cpu: Vec<(u32, PackageId)>,
    /// Where that is looked up of those that come online later: `/sys/devices/system/cpu`.
    pub cpus: PathBuf,
    /// Size of the kernel's hash: rows of process, cgroup and package. See [`Settings::max_tasks_for`].
    pub max_tasks: u32,
    /// Rows of cgroup and package for time that found no room there: as many cgroups times packages can be told apart.
    pub max_unnamed: u32,
    /// How long a row is listed after its last rise that has no process, or is of a cgroup that its process has left.
    pub keep_resting: Duration,
    /// Pairs of hardware threads that share a core; empty where cores have one thread, or more than two.
    pub siblings: Vec<(u32, u32)>,
    /// Hardware counters to look for ([`crate::counters::GENERIC`]); empty for none.
    pub counters: Vec<Counter>,
    /// Whether to count softirqs and take their time out of tasks.
    pub softirqs: bool,
    /// Whether to count pages found in the page cache.
    pub page_cache: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            packages_of_cpu: Vec::new(),
            cpus: PathBuf::from("/sys/devices/system/cpu"),
            max_tasks: 0,
            max_unnamed: Self::MAX_UNNAMED,
            keep_resting: Self::KEEP_RESTING,
            siblings: Vec::new(),
            counters: Vec::new(),
            softirqs: false,
            page_cache: false,
        }
    }
}

impl Settings {
    /// The cgroups of a node, times its packages: half a megabyte in the kernel.
    pub const MAX_UNNAMED: u32 = 4_096;

    /// Long enough that a workload that pauses is not taken for one that has ended; its cgroup is not asked for.
    pub const KEEP_RESTING: Duration = Duration::from_secs(60);

    /// A size for a machine that has `processes` now: four rows for each, so that forks between two drains, several
    /// packages and growth find room. 16,384 at least, 65,536 at most.
    ///
    /// The hash is allocated at once: 160 bytes an entry and 16 a bucket (as many buckets as entries, rounded up to a
    /// power of two), so 2.8 MiB to 11 MiB, and as much again where there are hardware counters. Beyond that, time is kept by cgroup (map `overflow`) and not by process.
    #[must_use]
    pub const fn max_tasks_for(processes: u32) -> u32 {
        match processes.saturating_mul(4) {
            ..16_384 => 16_384,
            65_536.. => 65_536,
            wanted => wanted,
        }
    }

    /// No rows without a process yet.
    pub(crate) fn unnamed(&self) -> Unnamed {
        let room = usize::try_from(self.max_unnamed.max(1)).unwrap_or(usize::MAX);
        Unnamed::new(room, self.keep_resting)
    }

    /// For rows of cgroups that their processes have left. Three quarters of all: others are to find room before it is
    /// full.
    pub(crate) fn patience(&self) -> Patience {
        let most = self.max_tasks.max(1);
        Patience {
            keep: self.keep_resting,
            most: usize::try_from(most - most / 4).unwrap_or(usize::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_cgroups_that_were_left_rest_until_three_quarters_of_the_room_are_taken() {
        let patience = Settings {
            max_tasks: 16_384,
            ..Settings::default()
        }
        .patience();
        assert_eq!(patience.with(12_287), Duration::from_secs(60));
        assert_eq!(patience.with(12_288), Duration::ZERO);
    }

    #[test]
    fn the_size_follows_the_machine_between_its_bounds() {
        assert_eq!(Settings::max_tasks_for(0), 16_384);
        assert_eq!(Settings::max_tasks_for(5_000), 20_000);
        assert_eq!(Settings::max_tasks_for(u32::MAX), 65_536);
    }
}
