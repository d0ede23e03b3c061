// SPDX-License-Identifier: Apache-2.0
//! What the feeding of guests says of itself: owns the counts and their lines of text. The thread that writes counts, a scrape
//! reads.

use super::plan::Kind;
use crate::text::metric::{Kind as MetricKind, Metric};
use crate::text::writer::{Decimal, Family, Labels, Sheet, Tally};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Why something was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The kernel refused a read or a write.
    Io,
    /// A counter's file held something that was never written there.
    Damaged,
    /// An id that is no name of a folder.
    Unnameable,
    /// More machines than there may be folders.
    Crowded,
    /// Another daemon writes there.
    Busy,
}

impl Reason {
    pub(super) const ALL: [Self; 5] = [
        Self::Io,
        Self::Damaged,
        Self::Unnameable,
        Self::Crowded,
        Self::Busy,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Io => "io",
            Self::Damaged => "damaged",
            Self::Unnameable => "unnameable",
            Self::Crowded => "crowded",
            Self::Busy => "busy",
        }
    }
}

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Health {
    on: AtomicBool,
    trees: AtomicU64,
    written: AtomicU64,
    errors: [AtomicU64; Reason::ALL.len()],
    refused: [AtomicBool; Kind::ALL.len()],
}

impl Health {
    /// From now on it is worth a line.
    pub(super) fn switch_on(&self) {
        self.on.store(true, Ordering::Relaxed);
    }

    /// Nobody is fed any more.
    pub(super) fn switch_off(&self) {
        self.on.store(false, Ordering::Relaxed);
    }

    pub(super) fn feeds(&self, trees: usize) {
        self.trees
            .store(u64::try_from(trees).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn wrote(&self) {
        self.written.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, reason: Reason) {
        for (of, count) in Reason::ALL.iter().zip(&self.errors) {
            if *of == reason {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Says which kinds are left out as estimates; `true` when that is news.
    pub(super) fn refuses(&self, kind: Kind, refused: bool) -> bool {
        Kind::ALL
            .iter()
            .zip(&self.refused)
            .any(|(of, was)| *of == kind && !was.swap(refused, Ordering::Relaxed) && refused)
    }

    /// The lines; none where nothing is fed.
    pub(crate) fn write(&self, sheet: &mut Sheet) {
        if !self.on.load(Ordering::Relaxed) {
            return;
        }
        let whole = |count: &AtomicU64| Decimal::whole(count.load(Ordering::Relaxed));
        let [trees, writes, errors, refused] = metrics();
        Family::new(sheet, &trees).sample(&Labels::none(), whole(&self.trees));
        Family::new(sheet, &writes).sample(&Labels::none(), whole(&self.written));
        let (mut by_reason, mut by_component) = (Tally::default(), Tally::default());
        for (reason, count) in Reason::ALL.iter().zip(&self.errors) {
            by_reason.add(Labels::none().with("reason", reason.name()), whole(count));
        }
        for (kind, is) in Kind::ALL.iter().zip(&self.refused) {
            let labels = Labels::none().with("component", kind.component().name());
            by_component.add(labels, Decimal::whole(u64::from(is.load(Ordering::Relaxed))));
        }
        by_reason.write(sheet, &errors);
        by_component.write(sheet, &refused);
    }
}

/// What is written, also for the reference.
pub(crate) fn metrics() -> [Metric; 4] {
    [
        Metric::new(
            MetricKind::Gauge,
            "kepler_vm_passthrough_trees",
            "Virtual machines whose folder was written after the last window.",
        ),
        Metric::new(
            MetricKind::Counter,
            "kepler_vm_passthrough_writes_total",
            "Counters of virtual machines that were written.",
        ),
        Metric::new(
            MetricKind::Counter,
            "kepler_vm_passthrough_errors_total",
            "What could not be written for virtual machines.",
        )
        .with(&["reason"]),
        Metric::new(
            MetricKind::Gauge,
            "kepler_vm_passthrough_refused",
            "Whether a component is left out of the folders, because it is estimated and vm_passthrough.estimates is off.",
        )
        .with(&["component"]),
    ]
}
