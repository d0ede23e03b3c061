// SPDX-License-Identifier: Apache-2.0
//! Durations as people write them: `3m`, `1h30m`, `500ms`. No fractions, no bare numbers: a number without a unit is
//! the mistake this type exists to catch.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A duration written with units (`ms`, `s`, `m`, `h`), the largest first where there are several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumaneDuration(pub Duration);

/// Milliseconds in each unit, the largest first.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// What is allowed, in the words of the errors.
const EXPECTED: &str = "a duration such as \"3m\", \"90s\" or \"1h30m\" (units h, m, s, ms)";

/// A text that is no duration.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not {EXPECTED}")]
pub struct NotADuration(String);

impl From<HumaneDuration> for Duration {
    fn from(duration: HumaneDuration) -> Self {
        duration.0
    }
}

impl FromStr for HumaneDuration {
    type Err = NotADuration;

    fn from_str(text: &str) -> Result<Self, NotADuration> {
        parse_millis(text.trim())
            .map(|millis| Self(Duration::from_millis(millis)))
            .ok_or_else(|| NotADuration(text.to_owned()))
    }
}

/// The milliseconds in `text`, or `None` where a number, a unit or their order is wrong.
fn parse_millis(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut millis = 0_u64;
    loop {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit_end)?;
        // The iterator only moves on, so a unit that comes twice or after a smaller one is not found.
        let (_, factor) = units.find(|(name, _)| *name == unit)?;
        millis = millis.checked_add(number.parse::<u64>().ok()?.checked_mul(*factor)?)?;
        if tail.is_empty() {
            return Some(millis);
        }
        rest = tail;
    }
}

impl fmt::Display for HumaneDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, factor) in UNITS {
            if rest >= factor {
                write!(f, "{}{unit}", rest / factor)?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

impl Serialize for HumaneDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumaneDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = HumaneDuration;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<HumaneDuration, E> {
                text.parse()
                    .map_err(|_unit_error: NotADuration| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_read_and_written_back_in_the_same_words() {
        for (text, millis) in [
            ("3m", 180_000),
            ("1h30m", 5_400_000),
            ("500ms", 500),
            ("0s", 0),
            ("1m1ms", 60_001),
        ] {
            let duration: HumaneDuration = text.parse().unwrap();
            assert_eq!(duration.0, Duration::from_millis(millis), "{text}");
            assert_eq!(duration.to_string(), text);
        }
        assert_eq!("90s".parse::<HumaneDuration>().unwrap().to_string(), "1m30s");
    }

    #[test]
    fn a_number_without_a_unit_a_fraction_and_a_wrong_order_are_refused_with_an_example() {
        for text in [
            "",
            "3",
            "1.5h",
            "-1s",
            "3 m",
            "m",
            "30m1h",
            "1s1s",
            "3min",
            "99999999999999999999h",
            "1h3",
        ] {
            let error = text.parse::<HumaneDuration>().unwrap_err().to_string();
            assert!(error.contains("\"3m\""), "{text}: {error}");
        }
    }
}
