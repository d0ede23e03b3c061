// SPDX-License-Identifier: Apache-2.0
//! Which zones a powercap tree has: owns the mapping from folders and names to [`Zone`]s, and opens no counter.
//!
//! The layout is that of Documentation/power/powercap/powercap.rst: a control type (`intel-rapl`, also on
//! AMD), zones (`intel-rapl:1`) and sub-zones (`intel-rapl:1:0`). The class folder lists all of them flat as
//! links, and a sub-zone is also a folder inside its parent; entries are told apart by their own name, so
//! each counts once, from either side. Folder numbers mean nothing (psys may sit between two packages): only
//! `name` says what a zone is.
//!
//! A package without any constraint is AMD's or Hygon's (`rapl_msr_priv_amd` in intel_rapl_msr.c has no limits; every Intel
//! package has). Two zones of theirs are not what they are called:
//! - `package-0-die-N`: Linux 6.9 to 6.11 take core complexes for dies (0x80000026 leaf) and register one zone for each, but
//!   the counter is the package's in all of them ("Fix the energy-pkg event for AMD CPUs"). The first stands for the package.
//! - `core`: 0xc001029a is a counter of one core, and what is read is that of the zone's first CPU. It is left out.

#[cfg(feature = "fuzzing")]
mod fuzz;

use super::config::MaxWatts;
use super::shared::Shared;
use crate::files::{Fault, number_file, small_file};
use attribution::model::{Component, ErrorReason, Microwatts, PackageId, Place, Zone};
#[cfg(feature = "fuzzing")]
pub(crate) use fuzz::fuzz_name;
use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most folders that are looked at. 8 sockets of 4 dies with 3 sub-zones each, a psys per socket, and the
/// same again by MMIO make 272.
const MOST_FOLDERS: usize = 1_024;

/// A zone that the tree has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// What it meters.
    pub(super) zone: Zone,
    /// Its folder.
    pub(super) dir: PathBuf,
    /// Whether the host of this virtual machine writes it; see `shared.rs`.
    pub(super) is_hosts: bool,
}

/// What a tree has.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Zones in the order of their components and places; none twice.
    pub(super) found: Vec<Found>,
    /// Folders that look like zones and are not understood.
    pub(super) faults: Vec<Fault>,
}

/// Who registered a zone. The order is the order of preference: `intel-rapl-mmio` shows the same package
/// domain a second time through the thermal device (drivers/thermal/intel/int340x_thermal).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Control {
    Rapl,
    Mmio,
}

/// `intel-rapl:1:0` taken apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct FolderName {
    control: Control,
    numbers: Vec<u32>,
}

impl FolderName {
    /// Refuses every other control type (`dtpm`, `arm-scmi`).
    fn parse(name: &OsStr) -> Option<Self> {
        let mut parts = name.to_str()?.split(':');
        let control = match parts.next()? {
            "intel-rapl" => Control::Rapl,
            "intel-rapl-mmio" => Control::Mmio,
            _ => return None,
        };
        let numbers: Option<Vec<u32>> = parts.map(|part| part.parse().ok()).collect();
        // Two levels of zones are all that RAPL registers.
        numbers
            .filter(|numbers| numbers.len() <= 2)
            .map(|numbers| Self { control, numbers })
    }

    fn parent(&self) -> Option<Self> {
        let (_, numbers) = self.numbers.split_last()?;
        Some(Self {
            control: self.control,
            numbers: numbers.to_vec(),
        })
    }
}

/// What a `name` file says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ZoneName {
    Package(Place),
    Psys(Place),
    Part(Component),
}

impl ZoneName {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = str::from_utf8(bytes.strip_suffix(b"\n").unwrap_or(bytes)).ok()?;
        match text {
            "core" => return Some(Self::Part(Component::Core)),
            "uncore" => return Some(Self::Part(Component::Uncore)),
            "dram" => return Some(Self::Part(Component::Dram)),
            "psys" => return Some(Self::Psys(Place::Named(Arc::from(text)))),
            _ => {}
        }
        if let Some(package) = text.strip_prefix("psys-") {
            small_number(package)?;
            return Some(Self::Psys(Place::Named(Arc::from(text))));
        }
        let rest = text.strip_prefix("package-")?;
        let (package, die) = match rest.split_once("-die-") {
            Some((package, die)) => (package, Some(small_number(die)?)),
            None => (rest, None),
        };
        let package = PackageId(small_number(package)?);
        Some(Self::Package(Place::Socket { package, die }))
    }
}

/// Digits only: `parse` alone would take a sign.
fn small_number(text: &str) -> Option<u16> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// Looks through `root`.
pub(super) fn scan(root: &Path) -> Result<Scan, Fault> {
    let mut scan = Scan::default();
    let folders = folders(root, &mut scan.faults)?;
    let mut places: BTreeMap<FolderName, Place> = BTreeMap::new();
    let mut zones: BTreeMap<Zone, (Control, PathBuf)> = BTreeMap::new();
    let mut amd = BTreeSet::new();
    // Parents come before their children, and intel-rapl before intel-rapl-mmio: that is the order of the keys.
    for (folder, dir) in folders {
        let mut zone = match identify(&folder, &dir, &places) {
            Ok(zone) => zone,
            Err(fault) => {
                scan.faults.push(fault);
                continue;
            }
        };
        if folder.numbers.len() == 1 {
            places.insert(folder.clone(), zone.place.clone());
            if zone.component == Component::Package && has_no_limits(&dir) {
                amd.insert(folder.clone());
            }
        }
        if amd.contains(&folder) || folder.parent().is_some_and(|parent| amd.contains(&parent)) {
            match of_amd(zone, &zones) {
                Some(meant) => zone = meant,
                None => continue,
            }
        }
        keep(&mut zones, &mut scan.faults, folder.control, zone, dir);
    }
    scan.found = zones
        .into_iter()
        .map(|(zone, (_, dir))| Found {
            zone,
            is_hosts: Shared::is_in(&dir),
            dir,
        })
        .collect();
    Ok(scan)
}

fn identify(folder: &FolderName, dir: &Path, places: &BTreeMap<FolderName, Place>) -> Result<Zone, Fault> {
    let path = dir.join("name");
    let bytes = small_file(&path)?;
    let unknown = || {
        Fault::parse(
            &path,
            &bytes,
            "package-N, package-N-die-M, psys, core, uncore or dram",
        )
    };
    let (component, place) = match ZoneName::parse(&bytes).ok_or_else(unknown)? {
        // The host sums its sockets; ours are its invention, so all that runs here pays.
        ZoneName::Package(_) if Shared::is_in(dir) => {
            (Component::Package, Place::Named(Arc::from(super::HOST_SHARE.0)))
        }
        ZoneName::Package(place) => (Component::Package, place),
        ZoneName::Psys(place) => (Component::Platform, place),
        ZoneName::Part(component) => {
            let place = folder.parent().and_then(|parent| places.get(&parent));
            let orphan = || Fault::parse(&path, &bytes, "a parent zone that is a package");
            (component, place.ok_or_else(orphan)?.clone())
        }
    };
    Ok(Zone { component, place })
}

/// Whether a package has no constraint at all, and so is AMD's (see the module's head).
fn has_no_limits(package: &Path) -> bool {
    !package.join("constraint_0_name").exists()
}

/// What a zone of AMD's stands for; `None` where that is here already, or is none of a package's.
fn of_amd(zone: Zone, zones: &BTreeMap<Zone, (Control, PathBuf)>) -> Option<Zone> {
    match (zone.component, &zone.place) {
        (Component::Core, _) => None,
        (
            Component::Package,
            Place::Socket {
                package,
                die: Some(_),
            },
        ) => {
            let place = Place::socket(*package);
            let whole = Zone { place, ..zone };
            (!zones.contains_key(&whole)).then_some(whole)
        }
        _ => Some(zone),
    }
}

fn keep(
    zones: &mut BTreeMap<Zone, (Control, PathBuf)>,
    faults: &mut Vec<Fault>,
    control: Control,
    zone: Zone,
    dir: PathBuf,
) {
    match zones.entry(zone) {
        Slot::Vacant(slot) => {
            slot.insert((control, dir));
        }
        // Added up, they would count one domain twice; the last one alone would hide the first.
        Slot::Occupied(slot) if slot.get().0 == control => faults.push(Fault {
            reason: ErrorReason::Parse,
            words: format!("{}: also called {}; ignored", dir.display(), slot.key()),
        }),
        Slot::Occupied(_) => {}
    }
}

/// All zone folders below `root`, by name.
fn folders(root: &Path, faults: &mut Vec<Fault>) -> Result<BTreeMap<FolderName, PathBuf>, Fault> {
    let mut all = BTreeMap::new();
    let mut to_visit = match list(root) {
        Ok(listed) => listed,
        Err(error) => return Err(Fault::io(root, &error)),
    };
    // Each round lists the children of the last: control type, zone, sub-zone.
    for _ in 0..3 {
        let mut children = Vec::new();
        for (name, dir) in to_visit {
            if all.len() >= MOST_FOLDERS {
                faults.push(Fault {
                    reason: ErrorReason::Implausible,
                    words: format!(
                        "{}: more than {MOST_FOLDERS} zones; the rest is ignored",
                        root.display()
                    ),
                });
                return Ok(all);
            }
            if let Slot::Vacant(slot) = all.entry(name.clone()) {
                // A folder that cannot be listed has no children that we could read.
                let listed = list(&dir).unwrap_or_default();
                children.extend(
                    listed
                        .into_iter()
                        .filter(|(child, _)| child.parent().as_ref() == Some(&name)),
                );
                slot.insert(dir);
            }
        }
        to_visit = children;
    }
    // The control type itself is a folder without a `name`.
    all.retain(|name, _| !name.numbers.is_empty());
    Ok(all)
}

fn list(dir: &Path) -> io::Result<Vec<(FolderName, PathBuf)>> {
    let mut listed = Vec::new();
    for entry in fs::read_dir(dir)?.take(4 * MOST_FOLDERS) {
        let entry = entry?;
        if let Some(name) = FolderName::parse(&entry.file_name()) {
            listed.push((name, entry.path()));
        }
    }
    Ok(listed)
}

/// How far a zone's counter runs, and what it can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Microjoules between two zeros of the counter.
    pub(super) modulus: u64,
    /// Highest plausible power.
    pub(super) max_power: Microwatts,
}

impl Limits {
    /// Reads them from the zone's folder.
    pub(super) fn read(found: &Found, configured: Option<u32>) -> Result<Self, Fault> {
        let path = found.dir.join("max_energy_range_uj");
        let range = number_file(&path)?;
        if range == 0 {
            return Err(Fault::parse(&path, b"0", "the range of the counter"));
        }
        // Optional files (a package has up to three constraints, AMD none): one that is missing says nothing.
        let stated = (0..3)
            .filter_map(|index| number_file(&found.dir.join(format!("constraint_{index}_max_power_uw"))).ok())
            .max();
        if found.is_hosts {
            // Counts single microjoules, over all sockets of a host.
            return Ok(Self {
                modulus: range.saturating_add(1),
                max_power: Microwatts::from_watts(u64::from(configured.unwrap_or(MaxWatts::HIGHEST))),
            });
        }
        let modulus = modulus(range);
        let most = max_power(found.zone.component, stated, configured);
        Ok(Self {
            modulus,
            max_power: match configured {
                Some(_) => most,
                None => most.min(turning_power(modulus)),
            },
        })
    }
}

/// `max_energy_range_uj` is the highest value, 2^32 - 1 units (`ENERGY_STATUS_MASK` in intel_rapl_common.c);
/// the next unit is zero again, so a turn is one unit longer. Without it every wrap would lose a unit: up to
/// 1 J.
fn modulus(range: u64) -> u64 {
    range.saturating_add((range / u64::from(u32::MAX)).max(1))
}

/// The power at which a turn of the counter lasts a little longer than the longest tick. Believing in more would make every
/// step of such a tick one that may hide a turn, and every reset a wrap: server memory has a turn of 65.7 kJ and states the
/// power of its package.
fn turning_power(modulus: u64) -> Microwatts {
    /// The longest tick is 60 s; what it is late by at most, and the slack of `CounterTrack::limit`.
    const LONGEST: u64 = 62;
    Microwatts::from_micro(modulus / LONGEST)
}

/// The thermal design power of the first package that states one: the `max_power_uw` of its `long_term` constraint, which is what
/// MSR_PKG_POWER_INFO calls "Thermal Spec Power".
pub(super) fn thermal_design_power(root: &Path) -> Option<Microwatts> {
    let packages = scan(root).ok()?.found;
    packages
        .iter()
        .filter(|found| found.zone.component == Component::Package)
        .flat_map(|found| (0..3).map(|index| (&found.dir, index)))
        .filter(|(dir, index)| {
            let name = small_file(&dir.join(format!("constraint_{index}_name")));
            name.is_ok_and(|name| name.trim_ascii() == b"long_term")
        })
        .filter_map(|(dir, index)| number_file(&dir.join(format!("constraint_{index}_max_power_uw"))).ok())
        .find(|microwatts| *microwatts > 0)
        .map(Microwatts::from_micro)
}

/// The most that a zone is believed to use.
///
/// The figure only has to tell a wrap from a reset, where a wrong step is of the order of the range (65 kJ
/// and more): it is chosen so that no real load is ever refused. A constraint's highest power is the TDP;
/// short-term limits of mobile parts are four times that, so eight. Nothing real is below 100 W by that rule
/// or above 10 kW. Defaults for zones that state nothing (AMD): the largest sockets are sold with 500 W,
/// twelve memory channels draw under 200 W, and a platform has up to eight sockets. A platform's constraint
/// is often that of one package, so it can only raise the default.
pub(super) fn max_power(component: Component, stated_uw: Option<u64>, configured: Option<u32>) -> Microwatts {
    if let Some(watts) = configured {
        return Microwatts::from_watts(u64::from(watts));
    }
    let default = Microwatts::from_watts(match component {
        Component::Dram => 500,
        Component::Platform => 4_000,
        _ => 1_000,
    });
    let stated = stated_uw.filter(|power| *power > 0).map(|power| {
        Microwatts::from_micro(power.saturating_mul(8))
            .clamp(Microwatts::from_watts(100), Microwatts::from_watts(10_000))
    });
    match component {
        Component::Platform => stated.unwrap_or(default).max(default),
        _ => stated.unwrap_or(default),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_zones_and_garbage_does_not() {
        let socket = |package, die| {
            Some(ZoneName::Package(Place::Socket {
                package: PackageId(package),
                die,
            }))
        };
        assert_eq!(ZoneName::parse(b"package-0\n"), socket(0, None));
        assert_eq!(ZoneName::parse(b"package-12-die-3\n"), socket(12, Some(3)));
        assert_eq!(ZoneName::parse(b"dram"), Some(ZoneName::Part(Component::Dram)));
        assert_eq!(
            ZoneName::parse(b"psys-1\n"),
            Some(ZoneName::Psys(Place::Named(Arc::from("psys-1"))))
        );
        let garbage: [&[u8]; 10] = [
            b"",
            b"package-",
            b"package-+1",
            b"package-65536",
            b"package-1-die-",
            b"psys-x",
            b"dram\n\n",
            b"gpu",
            b"\xff",
            b"package-0 ",
        ];
        for bytes in garbage {
            assert_eq!(ZoneName::parse(bytes), None, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn one_turn_of_the_counter_is_one_unit_longer_than_its_range() {
        // 2^32 units of 2^-14 J and of 1 J.
        assert_eq!(modulus(262_143_328_850), 262_143_328_911);
        assert_eq!(modulus(4_294_967_295_000_000), 4_294_967_296_000_000);
        assert_eq!(modulus(1_000_000), 1_000_001);
        assert_eq!(modulus(u64::MAX), u64::MAX);
    }

    #[test]
    fn the_highest_plausible_power_is_configured_or_stated_or_a_default() {
        let watts = |component, stated: Option<u64>, configured| {
            max_power(component, stated.map(|watts| watts * 1_000_000), configured).as_micro() / 1_000_000
        };
        assert_eq!(watts(Component::Package, None, None), 1_000);
        assert_eq!(watts(Component::Dram, None, None), 500);
        assert_eq!(watts(Component::Platform, None, None), 4_000);
        assert_eq!(watts(Component::Package, Some(165), None), 1_320);
        assert_eq!(watts(Component::Package, Some(0), None), 1_000);
        assert_eq!(watts(Component::Package, Some(1), None), 100);
        assert_eq!(watts(Component::Package, Some(1_000_000), None), 10_000);
        assert_eq!(watts(Component::Platform, Some(165), None), 4_000);
        assert_eq!(watts(Component::Package, Some(165), Some(300)), 300);
    }
}
