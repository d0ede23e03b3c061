// SPDX-License-Identifier: Apache-2.0
//! A metered power strip (`power-strip`) whose agent writes what the machine draws into a file, as whole milliwatts.
//!
//! Owns the file's form, the integral and the moments. Refuses to guess: no reading is no reading and not 0 W.

use attribution::model::{
    Component, Energy, ErrorReason, Microwatts, MonotonicNanos, Place, Provenance, SourceId, Zone,
    ZoneReading,
};
use power_sources::backoff::Backoff;
use power_sources::errors::ErrorLedger;
use power_sources::integrate::{Integrator, Sampled};
use power_sources::{Ask, Opened, PowerSource, SourceOpenError, refuse, section};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

// doc: names
/// The name in the configuration.
pub const NAME: &str = "power-strip";
/// The `source` label.
pub const SOURCE: SourceId = SourceId("power-strip");
/// What a strip stands for.
pub const COMPONENTS: &[Component] = &[Component::Platform];
// end

/// Longest time between two readings that a straight line is drawn over.
const LONGEST_GAP: Duration = Duration::from_secs(60);
/// What is longer is no number of milliwatts.
const LONGEST_TEXT: u64 = 32;

// doc: section
/// Section `sources.power-strip`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PowerStripConfig {
    /// The file that the agent writes; empty: there is none.
    pub file: PathBuf,
    /// Most watts that are believed.
    pub max_watts: u32,
}

impl Default for PowerStripConfig {
    fn default() -> Self {
        Self {
            file: PathBuf::new(),
            max_watts: 4_000,
        }
    }
}

/// No strip feeds more.
const MOST_WATTS: u32 = 100_000;

impl PowerStripConfig {
    /// Checks what types cannot.
    fn check(&self) -> Result<(), SourceOpenError> {
        if !self.file.as_os_str().is_empty() && !self.file.is_absolute() {
            let problem = format!("is {}; it has to be an absolute path", self.file.display());
            return refuse(NAME, "file", problem);
        }
        if !(1..=MOST_WATTS).contains(&self.max_watts) {
            let problem = format!("is {}; from 1 to {MOST_WATTS} are allowed", self.max_watts);
            return refuse(NAME, "max_watts", problem);
        }
        Ok(())
    }
}

/// The section with every key at its default.
#[must_use]
pub fn default_section() -> serde_json::Value {
    serde_json::to_value(PowerStripConfig::default()).unwrap_or_default()
}

/// Whether a section can be used.
///
/// # Errors
/// What is wrong with it.
pub fn check(given: &serde_json::Value) -> Result<(), SourceOpenError> {
    section::<PowerStripConfig>(NAME, given)?.check()
}
// end

// doc: open
/// Looks for the file.
///
/// # Errors
/// Only a section that cannot be used.
pub fn open(ask: &Ask<'_>) -> Result<Opened, SourceOpenError> {
    let config: PowerStripConfig = section(NAME, ask.section)?;
    config.check()?;
    let absent = |reason: String| Ok(Opened::Absent { reason });
    if !ask.wanted.contains(&Component::Platform) {
        return absent("a power strip is only about the platform".to_owned());
    }
    if config.file.as_os_str().is_empty() {
        return absent("no file is configured: set sources.power-strip.file".to_owned());
    }
    if let Err(fault) = milliwatts(&config.file) {
        return absent(format!("{}; is the strip's agent running?", fault.words));
    }
    Ok(Opened::Source(Box::new(PowerStrip {
        zone: Zone {
            component: Component::Platform,
            place: Place::Named(Arc::from(NAME)),
        },
        integrator: Integrator::new(LONGEST_GAP),
        backoff: Backoff::default(),
        errors: ErrorLedger::default(),
        config,
    })))
}
// end

// doc: parse
/// Why there is no reading.
#[derive(Debug)]
struct Fault {
    reason: ErrorReason,
    words: String,
}

/// The file as a number.
fn milliwatts(file: &Path) -> Result<u64, Fault> {
    let text = text(file).map_err(|error| Fault {
        reason: match error.kind() {
            io::ErrorKind::NotFound => ErrorReason::Gone,
            _ => ErrorReason::Io,
        },
        words: format!("{}: {error}", file.display()),
    })?;
    text.trim().parse().map_err(|_not_one| Fault {
        reason: ErrorReason::Parse,
        words: format!("{}: no whole number of milliwatts: {text:?}", file.display()),
    })
}

/// At most so much of it as a number can have.
fn text(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(LONGEST_TEXT).read_to_string(&mut text)?;
    Ok(text)
}
// end

// doc: read
struct PowerStrip {
    config: PowerStripConfig,
    zone: Zone,
    integrator: Integrator,
    backoff: Backoff,
    errors: ErrorLedger,
}

impl PowerStrip {
    /// What the machine draws, if that can be believed.
    fn power(&self) -> Result<Microwatts, Fault> {
        let shown = milliwatts(&self.config.file)?;
        let power = shown.checked_mul(1_000).map(Microwatts::from_micro);
        let most = Microwatts::from_watts(u64::from(self.config.max_watts));
        // A machine that runs draws something.
        power
            .filter(|power| !power.is_zero() && *power <= most)
            .ok_or_else(|| Fault {
                reason: ErrorReason::Implausible,
                words: format!("{}: {shown} mW", self.config.file.display()),
            })
    }

    /// Takes one reading.
    fn sample(&mut self, now: MonotonicNanos) -> Result<(), Fault> {
        let power = self.power()?;
        if let Sampled::GapTooLong(gap) = self.integrator.sample(now, power) {
            self.note(&Fault {
                reason: ErrorReason::Timeout,
                words: format!("no reading for {} s; that time is not billed", gap.as_secs()),
            });
        }
        Ok(())
    }

    fn note(&mut self, fault: &Fault) {
        self.errors
            .note(SOURCE, Some(&self.zone), fault.reason, &fault.words);
    }
}

impl PowerSource for PowerStrip {
    fn id(&self) -> SourceId {
        SOURCE
    }

    fn components(&self) -> Vec<Component> {
        COMPONENTS.to_vec()
    }

    fn detail(&self) -> String {
        format!("{}: {}", self.config.file.display(), self.zone)
    }

    fn read(&mut self, now: MonotonicNanos) -> Energy {
        let mut at = None;
        if self.backoff.is_due(now) {
            match self.sample(now) {
                Ok(()) => {
                    self.backoff.succeeded();
                    at = Some(now);
                }
                Err(fault) => {
                    self.backoff.failed(now);
                    self.note(&fault);
                }
            }
        }
        let reading = at.map(|at| ZoneReading {
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
// end
