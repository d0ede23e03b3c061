// SPDX-License-Identifier: Apache-2.0
//! The window: which reporters are in, when it may close, and who was late how often.

use crate::model::snapshot::{LATENESS_BUCKETS_MS, WindowCounters};
use crate::model::{MonotonicNanos, ReporterId, TickId};

/// A reporter that missed this many windows in a row is stale.
pub(crate) const STALE_AFTER: u64 = 3;

#[derive(Debug)]
struct Expected {
    reporter: ReporterId,
    newest: Option<TickId>,
    late: u64,
    missed_in_a_row: u64,
    /// Nobody waits for it any more; how often it was late is still told.
    dismissed: bool,
}

/// Reporters, and the window that is open.
#[derive(Debug, Default)]
pub(crate) struct Window {
    expected: Vec<Expected>,
    open: Option<Open>,
    counters: WindowCounters,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    tick: TickId,
    began: MonotonicNanos,
    deadline: MonotonicNanos,
}

/// A window that has just closed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Closed {
    pub(crate) tick: TickId,
    pub(crate) began: MonotonicNanos,
}

impl Window {
    /// Adds a reporter that every window waits for.
    pub(crate) fn expect(&mut self, reporter: ReporterId) {
        match self.expected.iter_mut().find(|known| known.reporter == reporter) {
            Some(known) => known.dismissed = false,
            None => self.expected.push(Expected {
                reporter,
                newest: None,
                late: 0,
                missed_in_a_row: 0,
                dismissed: false,
            }),
        }
    }

    /// No window waits for this reporter from now on, and its reports are refused.
    pub(crate) fn dismiss(&mut self, reporter: &ReporterId) {
        for known in self
            .expected
            .iter_mut()
            .filter(|known| known.reporter == *reporter)
        {
            known.dismissed = true;
            known.missed_in_a_row = 0;
        }
    }

    /// Opens the window of `tick`.
    pub(crate) fn open(&mut self, tick: TickId, began: MonotonicNanos, deadline: MonotonicNanos) {
        self.open = Some(Open {
            tick,
            began,
            deadline,
        });
    }

    /// Notes a report. `false` when it is older than what this reporter has said already: totals are cumulative, so
    /// such a one holds nothing new and must not be used.
    pub(crate) fn report(&mut self, reporter: &ReporterId, tick: TickId) -> bool {
        let Some(expected) = self
            .expected
            .iter_mut()
            .find(|expected| expected.reporter == *reporter && !expected.dismissed)
        else {
            return false;
        };
        if expected.newest.is_some_and(|newest| newest >= tick) {
            return false;
        }
        expected.newest = Some(tick);
        true
    }

    fn waited_for(&self) -> impl Iterator<Item = &Expected> {
        self.expected.iter().filter(|expected| !expected.dismissed)
    }

    /// Whether a window is open and everybody is in.
    pub(crate) fn complete(&self) -> bool {
        self.open
            .is_some_and(|open| self.waited_for().all(|expected| expected.is_in(open.tick)))
    }

    /// Whether `reporter` missed so many windows that its figures are stale.
    pub(crate) fn is_stale(&self, reporter: &str) -> bool {
        self.expected
            .iter()
            .any(|expected| expected.reporter.as_str() == reporter && expected.missed_in_a_row >= STALE_AFTER)
    }

    /// Whether `reporter` takes part and has not answered `tick` yet.
    pub(crate) fn is_behind(&self, reporter: &str, tick: TickId) -> bool {
        self.expected
            .iter()
            .any(|expected| expected.reporter.as_str() == reporter && !expected.is_in(tick))
    }

    /// Closes the open window, if there is one, and counts who was late.
    pub(crate) fn close(&mut self, now: MonotonicNanos) -> Option<Closed> {
        let open = self.open.take()?;
        self.counters.late_now.clear();
        for expected in self.expected.iter_mut().filter(|expected| !expected.dismissed) {
            if expected.is_in(open.tick) {
                expected.missed_in_a_row = 0;
            } else {
                expected.late += 1;
                expected.missed_in_a_row += 1;
                self.counters.late_now.push(expected.reporter.clone());
            }
        }
        self.counters.closed += 1;
        let lateness = now.since(open.deadline);
        self.counters.lateness_sum += lateness;
        let millis = lateness.as_nanos().div_ceil(1_000_000);
        let bucket = LATENESS_BUCKETS_MS
            .iter()
            .take_while(|bound| millis > u128::from(**bound))
            .count();
        if let Some(count) = self.counters.lateness.get_mut(bucket) {
            *count += 1;
        }
        Some(Closed {
            tick: open.tick,
            began: open.began,
        })
    }

    /// Counters for a snapshot.
    pub(crate) fn counters(&self) -> WindowCounters {
        let mut counters = self.counters.clone();
        counters.late = self
            .expected
            .iter()
            .map(|e| (e.reporter.clone(), e.late))
            .collect();
        let stale = self.expected.iter().filter(|e| e.missed_in_a_row >= STALE_AFTER);
        counters.stale = stale.map(|e| e.reporter.clone()).collect();
        counters
    }
}

impl Expected {
    fn is_in(&self, tick: TickId) -> bool {
        self.newest.is_some_and(|newest| newest >= tick)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> MonotonicNanos {
        MonotonicNanos::from_nanos(millis * 1_000_000)
    }

    fn window() -> (Window, ReporterId, ReporterId) {
        let (usage, rapl) = (ReporterId::new("usage"), ReporterId::new("rapl-sysfs"));
        let mut window = Window::default();
        window.expect(usage.clone());
        window.expect(rapl.clone());
        (window, usage, rapl)
    }

    #[test]
    fn a_window_is_complete_when_everybody_answered_this_tick() {
        let (mut window, usage, rapl) = window();
        window.open(TickId(2), at(0), at(800));
        assert!(window.report(&usage, TickId(1)), "a late report is still news");
        assert!(window.report(&rapl, TickId(2)));
        assert!(!window.complete());
        assert!(window.report(&usage, TickId(2)));
        assert!(window.complete());
    }

    #[test]
    fn an_older_report_after_a_newer_one_is_refused_and_so_is_a_stranger() {
        let (mut window, usage, _) = window();
        assert!(window.report(&usage, TickId(5)));
        assert!(!window.report(&usage, TickId(4)));
        assert!(!window.report(&usage, TickId(5)));
        assert!(!window.report(&ReporterId::new("nobody"), TickId(6)));
    }

    #[test]
    fn the_late_are_named_counted_and_stale_after_three_windows() {
        let (mut window, usage, rapl) = window();
        for tick in 1..=3 {
            window.open(TickId(tick), at(0), at(800));
            window.report(&usage, TickId(tick));
            window.close(at(800));
        }
        let counters = window.counters();
        assert_eq!(counters.late_now, std::slice::from_ref(&rapl));
        assert_eq!(counters.late, [(usage, 0), (rapl.clone(), 3)]);
        assert_eq!(counters.stale, std::slice::from_ref(&rapl));
        window.open(TickId(4), at(0), at(800));
        window.report(&rapl, TickId(4));
        window.close(at(800));
        assert!(!window.is_stale("rapl-sysfs"));
    }

    #[test]
    fn nobody_waits_for_who_was_dismissed_until_it_is_expected_again() {
        let (mut window, usage, rapl) = window();
        window.open(TickId(1), at(0), at(800));
        window.report(&usage, TickId(1));
        window.close(at(800));
        window.dismiss(&rapl);
        window.open(TickId(2), at(0), at(800));
        window.report(&usage, TickId(2));
        assert!(window.complete());
        assert!(!window.report(&rapl, TickId(2)), "nobody asked it");
        window.close(at(1));
        assert_eq!(window.counters().late, [(usage, 0), (rapl.clone(), 1)]);
        window.expect(rapl.clone());
        window.open(TickId(3), at(0), at(800));
        assert!(window.is_behind(rapl.as_str(), TickId(3)) && window.report(&rapl, TickId(3)));
    }

    #[test]
    fn lateness_is_counted_from_the_deadline() {
        let (mut window, ..) = window();
        for (tick, closed_at) in [(1, 700), (2, 803), (3, 9_000)] {
            window.open(TickId(tick), at(0), at(800));
            window.close(at(closed_at));
        }
        let counters = window.counters();
        // bounds: 0, 1, 5, 10, 50, 100, 500, 1000, above
        assert_eq!(counters.lateness, [1, 0, 1, 0, 0, 0, 0, 0, 1]);
        assert_eq!(counters.lateness_sum.as_millis(), 3 + 8_200);
        assert!(window.close(at(9_001)).is_none(), "nothing is open any more");
    }
}
