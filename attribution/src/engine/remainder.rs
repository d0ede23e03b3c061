// SPDX-License-Identifier: Apache-2.0
//! What the platform uses beside package, memory and accelerators: a zone (`other`) that no meter counts and that is
//! derived from two that do.
//!
//! A platform meter answers at moments of its own, often much less often than the others. So what the others had counted
//! by the platform's moment is interpolated between their own readings around it; a reading that is a little newer than
//! theirs is met by their last power, for as long as their last interval was, and beyond that it waits for them. Each
//! total is taken as a difference to what was taken before, so a guess that was wrong is put right by the next one.
//!
//! One platform counts, because adding up would count what is nested twice: of several meters the one that draws most,
//! for it holds the others. They are compared when one of them comes (or comes back), and when the one that counts is no
//! meter any more or has been silent for long, and not at every window, in which two meters of one thing would take
//! turns. Each platform has a remainder of its own, with its own total and floor; those that do not count stand still.
//!
//! What the others counted while the machine slept is in a platform that counts, and in none whose watts are integrated: there it is
//! not taken out, or it would be short for minutes.
//!
//! It is never negative. What the others counted beyond the platform is carried, and taken out of what comes in the next
//! hour ([`Shortfall`]). A model's platform is no meter, and a remainder that a model's figure was taken out of is itself
//! an estimate and carries the model's name.

mod history;

use super::zones::ZoneState;
use crate::model::{
    Component, Microjoules, Microwatts, MonotonicNanos, Permille, Provenance, SourceId, Zone, ZoneReading,
};
use history::Stand;
use std::collections::VecDeque;
use std::time::Duration;

pub(crate) use history::{History, on_the_way};

/// After so long another platform is taken instead of one that does not answer: three times the longest that a meter is
/// left unasked.
const FORGOTTEN: Duration = Duration::from_secs(900);

/// Derives the zone.
#[derive(Debug, Default)]
pub(crate) struct Remainder {
    /// Position of the platform that counts.
    platform: Option<usize>,
    /// Platform meters that answered the last time.
    meters: usize,
    /// Positions of the zones that are derived, each after that of its platform: one for each platform that ever counted.
    derived: Vec<(usize, usize)>,
    /// The platform's total and moment that were taken last, and what it had seen of nights.
    taken: Option<(u64, MonotonicNanos, Duration)>,
    short: Shortfall,
}

/// How long a shortfall is carried: as long as is known who ran. Guesses are put right by the next readings, and a meter
/// that is slow to follow within minutes; what stands for longer is a platform meter that reads less than its parts, and
/// taking all of that out of what it says later would keep the remainder at zero for as long as it has been wrong.
const CARRIED: Duration = Duration::from_secs(3_600);
/// A shortfall is carried to this precision, which makes it sixty-one entries at most.
const PRECISION: Duration = Duration::from_secs(60);

/// What the others counted beyond the platform, by when that was, oldest first.
#[derive(Debug, Default)]
struct Shortfall(VecDeque<(MonotonicNanos, u64)>);

impl Shortfall {
    /// Takes what is carried at `at` out of `left`; returns what remains of it. The newest first: that is the likeliest to have
    /// been a guess, and the oldest will be forgotten soon.
    fn make_good(&mut self, left: u64, at: MonotonicNanos) -> u64 {
        while self
            .0
            .front()
            .is_some_and(|(since, _)| at.since(*since) > CARRIED)
        {
            self.0.pop_front();
        }
        let mut left = left;
        while let Some((_, newest)) = self.0.back_mut() {
            let paid = left.min(*newest);
            left -= paid;
            *newest -= paid;
            if *newest > 0 {
                break;
            }
            self.0.pop_back();
        }
        left
    }

    /// Carries so much more.
    fn add(&mut self, micro: u64, at: MonotonicNanos) {
        match self.0.back_mut() {
            Some((since, newest)) if at.since(*since) < PRECISION => *newest = newest.saturating_add(micro),
            _ => self.0.push_back((at, micro)),
        }
    }
}

/// What the others had used since the last time.
#[derive(Clone, Copy, Debug, Default)]
struct Others {
    used: i128,
    /// In microjoules times thousandths, what is not sure of it.
    unsure: u128,
    estimated: Option<SourceId>,
}

impl Remainder {
    /// Brings the derived zone up to date with what the meters have said. Makes it when there are a platform meter and a
    /// package.
    pub(crate) fn derive(&mut self, zones: &mut Vec<ZoneState>, now: MonotonicNanos) {
        if !zones
            .iter()
            .any(|zone| zone.account.zone.component == Component::Package)
        {
            return;
        }
        self.choose(zones, now);
        self.mark(zones);
        let Some(platform) = self.platform.and_then(|index| zones.get_mut(index)) else {
            return;
        };
        if !platform.leaves && std::mem::take(&mut platform.rebased) {
            // It is back: what it has used meanwhile is in nobody's totals, and what the others have says nothing about it.
            (self.taken, self.short) = (None, Shortfall::default());
        }
        let (total, at) = platform.latest();
        if self.taken.is_some_and(|(_, taken, _)| taken >= at) {
            return;
        }
        let (nights, counts) = (
            platform.night.so_far(),
            platform.account.provenance == Provenance::Counted,
        );
        let Some(others) = take_others(zones, counts, at, now) else {
            return;
        };
        let (rest, asleep) = match self.taken.replace((total, at, nights)) {
            Some((before, _, earlier)) => (
                self.rest(total.saturating_sub(before), others.used, at),
                nights.saturating_sub(earlier),
            ),
            None => {
                self.begin(zones);
                (0, Duration::ZERO)
            }
        };
        self.publish(zones, others, rest, at);
        self.tell_of_the_night(zones, asleep);
    }

    /// The platform counts from now on: what its rest has may be from long ago, and nothing of the time since is of it.
    fn begin(&self, zones: &mut [ZoneState]) {
        let ours = self.derived.iter().filter(|(of, _)| self.platform == Some(*of));
        for (_, zone) in ours {
            if let Some(zone) = zones.get_mut(*zone) {
                zone.rebase();
            }
        }
    }

    /// So long the machine slept before the reading that was published last, as far as the platform counted meanwhile.
    fn tell_of_the_night(&self, zones: &mut [ZoneState], asleep: Duration) {
        let ours = self.derived.iter().find(|(of, _)| self.platform == Some(*of));
        if let Some(zone) = ours.and_then(|(_, zone)| zones.get_mut(*zone)) {
            zone.night.is_in_it(asleep);
        }
    }

    /// Marks the derived zones as their platforms stand. One whose platform does not count has no power, and once it is paid nobody who
    /// runs from then on waits for it.
    fn mark(&self, zones: &mut [ZoneState]) {
        for (platform, derived) in &self.derived {
            let counts = self.platform == Some(*platform);
            let up = counts && zones.get(*platform).is_some_and(|zone| zone.account.up);
            if let Some(zone) = zones.get_mut(*derived) {
                zone.account.up = up;
                if !counts && !zone.is_due() {
                    zone.rebase();
                    zone.account.power = None;
                }
            }
        }
    }

    /// What is left of `used` for the remainder, and what is carried.
    fn rest(&mut self, used: u64, others: i128, at: MonotonicNanos) -> u64 {
        let balance = i128::from(used) - others;
        let positive = |balance: i128| u64::try_from(balance.max(0)).unwrap_or(u64::MAX);
        let left = self.short.make_good(positive(balance), at);
        if balance < 0 {
            self.short.add(positive(-balance), at);
        }
        left
    }

    /// Chooses the platform: see the module's head. A model's never counts; while none does that is a meter, none.
    fn choose(&mut self, zones: &[ZoneState], now: MonotonicNanos) {
        let is_meter = |zone: &ZoneState| {
            zone.account.zone.component == Component::Platform
                && !matches!(zone.account.provenance, Provenance::Estimated { .. })
        };
        let is_heard = |zone: &ZoneState| !zone.leaves && now.since(zone.latest().1) < FORGOTTEN;
        let answers = |zone: &ZoneState| is_meter(zone) && is_heard(zone);
        let is =
            |which: &dyn Fn(&ZoneState) -> bool| self.platform.filter(|at| zones.get(*at).is_some_and(which));
        let (chosen, heard) = (is(&is_meter), is(&answers));
        let meters = || zones.iter().enumerate().filter(|(_, zone)| answers(zone));
        let count = meters().count();
        if heard.is_some() && count <= self.meters {
            self.meters = count;
            return;
        }
        let best = if count == 1 {
            meters().next().map(|(index, _)| index)
        } else {
            most_power(meters())
        };
        if best.is_some() {
            self.meters = count;
        }
        // Silent or not, it is paid to the end unless there is another one.
        let best = best.or(chosen);
        if self.platform != best {
            self.platform = best;
            // What another meter said, or was short of, says nothing about this one.
            (self.taken, self.short) = (None, Shortfall::default());
        }
    }

    /// Tells the derived zone its total as if a meter had.
    fn publish(&mut self, zones: &mut Vec<ZoneState>, others: Others, rest: u64, at: MonotonicNanos) {
        let counts = self.platform.and_then(|index| Some((index, zones.get(index)?)));
        let Some((index, platform)) = counts else {
            return;
        };
        let mut derived = self.derived.iter().filter(|(of, _)| *of == index);
        let zone = derived.next().map(|(_, zone)| *zone);
        let before = zone
            .and_then(|zone| zones.get(zone))
            .map_or(0, |zone| zone.latest().0);
        let estimated = |source| {
            let error = others.unsure.checked_div(u128::from(rest)).unwrap_or(1_000);
            let relative_error_p90 = Permille(u32::try_from(error).unwrap_or(u32::MAX));
            (source, Provenance::Estimated { relative_error_p90 })
        };
        // Differences of counters are differences over time between readings: no better than watts that were integrated.
        let (source, provenance) = others
            .estimated
            .map_or((platform.account.source, Provenance::Integrated), estimated);
        let reading = ZoneReading {
            zone: Zone {
                component: Component::Other,
                place: platform.account.zone.place.clone(),
            },
            total: Microjoules::from_micro(before.saturating_add(rest)),
            idle: None,
            provenance,
            at,
            device: None,
        };
        if let Some(zone) = zone.and_then(|zone| zones.get_mut(zone)) {
            zone.take(&reading);
            zone.account.source = source;
        } else {
            self.derived.push((index, zones.len()));
            zones.push(ZoneState::derived(source, &reading));
        }
    }
}

/// Who of several draws most. `None` while one of them has not shown any power yet: it may be the one.
fn most_power<'a>(meters: impl Iterator<Item = (usize, &'a ZoneState)>) -> Option<usize> {
    let mut best: Option<(Microwatts, usize)> = None;
    for (index, zone) in meters {
        let power = zone.account.power?;
        if best.is_none_or(|(most, _)| power > most) {
            best = Some((power, index));
        }
    }
    best.map(|(_, index)| index)
}

/// What all that is taken out of the platform has used by `at`; `None` while one of them has to be waited for. What they counted while
/// the machine slept is taken out of a platform that counted, too: one whose watts are integrated has nothing of it.
fn take_others(
    zones: &mut [ZoneState],
    platform_counts: bool,
    at: MonotonicNanos,
    now: MonotonicNanos,
) -> Option<Others> {
    let mut others = Others::default();
    let counts = |zone: &ZoneState| zone.account.zone.component.counts_into_total() && !zone.is_derived();
    let stands: Option<Vec<(usize, Stand)>> = (0..)
        .zip(zones.iter())
        .filter(|(_, zone)| counts(zone))
        .map(|(index, zone)| {
            let stand = match zone.succeeded {
                // Another one goes on from there, so it is not waited for.
                true => zone.history.stood_by(at),
                false => zone.history.stood_at(at, now),
            };
            Some((index, stand?))
        })
        .collect();
    for (index, stand) in stands? {
        let Some(zone) = zones.get_mut(index) else {
            continue;
        };
        let taken = zone.history.take_out(stand);
        let rise = |of: fn(&Stand) -> u64| i128::from(of(&stand)) - i128::from(of(&taken));
        let night = if platform_counts {
            0
        } else {
            rise(|stand| stand.night)
        };
        let used = rise(|stand| stand.total) - night;
        others.used += used;
        // One that nobody reads any more, and that was taken out to the end, is in nothing of this.
        let is_in_it = used != 0 || !zone.leaves;
        if let Provenance::Estimated { relative_error_p90 } = zone.account.provenance
            && is_in_it
        {
            others.estimated = Some(zone.account.source);
            others.unsure += used.unsigned_abs() * u128::from(relative_error_p90.0);
        }
    }
    Some(others)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> MonotonicNanos {
        MonotonicNanos::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn a_shortfall_of_hours_is_forgotten_an_hour_after_it_ends_and_takes_no_room() {
        let mut remainder = Remainder::default();
        let mut windows = (0_u64..).map(|window| at(window * 10_000));
        for now in windows.by_ref().take(6 * 3_600 / 10) {
            assert_eq!(remainder.rest(600, 700, now), 0);
        }
        assert!((60..=61).contains(&remainder.short.0.len()));
        // A tenth of it is left from now on: after t seconds there are 3,600 - t of shortfall, and t / 10 are made good.
        let rests: Vec<u64> = windows
            .take(360)
            .map(|now| remainder.rest(710, 700, now))
            .collect();
        let forgotten = rests.iter().position(|rest| *rest > 0).expect("it is forgotten");
        assert!((321..=333).contains(&forgotten), "{forgotten} windows");
        let after = rests.get(forgotten + 1..).expect("more windows");
        assert!(after.iter().all(|rest| *rest == 10), "{after:?}");
    }

    proptest! {
        #[test]
        fn a_shortfall_is_carried_and_the_remainder_is_the_most_that_was_ever_left(
            steps in prop::collection::vec((0..1_000_u64, -500..1_000_i128), 1..50),
        ) {
            let mut remainder = Remainder::default();
            let (mut total, mut left, mut most) = (0, 0_i128, 0_i128);
            for ((used, others), minute) in steps.into_iter().zip(0..) {
                total += remainder.rest(used, others, at(minute * 60_000));
                left += i128::from(used) - others;
                most = most.max(left);
                prop_assert_eq!(i128::from(total), most);
                prop_assert_eq!(i128::from(remainder.short.0.iter().map(|(_, micro)| micro).sum::<u64>()), most - left);
            }
        }
    }
}
