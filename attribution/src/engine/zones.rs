// SPDX-License-Identifier: Apache-2.0
//! The zones: what the meters have said, what of it is paid, and whose CPU time still waits for a bill.
//!
//! Readings are cumulative, so energy that could not be paid in one window is in the next difference. CPU time is
//! different: when a zone is late, the time of this window is *carried*, so that the late energy is paid by those who ran
//! then and not by those who run when it arrives.

use super::accounts::AccountId;
use super::carry::Carry;
use super::devices::{Device, device_of};
use super::feature::{Weighing, weigh};
use super::idle::{BusyTime, Floor, FloorPolicy, InForce, LearnedPoint, Trust};
use super::learner::{Learner, Paid, SmtLearner};
use super::night::{self, Night};
use super::remainder::History;
use super::rise::Rise;
use crate::model::snapshot::ZoneAccount;
use crate::model::{
    Component, Feature, FloorOrigin, Microjoules, MonotonicNanos, PackageId, PackageTime, Place, SourceId,
    ZoneReading,
};
use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) total: Microjoules,
    pub(super) idle: Option<Microjoules>,
    pub(super) at: MonotonicNanos,
}

/// One zone of one source.
#[derive(Debug)]
pub(crate) struct ZoneState {
    pub(crate) account: ZoneAccount,
    pub(crate) carry: Carry,
    /// Its newest readings, where the remainder of the platform needs them.
    pub(crate) history: History,
    /// No meter counts it: see [`super::remainder`].
    derived: bool,
    /// For a device, who used it; nobody else pays for it.
    pub(super) device: Option<Device>,
    learner: Learner,
    pub(crate) smt: SmtLearner,
    floor: Floor,
    pub(super) paid: Option<(Reading, BusyTime)>,
    /// Between the readings of the last payment.
    elapsed: Duration,
    /// Whether the CPU time of the last payment is of that time: only then power is that of who ran.
    teaches: bool,
    pub(super) latest: Reading,
    pub(super) night: Night,
    /// Nobody reads it any more.
    pub(super) leaves: bool,
    /// When it was read last before its component was given to another source.
    pub(super) read_before: Option<MonotonicNanos>,
    /// Another zone counts what it did when it left.
    pub(super) succeeded: bool,
    /// Its next payment begins anew, and the platform's rest has not seen it yet.
    pub(super) rebased: bool,
    /// It takes a component over from a zone of another source, which is paid until then.
    pub(super) held: Option<super::moves::Held>,
    /// Its newest reading is none to begin from.
    pub(super) awaits: bool,
    /// Its total where it began to wait for its turn: what it counts from there on is another one's.
    pub(super) skips_from: Option<Microjoules>,
    pub(super) debt: Option<super::renew::Debt>,
    /// Until then another zone was paid for its component.
    pub(super) starts_at: Option<MonotonicNanos>,
}

/// Zones are settled in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// By what ran, or who used it.
    Component,
    /// By what was charged for the components.
    Other,
    /// By what was charged for the components and the rest.
    Platform,
}

/// What a zone has to be paid for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) dynamic: Microjoules,
    pub(crate) idle: Microjoules,
}

impl ZoneState {
    /// A zone with its first reading.
    pub(crate) fn new(source: SourceId, reading: &ZoneReading) -> Self {
        let device = device_of(reading);
        let mut history = History::default();
        history.push(reading.at, reading.total, Duration::ZERO);
        Self {
            history,
            derived: false,
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
                fit: None,
                age: Duration::ZERO,
                up: true,
            },
            carry: Carry::default(),
            learner: Learner::default(),
            smt: SmtLearner::default(),
            floor: device
                .as_ref()
                .map_or_else(Floor::default, |_| Floor::of_a_device()),
            paid: None,
            elapsed: Duration::ZERO,
            teaches: false,
            latest: Reading {
                total: reading.total,
                idle: reading.idle,
                at: reading.at,
            },
            device,
            night: Night::default(),
            leaves: false,
            read_before: None,
            succeeded: false,
            rebased: false,
            held: None,
            awaits: false,
            skips_from: None,
            debt: None,
            starts_at: None,
        }
    }

    /// A zone that no meter counts, with its first total.
    pub(crate) fn derived(source: SourceId, reading: &ZoneReading) -> Self {
        Self {
            derived: true,
            ..Self::new(source, reading)
        }
    }

    /// Everything is paid and nobody is waited for: its next payment begins at its next reading.
    pub(crate) fn rebase(&mut self) {
        if self.debt.is_none() {
            self.carry = Carry::default();
        }
        self.paid = None;
        self.rebased = true;
    }

    /// Whether no meter counts it.
    pub(crate) const fn is_derived(&self) -> bool {
        self.derived
    }

    /// When it is settled: after those whose charges it is split by.
    pub(crate) fn stage(&self) -> Stage {
        match self.account.zone.component {
            Component::Platform => Stage::Platform,
            Component::Other => Stage::Other,
            _ => Stage::Component,
        }
    }

    /// The newest total, in microjoules, and its moment.
    pub(crate) const fn latest(&self) -> (u64, MonotonicNanos) {
        (self.latest.total.as_micro(), self.latest.at)
    }

    /// Whether it had its first reading in an earlier window, so that CPU time from then on has to be carried.
    pub(crate) const fn has_base(&self) -> bool {
        self.paid.is_some()
    }

    /// Takes the difference since the last payment and splits it into dynamic and idle. `None` when there is nothing
    /// new; the first reading only sets the base. `busy` is cumulative.
    pub(crate) fn settle(&mut self, busy: BusyTime, policy: &FloorPolicy) -> Option<Due> {
        self.start_where_the_other_ended();
        let (paid, busy_then) = match self.paid.replace((self.latest, busy)) {
            Some((paid, busy_then)) if paid.at < self.latest.at => (paid, busy_then),
            _ => {
                self.begin_with_the_newest();
                self.device.iter_mut().for_each(Device::forgive);
                return None;
            }
        };
        // Sources promise totals that never fall; should one break its word, the window is worth nothing and not less.
        let energy = self.latest.total.saturating_sub(paid.total);
        let elapsed = self.latest.at.since(paid.at);
        self.elapsed = elapsed;
        let asleep = self.night.pay();
        let night = night::part(energy, elapsed, asleep);
        let busy = busy.since(busy_then);
        self.teaches = asleep.is_zero() && busy.is_of(elapsed);
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
                if tells && asleep.is_zero() {
                    self.floor.learn(energy, elapsed, busy);
                }
                let mut floor = self.floor.in_force(policy, component);
                if !tells && floor.power.is_none() {
                    floor = InForce::default();
                }
                let day = energy.saturating_sub(night);
                (floor.idle_part(day, elapsed, busy) + night, floor)
            }
        };
        self.account.floor = floor.power;
        self.account.floor_origin = floor.origin;
        self.account.floor_error = floor.error;
        self.account.power = Some(energy.mean_power(elapsed.saturating_add(asleep)));
        let due = Due {
            dynamic: energy.saturating_sub(idle),
            idle,
        };
        self.account.dynamic += due.dynamic;
        self.account.idle += due.idle;
        Some(due)
    }

    /// Whether CPU time pays for this zone.
    pub(crate) const fn is_paid_by_cpu_time(&self) -> bool {
        self.device.is_none()
    }

    /// Whether this window's own time pays for it by a plain feature, and nothing else has to be looked at.
    pub(crate) fn is_plain(&self, by: Weighing<'_>) -> bool {
        let teaches = by.learns() || (by.learns_smt() && self.account.zone.component == Component::Package);
        self.stage() == Stage::Component && self.device.is_none() && self.carry.is_empty() && !teaches
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
        nobody: &Rise,
        due: Due,
        by: Weighing<'_>,
        ids: &mut Vec<AccountId>,
        weights: &mut Vec<u64>,
    ) -> u64 {
        if let Some(device) = &mut self.device {
            self.account.feature = Feature::DeviceTime;
            return device.take_weights(self.elapsed, ids, weights);
        }
        if self.carry.is_empty() {
            // Nobody who ran is left of a window that had been carried, either.
            self.carry = Carry::default();
            return self.weigh(due, by, deltas, nobody, ids, weights);
        }
        let (rises, nobody) = self.carry.take(deltas, nobody);
        let rises = rises.iter().map(|(id, rise)| (*id, *rise));
        self.weigh(due, by, rises, &nobody, ids, weights)
    }

    fn weigh(
        &mut self,
        due: Due,
        by: Weighing<'_>,
        rises: impl Iterator<Item = (AccountId, Rise)> + Clone,
        unknown: &Rise,
        ids: &mut Vec<AccountId>,
        weights: &mut Vec<u64>,
    ) -> u64 {
        let component = self.account.zone.component;
        let plain = by.rules.feature(component, by.counted);
        if component == Component::Package && by.learns_smt() && self.teaches {
            let rises = rises.clone().map(|(_, rise)| rise);
            self.smt.learn(due.dynamic, self.elapsed, rises);
        }
        if self.stage() == Stage::Component && by.learns() {
            let paid = Paid {
                dynamic: due.dynamic,
                elapsed: self.elapsed,
                teaches: self.teaches,
                plain,
                smt: by.smt,
            };
            let learned = self.learner.weigh(paid, rises.clone(), unknown, ids, weights);
            self.account.fit = self.learner.fit();
            if let Some(unknown) = learned {
                self.account.feature = Feature::Learned;
                return unknown;
            }
        }
        let (unknown, feature) = weigh(plain, by.smt, rises, unknown, ids, weights);
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
        if packages.is_empty() {
            // There is a CPU, and nobody has told its time yet.
            return BusyTime {
                cpus: 1,
                ..BusyTime::default()
            };
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

    pub(crate) fn take(&mut self, reading: &ZoneReading) {
        self.account.provenance = reading.provenance;
        self.account.up = true;
        // Said again by a meter that has nothing newer.
        if reading.at <= self.latest.at {
            return;
        }
        (self.leaves, self.succeeded, self.awaits) = (false, false, false);
        let asleep = self.night.read(reading.provenance);
        match &mut self.device {
            Some(device) => device.take(reading.device.as_ref(), reading.at.since(self.latest.at)),
            None => {
                self.device = device_of(reading);
                if self.device.is_some() {
                    self.floor = Floor::of_a_device();
                    // Who ran does not pay for a device.
                    self.carry = Carry::default();
                }
            }
        }
        self.latest = Reading {
            total: reading.total.max(self.latest.total),
            idle: reading.idle,
            at: reading.at,
        };
        self.history.push(self.latest.at, self.latest.total, asleep);
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
