// SPDX-License-Identifier: Apache-2.0
//! Components that move from one source to another while it runs: who reads them no more, who begins to, and when the one has taken
//! over from the other. Knows pairs of source and component, and no energy.
//!
//! Both are read until they have answered the same tick. What the one before counted up to its last reading is paid, and the other
//! one is paid from there on: by its own reading of that tick, and of a meter that was read long before by its share of the next.
//! Nothing is paid twice, and nothing is lost but what is used between two readings of the same tick.

use super::carry::Carry;
use super::devices::Device;
use super::idle::BusyTime;
use super::remainder::on_the_way;
use super::window::{STALE_AFTER, Window};
use super::zones::{Reading, ZoneState};
use crate::model::{Component, Energy, Microjoules, MonotonicNanos, NodeFacts, SourceId, TickId, Zone};

/// Windows for which both are read at most: as many as a reporter may miss before it is stale.
pub(super) const MOST: u64 = STALE_AFTER;

type Pair = (SourceId, Component);

/// See the module's head. As many pairs as there are sources and components, at most.
#[derive(Debug, Default)]
pub(super) struct Moves {
    ends: Vec<Pair>,
    begins: Vec<Pair>,
    /// Sources that are dismissed when it is done.
    leaving: Vec<SourceId>,
    windows: u64,
    is_due: bool,
    /// What sources do not read any more, and nobody else reads.
    parted: Vec<Pair>,
    /// What others read by now: reports that still speak of it say nothing.
    handed: Vec<Pair>,
}

/// Where a zone stands that takes a component over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// It has begun with the reading of this window, or waits for one to begin with.
    Begins,
    /// It has begun in an earlier window, and the one before it may still say what it counted since.
    Waits,
}

/// Where those stand that have read a component so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    /// They have answered the newest tick, and with a reading that is newer than their last before the decision.
    is_in: bool,
    /// When they were read last.
    read_at: Option<MonotonicNanos>,
}

impl Moves {
    /// Begins to hand over what another source reads by these decisions than by those before.
    pub(super) fn begin(&mut self, before: &NodeFacts, now: &NodeFacts) {
        let (read_before, read_now) = (pairs(before), pairs(now));
        let beyond = |these: &[Pair], those: &[Pair]| -> Vec<Pair> {
            let only = these.iter().filter(|pair| !those.contains(pair));
            only.copied().collect()
        };
        let (lost, gained) = (beyond(&read_before, &read_now), beyond(&read_now, &read_before));
        let is_in = |pairs: &[Pair], of: Component| pairs.iter().any(|(_, other)| *other == of);
        let (ends, left): (Vec<Pair>, Vec<Pair>) =
            lost.iter().copied().partition(|(_, of)| is_in(&gained, *of));
        let begins = gained.iter().filter(|(_, of)| is_in(&lost, *of));
        (self.ends, self.begins) = (ends, begins.copied().collect());
        (self.windows, self.is_due) = (0, false);
        self.parted.retain(|pair| !read_now.contains(pair));
        self.handed.retain(|pair| !read_now.contains(pair));
        // Of a source that goes altogether no report is taken.
        let stays = |source: &SourceId| now.sources.iter().any(|facts| facts.source == *source);
        self.parted
            .extend(left.into_iter().filter(|(source, _)| stays(source)));
    }

    /// Whether nothing is being handed over.
    pub(super) fn is_done(&self) -> bool {
        self.ends.is_empty()
    }

    /// Whether both have answered, or the time for it is over.
    pub(super) const fn is_due(&self) -> bool {
        self.is_due
    }

    /// Whether it takes a component over.
    pub(super) fn begins(&self, zone: &ZoneState) -> bool {
        is_of(&self.begins, zone)
    }

    /// Whether its component is taken over from it.
    pub(super) fn ends(&self, zone: &ZoneState) -> bool {
        is_of(&self.ends, zone)
    }

    /// Whether its source does not read it any more, and nobody else does.
    pub(super) fn has_parted(&self, zone: &ZoneState) -> bool {
        is_of(&self.parted, zone)
    }

    /// Keeps a source that is to be dismissed until what it reads is handed over. `false` where nothing of it is.
    pub(super) fn keeps(&mut self, source: SourceId) -> bool {
        let keeps = self.ends.iter().any(|(of, _)| *of == source);
        self.leaving.extend(keeps.then_some(source));
        keeps
    }

    /// Where those stand that have read a zone's component so far.
    pub(super) fn before(&self, zone: &Zone, zones: &[ZoneState], window: &Window, tick: TickId) -> Before {
        let theirs = |is_it: &dyn Fn(&Zone) -> bool| -> Vec<&ZoneState> {
            let theirs = zones.iter().filter(|theirs| self.ends(theirs));
            theirs.filter(|theirs| is_it(&theirs.account.zone)).collect()
        };
        let mut before = theirs(&|other| other == zone);
        if before.is_empty() {
            before = theirs(&|other| other.component == zone.component);
        }
        // One that answers with an error, or says again what it had said, has told nothing of the time since.
        let tells = |one: &&ZoneState| one.is_fresh() && !window.is_behind(one.account.source.0, tick);
        Before {
            is_in: before.iter().any(tells),
            read_at: before.iter().map(|one| one.latest.at).max(),
        }
    }

    /// The window is over: whether it was the last in which both are read.
    pub(super) fn pass(&mut self, zones: &[ZoneState], window: &Window, tick: TickId) {
        self.windows += 1;
        let has_begun = |(source, of): &Pair| {
            let ours = |zone: &&ZoneState| is_of(&[(*source, *of)], zone);
            let mut ours = zones.iter().filter(ours).peekable();
            ours.peek().is_some() && ours.all(|zone| zone.account.up)
        };
        let has_answered = |(source, _): &Pair| !window.is_behind(source.0, tick);
        let has_told = |pair: &Pair| {
            let mut theirs = zones.iter().filter(|zone| is_of(&[*pair], zone)).peekable();
            theirs.peek().is_none() || theirs.any(ZoneState::is_fresh)
        };
        let all = self.ends.iter().chain(&self.begins).all(has_answered)
            && self.ends.iter().all(has_told)
            && self.begins.iter().all(has_begun);
        self.is_due = all || self.windows >= MOST;
    }

    /// It is done. Gives the sources that may be dismissed now.
    pub(super) fn end(&mut self) -> Vec<SourceId> {
        self.handed.append(&mut self.ends);
        self.begins.clear();
        self.is_due = false;
        std::mem::take(&mut self.leaving)
    }

    /// Takes out of a report what another source reads by now.
    pub(super) fn refuse(&self, source: SourceId, report: &mut Energy) {
        if !self.handed.is_empty() {
            let is_ours = |of: Component| !self.handed.contains(&(source, of));
            report.zones.retain(|reading| is_ours(reading.zone.component));
        }
    }
}

fn pairs(facts: &NodeFacts) -> Vec<Pair> {
    let sources = facts.sources.iter();
    let pairs = sources.flat_map(|one| one.components.iter().map(|of| (one.source, *of)));
    pairs.collect()
}

fn is_of(pairs: &[Pair], zone: &ZoneState) -> bool {
    !zone.is_derived() && pairs.contains(&(zone.account.source, zone.account.zone.component))
}

impl ZoneState {
    /// Its component is taken over from it as soon as it has been read anew.
    pub(super) const fn ends_anew(&mut self) {
        self.read_before = Some(self.latest.at);
    }

    /// Whether it was read anew since then, by what its source said last.
    fn is_fresh(&self) -> bool {
        self.account.up && self.read_before.is_none_or(|before| self.latest.at > before)
    }

    /// It takes a component over, and begins with a reading that is still to come.
    pub(super) fn await_first(&mut self) {
        let start = self.paid.map_or(self.latest, |(start, _)| start);
        self.skips_from.get_or_insert(start.total);
        self.rebase();
        self.awaits = true;
    }

    /// At the close of a window in which it takes a component over from `before`: `is_in` if it has answered this tick. It begins with
    /// the reading of the tick that the other one was heard at last.
    pub(super) fn stand(&mut self, before: Before, is_in: bool, busy: BusyTime) {
        self.starts_at = before.read_at;
        if before.is_in && !is_in {
            // The next one it is, then: what the other one said reaches beyond the last.
            self.await_first();
        }
        self.held = Some(Held::Waits);
        if self.awaits || (self.has_base() && !before.is_in) {
            return;
        }
        self.held = Some(Held::Begins);
        if let Some((start, _)) = self.paid {
            self.skips_from.get_or_insert(start.total);
        }
        self.begin_with_the_newest();
        self.paid = Some((self.latest, busy));
        if self.debt.is_none() {
            self.carry = Carry::default();
            self.device.iter_mut().for_each(Device::forgive);
        }
    }

    /// It begins with its newest reading: what it has counted since it waits is taken out of the platform as another one's, and of a
    /// night until then nothing is in what is paid later.
    pub(super) fn begin_with_the_newest(&mut self) {
        self.night.pay();
        if let Some(from) = self.skips_from.take() {
            self.history.skip(self.latest.total.saturating_sub(from));
        }
    }

    /// Before it is paid: what it counted until the last reading of the one before was paid there. A meter that is asked rarely may
    /// have been read long before that. Where the machine slept in between, nobody knows whether that was before that reading or after
    /// it: it begins with its newest one then, and nothing is paid twice.
    pub(super) fn start_where_the_other_ended(&mut self) {
        let Some((start, busy)) = self.paid else { return };
        let Some(end) = self.starts_at.filter(|end| *end > start.at) else {
            return;
        };
        if self.night.is_unpaid() {
            self.skips_from.get_or_insert(start.total);
            self.paid = Some((self.latest, busy));
            self.carry = Carry::default();
            return;
        }
        let at = end.min(self.latest.at);
        let by_then = |from: Microjoules, to: Microjoules| {
            let (from, to) = ((start.at, from.as_micro()), (self.latest.at, to.as_micro()));
            Microjoules::from_micro(on_the_way(from, to, at))
        };
        let base = Reading {
            total: by_then(start.total, self.latest.total),
            idle: start
                .idle
                .zip(self.latest.idle)
                .map(|(from, to)| by_then(from, to)),
            at,
        };
        self.history.skip(base.total.saturating_sub(start.total));
        self.paid = Some((base, busy));
    }

    /// Whether it takes a component over and nothing of this window is its to pay for.
    pub(super) fn begins(&self) -> bool {
        self.awaits || self.held == Some(Held::Begins)
    }

    /// Whether its readings wait for what the one before it may still say.
    pub(super) fn is_held(&self) -> bool {
        self.held == Some(Held::Waits)
    }
}
