// SPDX-License-Identifier: Apache-2.0
//! What one guest said: owns the frames of guest/meters/init inside a section, and judges nothing.

use super::truth::Truth;
use crate::promtext::{self, Sample as Series};
use crate::serial::{Log, Section};
use serde_json::Value;

/// One guest's run.
#[derive(Clone, Debug, Default)]
pub struct Guest {
    /// `intel`, `amd`, ...
    pub name: String,
    /// Debian's package, and how busy the host was.
    pub package: String,
    /// What it said.
    pub log: Log,
    /// What was really used.
    pub truth: Truth,
}

/// Both pages of one window.
#[derive(Clone, Debug)]
pub struct Sample {
    /// `/metrics`.
    pub metrics: Vec<Series>,
    /// `/api/v1/snapshot`.
    pub snapshot: Value,
}

impl Guest {
    /// Out of what it wrote.
    #[must_use]
    pub fn parse(name: &str, package: &str, text: &str) -> Self {
        let log = Log::parse(text);
        let truth = log.section("truth").map(|section| Truth::parse(&section.lines));
        Self {
            name: name.to_owned(),
            package: package.trim().to_owned(),
            log,
            truth: truth.unwrap_or_default(),
        }
    }

    /// The pages that the guest took under that name.
    ///
    /// # Errors
    /// That there are none, in words.
    pub fn sample(&self, name: &str) -> Result<Sample, String> {
        let section = self.log.section(&format!("sample {name}"));
        section
            .and_then(Sample::parse)
            .ok_or_else(|| format!("the guest took no sample {name}"))
    }

    /// What a section says, in lines.
    #[must_use]
    pub fn lines(&self, title: &str) -> &[String] {
        self.log
            .section(title)
            .map_or(&[], |section| section.lines.as_slice())
    }
}

impl Sample {
    fn parse(section: &Section) -> Option<Self> {
        let mut parts = section.lines.splitn(2, |line| line == "@metrics");
        let json = parts.next()?.iter().find(|line| line.starts_with('{'))?;
        Some(Self {
            snapshot: serde_json::from_str(json).ok()?,
            metrics: promtext::parse(&parts.next()?.join("\n")),
        })
    }

    /// Joules of a zone in the metrics, in microjoules: above the floor and of the floor.
    ///
    /// # Errors
    /// That they are not there, in words.
    pub fn joules(&self, zone: Zone<'_>) -> Result<u64, String> {
        let name = format!("kepler_node_{}_joules_total", zone.component);
        let rows = promtext::of(&self.metrics, &name);
        let ours: Vec<_> = rows.into_iter().filter(|row| zone.is(row)).collect();
        if ours.is_empty() {
            return Err(format!("{name} has no {} of {}", zone.place, zone.source));
        }
        Ok(ours.into_iter().map(Series::millionths).sum())
    }

    /// Power of a zone in the metrics, in microwatts.
    ///
    /// # Errors
    /// That it is not there, in words.
    pub fn watts(&self, zone: Zone<'_>) -> Result<u64, String> {
        let name = format!("kepler_node_{}_watts", zone.component);
        let rows = promtext::of(&self.metrics, &name);
        let ours = rows.into_iter().find(|row| zone.is(row));
        ours.map(Series::millionths)
            .ok_or_else(|| format!("{name} has no {} of {}", zone.place, zone.source))
    }

    /// The row of a zone in the snapshot, and its number.
    ///
    /// # Errors
    /// That it is not there, in words.
    pub fn row(&self, zone: Zone<'_>) -> Result<(usize, &Value), String> {
        let rows = self.snapshot["zones"].as_array();
        rows.into_iter()
            .flatten()
            .enumerate()
            .find(|(_, row)| {
                row["component"] == zone.component
                    && row["place"] == zone.place
                    && row["source"] == zone.source
            })
            .ok_or_else(|| format!("the snapshot has no {} of {}", zone.place, zone.source))
    }

    /// The moment that the joules of a zone are about, on the guest's `CLOCK_MONOTONIC` in nanoseconds.
    ///
    /// # Errors
    /// That it is not told, in words.
    pub fn moment(&self, zone: Zone<'_>) -> Result<u64, String> {
        let (_, row) = self.row(zone)?;
        let ended = self.snapshot["window"]["ended_ns"].as_u64();
        let age = row["age_ns"].as_u64();
        ended
            .zip(age)
            .and_then(|(ended, age)| ended.checked_sub(age))
            .ok_or_else(|| format!("the snapshot does not date {}", zone.place))
    }

    /// The value of a series whose labels have all of these, 0 where there is none.
    #[must_use]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let rows = promtext::of(&self.metrics, name);
        rows.into_iter()
            .filter(|row| labels.iter().all(|(label, value)| row.label(label) == *value))
            .map(Series::float)
            .fold(0.0, |sum, value| sum + value)
    }
}

/// One zone of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone<'a> {
    /// `package`, `dram`, ...
    pub component: &'a str,
    /// Its label `package`.
    pub place: &'a str,
    /// Its label `source`.
    pub source: &'a str,
}

impl Zone<'_> {
    fn is(&self, row: &Series) -> bool {
        row.label("package") == self.place && row.label("source") == self.source
    }
}
