// SPDX-License-Identifier: Apache-2.0
//! Which GPUs a tree has: owns the way from `/sys/class/drm` to cards of one vendor's drivers and the names that stay
//! theirs, and opens no meter.
//!
//! The class folder has a link for every node: `card0`, its connectors (`card0-HDMI-A-1`) and `renderD128`. Only `cardN`
//! is a GPU; its number changes between boots and when a driver is loaded again. `cardN/device` is the PCI device.
//!
//! **The place of a card's zone** (the `package` label) is its `unique_id`, where the driver has one (amdgpu since GFX9:
//! 16 hex digits of the chip itself), else its PCI address (`0000:03:00.0`): the slot stays the slot while the machine is
//! not opened. Two cards that claim one `unique_id` have their addresses.

use super::fdinfo::Client;
use crate::files::{Fault, parse_number, text_file};
use attribution::model::ErrorReason;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most cards that are looked at. DRM has 64 primary nodes (minors 0 to 63 in drivers/gpu/drm/drm_drv.c), and since
/// Linux 6.12 more.
const MOST_CARDS: usize = 1_024;
/// Most entries of the class folder: a card has up to a dozen connectors.
const MOST_ENTRIES: usize = 16 * MOST_CARDS;

/// A GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Card {
    /// `card0`.
    pub(crate) node: String,
    /// `0000:03:00.0`, as `drm-pdev` has it.
    pub(crate) address: String,
    /// `i915`, `xe`, `amdgpu`.
    pub(crate) driver: String,
    /// Its device's folder.
    pub(crate) dir: PathBuf,
    /// The name of its zone.
    pub(crate) place: Arc<str>,
}

impl Card {
    /// For people: node, driver and address.
    pub(crate) fn title(&self) -> String {
        format!("{} ({}, {})", self.node, self.driver, self.address)
    }

    /// Whether the device is powered down. Reading the state itself wakes nothing up, while almost everything else does:
    /// hwmon files of i915, xe and (before Linux 6.15) amdgpu, and what a file of an xe client shows.
    pub(crate) fn sleeps(&self) -> bool {
        let status = text_file(&self.dir.join("power/runtime_status"));
        status.is_ok_and(|status| matches!(status.as_str(), "suspended" | "suspending"))
    }
}

/// Which cards are of interest, and which of them sleep.
pub(crate) trait Cards {
    /// The position of the card that a file is open on.
    fn card(&self, client: &Client) -> Option<usize>;
    /// Whether asking about it could wake it up.
    fn sleeps(&self, card: usize) -> bool;
}

/// What a tree has.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Cards of the drivers that were asked for, in the order of their addresses.
    pub(crate) cards: Vec<Card>,
    /// Other cards, for people: `card1 (nvidia)`.
    pub(crate) others: Vec<String>,
    /// Cards that are not understood.
    pub(crate) faults: Vec<Fault>,
}

/// Looks through `root` for cards that one of `drivers` drives.
pub(crate) fn find(root: &Path, drivers: &[&str]) -> Result<Found, Fault> {
    let mut found = Found::default();
    let mut by_address: BTreeMap<String, Card> = BTreeMap::new();
    for entry in fs::read_dir(root)
        .map_err(|error| Fault::io(root, &error))?
        .take(MOST_ENTRIES)
    {
        let entry = entry.map_err(|error| Fault::io(root, &error))?;
        let Some(node) = entry.file_name().to_str().and_then(node) else {
            continue;
        };
        let dir = entry.path().join("device");
        let driver = link_name(&dir.join("driver")).unwrap_or_default();
        if !drivers.contains(&driver.as_str()) || by_address.len() >= MOST_CARDS {
            found.others.push(format!("{node} ({driver})"));
            continue;
        }
        let Some(address) = link_name(&dir).filter(|name| is_address(name)) else {
            found.faults.push(Fault {
                reason: ErrorReason::Parse,
                words: format!("{}: leads to no PCI device; the card is ignored", dir.display()),
            });
            continue;
        };
        let unique = text_file(&dir.join("unique_id"))
            .ok()
            .filter(|id| is_unique_id(id));
        let place = Arc::from(unique.as_deref().unwrap_or(&address));
        // A device can have several nodes (partitions of a large amdgpu); its meters are the same.
        by_address.entry(address.clone()).or_insert(Card {
            node,
            address,
            driver,
            dir,
            place,
        });
    }
    found.cards = by_address.into_values().collect();
    found.others.sort();
    keep_places_apart(&mut found.cards);
    Ok(found)
}

fn keep_places_apart(cards: &mut [Card]) {
    let places: Vec<_> = cards.iter().map(|card| Arc::clone(&card.place)).collect();
    for card in cards {
        if places.iter().filter(|place| **place == card.place).count() > 1 {
            card.place = Arc::from(card.address.as_str());
        }
    }
}

/// `card0`, but neither `card0-DP-1` nor `renderD128`.
fn node(name: &str) -> Option<String> {
    parse_number(name.strip_prefix("card")?.as_bytes()).map(|_| name.to_owned())
}

/// `0000:03:00.0`.
fn is_address(name: &str) -> bool {
    let hex =
        |text: &str, digits: usize| text.len() >= digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parts: Vec<&str> = name.split([':', '.']).collect();
    match parts.as_slice() {
        [domain, bus, device, function] => {
            hex(domain, 4) && hex(bus, 2) && hex(device, 2) && hex(function, 1) && name.len() <= 16
        }
        _ => false,
    }
}

/// Hex digits (`%016llx` in drivers/gpu/drm/amd/pm/amdgpu_pm.c), not all of them zero.
fn is_unique_id(id: &str) -> bool {
    (8..=32).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_hexdigit())
        && id.bytes().any(|byte| byte != b'0')
}

/// What a link leads to, by its last name; `None` for what is no link or leads nowhere.
fn link_name(link: &Path) -> Option<String> {
    let target = fs::read_link(link).and_then(|_| fs::canonicalize(link)).ok()?;
    Some(target.file_name()?.to_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_cards_are_cards() {
        for name in ["card0", "card12"] {
            assert_eq!(node(name).as_deref(), Some(name));
        }
        for name in [
            "card",
            "card0-HDMI-A-1",
            "card-1",
            "renderD128",
            "controlD64",
            "version",
            "ttm",
        ] {
            assert_eq!(node(name), None, "{name}");
        }
    }

    #[test]
    fn addresses_and_unique_ids_are_told_from_other_names() {
        for name in ["0000:03:00.0", "0000:c1:00.1", "10000:e1:00.0"] {
            assert!(is_address(name), "{name}");
        }
        for name in [
            "",
            "3:0.0",
            "0000:03:00",
            "hwmon_sim",
            "0000:03:00.0.0",
            "0000:0g:00.0",
            "0000-03-00-0",
        ] {
            assert!(!is_address(name), "{name}");
        }
        assert!(is_unique_id("5e9f1a3b2c4d5e6f"));
        for id in [
            "",
            "0",
            "0000000000000000",
            "5e9f1a3b2c4d5e6",
            "N/A",
            "5e9f 1a3b2c4d5e6f",
        ] {
            assert_eq!(is_unique_id(id), id == "5e9f1a3b2c4d5e6", "{id}");
        }
    }
}
