// SPDX-License-Identifier: Apache-2.0
//! Durations in a section of the configuration: owns how people write them, and what is said when one is out of its range.

use crate::SourceOpenError;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::time::Duration;

/// A duration as people write it: `10s`, `1m 30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lasting(pub Duration);

impl Lasting {
    /// From whole seconds.
    pub(crate) const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Refuses what is not in `range`, both ends of which are allowed, of the key `key` in the section of `source`.
    pub(crate) fn within(
        self,
        [least, most]: [Duration; 2],
        source: &'static str,
        key: &'static str,
    ) -> Result<(), SourceOpenError> {
        if (least..=most).contains(&self.0) {
            return Ok(());
        }
        let [found, least, most] = [self.0, least, most].map(humantime::format_duration);
        crate::refuse(source, key, format!("is {found}; allowed are {least} to {most}"))
    }
}

impl Serialize for Lasting {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_duration(self.0))
    }
}

impl<'de> Deserialize<'de> for Lasting {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        const ALLOWED: &str = "not a duration, expected one such as \"10s\"";
        let text = String::deserialize(from).map_err(|_other_type| D::Error::custom(ALLOWED))?;
        humantime::parse_duration(&text)
            .map(Self)
            .map_err(|_not_one| D::Error::custom(ALLOWED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_duration_is_text_that_says_its_unit() {
        for (text, seconds) in [("10s", 10), ("1m 30s", 90), ("2h", 7_200)] {
            let read: Lasting = serde_json::from_value(json!(text)).unwrap();
            assert_eq!(read, Lasting::seconds(seconds));
            let written = serde_json::to_value(read).unwrap();
            assert_eq!(serde_json::from_value::<Lasting>(written).unwrap(), read);
        }
        for wrong in [json!("10"), json!(10), json!(""), json!("soon"), json!(null)] {
            let error = serde_json::from_value::<Lasting>(wrong).unwrap_err();
            assert!(error.to_string().contains("\"10s\""), "{error}");
        }
    }

    #[test]
    fn a_range_includes_its_ends_and_is_told() {
        let range = [1, 300].map(Duration::from_secs);
        for inside in [1, 300] {
            assert!(Lasting::seconds(inside).within(range, "ipmi", "interval").is_ok());
        }
        for outside in [0, 301] {
            let error = Lasting::seconds(outside)
                .within(range, "ipmi", "interval")
                .unwrap_err();
            let words = error.to_string();
            assert!(
                words.contains("`sources.ipmi.interval`") && words.contains("1s to 5m"),
                "{words}"
            );
        }
    }
}
