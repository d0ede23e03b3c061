// SPDX-License-Identifier: Apache-2.0
//! What the PMU `power` offers: owns the meaning of its files, and opens no event.
//!
//! The layout is that of Documentation/ABI/testing/sysfs-bus-event_source-devices-events and of Linux's
//! arch/x86/events/rapl.c: `events/energy-pkg` holds `event=0x02`, `events/energy-pkg.scale` the joules of one count as a
//! decimal number, `events/energy-pkg.unit` the word `Joules`; `cpumask` names one CPU of each package or die. The PMU
//! `power_core` beside it (AMD, one counter per core) is left alone: see `msr/model.rs` for the reason.

use crate::cpus;
use crate::files::{Fault, number_file, parse_number, small_file};
use attribution::model::{Component, ErrorReason};
use std::path::Path;

/// Events and what they meter. `gpu` is the second power plane, which a package's counter holds.
const EVENTS: &[(&str, Component)] = &[
    ("energy-pkg", Component::Package),
    ("energy-cores", Component::Core),
    ("energy-gpu", Component::Uncore),
    ("energy-ram", Component::Dram),
    ("energy-psys", Component::Platform),
];

/// What a PMU offers.
#[derive(Debug)]
pub(super) struct Pmu {
    /// For `perf_event_attr.type`.
    pub(super) kind: u32,
    /// CPUs that events may be opened on.
    pub(super) cpumask: Vec<u32>,
    /// The energy events, in the order of their components.
    pub(super) events: Vec<Found>,
    /// Files that are there and not understood.
    pub(super) faults: Vec<Fault>,
}

/// An event that a PMU has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Its file's name.
    pub(super) name: &'static str,
    /// What it meters.
    pub(super) component: Component,
    /// For `perf_event_attr.config`.
    pub(super) config: u64,
    /// What one count is worth.
    pub(super) scale: Scale,
}

/// Looks at the PMU below `root`.
pub(super) fn scan(root: &Path) -> Result<Pmu, Fault> {
    let kind_path = root.join("type");
    let kind = number_file(&kind_path)?;
    let kind = u32::try_from(kind).map_err(|_too_large| {
        Fault::parse(
            &kind_path,
            kind.to_string().as_bytes(),
            "a number of at most 32 bits",
        )
    })?;
    let cpumask = cpus::list_file(&root.join("cpumask"))?;
    let format_path = root.join("format/event");
    let format = small_file(&format_path)?;
    if format.strip_suffix(b"\n").unwrap_or(&format) != b"config:0-7" {
        return Err(Fault::parse(&format_path, &format, "config:0-7"));
    }
    let (mut events, mut faults) = (Vec::new(), Vec::new());
    for (name, component) in EVENTS {
        match event(&root.join("events"), name, *component) {
            Ok(found) => events.push(found),
            // Every model has some of them.
            Err(fault) if fault.reason == ErrorReason::Gone => {}
            Err(fault) => faults.push(fault),
        }
    }
    Ok(Pmu {
        kind,
        cpumask,
        events,
        faults,
    })
}

fn event(dir: &Path, name: &'static str, component: Component) -> Result<Found, Fault> {
    let read = |suffix: &str| {
        let path = dir.join(format!("{name}{suffix}"));
        small_file(&path).map(|bytes| (path, bytes))
    };
    let (path, bytes) = read("")?;
    let config =
        parse_event(&bytes).ok_or_else(|| Fault::parse(&path, &bytes, "event=0x01 to event=0xff"))?;
    let (path, bytes) = read(".unit")?;
    if bytes.strip_suffix(b"\n").unwrap_or(&bytes) != b"Joules" {
        return Err(Fault::parse(&path, &bytes, "Joules"));
    }
    let (path, bytes) = read(".scale")?;
    let scale = Scale::parse(&bytes).ok_or_else(|| Fault::parse(&path, &bytes, "joules such as 2.3e-10"))?;
    Ok(Found {
        name,
        component,
        config,
        scale,
    })
}

/// `event=0x02` and at most one newline; decimal digits do as well. Refuses further terms, because their bits are elsewhere,
/// and what does not fit the eight bits of the format.
pub(super) fn parse_event(bytes: &[u8]) -> Option<u64> {
    let term = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let value = term.strip_prefix(b"event=")?;
    let number = match value.strip_prefix(b"0x") {
        Some(digits) if !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit) => {
            u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?
        }
        Some(_) => return None,
        // A newline less was left of it.
        None if value.ends_with(b"\n") => return None,
        None => parse_number(value)?,
    };
    (number <= 0xff).then_some(number)
}

/// Microjoules of one count, as an exact fraction: 2^-32 J, which every kernel states, is 15625 / 2^26 µJ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scale {
    /// Never zero.
    numerator: u64,
    /// Never zero.
    denominator: u128,
}

impl Scale {
    /// A positive decimal number of joules, with or without a fraction and an exponent; at most one newline. `None` for
    /// everything else, and for what does not fit: more than 38 digits, or more than 18 TJ a count.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = str::from_utf8(bytes.strip_suffix(b"\n").unwrap_or(bytes)).ok()?;
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, signed(exponent)?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if whole.is_empty() || (fraction.is_empty() && mantissa.contains('.')) {
            return None;
        }
        let mut digits: u128 = 0;
        for byte in whole.bytes().chain(fraction.bytes()) {
            let digit = byte.is_ascii_digit().then(|| u128::from(byte - b'0'))?;
            digits = digits.checked_mul(10)?.checked_add(digit)?;
        }
        // Joules to microjoules is six places.
        let exponent = exponent
            .checked_add(6)?
            .checked_sub(i32::try_from(fraction.len()).ok()?)?;
        let power = 10_u128.checked_pow(exponent.unsigned_abs())?;
        let (numerator, denominator) = if exponent < 0 {
            let common = common_divisor(digits, power);
            (digits.checked_div(common)?, power.checked_div(common)?)
        } else {
            (digits.checked_mul(power)?, 1)
        };
        let numerator = u64::try_from(numerator).ok().filter(|numerator| *numerator > 0)?;
        Some(Self {
            numerator,
            denominator,
        })
    }

    /// Counts as microjoules, rounded down. Nothing gets lost over time: what is below a microjoule is in the count and
    /// comes with a later reading. What does not fit 64 bits is as high as it gets.
    pub(super) fn microjoules(self, count: u64) -> u64 {
        // Two factors of 64 bits.
        let micro = u128::from(count) * u128::from(self.numerator) / self.denominator;
        u64::try_from(micro).unwrap_or(u64::MAX)
    }

    /// Microjoules that a counter of 64 bits can hold, rounded down.
    pub(super) fn modulus(self) -> u64 {
        let micro = (u128::from(self.numerator) << 64) / self.denominator;
        u64::try_from(micro).unwrap_or(u64::MAX)
    }
}

/// For `crate::fuzz`: an event has eight bits, and more counts are never fewer microjoules.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz_event(bytes: &[u8]) {
    assert!(parse_event(bytes).is_none_or(|event| event <= 0xff));
    if let Some(scale) = Scale::parse(bytes) {
        let counts = [0, 1, 1 << 20, 1 << 32, u64::MAX];
        assert!(counts.map(|count| scale.microjoules(count)).is_sorted());
        assert!(scale.microjoules(u64::MAX) <= scale.modulus());
    }
}

/// Digits with at most one sign.
fn signed(text: &str) -> Option<i32> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

/// Euclid's. Never zero, because `other` is not.
fn common_divisor(mut one: u128, mut other: u128) -> u128 {
    while one != 0 {
        (one, other) = (other % one, one);
    }
    other
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What every kernel says.
    const KERNEL: &[u8] = b"2.3283064365386962890625e-10\n";

    #[test]
    fn event_strings_are_read_strictly() {
        let cases: [(&[u8], Option<u64>); 14] = [
            (b"event=0x02\n", Some(2)),
            (b"event=0xFf", Some(255)),
            (b"event=0x0", Some(0)),
            (b"event=17\n", Some(17)),
            (b"event=0x100", None),
            (b"event=256", None),
            (b"event=0x", None),
            (b"event=", None),
            (b"event=-1", None),
            (b"event=0x+1", None),
            (b"event=0x02,umask=0x01\n", None),
            (b"config=0x02\n", None),
            (b" event=0x02", None),
            (b"event=2\n\n", None),
        ];
        for (bytes, expected) in cases {
            assert_eq!(parse_event(bytes), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn scales_are_exact() {
        let fraction = |numerator, denominator| {
            Some(Scale {
                numerator,
                denominator,
            })
        };
        let cases: [(&[u8], Option<Scale>); 20] = [
            (KERNEL, fraction(15_625, 1 << 26)),
            (b"1e-9", fraction(1, 1_000)),
            (b"1e-6\n", fraction(1, 1)),
            (b"0.000061035156250\n", fraction(15_625, 256)),
            (b"1", fraction(1_000_000, 1)),
            (b"1.50E+1", fraction(15_000_000, 1)),
            (b"0", None),
            (b"0.0e5", None),
            (b"-1", None),
            (b"+1", None),
            (b"1.", None),
            (b".5", None),
            (b"1e", None),
            (b"1e-", None),
            (b"1e-99999999999", None),
            (b"1e300", None),
            (b"1e-60", None),
            (b"nan", None),
            (b"1.2.3", None),
            (b"1 ", None),
        ];
        for (bytes, expected) in cases {
            assert_eq!(Scale::parse(bytes), expected, "{}", bytes.escape_ascii());
        }
        let kernel = Scale::parse(KERNEL).unwrap();
        assert_eq!(kernel.microjoules(1 << 32), 1_000_000);
        assert_eq!(kernel.microjoules((1 << 32) - 1), 999_999);
        assert_eq!(kernel.modulus(), 1_000_000 << 32);
    }

    proptest! {
        #[test]
        fn no_fraction_of_a_microjoule_is_lost_however_often_is_read(
            steps in prop::collection::vec(0_u64..1 << 40, 1..50),
        ) {
            let scale = Scale::parse(KERNEL).unwrap();
            let (mut count, mut paid) = (0, 0);
            for step in steps {
                let before = scale.microjoules(count);
                count += step;
                paid += scale.microjoules(count) - before;
            }
            prop_assert_eq!(u128::from(paid), (u128::from(count) * 1_000_000) >> 32);
        }

        #[test]
        fn garbage_is_never_a_scale_nor_an_event(
            bytes in prop::collection::vec(any::<u8>(), 0..40),
            nearly in "(event=)?(0x)?[0-9a-fA-F.+-]{0,44}(e-?[0-9]{0,4})?\n?",
            count in any::<u64>(),
        ) {
            for bytes in [bytes.as_slice(), nearly.as_bytes()] {
                if let Some(event) = parse_event(bytes) {
                    prop_assert!(bytes.starts_with(b"event=") && event <= 0xff);
                }
                if let Some(scale) = Scale::parse(bytes) {
                    prop_assert!(bytes.iter().any(u8::is_ascii_digit));
                    prop_assert!(scale.microjoules(count) <= scale.modulus());
                    scale.microjoules(u64::MAX);
                }
            }
        }
    }
}
