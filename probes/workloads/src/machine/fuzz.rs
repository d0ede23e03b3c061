// SPDX-License-Identifier: Apache-2.0
//! What holds for every `/proc/cpuinfo`, `/proc/meminfo` and list of CPUs, for `integration-tests/fuzz`. In no build of the daemon.

use super::cpuinfo::CpuInfo;
use super::parse_memory;
use super::topology::{CPUS, parse_list};

/// Names are out of the text, sizes are whole, and a list is sorted and bounded.
pub fn files(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let info = CpuInfo::parse(bytes);
    for name in [&info.vendor, &info.model_name].into_iter().flatten() {
        assert!(!name.is_empty() && !name.contains('\n') && name.len() <= text.len() + 32);
    }
    assert!(parse_memory(&text).is_none_or(|bytes| bytes.is_multiple_of(1_024)));
    if let Some(cpus) = parse_list(text.trim()) {
        assert!(cpus.is_sorted_by(|one, next| one < next));
        assert!(cpus.last().is_none_or(|last| *last < CPUS));
    }
}
