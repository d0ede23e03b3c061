// SPDX-License-Identifier: Apache-2.0
//! Counts and times as real numbers: owns the few conversions that arithmetic on curves needs, each exact to a double's
//! precision and none of them lossy in silence.

use attribution::model::Microwatts;
use std::time::Duration;

/// A count.
pub(super) fn count(number: usize) -> f64 {
    whole(u64::try_from(number).unwrap_or(u64::MAX))
}

/// A whole number, rounded to a double.
pub(super) fn whole(number: u64) -> f64 {
    let half = |bits: u64| f64::from(u32::try_from(bits & 0xffff_ffff).unwrap_or(u32::MAX));
    half(number >> 32) * 4_294_967_296.0 + half(number)
}

/// `part` of `all`; 0 of nothing.
pub(super) fn share(part: Duration, all: Duration) -> f64 {
    if all.is_zero() {
        return 0.0;
    }
    part.as_secs_f64() / all.as_secs_f64()
}

/// Watts in microwatts; nothing for what is no power.
pub(super) fn microwatts(watts: f64) -> Microwatts {
    // A duration of so many seconds has as many microseconds as so many watts have microwatts, and takes no NaN and
    // nothing negative.
    let micro = Duration::try_from_secs_f64(watts).map_or(0, |time| time.as_micros());
    Microwatts::from_micro(u64::try_from(micro).unwrap_or(u64::MAX))
}

/// The value below which `part` of the weight lies; `values` are pairs of value and weight. `None` of nothing.
pub(super) fn quantile(mut values: Vec<(f64, f64)>, part: f64) -> Option<f64> {
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let all: f64 = values.iter().map(|(_, weight)| weight).sum();
    let mut below = 0.0;
    let reached = |(value, weight): &(f64, f64)| {
        below += weight;
        (below >= part * all).then_some(*value)
    };
    values
        .iter()
        .find_map(reached)
        .or_else(|| values.last().map(|last| last.0))
}

/// As [`quantile`], of values that weigh the same, with a line between neighbours.
pub(super) fn percentile(values: &mut [f64], part: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let place = part * count(values.len().saturating_sub(1));
    let mut below = None;
    for (index, value) in values.iter().enumerate() {
        let distance = count(index) - place;
        match below {
            _ if distance < 0.0 => below = Some(*value),
            // Both neighbours are less than one place away.
            Some(below) => return Some(value - (value - below) * distance.clamp(0.0, 1.0)),
            None => return Some(*value),
        }
    }
    below
}

/// The middle one.
pub(super) fn median(values: &mut [f64]) -> Option<f64> {
    percentile(values, 0.5)
}
