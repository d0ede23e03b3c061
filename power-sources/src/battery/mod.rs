// SPDX-License-Identifier: Apache-2.0
//! A laptop's battery as the meter of its platform (`battery`), while the machine runs on it.
//!
//! Owns the integral and the moments. What the machine uses on mains is unknown: there is no reading then, nothing is
//! billed for that time, and it is no error. Opt-in, by listing it in `sources.platform`.

mod config;
mod supply;
#[cfg(test)]
mod tests;

pub use config::BatteryConfig;

use crate::backoff::Backoff;
use crate::errors::ErrorLedger;
use crate::files::Fault;
use crate::integrate::{Integrator, Sampled};
use crate::sensors::channel::{Pace, Plausible};
use crate::{Ask, Opened, PowerSource, SourceOpenError};
use attribution::model::{
    Component, Energy, ErrorReason, Microwatts, MonotonicNanos, Place, Provenance, SourceId, Zone,
    ZoneReading,
};
use std::sync::Arc;
use std::time::Duration;
use supply::{Supply, Verdict, supplies, verdict};

/// The name in the configuration.
pub const NAME: &str = "battery";
/// The `source` label.
pub const SOURCE: SourceId = SourceId("battery");
/// What a battery stands for.
pub const COMPONENTS: &[Component] = &[Component::Platform];

/// Time between two looks. Fuel gauges measure about once in a second, and the ACPI driver asks the firmware no sooner.
const PACE: Pace = Pace {
    wait: Duration::from_secs(1),
};
/// Longest time between two readings that a straight line is drawn over; see `sensors/channel.rs`.
const LONGEST_GAP: Duration = Duration::from_secs(180);

/// The section with every key at its default.
#[must_use]
pub fn default_section() -> serde_json::Value {
    serde_json::to_value(BatteryConfig::default()).unwrap_or_default()
}

/// Whether a section can be used.
///
/// # Errors
/// What is wrong with it.
pub fn check(section: &serde_json::Value) -> Result<(), SourceOpenError> {
    crate::section::<BatteryConfig>(NAME, section)?.check()
}

/// Looks for batteries of the machine.
///
/// # Errors
/// Only a section that cannot be used; see [`SourceOpenError`].
pub fn open(ask: &Ask<'_>) -> Result<Opened, SourceOpenError> {
    let config: BatteryConfig = crate::section(NAME, ask.section)?;
    config.check()?;
    Ok(match Battery::open(config, ask.wanted) {
        Ok(battery) => Opened::Source(Box::new(battery)),
        Err(reason) => Opened::Absent { reason },
    })
}

struct Battery {
    config: BatteryConfig,
    zone: Zone,
    /// Names of the batteries that were there at the start.
    names: String,
    integrator: Integrator,
    /// When the supplies were last looked at with an answer.
    looked: Option<MonotonicNanos>,
    /// The moment of the latest reading; `None` while the machine is not on battery.
    at: Option<MonotonicNanos>,
    backoff: Backoff,
    errors: ErrorLedger,
}

impl Battery {
    /// The reason why not is for people.
    fn open(config: BatteryConfig, wanted: &[Component]) -> Result<Self, String> {
        let root = config.root.display();
        if !wanted.contains(&Component::Platform) {
            return Err(format!("{root}: a battery is only about the platform"));
        }
        let found = supplies(&config.root, plausible(&config)).map_err(|fault| match fault.reason {
            ErrorReason::Gone => format!("{root} does not exist: this kernel knows no power supplies"),
            _ => fault.words,
        })?;
        let names: Vec<_> = found
            .iter()
            .filter(|(_, supply)| matches!(supply, Supply::Battery { .. }))
            .filter_map(|(dir, _)| Some(dir.file_name()?.to_string_lossy().into_owned()))
            .collect();
        if names.is_empty() {
            return Err(format!("{root}: no battery of this machine"));
        }
        Ok(Self {
            names: names.join(", "),
            zone: Zone {
                component: Component::Platform,
                place: Place::Named(Arc::from(NAME)),
            },
            integrator: Integrator::new(LONGEST_GAP),
            looked: None,
            at: None,
            backoff: Backoff::default(),
            errors: ErrorLedger::default(),
            config,
        })
    }

    fn look(&mut self, now: MonotonicNanos) {
        // Anew each time: batteries are changed while the machine runs, and the files are few.
        let said = match supplies(&self.config.root, plausible(&self.config)) {
            Ok(found) => verdict(found.into_values()),
            Err(fault) => Verdict::Failed(fault),
        };
        match said {
            Verdict::Uses(power) => {
                self.backoff.succeeded();
                self.looked = Some(now);
                self.at = Some(now);
                if let Sampled::GapTooLong(gap) = self.integrator.sample(now, power) {
                    let words = format!(
                        "{}: no reading for {} s; that time is not billed",
                        self.config.root.display(),
                        gap.as_secs()
                    );
                    self.errors
                        .note(SOURCE, Some(&self.zone), ErrorReason::Timeout, &words);
                }
            }
            Verdict::NotOnBattery => {
                self.backoff.succeeded();
                self.looked = Some(now);
                self.at = None;
                self.integrator.interrupt();
            }
            Verdict::Failed(fault) => self.failed(now, &fault),
            Verdict::NoBattery => {
                let words = format!("{}: no battery any more", self.config.root.display());
                self.integrator.interrupt();
                self.failed(
                    now,
                    &Fault {
                        reason: ErrorReason::Gone,
                        words,
                    },
                );
            }
        }
    }

    fn failed(&mut self, now: MonotonicNanos, fault: &Fault) {
        self.backoff.failed(now);
        self.at = None;
        self.errors
            .note(SOURCE, Some(&self.zone), fault.reason, &fault.words);
    }
}

/// A machine that runs uses something.
fn plausible(config: &BatteryConfig) -> Plausible {
    Plausible {
        least: Microwatts::from_micro(1),
        most: Microwatts::from_watts(u64::from(config.max_watts)),
    }
}

impl PowerSource for Battery {
    fn id(&self) -> SourceId {
        SOURCE
    }

    fn components(&self) -> Vec<Component> {
        COMPONENTS.to_vec()
    }

    fn detail(&self) -> String {
        format!(
            "{}: {} = {}, while the machine runs on it",
            self.config.root.display(),
            self.zone,
            self.names
        )
    }

    fn read(&mut self, now: MonotonicNanos) -> Energy {
        if self.backoff.is_due(now) && !PACE.holds(self.looked, now) {
            self.look(now);
        }
        let reading = self.at.map(|at| ZoneReading {
            zone: self.zone.clone(),
            total: self.integrator.total(),
            idle: None,
            provenance: Provenance::Integrated,
            at,
            device: None,
        });
        Energy {
            zones: reading.into_iter().collect(),
            errors: self.errors.rows(),
        }
    }
}
