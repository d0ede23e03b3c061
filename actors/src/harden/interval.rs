// SPDX-License-Identifier: Apache-2.0
//! `security.min_export_interval` as people write it. Owns its range; what it does is `pace`'s.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::time::Duration;

/// Beyond the longest tick nobody would see that the daemon lives, and `rate()` over five minutes would have too few points.
const LONGEST: Duration = Duration::from_secs(60);

/// No time, or up to 60 s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportInterval(pub Duration);

impl Serialize for ExportInterval {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_duration(self.0))
    }
}

impl<'de> Deserialize<'de> for ExportInterval {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        const ALLOWED: &str = "not an interval, expected a duration from 0s (off) to 60s, such as \"10s\"";
        let text = String::deserialize(from).map_err(|_other_type| D::Error::custom(ALLOWED))?;
        match humantime::parse_duration(&text) {
            Ok(interval) if interval <= LONGEST => Ok(Self(interval)),
            _ => Err(D::Error::custom(ALLOWED)),
        }
    }
}
