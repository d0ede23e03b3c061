// SPDX-License-Identifier: Apache-2.0
//! Where the attribution's calls are handed to the recorder's thread. Never waits: what finds the channel full is missing
//! from the recording, which says so, and the daemon goes on.

use crate::health::{Drops, Queue};
use attribution::recording::Entry;
use crossbeam_channel::{Sender, TrySendError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Entries that may wait for the writer. A window has some eight, so a disk may stand still for eight windows; each
/// holds one usage report, 1.5 MB at ten thousand processes.
pub(crate) const WAITING: usize = 64;

/// The way to the recorder's thread.
pub struct Tap {
    to: Sender<Entry>,
    drops: Drops,
    /// Entries that are missing and were not told yet. Who ends the recording tells the last of them.
    missing: Arc<AtomicU64>,
    /// Nobody writes any more.
    is_closed: bool,
}

impl Tap {
    pub(crate) const fn new(to: Sender<Entry>, drops: Drops, missing: Arc<AtomicU64>) -> Self {
        Self {
            to,
            drops,
            missing,
            is_closed: false,
        }
    }

    /// Counts what does not fit with the other queues.
    #[must_use]
    pub fn counted_with(self, drops: &Drops) -> Self {
        Self {
            drops: drops.clone(),
            ..self
        }
    }

    /// Hands an entry over, or counts it. After a gap the recording goes on with a whole window.
    pub fn hear(&mut self, entry: &Entry) {
        if self.is_closed {
            return;
        }
        let begins_a_window = matches!(entry, Entry::Open { .. });
        if self.missing.load(Ordering::Relaxed) > 0 && !(begins_a_window && self.tell_the_gap()) {
            return self.miss();
        }
        match self.to.try_send(entry.clone()) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.miss(),
            Err(TrySendError::Disconnected(_)) => self.is_closed = true,
        }
    }

    fn miss(&self) {
        self.missing.fetch_add(1, Ordering::Relaxed);
        self.drops.count(Queue::Recorder);
    }

    fn tell_the_gap(&self) -> bool {
        let missing = self.missing.swap(0, Ordering::Relaxed);
        let told = self.to.try_send(Entry::Gap { missing }).is_ok();
        if !told {
            self.missing.fetch_add(missing, Ordering::Relaxed);
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use attribution::model::{MonotonicNanos, TickId};
    use crossbeam_channel::bounded;

    fn open(tick: u64) -> Entry {
        Entry::Open {
            tick: TickId(tick),
            at: MonotonicNanos::ZERO,
            deadline: MonotonicNanos::ZERO,
        }
    }

    fn close() -> Entry {
        Entry::Close {
            at: MonotonicNanos::ZERO,
            dropped: Vec::new(),
        }
    }

    #[test]
    fn what_does_not_fit_is_counted_and_told_before_the_next_whole_window() {
        let (to, writer) = bounded(4);
        let drops = Drops::default();
        let mut tap = Tap::new(to, drops.clone(), Arc::default());
        for tick in 1..=4 {
            tap.hear(&open(tick));
            tap.hear(&close());
        }
        // Windows 1 and 2 filled the channel; 3 and 4 are missing.
        let taken: Vec<_> = writer.try_iter().collect();
        assert_eq!(taken.len(), 4);
        tap.hear(&close());
        tap.hear(&open(5));
        tap.hear(&close());
        let taken: Vec<_> = writer.try_iter().collect();
        assert!(
            matches!(
                taken.as_slice(),
                [
                    Entry::Gap { missing: 5 },
                    Entry::Open { tick: TickId(5), .. },
                    Entry::Close { .. }
                ]
            ),
            "{taken:?}"
        );
        assert!(drops.totals().contains(&("recorder", 5)));
        drop(writer);
        tap.hear(&open(6));
        tap.hear(&close());
        assert!(
            drops.totals().contains(&("recorder", 5)),
            "nobody listens any more"
        );
    }
}
