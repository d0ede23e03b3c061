// SPDX-License-Identifier: Apache-2.0
//! The zones: what the meters have said, what of it is paid, and whose CPU time still waits for a bill.
//!
//! Readings are cumulative, so energy that could not be paid in one window is in the next difference. CPU time is
//! different: when a zone is late, the time of this window is *carried*, so that the late energy is paid by those who ran
//! then and not by those who run when it arrives.

use super::accounts::{AccountId, Accounts, Delta};
use super::devices::Device;
use super::feature::SplitRules;
use super::idle::{BusyTime, Floor, FloorPolicy, InForce, LearnedPoint, Trust};
use super::rise::Rise;
use crate::model::snapshot::ZoneAccount;
use crate::model::{
    Component, Energy, EventSet, Feature, FloorOrigin, Microjoules, MonotonicNanos, PackageId, PackageTime,
    Place, SourceId, Zone, ZoneReading,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// Time for which CPU time is carried for a zone. A zone that stays away longer is paid for, when it is back, by nobody by
/// name: who ran an hour ago is no longer known, and a guess would be somebody's wrong bill. (Meters that are asked less
/// often than once a tick are carried for as a rule: every 5 minutes at most.)
const CARRIED: Duration = Duration::from_secs(3_600);
/// Time for which the dead are remembered for a device that is late. Sources know nothing about use in a longer gap.
const AWAY: Duration = Duration::from_secs(180);
/// Accounts in a carry: 16,384 are 1.2 MiB. What does not fit weighs in as unknown.
const CARRIED_ACCOUNTS: usize = 16_384;

/// CPU time that waits for a zone's energy.
#[derive(Debug, Default)]
pub(crate) struct Carry {
    rises: BTreeMap<AccountId, Rise>,
    unknown: Rise,
    since: Option<MonotonicNanos>,
}

impl Carry {
    /// Adds the CPU time of a window that closes at `now`.
    pub(crate) fn add(&mut self, deltas: impl Iterator<Item = (AccountId, Rise)>, now: MonotonicNanos) {
        let since = *self.since.get_or_insert(now);
        for (id, rise) in deltas {
            if self.rises.len() < CARRIED_ACCOUNTS || self.rises.contains_key(&id) {
                self.rises.entry(id).or_default().add(&rise);
            } else {
                self.unknown.add(&rise);
            }
        }
        if now.since(since) >= CARRIED {
            for rise in std::mem::take(&mut self.rises).values() {
                self.unknown.add(rise);
            }
        }
    }

    /// Whether `id` waits here for a bill.
    pub(crate) fn holds(&self, id: AccountId) -> bool {
        self.rises.contains_key(&id)
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.rises.is_empty() && self.unknown == Rise::default()
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
    /// For a device, who used it; nobody else pays for it.
    device: Option<Device>,
    floor: Floor,
    paid: Option<(Reading, BusyTime)>,
    /// Between the readings of the last payment.
    elapsed: Duration,
    latest: Reading,
}

/// What a zone has to be paid for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) dynamic: Microjoules,
    pub(crate) idle: Microjoules,
}

impl ZoneState {
    fn new(source: SourceId, reading: &ZoneReading) -> Self {
        let device = device_of(reading);
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
                floor_origin: FloorOrigin::None,
                floor_error: None,
                feature: Feature::default(),
                age: Duration::ZERO,
                up: true,
            },
            carry: Carry::default(),
            floor: device
                .as_ref()
                .map_or_else(Floor::default, |_| Floor::of_a_device()),
            paid: None,
            elapsed: Duration::ZERO,
            latest: Reading {
                total: reading.total,
                idle: reading.idle,
                at: reading.at,
            },
            device,
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
            _ => {
                self.device.iter_mut().for_each(Device::forgive);
                return None;
            }
        };
        // Sources promise totals that never fall; should one break its word, the window is worth nothing and not less.
        let energy = self.latest.total.saturating_sub(paid.total);
        let elapsed = self.latest.at.since(paid.at);
        self.elapsed = elapsed;
        let busy = busy.since(busy_then);
        let component = self.account.zone.component;
        let (idle, floor) = match (self.latest.idle, paid.idle) {
            (Some(now), Some(then)) => {
                let idle = now.saturating_sub(then).min(energy);
                (idle, InForce::of_a_model(idle.mean_power(elapsed)))
            }
            _ => {
                // A device that does not tell who uses it may be at rest or at work: it teaches nothing, and what no
                // floor is known for is nobody's, and not idle.
                let tells = self.device.as_ref().is_none_or(Device::tells);
                if tells {
                    self.floor.learn(energy, elapsed, busy);
                }
                let mut floor = self.floor.in_force(policy, component);
                if !tells && floor.power.is_none() {
                    floor = InForce::default();
                }
                (floor.idle_part(energy, elapsed, busy), floor)
            }
        };
        self.account.floor = floor.power;
        self.account.floor_origin = floor.origin;
        self.account.floor_error = floor.error;
        self.account.power = Some(energy.mean_power(elapsed));
        let due = Due {
            dynamic: energy.saturating_sub(idle),
            idle,
        };
        self.account.dynamic += due.dynamic;
        self.account.idle += due.idle;
        Some(due)
    }

    /// Finds the accounts of those who used the device. None are held for one that has been away too long.
    pub(crate) fn find_users(&mut self, accounts: &Accounts, deltas: &[Delta], now: MonotonicNanos) {
        let (waits, away) = (!self.is_due(), now.since(self.latest.at));
        let Some(device) = &mut self.device else { return };
        if waits && away >= AWAY {
            device.give_up();
            return;
        }
        device.find_accounts(accounts, deltas);
        if waits {
            device.remember(accounts.left_ids());
        }
    }

    /// Whether CPU time pays for this zone.
    pub(crate) const fn is_paid_by_cpu_time(&self) -> bool {
        self.device.is_none()
    }

    /// Whether `id` waits here for a bill, or may have to.
    pub(crate) fn holds(&self, id: AccountId) -> bool {
        self.carry.holds(id) || self.device.as_ref().is_some_and(|device| device.holds(id))
    }

    /// Whether a new reading waits to be settled.
    pub(crate) fn is_due(&self) -> bool {
        self.paid.is_none_or(|(paid, _)| paid.at < self.latest.at)
    }

    /// What pays now, by account, and what of it belongs to nobody known: this window's CPU time and the carried, which is
    /// then empty; of a device its use.
    pub(crate) fn take_weights(
        &mut self,
        deltas: impl Iterator<Item = (AccountId, Rise)> + Clone,
        rules: &SplitRules,
        counted: EventSet,
        ids: &mut Vec<AccountId>,
        weights: &mut Vec<u64>,
    ) -> u64 {
        if let Some(device) = &mut self.device {
            self.account.feature = Feature::DeviceTime;
            return device.take_weights(self.elapsed, ids, weights);
        }
        let wanted = rules.feature(self.account.zone.component, counted);
        let (unknown, feature) = if self.carry.is_empty() {
            self.carry.since = None;
            rules.weigh(wanted, deltas, &Rise::default(), ids, weights)
        } else {
            let mut carry = std::mem::take(&mut self.carry);
            // Room for this window's own accounts is not limited by the carry's bound: they are all in memory anyway.
            for (id, rise) in deltas {
                carry.rises.entry(id).or_default().add(&rise);
            }
            let rises = carry.rises.iter().map(|(id, rise)| (*id, *rise));
            rules.weigh(wanted, rises, &carry.unknown, ids, weights)
        };
        self.account.feature = feature;
        unknown
    }

    /// The socket whose CPU time pays for this zone; `None` when all of it does.
    pub(crate) const fn socket(&self) -> Option<PackageId> {
        match &self.account.zone.place {
            Place::Socket { package, .. } => Some(*package),
            Place::Named(_) => None,
        }
    }

    /// Busy and idle time of the CPUs that pay for this zone, or of the device that it is.
    pub(crate) fn busy_of(&self, packages: &[PackageTime]) -> BusyTime {
        if let Some(device) = &self.device {
            let elapsed = self
                .paid
                .map_or(Duration::ZERO, |(paid, _)| self.latest.at.since(paid.at));
            return device.busy_time(self.latest.at, elapsed);
        }
        let ours = |time: &&PackageTime| self.socket().is_none_or(|socket| socket == time.package);
        packages
            .iter()
            .filter(ours)
            .fold(BusyTime::default(), |sum, time| BusyTime {
                busy: sum.busy.saturating_add(time.busy.as_nanos()),
                idle: sum.idle.saturating_add(time.idle.as_nanos()),
                cpus: sum.cpus.saturating_add(time.cpus),
            })
    }

    /// What was learned about its floor.
    pub(crate) fn learned_floor(&self) -> Vec<LearnedPoint> {
        self.floor.save()
    }

    /// Takes what an earlier run had learned about its floor.
    pub(crate) fn restore_floor(&mut self, points: &[LearnedPoint], trust: Trust) {
        self.floor.restore(points, trust);
    }

    fn take(&mut self, reading: &ZoneReading) {
        self.account.provenance = reading.provenance;
        self.account.up = true;
        // Said again by a meter that has nothing newer.
        if reading.at <= self.latest.at {
            return;
        }
        match &mut self.device {
            Some(device) => device.take(reading.device.as_ref(), reading.at.since(self.latest.at)),
            None => {
                self.device = device_of(reading);
                self.device.iter().for_each(|_| self.floor = Floor::of_a_device());
            }
        }
        self.latest = Reading {
            total: reading.total.max(self.latest.total),
            idle: reading.idle,
            at: reading.at,
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
pub(crate) fn enter(zones: &mut Vec<ZoneState>, source: SourceId, energy: &Energy) {
    for state in zones.iter_mut().filter(|state| state.account.source == source) {
        state.account.up = false;
    }
    for reading in &energy.zones {
        match zones.iter_mut().find(|state| is(state, source, &reading.zone)) {
            Some(state) => state.take(reading),
            None => zones.push(ZoneState::new(source, reading)),
        }
    }
}

/// A GPU is a device also where nothing tells who used it: then nobody by name pays for it.
fn device_of(reading: &ZoneReading) -> Option<Device> {
    let is_device = reading.device.is_some() || reading.zone.component == Component::Gpu;
    is_device.then(|| Device::new(reading.device.as_ref()))
}

fn is(state: &ZoneState, source: SourceId, zone: &Zone) -> bool {
    state.account.source == source && state.account.zone == *zone
}
