// SPDX-License-Identifier: Apache-2.0
//! The section `sources.ipmi`: owns its keys, defaults and ranges.

use super::NAME;
use crate::SourceOpenError;
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
    #[serde(with = "humane")]
    pub interval: Duration,
    /// Highest plausible power of the machine in watts, from 1 to 65534; what is above is refused.
    pub max_watts: u32,
}

impl Default for IpmiConfig {
    fn default() -> Self {
        Self {
            device: PathBuf::from("/dev/ipmi0"),
            interval: Duration::from_secs(5),
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
        self.interval.saturating_mul(4).max(Duration::from_secs(300))
    }

    /// Checks what types cannot.
    pub(super) fn check(&self) -> Result<(), SourceOpenError> {
        let refuse = |key, problem| {
            Err(SourceOpenError::Value {
                name: NAME,
                key,
                problem,
            })
        };
        if self.device.as_os_str().is_empty() {
            return refuse("device", "is empty; the default is /dev/ipmi0".to_owned());
        }
        if !(Self::SHORTEST..=Self::LONGEST).contains(&self.interval) {
            let found = humantime::format_duration(self.interval);
            return refuse("interval", format!("is {found}; allowed is 1s to 5m"));
        }
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

/// Durations as people write them.
mod humane {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};
    use std::time::Duration;

    pub(super) fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_duration(*duration))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        humantime::parse_duration(&text)
            .map_err(|error| D::Error::custom(format!("{text:?} is no duration such as \"5s\": {error}")))
    }
}
