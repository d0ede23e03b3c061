// SPDX-License-Identifier: Apache-2.0
//! AMD's GPUs (`amd-gpu`), by what the driver amdgpu shows in hwmon.
//!
//! Owns which of a card's files is its energy and whether its power is its own. The walk through cards and processes is
//! `drm`'s. Of the chip `amdgpu`, taken is `energy1_input` (microjoules) where it exists, else `power1_average`, else
//! `power1_input` (microwatts, label PPT: the whole package with its memory, Documentation/gpu/amdgpu/thermal.rst).
//! `power2` is another view of the same (fastPPT on Van Gogh) and never added.
//!
//! An APU's power is that of the whole chip, CPU included, which RAPL's package zone has already: it is left out unless
//! `sources.amd.apu` is `count`. See `apu` for how one is told.
//!
//! How busy a card is comes from `gpu_busy_percent`: load of graphics and compute, whoever caused it. Programs over ROCm
//! submit to queues of their own (`/dev/kfd`), which `/proc/PID/fdinfo` does not count: they keep the card busy without
//! being known as users, and their share stays unattributed.

mod apu;
mod config;
#[cfg(test)]
mod tests;

pub use config::{AmdConfig, Apu};

#[cfg(feature = "fuzzing")]
pub(crate) use apu::fuzz_metrics;

use crate::drm::cards::Card;
use crate::drm::gpu::Plan;
use crate::drm::source::{Family, Gpus};
use crate::files::{small_file, text_file};
use crate::sensors::chip::chips;
use crate::{Ask, Opened, SourceOpenError};
use attribution::model::{Component, SourceId};

/// The name in the configuration.
pub const NAME: &str = "amd";
/// The `source` label.
pub const SOURCE: SourceId = SourceId("amd-gpu");
/// What it meters.
pub const COMPONENTS: &[Component] = &[Component::Gpu];

/// The section with every key at its default.
#[must_use]
pub fn default_section() -> serde_json::Value {
    serde_json::to_value(AmdConfig::default()).unwrap_or_default()
}

/// Whether a section can be used.
///
/// # Errors
/// What is wrong with it.
pub fn check(section: &serde_json::Value) -> Result<(), SourceOpenError> {
    crate::section::<AmdConfig>(NAME, section)?.settings().map(|_| ())
}

/// Looks for AMD's GPUs and opens their meters.
///
/// # Errors
/// Only a section that cannot be used; see [`SourceOpenError`].
pub fn open(ask: &Ask<'_>) -> Result<Opened, SourceOpenError> {
    let config: AmdConfig = crate::section(NAME, ask.section)?;
    Ok(match Gpus::open(family(config.apu), config.settings()?, ask) {
        Ok(gpus) => Opened::Source(Box::new(gpus)),
        Err(reason) => Opened::Absent { reason },
    })
}

fn family(apu: Apu) -> Family {
    Family {
        source: SOURCE,
        drivers: &["amdgpu"],
        remedy: "AMD GPUs need the driver amdgpu (the old driver radeon shows no power)",
        choose: Box::new(move |card| choose(card, apu)),
        busy_file: Some("gpu_busy_percent"),
    }
}

/// Where a card's energy is read, or why it is left out.
fn choose(card: &Card, apu: Apu) -> Result<Plan, String> {
    let chips = chips(&card.dir.join("hwmon"))
        .map(|chips| chips.found)
        .unwrap_or_default();
    let chip = chips.iter().find(|chip| chip.id.name == "amdgpu");
    let main = chip.and_then(|chip| {
        let mut channels = chip.channels().into_iter();
        channels.find(|wired| matches!(wired.files.stem(), "energy1" | "power1"))
    });
    let (Some(chip), Some(main)) = (chip, main) else {
        return Err(format!(
            "{}/hwmon: neither energy1_input nor power1_average nor power1_input; chips before GFX8, APUs before Renoir \
             and virtual functions have none",
            card.dir.display()
        ));
    };
    let ignored = apu == Apu::Ignore;
    match what(card, chip.text("power1_label").as_deref()) {
        apu::Chip::Apu(evidence) if ignored => Err(format!(
            "an APU ({evidence}): its power includes the CPU's, which RAPL's package has already; set \
             `sources.amd.apu = \"count\"` where RAPL is not used"
        )),
        apu::Chip::Unknown { format } if ignored => Err(format!(
            "gpu_metrics has format {format}, 1 to 3 are known: it may be an APU, whose energy RAPL's package has already; \
             set `sources.amd.apu = \"count\"` if it is none"
        )),
        _ => Ok(vec![(chip.dir.clone(), main.files)]),
    }
}

/// Only discrete cards sleep (an APU's GPU has no power rail that it could leave), so a table that cannot be read now is no
/// loss: without one the verdict is that of a card.
fn what(card: &Card, label: Option<&str>) -> apu::Chip {
    let device = text_file(&card.dir.join("device")).ok();
    let metrics = if card.sleeps() {
        None
    } else {
        small_file(&card.dir.join("gpu_metrics")).ok()
    };
    apu::verdict(
        metrics.as_deref(),
        device.as_deref().and_then(apu::device_id),
        label,
    )
}
