// SPDX-License-Identifier: Apache-2.0
//! Which ACPI power meters stand for the platform: owns the choice and its reasons, and opens nothing.
//!
//! The machine must be counted once. A meter can be about the whole machine, one supply, one rail or one socket, and
//! nothing says which of several hold each other, but for the firmware's list of what each measures. So with several
//! meters and no choice in the configuration, only one that alone says that it is about the system is taken.

use crate::sensors::acpi::{AcpiMeter, grace};
use crate::sensors::chip::Chip;
use crate::sensors::pattern::Pattern;

/// What the choice depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// `ACPI000D:00`.
    pub(super) device: String,
    /// The model number; may be empty.
    pub(super) model: String,
    /// The OEM text; may be empty.
    pub(super) oem: String,
    /// Meters a battery.
    pub(super) battery: bool,
    /// Says that it meters the whole system.
    pub(super) system: bool,
}

impl Candidate {
    pub(super) fn of(meter: &AcpiMeter) -> Self {
        Self {
            device: meter.chip.id.device.clone(),
            model: meter.model.clone(),
            oem: meter.oem.clone(),
            battery: meter.is_battery(),
            system: meter.is_of_the_system(),
        }
    }

    /// For people: device, model and OEM text.
    pub(super) fn words(&self) -> String {
        let known = [&self.device, &self.model, &self.oem];
        let known: Vec<_> = known
            .into_iter()
            .filter(|text| !text.is_empty())
            .map(String::as_str)
            .collect();
        known.join(" / ")
    }

    fn is_called(&self, pattern: &Pattern) -> bool {
        [&self.device, &self.model, &self.oem]
            .into_iter()
            .any(|text| pattern.matches(text))
    }
}

/// Meters among `chips`.
pub(super) fn meters(chips: &[Chip]) -> Vec<AcpiMeter> {
    chips.iter().filter_map(AcpiMeter::of).collect()
}

/// Which of the candidates are counted, or why none is.
pub(super) fn choose(candidates: &[Candidate], patterns: &[Pattern]) -> Result<Vec<usize>, String> {
    let indices = |keep: &dyn Fn(&Candidate) -> bool| -> Vec<usize> {
        let kept = candidates.iter().enumerate().filter(|(_, one)| keep(one));
        kept.map(|(index, _)| index).collect()
    };
    let list = |keep: &dyn Fn(&Candidate) -> bool| {
        let words: Vec<_> = candidates
            .iter()
            .filter(|one| keep(one))
            .map(Candidate::words)
            .collect();
        words.join("; ")
    };
    if candidates.is_empty() {
        return Err(
            "no ACPI power meter; try `modprobe acpi_power_meter`; most machines have none".to_owned(),
        );
    }
    if !patterns.is_empty() {
        let named = indices(&|one| patterns.iter().any(|pattern| one.is_called(pattern)));
        if named.is_empty() {
            return Err(format!(
                "`sources.acpi.meters` names none of the meters here: {}",
                list(&|_| true)
            ));
        }
        return Ok(named);
    }
    let stands_for_all = |one: &Candidate| !one.battery && grace(&one.oem).is_none();
    let all = indices(&stands_for_all);
    let system = indices(&|one| stands_for_all(one) && one.system);
    match (all.len(), system.len()) {
        (0, _) => Err(format!(
            "no ACPI power meter of the whole machine, only of sockets (source `hwmon`) or batteries: {}",
            list(&|_| true)
        )),
        (1, _) => Ok(all),
        (_, 1) => Ok(system),
        _ => Err(format!(
            "several ACPI power meters, and which of them hold each other is not known; name in `sources.acpi.meters` those \
             that add up to the machine: {}",
            list(&stands_for_all)
        )),
    }
}
