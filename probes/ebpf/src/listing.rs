// SPDX-License-Identifier: Apache-2.0
//! When a row leaves the report although nobody says that it has ended, and when it may come back.
//!
//! Pure: no system call, no clock. It leaves when nothing has come for a while and all that did is paid; its entries of the
//! kernel's maps are to be deleted then. What comes after that is a new row that begins at zero. Whoever books rows takes
//! one for new only when a report has been without it: until such a report is acknowledged, what comes is kept back.

use attribution::model::{MonotonicNanos, TickId};
use std::time::Duration;

/// One report.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Its number.
    pub(crate) tick: TickId,
    /// The newest tick whose window has closed with such a report in it.
    pub(crate) acked: TickId,
    /// When it is made.
    pub(crate) at: MonotonicNanos,
}

/// How long rows may rest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// How long one is listed after its last rise.
    pub(crate) keep: Duration,
    /// While so many are listed, it is no longer than until all that came is paid: others need the room.
    pub(crate) most: usize,
}

impl Patience {
    /// While `listed` are.
    pub(crate) const fn with(self, listed: usize) -> Duration {
        if listed < self.most {
            self.keep
        } else {
            Duration::ZERO
        }
    }
}

/// Where one row stands.
#[derive(Debug)]
pub(crate) struct Listing {
    /// Whether anything came since the last report that it was in.
    rose: bool,
    /// When, and with which report, something came last.
    rose_at: MonotonicNanos,
    settled: TickId,
    /// The first report that it is not in, once it has left.
    gone: Option<TickId>,
}

/// What a report means for a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It is in the report.
    Listed,
    /// It is in the report no more: what comes from now on begins at zero.
    Leaves,
    /// It has left, and who books may not have heard of it yet.
    Away,
    /// It has left, that was heard, and nothing came since: it may be forgotten.
    Over,
}

impl Listing {
    /// A new row is news, whatever it holds.
    pub(crate) const fn new() -> Self {
        Self {
            rose: true,
            rose_at: MonotonicNanos::ZERO,
            settled: TickId(0),
            gone: None,
        }
    }

    /// Something came.
    pub(crate) const fn rise(&mut self) {
        self.rose = true;
    }

    /// Whether something came that was in no report yet.
    pub(crate) const fn rose(&self) -> bool {
        self.rose
    }

    /// Whether it has left.
    pub(crate) const fn is_away(&self) -> bool {
        self.gone.is_some()
    }

    /// Whether its turn in this report was [`Turn::Over`].
    pub(crate) fn is_over(&self, now: &Moment) -> bool {
        self.gone.is_some_and(|since| since <= now.acked)
    }

    /// Its turn in a report. It is listed for `keep` after its last rise, and for good unless it `may_leave`.
    pub(crate) fn turn(&mut self, now: &Moment, keep: Duration, may_leave: bool) -> Turn {
        if self.gone.is_some() {
            if !self.is_over(now) {
                return Turn::Away;
            }
            if !self.rose {
                return Turn::Over;
            }
            self.gone = None;
        }
        if self.rose {
            (self.rose, self.rose_at, self.settled) = (false, now.at, now.tick);
        } else if may_leave && self.settled <= now.acked && now.at.since(self.rose_at) >= keep {
            self.gone = Some(now.tick);
            return Turn::Leaves;
        }
        Turn::Listed
    }
}
