// SPDX-License-Identifier: Apache-2.0
//! The section `sources.rapl`: owns its keys, defaults and ranges.

use super::NAME;
use crate::SourceOpenError;
use attribution::model::Component;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Section `sources.rapl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RaplConfig {
    /// The folder with `intel-rapl:0` and its likes.
    pub root: PathBuf,
    /// Highest plausible power per zone, to tell a wrap from a reset.
    pub max_watts: MaxWatts,
}

/// Highest plausible power of one zone of each kind in watts; 0 takes it from the machine (see
/// `scan::max_power`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaxWatts {
    /// A package or one die of it.
    pub package: u32,
    /// The cores of a package.
    pub core: u32,
    /// The rest of a package.
    pub uncore: u32,
    /// The memory of a package.
    pub dram: u32,
    /// A platform (psys) domain.
    pub platform: u32,
}

impl Default for RaplConfig {
    fn default() -> Self {
        Self {
            root: PathBuf::from("/sys/class/powercap"),
            max_watts: MaxWatts::default(),
        }
    }
}

impl MaxWatts {
    /// A machine that draws more than this has more than one RAPL zone per kind.
    const HIGHEST: u32 = 100_000;

    /// The configured figure, or `None` where the machine decides.
    #[must_use]
    pub const fn of(&self, component: Component) -> Option<u32> {
        let watts = match component {
            Component::Package => self.package,
            Component::Core => self.core,
            Component::Uncore => self.uncore,
            Component::Dram => self.dram,
            Component::Platform => self.platform,
            Component::Gpu | Component::Other => 0,
        };
        if watts == 0 { None } else { Some(watts) }
    }
}

impl RaplConfig {
    /// Checks what types cannot.
    pub(super) fn check(&self) -> Result<(), SourceOpenError> {
        let refuse = |key, problem| {
            Err(SourceOpenError::Value {
                name: NAME,
                key,
                problem,
            })
        };
        if self.root.as_os_str().is_empty() {
            return refuse("root", "is empty; the default is /sys/class/powercap".to_owned());
        }
        for component in super::COMPONENTS {
            if let Some(watts) = self.max_watts.of(*component)
                && watts > MaxWatts::HIGHEST
            {
                let highest = MaxWatts::HIGHEST;
                return refuse(
                    "max_watts",
                    format!("has {watts} W for {}; the most is {highest} W", component.name()),
                );
            }
        }
        Ok(())
    }
}
