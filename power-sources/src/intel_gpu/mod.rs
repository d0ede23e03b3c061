// SPDX-License-Identifier: Apache-2.0
//! Intel's discrete GPUs (`intel-gpu`), by the energy counters of the drivers i915 and xe in hwmon.
//!
//! Owns which of a card's counters are its energy. The walk through cards and processes is `drm`'s.
//!
//! | driver | hwmon chips              | taken                                              | never                            |
//! |--------|--------------------------|----------------------------------------------------|----------------------------------|
//! | xe     | `xe`                     | the counter labelled `card`; one without a label   | `pkg` beside `card`: it is in it |
//! |        |                          | (before Linux 6.9); else `pkg`                     |                                  |
//! | i915   | `i915`, `i915_gtN`       | that of `i915`, the whole device; where it has     | tiles beside the device: they    |
//! |        |                          | none the sum of the tiles `i915_gtN`               | overlap                          |
//!
//! Documentation/ABI/testing/sysfs-driver-intel-i915-hwmon and sysfs-driver-intel-xe-hwmon; drivers/gpu/drm/i915/i915_hwmon.c
//! and drivers/gpu/drm/xe/xe_hwmon.c: microjoules, 63 bits wide, from a register of 32 bits that wraps after 4.4 minutes
//! at 1000 W and that the driver accumulates whenever it is read. So the counter never wraps, but one that nobody reads
//! for so long has lost turns; at a tick of a minute at most that cannot happen, except while the device sleeps.
//!
//! Integrated GPUs have no counter of their own: their energy is in RAPL's package (and uncore) zones.

mod config;
#[cfg(test)]
mod tests;

pub use config::IntelConfig;

use crate::drm::cards::Card;
use crate::drm::gpu::Plan;
use crate::drm::source::{Family, Gpus};
use crate::sensors::channel::Files;
use crate::sensors::chip::{Chip, chips};
use crate::{Ask, Opened, SourceOpenError};
use attribution::model::{Component, SourceId};

/// The name in the configuration.
pub const NAME: &str = "intel";
/// The `source` label.
pub const SOURCE: SourceId = SourceId("intel-gpu");
/// What it meters.
pub const COMPONENTS: &[Component] = &[Component::Gpu];

/// Where an integrated GPU always is on the bus.
const INTEGRATED: &str = "0000:00:02.0";

/// The section with every key at its default.
#[must_use]
pub fn default_section() -> serde_json::Value {
    serde_json::to_value(IntelConfig::default()).unwrap_or_default()
}

/// Whether a section can be used.
///
/// # Errors
/// What is wrong with it.
pub fn check(section: &serde_json::Value) -> Result<(), SourceOpenError> {
    crate::section::<IntelConfig>(NAME, section)?
        .settings()
        .map(|_| ())
}

/// Looks for Intel's GPUs and opens their counters.
///
/// # Errors
/// Only a section that cannot be used; see [`SourceOpenError`].
pub fn open(ask: &Ask<'_>) -> Result<Opened, SourceOpenError> {
    let config: IntelConfig = crate::section(NAME, ask.section)?;
    Ok(match Gpus::open(family(), config.settings()?, ask) {
        Ok(gpus) => Opened::Source(Box::new(gpus)),
        Err(reason) => Opened::Absent { reason },
    })
}

fn family() -> Family {
    Family {
        source: SOURCE,
        drivers: &["i915", "xe"],
        remedy: "Intel GPUs need the driver i915 or xe",
        choose: Box::new(choose),
        // i915 and xe tell how busy a card is through perf events only; its users' sum stands for it.
        busy_file: None,
    }
}

/// Where a card's energy is read, or why there is none.
fn choose(card: &Card) -> Result<Plan, String> {
    // A card without hwmon has no such folder.
    let chips = chips(&card.dir.join("hwmon"))
        .map(|chips| chips.found)
        .unwrap_or_default();
    let device = chips.iter().filter(|chip| chip.id.name == card.driver);
    if let Some(counter) = device.filter_map(of_a_device).next() {
        return Ok(vec![counter]);
    }
    let tiles: Plan = chips
        .iter()
        .filter(|chip| chip.id.name.starts_with("i915_gt"))
        .filter_map(of_a_device)
        .collect();
    if !tiles.is_empty() {
        return Ok(tiles);
    }
    Err(if card.address == INTEGRATED {
        "an integrated GPU, which has no energy counter in hwmon: its energy is in RAPL's package and uncore"
            .to_owned()
    } else {
        format!(
            "{}/hwmon: no energy counter; needs Linux 6.2 (i915) or 6.8 (xe) and CONFIG_HWMON",
            card.dir.display()
        )
    })
}

/// The counter that holds the others of its chip.
fn of_a_device(chip: &Chip) -> Option<(std::path::PathBuf, Files)> {
    let rank = |label: &str| match label {
        "card" => 0,
        // Without a label it is called by its file.
        "energy1" => 1,
        "pkg" => 2,
        _ => 3,
    };
    let counters = chip
        .channels()
        .into_iter()
        .filter(|wired| matches!(wired.files, Files::Energy(_)));
    let best = counters.min_by_key(|wired| rank(&wired.label))?;
    (rank(&best.label) < 3).then(|| (chip.dir.clone(), best.files))
}
