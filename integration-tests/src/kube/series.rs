// SPDX-License-Identifier: Apache-2.0
//! What kepler counted and showed over a run: counts of CPU time with their moments, and label sets.

use super::run::Frame;
use crate::figures::rows;
use crate::promtext::{self, Sample};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Counts with their moments, in the order of both: they never fall.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Points(Vec<(u64, u64)>);

/// A count between two points of which one is before and one is after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Between {
    value: u64,
    /// By how much the two points differ, and so the most by which `value` is off.
    slack: u64,
}

/// What two counters rose by over the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rise {
    /// Of the measure.
    pub truth: u64,
    /// Of ours.
    pub ours: u64,
    /// Nanoseconds.
    pub over: u64,
}

impl Points {
    /// Out of (moment, count), in any order, some of them more than once.
    #[must_use]
    pub fn new(points: impl Iterator<Item = (u64, u64)>) -> Self {
        let points: BTreeSet<(u64, u64)> = points.collect();
        Self(points.into_iter().collect())
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[(u64, u64)] {
        &self.0
    }

    fn at(&self, moment: u64) -> Option<Between> {
        let after = self.0.partition_point(|(at, _)| *at < moment);
        let (end, until) = *self.0.get(after)?;
        let (begin, since) = *self.0.get(after.checked_sub(1)?)?;
        let slack = until.checked_sub(since)?;
        let part = u128::from(slack) * u128::from(moment - begin) / u128::from((end - begin).max(1));
        Some(Between {
            value: since + u64::try_from(part).unwrap_or(slack),
            slack,
        })
    }

    /// What both rose by between two moments of `truth`: one early and one late, those in whose surroundings ours moved least.
    #[must_use]
    pub fn rise(&self, truth: &Self) -> Option<Rise> {
        let usable: Vec<(u64, u64, Between)> = truth
            .0
            .iter()
            .filter_map(|(at, count)| Some((*at, *count, self.at(*at)?)))
            .collect();
        let third = usable.len().div_ceil(3);
        let (early, late) = (usable.get(..third)?, usable.get(usable.len() - third..)?);
        let from = early.iter().min_by_key(|(at, _, ours)| (ours.slack, *at))?;
        let to = late
            .iter()
            .min_by_key(|(at, _, ours)| (ours.slack, u64::MAX - at))?;
        Some(Rise {
            truth: to.1.checked_sub(from.1)?,
            ours: to.2.value.checked_sub(from.2.value)?,
            over: to.0.checked_sub(from.0)?,
        })
    }
}

/// CPU time of a row of a level, by the value of its key.
#[must_use]
pub fn cpu(frames: &[Frame], level: &str, key: &str, value: &str) -> Points {
    let found = |frame: &Frame| {
        let row = rows(&frame.snapshot, level)
            .iter()
            .find(|row| row[key] == value)?;
        Some((frame.at, row["cpu_ns"].as_u64()?))
    };
    Points::new(frames.iter().filter_map(found))
}

/// The row of a level in the last snapshot that has it.
#[must_use]
pub fn last_row<'a>(frames: &'a [Frame], level: &str, key: &str, value: &str) -> Option<&'a Value> {
    let mut frames = frames.iter().rev();
    frames.find_map(|frame| rows(&frame.snapshot, level).iter().find(|row| row[key] == value))
}

/// A level of workloads that has names in the metrics.
#[derive(Clone, Copy, Debug)]
pub struct Level {
    /// A counter that every row of it has, once.
    pub metric: &'static str,
    /// Its label that tells rows apart.
    pub id: &'static str,
    /// Its labels that are names.
    pub names: &'static [&'static str],
}

/// Containers.
pub const CONTAINERS: Level = Level {
    metric: "kepler_container_bpf_cpu_time_ms_total",
    id: "container_id",
    names: &["container_name", "pod_name", "container_namespace"],
};

/// Pods.
pub const PODS: Level = Level {
    metric: "kepler_pod_bpf_cpu_time_ms_total",
    id: "pod_id",
    names: &["pod_name", "pod_namespace"],
};

/// The frames in which a name was shown, by id and names.
pub type Shown = BTreeMap<String, BTreeMap<Vec<String>, Vec<usize>>>;

/// Under which names each row was shown, and when.
#[must_use]
pub fn shown(frames: &[Frame], level: Level) -> Shown {
    let mut all = Shown::new();
    for (number, frame) in frames.iter().enumerate() {
        for sample in promtext::of(&frame.metrics, level.metric) {
            let names = level.names.iter().map(|name| sample.label(name).to_owned());
            let under = all.entry(sample.label(level.id).to_owned()).or_default();
            under.entry(names.collect()).or_default().push(number);
        }
    }
    all
}

/// Counters that fell, in words; and how many there were.
#[must_use]
pub fn fallen(frames: &[Frame]) -> (usize, Vec<String>) {
    let mut highest: BTreeMap<(&str, &BTreeMap<String, String>), f64> = BTreeMap::new();
    let mut fallen = Vec::new();
    for sample in frames.iter().flat_map(|frame| &frame.metrics) {
        if !sample.name.ends_with("_total") {
            continue;
        }
        let Sample { name, labels, .. } = sample;
        let now = sample.float();
        let then = highest.entry((name.as_str(), labels)).or_insert(now);
        if now < *then {
            fallen.push(format!("{name} {labels:?} from {then} to {now}"));
        }
        *then = now;
    }
    (highest.len(), fallen)
}
