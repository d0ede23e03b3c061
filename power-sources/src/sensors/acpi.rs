// SPDX-License-Identifier: Apache-2.0
//! Which chips are ACPI power meters (ACPI000D), and which of those are NVIDIA Grace's. Owns the names; counts nothing.
//!
//! The driver is `acpi_power_meter`. It calls its chip `power_meter`, its driver `power_meter` on the ACPI bus, and
//! `acpi-power-meter` since it is a platform driver; its name and files lie in the device (the old registration) or in
//! `hwmonN` (the new one). So a meter is known by any of these names, wherever they are.

use super::chip::{Chip, Wired};
use crate::files::number_file;
use std::fs;

/// Names of the chip or of the driver.
const NAMES: [&str; 3] = ["power_meter", "acpi_power_meter", "acpi-power-meter"];

/// An ACPI power meter.
#[derive(Clone, Debug)]
pub(crate) struct AcpiMeter {
    /// Its chip.
    pub(crate) chip: Chip,
    /// Where its power is read: `power1_average`, or `power1_input`.
    pub(crate) wired: Wired,
    /// What the firmware's maker says about it; may be empty.
    pub(crate) oem: String,
    /// Its model; may be empty.
    pub(crate) model: String,
}

impl AcpiMeter {
    /// The meter that `chip` is, if it is one.
    pub(crate) fn of(chip: &Chip) -> Option<Self> {
        if !is_meter(chip) {
            return None;
        }
        // A meter has one channel.
        let wired = chip
            .channels()
            .into_iter()
            .find(|wired| wired.files.stem() == "power1")?;
        Some(Self {
            wired,
            oem: chip.text("power1_oem_info").unwrap_or_default(),
            model: chip.text("power1_model_number").unwrap_or_default(),
            chip: chip.clone(),
        })
    }

    /// Whether it meters what comes out of a battery.
    pub(crate) fn is_battery(&self) -> bool {
        number_file(&self.chip.dir.join("power1_is_battery")) == Ok(1)
    }

    /// Whether the firmware says that it meters the whole machine: `measures` has a link to each device that it is about,
    /// and the system and its bus are devices, too (LNXSYSTM:00, LNXSYBUS:00).
    pub(crate) fn is_of_the_system(&self) -> bool {
        let Ok(entries) = fs::read_dir(self.chip.device_dir.join("measures")) else {
            return false;
        };
        let is_system = |name: &str| name.starts_with("LNXSYSTM:") || name.starts_with("LNXSYBUS:");
        entries
            .flatten()
            .any(|entry| entry.file_name().to_str().is_some_and(is_system))
    }
}

/// Whether a chip is an ACPI power meter, with power or without.
pub(crate) fn is_meter(chip: &Chip) -> bool {
    NAMES.contains(&chip.id.name.as_str()) || NAMES.contains(&chip.driver.as_str())
}

/// What a meter of an NVIDIA Grace is about. Module holds Grace, and Grace holds the other two and the memory: NVIDIA Grace
/// Performance Tuning Guide, "Power Telemetry".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rail {
    /// The module: Grace, and the GPU of a Grace Hopper.
    Module,
    /// The socket: CPU, SysIO, memory, losses of the regulators.
    Grace,
    /// The cores' rail.
    Cpu,
    /// The SoC's rail.
    SysIo,
    /// Some other part of a socket.
    Unknown,
}

/// `Grace Power Socket 0` is `(Rail::Grace, 0)`. Whatever has that form is about a socket and never about the platform.
pub(crate) fn grace(oem: &str) -> Option<(Rail, u16)> {
    let oem = oem.to_ascii_lowercase();
    let (rail, socket) = oem.split_once(" power socket ")?;
    if socket.is_empty() || !socket.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let rail = match rail {
        "module" => Rail::Module,
        "grace" => Rail::Grace,
        "cpu" => Rail::Cpu,
        "sysio" => Rail::SysIo,
        _ => Rail::Unknown,
    };
    Some((rail, socket.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_grace_are_told_from_those_of_other_meters() {
        assert_eq!(grace("Module Power Socket 0"), Some((Rail::Module, 0)));
        assert_eq!(grace("Grace Power Socket 1"), Some((Rail::Grace, 1)));
        assert_eq!(grace("CPU Power Socket 0"), Some((Rail::Cpu, 0)));
        assert_eq!(grace("SysIO Power Socket 3"), Some((Rail::SysIo, 3)));
        assert_eq!(grace("Total Power socket 0"), Some((Rail::Unknown, 0)));
        for other in [
            "test rig",
            "",
            "Grace Power Socket",
            "Grace Power Socket x",
            "CPU Power Socket +1",
            "CPU Power Socket 65536",
        ] {
            assert_eq!(grace(other), None, "{other}");
        }
    }
}
