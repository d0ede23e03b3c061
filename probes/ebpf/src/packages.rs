// SPDX-License-Identifier: Apache-2.0
//! On which package each CPU is: as we were told at the start, and as the kernel says of those that come online later.

use attribution::model::PackageId;
use std::fs;
use std::path::PathBuf;

/// All CPUs that were ever online.
#[derive(Debug)]
pub(crate) struct Packages {
    listed: Vec<(u32, PackageId)>,
    /// `/sys/devices/system/cpu`.
    folder: PathBuf,
    /// CPUs that count to the first one's package because nobody knows theirs.
    unknown: u64,
}

impl Packages {
    /// Those that are known at the start.
    pub(crate) const fn new(listed: Vec<(u32, PackageId)>, folder: PathBuf) -> Self {
        Self {
            listed,
            folder,
            unknown: 0,
        }
    }

    /// The package of a CPU; one that was never online counts to the first one's.
    pub(crate) fn of(&self, cpu: u32) -> PackageId {
        let listed = self.listed.iter().find(|(listed, _)| *listed == cpu);
        listed.map_or_else(|| self.first(), |(_, package)| *package)
    }

    fn first(&self) -> PackageId {
        self.listed.first().map_or(PackageId(0), |(_, package)| *package)
    }

    /// Of the CPUs `online`, those that are not listed.
    pub(crate) fn strangers(&self, online: &[u32]) -> Vec<u32> {
        let is_listed = |cpu: &u32| self.listed.iter().any(|(listed, _)| listed == cpu);
        online.iter().filter(|cpu| !is_listed(cpu)).copied().collect()
    }

    /// Where a CPU that is online is, by what the kernel says; `None` when nobody knows.
    pub(crate) fn find(&self, cpu: u32) -> Option<PackageId> {
        PackageId::of_later(cpu, &self.listed, |cpu| self.id(cpu))
    }

    /// Lists a CPU.
    pub(crate) fn add(&mut self, cpu: u32, package: PackageId) {
        self.listed.push((cpu, package));
    }

    /// Lists a CPU whose package nobody knows, or that could not be told.
    pub(crate) fn add_unknown(&mut self, cpu: u32, why: &str) {
        let package = self.first();
        tracing::warn!(
            cpu,
            "a CPU came online and {why}: it counts to package {}, and figures by package are wrong until a restart",
            package.0
        );
        self.unknown = self.unknown.saturating_add(1);
        self.add(cpu, package);
    }

    /// How many have no package of their own.
    pub(crate) const fn unknown(&self) -> u64 {
        self.unknown
    }

    fn id(&self, cpu: u32) -> Option<i64> {
        let file = self.folder.join(format!("cpu{cpu}/topology/physical_package_id"));
        let id: i64 = fs::read_to_string(file).ok()?.trim().parse().ok()?;
        (id >= 0).then_some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files by CPU and what they say.
    fn files(ids: &[(u32, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (cpu, id) in ids {
            let topology = folder.path().join(format!("cpu{cpu}/topology"));
            fs::create_dir_all(&topology).unwrap();
            fs::write(topology.join("physical_package_id"), id).unwrap();
        }
        folder
    }

    fn packages(folder: &tempfile::TempDir, listed: &[(u32, u16)]) -> Packages {
        let listed = listed.iter().map(|(cpu, package)| (*cpu, PackageId(*package)));
        Packages::new(listed.collect(), folder.path().to_owned())
    }

    #[test]
    fn a_cpu_that_comes_later_is_where_the_kernel_says() {
        // Of two threads a core the second ones were off, and so was all of the third package.
        let folder = files(&[(0, "0\n"), (1, "1\n"), (2, "0\n"), (3, "1\n"), (4, "2\n")]);
        let mut packages = packages(&folder, &[(0, 0), (1, 1)]);
        assert_eq!(packages.strangers(&[0, 1, 2, 3, 4]), [2, 3, 4]);
        assert_eq!(packages.of(3), PackageId(0));
        for (cpu, package) in [(2, 0), (3, 1), (4, 2)] {
            assert_eq!(packages.find(cpu), Some(PackageId(package)));
            packages.add(cpu, PackageId(package));
            assert_eq!(packages.of(cpu), PackageId(package));
        }
        assert_eq!((packages.strangers(&[0, 3]), packages.unknown()), (vec![], 0));
    }

    #[test]
    fn where_the_kernel_does_not_say_there_is_one_package_or_nobody_knows() {
        let folder = files(&[(0, "-1"), (1, "-1"), (2, "?")]);
        let one = packages(&folder, &[(0, 4)]);
        assert_eq!([1, 2, 3].map(|cpu| one.find(cpu)), [Some(PackageId(4)); 3]);
        let mut two = packages(&folder, &[(0, 4), (9, 5)]);
        assert_eq!(two.find(1), None);
        two.add_unknown(1, "its package is not known");
        assert_eq!((two.of(1), two.unknown()), (PackageId(4), 1));
        assert!(two.strangers(&[0, 1]).is_empty(), "it is asked for once");
    }

    #[test]
    fn nothing_is_known_of_a_machine_that_nobody_told_of() {
        let packages = packages(&files(&[]), &[]);
        assert_eq!((packages.of(0), packages.find(0)), (PackageId(0), None));
    }
}
