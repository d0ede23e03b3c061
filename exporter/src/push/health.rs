// SPDX-License-Identifier: Apache-2.0
//! What pushing says of itself: owns the counts and their lines of text. Those who push count, a scrape reads.

use super::verdict::Protocol;
use crate::text::metric::{Kind, Metric};
use crate::text::writer::{Decimal, Labels, Sheet, Tally};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

/// Why samples were given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// The queue was full, and newer ones came.
    Full,
    /// They had waited too long.
    Old,
    /// The receiver does not take them.
    Refused,
    /// The daemon ended before they were sent.
    Stopped,
}

impl Loss {
    pub(super) const ALL: [Self; 4] = [Self::Full, Self::Old, Self::Refused, Self::Stopped];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Old => "old",
            Self::Refused => "refused",
            Self::Stopped => "stopped",
        }
    }
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// There was no connection, or it broke.
    Connection,
    /// There was no whole answer in time.
    Timeout,
    /// The answer was to come again.
    Busy,
    /// The answer was no.
    Refused,
    /// A file with a secret or a certificate cannot be used.
    Credentials,
}

impl Failure {
    pub(super) const ALL: [Self; 5] = [
        Self::Connection,
        Self::Timeout,
        Self::Busy,
        Self::Refused,
        Self::Credentials,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Timeout => "timeout",
            Self::Busy => "busy",
            Self::Refused => "refused",
            Self::Credentials => "credentials",
        }
    }
}

/// The counts of one receiver.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    on: AtomicBool,
    /// 0 before the first answer, 1 after a bad one, 2 after a good one.
    state: AtomicU8,
    sent: AtomicU64,
    failed: [AtomicU64; Failure::ALL.len()],
    lost: [AtomicU64; Loss::ALL.len()],
    waiting: AtomicU64,
    bytes: AtomicU64,
    back: AtomicU64,
}

impl Counts {
    /// From now on it is worth a line.
    pub(super) fn switch_on(&self) {
        self.on.store(true, Ordering::Relaxed);
    }

    /// So many samples were taken.
    pub(super) fn sent(&self, samples: usize) {
        add(&self.sent, samples);
    }

    /// Whether the newest request was answered well; `true` when that is news.
    pub(super) fn is_up(&self, up: bool) -> bool {
        let state = 1 + u8::from(up);
        self.state.swap(state, Ordering::Relaxed) != state
    }

    pub(super) fn failed(&self, failure: Failure) {
        for (of, count) in Failure::ALL.iter().zip(&self.failed) {
            if *of == failure {
                add(count, 1);
            }
        }
    }

    pub(super) fn lost(&self, loss: Loss, samples: usize) {
        for (of, count) in Loss::ALL.iter().zip(&self.lost) {
            if *of == loss {
                add(count, samples);
            }
        }
    }

    /// The clock was set back, and what is pushed follows it.
    pub(super) fn followed_back(&self) {
        add(&self.back, 1);
    }

    pub(super) fn waits(&self, samples: usize, bytes: usize) {
        self.waiting.store(wide(samples), Ordering::Relaxed);
        self.bytes.store(wide(bytes), Ordering::Relaxed);
    }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn add(to: &AtomicU64, count: usize) {
    to.fetch_add(wide(count), Ordering::Relaxed);
}

/// The counts of both receivers.
#[derive(Debug, Default)]
pub(crate) struct Health {
    remote_write: Counts,
    otlp: Counts,
}

impl Health {
    pub(super) const fn of(&self, protocol: Protocol) -> &Counts {
        match protocol {
            Protocol::RemoteWrite1 | Protocol::RemoteWrite2 => &self.remote_write,
            Protocol::Otlp => &self.otlp,
        }
    }

    /// The lines; none where nothing is pushed.
    pub(crate) fn write(&self, sheet: &mut Sheet) {
        let mut tallies: [Tally; 7] = Default::default();
        let [up, sent, failed, lost, waiting, bytes, back] = &mut tallies;
        for protocol in [Protocol::RemoteWrite1, Protocol::Otlp] {
            let counts = self.of(protocol);
            if !counts.on.load(Ordering::Relaxed) {
                continue;
            }
            let whole = |count: &AtomicU64| Decimal::whole(count.load(Ordering::Relaxed));
            let receiver = Labels::none().with("receiver", protocol.name());
            let is_up = u64::from(counts.state.load(Ordering::Relaxed) == 2);
            up.add(receiver.clone(), Decimal::whole(is_up));
            sent.add(receiver.clone(), whole(&counts.sent));
            waiting.add(receiver.clone(), whole(&counts.waiting));
            bytes.add(receiver.clone(), whole(&counts.bytes));
            back.add(receiver.clone(), whole(&counts.back));
            for (reason, count) in Failure::ALL.iter().zip(&counts.failed) {
                failed.add(receiver.clone().with("reason", reason.name()), whole(count));
            }
            for (reason, count) in Loss::ALL.iter().zip(&counts.lost) {
                lost.add(receiver.clone().with("reason", reason.name()), whole(count));
            }
        }
        for (tally, metric) in tallies.iter().zip(metrics()) {
            tally.write(sheet, &metric);
        }
    }
}

/// What is written, also for the reference.
pub(crate) fn metrics() -> [Metric; 7] {
    const RECEIVER: &[&str] = &["receiver"];
    const REASON: &[&str] = &["receiver", "reason"];
    let of = |kind, name, help, labels| Metric::new(kind, name, help).with(labels);
    [
        of(
            Kind::Gauge,
            "kepler_push_up",
            "Whether the newest request to this receiver was answered well.",
            RECEIVER,
        ),
        of(
            Kind::Counter,
            "kepler_push_sent_samples_total",
            "Samples that this receiver has taken.",
            RECEIVER,
        ),
        of(
            Kind::Counter,
            "kepler_push_failed_requests_total",
            "Requests to this receiver that failed; what they held is sent again unless the receiver refused it.",
            REASON,
        ),
        of(
            Kind::Counter,
            "kepler_push_dropped_samples_total",
            "Samples that were given up.",
            REASON,
        ),
        of(
            Kind::Gauge,
            "kepler_push_queue_samples",
            "Samples that wait to be sent.",
            RECEIVER,
        ),
        of(
            Kind::Gauge,
            "kepler_push_queue_bytes",
            "Memory of what waits to be sent, compressed.",
            RECEIVER,
        ),
        of(
            Kind::Counter,
            "kepler_push_clock_steps_total",
            "Times that the clock was set back by more than five minutes and what is pushed followed it.",
            RECEIVER,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::writer::Format;

    fn written(health: &Health) -> String {
        let mut sheet = Sheet::new(Format::Text, None);
        health.write(&mut sheet);
        String::from_utf8(sheet.into_pieces().concat()).unwrap()
    }

    #[test]
    fn only_a_receiver_that_is_pushed_to_has_lines_and_each_reason_its_own() {
        let health = Health::default();
        assert_eq!(written(&health), "");
        let counts = health.of(Protocol::Otlp);
        counts.switch_on();
        assert!(counts.is_up(false), "the first failure is news");
        assert!(counts.is_up(true) && !counts.is_up(true));
        counts.sent(7);
        counts.waits(5, 600);
        counts.followed_back();
        for (count, (failure, loss)) in (1..).zip(Failure::ALL.into_iter().zip(Loss::ALL)) {
            (0..count).for_each(|_| counts.failed(failure));
            counts.lost(loss, 10 * count);
        }
        let text = written(&health);
        for line in [
            "kepler_push_up{receiver=\"otlp\"} 1\n",
            "kepler_push_sent_samples_total{receiver=\"otlp\"} 7\n",
            "kepler_push_failed_requests_total{receiver=\"otlp\",reason=\"timeout\"} 2\n",
            "kepler_push_failed_requests_total{receiver=\"otlp\",reason=\"credentials\"} 0\n",
            "kepler_push_dropped_samples_total{receiver=\"otlp\",reason=\"full\"} 10\n",
            "kepler_push_dropped_samples_total{receiver=\"otlp\",reason=\"stopped\"} 40\n",
            "kepler_push_queue_samples{receiver=\"otlp\"} 5\n",
            "kepler_push_queue_bytes{receiver=\"otlp\"} 600\n",
            "kepler_push_clock_steps_total{receiver=\"otlp\"} 1\n",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("remote_write"), "{text}");
    }
}
