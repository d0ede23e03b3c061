// SPDX-License-Identifier: Apache-2.0
//! The kernel's own counter of a cgroup's CPU time.

use crate::cgroup::Hierarchy;
use crate::error::WorkloadError;
use crate::files::read_into;
use attribution::model::CpuNanos;
use std::path::Path;

/// CPU time of everything below a cgroup; `None` where the kernel keeps no such counter (version 2 without `cpu.stat`,
/// before Linux 4.15) or the cgroup is gone.
pub(super) fn read_counter(
    folder: &Path,
    hierarchy: Option<Hierarchy>,
    buffer: &mut Vec<u8>,
) -> Result<Option<CpuNanos>, WorkloadError> {
    let (name, expected) = match hierarchy {
        Some(Hierarchy::Unified) => ("cpu.stat", "usage_usec line"),
        Some(Hierarchy::Version1) => ("cpuacct.usage", "number of nanoseconds"),
        None => return Ok(None),
    };
    let path = folder.join(name);
    if !read_into(&path, buffer)? {
        return Ok(None);
    }
    let text = std::str::from_utf8(buffer).unwrap_or_default();
    let nanos = match hierarchy {
        Some(Hierarchy::Unified) => text
            .lines()
            .find_map(|line| line.strip_prefix("usage_usec "))
            .and_then(|usage| usage.trim().parse::<u64>().ok())
            .map(|micros| micros.saturating_mul(1_000)),
        _ => text.trim().parse().ok(),
    };
    match nanos {
        Some(nanos) => Ok(Some(CpuNanos::from_nanos(nanos))),
        None => Err(WorkloadError::malformed(&path, expected)),
    }
}
