// SPDX-License-Identifier: Apache-2.0
//! Energy reports as bytes: what changed since the same source's report before.

use super::facts::fields;
use super::fault::Garbled;
use super::wire::{Code, In, Out};
use crate::model::{
    DeviceNanos, DeviceUse, DeviceUser, Energy, Microjoules, MonotonicNanos, SourceError, ZoneReading,
};

fields! {
    SourceError { zone, reason, count, latest }
}

/// The zone is not the one that stood at this place before.
const ZONE: u8 = 1;
/// The provenance is another one.
const PROVENANCE: u8 = 2;
/// The source knows how much of it is idle.
const IDLE: u8 = 4;
/// The zone is a device whose use is known.
const DEVICE: u8 = 8;
/// The reading is not about the moment that the one before was about.
const MOVED: u8 = 16;

/// Writes `now` as what changed since `before`; `began` is when it was read.
pub(super) fn put(to: &mut Out, now: &Energy, before: &Energy, began: MonotonicNanos) {
    let Energy { zones, errors } = now;
    to.count(zones.len());
    for (place, reading) in zones.iter().enumerate() {
        put_reading(to, reading, before.zones.get(place), began);
    }
    let other = *errors != before.errors;
    other.put(to);
    if other {
        errors.put(to);
    }
}

/// Reads what [`put`] wrote.
pub(super) fn take(from: &mut In<'_>, before: &Energy, began: MonotonicNanos) -> Result<Energy, Garbled> {
    let count = from.items(size_of::<ZoneReading>())?;
    let zones = (0..count).map(|place| take_reading(from, before.zones.get(place), began));
    let zones = zones.collect::<Result<_, _>>()?;
    let errors = match bool::take(from)? {
        true => Code::take(from)?,
        false => copied(from, &before.errors)?,
    };
    Ok(Energy { zones, errors })
}

/// The errors of the report before, at the cost of a copy.
fn copied(from: &mut In<'_>, errors: &[SourceError]) -> Result<Vec<SourceError>, Garbled> {
    from.spend(size_of_val(errors))?;
    Ok(errors.to_vec())
}

fn put_reading(to: &mut Out, reading: &ZoneReading, old: Option<&ZoneReading>, began: MonotonicNanos) {
    let ZoneReading {
        zone,
        total,
        idle,
        provenance,
        at,
        device,
    } = reading;
    // A zone that is new at its place is compared with nothing.
    let old = old.filter(|old| old.zone == *zone);
    let flag = |set, flag| if set { flag } else { 0 };
    let is_other = old.is_none_or(|old| old.provenance != *provenance);
    let moved = old.is_none_or(|old| old.at != *at);
    to.byte(
        flag(old.is_none(), ZONE)
            | flag(is_other, PROVENANCE)
            | flag(idle.is_some(), IDLE)
            | flag(device.is_some(), DEVICE)
            | flag(moved, MOVED),
    );
    if old.is_none() {
        zone.put(to);
    }
    if is_other {
        provenance.put(to);
    }
    to.step(total.as_micro(), old.map_or(0, |old| old.total.as_micro()));
    if let Some(idle) = idle {
        to.step(idle.as_micro(), idle_of(old).as_micro());
    }
    if moved {
        to.step(at.as_nanos(), began.as_nanos());
    }
    if let Some(device) = device {
        put_use(to, device, old.and_then(|old| old.device.as_ref()));
    }
}

fn take_reading(
    from: &mut In<'_>,
    old: Option<&ZoneReading>,
    began: MonotonicNanos,
) -> Result<ZoneReading, Garbled> {
    let flags = from.byte()?;
    let old = old.filter(|_| flags & ZONE == 0);
    let missing = Garbled("a zone that was never named");
    let zone = match flags & ZONE {
        0 => old.ok_or(missing)?.zone.clone(),
        _ => Code::take(from)?,
    };
    let provenance = match flags & PROVENANCE {
        0 => old.ok_or(missing)?.provenance,
        _ => Code::take(from)?,
    };
    let total = Microjoules::from_micro(from.step(old.map_or(0, |old| old.total.as_micro()))?);
    let idle = match flags & IDLE {
        0 => None,
        _ => Some(Microjoules::from_micro(from.step(idle_of(old).as_micro())?)),
    };
    let at = match flags & MOVED {
        0 => old.ok_or(missing)?.at,
        _ => MonotonicNanos::from_nanos(from.step(began.as_nanos())?),
    };
    let device = match flags & DEVICE {
        0 => None,
        _ => Some(take_use(from, old.and_then(|old| old.device.as_ref()))?),
    };
    Ok(ZoneReading {
        zone,
        total,
        idle,
        provenance,
        at,
        device,
    })
}

fn idle_of(old: Option<&ZoneReading>) -> Microjoules {
    old.and_then(|old| old.idle).unwrap_or_default()
}

fn put_use(to: &mut Out, now: &DeviceUse, before: Option<&DeviceUse>) {
    let DeviceUse { busy, users } = now;
    busy.is_some().put(to);
    if let Some(busy) = busy {
        to.step(busy.as_nanos(), busy_of(before).as_nanos());
    }
    to.count(users.len());
    for (place, user) in users.iter().enumerate() {
        let old = user_at(before, place);
        to.step(u64::from(user.pid), u64::from(old.pid));
        to.step(user.used.as_nanos(), old.used.as_nanos());
    }
}

fn take_use(from: &mut In<'_>, before: Option<&DeviceUse>) -> Result<DeviceUse, Garbled> {
    let busy = match bool::take(from)? {
        true => Some(DeviceNanos::from_nanos(from.step(busy_of(before).as_nanos())?)),
        false => None,
    };
    let count = from.items(size_of::<DeviceUser>())?;
    let mut users = Vec::with_capacity(count);
    for place in 0..count {
        let old = user_at(before, place);
        users.push(DeviceUser {
            pid: from.small_step(u64::from(old.pid))?,
            used: DeviceNanos::from_nanos(from.step(old.used.as_nanos())?),
        });
    }
    Ok(DeviceUse { busy, users })
}

fn busy_of(before: Option<&DeviceUse>) -> DeviceNanos {
    before.and_then(|before| before.busy).unwrap_or_default()
}

fn user_at(before: Option<&DeviceUse>, place: usize) -> DeviceUser {
    let nobody = DeviceUser {
        pid: 0,
        used: DeviceNanos::ZERO,
    };
    before
        .and_then(|before| before.users.get(place).copied())
        .unwrap_or(nobody)
}
