// SPDX-License-Identifier: Apache-2.0
//! The idle floor: how much of a zone's energy would have been spent had nobody run.
//!
//! `measured` learns it as a lower envelope of power against busy time ([`envelope`] keeps what was seen, [`fit`] reads
//! off what rest costs). While nothing can be said, energy times idle share decides, which is right for neither idle
//! nor busy but never calls a busy node idle. The floor never takes more than a window's own energy.
//!
//! Only intervals teach whose energy and busy time are of the same time: no shorter than [`SHORTEST`], no longer than
//! [`LONGEST`], and with as much busy and idle time as its CPUs had. A meter that is slower than the tick is taken from
//! reading to reading, with the busy time between them.
//!
//! A device (a GPU) is different: it may run one job at full load for days, and what it draws then is no floor. So it
//! is learned from only while it rests ([`rest`]); until it was seen at rest the idle share of time decides. A device draws
//! more at rest while a process has a context on it (an H100 122 W instead of 73), and the floor follows within five
//! windows: what a context costs is idle, and not its owner's.

mod envelope;
mod fit;
mod rest;
mod saved;
#[cfg(test)]
mod tests;

pub(super) use saved::Waiting;
pub use saved::{LearnedPoint, LearnedZone, Trust};

use crate::model::{Component, FloorOrigin, Microjoules, Microwatts, Permille};
use envelope::Envelope;
use fit::Estimate;
use rest::AtRest;
use std::time::Duration;

/// How the idle part of a metered zone is found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FloorPolicy {
    /// Learned on this node (see the module's head). Until enough windows were seen, as `BusyRatio`.
    #[default]
    Measured,
    /// Energy times the share of time that the CPUs were idle: the rule of Kepler v0.11, for comparison. It shrinks
    /// to nothing under load, although the machine's static power does not.
    BusyRatio,
    /// Everything is dynamic.
    None,
    /// Fixed power for each zone of a component; components that are not listed have no floor.
    Fixed(Vec<(Component, Microwatts)>),
}

/// Time that the CPUs of a place ran tasks and did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BusyTime {
    pub(crate) busy: u64,
    pub(crate) idle: u64,
    /// CPUs that it is the time of.
    pub(crate) cpus: u32,
}

impl BusyTime {
    /// Time since `then`, both cumulative.
    pub(crate) const fn since(self, then: Self) -> Self {
        Self {
            busy: self.busy.saturating_sub(then.busy),
            idle: self.idle.saturating_sub(then.idle),
            cpus: self.cpus,
        }
    }

    fn all(self) -> u128 {
        u128::from(self.busy) + u128::from(self.idle)
    }

    /// Busy time in millionths of all; `None` where no time passed.
    pub(crate) fn ppm(self) -> Option<u32> {
        let ppm = (u128::from(self.busy) * 1_000_000).checked_div(self.all())?;
        u32::try_from(ppm).ok()
    }

    /// Whether less than half of one CPU's time was work. One thread of a large node that never stops is a small part of all
    /// time, and keeps its socket awake all the same.
    fn is_rest(self) -> bool {
        u128::from(self.busy) * u128::from(self.cpus) * 2 < self.all()
    }

    /// Whether it is the CPUs' time of `elapsed`, within a third: usage and meters are not read at the same moment, least of
    /// all on a machine under load. After a late report one of them is half of the other or less; when CPUs came or
    /// went, and in a guest that much is stolen from, it is not either.
    pub(crate) fn is_of(self, elapsed: Duration) -> bool {
        let due = elapsed.as_nanos() * u128::from(self.cpus);
        self.all().abs_diff(due) <= due / 3
    }
}

/// Learns and applies one zone's floor.
#[derive(Debug, Default)]
pub(crate) struct Floor {
    kind: Kind,
    /// Windows at rest so far, up to [`RESTED`].
    rests: u32,
}

/// Windows at rest without which no floor is called measured, however quiet the others were: as many as make a bin of the
/// envelope believed.
const RESTED: u32 = 7;

#[derive(Debug)]
enum Kind {
    /// Of what CPU time pays for.
    Envelope(Envelope),
    /// Of a device.
    AtRest(AtRest),
}

impl Default for Kind {
    fn default() -> Self {
        Self::Envelope(Envelope::default())
    }
}

/// Which floor holds now. Without a power the busy share decides, or everything is dynamic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct InForce {
    pub(crate) power: Option<Microwatts>,
    pub(crate) origin: FloorOrigin,
    /// Expected relative error, where that is known.
    pub(crate) error: Option<Permille>,
}

/// Shorter intervals are not learned from: a meter's own update period (1 ms for RAPL, Intel SDM vol. 3, 15.10) is
/// then no longer small beside the interval.
const SHORTEST: Duration = Duration::from_millis(50);
/// Longer ones hold many loads, and their mean is on no curve. The slowest meters are asked every five minutes.
const LONGEST: Duration = Duration::from_secs(600);

impl Floor {
    /// The floor of a device.
    pub(crate) fn of_a_device() -> Self {
        Self {
            kind: Kind::AtRest(AtRest::default()),
            rests: 0,
        }
    }

    /// Takes one interval's mean power into account.
    pub(crate) fn learn(&mut self, energy: Microjoules, elapsed: Duration, busy: BusyTime) {
        let fits = (SHORTEST..=LONGEST).contains(&elapsed) && busy.is_of(elapsed);
        if fits && busy.is_rest() {
            self.rests = RESTED.min(self.rests + 1);
        }
        match &mut self.kind {
            Kind::AtRest(rest) if fits => rest.learn(energy.mean_power(elapsed), busy),
            Kind::AtRest(_) => {}
            Kind::Envelope(envelope) => {
                envelope.pass(elapsed);
                if let Some(busy) = busy.ppm().filter(|_| fits) {
                    envelope.learn(busy, energy.mean_power(elapsed));
                }
            }
        }
    }

    /// What was learned, to be saved.
    pub(crate) fn save(&self) -> Vec<LearnedPoint> {
        match &self.kind {
            Kind::Envelope(envelope) => envelope.save(),
            Kind::AtRest(_) => Vec::new(),
        }
    }

    /// Takes what an earlier run had saved.
    pub(crate) fn restore(&mut self, points: &[LearnedPoint], trust: Trust) {
        if let Kind::Envelope(envelope) = &mut self.kind {
            envelope.restore(points, trust);
        }
    }

    fn measured(&self, component: Component) -> InForce {
        // Published are curves of whole servers, whose packages make them.
        let has_curve = matches!(component, Component::Package | Component::Platform);
        let said = |estimate: &Estimate| has_curve || estimate.origin != FloorOrigin::Typical;
        let found = match &self.kind {
            Kind::Envelope(envelope) => {
                let found = envelope.estimate().filter(said).map(in_force);
                found.map(|floor| match floor.origin {
                    FloorOrigin::Measured if self.rests < RESTED => InForce {
                        origin: FloorOrigin::Extrapolated,
                        ..floor
                    },
                    _ => floor,
                })
            }
            Kind::AtRest(rest) => rest.floor().map(|power| InForce {
                power: Some(power),
                origin: FloorOrigin::Measured,
                error: None,
            }),
        };
        found.unwrap_or_else(|| InForce {
            origin: FloorOrigin::BusyRatio,
            ..InForce::default()
        })
    }

    /// The floor in force for a component under `policy`.
    pub(crate) fn in_force(&self, policy: &FloorPolicy, component: Component) -> InForce {
        match policy {
            FloorPolicy::Measured => self.measured(component),
            FloorPolicy::BusyRatio => InForce {
                origin: FloorOrigin::BusyRatio,
                ..InForce::default()
            },
            FloorPolicy::None => InForce::default(),
            FloorPolicy::Fixed(fixed) => InForce {
                power: Some(
                    fixed
                        .iter()
                        .find(|(of, _)| *of == component)
                        .map_or(Microwatts::ZERO, |(_, power)| *power),
                ),
                origin: FloorOrigin::Fixed,
                error: None,
            },
        }
    }
}

impl InForce {
    /// What a model says itself.
    pub(crate) const fn of_a_model(power: Microwatts) -> Self {
        Self {
            power: Some(power),
            origin: FloorOrigin::Model,
            error: None,
        }
    }

    /// The idle part of `energy`; never more than `energy`.
    pub(crate) fn idle_part(self, energy: Microjoules, elapsed: Duration, busy: BusyTime) -> Microjoules {
        match (self.power, self.origin) {
            (Some(power), _) => energy.min(power.energy_over(elapsed)),
            (None, FloorOrigin::BusyRatio) => by_busy_ratio(energy, busy),
            (None, _) => Microjoules::ZERO,
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not negative, at most 4 MW; and an error beyond u32 is the largest one"
)]
fn in_force(estimate: Estimate) -> InForce {
    let Estimate { watts, error, origin } = estimate;
    let relative = (watts > 0.0).then(|| Permille((error / watts * 1_000.0).round() as u32));
    InForce {
        power: Some(Microwatts::from_micro((watts * 1e6).round() as u64)),
        origin,
        error: relative,
    }
}

/// Energy times idle share. All of it where there is no CPU, because then nobody ran; nothing where there are and no
/// time of theirs was told, because then nobody knows who ran.
fn by_busy_ratio(energy: Microjoules, busy: BusyTime) -> Microjoules {
    if busy.all() == 0 && busy.cpus > 0 {
        return Microjoules::ZERO;
    }
    let idle = (u128::from(energy.as_micro()) * u128::from(busy.idle)).checked_div(busy.all());
    idle.and_then(|idle| u64::try_from(idle).ok())
        .map_or(energy, Microjoules::from_micro)
}
