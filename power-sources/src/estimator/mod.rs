// SPDX-License-Identifier: Apache-2.0
//! The estimator (`trained_power_model`): energy where no meter is, from what ran.
//!
//! Owns the way from busy time to cumulative joules and says how wrong they may be. Is no
//! [`crate::PowerSource`], because it reads nothing: it is fed with the usage probe's reports. Refuses to
//! guess what its data cannot tell (core, uncore, GPU, other), and never carries a meter's name.
//!
//! Every socket is estimated by itself from its own busy time, and its package, DRAM and rest are integrated
//! apart; the platform is the sum of all of them. So package + DRAM can never exceed the platform, to the
//! microjoule.

mod builtin;
pub mod calibration;
mod complete;
mod config;
pub mod files;
mod generations;
mod machine;
mod names;
mod parts;
pub mod platform;
mod predict;
#[cfg(test)]
mod tests;

pub use complete::{Spec, complete};
pub use config::{EstimatorConfig, MachineConfig, ModelsConfig};
pub use generations::{Generation, Made, Signature, Vendor};
pub use machine::{Given, MachineDescription};
pub use names::canonical;
pub use predict::{Prediction, predict};

use crate::errors::ErrorLedger;
use crate::integrate::Integrator;
use attribution::model::{
    Component, CpuNanos, Energy, ErrorReason, Microjoules, Microwatts, MonotonicNanos, PackageId,
    PackageTime, Permille, Place, Provenance, SourceId, Zone, ZoneReading,
};
use builtin::Builtin;
use files::overlay::Overlaid;
use files::{FileModels, Here, RefusedFile};
use parts::{Busy, MachinePower, Power};
use platform::PlatformModel;
use std::sync::Arc;
use std::time::Duration;

/// The name in the configuration.
pub const NAME: &str = "estimator";
/// The `source` label.
pub const SOURCE: SourceId = SourceId("trained_power_model");
/// What it can estimate.
pub const COMPONENTS: &[Component] = &[Component::Package, Component::Dram, Component::Platform];
/// The place (`package` label) of the platform estimate: no meter's name, as it is none.
const PLATFORM_PLACE: &str = "estimator";

/// Idle and dynamic energy of one part of a socket.
struct Account {
    idle: Integrator,
    dynamic: Integrator,
}

impl Account {
    /// Only mean powers are billed, so no gap is too long.
    fn new() -> Self {
        let integrator = Integrator::new(Duration::MAX);
        Self {
            idle: integrator.clone(),
            dynamic: integrator,
        }
    }

    fn bill(&mut self, idle: Microwatts, dynamic: Microwatts, elapsed: Duration) {
        self.idle.add(idle, elapsed);
        self.dynamic.add(dynamic, elapsed);
    }

    fn total(&self) -> Estimate {
        let idle = self.idle.total();
        Estimate {
            idle,
            total: idle + self.dynamic.total(),
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Estimate {
    idle: Microjoules,
    total: Microjoules,
}

impl std::iter::Sum for Estimate {
    fn sum<I: Iterator<Item = Self>>(estimates: I) -> Self {
        estimates.fold(Self::default(), |sum, one| Self {
            idle: sum.idle + one.idle,
            total: sum.total + one.total,
        })
    }
}

/// One socket with what it was estimated to have used so far.
struct SocketAccount {
    package: PackageId,
    package_energy: Account,
    dram_energy: Account,
    rest_energy: Account,
    last: Option<(MonotonicNanos, CpuNanos)>,
}

impl SocketAccount {
    /// Bills the time since the last row of this package; `Err` says what was wrong with the row.
    fn observe(
        &mut self,
        at: MonotonicNanos,
        row: &PackageTime,
        power: impl FnOnce(Busy) -> Power,
    ) -> Result<(), String> {
        let Some((since, before)) = self.last else {
            self.last = Some((at, row.busy));
            return Ok(());
        };
        let elapsed = at.since(since);
        if elapsed.is_zero() {
            return Ok(());
        }
        self.last = Some((at, row.busy));
        let ran = row.busy.checked_sub(before);
        // All CPUs for all of the time; the probe's idle time is not needed, and a probe may not have it.
        let available = u128::from(row.cpus.max(1)).saturating_mul(elapsed.as_nanos());
        let busy = Busy::share(u128::from(ran.unwrap_or_default().as_nanos()), available);
        let Power { idle, dynamic } = power(busy);
        self.package_energy.bill(idle.package, dynamic.package, elapsed);
        self.dram_energy.bill(idle.dram, dynamic.dram, elapsed);
        self.rest_energy.bill(idle.rest, dynamic.rest, elapsed);
        if ran.is_none() {
            let package = self.package.0;
            return Err(format!(
                "busy time of package {package} went back; it counts as idle for one interval"
            ));
        }
        Ok(())
    }

    fn platform(&self) -> Estimate {
        [&self.package_energy, &self.dram_energy, &self.rest_energy]
            .into_iter()
            .map(Account::total)
            .sum()
    }
}

/// Turns busy time into energy.
pub struct Estimator {
    model: Box<dyn MachinePower>,
    /// One per package of the machine, as the model counts them.
    sockets: Vec<SocketAccount>,
    wanted: Vec<Component>,
    platform: Place,
    errors: ErrorLedger,
}

/// Files that are configured and cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct RefusedModels(pub Vec<RefusedFile>);

impl Estimator {
    /// As [`Self::new`], with the models of the files that are configured in the place of the built-in figures.
    ///
    /// # Errors
    /// With every file that cannot be used: what is wrong, where, and what is allowed.
    pub fn open(
        machine: &MachineDescription,
        config: &EstimatorConfig,
        wanted: &[Component],
    ) -> Result<Self, RefusedModels> {
        let mut estimator = Self::new(machine, config, wanted);
        let here = Here::of(machine, &config.machine);
        let models = FileModels::open(&config.models.paths(), &here).map_err(RefusedModels)?;
        if !models.is_empty() {
            let sockets = machine.sockets().into_values().collect();
            estimator.model = Box::new(Overlaid::new(estimator.model, models, sockets));
        }
        Ok(estimator)
    }

    /// With the built-in model, for this machine and the wanted components; those that it cannot estimate are left out. Opens
    /// no file.
    #[must_use]
    pub fn new(machine: &MachineDescription, config: &EstimatorConfig, wanted: &[Component]) -> Self {
        let model = Box::new(Builtin::new(machine, &config.machine, PlatformModel::builtin()));
        let accounts = machine.sockets().into_keys().map(|package| SocketAccount {
            package,
            package_energy: Account::new(),
            dram_energy: Account::new(),
            rest_energy: Account::new(),
            last: None,
        });
        Self {
            model,
            sockets: accounts.collect(),
            wanted: COMPONENTS
                .iter()
                .copied()
                .filter(|component| wanted.contains(component))
                .collect(),
            platform: Place::Named(Arc::from(PLATFORM_PLACE)),
            errors: ErrorLedger::default(),
        }
    }

    /// The `source` label of its figures.
    #[must_use]
    pub const fn id(&self) -> SourceId {
        SOURCE
    }

    /// The components that it answers for.
    #[must_use]
    pub fn components(&self) -> Vec<Component> {
        self.wanted.clone()
    }

    /// Which model for which machine, for people.
    #[must_use]
    pub fn detail(&self) -> String {
        self.model.detail()
    }

    /// Takes the usage probe's package times, read at `at` (the end of its section), and answers with the
    /// totals since the first call, in which there is nothing to bill yet. A package that is missing is
    /// missing in the answer; its next row pays the gap.
    pub fn observe(&mut self, at: MonotonicNanos, packages: &[PackageTime]) -> Energy {
        let mut seen = vec![false; self.sockets.len()];
        for row in packages {
            let known = self
                .sockets
                .iter_mut()
                .zip(&mut seen)
                .enumerate()
                .find(|(_, (socket, _))| socket.package == row.package);
            let complaint = match known {
                Some((index, (socket, seen))) => {
                    *seen = true;
                    socket
                        .observe(at, row, |busy| self.model.power(index, busy))
                        .err()
                        .map(|words| (ErrorReason::Reset, words))
                }
                None => Some((
                    ErrorReason::Implausible,
                    format!(
                        "package {} is not in the machine's description; its busy time is left out",
                        row.package.0
                    ),
                )),
            };
            let mended = self
                .model
                .complaint()
                .map(|words| (ErrorReason::Implausible, words.to_owned()));
            for (reason, words) in complaint.into_iter().chain(mended) {
                self.complain(reason, &words);
            }
        }
        Energy {
            zones: self.readings(&seen, at),
            errors: self.errors.rows(),
        }
    }

    fn complain(&mut self, reason: ErrorReason, words: &str) {
        if self.errors.count(None, reason, words) {
            tracing::warn!(
                source = SOURCE.0,
                reason = reason.name(),
                detail = words,
                "estimate not as it was asked for"
            );
        }
    }

    fn readings(&self, seen: &[bool], at: MonotonicNanos) -> Vec<ZoneReading> {
        let errors = self.model.errors();
        let answering = || {
            self.sockets
                .iter()
                .zip(seen)
                .filter(|(_, seen)| **seen)
                .map(|(socket, _)| socket)
        };
        let mut readings = Vec::new();
        for component in &self.wanted {
            let mut tell = |place: Place, estimate: Estimate, relative_error_p90: Permille| {
                readings.push(ZoneReading {
                    zone: Zone {
                        component: *component,
                        place,
                    },
                    total: estimate.total,
                    idle: Some(estimate.idle),
                    provenance: Provenance::Estimated { relative_error_p90 },
                    at,
                    device: None,
                });
            };
            match component {
                Component::Package => answering().for_each(|socket| {
                    tell(
                        Place::socket(socket.package),
                        socket.package_energy.total(),
                        errors.package,
                    );
                }),
                Component::Dram => answering().for_each(|socket| {
                    tell(
                        Place::socket(socket.package),
                        socket.dram_energy.total(),
                        errors.dram,
                    );
                }),
                Component::Platform if answering().next().is_some() => {
                    let estimate = self.sockets.iter().map(SocketAccount::platform).sum();
                    tell(self.platform.clone(), estimate, errors.platform);
                }
                _ => {}
            }
        }
        readings
    }
}
