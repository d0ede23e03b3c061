// SPDX-License-Identifier: Apache-2.0
//! When to ask again after a failure. Neither waits nor knows a clock; chance is an argument.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// Wait after the first failure.
const FIRST: Duration = Duration::from_secs(1);
/// Longest wait: names come back within half a minute of the server, and a thousand nodes ask 50 times a second.
const LONGEST: Duration = Duration::from_secs(30);

/// Waits 1 s after the first failure, then twice as long each time, 30 s at most; of that at least half, the rest by
/// chance, for a server that restarts is missed by all nodes at the same moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    wait: Duration,
}

impl Backoff {
    /// Another failure: how long to wait.
    pub(super) fn failed(&mut self, random: u64) -> Duration {
        self.wait = (self.wait * 2).clamp(FIRST, LONGEST);
        jittered(self.wait, random)
    }

    /// Another failure, after which the server asks to be left alone for so long; it is not alone in asking.
    pub(super) fn failed_for(&mut self, asked: Option<Duration>, random: u64) -> Duration {
        let wait = self.failed(random);
        asked.map_or(wait, |asked| wait.max(asked + jittered(FIRST, random)))
    }

    /// It works again.
    pub(super) const fn succeeded(&mut self) {
        self.wait = Duration::ZERO;
    }
}

/// Between half of `wait` and all of it.
pub(super) fn jittered(wait: Duration, random: u64) -> Duration {
    let part = u32::try_from(random % 1_024).unwrap_or(0);
    wait / 2 + wait / 2 * part / 1_023
}

/// A number by chance: what the standard library seeds its hash maps with.
pub(super) fn chance() -> u64 {
    RandomState::new().hash_one(0_u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_half_a_minute_and_chance_takes_up_to_half_of_them() {
        let (mut most, mut least) = (Backoff::default(), Backoff::default());
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            let wait = Duration::from_secs(seconds);
            assert_eq!(most.failed(1_023), wait);
            assert_eq!(least.failed(0), wait / 2);
        }
        let asked = Some(Duration::from_secs(60));
        assert_eq!(most.failed_for(asked, 0), Duration::from_millis(60_500));
        assert_eq!(
            most.failed_for(Some(FIRST), 1_023),
            LONGEST,
            "never less than without"
        );
        assert_eq!(most.failed_for(None, 1_023), LONGEST);
        most.succeeded();
        assert_eq!(most.failed(1_023), FIRST);
    }

    #[test]
    fn chance_is_another_each_time() {
        assert_ne!(chance(), chance());
    }
}
