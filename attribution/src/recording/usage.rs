// SPDX-License-Identifier: Apache-2.0
//! Usage reports as bytes: what changed since the report before. A row that did not run costs nothing, a thousand of
//! them a byte or two; the order of the rows comes back as it was, because the engine's work depends on it.

use super::fault::Garbled;
use super::wire::{Code, In, Out};
use crate::model::{
    CgroupId, Comm, CpuNanos, CpuTime, Event, EventCounts, EventSet, LostEvents, PackageId, PackageTime,
    SoftirqTime, TaskKey, TaskKind, TaskUsage, Usage,
};
use std::collections::HashMap;

/// Most rows of a report. The probe holds a sixteenth of it.
pub(super) const MOST_ROWS: usize = 1 << 18;

/// What a step through the rows does. In the two lowest bits of a number; the rest of it is a count, an index or flags.
const SAME: u64 = 0;
const CHANGED: u64 = 1;
const GO_TO: u64 = 2;
const NEW: u64 = 3;

/// What of a row is not as it was.
const CPU: u64 = 1;
const EVENTS: u64 = 2;
const COMM: u64 = 4;
const KIND: u64 = 8;
const ENDED: u64 = 16;

type Key = (Option<TaskKey>, CgroupId, PackageId);

const fn key(row: &TaskUsage) -> Key {
    (row.task, row.cgroup, row.package)
}

/// A row of which only the key is known.
const fn blank((task, cgroup, package): Key) -> TaskUsage {
    TaskUsage {
        task,
        cgroup,
        package,
        cpu: CpuNanos::ZERO,
        events: EventCounts::ZERO,
        comm: Comm([0; 16]),
        kind: TaskKind::User,
        ended: false,
    }
}

/// Writes `now` as what changed since `before`.
pub(super) fn put(to: &mut Out, now: &Usage, before: &Usage) {
    let Usage {
        tasks,
        packages,
        cpus,
        softirqs,
        counted,
        lost,
        // Nobody takes a probe's place while one records.
        era: _,
        base: _,
    } = now;
    put_rows(to, tasks, &before.tasks);
    put_list(to, packages, &before.packages);
    put_list(to, cpus, &before.cpus);
    put_list(to, softirqs, &before.softirqs);
    put_list(to, lost, &before.lost);
    to.number(bits(*counted));
}

/// Reads what [`put`] wrote.
pub(super) fn take(from: &mut In<'_>, before: &Usage) -> Result<Usage, Garbled> {
    Ok(Usage {
        tasks: take_rows(from, &before.tasks)?,
        packages: take_list(from, &before.packages)?,
        cpus: take_list(from, &before.cpus)?,
        softirqs: take_list(from, &before.softirqs)?,
        lost: take_list(from, &before.lost)?,
        counted: set(from.number()?)?,
        ..Usage::default()
    })
}

fn put_rows(to: &mut Out, now: &[TaskUsage], before: &[TaskUsage]) {
    to.count(now.len());
    let mut places = None;
    let mut next = 0;
    let mut same = 0_u64;
    for row in now {
        let mut old = before.get(next).filter(|old| key(old) == key(row));
        if old.is_none() {
            let places = places.get_or_insert_with(|| -> HashMap<Key, usize> {
                before
                    .iter()
                    .enumerate()
                    .map(|(place, old)| (key(old), place))
                    .collect()
            });
            if let Some(place) = places.get(&key(row)) {
                flush(to, &mut same);
                to.number(u64::try_from(*place).unwrap_or(0) << 2 | GO_TO);
                next = *place;
                old = before.get(next);
            }
        }
        let Some(old) = old else {
            flush(to, &mut same);
            let old = blank(key(row));
            let flags = changes(row, &old);
            to.number(flags << 2 | NEW);
            (row.task, (row.cgroup, row.package)).put(to);
            put_changes(to, flags, row, &old);
            continue;
        };
        next += 1;
        let flags = changes(row, old);
        if flags == 0 {
            same += 1;
            continue;
        }
        flush(to, &mut same);
        to.number(flags << 2 | CHANGED);
        put_changes(to, flags, row, old);
    }
    flush(to, &mut same);
}

/// Writes how many rows are as they were.
fn flush(to: &mut Out, same: &mut u64) {
    if *same > 0 {
        to.number(*same << 2 | SAME);
        *same = 0;
    }
}

fn changes(row: &TaskUsage, old: &TaskUsage) -> u64 {
    let flag = |changed, flag| if changed { flag } else { 0 };
    flag(row.cpu != old.cpu, CPU)
        | flag(row.events != old.events, EVENTS)
        | flag(row.comm != old.comm, COMM)
        | flag(row.kind != old.kind, KIND)
        | flag(row.ended != old.ended, ENDED)
}

fn put_changes(to: &mut Out, flags: u64, row: &TaskUsage, old: &TaskUsage) {
    if flags & CPU != 0 {
        to.step(row.cpu.as_nanos(), old.cpu.as_nanos());
    }
    if flags & EVENTS != 0 {
        let changed = Event::ALL
            .into_iter()
            .filter(|event| row.events.get(*event) != old.events.get(*event));
        to.number(bits(changed.clone().fold(EventSet::NONE, EventSet::with)));
        changed.for_each(|event| to.step(row.events.get(event), old.events.get(event)));
    }
    if flags & COMM != 0 {
        row.comm.put(to);
    }
    if flags & KIND != 0 {
        row.kind.put(to);
    }
}

fn take_rows(from: &mut In<'_>, before: &[TaskUsage]) -> Result<Vec<TaskUsage>, Garbled> {
    let count: usize = from.small()?;
    if count > MOST_ROWS {
        return Err(Garbled("more rows of usage than any node has"));
    }
    let mut rows = Vec::new();
    let mut next = 0;
    while rows.len() < count {
        let step = from.number()?;
        let rest = step >> 2;
        let place = usize::try_from(rest).map_err(|_beyond| Garbled("a row beyond the end"))?;
        match step & 3 {
            SAME => {
                let end = place.saturating_add(next);
                let as_they_were = before
                    .get(next..end)
                    .filter(|old| old.len() <= count - rows.len())
                    .ok_or(Garbled("a row beyond the end"))?;
                // Three bytes name a quarter of a million rows.
                from.spend(size_of_val(as_they_were))?;
                rows.extend(as_they_were);
                next = end;
            }
            CHANGED => {
                let old = before.get(next).ok_or(Garbled("a row beyond the end"))?;
                from.spend(size_of::<TaskUsage>())?;
                rows.push(take_changes(from, rest, *old)?);
                next += 1;
            }
            GO_TO => next = place,
            _ => {
                from.spend(size_of::<TaskUsage>())?;
                let (task, (cgroup, package)) = Code::take(from)?;
                rows.push(take_changes(from, rest, blank((task, cgroup, package)))?);
            }
        }
    }
    Ok(rows)
}

fn take_changes(from: &mut In<'_>, flags: u64, mut row: TaskUsage) -> Result<TaskUsage, Garbled> {
    if flags & CPU != 0 {
        row.cpu = CpuNanos::from_nanos(from.step(row.cpu.as_nanos())?);
    }
    if flags & EVENTS != 0 {
        for event in set(from.number()?)?.iter() {
            row.events = row.events.with(event, from.step(row.events.get(event))?);
        }
    }
    if flags & COMM != 0 {
        row.comm = Code::take(from)?;
    }
    if flags & KIND != 0 {
        row.kind = Code::take(from)?;
    }
    if flags & ENDED != 0 {
        row.ended = !row.ended;
    }
    Ok(row)
}

/// Events by their number in the format.
const EVENTS_BY_BIT: [Event; Event::COUNT] = [
    Event::CpuCycles,
    Event::RefCycles,
    Event::Instructions,
    Event::CacheMisses,
    Event::PageCacheHits,
    Event::NetTxIrqs,
    Event::NetRxIrqs,
    Event::BlockIrqs,
    Event::Switches,
    Event::SmtOverlap,
];

fn bits(set: EventSet) -> u64 {
    let events = EVENTS_BY_BIT.iter().enumerate();
    events
        .filter(|(_, event)| set.has(**event))
        .fold(0, |bits, (bit, _)| bits | 1 << bit)
}

fn set(bits: u64) -> Result<EventSet, Garbled> {
    if bits >> Event::COUNT != 0 {
        return Err(Garbled("an unknown event"));
    }
    let events = EVENTS_BY_BIT.iter().enumerate();
    Ok(events
        .filter(|(bit, _)| bits >> bit & 1 != 0)
        .fold(EventSet::NONE, |set, (_, event)| set.with(*event)))
}

/// A row of a short list that is there in every report, written as what changed since the row at its place before.
trait Listed: Copy {
    /// What the first one is compared with.
    const NOTHING: Self;
    fn put(&self, before: &Self, to: &mut Out);
    fn take(before: &Self, from: &mut In<'_>) -> Result<Self, Garbled>;
}

fn put_list<T: Listed>(to: &mut Out, now: &[T], before: &[T]) {
    to.count(now.len());
    for (place, row) in now.iter().enumerate() {
        row.put(before.get(place).unwrap_or(&T::NOTHING), to);
    }
}

fn take_list<T: Listed>(from: &mut In<'_>, before: &[T]) -> Result<Vec<T>, Garbled> {
    let count = from.items(size_of::<T>())?;
    (0..count)
        .map(|place| T::take(before.get(place).unwrap_or(&T::NOTHING), from))
        .collect()
}

impl Listed for PackageTime {
    const NOTHING: Self = Self {
        package: PackageId(0),
        cpus: 0,
        busy: CpuNanos::ZERO,
        idle: CpuNanos::ZERO,
    };

    fn put(&self, before: &Self, to: &mut Out) {
        self.package.put(to);
        self.cpus.put(to);
        to.step(self.busy.as_nanos(), before.busy.as_nanos());
        to.step(self.idle.as_nanos(), before.idle.as_nanos());
    }

    fn take(before: &Self, from: &mut In<'_>) -> Result<Self, Garbled> {
        Ok(Self {
            package: Code::take(from)?,
            cpus: from.small()?,
            busy: CpuNanos::from_nanos(from.step(before.busy.as_nanos())?),
            idle: CpuNanos::from_nanos(from.step(before.idle.as_nanos())?),
        })
    }
}

impl Listed for CpuTime {
    const NOTHING: Self = Self {
        cpu: 0,
        package: PackageId(0),
        online: false,
        busy: CpuNanos::ZERO,
        idle: CpuNanos::ZERO,
        steal: None,
    };

    fn put(&self, before: &Self, to: &mut Out) {
        to.byte(u8::from(self.online) | u8::from(self.steal.is_some()) << 1);
        to.step(u64::from(self.cpu), u64::from(before.cpu));
        to.step(u64::from(self.package.0), u64::from(before.package.0));
        to.step(self.busy.as_nanos(), before.busy.as_nanos());
        to.step(self.idle.as_nanos(), before.idle.as_nanos());
        if let Some(steal) = self.steal {
            to.step(steal.as_nanos(), before.steal.unwrap_or_default().as_nanos());
        }
    }

    fn take(before: &Self, from: &mut In<'_>) -> Result<Self, Garbled> {
        let flags = from.byte()?;
        Ok(Self {
            online: flags & 1 != 0,
            cpu: from.small_step(u64::from(before.cpu))?,
            package: from.small_step(u64::from(before.package.0)).map(PackageId)?,
            busy: CpuNanos::from_nanos(from.step(before.busy.as_nanos())?),
            idle: CpuNanos::from_nanos(from.step(before.idle.as_nanos())?),
            steal: match flags & 2 {
                0 => None,
                _ => Some(CpuNanos::from_nanos(
                    from.step(before.steal.unwrap_or_default().as_nanos())?,
                )),
            },
        })
    }
}

impl Listed for SoftirqTime {
    const NOTHING: Self = Self {
        package: PackageId(0),
        vector: "",
        count: 0,
        time: CpuNanos::ZERO,
    };

    fn put(&self, before: &Self, to: &mut Out) {
        self.package.put(to);
        self.vector.put(to);
        to.step(self.count, before.count);
        to.step(self.time.as_nanos(), before.time.as_nanos());
    }

    fn take(before: &Self, from: &mut In<'_>) -> Result<Self, Garbled> {
        Ok(Self {
            package: Code::take(from)?,
            vector: Code::take(from)?,
            count: from.step(before.count)?,
            time: CpuNanos::from_nanos(from.step(before.time.as_nanos())?),
        })
    }
}

impl Listed for LostEvents {
    const NOTHING: Self = Self {
        probe: "",
        reason: "",
        count: 0,
    };

    fn put(&self, before: &Self, to: &mut Out) {
        self.probe.put(to);
        self.reason.put(to);
        to.step(self.count, before.count);
    }

    fn take(before: &Self, from: &mut In<'_>) -> Result<Self, Garbled> {
        Ok(Self {
            probe: Code::take(from)?,
            reason: Code::take(from)?,
            count: from.step(before.count)?,
        })
    }
}
