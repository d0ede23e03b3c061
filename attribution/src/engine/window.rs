// SPDX-License-Identifier: Apache-2.0
//! The window: which reporters are in, when it may close, and who was late how often.

use crate::model::snapshot::{LATENESS_BUCKETS_MS, WindowCounters};
use crate::model::{MonotonicNanos, ReporterId, TickId};
use std::time::Duration;

/// A reporter that missed this many windows in a row is stale.
pub(crate) const STALE_AFTER: u64 = 3;
/// Nobody is silent before this time, however short the windows are: sources that wait for a driver or a controller give up after
/// 3 s at most and say so themselves.
const SHORTEST_SILENCE: Duration = Duration::from_secs(5);
/// A reporter that takes its time has this many of its own pauses: it answers each question, if late, and is not silent between.
const PAUSES: u32 = 3;
/// But no more than this: longer than any meter takes.
const LONGEST_SILENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Expected {
    reporter: ReporterId,
    newest: Option<TickId>,
    late: u64,
    missed_in_a_row: u64,
    silence: Silence,
    /// Nobody waits for it any more; how often it was late is still told.
    dismissed: bool,
}

/// How long nothing at all was heard of a reporter. Not the same as missed windows: one that needs two ticks for an answer misses
/// every window, and says something new all the time.
#[derive(Debug, Default)]
struct Silence {
    /// Something was heard since the last window closed.
    is_broken: bool,
    /// When the last window closed by which something was heard; until then when the first one opened.
    since: Option<MonotonicNanos>,
    /// Windows that closed since.
    windows: u64,
    /// How long the one before lasted.
    before: Duration,
}

impl Silence {
    /// A window that `began` closes.
    fn pass(&mut self, began: MonotonicNanos, now: MonotonicNanos) {
        let since = *self.since.get_or_insert(began);
        if std::mem::take(&mut self.is_broken) {
            self.before = now.since(since);
            (self.since, self.windows) = (Some(now), 0);
        } else {
            self.windows += 1;
        }
    }

    /// Whether it is longer than such a reporter's pauses are. By windows as well: a daemon that was stopped for a minute has not
    /// listened.
    fn is_too_long(&self, now: MonotonicNanos) -> bool {
        let most = self.before.saturating_mul(PAUSES);
        let most = most.clamp(SHORTEST_SILENCE, LONGEST_SILENCE);
        self.windows >= STALE_AFTER && self.since.is_some_and(|since| now.since(since) >= most)
    }
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
                silence: Silence::default(),
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
            known.silence = Silence::default();
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
        expected.silence.is_broken = true;
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

    /// Whether nothing was heard of `reporter` for so long that what it said last is not so any more.
    pub(crate) fn is_silent(&self, reporter: &str, now: MonotonicNanos) -> bool {
        self.expected
            .iter()
            .any(|expected| expected.reporter.as_str() == reporter && expected.silence.is_too_long(now))
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
            expected.silence.pass(open.began, now);
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

    /// Ticks of a second: at which of them rapl is silent when it is heard at `heard`, up to `last`.
    fn silent_at(heard: &[u64], last: u64) -> Vec<u64> {
        let (mut window, usage, rapl) = window();
        let mut silent = Vec::new();
        for tick in 1..=last {
            let now = at(tick * 1_000);
            window.open(TickId(tick), now, now);
            window.report(&usage, TickId(tick));
            if heard.contains(&tick) {
                // The answer to an older question: every window misses it.
                window.report(&rapl, TickId(tick - 1));
            }
            window.close(now);
            silent.extend(window.is_silent(rapl.as_str(), now).then_some(tick));
            assert!(!window.is_silent(usage.as_str(), now));
        }
        silent
    }

    #[test]
    fn a_reporter_of_whom_nothing_is_heard_is_silent_until_it_is_heard_again() {
        let heard = [1, 2, 3, 12, 13];
        assert_eq!(
            silent_at(&heard, 18),
            [8, 9, 10, 11, 18],
            "five seconds after 3 and 13"
        );
    }

    #[test]
    fn a_reporter_that_takes_its_time_is_not_silent_between_two_answers() {
        let heard: Vec<u64> = (1..=10).map(|answer| answer * 4).collect();
        assert_eq!(
            silent_at(&heard, 60),
            (52..=60).collect::<Vec<_>>(),
            "three times four seconds"
        );
        // One that was heard once in an hour has no hours.
        assert_eq!(
            silent_at(&[1, 3_600], 3_670)
                .iter()
                .filter(|tick| **tick > 3_600)
                .min(),
            Some(&3_660)
        );
    }

    #[test]
    fn who_was_not_listened_to_is_not_silent() {
        let (mut window, _, rapl) = window();
        for (tick, seconds) in [(1, 1), (2, 61), (3, 62)] {
            window.open(TickId(tick), at(seconds * 1_000), at(seconds * 1_000));
            window.close(at(seconds * 1_000));
            assert_eq!(window.is_silent(rapl.as_str(), at(seconds * 1_000)), tick == 3);
        }
        window.dismiss(&rapl);
        window.expect(rapl.clone());
        assert!(!window.is_silent(rapl.as_str(), at(70_000)), "it begins anew");
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
