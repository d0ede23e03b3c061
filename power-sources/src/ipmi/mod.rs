// SPDX-License-Identifier: Apache-2.0
//! The platform's power from a management controller over the system interface (`ipmi`): DCMI's Get Power Reading.
//!
//! Owns the watts of one machine, integrated over the measured time between two answers. A controller answers within 10 to
//! 100 ms, and sometimes not at all; so it is asked on a thread of its own (`poller.rs`) and a tick gets what it said last,
//! with that reading's moment.

mod bmc;
mod config;
mod dcmi;
#[cfg(feature = "fuzzing")]
pub mod fuzz;
#[cfg(test)]
mod tests;

pub use config::IpmiConfig;

use crate::backoff::Backoff;
use crate::errors::ErrorLedger;
use crate::files::Fault;
use crate::integrate::{Integrator, Sampled};
use crate::poller::{Pace, Polled};
use crate::{Ask, Opened, PowerSource, SourceOpenError};
use attribution::model::{
    Component, Energy, ErrorReason, Microwatts, MonotonicNanos, Place, Provenance, SourceId, Zone,
    ZoneReading,
};
use bmc::{Bmc, Device, Driver};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// The name in the configuration.
pub const NAME: &str = "ipmi";
/// The `source` label.
pub const SOURCE: SourceId = SourceId("ipmi");
/// What a controller meters.
pub const COMPONENTS: &[Component] = &[Component::Platform];

/// Longest wait for one answer, and so for `open`. A controller that answers at all does so within a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(2);

/// The section with every key at its default.
#[must_use]
pub fn default_section() -> serde_json::Value {
    serde_json::to_value(IpmiConfig::default()).unwrap_or_default()
}

/// Whether a section can be used.
///
/// # Errors
/// What is wrong with it.
pub fn check(section: &serde_json::Value) -> Result<(), SourceOpenError> {
    crate::section::<IpmiConfig>(NAME, section)?.check()
}

/// Asks the controller for one reading, and starts the thread that asks for more. Waits 2 s at most.
///
/// # Errors
/// Only a section that cannot be used; see [`SourceOpenError`].
pub fn open(ask: &Ask<'_>) -> Result<Opened, SourceOpenError> {
    let config: IpmiConfig = crate::section(NAME, ask.section)?;
    config.check()?;
    let driver = Box::new(Device {
        path: config.device.clone(),
        patience: PATIENCE,
    });
    // A device that is not there is no reading that failed: it would be a warning in the log of most machines.
    if let Err(error) = std::fs::metadata(&config.device) {
        let reason = Meter::new(config, driver).fault(&error).words;
        return Ok(Opened::Absent { reason });
    }
    Ok(match start(config, driver, ask) {
        Ok(polled) => Opened::Source(Box::new(polled)),
        Err(reason) => Opened::Absent { reason },
    })
}

/// The reason why not is for people.
fn start(config: IpmiConfig, driver: Box<dyn Driver>, ask: &Ask<'_>) -> Result<Polled, String> {
    let device = config.device.display().to_string();
    if !ask.wanted.contains(&Component::Platform) {
        return Err(format!("{device}: none of the wanted components, only platform"));
    }
    let pace = Pace {
        interval: config.interval.0,
        patience: PATIENCE,
    };
    let mut meter = Meter::new(config, driver);
    let first = meter.read((ask.clock)());
    if first.zones.is_empty() {
        // A reading that failed has said why.
        let why = first.errors.last().map(|error| error.latest.to_string());
        return Err(why.unwrap_or_else(|| format!("{device}: no answer")));
    }
    Polled::start(Box::new(meter), first, pace, ask.clock)
        .map_err(|error| format!("{device}: no thread to ask it on: {error}"))
}

/// A controller, asked whenever it is read.
struct Meter {
    config: IpmiConfig,
    driver: Box<dyn Driver>,
    /// `None` until it is opened, and after a line failed.
    line: Option<Box<dyn Bmc>>,
    zone: Zone,
    integrator: Integrator,
    backoff: Backoff,
    errors: ErrorLedger,
}

impl Meter {
    fn new(config: IpmiConfig, driver: Box<dyn Driver>) -> Self {
        let name = config.device.file_name().unwrap_or(config.device.as_os_str());
        let place = Place::Named(Arc::from(name.to_string_lossy()));
        Self {
            zone: Zone {
                component: Component::Platform,
                place,
            },
            integrator: Integrator::new(config.longest_gap()),
            config,
            driver,
            line: None,
            backoff: Backoff::default(),
            errors: ErrorLedger::default(),
        }
    }

    /// One question.
    fn ask(&mut self) -> Result<Microwatts, Fault> {
        let mut line = match self.line.take() {
            Some(line) => line,
            None => self.driver.open().map_err(|error| self.fault(&error))?,
        };
        let answer = line
            .exchange(dcmi::NETFN, dcmi::COMMAND, &dcmi::REQUEST)
            .map_err(|error| self.fault(&error))?;
        // Kept only now: a line that failed may still have an answer to come.
        self.line = Some(line);
        dcmi::parse(&answer, self.config.most()).map_err(|fault| Fault {
            words: format!("{}: {}", self.config.device.display(), fault.words),
            ..fault
        })
    }

    fn fault(&self, error: &io::Error) -> Fault {
        let mut fault = Fault::io(&self.config.device, error);
        match error.kind() {
            io::ErrorKind::NotFound => fault.words.push_str("; try `modprobe -a ipmi_si ipmi_devintf`"),
            io::ErrorKind::WouldBlock => {
                fault = Fault {
                    reason: ErrorReason::Timeout,
                    words: format!(
                        "{}: no answer within {}",
                        self.config.device.display(),
                        humantime::format_duration(PATIENCE)
                    ),
                };
            }
            _ => {}
        }
        fault
    }

    /// What the answer is worth.
    fn take(&mut self, power: Microwatts, now: MonotonicNanos) -> ZoneReading {
        if let Sampled::GapTooLong(gap) = self.integrator.sample(now, power) {
            let words = format!(
                "{}: no reading for {}; the gap is not counted",
                self.config.device.display(),
                humantime::format_duration(Duration::from_secs(gap.as_secs()))
            );
            self.errors
                .note(SOURCE, Some(&self.zone), ErrorReason::Timeout, &words);
        }
        ZoneReading {
            zone: self.zone.clone(),
            total: self.integrator.total(),
            idle: None,
            provenance: Provenance::Integrated,
            at: now,
            device: None,
        }
    }
}

impl PowerSource for Meter {
    fn id(&self) -> SourceId {
        SOURCE
    }

    fn components(&self) -> Vec<Component> {
        COMPONENTS.to_vec()
    }

    fn detail(&self) -> String {
        let interval = humantime::format_duration(self.config.interval.0);
        format!(
            "{}: DCMI power reading every {interval}",
            self.config.device.display()
        )
    }

    fn read(&mut self, now: MonotonicNanos) -> Energy {
        let mut zones = Vec::new();
        if self.backoff.is_due(now) {
            match self.ask() {
                Ok(power) => {
                    self.backoff.succeeded();
                    zones.push(self.take(power, now));
                }
                Err(fault) => {
                    self.backoff.failed(now);
                    self.errors
                        .note(SOURCE, Some(&self.zone), fault.reason, &fault.words);
                }
            }
        }
        Energy {
            zones,
            errors: self.errors.rows(),
        }
    }
}
