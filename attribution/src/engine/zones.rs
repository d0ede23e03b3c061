// SPDX-License-Identifier: Apache-2.0
//! The zones: what the meters have said, what of it is paid, and whose CPU time still waits for a bill.
//!
//! Readings are cumulative, so energy that could not be paid in one window is in the next difference. CPU time is
//! different: when a zone is late, the time of this window is *carried*, so that the late energy is paid by those who ran
//! then and not by those who run when it arrives.

use super::accounts::AccountId;
use super::idle::{BusyTime, Floor, FloorPolicy};
use crate::model::snapshot::ZoneAccount;
use crate::model::{
    Energy, Microjoules, MonotonicNanos, PackageId, PackageTime, Place, SourceId, Zone, ZoneReading,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// Windows of CPU time that are carried for a zone. A zone that stays away longer is paid for, when it is back, by
/// nobody by name: who ran an hour ago is no longer known, and a guess would be somebody's wrong bill.
const CARRIED_WINDOWS: u32 = 60;
/// Accounts in a carry: 16,384 are 400 KiB. What does not fit weighs in as unknown.
const CARRIED_ACCOUNTS: usize = 16_384;

/// CPU time that waits for a zone's energy.
#[derive(Debug, Default)]
pub(crate) struct Carry {
    weights: BTreeMap<AccountId, u64>,
    unknown: u64,
    windows: u32,
}

impl Carry {
    /// Adds one window's CPU time.
    pub(crate) fn add(&mut self, deltas: impl Iterator<Item = (AccountId, u64)>) {
        self.windows += 1;
        for (id, nanos) in deltas {
            if self.weights.len() < CARRIED_ACCOUNTS || self.weights.contains_key(&id) {
                let weight = self.weights.entry(id).or_default();
                *weight = weight.saturating_add(nanos);
            } else {
                self.unknown = self.unknown.saturating_add(nanos);
            }
        }
        if self.windows > CARRIED_WINDOWS {
            let all = self
                .weights
                .values()
                .fold(self.unknown, |sum, weight| sum.saturating_add(*weight));
            self.weights.clear();
            self.unknown = all;
        }
    }

    /// Whether `id` waits here for a bill.
    pub(crate) fn holds(&self, id: AccountId) -> bool {
        self.weights.contains_key(&id)
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.weights.is_empty() && self.unknown == 0
    }
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    total: Microjoules,
    idle: Option<Microjoules>,
    at: MonotonicNanos,
}

/// One zone of one source.
#[derive(Debug)]
pub(crate) struct ZoneState {
    pub(crate) account: ZoneAccount,
    pub(crate) carry: Carry,
    floor: Floor,
    paid: Option<(Reading, BusyTime)>,
    latest: Reading,
}

/// What a zone has to be paid for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) dynamic: Microjoules,
    pub(crate) idle: Microjoules,
}

impl ZoneState {
    fn new(source: SourceId, reading: &ZoneReading, at: MonotonicNanos) -> Self {
        Self {
            account: ZoneAccount {
                zone: reading.zone.clone(),
                source,
                provenance: reading.provenance,
                dynamic: Microjoules::ZERO,
                idle: Microjoules::ZERO,
                unattributed: Microjoules::ZERO,
                unreserved_idle: Microjoules::ZERO,
                power: None,
                floor: None,
                age: Duration::ZERO,
                up: true,
            },
            carry: Carry::default(),
            floor: Floor::default(),
            paid: None,
            latest: Reading {
                total: reading.total,
                idle: reading.idle,
                at,
            },
        }
    }

    /// Whether it had its first reading in an earlier window, so that CPU time from then on has to be carried.
    pub(crate) const fn has_base(&self) -> bool {
        self.paid.is_some()
    }

    /// Takes the difference since the last payment and splits it into dynamic and idle. `None` when there is nothing
    /// new; the first reading only sets the base. `busy` is cumulative.
    pub(crate) fn settle(&mut self, busy: BusyTime, policy: &FloorPolicy) -> Option<Due> {
        let (paid, busy_then) = match self.paid.replace((self.latest, busy)) {
            Some((paid, busy_then)) if paid.at < self.latest.at => (paid, busy_then),
            _ => return None,
        };
        // Sources promise totals that never fall; should one break its word, the window is worth nothing and not less.
        let energy = self.latest.total.saturating_sub(paid.total);
        let elapsed = self.latest.at.since(paid.at);
        let busy = BusyTime {
            busy: busy.busy.saturating_sub(busy_then.busy),
            idle: busy.idle.saturating_sub(busy_then.idle),
        };
        let component = self.account.zone.component;
        let idle = match (self.latest.idle, paid.idle) {
            (Some(now), Some(then)) => {
                let idle = now.saturating_sub(then).min(energy);
                self.account.floor = Some(idle.mean_power(elapsed));
                idle
            }
            _ => {
                self.floor.learn(energy, elapsed, busy);
                self.account.floor = self.floor.in_force(policy, component);
                self.floor.idle_part(policy, component, energy, elapsed, busy)
            }
        };
        self.account.power = Some(energy.mean_power(elapsed));
        let due = Due {
            dynamic: energy.saturating_sub(idle),
            idle,
        };
        self.account.dynamic += due.dynamic;
        self.account.idle += due.idle;
        Some(due)
    }

    /// Whether a new reading waits to be settled.
    pub(crate) fn is_due(&self) -> bool {
        self.paid.is_none_or(|(paid, _)| paid.at < self.latest.at)
    }

    /// CPU time that pays now: this window's and the carried, by account, and what belongs to nobody known. The carry
    /// is empty afterwards.
    pub(crate) fn take_weights(
        &mut self,
        deltas: impl Iterator<Item = (AccountId, u64)>,
        ids: &mut Vec<AccountId>,
        weights: &mut Vec<u64>,
    ) -> u64 {
        ids.clear();
        weights.clear();
        if self.carry.is_empty() {
            self.carry.windows = 0;
            deltas.for_each(|(id, nanos)| {
                ids.push(id);
                weights.push(nanos);
            });
            return 0;
        }
        let mut carry = std::mem::take(&mut self.carry);
        // Room for this window's own accounts is not limited by the carry's bound: they are all in memory anyway.
        for (id, nanos) in deltas {
            let weight = carry.weights.entry(id).or_default();
            *weight = weight.saturating_add(nanos);
        }
        for (id, nanos) in carry.weights {
            ids.push(id);
            weights.push(nanos);
        }
        carry.unknown
    }

    /// The socket whose CPU time pays for this zone; `None` when all of it does.
    pub(crate) const fn socket(&self) -> Option<PackageId> {
        match &self.account.zone.place {
            Place::Socket { package, .. } => Some(*package),
            Place::Named(_) => None,
        }
    }

    /// Busy and idle time of the CPUs that pay for this zone.
    pub(crate) fn busy_of(&self, packages: &[PackageTime]) -> BusyTime {
        let ours = |time: &&PackageTime| self.socket().is_none_or(|socket| socket == time.package);
        packages
            .iter()
            .filter(ours)
            .fold(BusyTime::default(), |sum, time| BusyTime {
                busy: sum.busy.saturating_add(time.busy.as_nanos()),
                idle: sum.idle.saturating_add(time.idle.as_nanos()),
            })
    }

    fn take(&mut self, reading: &ZoneReading, at: MonotonicNanos) {
        self.account.provenance = reading.provenance;
        self.account.up = true;
        self.latest = Reading {
            total: reading.total.max(self.latest.total),
            idle: reading.idle,
            at,
        };
    }

    /// The zone's row for a snapshot.
    pub(crate) fn row(&self, now: MonotonicNanos) -> ZoneAccount {
        let mut row = self.account.clone();
        row.age = now.since(self.latest.at);
        if !row.up {
            row.power = None;
        }
        row
    }
}

/// Enters a source's report: zones that answer, zones that are new, zones that are down.
pub(crate) fn enter(zones: &mut Vec<ZoneState>, source: SourceId, at: MonotonicNanos, energy: &Energy) {
    for state in zones.iter_mut().filter(|state| state.account.source == source) {
        state.account.up = false;
    }
    for reading in &energy.zones {
        match zones.iter_mut().find(|state| is(state, source, &reading.zone)) {
            Some(state) => state.take(reading, at),
            None => zones.push(ZoneState::new(source, reading, at)),
        }
    }
}

fn is(state: &ZoneState, source: SourceId, zone: &Zone) -> bool {
    state.account.source == source && state.account.zone == *zone
}
