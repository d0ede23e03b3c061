// SPDX-License-Identifier: Apache-2.0
//! When to try again: owns the waiting time after failures, and neither waits nor knows a clock.
//!
//! No jitter: what is retried here is a file of this machine, so there is no crowd to spread.

use attribution::model::MonotonicNanos;
use std::time::Duration;

/// Wait after the first failure.
const FIRST: Duration = Duration::from_secs(1);
/// Longest wait: a meter that returns is seen within a minute, and a dead one costs one system call a minute.
const LONGEST: Duration = Duration::from_secs(60);

/// Waits 1 s after the first failure, then twice as long each time, 60 s at most.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    wait: Duration,
    due: Option<MonotonicNanos>,
}

impl Backoff {
    /// Whether a try is due.
    #[must_use]
    pub fn is_due(&self, now: MonotonicNanos) -> bool {
        self.due.is_none_or(|due| now >= due)
    }

    /// A try at `now` failed.
    pub fn failed(&mut self, now: MonotonicNanos) {
        self.wait = self.wait.saturating_mul(2).clamp(FIRST, LONGEST);
        self.due = Some(now.after(self.wait));
    }

    /// A try worked: the next failure begins at 1 s again.
    pub fn succeeded(&mut self) {
        *self = Self::default();
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
}
