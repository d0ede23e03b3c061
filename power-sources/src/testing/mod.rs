// SPDX-License-Identifier: Apache-2.0
//! What the tests of several sources need. Not part of the crate that others see.

pub(crate) mod sysfs;

use crate::Ask;
use attribution::model::{Component, Energy, ErrorReason, MonotonicNanos, SourceError, ZoneReading};
use serde_json::Value;

/// An order for `wanted` with a clock that stands still.
pub(crate) fn ask<'a>(section: &'a Value, wanted: &'a [Component]) -> Ask<'a> {
    Ask {
        section,
        wanted,
        clock: || MonotonicNanos::ZERO,
    }
}

/// Readings as `(zone, microjoules)`, in the order in which they were told.
pub(crate) fn totals(energy: &Energy) -> Vec<(String, u64)> {
    let row = |reading: &ZoneReading| (reading.zone.to_string(), reading.total.as_micro());
    energy.zones.iter().map(row).collect()
}

/// Errors as `(zone or nothing, reason, count)`.
pub(crate) fn errors(energy: &Energy) -> Vec<(String, ErrorReason, u64)> {
    let zone = |row: &SourceError| row.zone.as_ref().map_or_else(String::new, ToString::to_string);
    energy
        .errors
        .iter()
        .map(|row| (zone(row), row.reason, row.count))
        .collect()
}

/// A moment after the start.
pub(crate) fn at(milliseconds: u64) -> MonotonicNanos {
    MonotonicNanos::from_nanos(milliseconds * 1_000_000)
}

/// Expected readings in the form of [`totals`], in joules.
pub(crate) fn joules<const N: usize>(expected: [(&str, u64); N]) -> Vec<(String, u64)> {
    expected
        .map(|(zone, joules)| (zone.to_owned(), joules * 1_000_000))
        .to_vec()
}
