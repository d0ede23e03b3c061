// SPDX-License-Identifier: Apache-2.0
//! From what open GPU files show to what each process used: owns the totals by card and process, and the verdict what a
//! step of a file's counter means. Pure: sightings and moments come in; it knows no file and no meter.
//!
//! **Use of a process** is that of its busiest kind of engine: of the time since the last reading, per kind, what all its
//! files used divided by how many engines of that kind there are; the largest of these is added to its total. Kinds run
//! side by side, so two processes on different kinds can each have used the whole of a second, and the sum of all users
//! can exceed the elapsed time. They then share the card in proportion.
//!
//! **A file that several processes hold** (inherited, or passed on) counts once and is shared equally among them. Which
//! of them set the card to work is not told: not the lowest pid (logind opens the card for a compositor), not the highest
//! (workers inherit what they never touch), and not the one with most CPU time (the same workers). Inside one container
//! the question does not matter.
//!
//! What a step of a file's counter means is `step`'s verdict.

use super::fdinfo::{Busy, Engine};
use super::step::{Base, nanos, opened_since, shown, step, zero};
use attribution::model::{DeviceNanos, DeviceUser, MonotonicNanos};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// How long a file that nobody holds is remembered, so that one that is found again is not taken for a new one. Longer
/// than any round through the processes.
const KEEP: Duration = Duration::from_secs(600);
/// Most files. A busy desktop has some dozens, a node that shares GPUs among many containers some hundreds; each costs
/// about 300 bytes.
pub(crate) const MOST_FILES: usize = 16_384;

/// An open GPU file: on which card, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FileId {
    /// Position in the source's list of cards.
    pub(crate) card: usize,
    /// The driver's number.
    pub(crate) id: u64,
}

/// One process that holds an open GPU file.
#[derive(Clone, Debug)]
pub(crate) struct Sighting {
    /// The process.
    pub(crate) pid: u32,
    /// What it holds.
    pub(crate) file: FileId,
    /// The latest moment at which it is known not to have held it; `None` when it may always have.
    pub(crate) since: Option<MonotonicNanos>,
    /// What the file shows; `None` when it was not asked, because the card sleeps.
    pub(crate) engines: Option<Vec<Engine>>,
}

/// A file since it was first seen.
#[derive(Debug)]
struct Tracked {
    at: MonotonicNanos,
    /// By kind of engine. Bounded by what a file may show.
    bases: BTreeMap<Box<str>, Base>,
}

impl Tracked {
    const fn new(at: MonotonicNanos) -> Self {
        Self {
            at,
            bases: BTreeMap::new(),
        }
    }

    /// Takes what the file shows at `now`: nanoseconds since it last did, and how many steps were implausible. `None` when
    /// no time has passed.
    fn go_on<'a>(
        &mut self,
        now: MonotonicNanos,
        engines: &'a [Engine],
        used: &mut Vec<(&'a Engine, u64)>,
    ) -> Option<(u64, u64)> {
        let elapsed = nanos(now.since(self.at));
        if elapsed == 0 {
            return None;
        }
        self.at = now;
        // An engine that it did not show before was not used before.
        let first = |engine: &Engine| Some(zero(engine.busy));
        Some((elapsed, self.advance(engines, elapsed, first, used)))
    }

    /// Takes what the file shows, `elapsed` nanoseconds after it last did. `first` finds the base of an engine that it has
    /// none for; where there is none, what is shown becomes the base. Adds the nanoseconds used, by engine, to `used`,
    /// and answers how many steps were implausible.
    fn advance<'a>(
        &mut self,
        engines: &'a [Engine],
        elapsed: u64,
        first: impl Fn(&Engine) -> Option<Base>,
        used: &mut Vec<(&'a Engine, u64)>,
    ) -> u64 {
        let mut implausible = 0;
        for engine in engines {
            let base = self.bases.get(&engine.name).copied().or_else(|| first(engine));
            let verdict = base.map(|base| step(base, engine.busy, elapsed, engine.capacity));
            let base = verdict.map_or_else(|| shown(engine.busy), |verdict| verdict.base);
            self.bases.insert(engine.name.clone(), base);
            implausible += u64::from(verdict.is_some_and(|verdict| verdict.implausible));
            used.push((
                engine,
                verdict.map_or(0, |verdict| verdict.paid) / engine.capacity,
            ));
        }
        implausible
    }
}

/// A process on a card.
#[derive(Debug)]
struct User {
    /// Since when it can have used the card at all.
    since: MonotonicNanos,
    used: u64,
    held: bool,
    told: bool,
}

/// What one process used since the last reading.
#[derive(Debug, Default)]
struct Spent {
    engines: BTreeMap<Box<str>, u64>,
    elapsed: u64,
}

/// How fast the clock of a card's cycles runs: its two latest readings.
#[derive(Clone, Copy, Debug)]
struct Pace {
    before: (MonotonicNanos, u64),
    latest: (MonotonicNanos, u64),
}

/// Totals by card and process.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    files: HashMap<FileId, Tracked>,
    users: BTreeMap<(usize, u32), User>,
    paces: HashMap<usize, Pace>,
}

/// What a reading gave occasion to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    /// Steps that no engine can have made.
    pub(crate) implausible: u64,
    /// Files beyond [`MOST_FILES`], which nobody is charged for.
    pub(crate) too_many: u64,
}

impl Ledger {
    /// Takes everything that was seen at `now`. Who is not among the sightings holds nothing any more.
    pub(crate) fn settle(&mut self, now: MonotonicNanos, mut sightings: Vec<Sighting>) -> Settled {
        let mut settled = Settled::default();
        for user in self.users.values_mut() {
            user.held = false;
        }
        sightings.sort_by_key(|seen| (seen.file, seen.pid));
        let mut spent: BTreeMap<(usize, u32), Spent> = BTreeMap::new();
        for holders in sightings.chunk_by(|one, other| one.file == other.file) {
            self.hold(now, holders);
            self.file(now, holders, &mut spent, &mut settled);
        }
        for (key, spent) in spent {
            if let Some(user) = self.users.get_mut(&key) {
                let busiest = spent.engines.values().copied().max().unwrap_or(0);
                let lifetime = nanos(now.since(user.since));
                let used = user.used.saturating_add(busiest.min(spent.elapsed)).min(lifetime);
                user.used = user.used.max(used);
                user.told = false;
            }
        }
        // Who comes back later begins at zero, so he must have been missing from a list by then.
        self.users.retain(|_, user| user.held || !user.told);
        self.files.retain(|_, file| now.since(file.at) < KEEP);
        settled
    }

    /// The rows of one card, which are then told: a process that holds nothing leaves after it was told.
    pub(crate) fn users(&mut self, card: usize) -> Vec<DeviceUser> {
        let rows = self.users.range_mut((card, 0)..=(card, u32::MAX));
        rows.map(|((_, pid), user)| {
            user.told = true;
            DeviceUser {
                pid: *pid,
                used: DeviceNanos::from_nanos(user.used),
            }
        })
        .collect()
    }

    fn hold(&mut self, now: MonotonicNanos, holders: &[Sighting]) {
        for seen in holders {
            let since = seen.since.unwrap_or(now);
            let user = self.users.entry((seen.file.card, seen.pid)).or_insert(User {
                since,
                used: 0,
                held: true,
                told: false,
            });
            user.held = true;
            user.since = user.since.min(since);
        }
    }

    /// One file and everybody who holds it.
    fn file(
        &mut self,
        now: MonotonicNanos,
        holders: &[Sighting],
        spent: &mut BTreeMap<(usize, u32), Spent>,
        settled: &mut Settled,
    ) {
        let Some(file) = holders.first().map(|seen| seen.file) else {
            return;
        };
        let Some(engines) = holders.iter().find_map(|seen| seen.engines.as_ref()) else {
            // The card sleeps, so nothing was used up to now, and its clock stands still or begins again.
            if let Some(tracked) = self.files.get_mut(&file) {
                tracked.at = now;
            }
            self.paces.remove(&file.card);
            return;
        };
        let rate = self.clock(file.card, now, engines);
        let mut used = Vec::with_capacity(engines.len());
        let advanced = if let Some(tracked) = self.files.get_mut(&file) {
            tracked.go_on(now, engines, &mut used)
        } else if self.files.len() >= MOST_FILES {
            settled.too_many += 1;
            None
        } else {
            self.begin(now, holders, engines, rate, &mut used)
        };
        if let Some((elapsed, implausible)) = advanced {
            settled.implausible += implausible;
            share(holders, &used, elapsed, spent);
        }
    }

    /// Takes in a file that was not known.
    fn begin<'a>(
        &mut self,
        now: MonotonicNanos,
        holders: &[Sighting],
        engines: &'a [Engine],
        rate: Option<(u64, u64)>,
        used: &mut Vec<(&'a Engine, u64)>,
    ) -> Option<(u64, u64)> {
        let file = holders.first()?.file;
        let since = opened_after(holders);
        let in_cycles = |engine: &Engine| matches!(engine.busy, Busy::Cycles { .. });
        if since.is_some() && rate.is_none() && engines.iter().any(in_cycles) {
            // Not before the pace of its clock is known, which is at the next reading.
            return None;
        }
        let elapsed = since.map_or(0, |since| nanos(now.since(since)));
        let first = |engine: &Engine| since.and_then(|_| opened_since(engine, elapsed, rate));
        let mut tracked = Tracked::new(now);
        let implausible = tracked.advance(engines, elapsed, first, used);
        self.files.insert(file, tracked);
        Some((elapsed, implausible))
    }

    /// Ticks and nanoseconds between two readings of the card's clock, if there are two.
    fn clock(&mut self, card: usize, now: MonotonicNanos, engines: &[Engine]) -> Option<(u64, u64)> {
        let clock = engines.iter().find_map(|engine| match engine.busy {
            Busy::Cycles { clock, .. } => Some(clock),
            Busy::Nanos(_) => None,
        })?;
        let pace = self.paces.entry(card).or_insert(Pace {
            before: (now, clock),
            latest: (now, clock),
        });
        if clock < pace.latest.1 {
            pace.before = (now, clock);
            pace.latest = (now, clock);
        } else if now > pace.latest.0 {
            pace.before = pace.latest;
            pace.latest = (now, clock);
        }
        let ticks = pace.latest.1 - pace.before.1;
        (ticks > 0).then_some((ticks, nanos(pace.latest.0.since(pace.before.0))))
    }
}

/// The latest moment at which none of the holders had the file; `None` when one may always have had it.
fn opened_after(holders: &[Sighting]) -> Option<MonotonicNanos> {
    let moments: Option<Vec<_>> = holders.iter().map(|seen| seen.since).collect();
    moments?.into_iter().min()
}

/// Adds what a file used to those who hold it, in equal parts; the lowest pids have what does not divide.
fn share(
    holders: &[Sighting],
    used: &[(&Engine, u64)],
    elapsed: u64,
    spent: &mut BTreeMap<(usize, u32), Spent>,
) {
    let pids: BTreeSet<(usize, u32)> = holders.iter().map(|seen| (seen.file.card, seen.pid)).collect();
    let parts = u64::try_from(pids.len()).unwrap_or(u64::MAX).max(1);
    for (rank, key) in (0_u64..).zip(pids) {
        let spent = spent.entry(key).or_default();
        spent.elapsed = spent.elapsed.max(elapsed);
        for (engine, nanos) in used {
            let part = nanos / parts + u64::from(rank < nanos % parts);
            if let Some(sum) = spent.engines.get_mut(&engine.name) {
                *sum = sum.saturating_add(part);
            } else {
                spent.engines.insert(engine.name.clone(), part);
            }
        }
    }
}
