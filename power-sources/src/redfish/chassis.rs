// SPDX-License-Identifier: Apache-2.0
//! One chassis of a Redfish tree: owns what its documents say, and the search for its meter stage by stage. The order of the
//! stages is explained in `discovery`.

use super::config::Preference;
use super::figure::{self, EnergyUnit};
use super::meter::{Extract, Figure, Kind, Meter, Part, is_absent, sum};
use super::policy::Policy;
use serde_json::Value;
use std::sync::Arc;

/// Most members of a collection that are looked at. Large machines have some hundred sensors.
pub(super) const MOST_MEMBERS: usize = 512;
/// Longest path and longest id.
const LONGEST: usize = 256;

/// Chassis types that are a part of a machine: its own chassis sees them too. Used only when they are named.
const PARTS: [&str; 6] = [
    "Card",
    "Cartridge",
    "Component",
    "Drive",
    "IPBasedDrive",
    "Module",
];
/// Chassis types that hold many machines or none: their figure is not this machine's. Used only when they are named.
const SITES: [&str; 8] = [
    "HeatExchanger",
    "ImmersionTank",
    "Pod",
    "PowerStrip",
    "Rack",
    "RackGroup",
    "Row",
    "Zone",
];

/// Where the search is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Begin,
    Environment,
    Power,
    Supplies,
    LegacySupplies,
    Sensors,
    End,
}

/// A chassis.
#[derive(Clone, Debug)]
pub(super) struct Chassis {
    pub(super) id: Arc<str>,
    pub(super) path: Arc<str>,
    kind: String,
    pub(super) contained_by: Vec<Arc<str>>,
    pub(super) contains: Vec<Arc<str>>,
    environment: Option<Arc<str>>,
    power: Option<Arc<str>>,
    subsystem: Option<Arc<str>>,
    sensors: Option<Arc<str>>,
    /// Whether it is to be used.
    pub(super) counts: bool,
    /// Whether its counter was seen to stand still.
    pub(super) coarse: bool,
    pub(super) stage: Stage,
    supplies: Supplies,
    /// Supplies as `Power` shows them.
    legacy: Option<Meter>,
    /// A sensor of power, unless a later one counts energy.
    sensor: Option<Meter>,
    /// A counter that is only better than nothing.
    last_resort: Option<Meter>,
    pub(super) meter: Option<Meter>,
}

/// The supplies of a `PowerSubsystem`.
#[derive(Clone, Debug, Default)]
struct Supplies {
    parts: Vec<Part>,
    figures: Vec<Figure>,
    /// Whether one of them has no figure.
    incomplete: bool,
}

impl Chassis {
    pub(super) fn new(path: &Arc<str>, document: &Value) -> Self {
        let links = |pointer| {
            let list = document.pointer(pointer).and_then(Value::as_array);
            let paths = list.into_iter().flatten().filter_map(|member| link(member, ""));
            paths.take(MOST_MEMBERS).collect()
        };
        Self {
            id: id(path, document),
            path: Arc::clone(path),
            kind: text(document, "/ChassisType").to_owned(),
            contained_by: link(document, "/Links/ContainedBy").into_iter().collect(),
            contains: links("/Links/Contains"),
            environment: link(document, "/EnvironmentMetrics"),
            power: link(document, "/Power"),
            subsystem: link(document, "/PowerSubsystem"),
            sensors: link(document, "/Sensors"),
            counts: false,
            coarse: false,
            stage: Stage::Begin,
            supplies: Supplies::default(),
            legacy: None,
            sensor: None,
            last_resort: None,
            meter: None,
        }
    }

    /// Whether its type is that of a machine, or of none that is known.
    pub(super) fn is_a_machine(&self) -> bool {
        !PARTS.contains(&self.kind.as_str()) && !SITES.contains(&self.kind.as_str())
    }

    /// Ends this stage and goes to the next one that has something to ask for; `None` at the end of the search.
    pub(super) fn next_stage(&mut self, policy: &Policy) -> Option<Arc<str>> {
        loop {
            self.end_stage(policy);
            if self.meter.is_some() {
                return None;
            }
            let (next, wanted) = match self.stage {
                Stage::Begin => (Stage::Environment, self.environment.clone()),
                Stage::Environment => (Stage::Power, self.power.clone()),
                Stage::Power => (Stage::Supplies, self.subsystem.clone()),
                Stage::Supplies => (Stage::LegacySupplies, None),
                Stage::LegacySupplies => (Stage::Sensors, self.sensors.clone()),
                Stage::Sensors => (Stage::End, None),
                Stage::End => return None,
            };
            self.stage = next;
            // Counters are in two places; elsewhere there is only power.
            let counters = matches!(next, Stage::Environment | Stage::Sensors);
            let power = counters || policy.reading != Preference::Energy;
            if let Some(path) = wanted.filter(|_| power) {
                return Some(path);
            }
        }
    }

    fn end_stage(&mut self, policy: &Policy) {
        match self.stage {
            Stage::Supplies if !self.supplies.incomplete => {
                let supplies = std::mem::take(&mut self.supplies);
                if sum(&supplies.figures, policy.most).is_ok() {
                    self.meter = Some(Meter {
                        kind: Kind::Power,
                        parts: supplies.parts,
                        name: "PowerSupplies InputPowerWatts",
                    });
                }
            }
            Stage::LegacySupplies => self.meter = self.legacy.take(),
            Stage::Sensors => self.meter = self.meter.take().or_else(|| self.sensor.take()),
            Stage::End => self.meter = self.meter.take().or_else(|| self.last_resort.take()),
            _ => {}
        }
    }

    /// What was asked for cannot be had. Of the supplies' sum it is then unknown how much is missing.
    pub(super) fn resource_failed(&mut self) {
        if self.stage == Stage::Supplies {
            self.supplies.incomplete = true;
        }
    }

    /// Takes a document that this stage asked for, and says which others it leads to.
    pub(super) fn take(&mut self, path: &Arc<str>, document: &Value, policy: &Policy) -> Vec<Arc<str>> {
        match self.stage {
            Stage::Environment => self.take_environment(path, document, policy),
            Stage::Power => self.take_power(path, document, policy),
            Stage::Supplies => return self.take_supplies(path, document, policy),
            Stage::Sensors => return self.take_sensors(path, document, policy),
            Stage::Begin | Stage::LegacySupplies | Stage::End => {}
        }
        Vec::new()
    }

    fn take_environment(&mut self, path: &Arc<str>, document: &Value, policy: &Policy) {
        let counters = [
            (
                EnergyUnit::Joules,
                "/EnergyJoules/Reading",
                "EnvironmentMetrics EnergyJoules",
            ),
            (
                EnergyUnit::KilowattHours,
                "/EnergykWh/Reading",
                "EnvironmentMetrics EnergykWh",
            ),
        ];
        for (unit, pointer, name) in counters {
            if self.take_counter(path, document, (unit, pointer), name, policy) {
                return;
            }
        }
        self.take_if_power(
            path,
            document,
            Extract::At("/PowerWatts/Reading"),
            "EnvironmentMetrics PowerWatts",
            policy,
        );
    }

    fn take_power(&mut self, path: &Arc<str>, document: &Value, policy: &Policy) {
        let first = Extract::At("/PowerControl/0/PowerConsumedWatts");
        self.take_if_power(
            path,
            document,
            first,
            "Power PowerControl/0/PowerConsumedWatts",
            policy,
        );
        let sums = [
            ("PowerInputWatts", "Power PowerSupplies PowerInputWatts"),
            (
                "LastPowerOutputWatts",
                "Power PowerSupplies LastPowerOutputWatts (without the supplies' losses)",
            ),
        ];
        self.legacy = sums
            .into_iter()
            .find_map(|(property, name)| usable(path, document, Extract::Supplies(property), name, policy));
    }

    /// A `PowerSubsystem`, its `PowerSupplies`, one of them, or its `Metrics`: told apart by what they have.
    fn take_supplies(&mut self, path: &Arc<str>, document: &Value, policy: &Policy) -> Vec<Arc<str>> {
        if let Some(collection) = link(document, "/PowerSupplies") {
            return vec![collection];
        }
        if document.get("Members").is_some() {
            let (mut paths, next) = members(document);
            paths.extend(next);
            return paths;
        }
        if let Some(metrics) = link(document, "/Metrics") {
            return if is_absent(document) {
                Vec::new()
            } else {
                vec![metrics]
            };
        }
        let part = Part {
            path: Arc::clone(path),
            extract: Extract::At("/InputPowerWatts/Reading"),
        };
        match part.read(document, Kind::Power, policy.most) {
            Ok(figure) => {
                self.supplies.parts.push(part);
                self.supplies.figures.push(figure);
            }
            Err(_) if is_absent(document) || Some(path) == self.subsystem.as_ref() => {}
            Err(_) => self.supplies.incomplete = true,
        }
        Vec::new()
    }

    /// The collection of sensors, or one of them.
    fn take_sensors(&mut self, path: &Arc<str>, document: &Value, policy: &Policy) -> Vec<Arc<str>> {
        if document.get("Members").is_some() {
            let (mut paths, next) = members(document);
            paths.extend(next);
            return paths;
        }
        let of_the_whole = matches!(text(document, "/PhysicalContext"), "Chassis" | "SystemBoard" | "Enclosure")
            // Where a sensor says that it is of one phase or one rail, it is not of the whole.
            && matches!(text(document, "/ElectricalContext"), "" | "Total");
        if !of_the_whole {
            return Vec::new();
        }
        let unit = match text(document, "/ReadingType") {
            "EnergyJoules" => EnergyUnit::Joules,
            "EnergykWh" => EnergyUnit::KilowattHours,
            // Sensors come in any order, and a counter is better wherever it stands.
            "Power" if self.sensor.is_none() && policy.reading != Preference::Energy => {
                self.sensor = usable(path, document, Extract::At("/Reading"), "Sensor Reading", policy);
                return Vec::new();
            }
            _ => return Vec::new(),
        };
        let at = (unit, "/Reading");
        self.take_counter(path, document, at, "Sensor Reading, energy", policy);
        Vec::new()
    }

    /// Takes an energy counter that counts, if its steps are small enough to be the meter; else it is the last resort.
    fn take_counter(
        &mut self,
        path: &Arc<str>,
        document: &Value,
        (unit, pointer): (EnergyUnit, &'static str),
        name: &'static str,
        policy: &Policy,
    ) -> bool {
        let value = document.pointer(pointer);
        // One that was never used is at zero, and so is one that is not there behind its name.
        let counts = figure::energy(value, unit).is_ok_and(|energy| !energy.is_zero());
        if !counts || policy.reading == Preference::Power {
            return false;
        }
        let meter = Meter::single(Kind::Energy(unit), path, Extract::At(pointer), name);
        let fine = !self.coarse && value.is_some_and(|value| figure::is_fine(value, unit));
        if fine || policy.reading == Preference::Energy {
            self.meter = Some(meter);
            return true;
        }
        self.last_resort.get_or_insert(meter);
        false
    }

    fn take_if_power(
        &mut self,
        path: &Arc<str>,
        document: &Value,
        extract: Extract,
        name: &'static str,
        policy: &Policy,
    ) {
        if policy.reading != Preference::Energy && self.meter.is_none() {
            self.meter = usable(path, document, extract, name, policy);
        }
    }
}

/// A meter of power, if it has a usable figure now.
fn usable(
    path: &Arc<str>,
    document: &Value,
    extract: Extract,
    name: &'static str,
    policy: &Policy,
) -> Option<Meter> {
    let meter = Meter::single(Kind::Power, path, extract, name);
    let part = meter.parts.first()?;
    let figure = part.read(document, Kind::Power, policy.most).ok()?;
    sum(&[figure], policy.most).is_ok().then_some(meter)
}

/// The path of a reference. Only a path: a reference to another host is none that credentials are sent to.
pub(super) fn link(document: &Value, pointer: &str) -> Option<Arc<str>> {
    let path = document
        .pointer(pointer)?
        .get("@odata.id")
        .and_then(Value::as_str)?;
    is_path(path).then(|| Arc::from(path))
}

fn is_path(path: &str) -> bool {
    path.starts_with('/')
        && !path.starts_with("//")
        && path.len() <= LONGEST
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

/// The members of a collection's page, and the path of the next page.
pub(super) fn members(document: &Value) -> (Vec<Arc<str>>, Option<Arc<str>>) {
    let list = document.get("Members").and_then(Value::as_array);
    let paths = list.into_iter().flatten().filter_map(|member| link(member, ""));
    let next = document.get("Members@odata.nextLink").and_then(Value::as_str);
    (
        paths.take(MOST_MEMBERS).collect(),
        next.filter(|path| is_path(path)).map(Arc::from),
    )
}

/// What a chassis is called: its `Id`, or the end of its path.
fn id(path: &str, document: &Value) -> Arc<str> {
    let given = text(document, "/Id");
    let last = || path.trim_end_matches('/').rsplit('/').next().unwrap_or(path);
    let id = if given.is_empty() { last() } else { given };
    let plain: String = id
        .chars()
        .filter(|char| !char.is_control())
        .take(LONGEST)
        .collect();
    Arc::from(plain)
}

fn text<'a>(document: &'a Value, pointer: &str) -> &'a str {
    document
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}
