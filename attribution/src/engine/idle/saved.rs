// SPDX-License-Identifier: Apache-2.0
//! What was learned about rest, as plain values: out of the engine to be saved, and into it after a restart.
//!
//! Whoever saves it says for which machine; nothing here knows files.

use crate::engine::Engine;
use crate::engine::zones::ZoneState;
use crate::model::{Microwatts, MonotonicNanos};
use std::time::Duration;

/// What was learned about one zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnedZone {
    /// The meter, as [`crate::model::SourceId`] has it: two meters of one component do not read the same watts.
    pub source: String,
    /// The zone as it writes itself: `package/socket0`.
    pub zone: String,
    /// By busy share, lowest first; at most one for each bin of the envelope, which are 27.
    pub points: Vec<LearnedPoint>,
}

/// What was seen at one busy share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnedPoint {
    /// Median busy share in millionths, 0 to 1,000,000.
    pub busy_ppm: u32,
    /// Median power, at most 4 MW.
    pub power: Microwatts,
    /// Standard error of that power.
    pub error: Microwatts,
    /// Samples that it was made of.
    pub samples: u32,
    /// Time since the newest of them.
    pub age: Duration,
}

/// How far what was saved is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// As if this run had seen it.
    Full,
    /// Only where nothing newer says anything: something that power at rest depends on has changed since.
    Prior,
}

/// What an earlier run had learned about zones that have not answered yet. It grows older while it waits.
#[derive(Debug, Default)]
pub(in crate::engine) struct Waiting {
    zones: Vec<(LearnedZone, Trust)>,
    since: Option<MonotonicNanos>,
}

impl Waiting {
    /// Lets time pass until `now`.
    pub(in crate::engine) fn pass(&mut self, now: MonotonicNanos) {
        let passed = self.since.map_or(Duration::ZERO, |since| now.since(since));
        self.since = Some(now);
        for point in self.zones.iter_mut().flat_map(|(zone, _)| &mut zone.points) {
            point.age = point.age.saturating_add(passed);
        }
    }
}

impl Engine {
    /// What was learned so far about every zone, to be saved. What was restored and belongs to a meter that has not
    /// answered yet is in it.
    #[must_use]
    pub fn learned_floors(&self) -> Vec<LearnedZone> {
        let zones = self.zones.iter().filter_map(|zone| {
            let points = zone.learned_floor();
            (!points.is_empty()).then(|| LearnedZone {
                source: zone.account.source.0.to_owned(),
                zone: zone.account.zone.to_string(),
                points,
            })
        });
        let waiting = self.restored.zones.iter().map(|(waiting, _)| waiting.clone());
        zones.chain(waiting).collect()
    }

    /// Gives back what an earlier run on this machine had learned. Each zone takes its own when its meter first answers.
    pub fn restore_floors(&mut self, learned: Vec<LearnedZone>, trust: Trust) {
        self.restored
            .zones
            .extend(learned.into_iter().map(|zone| (zone, trust)));
        self.hand_out_restored();
    }

    /// Gives zones that have answered what waits for them.
    pub(in crate::engine) fn hand_out_restored(&mut self) {
        let zones = &mut self.zones;
        self.restored.zones.retain(|(learned, trust)| {
            let is = |zone: &&mut ZoneState| {
                zone.account.source.0 == learned.source && zone.account.zone.to_string() == learned.zone
            };
            let found = zones.iter_mut().find(is);
            let waits = found.is_none();
            found
                .into_iter()
                .for_each(|zone| zone.restore_floor(&learned.points, *trust));
            waits
        });
    }
}
