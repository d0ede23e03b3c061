// SPDX-License-Identifier: Apache-2.0
//! The newest readings of one zone: owns what it had counted at a moment between two of them or a little after the last, and how
//! much of that was counted while the machine slept.

use super::super::night;
use crate::model::{Microjoules, MonotonicNanos};
use std::collections::VecDeque;
use std::time::Duration;

/// Readings that are remembered of a zone: six seconds of the shortest tick, a minute of the usual one. A platform's
/// reading that is older than all of them is met by the oldest.
const REMEMBERED: usize = 64;
/// How long a zone that does not answer is waited for. Then it is taken to use nothing until it is back.
const AWAY: Duration = Duration::from_secs(180);

/// What a zone had counted by a moment, in microjoules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stand {
    pub(super) total: u64,
    /// Of it while the machine slept.
    pub(super) night: u64,
}

/// The newest readings of one zone.
#[derive(Debug, Default)]
pub(crate) struct History {
    readings: VecDeque<(MonotonicNanos, Stand)>,
    /// What was taken out of the platform so far; at first the first reading, which may be forgotten by the time that a slow
    /// platform answers.
    taken: Option<Stand>,
}

impl History {
    /// Adds a reading, before which the machine slept for so long; those of a zone come in order.
    pub(crate) fn push(&mut self, at: MonotonicNanos, total: Microjoules, asleep: Duration) {
        let night = self.readings.back().map_or(0, |(since, last)| {
            let rise = total.saturating_sub(Microjoules::from_micro(last.total));
            last.night + night::part(rise, at.since(*since), asleep).as_micro()
        });
        if self.readings.len() == REMEMBERED {
            self.readings.pop_front();
        }
        let total = total.as_micro();
        self.readings.push_back((at, Stand { total, night }));
        self.taken.get_or_insert(Stand { total, night });
    }

    /// So much of it another zone has counted: nothing of the platform is taken out for it.
    pub(crate) fn skip(&mut self, counted: Microjoules) {
        let Some(taken) = &mut self.taken else { return };
        taken.total = taken.total.saturating_add(counted.as_micro());
        if let Some((_, last)) = self.readings.back()
            && taken.total >= last.total
        {
            taken.night = last.night;
        }
    }

    /// All until `stand` is taken out of the platform now; answers with where it stood the last time.
    pub(super) fn take_out(&mut self, stand: Stand) -> Stand {
        self.taken.replace(stand).unwrap_or(stand)
    }

    /// Where a zone that is not read any more stood at a moment.
    pub(super) fn stood_by(&self, at: MonotonicNanos) -> Option<Stand> {
        let last = *self.readings.back()?;
        self.stood_at(at.min(last.0), at)
    }

    /// Where it stood at a moment; `None` while that has to be waited for. Before the first known reading it is that one's.
    pub(super) fn stood_at(&self, at: MonotonicNanos, now: MonotonicNanos) -> Option<Stand> {
        let after = self.readings.partition_point(|(read, _)| *read < at);
        let newer = self.readings.get(after);
        let older = after.checked_sub(1).and_then(|before| self.readings.get(before));
        match (older, newer) {
            (None, newer) => newer.map(|(_, stand)| *stand),
            (Some(older), Some(newer)) => {
                let between =
                    |of: fn(&Stand) -> u64| on_the_way((older.0, of(&older.1)), (newer.0, of(&newer.1)), at);
                Some(Stand {
                    total: between(|stand| stand.total),
                    night: between(|stand| stand.night),
                })
            }
            (Some(last), None) => {
                let before = after.checked_sub(2).and_then(|before| self.readings.get(before));
                let interval = before.map_or(Duration::ZERO, |before| last.0.since(before.0));
                let beyond = at.since(last.0);
                match before {
                    Some(before) if beyond <= interval => Some(last.1.goes_on(before, last.0, at)),
                    _ if now.since(last.0) >= AWAY => Some(last.1),
                    _ => None,
                }
            }
        }
    }
}

impl Stand {
    /// This one, read at `since`, with the power since `before` up to `at`: that of the day, for no night goes on unseen.
    fn goes_on(self, before: &(MonotonicNanos, Self), since: MonotonicNanos, at: MonotonicNanos) -> Self {
        let night = self.night.saturating_sub(before.1.night);
        let day = self.total.saturating_sub(night);
        Self {
            total: on_the_way((before.0, before.1.total), (since, day), at).saturating_add(night),
            night: self.night,
        }
    }
}

/// The total at `at` on the line through two readings.
pub(crate) fn on_the_way(from: (MonotonicNanos, u64), to: (MonotonicNanos, u64), at: MonotonicNanos) -> u64 {
    let (passed, all) = (at.since(from.0).as_nanos(), to.0.since(from.0).as_nanos());
    let rise = u128::from(to.1.saturating_sub(from.1));
    let part = (rise * passed).checked_div(all).unwrap_or(rise);
    from.1.saturating_add(u64::try_from(part).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> MonotonicNanos {
        MonotonicNanos::from_nanos(millis * 1_000_000)
    }

    fn history(readings: &[(u64, u64)]) -> History {
        let mut history = History::default();
        for (millis, total) in readings {
            history.push(at(*millis), Microjoules::from_micro(*total), Duration::ZERO);
        }
        history
    }

    fn total_at(zone: &History, millis: u64, now: u64) -> Option<u64> {
        zone.stood_at(at(millis), at(now)).map(|stand| stand.total)
    }

    #[test]
    fn what_was_counted_in_a_night_is_told_apart_and_does_not_go_on() {
        let mut zone = history(&[(1_000, 100), (2_000, 200)]);
        // A second awake and nine asleep: nine tenths of it.
        zone.push(at(3_000), Microjoules::from_micro(1_200), Duration::from_secs(9));
        let expected = [
            (2_000, 200, 0),
            (2_500, 700, 450),
            (3_000, 1_200, 900),
            (3_500, 1_250, 900),
        ];
        for (millis, total, night) in expected {
            let stand = zone.stood_at(at(millis), at(4_000));
            assert_eq!(stand, Some(Stand { total, night }), "at {millis} ms");
        }
    }

    #[test]
    fn a_night_is_skipped_with_what_was_counted_in_it() {
        let mut zone = history(&[(1_000, 100)]);
        zone.push(at(2_000), Microjoules::from_micro(1_100), Duration::from_secs(9));
        zone.skip(Microjoules::from_micro(1_000));
        let (total, night) = (1_100, 900);
        assert_eq!(zone.take_out(Stand { total, night }), Stand { total, night });
    }

    #[test]
    fn a_total_is_interpolated_between_readings_and_goes_on_for_one_interval_beyond_the_last() {
        let zone = history(&[(1_000, 100), (2_000, 200), (3_000, 400)]);
        let expected = [
            (500, Some(100)),
            (1_000, Some(100)),
            (1_500, Some(150)),
            (2_000, Some(200)),
            (2_900, Some(380)),
            (3_000, Some(400)),
            (3_250, Some(450)),
            (4_000, Some(600)),
            (4_001, None),
        ];
        for (millis, total) in expected {
            assert_eq!(total_at(&zone, millis, 4_500), total, "at {millis} ms");
        }
        assert_eq!(
            total_at(&zone, 4_001, 183_000),
            Some(400),
            "nobody waits for ever"
        );
        assert_eq!(total_at(&history(&[(1_000, 7)]), 1_001, 1_001), None);
        assert_eq!(total_at(&history(&[]), 1, 1), None);
    }

    #[test]
    fn the_newest_readings_are_remembered_and_no_more() {
        let mut zone = History::default();
        (0..1_000).for_each(|tick| zone.push(at(tick), Microjoules::from_micro(tick), Duration::ZERO));
        assert_eq!(zone.readings.len(), REMEMBERED);
        assert_eq!(total_at(&zone, 3, 1_000), Some(1_000 - 64));
    }
}
