// SPDX-License-Identifier: Apache-2.0
//! When which process is looked at again. Pure: pids and moments come in.

use attribution::model::MonotonicNanos;
use std::collections::BTreeSet;
use std::time::Duration;

/// Least time between two lists of the processes, less what a tick of half a second may come early.
pub(super) const LISTING: Duration = Duration::from_millis(450);

/// Processes that are due for a look, by when. Each is in it once at most, unless its pid came around.
#[derive(Debug)]
pub(super) struct Queue {
    /// Longest time between two looks.
    scan: Duration,
    /// Known for less than a `scan`.
    young: BTreeSet<(MonotonicNanos, u32)>,
    old: BTreeSet<(MonotonicNanos, u32)>,
    olds_turn: bool,
}

impl Queue {
    /// Empty.
    pub(super) const fn new(scan: Duration) -> Self {
        Self {
            scan,
            young: BTreeSet::new(),
            old: BTreeSet::new(),
            olds_turn: false,
        }
    }

    /// A process is in the list that was not there before; `listed` is `None` for those of the first list, which may be
    /// of any age.
    pub(super) fn arrived(&mut self, pid: u32, listed: Option<MonotonicNanos>, now: MonotonicNanos) {
        self.of(self.age(listed, now)).insert((now, pid));
    }

    /// A process was looked at. It is again after as long as it has been known, and no later than after a `scan`.
    pub(super) fn looked_at(&mut self, pid: u32, listed: Option<MonotonicNanos>, now: MonotonicNanos) {
        let age = self.age(listed, now);
        let due = now.after(age.clamp(LISTING, self.scan.max(LISTING)));
        self.of(age).insert((due, pid));
    }

    fn age(&self, listed: Option<MonotonicNanos>, now: MonotonicNanos) -> Duration {
        listed.map_or(self.scan, |listed| now.since(listed))
    }

    fn of(&mut self, age: Duration) -> &mut BTreeSet<(MonotonicNanos, u32)> {
        if age < self.scan {
            &mut self.young
        } else {
            &mut self.old
        }
    }

    /// The next one that is due: a young one and an old one in turns, so that neither holds the other up.
    pub(super) fn next(&mut self, now: MonotonicNanos) -> Option<u32> {
        self.olds_turn = !self.olds_turn;
        let (first, second) = if self.olds_turn {
            (&mut self.old, &mut self.young)
        } else {
            (&mut self.young, &mut self.old)
        };
        let due = |queue: &mut BTreeSet<(MonotonicNanos, u32)>| {
            let next = queue.first().copied().filter(|(due, _)| *due <= now)?;
            queue.remove(&next);
            Some(next.1)
        };
        due(first).or_else(|| due(second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> MonotonicNanos {
        MonotonicNanos::from_nanos(milliseconds * 1_000_000)
    }

    #[test]
    fn a_young_process_is_looked_at_after_as_long_as_it_has_been_known() {
        let mut queue = Queue::new(Duration::from_secs(10));
        let listed = Some(at(1_000));
        queue.arrived(7, listed, at(1_000));
        let mut looks = Vec::new();
        for now in (1_000..60_000).step_by(500) {
            if queue.next(at(now)) == Some(7) {
                looks.push(now - 1_000);
                queue.looked_at(7, listed, at(now));
            }
        }
        assert_eq!(
            looks,
            [
                0, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 26_000, 36_000, 46_000, 56_000
            ]
        );
    }

    #[test]
    fn a_process_of_the_first_list_is_looked_at_every_scan() {
        let mut queue = Queue::new(Duration::from_secs(10));
        queue.arrived(7, None, at(0));
        assert_eq!(queue.next(at(0)), Some(7));
        queue.looked_at(7, None, at(0));
        assert_eq!(queue.next(at(9_999)), None);
        assert_eq!(queue.next(at(10_000)), Some(7));
    }

    #[test]
    fn young_and_old_take_turns() {
        let mut queue = Queue::new(Duration::from_secs(10));
        for pid in 0..3 {
            queue.arrived(pid, None, at(0));
            queue.arrived(100 + pid, Some(at(5)), at(5));
        }
        let order: Vec<_> = (0..7).map(|_| queue.next(at(5))).collect();
        assert_eq!(
            order,
            [Some(0), Some(100), Some(1), Some(101), Some(2), Some(102), None]
        );
    }
}
