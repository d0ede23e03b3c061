// SPDX-License-Identifier: Apache-2.0
//! What the file holds: JSON, with a version, the machine that it is of, and the points of each zone.
//!
//! ```json
//! {"version": 1, "saved_at": 1767225600,
//!  "machine": {"firmware": "product_uuid 4c4c4544-…", "processor": "… x 2"},
//!  "conditions": {"microcode": "0x2b000571", "firmware": "1.8.2", "kernel": "6.1.0", "threads": 64, "memory_gib": 252},
//!  "zones": [{"source": "rapl-sysfs", "zone": "package/socket0",
//!             "points": [{"busy_ppm": 4000, "power_uw": 20125000, "error_uw": 60000, "samples": 32, "age_s": 12}]}]}
//! ```
//!
//! `saved_at` is Unix time, and `age_s` the age of a point then. Fields may be added under the same version and are
//! ignored by whoever does not know them; what changes its meaning gets a new version.

use super::machine::{Conditions, Identity};
use crate::words::cut;
use attribution::engine::{LearnedPoint, LearnedZone};
use attribution::model::Microwatts;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The version that is written, and the newest that is read.
pub(super) const VERSION: u32 = 1;
/// More zones than any machine has meters for.
const MOST_ZONES: usize = 1_024;
/// More points than a zone has bins.
const MOST_POINTS: usize = 64;
/// Columns of what is said of a file that is none.
pub(super) const WORDS: usize = 200;

/// The file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Saved {
    pub(super) version: u32,
    pub(super) saved_at: u64,
    pub(super) machine: Identity,
    pub(super) conditions: Conditions,
    zones: Vec<Zone>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Zone {
    source: String,
    zone: String,
    points: Vec<Point>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Point {
    busy_ppm: u32,
    power_uw: u64,
    error_uw: u64,
    samples: u32,
    age_s: u64,
}

/// Why text is no such file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// What is wrong.
    Broken(String),
    /// Its version.
    Newer(u32),
}

impl Saved {
    pub(super) fn new(
        machine: Identity,
        conditions: Conditions,
        saved_at: u64,
        learned: &[LearnedZone],
    ) -> Self {
        let zones = learned.iter().take(MOST_ZONES).map(|learned| Zone {
            source: learned.source.clone(),
            zone: learned.zone.clone(),
            points: learned.points.iter().map(Point::of).collect(),
        });
        Self {
            version: VERSION,
            saved_at,
            machine,
            conditions,
            zones: zones.collect(),
        }
    }

    /// Reads it. Its version is looked at first, because nothing else of a newer one need be understood.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Unreadable> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        // They quote the file, which may be a line of megabytes.
        let words = |what: &str| Unreadable::Broken(cut(what, WORDS));
        let broken = |error: serde_json::Error| words(&error.to_string());
        let Version { version } = serde_json::from_slice(bytes).map_err(broken)?;
        if version > VERSION {
            return Err(Unreadable::Newer(version));
        }
        let saved: Self = serde_json::from_slice(bytes).map_err(broken)?;
        match saved.impossible() {
            Some(what) => Err(words(&what)),
            None => Ok(saved),
        }
    }

    /// What cannot be, of what is written there.
    fn impossible(&self) -> Option<String> {
        if self.version == 0 {
            return Some("there is no version 0".to_owned());
        }
        if self.zones.len() > MOST_ZONES {
            return Some(format!("{} zones", self.zones.len()));
        }
        self.zones.iter().find_map(|zone| {
            if zone.points.len() > MOST_POINTS {
                return Some(format!("{} points for {}", zone.points.len(), zone.zone));
            }
            let wrong = zone.points.iter().find(|point| point.busy_ppm > 1_000_000)?;
            Some(format!("busy_ppm {} for {}", wrong.busy_ppm, zone.zone))
        })
    }

    /// How long ago it was saved; no time where the clock has gone back since, as it does on machines without a battery.
    pub(super) const fn age(&self, now: u64) -> Duration {
        Duration::from_secs(now.saturating_sub(self.saved_at))
    }

    /// What was learned, with ages as of `now`.
    pub(super) fn learned(&self, now: u64) -> Vec<LearnedZone> {
        let since = self.age(now);
        let zones = self.zones.iter().map(|zone| LearnedZone {
            source: zone.source.clone(),
            zone: zone.zone.clone(),
            points: zone.points.iter().map(|point| point.learned(since)).collect(),
        });
        zones.collect()
    }
}

impl Point {
    fn of(learned: &LearnedPoint) -> Self {
        Self {
            busy_ppm: learned.busy_ppm,
            power_uw: learned.power.as_micro(),
            error_uw: learned.error.as_micro(),
            samples: learned.samples,
            age_s: learned.age.as_secs(),
        }
    }

    const fn learned(&self, since: Duration) -> LearnedPoint {
        LearnedPoint {
            busy_ppm: self.busy_ppm,
            power: Microwatts::from_micro(self.power_uw),
            error: Microwatts::from_micro(self.error_uw),
            samples: self.samples,
            age: Duration::from_secs(self.age_s).saturating_add(since),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn identity(number: u32) -> Identity {
        Identity {
            firmware: format!("product_uuid {number}"),
            processor: "Model x 1".to_owned(),
        }
    }

    pub(in super::super) fn learned(watts: u64) -> Vec<LearnedZone> {
        vec![LearnedZone {
            source: "rapl-sysfs".to_owned(),
            zone: "package/socket0".to_owned(),
            points: vec![LearnedPoint {
                busy_ppm: 4_000,
                power: Microwatts::from_watts(watts),
                error: Microwatts::from_micro(60_000),
                samples: 32,
                age: Duration::from_secs(12),
            }],
        }]
    }

    fn text(change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
        let saved = Saved::new(identity(1), Conditions::default(), 1_000, &learned(20));
        let mut value = serde_json::to_value(saved).expect("JSON");
        change(&mut value);
        value.to_string().into_bytes()
    }

    #[test]
    fn what_is_written_is_read_again_and_has_aged() {
        let saved = Saved::parse(&text(|_| {})).expect("ours");
        let mut expected = learned(20);
        expected[0].points[0].age = Duration::from_secs(12 + 60);
        assert_eq!(saved.learned(1_060), expected);
        // The clock went back.
        assert_eq!(saved.learned(7), learned(20));
    }

    #[test]
    fn fields_of_later_days_are_passed_over_and_a_later_version_is_not_understood() {
        assert!(Saved::parse(&text(|value| value["more"] = 1.into())).is_ok());
        let newer = text(|value| {
            *value = serde_json::json!({"version": 2, "zones": "elsewhere"});
        });
        assert_eq!(Saved::parse(&newer), Err(Unreadable::Newer(2)));
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_it_is() {
        let whole = text(|_| {});
        let cases: [(Vec<u8>, &str); 8] = [
            (Vec::new(), "EOF"),
            (whole[..whole.len() / 2].to_vec(), "EOF"),
            (b"\0\0\0\0".to_vec(), "expected value"),
            (text(|value| value["version"] = 0.into()), "version 0"),
            (
                text(|value| value["zones"][0]["points"][0]["power_uw"] = (-1).into()),
                "-1",
            ),
            (
                text(|value| value["zones"][0]["points"][0]["busy_ppm"] = 1_000_001.into()),
                "busy_ppm 1000001 for package/socket0",
            ),
            (
                text(|value| {
                    let zone = value["zones"][0].clone();
                    value["zones"] = vec![zone; 1_025].into();
                }),
                "1025 zones",
            ),
            (
                text(|value| {
                    let point = value["zones"][0]["points"][0].clone();
                    value["zones"][0]["points"] = vec![point; 65].into();
                }),
                "65 points for package/socket0",
            ),
        ];
        for (bytes, expected) in cases {
            match Saved::parse(&bytes) {
                Err(Unreadable::Broken(what)) => assert!(what.contains(expected), "{what}"),
                other => panic!("{expected}: {other:?}"),
            }
        }
        let long = format!("{{\"version\": \"{}\"}}", "\u{7f}".repeat(1 << 20));
        let Err(Unreadable::Broken(what)) = Saved::parse(long.as_bytes()) else {
            panic!("a version that is text");
        };
        assert_eq!(what.chars().count(), WORDS, "{what}");
    }
}
