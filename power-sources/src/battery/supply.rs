// SPDX-License-Identifier: Apache-2.0
//! What the power supplies say, and what that means for the machine: owns their files and the verdict, keeps nothing.
//!
//! Documentation/ABI/testing/sysfs-class-power. A machine's use is known only while nothing but its batteries feeds it: on mains
//! a battery is full or is charged, and what comes out of the socket is not metered; so also where a weak charger and a
//! battery feed it together.

use crate::files::{Fault, number_file, parse_signed, small_file, text_file};
use crate::sensors::channel::Plausible;
use attribution::model::{ErrorReason, Microwatts};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Most supplies that are looked at. A laptop has two batteries, mains, a few USB ports and a mouse.
const MOST_SUPPLIES: usize = 64;

/// What a supply is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Supply {
    /// A battery of the machine's own.
    Battery {
        /// What it does now.
        status: Status,
    },
    /// Something that feeds the machine, or could.
    External {
        /// Whether it does.
        online: bool,
    },
    /// A battery of a mouse, a UPS, an empty bay: nothing of the machine's.
    Other,
}

/// What a battery does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// Feeds the machine, or may, with so much power or with no reading of it.
    Discharging(Result<Microwatts, Fault>),
    /// Is fed.
    Charging,
    /// Neither, or its driver does not know.
    Idle,
}

/// What all of them together say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The machine uses this.
    Uses(Microwatts),
    /// On mains, or not known to be on battery.
    NotOnBattery,
    /// On battery, but how much was not told.
    Failed(Fault),
    /// There is no battery.
    NoBattery,
}

/// What the machine uses, by its supplies.
pub(super) fn verdict(supplies: impl IntoIterator<Item = Supply>) -> Verdict {
    let (mut any, mut fed) = (false, false);
    let mut discharging = Vec::new();
    for supply in supplies {
        match supply {
            Supply::Battery { status } => {
                any = true;
                match status {
                    Status::Discharging(power) => discharging.push(power),
                    Status::Charging => fed = true,
                    Status::Idle => {}
                }
            }
            Supply::External { online } => fed |= online,
            Supply::Other => {}
        }
    }
    if !any {
        return Verdict::NoBattery;
    }
    if fed || discharging.is_empty() {
        return Verdict::NotOnBattery;
    }
    // A sum without one of its parts would be too small.
    match discharging.into_iter().collect::<Result<Vec<_>, _>>() {
        Ok(powers) => Verdict::Uses(powers.into_iter().sum()),
        Err(fault) => Verdict::Failed(fault),
    }
}

/// The supplies below `root`, by name.
///
/// # Errors
/// When the folder cannot be listed.
pub(super) fn supplies(root: &Path, plausible: Plausible) -> Result<BTreeMap<PathBuf, Supply>, Fault> {
    let entries = fs::read_dir(root).map_err(|error| Fault::io(root, &error))?;
    let mut all = BTreeMap::new();
    for entry in entries.take(MOST_SUPPLIES) {
        let dir = entry.map_err(|error| Fault::io(root, &error))?.path();
        let supply = supply(&dir, plausible);
        all.insert(dir, supply);
    }
    Ok(all)
}

/// What does not say that it is a battery, or is unplugged while it is looked at, is none.
fn supply(dir: &Path, plausible: Plausible) -> Supply {
    let text = |file: &str| text_file(&dir.join(file));
    let number = |file: &str| number_file(&dir.join(file));
    // Only what powers a peripheral says so; what says nothing powers the machine.
    if text("scope").is_ok_and(|scope| scope == "Device") {
        return Supply::Other;
    }
    match text("type").unwrap_or_default().as_str() {
        "Battery" if number("present") == Ok(0) => Supply::Other,
        "Battery" => match text("status").as_deref() {
            Ok("Discharging") => battery(Status::Discharging(power(dir, plausible))),
            Ok("Charging") => battery(Status::Charging),
            Ok(_) => battery(Status::Idle),
            Err(fault) if fault.reason == ErrorReason::Gone => Supply::Other,
            Err(fault) => battery(Status::Discharging(Err(fault.clone()))),
        },
        kind if kind == "Mains" || kind == "Wireless" || kind.starts_with("USB") => Supply::External {
            // 2 is "programmable", and feeds, too.
            online: number("online").is_ok_and(|online| online > 0),
        },
        _ => Supply::Other,
    }
}

const fn battery(status: Status) -> Supply {
    Supply::Battery { status }
}

/// `power_now`, or `current_now` times `voltage_now` where there is none. Drivers differ in the sign of what flows out, so
/// only the amount counts.
fn power(dir: &Path, plausible: Plausible) -> Result<Microwatts, Fault> {
    let file = dir.join("power_now");
    let microwatts = match signed(&file) {
        Ok(power) => power.abs(),
        // ENODEV, too: the ACPI driver's answer where the firmware knows no rate.
        Err(fault) if fault.reason == ErrorReason::Gone => {
            let current = signed(&dir.join("current_now"))?;
            let voltage = signed(&dir.join("voltage_now"))?;
            // µA times µV are pW.
            current.saturating_mul(voltage).abs() / 1_000_000
        }
        Err(fault) => return Err(fault),
    };
    plausible.check(microwatts).map_err(|words| Fault {
        reason: ErrorReason::Implausible,
        words: format!("{}: {words}", dir.display()),
    })
}

fn signed(path: &Path) -> Result<i128, Fault> {
    let bytes = small_file(path)?;
    parse_signed(&bytes).ok_or_else(|| Fault::parse(path, &bytes, "a number"))
}
