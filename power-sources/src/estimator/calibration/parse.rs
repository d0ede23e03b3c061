// SPDX-License-Identifier: Apache-2.0
//! Model files: bytes to a model and back. Takes any bytes at all; what comes out keeps every promise of a [`Model`], and
//! what does not is refused with the place and the reason.
//!
//! The layout is in `docs/calibrate.md`; a change of it is a new version.

use super::curve::{Curve, KnotFault};
use super::machine::Described;
use super::model::{FORMAT, LONGEST, Making, Model, VERSION, ZoneModel};
use super::score::{ErrorTable, LEVELS, Level};
use attribution::model::Component;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// The largest file that is read, in bytes. One of a machine with 64 zones has a tenth of it.
pub const LARGEST: usize = 1 << 20;
/// Zones, as many as are watched.
const MOST_ZONES: usize = 144;
/// Chips and threads of a machine, more than Linux runs on (8,192 CPUs).
const MOST_THREADS: u32 = 1 << 16;
/// GiB of memory: four times what any machine has.
const MOST_GIB: f64 = 262_144.0;
/// A relative error beyond this says nothing any more.
const MOST_ERROR: f64 = 1_000.0;

/// Why bytes are no model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelFault {
    /// Too many bytes.
    #[error("has more than {LARGEST} bytes; a model of `kepler calibrate` has some thousand")]
    TooBig,
    /// Something else.
    #[error("is no model of `kepler calibrate`: its \"format\" is not \"{FORMAT}\"")]
    NotAModel,
    /// A layout that is not known here.
    #[error(
        "is a model of version {version}; this program reads version {VERSION}: use the kepler that made it, or a newer one"
    )]
    Version {
        /// The version that it names.
        version: String,
    },
    /// No JSON of this layout.
    #[error("is damaged: {0}")]
    Layout(String),
    /// A figure that cannot be.
    #[error("is damaged: {place}: {problem}")]
    Value {
        /// Where.
        place: String,
        /// What is wrong, and what is allowed.
        problem: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: String,
    version: u64,
    made: Made,
    machine: Described,
    zones: Vec<Zone>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Made {
    program: String,
    date: String,
    stress: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Zone {
    component: String,
    place: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    package: Option<u16>,
    source: String,
    samples: u32,
    span_seconds: u32,
    gap_seconds: u32,
    knots: Vec<(f64, f64)>,
    error: Error,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Error {
    samples: u32,
    mean: f64,
    within: f64,
    p10: f64,
    p90: f64,
    levels: Vec<AtLevel>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AtLevel {
    busy: f64,
    samples: u32,
    mean: f64,
    within: f64,
    p10: f64,
    p90: f64,
}

fn value(place: impl Into<String>, problem: impl Into<String>) -> ModelFault {
    ModelFault::Value {
        place: place.into(),
        problem: problem.into(),
    }
}

impl Model {
    /// Reads a model file.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, ModelFault> {
        if bytes.len() > LARGEST {
            return Err(ModelFault::TooBig);
        }
        let layout = |error: serde_json::Error| ModelFault::Layout(error.to_string());
        let whole: Value = serde_json::from_slice(bytes).map_err(layout)?;
        if whole.get("format").and_then(Value::as_str) != Some(FORMAT) {
            return Err(ModelFault::NotAModel);
        }
        match whole.get("version") {
            Some(version) if version.as_u64() == Some(VERSION) => {}
            Some(version) => {
                let version: String = version.to_string().chars().take(20).collect();
                return Err(ModelFault::Version { version });
            }
            None => return Err(value("version", "is missing")),
        }
        // From the bytes again, for the line and the column in what is said.
        let file: File = serde_json::from_slice(bytes).map_err(layout)?;
        file.model()
    }

    /// As a file.
    #[must_use]
    pub fn to_json(&self) -> String {
        let file = File {
            format: FORMAT.to_owned(),
            version: VERSION,
            made: Made {
                program: self.made.program.clone(),
                date: self.made.date.clone(),
                stress: self.made.stress,
            },
            machine: Described {
                memory_gib: self.machine.memory_gib.map(short),
                ..self.machine.clone()
            },
            zones: self.zones.iter().map(Zone::new).collect(),
        };
        // Of numbers and texts; what cannot be written is not among them.
        let mut json = serde_json::to_string_pretty(&file).unwrap_or_default();
        json.push('\n');
        json
    }
}

/// To a ten-thousandth: less than any meter tells.
fn short(number: f64) -> f64 {
    (number * 10_000.0).round() / 10_000.0
}

fn number(samples: usize) -> u32 {
    u32::try_from(samples).unwrap_or(u32::MAX)
}

/// Whole seconds, rounded up.
fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX)
}

impl Zone {
    fn new(zone: &ZoneModel) -> Self {
        let ErrorTable { all, levels } = &zone.error;
        let at_level = |(level, error): &(u8, Level)| AtLevel {
            busy: f64::from(*level) / 10.0,
            samples: number(error.samples),
            mean: short(error.mean),
            within: short(error.within),
            p10: short(error.p10),
            p90: short(error.p90),
        };
        Self {
            component: zone.component.name().to_owned(),
            place: zone.place.clone(),
            package: zone.package,
            source: zone.source.clone(),
            samples: number(zone.samples),
            span_seconds: seconds(zone.span),
            gap_seconds: seconds(zone.gap),
            knots: zone
                .curve
                .knots()
                .iter()
                .map(|(busy, watts)| (short(*busy), short(*watts)))
                .collect(),
            error: Error {
                samples: number(all.samples),
                mean: short(all.mean),
                within: short(all.within),
                p10: short(all.p10),
                p90: short(all.p90),
                levels: levels.iter().map(at_level).collect(),
            },
        }
    }

    fn model(self, place: &str) -> Result<ZoneModel, ModelFault> {
        let at = |key: &str| format!("{place}.{key}");
        let component = [Component::Package, Component::Dram, Component::Platform];
        let component = component
            .into_iter()
            .find(|component| component.name() == self.component);
        let component = component.ok_or_else(|| {
            value(
                at("component"),
                "is one of \"package\", \"dram\" and \"platform\"",
            )
        })?;
        if component == Component::Platform && self.package.is_some() {
            return Err(value(at("package"), "a platform is in no package"));
        }
        text(&at("place"), &self.place)?;
        text(&at("source"), &self.source)?;
        let curve =
            Curve::new(self.knots).map_err(|fault: KnotFault| value(at("knots"), fault.to_string()))?;
        Ok(ZoneModel {
            component,
            place: self.place,
            package: self.package,
            source: self.source,
            samples: to_usize(self.samples),
            span: Duration::from_secs(self.span_seconds.into()),
            gap: Duration::from_secs(self.gap_seconds.into()),
            curve,
            error: self.error.table(&at("error"))?,
        })
    }
}

fn to_usize(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl Error {
    fn table(self, place: &str) -> Result<ErrorTable, ModelFault> {
        let all = level(place, self.samples, [self.mean, self.within, self.p10, self.p90])?;
        let mut levels: Vec<(u8, Level)> = Vec::new();
        for (index, row) in self.levels.into_iter().enumerate() {
            let place = format!("{place}.levels[{index}]");
            let tenth = (0..LEVELS).find(|tenth| (f64::from(*tenth) / 10.0 - row.busy).abs() < 1e-6);
            let tenth = tenth.filter(|tenth| levels.last().is_none_or(|(last, _)| last < tenth));
            let tenth = tenth.ok_or_else(|| {
                value(
                    format!("{place}.busy"),
                    "is a tenth from 0 to 1, and greater than the one before",
                )
            })?;
            levels.push((
                tenth,
                level(&place, row.samples, [row.mean, row.within, row.p10, row.p90])?,
            ));
        }
        Ok(ErrorTable { all, levels })
    }
}

fn level(place: &str, samples: u32, figures: [f64; 4]) -> Result<Level, ModelFault> {
    let [mean, within, p10, p90] = figures;
    let sizes = [("mean", mean), ("within", within)];
    for (key, size) in sizes {
        if !(0.0..=MOST_ERROR).contains(&size) {
            return Err(value(
                format!("{place}.{key}"),
                format!("is between 0 and {MOST_ERROR}"),
            ));
        }
    }
    for (key, off) in [("p10", p10), ("p90", p90)] {
        if !(-1.0..=MOST_ERROR).contains(&off) {
            return Err(value(
                format!("{place}.{key}"),
                format!("is between -1 and {MOST_ERROR}"),
            ));
        }
    }
    if p10 > p90 {
        return Err(value(format!("{place}.p10"), "is not greater than p90"));
    }
    Ok(Level {
        samples: to_usize(samples),
        mean,
        within,
        p10,
        p90,
    })
}

fn text(place: &str, text: &str) -> Result<(), ModelFault> {
    if text.len() > LONGEST || text.chars().any(char::is_control) {
        return Err(value(
            place,
            format!("has {LONGEST} bytes at most and no control characters"),
        ));
    }
    Ok(())
}

impl File {
    fn model(self) -> Result<Model, ModelFault> {
        text("made.program", &self.made.program)?;
        text("made.date", &self.made.date)?;
        described(&self.machine)?;
        if !(1..=MOST_ZONES).contains(&self.zones.len()) {
            return Err(value("zones", format!("are 1 to {MOST_ZONES}")));
        }
        let mut zones: Vec<ZoneModel> = Vec::new();
        for (index, zone) in self.zones.into_iter().enumerate() {
            let place = format!("zones[{index}]");
            let zone = zone.model(&place)?;
            if zones
                .iter()
                .any(|other| other.component == zone.component && other.place == zone.place)
            {
                return Err(value(place, "is a zone that was there before"));
            }
            zones.push(zone);
        }
        Ok(Model {
            made: Making {
                program: self.made.program,
                date: self.made.date,
                stress: self.made.stress,
            },
            machine: self.machine,
            zones,
        })
    }
}

fn described(machine: &Described) -> Result<(), ModelFault> {
    let names = [("machine.cpu", &machine.cpu), ("machine.vendor", &machine.vendor)];
    for (place, name) in names {
        name.as_deref().map_or(Ok(()), |name| text(place, name))?;
    }
    for (place, number) in [
        ("machine.chips", machine.chips),
        ("machine.threads", machine.threads),
    ] {
        if !(1..=MOST_THREADS).contains(&number) {
            return Err(value(place, format!("is between 1 and {MOST_THREADS}")));
        }
    }
    if machine
        .memory_gib
        .is_some_and(|gib| !(0.0..=MOST_GIB).contains(&gib))
    {
        return Err(value(
            "machine.memory_gib",
            format!("is between 0 and {MOST_GIB}"),
        ));
    }
    Ok(())
}
