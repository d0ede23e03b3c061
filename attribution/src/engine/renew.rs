// SPDX-License-Identifier: Apache-2.0
//! What may change while it runs: the rules, and who reports. Between windows: who calls these has closed one and not yet opened the
//! next. Nothing that was counted or learned is given up.

use super::zones::ZoneState;
use super::{Engine, Settings};
use crate::model::{NodeFacts, Report, ReporterId, SourceId, Usage};
use std::sync::Arc;

impl Engine {
    /// Pays by other rules from the next window on, and tells other decisions.
    ///
    /// Of a source that is in both decisions, zones of components which it is not read for any more are done with: what its last
    /// report says of them is paid.
    pub fn adopt(&mut self, settings: Settings, facts: Arc<NodeFacts>) {
        for now in &facts.sources {
            self.parted
                .retain(|(source, of)| *source != now.source || !now.components.contains(of));
            let before = self
                .facts
                .sources
                .iter()
                .filter(|before| before.source == now.source);
            let lost = before.flat_map(|before| &before.components).copied();
            let lost = lost.filter(|component| !now.components.contains(component));
            self.parted.extend(lost.map(|component| (now.source, component)));
        }
        self.part();
        self.processes.bound(settings.processes_max);
        self.settings = settings;
        self.facts = facts;
        self.note_probes();
    }

    /// Nobody waits for zones of components that their source is not read for any more.
    pub(super) fn part(&mut self) {
        let parted = &self.parted;
        if parted.is_empty() {
            return;
        }
        let is_of = |zone: &&mut ZoneState| {
            let account = &zone.account;
            !zone.is_derived() && parted.contains(&(account.source, account.zone.component))
        };
        self.zones.iter_mut().filter(is_of).for_each(ZoneState::leave);
    }

    /// No window waits for this source any more. What its zones have counted is paid and stays; [`Engine::expect_source`] has
    /// them go on, and their totals must go on then, too.
    pub fn dismiss_source(&mut self, source: SourceId) {
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
        let owes = self.has_base() && self.is_due();
        if !self.leaves || owes {
            return false;
        }
        self.rebase();
        self.account.power = None;
        true
    }
}
