// SPDX-License-Identifier: Apache-2.0
//! What waits to be sent, the oldest first, bounded in bytes and in time. What does not fit any more is dropped and counted: counters
//! are totals, so the next sample that arrives says all that a lost one said, only later.

use super::batch::Batch;
use attribution::model::MonotonicNanos;
use bytes::Bytes;
use std::collections::VecDeque;
use std::time::Duration;

/// What a batch costs beside its body: its place in the queue and in the allocator.
const OVERHEAD: usize = 128;

/// Names a batch for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u64);

#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    batch: Batch,
    since: MonotonicNanos,
}

impl Waiting {
    fn cost(&self) -> usize {
        self.batch.body.len().saturating_add(OVERHEAD)
    }
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    samples: usize,
    next: u64,
    most_bytes: usize,
    age: Duration,
}

impl Queue {
    pub(super) const fn new(most_bytes: usize, age: Duration) -> Self {
        Self {
            waiting: VecDeque::new(),
            bytes: 0,
            samples: 0,
            next: 0,
            most_bytes,
            age,
        }
    }

    /// Adds a batch, and gives how many samples had to go for it, the oldest first.
    pub(super) fn push(&mut self, batch: Batch, now: MonotonicNanos) -> usize {
        let waiting = Waiting {
            ticket: Ticket(self.next),
            batch,
            since: now,
        };
        self.next = self.next.saturating_add(1);
        self.bytes = self.bytes.saturating_add(waiting.cost());
        self.samples = self.samples.saturating_add(waiting.batch.samples);
        self.waiting.push_back(waiting);
        let mut dropped = 0_usize;
        while self.bytes > self.most_bytes {
            let Some(oldest) = self.pop() else { break };
            dropped = dropped.saturating_add(oldest.samples);
        }
        dropped
    }

    /// Drops what is too old, and gives how many samples that were.
    pub(super) fn expire(&mut self, now: MonotonicNanos) -> usize {
        let mut dropped = 0_usize;
        while self
            .waiting
            .front()
            .is_some_and(|oldest| now.since(oldest.since) > self.age)
        {
            let Some(oldest) = self.pop() else { break };
            dropped = dropped.saturating_add(oldest.samples);
        }
        dropped
    }

    /// The oldest one, which stays until it is done with.
    pub(super) fn front(&self) -> Option<(Ticket, Bytes, usize)> {
        let oldest = self.waiting.front()?;
        Some((oldest.ticket, oldest.batch.body.clone(), oldest.batch.samples))
    }

    /// Takes it out, if it was not dropped meanwhile.
    pub(super) fn done(&mut self, ticket: Ticket) -> bool {
        let is_front = self.waiting.front().is_some_and(|oldest| oldest.ticket == ticket);
        is_front && self.pop().is_some()
    }

    /// Takes out everything, and gives how many samples that were.
    pub(super) fn clear(&mut self) -> usize {
        self.waiting.clear();
        self.bytes = 0;
        std::mem::take(&mut self.samples)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn samples(&self) -> usize {
        self.samples
    }

    fn pop(&mut self) -> Option<Batch> {
        let oldest = self.waiting.pop_front()?;
        self.bytes = self.bytes.saturating_sub(oldest.cost());
        self.samples = self.samples.saturating_sub(oldest.batch.samples);
        Some(oldest.batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(size: usize, samples: usize) -> Batch {
        Batch {
            body: Bytes::from(vec![0; size]),
            samples,
        }
    }

    fn at(seconds: u64) -> MonotonicNanos {
        MonotonicNanos::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_full_queue_drops_the_oldest_and_counts_its_samples() {
        let mut queue = Queue::new(3 * (1000 + OVERHEAD), Duration::from_secs(60));
        for samples in 1..=3 {
            assert_eq!(queue.push(batch(1000, samples), at(0)), 0);
        }
        assert_eq!((queue.bytes(), queue.samples()), (3 * (1000 + OVERHEAD), 6));
        assert_eq!(
            queue.push(batch(1001, 4), at(0)),
            1 + 2,
            "one byte more takes two"
        );
        assert_eq!(queue.samples(), 3 + 4);
        let larger_than_all = queue.push(batch(9000, 5), at(0));
        assert_eq!(
            (larger_than_all, queue.samples(), queue.bytes()),
            (3 + 4 + 5, 0, 0)
        );
    }

    #[test]
    fn what_is_too_old_goes_and_what_is_dropped_while_it_is_sent_is_not_taken_out_twice() {
        let mut queue = Queue::new(1 << 20, Duration::from_secs(60));
        queue.push(batch(1, 1), at(0));
        queue.push(batch(1, 2), at(30));
        let (ticket, ..) = queue.front().unwrap();
        assert_eq!(queue.expire(at(60)), 0);
        assert_eq!(queue.expire(at(61)), 1);
        assert!(!queue.done(ticket));
        let (ticket, body, samples) = queue.front().unwrap();
        assert_eq!((body.len(), samples), (1, 2));
        assert!(queue.done(ticket) && queue.front().is_none());
        assert_eq!((queue.bytes(), queue.samples()), (0, 0));
        queue.push(batch(1, 3), at(61));
        assert_eq!((queue.clear(), queue.bytes()), (3, 0));
    }
}
