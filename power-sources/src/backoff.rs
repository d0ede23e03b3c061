// SPDX-License-Identifier: Apache-2.0
//! When to try again: owns the waiting time after failures, and neither waits nor knows a clock.
//!
//! A file of this machine is retried without jitter, as there is no crowd to spread. What is asked over a network is retried
//! with [`Backoff::failed_jittered`]; the random part is an argument.

use attribution::model::MonotonicNanos;
use std::time::Duration;

/// Wait after the first failure.
const FIRST: Duration = Duration::from_secs(1);
/// Longest wait: a meter that returns is seen within a minute, and a dead one costs one system call a minute.
const LONGEST: Duration = Duration::from_secs(60);

/// Waits 1 s after the first failure, then twice as long each time, 60 s at most; or between other limits.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    wait: Duration,
    due: Option<MonotonicNanos>,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::between(FIRST, LONGEST)
    }
}

impl Backoff {
    /// Waits `first` after the first failure, then twice as long each time, `longest` at most (which is not below `first`).
    #[must_use]
    pub const fn between(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            wait: Duration::ZERO,
            due: None,
        }
    }

    /// Whether a try is due.
    #[must_use]
    pub fn is_due(&self, now: MonotonicNanos) -> bool {
        self.due.is_none_or(|due| now >= due)
    }

    /// A try at `now` failed.
    pub fn failed(&mut self, now: MonotonicNanos) {
        self.lengthen();
        self.due = Some(now.after(self.wait));
    }

    /// A try at `now` failed, and others may have failed at the same moment: waits between half and all of what
    /// [`Self::failed`] would. `random` is any number; all of its lower ten bits are used.
    pub fn failed_jittered(&mut self, now: MonotonicNanos, random: u64) {
        self.lengthen();
        let half = self.wait / 2;
        let part = u32::try_from(random % 1_024).unwrap_or(0);
        self.due = Some(now.after(half + half * part / 1_023));
    }

    fn lengthen(&mut self) {
        self.wait = self.wait.saturating_mul(2).max(self.first).min(self.longest);
    }

    /// When the next try is due; `None` when there is nothing to wait for.
    #[must_use]
    pub const fn due(&self) -> Option<MonotonicNanos> {
        self.due
    }

    /// A try worked: the next failure begins with the first wait again.
    pub fn succeeded(&mut self) {
        *self = Self::between(self.first, self.longest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> MonotonicNanos {
        MonotonicNanos::ZERO.after(Duration::from_secs(seconds))
    }

    #[test]
    fn waits_double_up_to_a_minute_and_start_again_after_a_success() {
        let mut backoff = Backoff::default();
        assert!(backoff.is_due(at(0)));
        let mut now = 0;
        for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
            backoff.failed(at(now));
            assert!(!backoff.is_due(at(now + wait - 1)), "wait {wait}");
            assert!(backoff.is_due(at(now + wait)), "wait {wait}");
            now += wait;
        }
        backoff.succeeded();
        assert!(backoff.is_due(at(now)));
        backoff.failed(at(now));
        assert!(backoff.is_due(at(now + 1)));
    }

    #[test]
    fn jitter_takes_up_to_half_of_the_wait_and_never_adds_to_it() {
        let wait = |random| {
            let mut backoff = Backoff::between(Duration::from_secs(8), Duration::from_secs(10));
            backoff.failed_jittered(at(0), random);
            let first = backoff.due();
            backoff.failed_jittered(at(0), random);
            (first, backoff.due())
        };
        assert_eq!(wait(0), (Some(at(4)), Some(at(5))));
        assert_eq!(wait(1_023), (Some(at(8)), Some(at(10))));
        let (middle, _) = wait(512);
        assert!(middle > Some(at(4)) && middle < Some(at(8)), "{middle:?}");
    }
}
