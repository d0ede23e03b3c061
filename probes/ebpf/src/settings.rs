// SPDX-License-Identifier: Apache-2.0
//! What a probe is told before it is opened. Plain values: who finds them out is somebody else's business.

use crate::counters::Counter;
use attribution::model::PackageId;

/// What the probe must be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Package of each CPU that is online (`/sys/devices/system/cpu/cpuN/topology/physical_package_id`).
    pub packages_of_cpu: Vec<(u32, PackageId)>,
    /// Size of the kernel's hash: rows of process, cgroup and package. See [`Settings::max_tasks_for`].
    pub max_tasks: u32,
    /// Pairs of hardware threads that share a core; empty where cores have one thread, or more than two.
    pub siblings: Vec<(u32, u32)>,
    /// Hardware counters to look for ([`crate::counters::GENERIC`]); empty for none.
    pub counters: Vec<Counter>,
    /// Whether to count softirqs and take their time out of tasks.
    pub softirqs: bool,
    /// Whether to count pages found in the page cache.
    pub page_cache: bool,
}

impl Settings {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_follows_the_machine_between_its_bounds() {
        assert_eq!(Settings::max_tasks_for(0), 16_384);
        assert_eq!(Settings::max_tasks_for(5_000), 20_000);
        assert_eq!(Settings::max_tasks_for(u32::MAX), 65_536);
    }
}
