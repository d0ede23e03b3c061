// SPDX-License-Identifier: Apache-2.0
//! What a cgroup's own files say that its processes may have: CPU time and memory, in both versions of control groups.
//!
//! | | version 2 | version 1 |
//! |---|---|---|
//! | CPU | `cpu.max`: `QUOTA PERIOD` in µs, or `max PERIOD` | `cpu.cfs_quota_us` (-1: none) / `cpu.cfs_period_us` |
//! | memory | `memory.min`, `memory.low`, else `memory.max` | `memory.limit_in_bytes` |
//!
//! Memory that is protected (`docker run --memory-reservation`, Kubernetes' `MemoryQoS`) is held for it in the very sense of
//! the word, so it goes before a limit, which only says what it may not exceed. A weight (`cpu.weight`, `cpu.shares`) is
//! no part of the node, and a cpuset holds CPUs for nobody as long as others may run there too.

use crate::cgroup::{CgroupMount, CgroupMounts};
use crate::files;
use attribution::model::Reservation;
use std::path::Path;

/// Limits from here on mean none: the kernel writes "unlimited" in version 1 as the largest number of pages that fits into
/// an `i64` of bytes, which depends on the size of a page, and no machine has an exabyte.
const UNLIMITED: u64 = 1 << 60;
/// The most CPUs that a quota may stand for: Linux has 8,192 at most.
const MOST_MILLICPUS: u64 = 8_192 * 1_000;

/// What the cgroup at `path` is limited to. Zero where it is not, or where nothing tells.
pub(super) fn limits(mounts: &CgroupMounts, path: &str, buffer: &mut Vec<u8>) -> Reservation {
    let unified = mounts.unified.as_ref().and_then(|mount| mount.directory_of(path));
    let version1 = |controller| {
        let mount: Option<&CgroupMount> = mounts.version1_of(controller);
        mount.and_then(|mount| mount.directory_of(path))
    };
    let mut read = |folder: &Option<_>, file: &str| number_file(folder.as_deref(), file, buffer);
    // A controller is in one version or in the other.
    let max = read(&unified, "cpu.max");
    let millicpus = max.as_deref().map_or_else(
        || {
            let folder = version1("cpu");
            let quota = read(&folder, "cpu.cfs_quota_us")?;
            let period = read(&folder, "cpu.cfs_period_us")?;
            ratio(&quota, &period)
        },
        |max| {
            max.split_once(' ')
                .and_then(|(quota, period)| ratio(quota, period))
        },
    );
    let protected = ["memory.min", "memory.low"]
        .iter()
        .filter_map(|file| bytes(&read(&unified, file)?))
        .max()
        .filter(|bytes| *bytes > 0);
    let memory = protected.or_else(|| {
        let limit =
            read(&unified, "memory.max").or_else(|| read(&version1("memory"), "memory.limit_in_bytes"))?;
        bytes(&limit)
    });
    Reservation {
        millicpus: millicpus.unwrap_or(0),
        memory: memory.unwrap_or(0),
    }
}

/// The text of a file of the kernel's, without its end of line.
fn number_file(folder: Option<&Path>, file: &str, buffer: &mut Vec<u8>) -> Option<String> {
    if !files::read_into(&folder?.join(file), buffer).ok()? {
        return None;
    }
    Some(std::str::from_utf8(buffer).ok()?.trim_end().to_owned())
}

/// A quota in thousandths of a CPU.
fn ratio(quota: &str, period: &str) -> Option<u64> {
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    let millicpus = quota.checked_mul(1_000)?.checked_div(period)?;
    (millicpus <= MOST_MILLICPUS).then_some(millicpus)
}

/// A size; `None` for `max` and for what is as good as that.
fn bytes(text: &str) -> Option<u64> {
    text.parse().ok().filter(|bytes| *bytes < UNLIMITED)
}

/// For `fuzz`: two words are a quota and its period, one is a size.
#[cfg(feature = "fuzzing")]
pub(super) fn fuzz(text: &str) {
    if let Some((quota, period)) = text.trim_end().split_once(' ') {
        assert!(ratio(quota, period).is_none_or(|millicpus| millicpus <= MOST_MILLICPUS));
    }
    assert!(bytes(text.trim_end()).is_none_or(|bytes| bytes < UNLIMITED));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Version1Mount;
    use proptest::prelude::*;
    use std::fs;

    /// Where, and what is in it.
    type File = (&'static str, &'static str);

    /// The limits of `/docker/a` in a tree with these files, each beginning with `2/`, `cpu/` or `memory/` for where it is.
    fn of(files: &[(&str, &str)]) -> (u64, u64) {
        let dir = tempfile::tempdir().unwrap();
        let mount = |name: &str| CgroupMount {
            point: dir.path().join(name),
            root: "/".to_owned(),
        };
        let version1 = |name: &str| Version1Mount {
            controllers: vec![name.to_owned()],
            mount: mount(name),
        };
        for (file, text) in files {
            let (hierarchy, file) = file.split_once('/').unwrap();
            let folder = dir.path().join(hierarchy).join("docker/a");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(file), text).unwrap();
        }
        let mounts = CgroupMounts {
            unified: Some(mount("2")),
            version1: vec![version1("cpu"), version1("memory")],
            notes: Vec::new(),
        };
        let found = limits(&mounts, "/docker/a", &mut Vec::new());
        (found.millicpus, found.memory)
    }

    #[test]
    fn a_quota_is_part_of_a_cpu_and_a_limit_is_memory_in_both_versions() {
        const V1_UNLIMITED: &str = "9223372036854771712\n";
        // files                                                                   thousandths, bytes
        let cases: [(&[File], (u64, u64)); 14] = [
            (&[("2/cpu.max", "50000 100000\n")], (500, 0)),
            (
                &[("2/cpu.max", "250000 100000\n"), ("2/memory.max", "max\n")],
                (2_500, 0),
            ),
            (
                &[("2/cpu.max", "max 100000\n"), ("2/memory.max", "67108864\n")],
                (0, 67_108_864),
            ),
            (
                &[
                    ("2/memory.max", "100\n"),
                    ("2/memory.low", "40\n"),
                    ("2/memory.min", "0\n"),
                ],
                (0, 40),
            ),
            (
                &[
                    ("2/memory.max", "100\n"),
                    ("2/memory.low", "40\n"),
                    ("2/memory.min", "60\n"),
                ],
                (0, 60),
            ),
            (
                &[
                    ("2/memory.max", "100\n"),
                    ("2/memory.low", "0\n"),
                    ("2/memory.min", "0\n"),
                ],
                (0, 100),
            ),
            (&[("2/memory.low", "max\n"), ("2/memory.max", "100\n")], (0, 100)),
            (
                &[
                    ("cpu/cpu.cfs_quota_us", "150000\n"),
                    ("cpu/cpu.cfs_period_us", "100000\n"),
                ],
                (1_500, 0),
            ),
            (
                &[
                    ("cpu/cpu.cfs_quota_us", "-1\n"),
                    ("cpu/cpu.cfs_period_us", "100000\n"),
                ],
                (0, 0),
            ),
            (&[("memory/memory.limit_in_bytes", V1_UNLIMITED)], (0, 0)),
            (
                &[("memory/memory.limit_in_bytes", "134217728\n")],
                (0, 134_217_728),
            ),
            // Broken, or more than there can be.
            (&[("2/cpu.max", "50000\n"), ("2/memory.max", "much\n")], (0, 0)),
            (&[("2/cpu.max", "50000 0\n")], (0, 0)),
            (&[("2/cpu.max", "99999999999999 1000\n")], (0, 0)),
        ];
        for (files, expected) in cases {
            assert_eq!(of(files), expected, "{files:?}");
        }
    }

    #[test]
    fn a_hybrid_machine_has_its_limits_where_its_controllers_are() {
        let cpu = [
            ("cpu/cpu.cfs_quota_us", "20000\n"),
            ("cpu/cpu.cfs_period_us", "10000\n"),
        ];
        let files: Vec<_> = [("2/memory.max", "7\n")].into_iter().chain(cpu).collect();
        assert_eq!(of(&files), (2_000, 7));
        assert_eq!(of(&[]), (0, 0));
    }

    proptest! {
        #[test]
        fn whatever_the_files_hold_nothing_implausible_is_taken(
            cpu in prop_oneof![proptest::string::string_regex("[0-9]{0,20} [0-9]{0,20}\n").unwrap(), "\\PC{0,20}"],
            memory in prop_oneof![proptest::string::string_regex("[0-9]{0,22}\n").unwrap(), "\\PC{0,20}"],
        ) {
            let (millicpus, bytes) = of(&[("2/cpu.max", &cpu), ("2/memory.max", &memory)]);
            prop_assert!(millicpus <= MOST_MILLICPUS && bytes < UNLIMITED);
        }
    }
}
