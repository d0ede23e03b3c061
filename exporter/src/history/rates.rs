// SPDX-License-Identifier: Apache-2.0
//! Power of every row over the last seconds, out of totals of a little while ago.
//!
//! Two tables of totals take turns: the older one is what power is reckoned from, and when the younger is old enough it
//! takes that place. So power is a mean over 5 to 10 seconds, over more where a meter is slower than that, and a table
//! that is sorted by it does not dance.

use super::MOST_ROWS;
use super::node::Payment;
use super::rows::{Energy, Row, WORKLOADS, rows};
use attribution::model::{Microjoules, Microwatts, MonotonicNanos, Snapshot};
use std::time::Duration;

/// Age at which a table takes its turn.
const TURN: Duration = Duration::from_secs(5);

/// Longest age: a meter that is slower makes power of a minute flicker, and not of five.
const LONGEST_TURN: Duration = Duration::from_secs(60);

/// Mean power of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Above the idle floor.
    pub(crate) dynamic: Microwatts,
    /// Of the idle floor.
    pub(crate) idle: Microwatts,
}

#[derive(Debug, Default)]
pub(super) struct Rates {
    older: Table,
    younger: Table,
    now: MonotonicNanos,
    /// Longest time that a zone which counts was waited for, of late.
    slowest: Duration,
    /// Who was there in the slot before, sorted; who is not and began later is new.
    seen: Vec<u64>,
    seen_at: MonotonicNanos,
}

/// Totals at one moment, sorted by whose they are.
#[derive(Debug, Default)]
struct Table {
    moment: MonotonicNanos,
    /// Who began later is new.
    since: MonotonicNanos,
    totals: Vec<(u64, Microjoules, Microjoules)>,
    /// Whether there were more rows than it has room for; who is not in it may then be old.
    full: bool,
}

impl Table {
    fn fill(&mut self, snapshot: &Snapshot, moment: MonotonicNanos) {
        self.moment = moment;
        self.since = since(snapshot, moment);
        self.full = false;
        self.totals.clear();
        for row in WORKLOADS.into_iter().flat_map(|level| rows(snapshot, level)) {
            if self.totals.len() >= MOST_ROWS {
                self.full = true;
                break;
            }
            let energy = row.energy(&snapshot.zones);
            self.totals.push((row.hash(), energy.dynamic, energy.idle));
        }
        self.totals.shrink_to(MOST_ROWS);
        self.totals.sort_unstable();
    }

    /// Totals of a row at that moment: zero for one that began later, `None` for one that was away then, or may have been there.
    fn of(&self, row: &Row<'_>) -> Option<(Microjoules, Microjoules)> {
        let hash = row.hash();
        match self.totals.binary_search_by_key(&hash, |(hash, _, _)| *hash) {
            Ok(found) => self.totals.get(found).map(|(_, dynamic, idle)| (*dynamic, *idle)),
            Err(_) => {
                (!self.full && row.began() >= self.since).then_some((Microjoules::ZERO, Microjoules::ZERO))
            }
        }
    }
}

/// Who is not in `snapshot`, of this moment, and began later is new. Before a run's first window is nobody, whenever they began.
const fn since(snapshot: &Snapshot, moment: MonotonicNanos) -> MonotonicNanos {
    match snapshot.tick.0 {
        0 => MonotonicNanos::ZERO,
        _ => moment,
    }
}

impl Rates {
    pub(super) fn begin(&mut self, snapshot: &Snapshot, moment: MonotonicNanos) {
        self.older.fill(snapshot, moment);
        self.younger.fill(snapshot, moment);
        self.now = moment;
        self.look(snapshot);
    }

    /// A slot has ended: from here on power is that up to `now`.
    pub(super) fn at(&mut self, snapshot: &Snapshot, now: MonotonicNanos, paid: &[Payment]) {
        let counted = snapshot.zones.iter().zip(paid);
        let counted = counted.filter(|(zone, _)| zone.zone.component.counts_into_total());
        let waited = counted.filter_map(|(_, payment)| payment.since.map(|since| now.since(since)));
        // What is slow stays known for a while after it was last seen to be.
        self.slowest = waited
            .max()
            .unwrap_or_default()
            .max(self.slowest.mul_f64(0.9))
            .min(LONGEST_TURN);
        self.now = now;
    }

    /// The slot has been paid: its totals are those of a little while ago for the slots to come.
    pub(super) fn turn(&mut self, snapshot: &Snapshot, slot: Duration) {
        let turn = TURN.max(slot.saturating_mul(2)).max(self.slowest);
        if self.now.since(self.younger.moment) >= turn {
            std::mem::swap(&mut self.older, &mut self.younger);
            self.younger.fill(snapshot, self.now);
        }
        self.look(snapshot);
    }

    fn look(&mut self, snapshot: &Snapshot) {
        let all = WORKLOADS.into_iter().flat_map(|level| rows(snapshot, level));
        self.seen.clear();
        self.seen.extend(all.take(MOST_ROWS).map(|row| row.hash()));
        self.seen.sort_unstable();
        self.seen_at = since(snapshot, self.now);
    }

    /// Whether nobody knew this row before the newest slot; one that was away and goes on where it stopped is known. Where there
    /// are more rows than can be known, nobody is new.
    pub(super) fn is_new(&self, row: &Row<'_>) -> bool {
        self.seen.len() < MOST_ROWS
            && row.began() >= self.seen_at
            && self.seen.binary_search(&row.hash()).is_err()
    }

    /// Of a row that has used so much up to now.
    pub(super) fn of(&self, row: &Row<'_>, energy: Energy) -> Option<Rate> {
        let span = self.now.since(self.older.moment);
        if span.is_zero() {
            return None;
        }
        let (dynamic, idle) = self.older.of(row)?;
        Some(Rate {
            dynamic: energy.dynamic.saturating_sub(dynamic).mean_power(span),
            idle: energy.idle.saturating_sub(idle).mean_power(span),
        })
    }
}
