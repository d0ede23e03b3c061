// SPDX-License-Identifier: Apache-2.0
//! From one value of a BMC's to watts or joules: owns what counts as a reading, and refuses everything else.
//!
//! A reading is a JSON number, or a text that is nothing but a plain decimal ("344", "344.5"): some BMCs write their numbers
//! so, and it can mean nothing else. `null` (a sensor that is not ready), "N/A", a unit, a sign or an exponent in a text is
//! none. Pure.

use attribution::model::{ErrorReason, Microjoules, Microwatts};
use serde_json::Value;

/// Longest piece of a BMC's that is repeated in a message.
const SHOWN: usize = 40;

/// Why a value is no reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// For the metric.
    pub(super) reason: ErrorReason,
    /// For people.
    pub(super) words: String,
}

impl Fault {
    pub(super) fn new(reason: ErrorReason, words: impl Into<String>) -> Self {
        Self {
            reason,
            words: words.into(),
        }
    }
}

/// Energy units of Redfish (DSP0268, `EnvironmentMetrics`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EnergyUnit {
    Joules,
    KilowattHours,
}

impl EnergyUnit {
    /// Microjoules in one.
    const fn microjoules(self) -> f64 {
        match self {
            Self::Joules => 1e6,
            Self::KilowattHours => 3.6e12,
        }
    }

    /// Decimals that a figure must show for its counter to be used for windows of seconds: steps of 1 J, and of 0.00001 kWh
    /// (36 J: 1 % of ten seconds at 360 W). A counter in steps of 0.1 kWh moves every twenty minutes at 300 W.
    const fn decimals(self) -> usize {
        match self {
            Self::Joules => 0,
            Self::KilowattHours => 5,
        }
    }
}

/// Power, at most `most`. Zero is a reading here; whether it can be one is decided about the sum.
pub(super) fn power(value: Option<&Value>, most: Microwatts) -> Result<Microwatts, Fault> {
    let microwatts = micro(value, 1e6, "W")?;
    if microwatts > most.as_micro() {
        return Err(implausible(
            value,
            &format!("W; max_watts is {}", most.as_micro() / 1_000_000),
        ));
    }
    Ok(Microwatts::from_micro(microwatts))
}

/// An energy counter's figure.
pub(super) fn energy(value: Option<&Value>, unit: EnergyUnit) -> Result<Microjoules, Fault> {
    micro(value, unit.microjoules(), "of energy").map(Microjoules::from_micro)
}

/// Whether a counter's figure shows steps that are small enough.
pub(super) fn is_fine(value: &Value, unit: EnergyUnit) -> bool {
    number(value).is_some_and(|number| {
        // The shortest text that means this number: a counter that happens to end in zeros looks coarser than it is, and
        // is then left for power until it is looked at again.
        let text = number.to_string();
        let decimals = text.split_once('.').map_or(0, |(_, decimals)| decimals.len());
        decimals >= unit.decimals()
    })
}

/// The value in millionths of `unit`.
fn micro(value: Option<&Value>, in_one: f64, unit: &str) -> Result<u64, Fault> {
    let value = value.ok_or_else(|| Fault::new(ErrorReason::Parse, "is missing"))?;
    let Some(number) = number(value) else {
        let words = format!("is {}, expected a number", shown(value));
        return Err(Fault::new(ErrorReason::Parse, words));
    };
    let scaled = (number * in_one).round();
    // 2^63 and not 2^64: exact in f64, and still 9 TJ.
    const END: f64 = 9_223_372_036_854_775_808.0;
    if !(0.0..END).contains(&scaled) {
        return Err(implausible(Some(value), unit));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole, and in the range of u64"
    )]
    let whole = scaled as u64;
    Ok(whole)
}

fn implausible(value: Option<&Value>, unit: &str) -> Fault {
    let found = value.map_or_else(String::new, shown);
    Fault::new(
        ErrorReason::Implausible,
        format!("is {found} {unit}, which no meter of a machine shows"),
    )
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => plain_decimal(text),
        _ => None,
    }
    .filter(|number| number.is_finite())
}

/// Digits, and a point with more digits if there is one.
fn plain_decimal(text: &str) -> Option<f64> {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let plain = match text.split_once('.') {
        Some((whole, decimals)) => digits(whole) && digits(decimals),
        None => digits(text),
    };
    if plain { text.parse().ok() } else { None }
}

/// A value for a message: short, and never the content of a text. A BMC that repeats what it was told would else have our
/// password in our log.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) => format!(
            "a text of {} letters that is no plain decimal",
            text.chars().count()
        ),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// Text of a BMC's, cut and with its control characters escaped.
pub(super) fn cut(text: &str) -> String {
    text.chars()
        .take(SHOWN)
        .collect::<String>()
        .escape_debug()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const MOST: Microwatts = Microwatts::from_watts(20_000);

    #[test]
    fn watts_are_numbers_or_plain_decimals_in_text() {
        for (value, microwatts) in [
            (json!(344), 344_000_000),
            (json!(344.0), 344_000_000),
            (json!(374.25), 374_250_000),
            (json!(0.000_001), 1),
            (json!(0), 0),
            (json!(3.44e2), 344_000_000),
            (json!("344"), 344_000_000),
            (json!("344.5"), 344_500_000),
            (json!(20_000), 20_000_000_000),
        ] {
            let read = power(Some(&value), MOST).map(Microwatts::as_micro);
            assert_eq!(read, Ok(microwatts), "{value}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_the_reason_that_fits() {
        use ErrorReason::{Implausible, Parse};
        for (value, reason) in [
            (json!(null), Parse),
            (json!("N/A"), Parse),
            (json!(""), Parse),
            (json!("344 W"), Parse),
            (json!(" 344"), Parse),
            (json!("-344"), Parse),
            (json!("3e2"), Parse),
            (json!("344."), Parse),
            (json!("inf"), Parse),
            (json!("NaN"), Parse),
            (json!([344]), Parse),
            (json!({ "Reading": 344 }), Parse),
            (json!(true), Parse),
            (json!(-1), Implausible),
            (json!(-0.5), Implausible),
            (json!(20_000.1), Implausible),
            (json!(65_535), Implausible),
            (json!(4_294_967.295), Implausible),
            (json!(4_294_967_295_u64), Implausible),
            (json!(1e300), Implausible),
        ] {
            let fault = power(Some(&value), MOST).expect_err("no reading");
            assert_eq!(fault.reason, reason, "{value}: {}", fault.words);
        }
        assert_eq!(power(None, MOST).expect_err("nothing").words, "is missing");
        let words = power(Some(&json!(4_294_967.295)), MOST)
            .expect_err("absurd")
            .words;
        assert!(
            words.contains("4294967.295 W") && words.contains("max_watts is 20000"),
            "{words}"
        );
    }

    #[test]
    fn energy_is_taken_in_joules_and_kilowatt_hours() {
        let read = |value, unit| energy(Some(&value), unit).map(Microjoules::as_micro);
        assert_eq!(read(json!(12.5), EnergyUnit::Joules), Ok(12_500_000));
        assert_eq!(read(json!(0.000_01), EnergyUnit::KilowattHours), Ok(36_000_000));
        assert_eq!(
            read(json!(325_675), EnergyUnit::KilowattHours),
            Ok(1_172_430_000_000_000_000)
        );
        assert!(read(json!(-1), EnergyUnit::Joules).is_err());
        assert!(read(json!(1e9), EnergyUnit::KilowattHours).is_err());
    }

    #[test]
    fn a_counter_is_fine_by_the_decimals_that_its_figure_shows() {
        for (value, unit, fine) in [
            (json!(325_675), EnergyUnit::KilowattHours, false),
            (json!(325_675.1), EnergyUnit::KilowattHours, false),
            (json!(325_675.123_4), EnergyUnit::KilowattHours, false),
            (json!(325_675.123_45), EnergyUnit::KilowattHours, true),
            (json!("325675.12345"), EnergyUnit::KilowattHours, true),
            (json!(325_675), EnergyUnit::Joules, true),
            (json!(null), EnergyUnit::Joules, false),
        ] {
            assert_eq!(is_fine(&value, unit), fine, "{value}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_become_power_beyond_the_limit(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(value) = serde_json::from_slice::<Value>(&bytes)
                && let Ok(power) = power(Some(&value), MOST)
            {
                prop_assert!(power <= MOST);
            }
        }

        #[test]
        fn every_number_in_range_is_read_to_the_microwatt(microwatts in 0_u64..20_000_000_000) {
            let whole = microwatts / 1_000_000;
            let text = format!("{whole}.{:06}", microwatts % 1_000_000);
            let number: Value = serde_json::from_str(&text).expect("a number");
            prop_assert_eq!(power(Some(&number), MOST).map(Microwatts::as_micro), Ok(microwatts));
            prop_assert_eq!(power(Some(&json!(text)), MOST).map(Microwatts::as_micro), Ok(microwatts));
        }
    }
}
