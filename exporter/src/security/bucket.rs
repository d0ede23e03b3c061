// SPDX-License-Identifier: Apache-2.0
//! `rate_limit`: how many requests may come. Time is an argument.

use super::file::Rate;
use attribution::model::MonotonicNanos;
use std::time::Duration;

/// A bucket of tokens, kept as the moment at which it will be full again (the generic cell rate algorithm of ATM Forum's
/// traffic management): one number, whatever the rate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    full: MonotonicNanos,
}

impl Bucket {
    /// Whether one more may come now; takes its token if so.
    pub(super) fn takes(&mut self, rate: Rate, now: MonotonicNanos) -> bool {
        let next = self.full.max(now).after(rate.interval);
        let deepest = rate.interval.checked_mul(rate.burst).unwrap_or(Duration::MAX);
        let fits = next.since(now) <= deepest;
        if fits {
            self.full = next;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_comes_at_once_and_then_one_each_interval() {
        let rate = Rate {
            interval: Duration::from_secs(1),
            burst: 3,
        };
        let mut bucket = Bucket::default();
        let start = MonotonicNanos::from_nanos(5_000_000_000);
        let mut at = |millis: u64| bucket.takes(rate, start.after(Duration::from_millis(millis)));
        //         ms      0     0     0     0      999    1000  1000   9000  9000  9000  9000
        let expected = [
            true, true, true, false, false, true, false, true, true, true, false,
        ];
        let seen = [0, 0, 0, 0, 999, 1000, 1000, 9000, 9000, 9000, 9000].map(&mut at);
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_rate_beyond_all_numbers_takes_everything() {
        let rate = Rate {
            interval: Duration::from_secs(u64::MAX / 2),
            burst: u32::MAX,
        };
        assert!(Bucket::default().takes(rate, MonotonicNanos::from_nanos(1)));
    }
}
