// SPDX-License-Identifier: Apache-2.0
//! What was charged in one window for all that a platform holds, by account: what a platform's own energy is split by.
//!
//! Only those zones count that count into the node's total, so that nothing weighs twice.

use super::accounts::{AccountId, Delta};
use super::columns::Columns;
use super::rise::Rise;
use super::zones::ZoneState;
use super::{Bill, Work};
use crate::model::Microjoules;

/// The sums, and the buffers that they are made in.
#[derive(Debug, Default)]
pub(crate) struct Spent {
    /// Microjoules by account.
    by_account: Vec<u64>,
    /// Whether what went the short way is in it, and how many of the window's bills.
    has_lines: bool,
    bills: usize,
    /// Those who ran or were charged, with what they were charged.
    rises: Vec<(AccountId, Rise)>,
    /// What nobody known was charged.
    nobody: Rise,
}

impl Spent {
    /// Begins a window in which there are `accounts` places.
    pub(crate) fn begin(&mut self, accounts: usize) {
        self.has_lines = false;
        self.by_account.clear();
        self.by_account.resize(accounts, 0);
        self.bills = 0;
        self.nobody = Rise::default();
    }

    /// What a zone's `dynamic` energy left for nobody.
    pub(crate) fn unattributed(&mut self, zone: &ZoneState, dynamic: Microjoules) {
        if zone.account.zone.component.counts_into_total() {
            self.nobody.charged = self.nobody.charged.saturating_add(dynamic.as_micro());
        }
    }

    /// Adds what went the short way, once.
    fn add_lines(&mut self, deltas: &[Delta], columns: &Columns, zones: &[ZoneState]) {
        if std::mem::replace(&mut self.has_lines, true) {
            return;
        }
        let counts = |zone: usize| {
            let zone = zones.get(zone);
            zone.is_some_and(|zone| zone.account.zone.component.counts_into_total())
        };
        for (delta, line) in columns.lines(deltas) {
            let counted = line.charges().filter(|(zone, _)| counts(*zone));
            let charged = counted.fold(0_u64, |sum, (_, micro)| sum.saturating_add(micro));
            if let Some(sum) = self.by_account.get_mut(delta.id.place()) {
                *sum = sum.saturating_add(charged);
            }
        }
    }

    /// Adds the bills that came since the last call.
    fn add(&mut self, bills: &[Bill], zones: &[ZoneState]) {
        for bill in bills.get(self.bills..).unwrap_or_default() {
            let zone = zones.get(bill.zone);
            let counts = zone.is_some_and(|zone| zone.account.zone.component.counts_into_total());
            if let Some(sum) = self.by_account.get_mut(bill.id.place()).filter(|_| counts) {
                *sum = sum.saturating_add(bill.dynamic.as_micro());
            }
        }
        self.bills = bills.len();
    }

    /// Those who ran, each with what it was charged, then those who were charged although they did not run.
    fn list(&mut self, deltas: &[Delta], bills: &[Bill]) {
        self.rises.clear();
        for delta in deltas {
            let charged = self
                .by_account
                .get_mut(delta.id.place())
                .map_or(0, std::mem::take);
            self.rises.push((
                delta.id,
                Rise {
                    charged,
                    ..delta.rise
                },
            ));
        }
        for bill in bills {
            let charged = self.by_account.get_mut(bill.id.place()).map_or(0, std::mem::take);
            if charged > 0 {
                let rise = Rise {
                    charged,
                    ..Rise::default()
                };
                self.rises.push((bill.id, rise));
            }
        }
        // The sums are wanted again when there are more bills.
        for (id, rise) in &self.rises {
            if let Some(sum) = self.by_account.get_mut(id.place()) {
                *sum = rise.charged;
            }
        }
    }
}

impl Work {
    /// Takes the bills so far into account for the zones that are split by them.
    pub(super) fn sum_up(&mut self, zones: &[ZoneState]) {
        self.spent.add_lines(&self.deltas, &self.columns, zones);
        self.spent.add(&self.charges, zones);
        self.spent.list(&self.deltas, &self.charges);
    }

    /// Those who pay for a zone that is split by what was charged, and nobody's part.
    pub(super) fn spenders(&self) -> (impl Iterator<Item = (AccountId, Rise)> + Clone, &Rise) {
        (self.spent.rises.iter().copied(), &self.spent.nobody)
    }
}
