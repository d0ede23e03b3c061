// SPDX-License-Identifier: Apache-2.0
//! The one place that asks for the time. Everything else gets it as an argument or through a [`Clock`].

use attribution::model::MonotonicNanos;
use exporter::Clocks;
use rustix::time::{ClockId, clock_gettime};
use std::sync::Arc;
use std::time::Duration;

/// Tells the time; a test puts its own in.
pub type Clock = Arc<dyn Fn() -> MonotonicNanos + Send + Sync>;

/// Time since boot with suspended time in it (`CLOCK_BOOTTIME`): the clock of process start times.
#[must_use]
pub fn since_boot() -> Duration {
    Duration::from_nanos(read(ClockId::Boottime))
}

/// `CLOCK_MONOTONIC`, the clock of `bpf_ktime_get_ns`.
#[must_use]
pub fn monotonic() -> MonotonicNanos {
    MonotonicNanos::from_nanos(read(ClockId::Monotonic))
}

/// How long the machine has slept since boot.
#[must_use]
pub fn slept() -> Duration {
    all().slept()
}

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    // Two count from boot and one from 1970; a field is negative only on a machine that thinks it is earlier.
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// Seconds since 1970 (`CLOCK_REALTIME`), only to tell how old a file is: it may go back, and no figure hangs on it.
#[must_use]
pub fn unix_seconds() -> u64 {
    read(ClockId::Realtime) / 1_000_000_000
}

/// Unix time.
#[must_use]
pub fn unix() -> Duration {
    Duration::from_nanos(read(ClockId::Realtime))
}

/// One look at all of them.
#[must_use]
pub fn all() -> Clocks {
    // In the order that `Clocks` asks for.
    Clocks {
        unix: unix(),
        boot: since_boot(),
        monotonic: Duration::from_nanos(read(ClockId::Monotonic)),
    }
}

/// Looks whether the machine slept.
#[derive(Debug)]
pub struct Sleep {
    read: fn() -> Clocks,
    began: Duration,
    told: Duration,
}

/// A machine takes longer than this to fall asleep and wake up; what looks shorter is a pause between two looks.
const SHORTEST_SLEEP: Duration = Duration::from_millis(100);

impl Sleep {
    /// Counts from now on, by the clocks that `read` looks at.
    #[must_use]
    pub fn new(read: fn() -> Clocks) -> Self {
        Self {
            read,
            // Too little here would be a night in the first news.
            began: Clocks::steady(read).slept(),
            told: Duration::ZERO,
        }
    }

    /// How long the machine has slept since this was made, when that is more than was told before.
    pub fn news(&mut self) -> Option<Duration> {
        let more = |clocks: Clocks| clocks.slept().saturating_sub(self.began + self.told);
        if more((self.read)()) < SHORTEST_SLEEP {
            return None;
        }
        // What a pause between two looks hid of this night would be another one next time.
        let total = self.told + more(Clocks::steady(self.read));
        self.told = total;
        Some(total)
    }
}

/// The machine's clock.
#[must_use]
pub fn system() -> Clock {
    Arc::new(monotonic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};
    use std::collections::VecDeque;

    thread_local! {
        static SLEPT: Cell<u64> = const { Cell::new(0) };
        /// Seconds that the next looks see, the last of them from then on.
        static LOOKS: RefCell<VecDeque<u64>> = const { RefCell::new(VecDeque::new()) };
    }

    /// A clock that is looked at by somebody who may be stopped between two looks, and then sees too little.
    fn interrupted() -> Clocks {
        let seen = LOOKS.with_borrow_mut(|looks| match looks.len() {
            0 | 1 => looks.front().copied(),
            _ => looks.pop_front(),
        });
        Clocks {
            boot: Duration::from_secs(1_000 + seen.unwrap_or(0)),
            monotonic: Duration::from_secs(1_000),
            ..Clocks::default()
        }
    }

    fn see(looks: &[u64]) {
        LOOKS.set(looks.iter().copied().collect());
    }

    #[test]
    fn whoever_is_stopped_while_it_begins_or_hears_of_a_night_makes_no_night_of_that() {
        // The machine had slept for 60 s; it is stopped for 40 s within the first look.
        for looks in [[20, 60, 60], [60, 20, 60], [20, 20, 60]] {
            see(&looks);
            let mut sleep = Sleep::new(interrupted);
            see(&[60]);
            assert_eq!(sleep.news(), None, "{looks:?}");
            // A night of 100 s, of which the first look sees 70.
            see(&[130, 160]);
            assert_eq!(sleep.news(), Some(Duration::from_secs(100)));
            see(&[160]);
            assert_eq!(sleep.news(), None, "the rest of it is no other night");
            // One that the only look does not see is told by the next.
            see(&[150, 165]);
            assert_eq!(
                [sleep.news(), sleep.news()],
                [None, Some(Duration::from_secs(105))]
            );
        }
    }

    #[test]
    fn sleep_is_told_once_and_a_pause_between_two_looks_is_none() {
        let read = || Clocks {
            boot: Duration::from_millis(500_000 + SLEPT.get()),
            monotonic: Duration::from_secs(500),
            ..Clocks::default()
        };
        SLEPT.set(60_000);
        let mut sleep = Sleep::new(read);
        let mut news = |slept| {
            SLEPT.set(slept);
            sleep.news().map(|total| total.as_millis())
        };
        assert_eq!([news(60_000), news(60_040), news(59_990)], [None; 3]);
        assert_eq!(
            [news(63_000), news(63_050), news(70_000)],
            [Some(3_000), None, Some(10_000)]
        );
    }
}
