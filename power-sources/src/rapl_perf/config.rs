// SPDX-License-Identifier: Apache-2.0
//! The section `sources.rapl-perf`: owns its keys, defaults and ranges.

use super::NAME;
use crate::SourceOpenError;
use crate::rapl::MaxWatts;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Section `sources.rapl-perf`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RaplPerfConfig {
    /// The folder of the PMU: `type`, `cpumask`, `events` and `format`.
    pub root: PathBuf,
    /// Where vendor, family and model of the CPUs stand.
    pub cpuinfo: PathBuf,
    /// The folder with `online` and `cpu0/topology`.
    pub cpus: PathBuf,
    /// Highest plausible power per zone, to refuse what no zone can use; 0 takes the default of RAPL.
    pub max_watts: MaxWatts,
}

impl Default for RaplPerfConfig {
    fn default() -> Self {
        Self {
            root: PathBuf::from("/sys/bus/event_source/devices/power"),
            cpuinfo: PathBuf::from("/proc/cpuinfo"),
            cpus: PathBuf::from("/sys/devices/system/cpu"),
            max_watts: MaxWatts::default(),
        }
    }
}

impl RaplPerfConfig {
    /// Checks what types cannot.
    pub(super) fn check(&self) -> Result<(), SourceOpenError> {
        let paths = [
            ("root", &self.root, "/sys/bus/event_source/devices/power"),
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
