// SPDX-License-Identifier: Apache-2.0
//! The engine: takes reports, closes windows, says who pays.
//!
//! Pure state and arithmetic. It is told the time, it never asks; it is given reports, it never fetches. The order of
//! calls is: [`Engine::expect`] and [`Engine::expect_source`] once, then for each tick [`Engine::open`], any number of
//! reports, and [`Engine::close`] when [`Engine::complete`] or at the deadline. Reports outside a window are welcome: they
//! are cumulative, and the next window pays what they say.

mod accounts;
mod apply;
mod call;
mod carry;
mod columns;
mod devices;
mod feature;
mod groups;
mod idle;
mod idle_share;
mod learner;
mod ledger;
mod levels;
mod meters;
mod moves;
mod night;
mod processes;
mod regression;
mod remainder;
mod renew;
mod reserved;
mod rise;
mod settle;
mod share;
mod snap;
mod spent;
#[cfg(test)]
mod tests;
mod window;
mod zones;

pub use feature::{OtherRule, SmtRule, SplitRules};
pub use idle::{FloorPolicy, LearnedPoint, LearnedZone, Trust};

use crate::model::facts::SourceFacts;
use crate::model::snapshot::SourceAccount;
use crate::model::{
    CpuTime, DeviceNanos, Energy, EventSet, Identity, LostEvents, Microjoules, MonotonicNanos, NodeFacts,
    PackageTime, Permille, Report, ReporterId, Snapshot, SoftirqTime, SourceId, Tally, TickId, Usage,
};
use accounts::{AccountId, Accounts, Counted, Delta};
use apply::Run;
use columns::Columns;
use levels::Levels;
use processes::Processes;
use remainder::Remainder;
use reserved::Reserved;
use share::Scratch;
use spent::Spent;
use std::sync::Arc;
use std::time::Duration;
use window::Window;
use zones::ZoneState;

/// Name under which the usage reporter takes part in windows.
pub const USAGE: &str = "usage";
/// Name under which the resolver takes part in windows.
pub const RESOLVER: &str = "resolver";

/// Rules of the split.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How the idle part of a metered zone is found.
    pub floor: FloorPolicy,
    /// Who pays idle energy.
    pub idle_share: IdleShare,
    /// By what dynamic energy is split.
    pub split: SplitRules,
    /// Processes with a row of their own.
    pub processes_max: usize,
    /// How long an ended workload stays visible.
    pub ended_keep: Duration,
}

/// Who pays idle energy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdleShare {
    /// Workloads pay for what they reserved: its share of the node's CPUs, and of its memory for memory's idle energy.
    /// Reservations come with identities; what nobody reserved stays on the node.
    #[default]
    Reserved,
    /// Every living process pays the same: the rule of the eBPF-era Kepler, for comparison.
    Equal,
    /// In proportion to use, by the same weights as dynamic energy.
    Usage,
    /// Nobody: all of it stays on the node.
    Node,
}

/// What closing a window gives.
#[derive(Debug)]
pub struct Closed {
    /// All totals.
    pub snapshot: Snapshot,
    /// The newest usage report whose tasks are paid: the probe may forget tasks that had ended in it.
    pub acked: Option<TickId>,
}

/// A window that was paid, for [`Engine::snapshot`].
#[derive(Clone, Copy, Debug)]
pub struct Paid {
    window: window::Closed,
}

/// The state of the attribution.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    facts: Arc<NodeFacts>,
    window: Window,
    zones: Vec<ZoneState>,
    /// Readings of zones that there was no room for.
    refused: u64,
    remainder: Remainder,
    restored: idle::Waiting,
    sources: Vec<(SourceAccount, Option<MonotonicNanos>)>,
    moves: moves::Moves,
    accounts: Accounts,
    levels: Levels,
    processes: Processes,
    reserved: Reserved,
    identity: Arc<Identity>,
    identity_is_new: bool,
    usage: Option<Report<Arc<Usage>>>,
    packages: Vec<PackageTime>,
    cpus: Vec<CpuTime>,
    softirqs: Vec<SoftirqTime>,
    counted: EventSet,
    lost: Vec<LostEvents>,
    tallies: Vec<Tally>,
    slept: Duration,
    coverage: Option<Permille>,
    acked: Option<TickId>,
    work: Work,
}

/// What an engine holds at a time, for whoever wants to see that it is bounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Accounts: as many as the newest usage report has rows, and those of the dead that a late zone has to bill.
    pub accounts: usize,
    /// Accounts that there is room for: the most that there ever were at a time.
    pub account_slots: usize,
    /// Rows of the process level, with the ended: [`Settings::processes_max`] twice at most.
    pub processes: usize,
    /// Rows of containers, pods, virtual machines and units, with the ended: 16,384 a level at most beside the living.
    pub groups: usize,
    /// Totals remembered after their rows left: 1,024 a level at most.
    pub shelved: usize,
}

/// Buffers that live from window to window, so that the steady state allocates nothing per task.
#[derive(Debug, Default)]
struct Work {
    deltas: Vec<Delta>,
    columns: Columns,
    counts: Vec<Counted>,
    run: Run,
    ids: Vec<AccountId>,
    weights: Vec<u64>,
    parts: Vec<u64>,
    scratch: Scratch,
    charges: Vec<Bill>,
    spent: Spent,
}

/// One account's part of one zone's window.
#[derive(Clone, Copy, Debug)]
struct Bill {
    id: AccountId,
    zone: usize,
    dynamic: Microjoules,
    idle: Microjoules,
    used: DeviceNanos,
    /// It is not of this account alone: on the level of processes it is nobody's by name.
    for_others: bool,
}

impl Bill {
    const fn nothing(id: AccountId, zone: usize) -> Self {
        Self {
            id,
            zone,
            dynamic: Microjoules::ZERO,
            idle: Microjoules::ZERO,
            used: DeviceNanos::ZERO,
            for_others: false,
        }
    }
}

impl Engine {
    /// An engine that has seen nothing.
    #[must_use]
    pub fn new(settings: Settings, facts: Arc<NodeFacts>) -> Self {
        Self {
            processes: Processes::new(settings.processes_max),
            settings,
            facts,
            window: Window::default(),
            zones: Vec::new(),
            refused: 0,
            remainder: Remainder::default(),
            restored: idle::Waiting::default(),
            sources: Vec::new(),
            moves: moves::Moves::default(),
            accounts: Accounts::default(),
            levels: Levels::default(),
            reserved: Reserved::default(),
            identity: Arc::default(),
            identity_is_new: false,
            usage: None,
            packages: Vec::new(),
            cpus: Vec::new(),
            softirqs: Vec::new(),
            counted: EventSet::NONE,
            lost: Vec::new(),
            tallies: Vec::new(),
            slept: Duration::ZERO,
            coverage: None,
            acked: None,
            work: Work::default(),
        }
    }

    /// Adds a reporter that every window waits for. Reports of others are refused.
    pub fn expect(&mut self, reporter: &ReporterId) {
        self.window.expect(reporter.clone());
    }

    /// Adds a power source as a reporter under its own name.
    pub fn expect_source(&mut self, source: SourceId) {
        self.expect(&ReporterId::new(source.0));
        if !self.sources.iter().any(|(account, _)| account.source == source) {
            self.sources.push((
                SourceAccount {
                    source,
                    age: None,
                    errors: Vec::new(),
                },
                None,
            ));
        }
    }

    /// Opens the window of `tick`. A window that is still open must be closed first, or it is never counted.
    pub fn open(&mut self, tick: TickId, now: MonotonicNanos, deadline: MonotonicNanos) {
        self.window.open(tick, now, deadline);
    }

    /// Takes a usage report; one that is older than what was heard before is ignored.
    pub fn on_usage(&mut self, report: Report<Arc<Usage>>) {
        if self.window.report(&report.reporter, report.tick) && !self.is_of_a_later_era(&report) {
            self.usage = Some(report);
        }
    }

    /// Takes an identity report.
    pub fn on_identity(&mut self, report: Report<Arc<Identity>>) {
        if self.window.report(&report.reporter, report.tick) && !Arc::ptr_eq(&self.identity, &report.body) {
            self.identity = report.body;
            self.identity_is_new = true;
            self.note_probes();
        }
    }

    /// Takes what those who made the identity count of themselves. Apart from the identity, which is the same for hours.
    pub fn on_tallies(&mut self, tallies: Vec<Tally>) {
        self.tallies = tallies;
    }

    /// Writes down how those probes stand that the identity speaks of.
    fn note_probes(&mut self) {
        for state in &self.identity.probes {
            if self.facts.probes.contains(state) {
                continue;
            }
            let probes = &mut Arc::make_mut(&mut self.facts).probes;
            match probes.iter_mut().find(|known| known.probe == state.probe) {
                Some(known) => known.clone_from(state),
                None => probes.push(state.clone()),
            }
        }
    }

    /// Takes a power source's report.
    pub fn on_energy(&mut self, source: SourceId, mut report: Report<Energy>) {
        if !self.window.report(&report.reporter, report.tick) {
            return;
        }
        self.moves.refuse(source, &mut report.body);
        self.refused += meters::enter(&mut self.zones, source, &report.body);
        self.part();
        self.hand_out_restored();
        if let Some((account, last)) = self
            .sources
            .iter_mut()
            .find(|(account, _)| account.source == source)
        {
            let newest = report.body.zones.iter().map(|reading| reading.at).max();
            *last = newest.max(*last);
            account.errors = report.body.errors;
        }
    }

    /// What a source reads by now, for people.
    pub fn describe(&mut self, source: SourceId, detail: &str) {
        let is_new = |facts: &SourceFacts| facts.source == source && facts.detail != detail;
        if self.facts.sources.iter().any(is_new) {
            let facts = Arc::make_mut(&mut self.facts).sources.iter_mut();
            facts
                .filter(|facts| is_new(facts))
                .for_each(|facts| detail.clone_into(&mut facts.detail));
        }
    }

    /// What it holds now.
    #[must_use]
    pub fn held(&self) -> Held {
        let levels = &self.levels;
        let groups = [
            levels.containers.len(),
            levels.pods.len(),
            levels.vms.len(),
            levels.units.len(),
        ];
        Held {
            accounts: self.accounts.len(),
            account_slots: self.accounts.slots(),
            processes: self.processes.len(),
            groups: groups.iter().map(|(rows, _)| rows).sum(),
            shelved: groups.iter().map(|(_, shelved)| shelved).sum::<usize>() + self.processes.shelved(),
        }
    }

    /// Whether the open window has everything.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.window.complete()
    }

    /// Whether usage has to wait for the identity that was made from it: it lists somebody new, and the resolver is late. What
    /// is booked on the wrong row stays there, so nothing is booked until it is known whose it is; but a resolver that has
    /// missed several windows holds nobody up any more.
    fn waits_for_owners(&self) -> bool {
        self.usage.as_ref().is_some_and(|usage| {
            self.window.is_behind(RESOLVER, usage.tick)
                && !self.window.is_stale(RESOLVER)
                && self.accounts.lists_strangers(&usage.body.tasks)
        })
    }

    /// Closes the open window: [`Engine::pay`], and what came of it as a snapshot. `None` when no window is open.
    pub fn close(&mut self, now: MonotonicNanos) -> Option<Closed> {
        let paid = self.pay(now)?;
        let snapshot = self.snapshot(paid, now);
        self.hand_over_if_due();
        Some(Closed {
            snapshot,
            acked: self.acked,
        })
    }

    /// Closes the open window without writing down what came of it: books CPU time, pays energy, lets go who is gone.
    /// `None` when no window is open.
    pub fn pay(&mut self, now: MonotonicNanos) -> Option<Paid> {
        let window = self.window.close(now)?;
        meters::silence(&mut self.zones, &self.window, now);
        self.restored.pass(now);
        let usage = if self.waits_for_owners() {
            None
        } else {
            self.usage.take()
        };
        let heard = usage.is_some();
        if let Some(report) = usage {
            self.book(&report.body, now);
            self.acked = Some(report.tick);
        }
        self.stand(window.tick);
        // Without usage the energy waits for it: both sides of the next window then cover the same time. When usage is
        // stale nobody can be named, and waiting on would only hide the energy.
        if heard || self.window.is_stale(USAGE) {
            if !heard {
                self.coverage = Some(Permille(0));
                // Who is new has to wait, but who has withdrawn a reservation does not pay for it any more.
                if self.identity_is_new {
                    self.reserved.renew(&self.identity, &self.accounts);
                }
            }
            self.settle(now);
            self.promote();
            self.apply();
            self.farewell(now);
        }
        if heard {
            self.levels.booked(now);
            self.processes.booked(now);
        }
        self.levels.retire(now, self.settings.ended_keep);
        self.processes.retire(now, self.settings.ended_keep);
        Some(Paid { window })
    }
}
