// SPDX-License-Identifier: Apache-2.0
//! When a counter was read, by a clock that stands still while the machine sleeps and by how long it has slept.
//!
//! `CLOCK_MONOTONIC` orders readings and is what their power is over. How much a counter may have counted between two of them is not
//! by it: a counter may go on at night. A machine may fall asleep at any moment, also between a look at a clock and the counter's
//! answer, so it is looked at before and after, and a night in between is allowed for in both of the steps that it may be in.

use attribution::model::MonotonicNanos;
use std::time::Duration;

/// How long the machine has slept since boot (`CLOCK_BOOTTIME` less `CLOCK_MONOTONIC`).
pub type Slept = fn() -> Duration;

/// A counter is being asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) at: MonotonicNanos,
    before: Duration,
    slept: Slept,
}

impl Asked {
    /// From now on; `at` is `CLOCK_MONOTONIC`.
    pub(crate) fn begin(at: MonotonicNanos, slept: Slept) -> Self {
        Self {
            at,
            before: slept(),
            slept,
        }
    }

    /// It has answered.
    pub(crate) fn answered(&self) -> Moment {
        Moment {
            at: self.at,
            slept: (self.before, (self.slept)()),
        }
    }
}

/// When a counter was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// `CLOCK_MONOTONIC`.
    pub at: MonotonicNanos,
    /// How long the machine had slept when the counter was asked, and when it had answered.
    pub slept: (Duration, Duration),
}

impl Moment {
    /// The longest that the machine can have slept between the counter's answers at `since` and at this moment.
    pub(crate) fn slept_since(&self, since: &Self) -> Duration {
        self.slept.1.saturating_sub(since.slept.0)
    }
}

/// Of a machine that never sleeps.
#[cfg(any(test, feature = "fuzzing"))]
impl From<MonotonicNanos> for Moment {
    fn from(at: MonotonicNanos) -> Self {
        Self {
            at,
            slept: (Duration::ZERO, Duration::ZERO),
        }
    }
}
