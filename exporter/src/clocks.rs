// SPDX-License-Identifier: Apache-2.0
//! What happened to the machine's clocks since the daemon began: the wall clock was set, the machine slept. Told at every scrape, so
//! that whoever sees strange moments in logs, or a window with much energy, sees why.
//!
//! Pure but for the clocks' reader, which is an argument.

use crate::page::RenderSettings;
use crate::text::metric::{Kind, Metric};
use crate::text::writer::{Decimal, Family, Labels, Sheet, Tally};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// One look at three clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clocks {
    /// `CLOCK_REALTIME`, which somebody may set.
    pub unix: Duration,
    /// `CLOCK_BOOTTIME`: time since boot, and time asleep is in it. Looked at before the next one: a pause between the two looks
    /// must not pass for sleep.
    pub boot: Duration,
    /// `CLOCK_MONOTONIC`: time since boot, and time asleep is not in it.
    pub monotonic: Duration,
}

impl Clocks {
    /// How long the machine has slept since boot.
    #[must_use]
    pub fn slept(&self) -> Duration {
        self.boot.saturating_sub(self.monotonic)
    }

    /// A look by `read` of which nothing is missing. Whoever is stopped between two clocks sees too little sleep, never too much; of three
    /// looks, one is good.
    #[must_use]
    pub fn steady(read: fn() -> Self) -> Self {
        let looks = [read(), read(), read()];
        looks.into_iter().max_by_key(Self::slept).unwrap_or_default()
    }
}

/// Looks at the clocks, and at how they were at first. Tells nothing where it has no reader.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    began: OnceLock<(fn() -> Clocks, Clocks)>,
    /// The most that was told, in hundredths of a second: a counter never falls.
    slept: AtomicU64,
}

impl Watched {
    /// Looks at `read` from now on.
    fn begin(&self, read: fn() -> Clocks) {
        // The clocks of a reload are the same ones.
        self.began.get_or_init(|| (read, Clocks::steady(read)));
    }

    pub(crate) fn write(&self, sheet: &mut Sheet) {
        let Some((read, began)) = self.began.get() else {
            return;
        };
        let now = read();
        let [shift, suspended] = metrics();
        let passed = now.boot.saturating_sub(began.boot);
        let foretold = began.unix.saturating_add(passed);
        let mut both = Tally::default();
        for (direction, by) in [
            ("back", foretold.saturating_sub(now.unix)),
            ("forward", now.unix.saturating_sub(foretold)),
        ] {
            both.add(
                Labels::none().with("direction", direction),
                Decimal::centi(hundredths(by)),
            );
        }
        both.write(sheet, &shift);
        let slept = hundredths(now.slept().saturating_sub(began.slept()));
        let slept = self.slept.fetch_max(slept, Ordering::Relaxed).max(slept);
        Family::new(sheet, &suspended).sample(&Labels::none(), Decimal::centi(slept));
    }
}

fn hundredths(time: Duration) -> u64 {
    u64::try_from(time.as_millis() / 10).unwrap_or(u64::MAX)
}

impl RenderSettings {
    /// From now on each scrape tells what happened to the clocks that `read` looks at.
    #[must_use]
    pub fn with_clocks(self, read: fn() -> Clocks) -> Self {
        self.observer.clocks().begin(read);
        self
    }
}

/// What is written, also for the reference.
pub(crate) fn metrics() -> [Metric; 2] {
    [
        Metric::new(
            Kind::Gauge,
            "kepler_clock_shift_seconds",
            "How far the wall clock is from where it would be if nobody had set it since the start; no figure is by this clock.",
        )
        .with(&["direction"]),
        Metric::new(
            Kind::Counter,
            "kepler_suspended_seconds_total",
            "Time that the machine slept since the start; windows do not count it.",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::writer::Format;
    use std::cell::Cell;

    thread_local! {
        static NOW: Cell<Clocks> = const { Cell::new(clocks(0, 0, 0)) };
    }

    const fn clocks(unix: u64, boot: u64, monotonic: u64) -> Clocks {
        Clocks {
            unix: Duration::from_millis(unix),
            boot: Duration::from_millis(boot),
            monotonic: Duration::from_millis(monotonic),
        }
    }

    fn lines(watched: &Watched, now: Clocks) -> Vec<String> {
        NOW.set(now);
        let mut sheet = Sheet::new(Format::Text, None);
        watched.write(&mut sheet);
        let text = String::from_utf8(sheet.into_pieces().concat()).unwrap();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples
            .filter_map(|line| line.strip_prefix("kepler_"))
            .map(str::to_owned)
            .collect()
    }

    /// | clocks now (unix, boot, monotonic), begun at (1000, 50, 40) s | back | forward | asleep |
    #[test]
    fn a_clock_that_is_set_and_a_machine_that_sleeps_are_told_and_the_passing_of_time_is_not() {
        let watched = Watched::default();
        assert!(lines(&watched, clocks(0, 0, 0)).is_empty());
        NOW.set(clocks(1_000_000, 50_000, 40_000));
        watched.begin(|| NOW.get());
        for (now, back, forward, asleep) in [
            (clocks(1_060_000, 110_000, 100_000), "0", "0", "0"),
            (clocks(8_260_000, 110_000, 100_000), "0", "7200", "0"),
            // An hour of sleep moves the wall clock, as it should.
            (clocks(4_661_500, 3_711_500, 101_000), "0", "0", "3600.5"),
            (clocks(1_061_500, 3_711_500, 101_000), "3600", "0", "3600.5"),
            // A look that came late for one clock.
            (clocks(4_661_500, 3_711_500, 101_020), "0", "0", "3600.5"),
        ] {
            let expected = [
                format!("clock_shift_seconds{{direction=\"back\"}} {back}"),
                format!("clock_shift_seconds{{direction=\"forward\"}} {forward}"),
                format!("suspended_seconds_total {asleep}"),
            ];
            assert_eq!(lines(&watched, now), expected, "{now:?}");
        }
    }
}
