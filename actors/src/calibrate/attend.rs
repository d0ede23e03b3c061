// SPDX-License-Identifier: Apache-2.0
//! Looks after a watch while it lasts: walks the levels where that is asked for, shows how far it has come, and ends when
//! its time is over.

use super::Load;
use super::gauge::Gauge;
use super::listener::{Look, Seen};
use super::stress::{HELD, LEVELS, PASSES, Step, Walk, Workers};
use crate::clock;
use attribution::model::{MonotonicNanos, SourceId};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// How often it looks: often enough for a bar that moves, and nothing beside a tick.
const LOOKS: Duration = Duration::from_millis(250);
/// Shortest time for which a level is held: a reading over a change of load, and some that are not.
const SHORTEST: Duration = Duration::from_secs(2);

/// What is to be looked after.
pub(super) struct Attendance {
    lasts: Option<Duration>,
    walking: Option<(Walk, Workers)>,
    began: MonotonicNanos,
}

impl Attendance {
    /// Begins now, and says what will be done to the machine.
    ///
    /// # Errors
    /// When the load cannot be made.
    pub(super) fn new(
        lasts: Option<Duration>,
        load: Load,
        awaited: Vec<SourceId>,
        threads: usize,
    ) -> anyhow::Result<Self> {
        let began = clock::monotonic();
        let walking = match load {
            Load::Found => None,
            Load::Walked => {
                let held = lasts.map_or(HELD, |lasts| (lasts / Walk::all()).clamp(SHORTEST, HELD));
                let workers = Workers::start(threads)?;
                tracing::info!(
                    threads = workers.number(),
                    levels = LEVELS.len(),
                    passes = PASSES,
                    held = %humantime::format_duration(Duration::from_secs(held.as_secs())),
                    "making load: threads of the lowest priority work for a part of the time, nothing else of the machine is changed; each level is held until every meter has spoken on it"
                );
                Some((Walk::new(held, awaited, began), workers))
            }
        };
        Ok(Self {
            lasts,
            walking,
            began,
        })
    }

    /// Until the time is over, or every level was walked.
    pub(super) async fn attend(mut self, seen: &Seen) {
        let mut beat = interval(LOOKS);
        beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut gauge = Gauge::new();
        let mut level = None;
        loop {
            beat.tick().await;
            let (now, look) = (clock::monotonic(), seen.look());
            let passed = now.since(self.began);
            if self.lasts.is_some_and(|lasts| passed >= lasts) {
                break;
            }
            if let Some((walk, workers)) = &mut self.walking {
                match walk.step(now, &look) {
                    Step::Stay => {}
                    Step::To(percent) => {
                        workers.set(percent);
                        level = Some(percent);
                    }
                    Step::Done => break,
                }
            }
            gauge.show(passed, self.done(passed), level, &in_words(&look));
        }
    }

    /// The part that is done, as far as that is known.
    fn done(&self, passed: Duration) -> f64 {
        let of_time = self
            .lasts
            .map(|lasts| passed.as_secs_f64() / lasts.as_secs_f64().max(1e-9));
        let of_walk = self
            .walking
            .as_ref()
            .map(|(walk, _)| f64::from(walk.begun().saturating_sub(1)) / f64::from(Walk::all()));
        // Whichever ends it first.
        of_time.into_iter().chain(of_walk).fold(0.0, f64::max).min(1.0)
    }
}

/// What was seen so far: `package/socket0 120 readings, 45 % busy, 61.2 W`.
fn in_words(look: &Look) -> String {
    let zones = look.zones.iter().map(|(zone, (_, samples))| {
        let newest = look
            .newest
            .get(zone)
            .map(|(busy, watts)| format!(", {:.0} % busy, {watts:.1} W", busy * 100.0));
        format!("{zone} {samples} readings{}", newest.unwrap_or_default())
    });
    let all: Vec<_> = zones.collect();
    if all.is_empty() {
        "waiting for the first reading".to_owned()
    } else {
        all.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use attribution::model::{Component, PackageId, Place, Zone};

    #[test]
    fn progress_says_what_each_meter_gave() {
        assert_eq!(in_words(&Look::default()), "waiting for the first reading");
        let zone = |component| Zone {
            component,
            place: Place::socket(PackageId(0)),
        };
        let mut look = Look::default();
        look.zones
            .insert(zone(Component::Package), (SourceId("rapl-sysfs"), 12));
        look.zones
            .insert(zone(Component::Dram), (SourceId("rapl-sysfs"), 0));
        look.newest.insert(zone(Component::Package), (0.451, 61.24));
        assert_eq!(
            in_words(&look),
            "package/socket0 12 readings, 45 % busy, 61.2 W; dram/socket0 0 readings"
        );
    }

    #[test]
    fn what_is_done_is_what_ends_the_watch_first() {
        let attendance = |lasts, load| Attendance::new(lasts, load, Vec::new(), 1).unwrap();
        let minute = Duration::from_secs(60);
        assert_eq!(attendance(Some(minute), Load::Found).done(minute / 4), 0.25);
        assert_eq!(attendance(None, Load::Walked).done(minute), 0.0);
        let mut both = attendance(Some(minute), Load::Walked);
        let (walk, _) = both.walking.as_mut().unwrap();
        walk.step(MonotonicNanos::ZERO, &Look::default());
        assert_eq!(both.done(minute / 2), 0.5);
    }
}
