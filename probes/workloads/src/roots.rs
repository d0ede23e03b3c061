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
