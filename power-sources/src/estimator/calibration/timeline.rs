// SPDX-License-Identifier: Apache-2.0
//! Busy time of one place as it grew: owns the way from two moments to how busy it was between them.

use super::real::share;
use super::samples::Profile;
use attribution::model::{CpuNanos, MonotonicNanos};
use std::collections::VecDeque;
use std::time::Duration;

/// Points that are kept for readings that have not come yet: two hours at ten a second, and the slowest controllers speak
/// every few minutes. What is older is forgotten, and a reading that needs it is not used.
pub(super) const MOST_POINTS: usize = 72_000;

/// One report of the usage probe.
#[derive(Clone, Copy, Debug)]
struct Point {
    at: MonotonicNanos,
    busy: CpuNanos,
    cpus: u32,
}

/// Busy time of a package, or of all of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Timeline {
    points: VecDeque<Point>,
}

impl Timeline {
    /// Adds what was counted by `at`. A moment that is not later says nothing, and time that went back begins anew.
    pub(super) fn add(&mut self, at: MonotonicNanos, busy: CpuNanos, cpus: u32) {
        if let Some(last) = self.points.back() {
            if at <= last.at {
                return;
            }
            if busy < last.busy {
                self.points.clear();
            }
        }
        if self.points.len() == MOST_POINTS {
            self.points.pop_front();
        }
        self.points.push_back(Point { at, busy, cpus });
    }

    /// The newest moment that it knows.
    pub(super) fn newest(&self) -> Option<MonotonicNanos> {
        self.points.back().map(|point| point.at)
    }

    /// Forgets what nobody will ask for who asks for `since` and later.
    pub(super) fn forget_before(&mut self, since: MonotonicNanos) {
        while self.points.get(1).is_some_and(|second| second.at <= since) {
            self.points.pop_front();
        }
    }

    /// How busy it was between two moments; `None` where that is not known for all of the time, or only as a mean of
    /// more than it.
    pub(super) fn profile(&self, began: MonotonicNanos, ended: MonotonicNanos) -> Option<Profile> {
        let (first, last) = (self.points.front()?, self.points.back()?);
        if began < first.at || ended > last.at || ended <= began {
            return None;
        }
        let lasted = ended.since(began);
        let start = self
            .points
            .partition_point(|point| point.at <= began)
            .saturating_sub(1);
        let pairs = self
            .points
            .iter()
            .skip(start)
            .zip(self.points.iter().skip(start + 1));
        let mut held = Vec::new();
        for (from, to) in pairs.take_while(|(from, _)| from.at < ended) {
            let time = to.at.since(from.at);
            if time > lasted + lasted / 2 + SLACK {
                return None;
            }
            let ran = Duration::from_nanos(to.busy.checked_sub(from.busy)?.as_nanos());
            let busy = share(ran, time.saturating_mul(to.cpus.max(1)));
            let inside = to.at.min(ended).since(from.at.max(began));
            held.push((busy, inside));
        }
        Profile::new(held)
    }
}

/// Reports may be this much further apart than half as long again as the interval: jitter of a tick.
const SLACK: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> MonotonicNanos {
        MonotonicNanos::from_nanos(millis * 1_000_000)
    }

    fn busy(millis: u64) -> CpuNanos {
        CpuNanos::from_nanos(millis * 1_000_000)
    }

    /// Two CPUs: at rest for a second, half busy for one, wholly busy for one.
    fn timeline() -> Timeline {
        let mut timeline = Timeline::default();
        for (moment, sum) in [(0, 0), (1_000, 0), (2_000, 1_000), (3_000, 3_000)] {
            timeline.add(at(moment), busy(sum), 2);
        }
        timeline
    }

    #[test]
    fn an_interval_takes_of_each_report_the_part_that_lies_in_it() {
        //  ms    0      1000     2000      3000
        //  busy  |  0    |   0.5  |    1    |
        //  asked      500 ............ 2500
        let profile = timeline().profile(at(500), at(2_500)).unwrap();
        let parts: Vec<_> = profile.parts().collect();
        assert_eq!(parts, [(0.0, 0.25), (0.5, 0.5), (1.0, 0.25)]);
        assert!((profile.mean() - 0.5).abs() < 1e-12);
        assert!((profile.spread() - 0.25).abs() < 1e-12);
    }

    #[test]
    fn what_is_not_known_for_all_of_the_time_is_not_known() {
        let timeline = timeline();
        assert!(timeline.profile(at(0), at(3_000)).is_some());
        for (began, ended) in [(2_000, 3_001), (1_000, 1_000), (2_000, 1_000)] {
            assert_eq!(timeline.profile(at(began), at(ended)), None);
        }
        let mut late = Timeline::default();
        late.add(at(1_000), busy(0), 1);
        late.add(at(2_000), busy(0), 1);
        assert_eq!(late.profile(at(999), at(2_000)), None);
    }

    #[test]
    fn an_interval_much_shorter_than_what_was_counted_over_it_is_not_known() {
        let mut timeline = Timeline::default();
        timeline.add(at(0), busy(0), 1);
        timeline.add(at(60_000), busy(30_000), 1);
        assert_eq!(timeline.profile(at(0), at(1_000)), None);
        assert!(timeline.profile(at(0), at(50_000)).is_some());
    }

    #[test]
    fn busy_time_that_goes_back_begins_anew_and_old_points_go() {
        let mut timeline = timeline();
        timeline.add(at(4_000), busy(10), 2);
        timeline.add(at(5_000), busy(2_010), 2);
        assert_eq!(timeline.profile(at(3_000), at(5_000)), None);
        assert_eq!(timeline.profile(at(4_000), at(5_000)).unwrap().mean(), 1.0);
        timeline.add(at(4_500), busy(5_000), 2);
        assert_eq!(timeline.newest(), Some(at(5_000)));
        let mut timeline = self::timeline();
        timeline.forget_before(at(1_500));
        assert!(timeline.profile(at(1_000), at(3_000)).is_some());
        assert_eq!(timeline.profile(at(999), at(3_000)), None);
    }
}
