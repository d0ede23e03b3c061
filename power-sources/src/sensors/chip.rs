// SPDX-License-Identifier: Apache-2.0
//! Which chips there are and which files each has: owns the way from `hwmonN` folders to chips and their channels, and
//! opens no meter.
//!
//! `hwmonN` says nothing, the numbers change between boots and when a driver is loaded again. A chip is known by the
//! name that its driver gave it, by its device, and, where one device has several of one name (the HSMP driver has one per
//! socket), by their order. Its files lie in `hwmonN/` or, with drivers that register the old way (ACPI power meters),
//! in `hwmonN/device/`, the name included.

use super::channel::Files;
use crate::files::{Fault, number_file, text_file};
use attribution::model::ErrorReason;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Most chips that are looked at. A node with eight GPUs, sixteen drives and as many ports has about fifty.
const MOST_CHIPS: usize = 512;
/// Most files of one folder that are looked at: a chip with a counter for each of 512 cores has about 1,100.
const MOST_FILES: usize = 8_192;

/// What makes a chip the same one after its driver was loaded again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChipId {
    /// What its driver calls it: `power_meter`, `ina3221`.
    pub(crate) name: String,
    /// Its device: `ACPI000D:00`, `1-0040`, `0000:03:00.0`. Empty where there is none.
    pub(crate) device: String,
    /// Which one it is of those with this name and device, from 0, in the order of their registration.
    pub(crate) nth: usize,
}

/// A chip.
#[derive(Clone, Debug)]
pub(crate) struct Chip {
    /// What it is.
    pub(crate) id: ChipId,
    /// The driver that its device is bound to; empty where the tree does not say.
    pub(crate) driver: String,
    /// The folder with its files.
    pub(crate) dir: PathBuf,
    /// `hwmonN/device`, which need not be there.
    pub(crate) device_dir: PathBuf,
    /// Names of the files that have a kind, a number and an item, as `power1_average` does.
    pub(crate) files: BTreeSet<String>,
}

/// What a tree has.
#[derive(Debug, Default)]
pub(crate) struct Chips {
    /// In the order of their names, devices and numbers.
    pub(crate) found: Vec<Chip>,
    /// Folders that could not be understood.
    pub(crate) faults: Vec<Fault>,
}

/// One thing that a chip measures, by the best of the files that are about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wired {
    /// What the driver calls it; the stem of its file (`power1`) where it has no label.
    pub(crate) label: String,
    /// Where it is read.
    pub(crate) files: Files,
}

impl Chip {
    /// A line of text out of its folder, if it has one.
    pub(crate) fn text(&self, file: &str) -> Option<String> {
        text_file(&self.dir.join(file)).ok()
    }

    /// What it measures: energy counters before power before voltage times current, where several are about the same
    /// channel (they have the same number). A channel that is switched off (`*_enable` is 0) is passed over.
    pub(crate) fn channels(&self) -> Vec<Wired> {
        let numbers: BTreeSet<u16> = self
            .files
            .iter()
            .filter_map(|file| Some(split(file)?.1))
            .collect();
        numbers
            .into_iter()
            .filter_map(|number| self.channel(number))
            .collect()
    }

    fn channel(&self, number: u16) -> Option<Wired> {
        let has = |file: &String| self.files.contains(file);
        let is_on = |kind: &str| {
            let file = format!("{kind}{number}_enable");
            !has(&file) || number_file(&self.dir.join(file)) != Ok(0)
        };
        let energy = format!("energy{number}_input");
        let average = format!("power{number}_average");
        let power = format!("power{number}_input");
        let (volts, amps) = (format!("in{number}_input"), format!("curr{number}_input"));
        let files = if has(&energy) && is_on("energy") {
            Files::Energy(energy)
        } else if has(&average) && is_on("power") {
            let interval = Some(format!("power{number}_average_interval")).filter(has);
            Files::Power {
                watts: average,
                interval,
            }
        } else if has(&power) && is_on("power") {
            Files::Power {
                watts: power,
                interval: None,
            }
        } else if self.pairs(number) && has(&volts) && has(&amps) && is_on("in") && is_on("curr") {
            Files::Product { volts, amps }
        } else {
            return None;
        };
        let label = ["energy", "power", "in", "curr"]
            .iter()
            .map(|kind| format!("{kind}{number}_label"))
            .filter(has)
            // ACPI power meters have no label, but a text of the firmware's maker.
            .chain([format!("power{number}_oem_info")].into_iter().filter(has))
            .find_map(|file| self.text(&file).filter(|label| !label.is_empty()));
        Some(Wired {
            label: label.unwrap_or_else(|| files.stem().to_owned()),
            files,
        })
    }

    /// Whether `inN` and `currN` are about one conductor. INA3221: in1 to in3 are the channels' voltages, in4 to in6 what
    /// drops at their shunts, and curr4 is the sum of the currents (Documentation/hwmon/ina3221.rst).
    fn pairs(&self, number: u16) -> bool {
        self.id.name != "ina3221" || number <= 3
    }
}

/// `power1_average` is `("power", 1, "average")`.
fn split(file: &str) -> Option<(&str, u16, &str)> {
    let (head, item) = file.split_once('_')?;
    let kind = head.trim_end_matches(|sign: char| sign.is_ascii_digit());
    let number = head.strip_prefix(kind)?.parse().ok()?;
    matches!(kind, "energy" | "power" | "in" | "curr").then_some((kind, number, item))
}

/// Looks for chips in `root`, the folder with `hwmon0` and its likes.
///
/// # Errors
/// When the folder cannot be listed.
pub(crate) fn chips(root: &Path) -> Result<Chips, Fault> {
    let mut chips = Chips::default();
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(root).map_err(|error| Fault::io(root, &error))? {
        let entry = entry.map_err(|error| Fault::io(root, &error))?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("hwmon"));
        let Some(number) = number.and_then(|number| number.parse::<u32>().ok()) else {
            continue;
        };
        if found.len() >= MOST_CHIPS {
            chips.faults.push(Fault {
                reason: ErrorReason::Implausible,
                words: format!(
                    "{}: more than {MOST_CHIPS} chips; the rest is ignored",
                    root.display()
                ),
            });
            break;
        }
        match identify(&entry.path()) {
            Ok(chip) => {
                // Devices of one bus have names of one form, so the shorter one is the lower number.
                let device = chip.id.device.clone();
                found.insert((chip.id.name.clone(), device.len(), device, number), chip);
            }
            Err(fault) => chips.faults.push(fault),
        }
    }
    for mut chip in found.into_values() {
        if let Some(before) = chips.found.last().map(|chip: &Chip| &chip.id)
            && before.name == chip.id.name
            && before.device == chip.id.device
        {
            chip.id.nth = before.nth.saturating_add(1);
        }
        chips.found.push(chip);
    }
    Ok(chips)
}

fn identify(home: &Path) -> Result<Chip, Fault> {
    let device_dir = home.join("device");
    // The class entry's own name first; a device can have a `name` that means something else.
    let name = match text_file(&home.join("name")) {
        Err(fault) if fault.reason == ErrorReason::Gone => text_file(&device_dir.join("name")),
        answer => answer,
    };
    let driver = link_name(&device_dir.join("driver"));
    let name = match name {
        // A chip without any name is still known by its driver.
        Err(fault) if fault.reason == ErrorReason::Gone && !driver.is_empty() => driver.clone(),
        answer => answer?,
    };
    let (dir, files) = match channel_files(home) {
        files if !files.is_empty() => (home.to_path_buf(), files),
        _ => (device_dir.clone(), channel_files(&device_dir)),
    };
    let device = link_name(&device_dir);
    Ok(Chip {
        id: ChipId { name, device, nth: 0 },
        driver,
        dir,
        device_dir,
        files,
    })
}

/// What a link leads to, by its last name; empty for what is no link.
fn link_name(link: &Path) -> String {
    let target = fs::read_link(link).and_then(|_| fs::canonicalize(link));
    let name = target
        .ok()
        .as_deref()
        .and_then(Path::file_name)
        .map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_default()
}

/// Files of channels; none where there is no such folder.
fn channel_files(dir: &Path) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(dir) else {
        return BTreeSet::new();
    };
    entries
        .take(MOST_FILES)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| split(name).is_some())
        .collect()
}
