// SPDX-License-Identifier: Apache-2.0
//! The section `sources.msr`: owns its keys, defaults and ranges.

use super::NAME;
use crate::SourceOpenError;
use crate::rapl::MaxWatts;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Section `sources.msr`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MsrConfig {
    /// The folder with `0/msr` and its likes.
    pub root: PathBuf,
    /// Where vendor, family and model of the CPUs stand.
    pub cpuinfo: PathBuf,
    /// The folder with `online` and `cpu0/topology`.
    pub cpus: PathBuf,
    /// Highest plausible power per zone, to tell a wrap from a reset; 0 takes the default of RAPL.
    pub max_watts: MaxWatts,
}

impl Default for MsrConfig {
    fn default() -> Self {
        Self {
            root: PathBuf::from("/dev/cpu"),
            cpuinfo: PathBuf::from("/proc/cpuinfo"),
            cpus: PathBuf::from("/sys/devices/system/cpu"),
            max_watts: MaxWatts::default(),
        }
    }
}

impl MsrConfig {
    /// Checks what types cannot.
    pub(super) fn check(&self) -> Result<(), SourceOpenError> {
        let paths = [
            ("root", &self.root, "/dev/cpu"),
            ("cpuinfo", &self.cpuinfo, "/proc/cpuinfo"),
            ("cpus", &self.cpus, "/sys/devices/system/cpu"),
        ];
        for (key, path, default) in paths {
            if path.as_os_str().is_empty() {
                return crate::refuse(NAME, key, format!("is empty; the default is {default}"));
            }
        }
        self.max_watts.check(NAME)
    }
}
