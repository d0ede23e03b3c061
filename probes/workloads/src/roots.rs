// SPDX-License-Identifier: Apache-2.0
//! Where the kernel's files are: the proc mount and the cgroup mounts, as this process sees them.

use crate::cgroup::CgroupMounts;
use crate::error::WorkloadError;
use std::path::{Path, PathBuf};

/// Roots of what the resolver and the fallback read.
#[derive(Clone, Debug)]
pub struct Roots {
    /// The proc mount, `/proc` or `/host/proc`.
    pub proc: PathBuf,
    /// The cgroup mounts.
    pub cgroup_mounts: CgroupMounts,
}

impl Roots {
    /// Finds the cgroup mounts in `<proc>/self/mountinfo`.
    ///
    /// # Errors
    /// When that file cannot be read.
    pub fn detect(proc: &Path) -> Result<Self, WorkloadError> {
        Ok(Self {
            proc: proc.to_owned(),
            cgroup_mounts: CgroupMounts::read(proc)?,
        })
    }
}

#[cfg(test)]
impl Roots {
    /// For tests: `proc` and `cgroup` in `folder`; the mount is the unified hierarchy, or one of version 1 with `cpuacct`.
    pub(crate) fn in_folder(folder: &Path, unified: bool) -> Self {
        use crate::cgroup::{CgroupMount, Version1Mount};
        let mount = CgroupMount {
            point: folder.join("cgroup"),
            root: "/".to_owned(),
        };
        let version1 = Version1Mount {
            controllers: vec!["cpuacct".to_owned()],
            mount: mount.clone(),
        };
        Self {
            proc: folder.join("proc"),
            cgroup_mounts: CgroupMounts {
                unified: unified.then_some(mount),
                version1: if unified { Vec::new() } else { vec![version1] },
                notes: Vec::new(),
            },
        }
    }
}
