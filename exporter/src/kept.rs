// SPDX-License-Identifier: Apache-2.0
//! How what the daemon keeps from run to run fares: who reads and writes it counts here, and every scrape tells it.

use crate::page::RenderSettings;
use crate::text::metric::{Kind, Metric};
use crate::text::writer::{Decimal, Family, Labels, Sheet, Tally};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What was wrong with the state directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptError {
    /// What is there cannot be read.
    Read,
    /// It is not what a daemon writes.
    Broken,
    /// A later version wrote it.
    Newer,
    /// Another machine's.
    Foreign,
    /// Nothing tells this machine from others.
    Unidentified,
    /// It cannot be written.
    Write,
}

impl KeptError {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Read, "read"),
        (Self::Broken, "broken"),
        (Self::Newer, "newer"),
        (Self::Foreign, "foreign"),
        (Self::Unidentified, "unidentified"),
        (Self::Write, "write"),
    ];
}

/// See the module's head. Nothing is told where nothing is kept.
#[derive(Debug, Default)]
pub struct Kept {
    is_used: AtomicBool,
    up: AtomicBool,
    errors: [AtomicU64; KeptError::ALL.len()],
    /// Unix time of the newest save in milliseconds; 0 while there was none.
    saved: AtomicU64,
}

impl Kept {
    /// What is learned can be kept, as far as can be seen.
    pub fn begins(&self) {
        self.is_used.store(true, Ordering::Relaxed);
        self.up.store(true, Ordering::Relaxed);
    }

    /// Nothing is kept from here on.
    pub fn ends(&self) {
        self.is_used.store(false, Ordering::Relaxed);
    }

    /// It was saved, at this Unix time.
    pub fn saved(&self, unix: Duration) {
        let millis = u64::try_from(unix.as_millis()).unwrap_or(u64::MAX);
        self.saved.store(millis.max(1), Ordering::Relaxed);
        self.begins();
    }

    /// Something is wrong with it; `keeps` says whether what is learned can be saved all the same.
    pub fn failed(&self, error: KeptError, keeps: bool) {
        for ((of, _), count) in KeptError::ALL.iter().zip(&self.errors) {
            if *of == error {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.is_used.store(true, Ordering::Relaxed);
        self.up.store(keeps, Ordering::Relaxed);
    }

    pub(crate) fn write(&self, sheet: &mut Sheet) {
        if !self.is_used.load(Ordering::Relaxed) {
            return;
        }
        let [up, errors, saved] = metrics();
        let is_up = u64::from(self.up.load(Ordering::Relaxed));
        Family::new(sheet, &up).sample(&Labels::none(), Decimal::whole(is_up));
        let mut by_reason = Tally::default();
        for ((_, reason), count) in KeptError::ALL.iter().zip(&self.errors) {
            let count = Decimal::whole(count.load(Ordering::Relaxed));
            by_reason.add(Labels::none().with("reason", reason), count);
        }
        by_reason.write(sheet, &errors);
        let at = self.saved.load(Ordering::Relaxed);
        if at > 0 {
            Family::new(sheet, &saved).sample(&Labels::none(), Decimal::milli(at));
        }
    }
}

impl RenderSettings {
    /// Where is written down how what is kept from run to run fares.
    #[must_use]
    pub fn kept(&self) -> Arc<Kept> {
        Arc::clone(self.observer.kept())
    }
}

/// What is written, also for the reference.
pub(crate) fn metrics() -> [Metric; 3] {
    [
        Metric::new(
            Kind::Gauge,
            "kepler_state_up",
            "Whether what is learned is kept for the next run.",
        ),
        Metric::new(
            Kind::Counter,
            "kepler_state_errors_total",
            "What was wrong with the state directory.",
        )
        .with(&["reason"]),
        Metric::new(
            Kind::Gauge,
            "kepler_state_last_save_timestamp_seconds",
            "When what was learned was saved the last time (Unix time).",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::writer::Format;

    fn lines(kept: &Kept) -> String {
        let mut sheet = Sheet::new(Format::Text, None);
        kept.write(&mut sheet);
        String::from_utf8(sheet.into_pieces().concat()).unwrap()
    }

    #[test]
    fn each_trouble_is_counted_by_its_reason_and_a_save_ends_it() {
        let kept = Kept::default();
        assert_eq!(lines(&kept), "");
        kept.failed(KeptError::Broken, true);
        let text = lines(&kept);
        assert!(text.contains("kepler_state_up 1\n"), "{text}");
        assert!(
            text.contains("kepler_state_errors_total{reason=\"broken\"} 1\n"),
            "{text}"
        );
        assert!(!text.contains("last_save"), "{text}");
        kept.failed(KeptError::Write, false);
        assert!(lines(&kept).contains("kepler_state_up 0\n"));
        kept.ends();
        assert_eq!(lines(&kept), "");
        kept.saved(Duration::from_millis(1_700_000_000_250));
        let text = lines(&kept);
        assert!(text.contains("kepler_state_up 1\n"), "{text}");
        assert!(
            text.contains("kepler_state_errors_total{reason=\"write\"} 1\n"),
            "{text}"
        );
        assert!(
            text.contains("kepler_state_last_save_timestamp_seconds 1700000000.25\n"),
            "{text}"
        );
    }
}
