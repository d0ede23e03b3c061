// SPDX-License-Identifier: Apache-2.0
//! The section `sources.acpi`: owns its keys, defaults and ranges.

use super::NAME;
use crate::SourceOpenError;
use crate::lasting::Lasting;
use crate::sensors::pattern::Pattern;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// Section `sources.acpi`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AcpiConfig {
    /// The folder with `hwmon0` and its likes.
    pub root: PathBuf,
    /// Which meters are counted, by device (`ACPI000D:00`), model number or OEM text; `*` stands for anything. Empty: the only
    /// one that is about the whole machine.
    pub meters: Vec<Pattern>,
    /// Most watts of one meter that are believed.
    pub max_watts: u32,
    /// Time between two readings of a meter. `0s` leaves it to the meter's own averaging interval.
    pub read_every: Lasting,
}

impl Default for AcpiConfig {
    fn default() -> Self {
        Self {
            root: PathBuf::from("/sys/class/hwmon"),
            meters: Vec::new(),
            max_watts: 20_000,
            read_every: Lasting::seconds(0),
        }
    }
}

/// What is metered by one ACPI meter is a rack at most.
const MOST_WATTS: u32 = 100_000;
/// Longest time between two readings: a straight line over more is no measurement.
const LONGEST: Duration = Duration::from_secs(120);

impl AcpiConfig {
    /// Checks what types cannot.
    pub(super) fn check(&self) -> Result<(), SourceOpenError> {
        let refuse = |key, problem| crate::refuse(NAME, key, problem);
        if self.root.as_os_str().is_empty() {
            return refuse("root", "is empty; the default is /sys/class/hwmon".to_owned());
        }
        if !(1..=MOST_WATTS).contains(&self.max_watts) {
            let watts = self.max_watts;
            return refuse(
                "max_watts",
                format!("is {watts}; from 1 to {MOST_WATTS} are allowed"),
            );
        }
        self.read_every
            .within([Duration::ZERO, LONGEST], NAME, "read_every")
    }

    /// The configured time between two readings; `None` leaves it to the meter.
    pub(super) fn pace(&self) -> Option<Duration> {
        Some(self.read_every.0).filter(|wait| !wait.is_zero())
    }
}
