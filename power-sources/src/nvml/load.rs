// SPDX-License-Identifier: Apache-2.0
//! From what a driver says about use to shares of the device: owns the rules of who used how much, and knows no library,
//! no energy and no total.
//!
//! A share is a rate: millionths of the whole device, as the mean since the last read. The shares of all users never add
//! up to more than the device.
//!
//! The driver averages the use of a process over its own samples (six a second to one, by its documentation) since the
//! moment that it is asked about, and answers with the moment of the newest. Between two samples it has nothing to say; then
//! the last rates hold, for [`HOLD`] at most. Its clock is its own (wall clock or time since boot, by version), so
//! its moments are only compared with each other.

use super::driver::{Instance, Load, Sample, Since, Whole};
use attribution::model::MonotonicNanos;
use std::collections::BTreeMap;
use std::time::Duration;

/// The whole device.
pub(super) const WHOLE: u32 = 1_000_000;
const PERCENT: u32 = WHOLE / 100;

/// How long the last rates hold when no sample comes: two of the longest sampling periods.
const HOLD: Duration = Duration::from_secs(2);

/// The longest sampling period.
const PERIOD: Duration = Duration::from_secs(1);

/// Who uses the device now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rates {
    /// The device, whoever uses it. At least the sum of its users.
    pub(super) busy: u32,
    /// By process: who has used it, and who runs on it although it has not.
    pub(super) users: BTreeMap<u32, u32>,
}

/// What is known about the driver's samples of one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Seen {
    /// Nothing: samples of any age may come, and say only where to begin.
    #[default]
    Unknown,
    /// That there were none: all that come are new.
    Empty,
    /// All up to `at`, which the driver's clock had passed at `told`.
    Until { at: u64, told: MonotonicNanos },
}

/// The samples of one device over time.
#[derive(Clone, Debug, Default)]
pub(super) struct Tracker {
    seen: Seen,
    /// The last rates that a sample told, and when.
    held: Option<(MonotonicNanos, BTreeMap<u32, u32>)>,
    /// Since when the device is busy and nobody is sampled.
    blind: Option<MonotonicNanos>,
    device: Device,
}

/// The samples of the device as a whole.
#[derive(Clone, Copy, Debug, Default)]
struct Device {
    /// The newest one's moment; 0 is none.
    newest: u64,
    /// The last mean of them, and when.
    held: Option<(MonotonicNanos, u32)>,
}

impl Device {
    /// How busy it was since the last read. The mean of its periods since then; a single period says little about a load
    /// that comes and goes, so what the driver says about the latest is only taken where there is no more.
    fn busy(&mut self, whole: &Whole, now: MonotonicNanos) -> Option<u32> {
        let is_fresh = |period: &&(u64, u32)| period.0 > self.newest && period.1 <= 100;
        let fresh: Vec<_> = whole.periods.iter().filter(is_fresh).copied().collect();
        let latest = whole.busy.filter(|percent| *percent <= 100);
        let latest = latest.map(|percent| percent * PERCENT);
        let Some(newest) = fresh.iter().map(|(at, _)| *at).max() else {
            let held = self.held.filter(|(told, _)| now.since(*told) <= HOLD);
            if held.is_none() {
                // Its clock may have been set back.
                *self = Self::default();
            }
            return held.map(|(_, rate)| rate).or(latest);
        };
        let is_first = std::mem::replace(&mut self.newest, newest) == 0;
        let sum: u64 = fresh
            .iter()
            .map(|(_, percent)| u64::from(percent * PERCENT))
            .sum();
        let mean = part(sum, u64::try_from(fresh.len()).unwrap_or(u64::MAX));
        // Of unknown age.
        let rate = if is_first { latest.unwrap_or(mean) } else { mean };
        self.held = Some((now, rate));
        Some(rate)
    }
}

impl Tracker {
    /// What to ask the driver: samples later than this.
    pub(super) const fn since(&self) -> Since {
        Since {
            processes: match self.seen {
                Seen::Until { at, .. } => at,
                Seen::Unknown | Seen::Empty => 0,
            },
            device: self.device.newest,
        }
    }

    /// The rates since the last read, and how many samples were refused.
    pub(super) fn rates(&mut self, load: &Load, now: MonotonicNanos) -> (Rates, usize) {
        match load {
            Load::Whole(whole) => self.whole(whole, now),
            Load::Sliced(instances) => (sliced(instances), 0),
            Load::Unknown => (Rates::default(), 0),
        }
    }

    fn whole(&mut self, whole: &Whole, now: MonotonicNanos) -> (Rates, usize) {
        let busy = self.device.busy(whole, now);
        let Some(samples) = &whole.samples else {
            // All that is known is who is there: an equal split. Nor may it be known how busy the device is.
            let there = if whole.running.is_empty() { 0 } else { WHOLE };
            let users = equal(busy.unwrap_or(there), &whole.running);
            return (Rates::new(busy.unwrap_or(0), users, &whole.running), 0);
        };
        let busy = busy.unwrap_or(0);
        let (users, refused) = self.sampled(samples, busy > 0, &whole.running, now);
        (Rates::new(busy, users, &whole.running), refused)
    }

    /// The rates that samples tell, or told not long ago; and how many were refused.
    fn sampled(
        &mut self,
        samples: &[Sample],
        is_busy: bool,
        running: &[u32],
        now: MonotonicNanos,
    ) -> (BTreeMap<u32, u32>, usize) {
        let (fresh, newest, refused) = means(samples, self.since().processes);
        let is_first = self.seen == Seen::Unknown;
        if let Some(at) = newest {
            self.seen = Seen::Until { at, told: now };
            self.blind = None;
            let users = if is_first { BTreeMap::new() } else { fresh };
            self.held = Some((now, users.clone()));
            return (users, refused);
        }
        if is_first && refused == 0 {
            self.seen = Seen::Empty;
        }
        self.rest(now);
        let held = self.held.as_ref().filter(|(told, _)| now.since(*told) <= HOLD);
        if let Some((_, held)) = held {
            // The dead use nothing, and nobody uses a device that rests.
            let lives = |pid: &u32| is_busy && running.contains(pid);
            let users = held.iter().filter(|(pid, _)| lives(pid));
            return (users.map(|(pid, rate)| (*pid, *rate)).collect(), refused);
        }
        if self.is_blind(is_busy, now) {
            (self.seen, self.held, self.blind) = (Seen::Unknown, None, None);
        }
        (BTreeMap::new(), refused)
    }

    /// There was no sample at `now`. What comes next is an average since then, and not since the last sample: an hour of
    /// rest must not thin out what follows.
    fn rest(&mut self, now: MonotonicNanos) {
        if let Seen::Until { at, told } = &mut self.seen {
            // The driver's clock has moved on by at least so much; a sample may still be in the making.
            let passed = now.since(*told).saturating_sub(PERIOD);
            *at = at.saturating_add(u64::try_from(passed.as_micros()).unwrap_or(u64::MAX));
            *told = told.after(passed);
        }
    }

    /// Whether the driver has had no samples for longer than any period although the device is busy: its clock may have
    /// been set back, and what it samples now looks old to us.
    fn is_blind(&mut self, is_busy: bool, now: MonotonicNanos) -> bool {
        if !is_busy {
            self.blind = None;
            return false;
        }
        now.since(*self.blind.get_or_insert(now)) > HOLD
    }
}

impl Rates {
    /// Users that do not exceed the device, and a device that is at least as busy as they are: both are sampled with
    /// periods of their own, so one may be ahead of the other.
    fn new(busy: u32, mut users: BTreeMap<u32, u32>, running: &[u32]) -> Self {
        let sum: u64 = users.values().copied().map(u64::from).sum();
        if sum > u64::from(WHOLE) {
            for rate in users.values_mut() {
                *rate = part(u64::from(*rate) * u64::from(WHOLE), sum);
            }
        }
        let sum: u64 = users.values().copied().map(u64::from).sum();
        for pid in running {
            users.entry(*pid).or_default();
        }
        // Pid 0 is nobody: what a driver cannot name is use without a user.
        users.remove(&0);
        Self {
            busy: busy.max(part(sum, 1)).min(WHOLE),
            users,
        }
    }
}

/// The mean of each process's samples after `after`, each by its busiest engine; the newest moment of them; and how many
/// were no samples: more than 100 %, or no moment. Both happen (a driver that leaves its buffer as it was).
fn means(samples: &[Sample], after: u64) -> (BTreeMap<u32, u32>, Option<u64>, usize) {
    let is_sound = |sample: &&Sample| sample.at > 0 && sample.engines.iter().all(|percent| *percent <= 100);
    let refused = samples.len() - samples.iter().filter(is_sound).count();
    let mut sums: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    let mut newest = None;
    for sample in samples.iter().filter(is_sound).filter(|sample| sample.at > after) {
        let busiest = sample.engines.iter().copied().max().unwrap_or(0);
        let (sum, count) = sums.entry(sample.pid).or_default();
        *sum += u64::from(busiest * PERCENT);
        *count += 1;
        newest = newest.max(Some(sample.at));
    }
    let means = sums
        .into_iter()
        .map(|(pid, (sum, count))| (pid, part(sum, count)));
    (means.collect(), newest, refused)
}

/// Instances share the device by their slices; each is used as much as its shaders worked, or wholly while it has a
/// process where that is not measured; its processes share it equally, because nothing tells them apart.
fn sliced(instances: &[Instance]) -> Rates {
    let mut busy: u64 = 0;
    let mut users: BTreeMap<u32, u32> = BTreeMap::new();
    for instance in instances.iter().filter(|instance| instance.of > 0) {
        let there = if instance.running.is_empty() { 0 } else { WHOLE };
        let active = instance.active.unwrap_or(there).min(WHOLE);
        let slices = instance.slices.min(instance.of);
        let share = part(u64::from(active) * u64::from(slices), u64::from(instance.of));
        busy += u64::from(share);
        for (pid, rate) in equal(share, &instance.running) {
            let sum = users.entry(pid).or_default();
            *sum = sum.saturating_add(rate);
        }
    }
    Rates::new(part(busy, 1), users, &[])
}

/// `whole` in equal parts. A process that is listed as compute and as graphics is one.
fn equal(whole: u32, running: &[u32]) -> BTreeMap<u32, u32> {
    let mut users: BTreeMap<_, _> = running.iter().map(|pid| (*pid, 0)).collect();
    let count = u64::try_from(users.len()).unwrap_or(u64::MAX).max(1);
    for rate in users.values_mut() {
        *rate = part(u64::from(whole), count);
    }
    users
}

/// `amount / of`; what does not fit is more than any rate here.
fn part(amount: u64, of: u64) -> u32 {
    u32::try_from(amount / of.max(1)).unwrap_or(u32::MAX)
}
