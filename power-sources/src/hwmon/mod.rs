// SPDX-License-Identifier: Apache-2.0
//! Sensors of the kernel's hwmon class (`hwmon`): CPUs without RAPL, boards with power monitors, modules.
//!
//! Owns what chips are: rules of the configuration, then built-in ones (`rules.rs`), and that nothing is counted twice
//! (`plan.rs`). A chip that no rule names is never counted. GPUs, the machine's ACPI meter and batteries have sources of their own.

mod config;
mod plan;
mod rules;
#[cfg(test)]
mod tests;

pub use config::{HwmonConfig, MaxWatts, Metering, Rule};

use crate::moment::Slept;
use crate::sensors::channel::{Channel, Plausible};
use crate::sensors::chip::{Chips, chips};
use crate::sensors::panel::{Metered, Panel, Part};
use crate::{Ask, Opened, PowerSource, SourceOpenError};
use attribution::model::{Component, Energy, ErrorReason, Microwatts, MonotonicNanos, SourceId, Zone};
use plan::{Plan, Planned};

/// The name in the configuration.
pub const NAME: &str = "hwmon";
/// The `source` label, unless one of the next two says more.
pub const SOURCE: SourceId = SourceId("hwmon");
/// The `source` label where `apm_xgene` gives the CPU.
pub const XGENE: SourceId = SourceId("ampere-xgene-hwmon");
/// The `source` label where the ACPI meters of a Grace give the CPU.
pub const GRACE: SourceId = SourceId("grace-acpi");
/// What chips stand for on some machine or other.
pub const COMPONENTS: &[Component] = &[
    Component::Package,
    Component::Core,
    Component::Uncore,
    Component::Dram,
    Component::Gpu,
    Component::Platform,
];

/// Most chips that are named to people at once.
const MOST_NAMED: usize = 12;

/// The section with every key at its default.
#[must_use]
pub fn default_section() -> serde_json::Value {
    serde_json::to_value(HwmonConfig::default()).unwrap_or_default()
}

/// Whether a section can be used.
///
/// # Errors
/// What is wrong with it.
pub fn check(section: &serde_json::Value) -> Result<(), SourceOpenError> {
    crate::section::<HwmonConfig>(NAME, section)?.check()
}

/// Looks for chips and opens the channels of the wanted components.
///
/// # Errors
/// Only a section that cannot be used; see [`SourceOpenError`].
pub fn open(ask: &Ask<'_>) -> Result<Opened, SourceOpenError> {
    let config: HwmonConfig = crate::section(NAME, ask.section)?;
    config.check()?;
    Ok(match Hwmon::open(&config, ask.wanted, ask.slept) {
        Ok(hwmon) => Opened::Source(Box::new(hwmon)),
        Err(reason) => Opened::Absent { reason },
    })
}

struct Hwmon {
    panel: Panel,
    /// What was left alone, and why.
    left: String,
}

impl Hwmon {
    /// The reason why not is for people.
    fn open(config: &HwmonConfig, wanted: &[Component], slept: Slept) -> Result<Self, String> {
        let root = config.root.display();
        let Chips { found, faults } = chips(&config.root).map_err(|fault| match fault.reason {
            ErrorReason::Gone => format!("{root} does not exist: this kernel has no hwmon class"),
            _ => fault.words,
        })?;
        let mut plan = plan::plan(&found, &config.rules);
        let left = left(&plan);
        if plan.zones.is_empty() {
            let fault = faults.first().map(|fault| format!("; {}", fault.words));
            return Err(format!(
                "{root}: no chip of a CPU, memory, GPU or platform is known here{left}{}",
                fault.unwrap_or_default()
            ));
        }
        let there: Vec<_> = plan.zones.keys().map(Zone::to_string).collect();
        plan.zones.retain(|zone, _| wanted.contains(&zone.component));
        if plan.zones.is_empty() {
            let there = there.join(", ");
            return Err(format!(
                "{root}: none of the wanted components, only {there}{left}"
            ));
        }
        let source = plan.source();
        let zones = plan
            .zones
            .into_iter()
            .map(|(zone, parts)| metered(zone, parts, config, slept))
            .collect();
        let mut panel = Panel::open(source, config.root.clone(), zones, &found)?;
        panel.note(&faults);
        Ok(Self { panel, left })
    }
}

fn metered(zone: Zone, parts: Vec<Planned>, config: &HwmonConfig, slept: Slept) -> Metered {
    let most = Microwatts::from_watts(u64::from(config.max_watts.of(zone.component)));
    let part = |planned: Planned| {
        let plausible = if planned.is_acpi() {
            let least = Microwatts::from_micro(1);
            Plausible { least, most }
        } else {
            Plausible::up_to(most)
        };
        Part {
            chip: planned.chip,
            channel: Channel::new(planned.files, plausible, None, slept),
        }
    };
    Metered {
        zone,
        parts: parts.into_iter().map(part).collect(),
    }
}

/// What was left alone, and which key counts it; empty when nothing was.
fn left(plan: &Plan) -> String {
    let mut words = String::new();
    if !plan.unnamed.is_empty() {
        let more = plan.unnamed.len().saturating_sub(MOST_NAMED);
        let named: Vec<_> = plan.unnamed.iter().take(MOST_NAMED).map(String::as_str).collect();
        words = format!(
            "; not counted, unless `sources.hwmon.rules` says what it is: {}",
            named.join("; ")
        );
        if more > 0 {
            words = format!("{words}; and {more} more");
        }
    }
    if !plan.again.is_empty() {
        words = format!("{words}; not counted twice: {}", plan.again.join("; "));
    }
    words
}

impl PowerSource for Hwmon {
    fn id(&self) -> SourceId {
        self.panel.source()
    }

    fn components(&self) -> Vec<Component> {
        self.panel.components()
    }

    fn detail(&self) -> String {
        format!("{}{}", self.panel.detail(), self.left)
    }

    fn read(&mut self, now: MonotonicNanos) -> Energy {
        self.panel.read(now)
    }
}
