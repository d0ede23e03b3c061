// SPDX-License-Identifier: Apache-2.0
//! Kubernetes' quantities (apimachinery `resource.Quantity`): `250m`, `0.5`, `64Mi`, `1e3`, `129e6`. Pure.
//!
//! A parser of our own because all that is wanted are two integers, rounded up as Kubernetes does. The crate for it brings
//! a decimal arithmetic along and wants one certain version of Kubernetes' types.

/// Longest text that is looked at; the longest that Kubernetes writes has some 25 bytes.
const LONGEST: usize = 64;

/// CPUs in thousandths; `None` for what is no quantity, is negative, or does not fit.
pub(crate) fn millicpus(text: &str) -> Option<u64> {
    scaled(text, 3)
}

/// Bytes; `None` as [`millicpus`].
pub(crate) fn bytes(text: &str) -> Option<u64> {
    scaled(text, 0)
}

/// The value times ten to the power of `places`, rounded up.
fn scaled(text: &str, places: i32) -> Option<u64> {
    let text = text.strip_prefix('+').unwrap_or(text);
    if text.len() > LONGEST {
        return None;
    }
    let end = text.find(|char: char| !char.is_ascii_digit() && char != '.');
    let (number, suffix) = text.split_at_checked(end.unwrap_or(text.len()))?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let digits = [whole, fraction].concat();
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return suffix_of(suffix).map(|_| 0);
    }
    let mantissa: u128 = digits.parse().ok()?;
    let (binary, decimal) = suffix_of(suffix)?;
    let decimal = decimal.checked_add(places)? - i32::try_from(fraction.len()).ok()?;
    let mantissa = mantissa.checked_mul(1_u128.checked_shl(binary)?)?;
    let power = 10_u128.checked_pow(decimal.unsigned_abs());
    let value = if decimal >= 0 {
        mantissa.checked_mul(power?)?
    } else {
        // What is smaller than one unit is one unit.
        power.map_or(1, |power| mantissa.div_ceil(power))
    };
    u64::try_from(value).ok()
}

/// Powers of two and of ten that a suffix stands for.
fn suffix_of(suffix: &str) -> Option<(u32, i32)> {
    Some(match suffix {
        "" => (0, 0),
        "n" => (0, -9),
        "u" => (0, -6),
        "m" => (0, -3),
        "k" => (0, 3),
        "M" => (0, 6),
        "G" => (0, 9),
        "T" => (0, 12),
        "P" => (0, 15),
        "E" => (0, 18),
        "Ki" => (10, 0),
        "Mi" => (20, 0),
        "Gi" => (30, 0),
        "Ti" => (40, 0),
        "Pi" => (50, 0),
        "Ei" => (60, 0),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            (0, exponent.parse().ok().filter(|it| (-30..=30).contains(it))?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        // text        thousandths of a CPU    bytes
        let cases = [
            ("250m", Some(250), Some(1)),
            ("1", Some(1_000), Some(1)),
            ("0.5", Some(500), Some(1)),
            (".5", Some(500), Some(1)),
            ("2.", Some(2_000), Some(2)),
            ("+1.50", Some(1_500), Some(2)),
            ("1e3m", None, None),
            ("1e3", Some(1_000_000), Some(1_000)),
            ("129E6", Some(129_000_000_000), Some(129_000_000)),
            ("5e-1", Some(500), Some(1)),
            ("1E", None, Some(1_000_000_000_000_000_000)),
            ("100u", Some(1), Some(1)),
            ("1n", Some(1), Some(1)),
            ("64Mi", Some(67_108_864_000), Some(67_108_864)),
            ("1G", Some(1_000_000_000_000), Some(1_000_000_000)),
            ("1.5Gi", Some(1_610_612_736_000), Some(1_610_612_736)),
            ("128974848", Some(128_974_848_000), Some(128_974_848)),
            ("128974848000m", Some(128_974_848_000), Some(128_974_848)),
            ("0", Some(0), Some(0)),
            ("0.000Gi", Some(0), Some(0)),
            (
                "00000000000000000000000000000000000000000000000001",
                Some(1_000),
                Some(1),
            ),
            ("15Ei", None, Some(15 << 60)),
            ("16Ei", None, None),
            ("-1", None, None),
            ("", None, None),
            (".", None, None),
            ("1.2.3", None, None),
            ("1 Gi", None, None),
            ("1K", None, None),
            ("1KB", None, None),
            ("Mi", None, None),
            ("1e", None, None),
            ("1e99", None, None),
            ("0x10", None, None),
            ("٣", None, None),
        ];
        for (text, cpus, memory) in cases {
            assert_eq!((millicpus(text), bytes(text)), (cpus, memory), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_a_number_or_none(text in "\\PC{0,40}|[0-9.]{1,20}[a-zA-Z]{0,2}[-+0-9]{0,4}") {
            if let (Some(milli), Some(bytes)) = (millicpus(&text), bytes(&text)) {
                prop_assert!(text.starts_with(|char: char| char.is_ascii_digit() || char == '.' || char == '+'));
                prop_assert!(bytes == milli.div_ceil(1_000), "{text} {milli} {bytes}");
            }
        }

        #[test]
        fn what_kubernetes_writes_comes_back(milli in 0..1_000_000_000_u64) {
            prop_assert_eq!(millicpus(&format!("{milli}m")), Some(milli));
            let decimal = format!("{}.{:03}", milli / 1_000, milli % 1_000);
            prop_assert_eq!(millicpus(&decimal), Some(milli));
            prop_assert_eq!(bytes(&format!("{milli}Ki")), Some(milli * 1_024));
        }
    }
}
