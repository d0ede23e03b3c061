// SPDX-License-Identifier: Apache-2.0
//! A slow meter on a thread of its own: owns the thread, the interval and the latest answer, so that a tick never waits
//! for a management controller. Knows no protocol; the meter behind it is a [`PowerSource`] like any other, which is
//! read here instead of at the tick.
//!
//! A reading that hangs in the kernel is not waited for, and what was read before it is not repeated for ever: a meter that has
//! said nothing new for three times as long as it may take is one that does not answer.
//!
//! One reading at a time: the next wait begins when a reading has ended, so a controller that is slow is asked less often
//! and never twice at once. The thread ends when the source is dropped, after the reading that it is in.

use crate::PowerSource;
use crate::errors::ErrorLedger;
use attribution::model::{Component, Energy, ErrorReason, MonotonicNanos, SourceError, SourceId};
use std::convert::Infallible;
use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// Readings that a meter may be behind before it does not answer.
const MISSED: u32 = 3;

/// How often a meter is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Wait between two readings.
    pub(crate) interval: Duration,
    /// Longest time that one of them takes, unless the kernel keeps it.
    pub(crate) patience: Duration,
}

impl Pace {
    /// Age from which on a reading is told no more.
    const fn most(self) -> Duration {
        self.interval.saturating_add(self.patience).saturating_mul(MISSED)
    }
}

/// A source whose `read` answers at once with what its thread read last.
pub(crate) struct Polled {
    id: SourceId,
    components: Vec<Component>,
    detail: String,
    latest: Arc<Mutex<Energy>>,
    pace: Pace,
    /// The newest reading is too old; it was counted.
    hangs: bool,
    errors: ErrorLedger,
    thread: JoinHandle<()>,
    /// Nothing is ever sent: that it is gone tells the thread to end.
    _life: mpsc::Sender<Infallible>,
}

impl Polled {
    /// Reads `meter` at this pace from now on, with the time of `clock`. `first` is answered until then; it is what the
    /// meter said when it was opened.
    ///
    /// # Errors
    /// No thread can be started.
    pub(crate) fn start(
        mut meter: Box<dyn PowerSource>,
        first: Energy,
        pace: Pace,
        clock: fn() -> MonotonicNanos,
    ) -> io::Result<Self> {
        let (life, until) = mpsc::channel::<Infallible>();
        let (id, components, detail) = (meter.id(), meter.components(), meter.detail());
        let latest = Arc::new(Mutex::new(first));
        let answer = Arc::clone(&latest);
        let thread = Builder::new().name(format!("poll-{}", id.0)).spawn(move || {
            while until.recv_timeout(pace.interval) == Err(RecvTimeoutError::Timeout) {
                let energy = meter.read(clock());
                *answer.lock().unwrap_or_else(PoisonError::into_inner) = energy;
            }
        })?;
        Ok(Self {
            id,
            components,
            detail,
            latest,
            pace,
            hangs: false,
            errors: ErrorLedger::default(),
            thread,
            _life: life,
        })
    }

    /// Leaves out what was read too long ago. Counts it once each time that it comes to that.
    fn leave_out_the_old(&mut self, energy: &mut Energy, now: MonotonicNanos) {
        let most = self.pace.most();
        let before = energy.zones.len();
        energy.zones.retain(|reading| now.since(reading.at) <= most);
        let hangs = energy.zones.len() < before;
        if hangs && !self.hangs {
            let words = format!(
                "{}: nothing new for {}, a reading does not return from the kernel; what was read before is told no more (see the log of the kernel's driver)",
                self.detail,
                humantime::format_duration(most)
            );
            self.errors.note(self.id, None, ErrorReason::Timeout, &words);
        }
        self.hangs = hangs;
    }
}

impl PowerSource for Polled {
    fn id(&self) -> SourceId {
        self.id
    }

    fn components(&self) -> Vec<Component> {
        self.components.clone()
    }

    fn detail(&self) -> String {
        self.detail.clone()
    }

    fn read(&mut self, now: MonotonicNanos) -> Energy {
        let mut energy = self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if self.thread.is_finished() {
            // What it read last would be repeated for ever.
            energy.zones.clear();
            energy.errors.push(SourceError {
                zone: None,
                reason: ErrorReason::Gone,
                count: 1,
                latest: "the thread that asks this meter has ended; restart the daemon".into(),
            });
        } else {
            self.leave_out_the_old(&mut energy, now);
        }
        energy.errors.extend(self.errors.rows());
        energy
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, errors, totals};
    use attribution::model::{Microjoules, Place, Provenance, Zone, ZoneReading};
    use std::sync::mpsc::{Receiver, Sender};

    /// Longest that a test waits for another thread; only a failure takes that long.
    const PATIENCE: Duration = Duration::from_secs(20);
    const SOON: Duration = Duration::from_millis(1);

    /// Says when a reading begins, and ends it with the total that it is told; panics when nobody tells any.
    struct Scripted {
        begins: Sender<MonotonicNanos>,
        totals: Receiver<u64>,
    }

    fn energy(total: u64, at: MonotonicNanos) -> Energy {
        let place = Place::Named("bmc".into());
        Energy {
            zones: vec![ZoneReading {
                zone: Zone {
                    component: Component::Platform,
                    place,
                },
                total: Microjoules::from_micro(total),
                idle: None,
                provenance: Provenance::Integrated,
                at,
                device: None,
            }],
            errors: Vec::new(),
        }
    }

    impl PowerSource for Scripted {
        fn id(&self) -> SourceId {
            SourceId("slow")
        }

        fn components(&self) -> Vec<Component> {
            vec![Component::Platform]
        }

        fn detail(&self) -> String {
            "a slow meter".to_owned()
        }

        fn read(&mut self, now: MonotonicNanos) -> Energy {
            self.begins.send(now).unwrap();
            energy(self.totals.recv().unwrap(), now)
        }
    }

    fn start(interval: Duration) -> (Polled, Receiver<MonotonicNanos>, Sender<u64>) {
        let (begins, began) = mpsc::channel();
        let (tell, totals) = mpsc::channel();
        let meter = Box::new(Scripted { begins, totals });
        let pace = Pace {
            interval,
            patience: Duration::from_secs(2),
        };
        let polled = Polled::start(meter, energy(0, at(1)), pace, || at(7)).unwrap();
        (polled, began, tell)
    }

    #[test]
    fn a_reading_that_hangs_delays_no_tick_and_is_answered_when_it_has_ended() {
        let (mut polled, began, tell) = start(SOON);
        assert_eq!(
            (polled.id().0, polled.detail().as_str()),
            ("slow", "a slow meter")
        );
        assert_eq!(polled.components(), [Component::Platform]);
        assert_eq!(began.recv_timeout(PATIENCE), Ok(at(7)));
        // The meter has been asked and says nothing.
        for second in 2..=7 {
            let energy = polled.read(at(second));
            assert_eq!(totals(&energy), [("platform/bmc".to_owned(), 0)]);
            assert_eq!(energy.zones[0].at, at(1));
            assert_eq!(errors(&energy), []);
        }
        tell.send(5_000).unwrap();
        // The next reading begins when the last one has been put down.
        assert!(began.recv_timeout(PATIENCE).is_ok());
        let energy = polled.read(at(8));
        assert_eq!(totals(&energy), [("platform/bmc".to_owned(), 5_000)]);
        assert_eq!(energy.zones[0].at, at(7));
        tell.send(0).unwrap();
    }

    #[test]
    fn a_reading_that_hangs_longer_than_three_of_them_take_is_told_and_what_was_read_before_is_not() {
        let (mut polled, began, tell) = start(SOON);
        began.recv_timeout(PATIENCE).unwrap();
        // 3 x (1 ms + 2 s) after the reading of second 1.
        let timeout = |count| (String::new(), ErrorReason::Timeout, count);
        for (second, zones, told) in [(7, 1, None), (8, 0, Some(1)), (3_600, 0, Some(1))] {
            let energy = polled.read(at(second));
            assert_eq!(energy.zones.len(), zones, "second {second}");
            let told: Vec<_> = told.map(timeout).into_iter().collect();
            assert_eq!(errors(&energy), told, "second {second}");
        }
        tell.send(5_000).unwrap();
        began.recv_timeout(PATIENCE).unwrap();
        let energy = polled.read(at(8));
        assert_eq!(totals(&energy), [("platform/bmc".to_owned(), 5_000)]);
        assert_eq!(errors(&energy), [timeout(1)], "it is not forgotten that it hung");
        // And once more.
        let energy = polled.read(at(14));
        assert_eq!((energy.zones.len(), errors(&energy)), (0, vec![timeout(2)]));
        tell.send(0).unwrap();
    }

    #[test]
    fn nothing_is_asked_before_its_interval_and_the_thread_ends_with_the_source() {
        let (polled, began, _tell) = start(Duration::from_secs(3_600));
        drop(polled);
        // The thread owns the meter: it is dropped, and with it this channel, without one reading.
        assert_eq!(began.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected));
    }

    #[test]
    fn a_thread_that_died_is_told_and_its_last_answer_is_not_repeated() {
        let (mut polled, began, tell) = start(SOON);
        began.recv_timeout(PATIENCE).unwrap();
        // Nobody will tell a total: the meter panics, and its end of the channel is dropped.
        drop(tell);
        assert_eq!(began.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected));
        while !polled.thread.is_finished() {
            std::thread::yield_now();
        }
        let energy = polled.read(at(9));
        assert_eq!(totals(&energy), []);
        assert_eq!(errors(&energy), [(String::new(), ErrorReason::Gone, 1)]);
    }
}
