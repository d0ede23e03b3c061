// SPDX-License-Identifier: Apache-2.0
//! Slots, and the node's energy in them by component.

use super::spread;
use crate::view::read_at;
use attribution::model::snapshot::ZoneAccount;
use attribution::model::{Component, Microjoules, MonotonicNanos, Permille, Provenance, Snapshot, Zone};
use std::collections::VecDeque;
use std::time::Duration;

/// A stretch of time with what the node used in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    /// Counts up by one from 1, and never begins again.
    pub(crate) number: u64,
    /// Where the slot before it ended.
    pub(crate) began: MonotonicNanos,
    /// Its end.
    pub(crate) ended: MonotonicNanos,
    parts: [Option<Paid>; Component::ALL.len()],
}

/// What is known of a component in one slot.
#[derive(Clone, Copy, Debug, Default)]
struct Paid {
    part: Part,
    /// Zones of it that answer and have not been paid for this slot yet.
    missing: u16,
}

/// A component's energy in a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Part {
    /// Above the idle floor.
    pub(crate) dynamic: Microjoules,
    /// Of the idle floor.
    pub(crate) idle: Microjoules,
    /// Where some of it is an estimate: the largest expected error of its zones.
    pub(crate) error: Option<Permille>,
}

impl Slot {
    /// Its length.
    pub(crate) const fn length(&self) -> Duration {
        self.ended.since(self.began)
    }

    /// A component's energy; `None` where it has no zone or one of its zones is still to be paid.
    pub(crate) fn part(&self, component: Component) -> Option<Part> {
        let paid = (*self.parts.get(position(component))?)?;
        (paid.missing == 0).then_some(paid.part)
    }

    fn paid(&mut self, component: Component) -> Option<&mut Paid> {
        self.parts
            .get_mut(position(component))
            .map(|paid| paid.get_or_insert_default())
    }
}

fn position(component: Component) -> usize {
    let mut all = Component::ALL.iter();
    all.position(|one| *one == component).unwrap_or(usize::MAX)
}

/// The ring: slots that follow each other without gaps.
#[derive(Debug)]
pub(super) struct Slots {
    ring: VecDeque<Slot>,
    capacity: usize,
    began: Option<MonotonicNanos>,
    newest: u64,
}

impl Slots {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            ring: VecDeque::with_capacity(capacity),
            capacity,
            began: None,
            newest: 0,
        }
    }

    pub(super) fn begin(&mut self, moment: MonotonicNanos) {
        self.began = Some(moment);
    }

    /// Numbers go on after `newest`.
    pub(super) const fn go_on_after(&mut self, newest: u64) {
        self.newest = newest;
    }

    /// A new slot, up to `now`; the oldest makes room for it.
    pub(super) fn push(&mut self, now: MonotonicNanos) {
        let began = self.ended().unwrap_or(now);
        if self.ring.len() >= self.capacity {
            self.ring.pop_front();
        }
        self.newest = self.newest.saturating_add(1);
        self.ring.push_back(Slot {
            number: self.newest,
            began,
            ended: now,
            parts: [None; Component::ALL.len()],
        });
    }

    pub(super) const fn began(&self) -> Option<MonotonicNanos> {
        self.began
    }

    pub(super) const fn newest(&self) -> u64 {
        self.newest
    }

    /// End of the newest slot, or the begin of the record.
    pub(super) fn ended(&self) -> Option<MonotonicNanos> {
        self.ring.back().map(|slot| slot.ended).or(self.began)
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Slot> + Clone {
        self.ring.iter()
    }

    /// Slots that end after `moment`, the newest first, each with its part of the time from `moment` on.
    pub(super) fn since(
        &self,
        moment: MonotonicNanos,
    ) -> impl Iterator<Item = (u64, Duration, Duration)> + '_ {
        let slots = self.ring.iter().rev().take_while(move |slot| slot.ended > moment);
        slots.map(move |slot| (slot.number, slot.began.since(moment), slot.ended.since(moment)))
    }
}

/// A zone's payment for a slot or for several: how far back it reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Payment {
    /// The moment up to which the zone had been paid before; `None` where it was not paid now.
    pub(super) since: Option<MonotonicNanos>,
}

/// Zones as they were when they were paid last.
#[derive(Debug, Default)]
pub(super) struct Node {
    zones: Vec<Track>,
}

#[derive(Debug)]
struct Track {
    zone: Zone,
    dynamic: Microjoules,
    idle: Microjoules,
    read: MonotonicNanos,
    paid: MonotonicNanos,
}

impl Track {
    fn new(account: &ZoneAccount, paid: MonotonicNanos) -> Self {
        Self {
            zone: account.zone.clone(),
            dynamic: Microjoules::ZERO,
            idle: Microjoules::ZERO,
            read: MonotonicNanos::ZERO,
            paid,
        }
    }

    fn take(&mut self, account: &ZoneAccount, now: MonotonicNanos) {
        self.dynamic = account.dynamic;
        self.idle = account.idle;
        self.read = read_at(account, now);
        self.paid = now;
    }

    /// Whether the zone was paid since: its total moved, or its meter was read again and says that nothing is used.
    fn is_paid(&self, account: &ZoneAccount, now: MonotonicNanos) -> bool {
        let moved = account.dynamic != self.dynamic || account.idle != self.idle;
        let rests = account.power.is_some_and(|power| power.is_zero());
        moved || (rests && read_at(account, now) > self.read)
    }
}

impl Node {
    /// Totals that belong to a time before the record.
    pub(super) fn begin(&mut self, snapshot: &Snapshot) {
        let now = snapshot.window.ended;
        self.zones = snapshot
            .zones
            .iter()
            .map(|account| {
                let mut track = Track::new(account, now);
                track.take(account, now);
                track
            })
            .collect();
    }

    /// Pays the newest slot, and those before it that waited for this. Says of each zone how far back that went.
    pub(super) fn pay(&mut self, snapshot: &Snapshot, slots: &mut Slots) -> Vec<Payment> {
        let now = snapshot.window.ended;
        self.zones.truncate(snapshot.zones.len());
        let pay = |(position, account): (usize, &ZoneAccount)| {
            let newest = slots.ring.back().map_or(now, |slot| slot.began);
            let fits = self
                .zones
                .get(position)
                .is_some_and(|track| track.zone == account.zone);
            if !fits {
                // A zone that is new begins with the slot that it is first seen in.
                let track = Track::new(account, newest);
                match self.zones.get_mut(position) {
                    Some(other) => *other = track,
                    None => self.zones.push(track),
                }
            }
            let track = self.zones.get_mut(position)?;
            if account.power.is_none() && account.dynamic.is_zero() && account.idle.is_zero() {
                // Its first reading: it has not measured any time yet.
                track.take(account, now);
                return None;
            }
            let payment = Payment {
                since: track.is_paid(account, now).then_some(track.paid),
            };
            settle(slots, track, account, payment);
            if payment.since.is_some() {
                track.take(account, now);
            }
            Some(payment)
        };
        let zones = snapshot.zones.iter().enumerate();
        zones.map(pay).map(Option::unwrap_or_default).collect()
    }
}

/// Writes a zone's energy into the slots that it is for, or that it is missing in the newest one.
fn settle(slots: &mut Slots, track: &Track, account: &ZoneAccount, payment: Payment) {
    let error = match account.provenance {
        Provenance::Estimated { relative_error_p90 } => Some(relative_error_p90),
        Provenance::Counted | Provenance::Integrated => None,
    };
    let newest = slots.newest;
    let Some(since) = payment.since else {
        if let Some(paid) = slots
            .ring
            .back_mut()
            .and_then(|slot| slot.paid(account.zone.component))
        {
            // A zone that does not answer leaves the others of its component alone.
            paid.missing = paid.missing.saturating_add(u16::from(account.up));
        }
        return;
    };
    let spent = |now: Microjoules, before: Microjoules| now.saturating_sub(before).as_micro();
    let dynamic = spent(account.dynamic, track.dynamic);
    let idle = spent(account.idle, track.idle);
    let whole = slots.ended().map_or(Duration::ZERO, |ended| ended.since(since));
    for slot in slots.ring.iter_mut().rev().take_while(|slot| slot.ended > since) {
        let waited = slot.number != newest;
        let (from, to) = (slot.began.since(since), slot.ended.since(since));
        let Some(paid) = slot.paid(account.zone.component) else {
            continue;
        };
        paid.part.dynamic += Microjoules::from_micro(spread::part(dynamic, whole, from, to));
        paid.part.idle += Microjoules::from_micro(spread::part(idle, whole, from, to));
        paid.part.error = paid.part.error.max(error);
        if waited {
            paid.missing = paid.missing.saturating_sub(1);
        }
    }
}
