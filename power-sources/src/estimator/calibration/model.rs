// SPDX-License-Identifier: Apache-2.0
//! A calibrated model: curves of a machine with their errors, as they go into the file and are asked for.

use super::curve::Curve;
use super::machine::{Described, Mismatch};
use super::real::microwatts;
use super::score::{ErrorTable, Level};
use super::validate::{Calibration, ZoneCalibration};
use attribution::model::{Component, Microwatts, Permille, Place};
use std::time::Duration;

/// What a file says that it is.
pub(super) const FORMAT: &str = "kepler-power-model";
/// The version of the layout.
pub(super) const VERSION: u64 = 1;
/// The longest name, in bytes.
pub(super) const LONGEST: usize = 256;

/// Who made a model, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Making {
    /// Program and version.
    pub program: String,
    /// Date and time in UTC (RFC 3339).
    pub date: String,
    /// Whether the load was made by `--stress`.
    pub stress: bool,
}

/// The model of one zone.
#[derive(Clone, Debug, PartialEq)]
pub struct ZoneModel {
    /// Package, DRAM or platform.
    pub component: Component,
    /// The place, as in metrics: `socket0`, `socket0-die1`, a meter's name.
    pub place: String,
    /// The package whose load counts; of the platform there is none, and that of all packages counts.
    pub package: Option<u16>,
    /// Its meter.
    pub source: String,
    /// Samples that it was made of.
    pub samples: usize,
    /// From the first to the last.
    pub span: Duration,
    /// Left out on each side of a block.
    pub gap: Duration,
    /// Watts over busy share.
    pub curve: Curve,
    /// How wrong it was about what it had not seen.
    pub error: ErrorTable,
}

/// Watts of one part of a machine, and how wrong they may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// At rest.
    pub idle: Microwatts,
    /// Above it.
    pub dynamic: Microwatts,
    /// 90 % of cases at this load were nearer than this; where it was not seen, each percent of load beyond adds one.
    pub within: Permille,
}

/// See the module's head.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Who made it.
    pub made: Making,
    /// Of which machine.
    pub machine: Described,
    /// Its zones; one at least.
    pub zones: Vec<ZoneModel>,
}

impl Model {
    /// Of what was calibrated.
    #[must_use]
    pub fn new(calibration: &Calibration, machine: Described, made: Making) -> Self {
        Self {
            made,
            machine,
            zones: calibration.zones.iter().map(ZoneModel::new).collect(),
        }
    }

    /// Whether it is for this machine; gives what is different without forbidding it, in words.
    ///
    /// # Errors
    /// When it is for another kind of machine.
    pub fn fits(&self, machine: &Described, is_guest: bool) -> Result<Option<String>, Mismatch> {
        self.machine.fits(machine, is_guest)
    }

    /// Whether it knows this component.
    #[must_use]
    pub fn has(&self, component: Component) -> bool {
        self.zones.iter().any(|zone| zone.component == component)
    }

    /// Watts of a component at a busy share. Of package and memory: those of one socket, by its place among the packages of
    /// the machine; dies of a socket are added up. Of the platform: those of the whole machine, whatever the socket.
    /// Allocates nothing.
    #[must_use]
    pub fn estimate(&self, component: Component, socket: usize, busy: f64) -> Option<Estimate> {
        let package = self.package(socket);
        let of_it = |zone: &&ZoneModel| {
            zone.component == component && (zone.package.is_none() || zone.package == package)
        };
        let mut sum = Sum::default();
        // A zone of packages or of memory that is in no socket is that of all of them, and each has its part.
        let part = |zone: &ZoneModel| match (zone.package, component) {
            (None, Component::Package | Component::Dram) => 1.0 / f64::from(self.machine.chips.max(1)),
            _ => 1.0,
        };
        self.zones
            .iter()
            .filter(of_it)
            .for_each(|zone| sum.add(zone, busy, part(zone)));
        sum.estimate()
    }

    /// Watts of all zones of a component, when every package of the machine has this busy share. Allocates nothing.
    #[must_use]
    pub fn machine(&self, component: Component, busy: f64) -> Option<Estimate> {
        let mut sum = Sum::default();
        let of_it = self.zones.iter().filter(|zone| zone.component == component);
        of_it.for_each(|zone| sum.add(zone, busy, 1.0));
        sum.estimate()
    }

    /// A socket of this machine of which the file knows nothing of a component, as a recording knows nothing of a zone that
    /// could not be read: it would be answered with no watts at all.
    #[must_use]
    pub fn missing(&self, component: Component) -> Option<usize> {
        let of_it = || self.zones.iter().filter(|zone| zone.component == component);
        let is_of_all = of_it().any(|zone| zone.package.is_none());
        let chips = usize::try_from(self.machine.chips).unwrap_or(usize::MAX);
        let known = |socket: &usize| {
            let package = self.package(*socket);
            package.is_some() && of_it().any(|zone| zone.package == package)
        };
        (!is_of_all)
            .then(|| (0..chips).find(|socket| !known(socket)))
            .flatten()
    }

    /// The error that holds for 90 % of the cases at any load that was seen.
    #[must_use]
    pub fn error(&self, component: Component) -> Option<Permille> {
        let of_it = self.zones.iter().filter(|zone| zone.component == component);
        let within = of_it.map(|zone| zone.error.all.within).reduce(f64::max)?;
        Some(permille(within))
    }

    /// The number of the package that is this many after the first.
    fn package(&self, socket: usize) -> Option<u16> {
        // Few zones: found again each time instead of kept in order beside them.
        let after = |before: Option<u16>| {
            let later = |package: &u16| before.is_none_or(|before| *package > before);
            self.zones
                .iter()
                .filter_map(|zone| zone.package)
                .filter(later)
                .min()
        };
        let mut package = after(None);
        for _ in 0..socket {
            package = after(Some(package?));
        }
        package
    }
}

/// A name as a file may hold it, and a terminal show it: a recording may have any.
pub(super) fn name(text: &str) -> String {
    let mut name = text.replace(char::is_control, "\u{fffd}");
    while name.len() > LONGEST {
        name.pop();
    }
    name
}

/// A relative error in thousandths. One beyond four million times is as good as that.
fn permille(error: f64) -> Permille {
    // So many thousandths as a thousandth of it in watts has microwatts; rounded up.
    let micro = microwatts((error + 0.0005) / 1_000.0).as_micro();
    Permille(u32::try_from(micro).unwrap_or(u32::MAX))
}

/// Zones of one component of a socket.
#[derive(Default)]
struct Sum {
    zones: usize,
    idle: f64,
    watts: f64,
    /// Of the errors in watts: those of zones of one socket go together (the same heat), so they are added.
    within: f64,
}

impl Sum {
    fn add(&mut self, zone: &ZoneModel, busy: f64, part: f64) {
        let figure = zone.curve.at(busy);
        let watts = figure.watts * part;
        let Level { within, .. } = zone.error.at(busy);
        self.zones += 1;
        self.idle += zone.curve.at(0.0).watts * part;
        self.watts += watts;
        self.within += (within + figure.beyond) * watts;
    }

    fn estimate(&self) -> Option<Estimate> {
        if self.zones == 0 {
            return None;
        }
        let all = microwatts(self.watts);
        let idle = microwatts(self.idle).min(all);
        let within = if self.watts > 0.0 {
            self.within / self.watts
        } else {
            0.0
        };
        Some(Estimate {
            idle,
            dynamic: all.saturating_sub(idle),
            within: permille(within),
        })
    }
}

impl ZoneModel {
    fn new(zone: &ZoneCalibration) -> Self {
        let package = match (&zone.zone.place, zone.zone.component) {
            // Of a platform, wherever its meter is, the load of the whole machine counts.
            (_, Component::Platform) | (Place::Named(_), _) => None,
            (Place::Socket { package, .. }, _) => Some(package.0),
        };
        Self {
            component: zone.zone.component,
            place: name(&zone.zone.place.to_string()),
            package,
            source: name(&zone.source),
            samples: zone.samples,
            span: zone.span,
            gap: zone.gap,
            curve: zone.curve.clone(),
            error: zone.error.clone(),
        }
    }
}
