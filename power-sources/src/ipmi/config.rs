// SPDX-License-Identifier: Apache-2.0
//! The section `sources.ipmi`: owns its keys, defaults and ranges.

use super::NAME;
use crate::SourceOpenError;
use crate::lasting::Lasting;
use attribution::model::Microwatts;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// Section `sources.ipmi`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IpmiConfig {
    /// The device of the kernel's driver `ipmi_devintf`.
    pub device: PathBuf,
    /// Wait between two readings, from 1 s to 5 min. The sensors behind a management controller move about once a
    /// second, and one question keeps its slow line busy for up to 100 ms.
    pub interval: Lasting,
    /// Highest plausible power of the machine in watts, from 1 to 65534; what is above is refused.
    pub max_watts: u32,
}

impl Default for IpmiConfig {
    fn default() -> Self {
        Self {
            device: PathBuf::from("/dev/ipmi0"),
            interval: Lasting::seconds(5),
            // The largest machines with eight GPUs have power supplies of this order.
            max_watts: 20_000,
        }
    }
}

impl IpmiConfig {
    const SHORTEST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(300);
    /// One less than the value that means "none".
    const MOST_WATTS: u32 = 0xfffe;

    /// The highest plausible power.
    pub(super) fn most(&self) -> Microwatts {
        Microwatts::from_watts(u64::from(self.max_watts))
    }

    /// The longest gap that is billed as a straight line between its ends: the longest wait after failures a few times
    /// over, so that a controller which restarts (one to three minutes) costs nothing.
    pub(super) fn longest_gap(&self) -> Duration {
        self.interval.0.saturating_mul(4).max(Duration::from_secs(300))
    }

    /// Checks what types cannot.
    pub(super) fn check(&self) -> Result<(), SourceOpenError> {
        let refuse = |key, problem| crate::refuse(NAME, key, problem);
        if self.device.as_os_str().is_empty() {
            return refuse("device", "is empty; the default is /dev/ipmi0".to_owned());
        }
        self.interval
            .within([Self::SHORTEST, Self::LONGEST], NAME, "interval")?;
        if !(1..=Self::MOST_WATTS).contains(&self.max_watts) {
            let found = self.max_watts;
            return refuse(
                "max_watts",
                format!("is {found}; allowed is 1 to {}", Self::MOST_WATTS),
            );
        }
        Ok(())
    }
}
