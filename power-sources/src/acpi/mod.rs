// SPDX-License-Identifier: Apache-2.0
//! The machine's own ACPI power meter (`acpi`), through the kernel's driver `acpi_power_meter`.
//!
//! Owns the choice of the meters that stand for the platform (see `scan.rs`). What a meter says is a mean over its averaging
//! interval, and asking can be a slow call of the firmware, so it is asked once in that time; in between the last reading
//! keeps its moment. Refused as no reading: zero, and what firmware says when it does not know.

mod config;
mod scan;
#[cfg(test)]
mod tests;

pub use config::AcpiConfig;

use crate::moment::Slept;
use crate::sensors::acpi::AcpiMeter;
use crate::sensors::channel::{Channel, Pace, Plausible};
use crate::sensors::chip::{Chips, chips};
use crate::sensors::panel::{Metered, Panel, Part};
use crate::{Ask, Opened, PowerSource, SourceOpenError};
use attribution::model::{Component, Energy, ErrorReason, Microwatts, MonotonicNanos, Place, SourceId, Zone};
use scan::Candidate;
use std::sync::Arc;

/// The name in the configuration.
pub const NAME: &str = "acpi";
/// The `source` label.
pub const SOURCE: SourceId = SourceId("acpi");
/// What such a meter can stand for.
pub const COMPONENTS: &[Component] = &[Component::Platform];

/// The section with every key at its default.
#[must_use]
pub fn default_section() -> serde_json::Value {
    serde_json::to_value(AcpiConfig::default()).unwrap_or_default()
}

/// Whether a section can be used.
///
/// # Errors
/// What is wrong with it.
pub fn check(section: &serde_json::Value) -> Result<(), SourceOpenError> {
    crate::section::<AcpiConfig>(NAME, section)?.check()
}

/// Looks for meters of the platform.
///
/// # Errors
/// Only a section that cannot be used; see [`SourceOpenError`].
pub fn open(ask: &Ask<'_>) -> Result<Opened, SourceOpenError> {
    let config: AcpiConfig = crate::section(NAME, ask.section)?;
    config.check()?;
    Ok(match Acpi::open(&config, ask.wanted, ask.slept) {
        Ok(acpi) => Opened::Source(Box::new(acpi)),
        Err(reason) => Opened::Absent { reason },
    })
}

struct Acpi {
    panel: Panel,
    /// Which meters these are, and which were left alone.
    about: String,
}

impl Acpi {
    /// The reason why not is for people.
    fn open(config: &AcpiConfig, wanted: &[Component], slept: Slept) -> Result<Self, String> {
        let root = config.root.display();
        if !wanted.contains(&Component::Platform) {
            return Err(format!("{root}: ACPI power meters are only about the platform"));
        }
        let Chips { found, faults } = chips(&config.root).map_err(|fault| match fault.reason {
            ErrorReason::Gone => format!("{root} does not exist: this kernel has no hwmon class"),
            _ => fault.words,
        })?;
        let meters = scan::meters(&found);
        let candidates: Vec<_> = meters.iter().map(Candidate::of).collect();
        let chosen =
            scan::choose(&candidates, &config.meters).map_err(|reason| format!("{root}: {reason}"))?;
        let zones = meters
            .iter()
            .enumerate()
            .filter(|(index, _)| chosen.contains(index))
            .map(|(_, meter)| metered(meter, config, slept))
            .collect();
        let (used, left): (Vec<_>, Vec<_>) = candidates
            .iter()
            .enumerate()
            .partition(|(index, _)| chosen.contains(index));
        let words = |those: &[(usize, &Candidate)]| {
            let words: Vec<_> = those.iter().map(|(_, one)| one.words()).collect();
            words.join("; ")
        };
        let mut about = words(&used);
        if !left.is_empty() {
            about = format!("{about}; not counted: {}", words(&left));
        }
        let mut panel = Panel::open(SOURCE, config.root.clone(), zones, &found)?;
        panel.note(&faults);
        Ok(Self { panel, about })
    }
}

/// A zone of its own for each meter, called by its device: the only name that every meter has, and that stays.
fn metered(meter: &AcpiMeter, config: &AcpiConfig, slept: Slept) -> Metered {
    let device = &meter.chip.id.device;
    let name = if device.is_empty() {
        &meter.chip.id.name
    } else {
        device
    };
    let plausible = Plausible {
        // A machine that runs uses something.
        least: Microwatts::from_micro(1),
        most: Microwatts::from_watts(u64::from(config.max_watts)),
    };
    let pace = config.pace().map(|wait| Pace { wait });
    Metered {
        zone: Zone {
            component: Component::Platform,
            place: Place::Named(Arc::from(name.as_str())),
        },
        parts: vec![Part {
            chip: meter.chip.id.clone(),
            channel: Channel::new(meter.wired.files.clone(), plausible, pace, slept),
        }],
    }
}

impl PowerSource for Acpi {
    fn id(&self) -> SourceId {
        SOURCE
    }

    fn components(&self) -> Vec<Component> {
        self.panel.components()
    }

    fn detail(&self) -> String {
        format!("{}; {}", self.panel.detail(), self.about)
    }

    fn read(&mut self, now: MonotonicNanos) -> Energy {
        self.panel.read(now)
    }
}
