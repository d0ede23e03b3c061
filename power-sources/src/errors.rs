// SPDX-License-Identifier: Apache-2.0
//! What went wrong since a source was opened: owns the counts and the latest words, says each kind aloud once, and
//! decides nothing.

use attribution::model::{ErrorReason, SourceError, SourceId, Zone};
use std::sync::Arc;

/// Errors by zone and reason. Bounded by itself: a source has a fixed list of zones, and there are seven
/// reasons.
#[derive(Debug, Default)]
pub struct ErrorLedger {
    rows: Vec<SourceError>,
}

impl ErrorLedger {
    /// Counts one error and writes it to the log: the first of its kind as a warning, its repetitions for whoever debugs.
    pub fn note(&mut self, source: SourceId, zone: Option<&Zone>, reason: ErrorReason, words: &str) {
        let place = zone.map_or_else(String::new, Zone::to_string);
        let (source, reason_name) = (source.0, reason.name());
        if self.count(zone, reason, words) {
            tracing::warn!(
                source,
                zone = place,
                reason = reason_name,
                detail = words,
                "reading failed"
            );
        } else {
            tracing::debug!(
                source,
                zone = place,
                reason = reason_name,
                detail = words,
                "reading failed"
            );
        }
    }

    /// Counts one error and keeps its words as the latest. Says whether it was the first of its kind, which
    /// is the one that is worth a line in the log.
    pub fn count(&mut self, zone: Option<&Zone>, reason: ErrorReason, words: &str) -> bool {
        let latest = Arc::from(words);
        let known = self
            .rows
            .iter_mut()
            .find(|row| row.reason == reason && row.zone.as_ref() == zone);
        if let Some(row) = known {
            row.count = row.count.saturating_add(1);
            row.latest = latest;
            return false;
        }
        self.rows.push(SourceError {
            zone: zone.cloned(),
            reason,
            count: 1,
            latest,
        });
        true
    }

    /// Every reason that ever happened.
    #[must_use]
    pub fn rows(&self) -> Vec<SourceError> {
        self.rows.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use attribution::model::{Component, PackageId, Place};

    #[test]
    fn errors_are_counted_by_zone_and_reason_and_keep_the_latest_words() {
        let zone = Zone {
            component: Component::Dram,
            place: Place::socket(PackageId(0)),
        };
        let mut ledger = ErrorLedger::default();
        assert!(ledger.count(Some(&zone), ErrorReason::Io, "one"));
        assert!(!ledger.count(Some(&zone), ErrorReason::Io, "two"));
        assert!(ledger.count(None, ErrorReason::Io, "three"));
        assert!(ledger.count(Some(&zone), ErrorReason::Parse, "four"));
        let rows: Vec<_> = ledger
            .rows()
            .into_iter()
            .map(|row| (row.zone.is_some(), row.reason, row.count, row.latest.to_string()))
            .collect();
        assert_eq!(
            rows,
            [
                (true, ErrorReason::Io, 2, "two".to_owned()),
                (false, ErrorReason::Io, 1, "three".to_owned()),
                (true, ErrorReason::Parse, 1, "four".to_owned()),
            ]
        );
    }
}
