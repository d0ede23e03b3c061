// SPDX-License-Identifier: Apache-2.0
//! The section `sources.rapl`: owns its keys, defaults and ranges.

use super::NAME;
use super::scan::max_power;
use crate::SourceOpenError;
use attribution::model::{Component, Microwatts};
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
    pub(super) const HIGHEST: u32 = 100_000;

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

    /// The most that a zone which states nothing itself is believed to use.
    pub(crate) fn highest(&self, component: Component) -> Microwatts {
        max_power(component, None, self.of(component))
    }

    /// Refuses figures that no machine reaches. `name` is the section's.
    pub(crate) fn check(&self, name: &'static str) -> Result<(), SourceOpenError> {
        for component in super::COMPONENTS {
            if let Some(watts) = self.of(*component)
                && watts > Self::HIGHEST
            {
                let highest = Self::HIGHEST;
                let component = component.name();
                return Err(SourceOpenError::Value {
                    name,
                    key: "max_watts",
                    problem: format!("has {watts} W for {component}; the most is {highest} W"),
                });
            }
        }
        Ok(())
    }
}

impl RaplConfig {
    /// Checks what types cannot.
    pub(super) fn check(&self) -> Result<(), SourceOpenError> {
        if self.root.as_os_str().is_empty() {
            return Err(SourceOpenError::Value {
                name: NAME,
                key: "root",
                problem: "is empty; the default is /sys/class/powercap".to_owned(),
            });
        }
        self.max_watts.check(NAME)
    }
}
