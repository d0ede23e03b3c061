// SPDX-License-Identifier: Apache-2.0
//! `[exporter.page]`: what a kilowatt-hour costs here, in money and in carbon. Without it nothing is claimed: there is no
//! price and no intensity that would be right everywhere.

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Digits behind the point.
const FRACTION: usize = 6;

/// Largest amount: beyond any price of a kilowatt-hour, in any currency, and any carbon in it.
const LARGEST: u64 = 1_000_000;

/// What is allowed, in the words of the errors.
const EXPECTED: &str =
    "a number from 0 to 1000000 with at most 6 digits behind the point, such as 0.31, or \"\" for none";

/// `[exporter.page]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PageConfig {
    /// Price of a kilowatt-hour. Default: `""`, none.
    #[serde(serialize_with = "or_empty", deserialize_with = "or_none")]
    pub price_per_kwh: Option<Amount>,
    /// Currency of that price, as it is to be written: `EUR`, `kr`. Default: empty.
    #[serde(deserialize_with = "currency")]
    pub currency: String,
    /// Carbon-dioxide equivalent of a kilowatt-hour in grams. Default: `""`, none.
    #[serde(serialize_with = "or_empty", deserialize_with = "or_none")]
    pub grams_co2e_per_kwh: Option<Amount>,
}

/// A decimal number that is not negative, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount(u64);

impl Amount {
    fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || fraction.len() > FRACTION {
            return None;
        }
        let whole: u64 = whole.parse().ok().filter(|whole| *whole <= LARGEST)?;
        let fraction: u64 = format!("{fraction:0<FRACTION$}").parse().ok()?;
        let amount = whole.checked_mul(1_000_000)?.checked_add(fraction)?;
        (amount <= LARGEST.checked_mul(1_000_000)?).then_some(Self(amount))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let number: f64 = self.to_string().parse().map_err(serde::ser::Error::custom)?;
        serializer.serialize_f64(number)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Amount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Amount, E> {
                // Written out it has the digits that were read, and never an exponent.
                Amount::parse(&number.to_string())
                    .ok_or_else(|| E::invalid_value(Unexpected::Float(number), &self))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Amount, E> {
                Amount::parse(&number.to_string())
                    .ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Amount, E> {
                Amount::parse(&number.to_string())
                    .ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Amount, E> {
                Amount::parse(text.trim()).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Number)
    }
}

/// As elsewhere in the configuration, what is not set is an empty text: TOML has no null.
fn or_empty<S: Serializer>(amount: &Option<Amount>, serializer: S) -> Result<S::Ok, S::Error> {
    match amount {
        Some(amount) => amount.serialize(serializer),
        None => serializer.serialize_str(""),
    }
}

fn or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Amount>, D::Error> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Given(serde_json::Value);
    let Given(value) = Given::deserialize(deserializer)?;
    if value.as_str().is_some_and(str::is_empty) {
        return Ok(None);
    }
    Amount::deserialize(value).map(Some).map_err(D::Error::custom)
}

fn currency<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let currency = String::deserialize(deserializer)?;
    let allowed = |character: char| !character.is_control() && !character.is_ascii_digit();
    if currency.chars().count() > 8 || !currency.chars().all(allowed) {
        return Err(D::Error::invalid_value(
            Unexpected::Str(&currency),
            &"at most 8 characters without digits, such as EUR",
        ));
    }
    Ok(currency)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(toml: &str) -> Result<PageConfig, String> {
        let section: serde_json::Value = toml::from_str(toml).unwrap();
        serde_json::from_value(section).map_err(|error| error.to_string())
    }

    #[test]
    fn a_price_is_a_number_or_a_text_and_is_written_back_the_same() {
        for (toml, text) in [
            ("price_per_kwh = 0.31", "0.31"),
            ("price_per_kwh = 12", "12"),
            ("price_per_kwh = '0.000001'", "0.000001"),
            ("price_per_kwh = 1000000", "1000000"),
        ] {
            let config = read(toml).unwrap();
            assert_eq!(config.price_per_kwh.unwrap().to_string(), text);
            let again: PageConfig = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
            assert_eq!(again, config);
        }
    }

    #[test]
    fn without_configuration_nothing_is_claimed() {
        let config = read("").unwrap();
        assert_eq!(config, PageConfig::default());
        assert_eq!(serde_json::to_value(&config).unwrap()["price_per_kwh"], "");
        assert_eq!(read("price_per_kwh = ''").unwrap(), config);
    }

    #[test]
    fn what_cannot_be_a_price_is_refused_with_an_example() {
        for toml in [
            "price_per_kwh = -0.1",
            "price_per_kwh = 1e9",
            "price_per_kwh = 1000000.1",
            "price_per_kwh = 0.1234567",
            "price_per_kwh = ' '",
            "price_per_kwh = '.5'",
            "price_per_kwh = '1,5'",
            "grams_co2e_per_kwh = -1",
            "grams_co2e_per_kwh = true",
        ] {
            let error = read(toml).unwrap_err();
            assert!(error.contains("such as 0.31"), "{toml}: {error}");
        }
        assert!(read("currency = 'EUR 100'").unwrap_err().contains("such as EUR"));
        assert!(
            read("currency = 'Kilodollars'")
                .unwrap_err()
                .contains("at most 8")
        );
        assert!(read("prize = 1").unwrap_err().contains("unknown field"));
    }
}
