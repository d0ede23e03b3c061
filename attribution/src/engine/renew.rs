// SPDX-License-Identifier: Apache-2.0
//! What may change while it runs: the rules, and who reports. Between windows: who calls these has closed one and not yet opened the
//! next. Nothing that was counted or learned is given up.

use super::idle::{BusyTime, FloorPolicy};
use super::zones::{Due, Reading, ZoneState};
use super::{Engine, Settings};
use crate::model::{NodeFacts, Report, ReporterId, SourceId, TickId, Usage};
use std::sync::Arc;

/// What a zone has counted and nobody has paid, of a time before it began anew.
#[derive(Clone, Copy, Debug)]
pub(super) struct Debt {
    from: Reading,
    busy: BusyTime,
    to: Reading,
}

impl Engine {
    /// Pays by other rules from the next window on, and tells other decisions.
    ///
    /// Of a source that is in both decisions, zones of components which it is not read for any more are done with: what its last
    /// report says of them is paid. A component that another source reads from now on is handed over: see [`Engine::hands_over`].
    pub fn adopt(&mut self, settings: Settings, facts: Arc<NodeFacts>) {
        // One that is under way had its time: whoever adopts waits for it.
        self.hand_over();
        self.moves.begin(&self.facts, &facts);
        for zone in &mut self.zones {
            if self.moves.ends(zone) {
                zone.ends_anew();
            }
            if self.moves.begins(zone) {
                zone.stay_in_debt();
                zone.await_first();
            }
        }
        self.part();
        self.processes.bound(settings.processes_max);
        self.settings = settings;
        self.facts = facts;
        self.note_probes();
    }

    /// Nobody waits for zones of components that their source is not read for any more.
    pub(super) fn part(&mut self) {
        let moves = &self.moves;
        let parted = self.zones.iter_mut().filter(|zone| moves.has_parted(zone));
        parted.for_each(ZoneState::leave);
    }

    /// No window waits for this source any more, at the latest once what it read is handed over. What its zones have counted is paid
    /// and stays; [`Engine::expect_source`] has them go on, and their totals must go on then, too.
    pub fn dismiss_source(&mut self, source: SourceId) {
        if !self.moves.keeps(source) {
            self.dismiss(source);
        }
    }

    /// Whether components are being handed over from one source to another: both are read and waited for, and only the one before is
    /// paid, until both have answered the same tick; or for three windows.
    #[must_use]
    pub fn hands_over(&self) -> bool {
        !self.moves.is_done()
    }

    /// At the close of a window: where those stand that take a component over.
    pub(super) fn stand(&mut self, tick: TickId) {
        if self.moves.is_done() {
            return;
        }
        for at in 0..self.zones.len() {
            let Some(zone) = self.zones.get(at).filter(|zone| self.moves.begins(zone)) else {
                continue;
            };
            let account = &zone.account;
            let is_in = account.up && !self.window.is_behind(account.source.0, tick);
            let before = self.moves.before(&account.zone, &self.zones, &self.window, tick);
            let busy = zone.busy_of(&self.packages);
            if let Some(zone) = self.zones.get_mut(at) {
                zone.stand(before, is_in, busy);
            }
        }
        self.moves.pass(&self.zones, &self.window, tick);
    }

    /// After that window was told: those that go are done with.
    pub(super) fn hand_over_if_due(&mut self) {
        if self.moves.is_due() {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        if self.moves.is_done() {
            return;
        }
        for zone in &mut self.zones {
            if self.moves.begins(zone) {
                zone.held = None;
            }
            if self.moves.ends(zone) {
                zone.leave();
                zone.succeeded = true;
            }
        }
        for source in self.moves.end() {
            self.dismiss(source);
        }
    }

    fn dismiss(&mut self, source: SourceId) {
        self.window.dismiss(&ReporterId::new(source.0));
        let zones = self.zones.iter_mut();
        zones
            .filter(|zone| zone.account.source == source && !zone.is_derived())
            .for_each(ZoneState::leave);
        for (account, last) in &mut self.sources {
            if account.source == source {
                *last = None;
            }
        }
    }

    /// Whether a report is of another probe than one that still waits to be booked. That one's last report is in no later one, so
    /// the new probe's waits for it: what it says, its next one says again.
    pub(super) fn is_of_a_later_era(&self, report: &Report<Arc<Usage>>) -> bool {
        let waiting = self.usage.as_ref();
        waiting.is_some_and(|waiting| waiting.body.era != report.body.era)
    }
}

impl ZoneState {
    /// Nobody reads it from now on. It is paid to the end; should somebody read it again, it goes on without what was meanwhile.
    const fn leave(&mut self) {
        self.leaves = true;
        self.account.up = false;
    }

    /// Whether nobody reads it and all of it is paid. Nobody who runs from then on waits for it.
    pub(super) fn has_left(&mut self) -> bool {
        if !self.leaves || self.owes() || self.debt.is_some() {
            return false;
        }
        self.rebase();
        self.account.power = None;
        true
    }

    fn owes(&self) -> bool {
        self.has_base() && self.is_due()
    }

    /// It begins anew, and what it has counted until then is not paid yet: usage is late. That is paid on its own.
    pub(super) fn stay_in_debt(&mut self) {
        let Some((from, busy)) = self.paid.filter(|_| self.owes()) else {
            return;
        };
        let mut debt = Debt {
            from,
            busy,
            to: self.latest,
        };
        if let Some(older) = self.debt {
            let counted = |debt: &Debt| debt.to.total.saturating_sub(debt.from.total);
            debt = Debt {
                to: Reading {
                    total: older.to.total + counted(&debt),
                    ..debt.to
                },
                ..older
            };
        }
        (self.debt, self.paid) = (Some(debt), None);
    }

    /// What of an earlier time is still to be paid, which is then done.
    pub(super) fn pay_debt(&mut self, busy: BusyTime, policy: &FloorPolicy) -> Option<Due> {
        let debt = self.debt.take()?;
        let now = (self.paid, self.latest, self.starts_at.take());
        (self.paid, self.latest) = (Some((debt.from, debt.busy)), debt.to);
        let due = self.settle(busy, policy);
        (self.paid, self.latest, self.starts_at) = now;
        due
    }
}
