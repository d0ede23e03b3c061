// SPDX-License-Identifier: Apache-2.0
//! What the doors say of themselves: owns the counts and their lines of text. The server counts, a scrape reads.

use crate::text::metric::{Kind, Metric};
use crate::text::writer::{Decimal, Family, Labels, Sheet, Tally};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// Why a connection was ended by us, or could not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// There was no place for it, and its origin had more than half of all places.
    TurnedAway,
    /// It did nothing, and somebody else needed its place.
    MadeRoom,
    /// No first request came in time.
    Silent,
    /// It did not become TLS.
    Handshake,
    /// It did not become TLS in time.
    HandshakeTimeout,
    /// A request's head did not end in time.
    HeadTimeout,
    /// An answer was not taken in time.
    AnswerTimeout,
    /// What came was no HTTP that we understand.
    Protocol,
    /// The kernel gave no connection.
    Accept,
}

impl Closed {
    const ALL: [(Self, &'static str); 9] = [
        (Self::TurnedAway, "turned_away"),
        (Self::MadeRoom, "made_room"),
        (Self::Silent, "silent"),
        (Self::Handshake, "handshake"),
        (Self::HandshakeTimeout, "handshake_timeout"),
        (Self::HeadTimeout, "head_timeout"),
        (Self::AnswerTimeout, "answer_timeout"),
        (Self::Protocol, "protocol"),
        (Self::Accept, "accept"),
    ];
}

/// Why a request was refused at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No password or token, or a wrong one.
    Unauthorized,
    /// Beyond `rate_limit`.
    RateLimited,
    /// Too many passwords are being checked.
    Busy,
}

impl Refused {
    const ALL: [(Self, &'static str); 3] = [
        (Self::Unauthorized, "unauthorized"),
        (Self::RateLimited, "rate_limited"),
        (Self::Busy, "busy"),
    ];
}

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Health {
    accepted: AtomicU64,
    open: AtomicU64,
    closed: [AtomicU64; Closed::ALL.len()],
    refused: [AtomicU64; Refused::ALL.len()],
    /// Whether there are files that are read again.
    follows: AtomicBool,
    taken: AtomicU64,
    kept: AtomicU64,
    last_was_good: AtomicBool,
    certificate_ends: AtomicI64,
}

impl Health {
    pub(crate) fn accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    /// So many connections are there now.
    pub(crate) fn entered(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn left(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn closed(&self, why: Closed) {
        for ((of, _), count) in Closed::ALL.iter().zip(&self.closed) {
            if *of == why {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    pub(crate) fn refused(&self, why: Refused) {
        for ((of, _), count) in Refused::ALL.iter().zip(&self.refused) {
            if *of == why {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// There are files, and these are what is served with; 0 where there is no certificate.
    pub(crate) fn begins(&self, certificate_ends: i64) {
        self.follows.store(true, Ordering::Relaxed);
        self.is_good(true);
        self.certificate_ends.store(certificate_ends, Ordering::Relaxed);
    }

    /// Changed files were taken.
    pub(super) fn taken(&self, certificate_ends: i64) {
        self.taken.fetch_add(1, Ordering::Relaxed);
        self.certificate_ends.store(certificate_ends, Ordering::Relaxed);
    }

    /// Changed files were refused, and what was there stays.
    pub(super) fn kept(&self) {
        self.kept.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the newest change of each file was taken.
    pub(super) fn is_good(&self, is_good: bool) {
        self.last_was_good.store(is_good, Ordering::Relaxed);
    }

    /// The lines.
    pub(crate) fn write(&self, sheet: &mut Sheet) {
        let whole = |count: &AtomicU64| Decimal::whole(count.load(Ordering::Relaxed));
        let [open, accepted, closed, refused, reloads, good, ends] = metrics();
        Family::new(sheet, &open).sample(&Labels::none(), whole(&self.open));
        Family::new(sheet, &accepted).sample(&Labels::none(), whole(&self.accepted));
        let mut by_reason = Tally::default();
        for ((_, reason), count) in Closed::ALL.iter().zip(&self.closed) {
            by_reason.add(Labels::none().with("reason", reason), whole(count));
        }
        by_reason.write(sheet, &closed);
        let mut by_reason = Tally::default();
        for ((_, reason), count) in Refused::ALL.iter().zip(&self.refused) {
            by_reason.add(Labels::none().with("reason", reason), whole(count));
        }
        by_reason.write(sheet, &refused);
        if !self.follows.load(Ordering::Relaxed) {
            return;
        }
        let mut results = Tally::default();
        results.add(Labels::none().with("result", "kept_old"), whole(&self.kept));
        results.add(Labels::none().with("result", "taken"), whole(&self.taken));
        results.write(sheet, &reloads);
        let is_good = Decimal::whole(u64::from(self.last_was_good.load(Ordering::Relaxed)));
        Family::new(sheet, &good).sample(&Labels::none(), is_good);
        if let Ok(unix) = u64::try_from(self.certificate_ends.load(Ordering::Relaxed))
            && unix > 0
        {
            Family::new(sheet, &ends).sample(&Labels::none(), Decimal::whole(unix));
        }
    }
}

/// What is written, also for the reference.
pub(crate) fn metrics() -> [Metric; 7] {
    [
        Metric::new(Kind::Gauge, "kepler_exporter_connections", "Connections that are open now."),
        Metric::new(
            Kind::Counter,
            "kepler_exporter_connections_accepted_total",
            "Connections that the kernel handed over.",
        ),
        Metric::new(
            Kind::Counter,
            "kepler_exporter_connections_closed_total",
            "Connections that were ended because of a bound or a fault; those that ended in peace are not in it.",
        )
        .with(&["reason"]),
        Metric::new(
            Kind::Counter,
            "kepler_exporter_requests_refused_total",
            "Requests that were refused before anybody looked what they ask for.",
        )
        .with(&["reason"]),
        Metric::new(
            Kind::Counter,
            "kepler_exporter_web_config_reloads_total",
            "Changes of the web configuration, its certificates or the bearer tokens, and whether they were taken.",
        )
        .with(&["result"]),
        Metric::new(
            Kind::Gauge,
            "kepler_exporter_web_config_last_reload_successful",
            "Whether the newest change of each of these files was taken; 0 means that an old one is still in use.",
        ),
        Metric::new(
            Kind::Gauge,
            "kepler_exporter_certificate_expiry_timestamp_seconds",
            "When the certificate that is served ends, since the Unix epoch.",
        ),
    ]
}
