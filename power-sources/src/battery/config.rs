// SPDX-License-Identifier: Apache-2.0
//! The section `sources.battery`: owns its keys, defaults and ranges.

use super::NAME;
use crate::SourceOpenError;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Section `sources.battery`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatteryConfig {
    /// The folder with `BAT0` and its likes.
    pub root: PathBuf,
    /// Most watts of one battery that are believed.
    pub max_watts: u32,
}

impl Default for BatteryConfig {
    fn default() -> Self {
        Self {
            root: PathBuf::from("/sys/class/power_supply"),
            max_watts: 500,
        }
    }
}

/// No battery of a machine gives more.
const MOST_WATTS: u32 = 100_000;

impl BatteryConfig {
    /// Checks what types cannot.
    pub(super) fn check(&self) -> Result<(), SourceOpenError> {
        let refuse = |key, problem| crate::refuse(NAME, key, problem);
        if self.root.as_os_str().is_empty() {
            return refuse(
                "root",
                "is empty; the default is /sys/class/power_supply".to_owned(),
            );
        }
        if !(1..=MOST_WATTS).contains(&self.max_watts) {
            let watts = self.max_watts;
            return refuse(
                "max_watts",
                format!("is {watts}; from 1 to {MOST_WATTS} are allowed"),
            );
        }
        Ok(())
    }
}
