// SPDX-License-Identifier: Apache-2.0
//! One GPU since it was first seen: owns its energy total and the totals of its users, none of which ever falls while it
//! is listed, and asks nobody.

use super::driver::{Load, Look, Member, Meter};
use super::load::{Rates, Tracker, WHOLE};
use crate::backoff::Backoff;
use crate::counter::{CounterTrack, Step};
use crate::integrate::{Integrator, Sampled};
use crate::moment::Moment;
use attribution::model::{
    Component, DeviceNanos, DeviceUse, DeviceUser, ErrorReason, Microjoules, Microwatts, MonotonicNanos,
    Place, Provenance, Zone, ZoneReading,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The counter has 64 bits of millijoules and starts at zero when the driver is loaded, so it never wraps: what goes back is
/// a reset, by a range that no step can cross.
const RANGE: u64 = u64::MAX;

/// Longest time between two readings over which power or use is carried: three of the longest ticks. What happened in a longer one
/// is not known.
const LONGEST_GAP: Duration = Duration::from_secs(180);

/// Highest plausible power: where the board tells none, three times the largest board of today (1400 W); within
/// these bounds where it tells.
const UNTOLD: Microwatts = Microwatts::from_watts(4_000);
const LEAST: Microwatts = Microwatts::from_watts(100);
const MOST: Microwatts = Microwatts::from_watts(20_000);

/// Most processes that are told apart on one GPU. The driver gives out hundreds of contexts; what is beyond counts as use
/// without a known user.
const MOST_USERS: usize = 1_024;

/// Something to tell: what kind, and the words.
type Complaint = (ErrorReason, String);

/// How its energy is known at present.
#[derive(Clone, Debug)]
enum Total {
    Counted(CounterTrack),
    Integrated(Integrator),
}

impl Total {
    const fn so_far(&self) -> Microjoules {
        match self {
            Self::Counted(track) => track.total(),
            Self::Integrated(integrator) => integrator.total(),
        }
    }
}

/// One GPU.
#[derive(Clone, Debug)]
pub(crate) struct Gpu {
    pub(super) uuid: Arc<str>,
    pub(super) name: String,
    pub(super) zone: Zone,
    /// Whether the library has it now.
    pub(super) present: bool,
    pub(super) backoff: Backoff,
    max_power: Microwatts,
    /// What other ways of knowing had counted before.
    before: Microjoules,
    total: Total,
    pub(super) tracker: Tracker,
    used: Used,
}

impl Gpu {
    /// A GPU that was not known before.
    pub(super) fn new(member: &Member, max_watts: u32) -> Self {
        let max_power = max_power(member, max_watts);
        Self {
            uuid: Arc::clone(&member.uuid),
            name: member.name.clone(),
            zone: Zone {
                component: Component::Gpu,
                place: Place::Named(Arc::clone(&member.uuid)),
            },
            present: true,
            backoff: Backoff::default(),
            max_power,
            before: Microjoules::ZERO,
            total: Total::Counted(CounterTrack::new(RANGE, max_power)),
            tracker: Tracker::default(),
            used: Used::default(),
        }
    }

    /// The library was opened again and has it. Its total stays; the driver's samples begin anew.
    pub(super) fn found_again(&mut self, member: &Member, max_watts: u32) {
        self.present = true;
        self.backoff.succeeded();
        self.max_power = max_power(member, max_watts);
        self.tracker = Tracker::default();
        if let Total::Counted(track) = &mut self.total {
            track.found_again(RANGE, self.max_power);
        }
    }

    /// Goes on where another reader of the same GPU stopped, with its totals, its users and the driver's samples that it had seen, and
    /// with the highest power that this one believes. `false` where nothing had been read.
    pub(super) fn follow(&mut self, before: Self) -> bool {
        let mut total = before.total;
        if let Total::Counted(track) = &mut total {
            let mut mine = CounterTrack::new(RANGE, self.max_power);
            if !mine.follow(std::mem::replace(track, mine.clone())) {
                return false;
            }
            *track = mine;
        }
        self.total = total;
        (self.before, self.tracker, self.used) = (before.before, before.tracker, before.used);
        true
    }

    /// Takes what it answered at `now`: a reading unless the meter's value cannot be one, and what there is to complain
    /// about.
    pub(super) fn take(&mut self, look: Look, when: Moment) -> (Option<ZoneReading>, Vec<Complaint>) {
        let now = when.at;
        let mut complaints: Vec<Complaint> = Vec::new();
        complaints.extend(look.faults.into_iter().map(|fault| (fault.reason, fault.words)));
        let is_known = !matches!(look.load, Load::Unknown);
        let (rates, refused) = self.tracker.rates(&look.load, now);
        if refused > 0 {
            let words = format!(
                "{}: {refused} samples of processes above 100 % or without a moment",
                self.uuid
            );
            complaints.push((ErrorReason::Implausible, words));
        }
        if !is_known {
            self.used.skip(now);
        } else if self.used.advance(&rates, now) > 0 {
            let words = format!(
                "{}: more than {MOST_USERS} processes; the others are unknown users",
                self.uuid
            );
            complaints.push((ErrorReason::Implausible, words));
        }
        let (counts, complaint) = match look.meter {
            Meter::Energy(millijoules) => self.count(millijoules, when),
            Meter::Power(milliwatts) => self.integrate(milliwatts, now),
        };
        complaints.extend(complaint);
        if !counts {
            self.backoff.failed(now);
            return (None, complaints);
        }
        self.backoff.succeeded();
        (Some(self.reading(now, is_known)), complaints)
    }

    fn reading(&self, now: MonotonicNanos, is_known: bool) -> ZoneReading {
        ZoneReading {
            zone: self.zone.clone(),
            total: self.before + self.total.so_far(),
            idle: None,
            provenance: match self.total {
                Total::Counted(_) => Provenance::Counted,
                Total::Integrated(_) => Provenance::Integrated,
            },
            at: now,
            // Not to be known is not to be at rest.
            device: is_known.then(|| self.used.so_far()),
        }
    }

    /// Whether the value is one of the counter's, and what there is to say about it.
    fn count(&mut self, millijoules: u64, now: Moment) -> (bool, Option<Complaint>) {
        if !matches!(self.total, Total::Counted(_)) {
            self.change(Total::Counted(CounterTrack::new(RANGE, self.max_power)));
        }
        let Total::Counted(track) = &mut self.total else {
            return (false, None);
        };
        let raw = Microjoules::from_milli(millijoules).as_micro();
        let step = track.advance(raw, now);
        (step != Step::OutOfRange, step.complaint(&self.uuid, raw))
    }

    /// The same for power.
    fn integrate(&mut self, milliwatts: u32, now: MonotonicNanos) -> (bool, Option<Complaint>) {
        let power = Microwatts::from_micro(u64::from(milliwatts).saturating_mul(1_000));
        if power > self.max_power {
            let most = self.max_power.as_micro() / 1_000;
            let words = format!("{}: {milliwatts} mW where {most} is the most", self.uuid);
            return (false, Some((ErrorReason::Implausible, words)));
        }
        if !matches!(self.total, Total::Integrated(_)) {
            self.change(Total::Integrated(Integrator::new(LONGEST_GAP)));
        }
        let Total::Integrated(integrator) = &mut self.total else {
            return (false, None);
        };
        let Sampled::GapTooLong(gap) = integrator.sample(now, power) else {
            return (true, None);
        };
        let words = format!(
            "{}: no power for {} s; that time is not counted",
            self.uuid,
            gap.as_secs()
        );
        (true, Some((ErrorReason::Timeout, words)))
    }

    /// Begins anew in another way: what both would have counted is counted once.
    fn change(&mut self, total: Total) {
        self.before += self.total.so_far();
        self.total = total;
    }
}

/// The most power that is believed of a board.
fn max_power(member: &Member, max_watts: u32) -> Microwatts {
    if max_watts > 0 {
        return Microwatts::from_watts(u64::from(max_watts));
    }
    let told = member.limit.filter(|limit| !limit.is_zero());
    told.map_or(UNTOLD, |limit| {
        Microwatts::from_micro(limit.as_micro().saturating_mul(4)).clamp(LEAST, MOST)
    })
}

/// Use of the device since it was first seen.
#[derive(Clone, Debug, Default)]
struct Used {
    last: Option<MonotonicNanos>,
    busy: DeviceNanos,
    /// Those that use it or have used it since the reading before; at most [`MOST_USERS`].
    users: BTreeMap<u32, DeviceNanos>,
}

impl Used {
    /// Bills the time since the last call at these rates. Forgets who has used nothing since, and says how many users were
    /// too many.
    fn advance(&mut self, rates: &Rates, now: MonotonicNanos) -> usize {
        let elapsed = self.last.map_or(Duration::ZERO, |last| now.since(last));
        self.last = Some(self.last.map_or(now, |last| last.max(now)));
        let elapsed = if elapsed > LONGEST_GAP {
            Duration::ZERO
        } else {
            elapsed
        };
        self.busy += share(rates.busy, elapsed);
        self.users.retain(|pid, _| rates.users.contains_key(pid));
        let mut too_many = 0;
        for (pid, rate) in &rates.users {
            if self.users.len() >= MOST_USERS && !self.users.contains_key(pid) {
                too_many += 1;
                continue;
            }
            *self.users.entry(*pid).or_default() += share(*rate, elapsed);
        }
        too_many
    }

    /// Lets the time since the last call go by: who used it is not known.
    fn skip(&mut self, now: MonotonicNanos) {
        self.last = Some(self.last.map_or(now, |last| last.max(now)));
    }

    fn so_far(&self) -> DeviceUse {
        let user = |(pid, used): (&u32, &DeviceNanos)| DeviceUser {
            pid: *pid,
            used: *used,
        };
        DeviceUse {
            busy: Some(self.busy),
            users: self.users.iter().map(user).collect(),
        }
    }
}

/// `rate` millionths of `elapsed`, rounded down.
fn share(rate: u32, elapsed: Duration) -> DeviceNanos {
    let nanos = elapsed.as_nanos().saturating_mul(u128::from(rate)) / u128::from(WHOLE);
    DeviceNanos::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
