// SPDX-License-Identifier: Apache-2.0
//! Which CPUs there are and what they are: owns the kernel's CPU lists, its topology files and the first block of
//! `/proc/cpuinfo`. Knows no register and no event: what follows from a model is each meter's own matter.

use crate::files::{Fault, number_file};
use attribution::model::{Component, ErrorReason, PackageId, Place, Zone};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

/// Highest number of a CPU plus one. x86 kernels are built for at most 8192 (`NR_CPUS`, arch/x86/Kconfig).
const MOST_CPUS: u32 = 8_192;
/// Longest list or `/proc/cpuinfo` that is read. 8192 single numbers make 40 KiB; the identity is in the first lines.
const LONGEST: u64 = 65_536;

/// A CPU that is online.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cpu {
    /// As in `/dev/cpu/N`.
    pub(crate) number: u32,
    /// `physical_package_id`.
    pub(crate) package: PackageId,
    /// `die_id`; 0 on kernels before 5.2, which do not tell.
    pub(crate) die: u16,
}

/// What has RAPL registers of its own (Linux, arch/x86/events/rapl.c, `rapl_pkg_pmu_is_pkg_scope`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// A package: AMD and Hygon. Their dies show the same counter again.
    Package,
    /// A die: Intel, where nearly every package has one.
    Die,
}

/// CPUs that share registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Domain {
    /// The socket, or the die where there are several.
    pub(crate) place: Place,
    /// The socket.
    pub(crate) package: PackageId,
    /// The die, 0 where a package is one domain. Unlike the place's name it stays when another die goes offline.
    pub(crate) die: u16,
    /// Its CPUs that are online, in order; never empty.
    pub(crate) cpus: Vec<u32>,
}

/// Who made a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vendor {
    Intel,
    Amd,
    Hygon,
    Other,
}

/// What kind of CPU it is, as CPUID tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) vendor: Vendor,
    pub(crate) family: u32,
    pub(crate) model: u32,
}

impl Identity {
    /// Where this CPU's RAPL counters are.
    pub(crate) const fn scope(self) -> Scope {
        match self.vendor {
            Vendor::Amd | Vendor::Hygon => Scope::Package,
            Vendor::Intel | Vendor::Other => Scope::Die,
        }
    }
}

/// Reads a list of CPUs.
pub(crate) fn list_file(path: &Path) -> Result<Vec<u32>, Fault> {
    let bytes = whole_file(path)?;
    parse_list(&bytes).ok_or_else(|| Fault::parse(path, &bytes, "a list of CPUs such as 0-3,7"))
}

/// `0-3,7` and at most one newline. An empty list is one; ranges that go back and CPUs named twice are not.
pub(crate) fn parse_list(bytes: &[u8]) -> Option<Vec<u32>> {
    let text = str::from_utf8(bytes.strip_suffix(b"\n").unwrap_or(bytes)).ok()?;
    let mut cpus = BTreeSet::new();
    if text.is_empty() {
        return Some(Vec::new());
    }
    for part in text.split(',') {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (cpu_number(first)?, cpu_number(last)?),
            None => (cpu_number(part)?, cpu_number(part)?),
        };
        if first > last {
            return None;
        }
        for cpu in first..=last {
            if !cpus.insert(cpu) {
                return None;
            }
        }
    }
    Some(cpus.into_iter().collect())
}

/// Digits only: `parse` alone would take a sign.
fn cpu_number(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| text.parse().ok())??;
    (number < MOST_CPUS).then_some(number)
}

/// The CPUs below `root` (`/sys/devices/system/cpu`) that are online.
pub(crate) fn online(root: &Path) -> Result<Vec<Cpu>, Fault> {
    let numbers = list_file(&root.join("online"))?;
    let mut cpus = Vec::with_capacity(numbers.len());
    for number in numbers {
        let topology = root.join(format!("cpu{number}/topology"));
        let package = small(&topology.join("physical_package_id"))?;
        let die = match small(&topology.join("die_id")) {
            Err(fault) if fault.reason == ErrorReason::Gone => 0,
            die => die?,
        };
        cpus.push(Cpu {
            number,
            package: PackageId(package),
            die,
        });
    }
    Ok(cpus)
}

fn small(path: &Path) -> Result<u16, Fault> {
    let number = number_file(path)?;
    u16::try_from(number)
        .map_err(|_too_large| Fault::parse(path, number.to_string().as_bytes(), "a number of at most 65535"))
}

impl Domain {
    /// Its zone of `component`. A platform's counter is told by a package, named as the kernel's powercap driver does, and by
    /// its first die only: `None` for the others. `all` are all domains.
    pub(crate) fn zone(&self, component: Component, all: &[Self]) -> Option<Zone> {
        let place = if component == Component::Platform {
            let first_die = all.iter().find(|domain| domain.package == self.package)?;
            if first_die.die != self.die {
                return None;
            }
            let name = match all.first() {
                Some(first) if first.package == self.package => "psys".to_owned(),
                _ => format!("psys-{}", self.package.0),
            };
            Place::Named(Arc::from(name))
        } else {
            self.place.clone()
        };
        Some(Zone { component, place })
    }

    /// Whether it is the same as `other`, however each is called.
    pub(crate) fn is(&self, other: &Self) -> bool {
        (self.package, self.die) == (other.package, other.die)
    }
}

/// Groups CPUs by the registers that they share, in the order of their places. Dies are told apart in names only where
/// a package has several, as the kernel's powercap driver does.
pub(crate) fn domains(cpus: &[Cpu], scope: Scope) -> Vec<Domain> {
    let mut groups: BTreeMap<(PackageId, u16), Vec<u32>> = BTreeMap::new();
    for cpu in cpus {
        let die = if scope == Scope::Die { cpu.die } else { 0 };
        groups.entry((cpu.package, die)).or_default().push(cpu.number);
    }
    let packages: BTreeSet<_> = groups.keys().map(|(package, _)| *package).collect();
    let several_dies = packages.len() < groups.len();
    groups
        .into_iter()
        .map(|((package, die), cpus)| Domain {
            place: Place::Socket {
                package,
                die: several_dies.then_some(die),
            },
            package,
            die,
            cpus,
        })
        .collect()
}

/// Reads the first block of `/proc/cpuinfo`.
pub(crate) fn identity(path: &Path) -> Result<Identity, Fault> {
    let bytes = whole_file(path)?;
    parse_identity(&bytes).ok_or_else(|| {
        Fault::parse(
            path,
            &bytes,
            "lines `vendor_id`, `cpu family` and `model` of an x86 CPU",
        )
    })
}

/// Vendor, family and model of the first CPU; all kernels print them before anything that is long.
pub(crate) fn parse_identity(bytes: &[u8]) -> Option<Identity> {
    let text = String::from_utf8_lossy(bytes);
    // A blank line ends the first CPU.
    let block = text.split("\n\n").next()?;
    let value = |key: &str| {
        let mut lines = block.lines().filter_map(|line| line.split_once(':'));
        lines
            .find(|(name, _)| name.trim_end() == key)
            .map(|(_, value)| value.trim())
    };
    let number = |key| value(key).and_then(|text| crate::files::parse_number(text.as_bytes()));
    Some(Identity {
        vendor: match value("vendor_id")? {
            "GenuineIntel" => Vendor::Intel,
            "AuthenticAMD" => Vendor::Amd,
            "HygonGenuine" => Vendor::Hygon,
            _ => Vendor::Other,
        },
        family: u32::try_from(number("cpu family")?).ok()?,
        model: u32::try_from(number("model")?).ok()?,
    })
}

fn whole_file(path: &Path) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(LONGEST).read_to_end(&mut bytes)) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(Fault::io(path, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Machine;
    use proptest::prelude::*;

    #[test]
    fn lists_of_cpus_are_read_as_the_kernel_writes_them() {
        let cases: [(&[u8], Option<&[u32]>); 19] = [
            (b"0\n", Some(&[0])),
            (b"0,18\n", Some(&[0, 18])),
            (b"0-3,7", Some(&[0, 1, 2, 3, 7])),
            (b"2-2\n", Some(&[2])),
            (b"8191\n", Some(&[8_191])),
            (b"", Some(&[])),
            (b"\n", Some(&[])),
            (b"8192\n", None),
            (b"0-4294967295\n", None),
            (b"3-0\n", None),
            (b"0,0\n", None),
            (b"0-3,2\n", None),
            (b"0,\n", None),
            (b",\n", None),
            (b"-1\n", None),
            (b"+1\n", None),
            (b"1 2\n", None),
            (b"0-1-2\n", None),
            (b"0\n\n", None),
        ];
        for (bytes, expected) in cases {
            assert_eq!(parse_list(bytes).as_deref(), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn the_identity_is_that_of_the_first_cpu() {
        let intel = "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 85\nmodel name\t: Xeon 6\n\n\
                     processor\t: 1\nvendor_id\t: AuthenticAMD\n";
        assert_eq!(
            parse_identity(intel.as_bytes()),
            Some(Identity {
                vendor: Vendor::Intel,
                family: 6,
                model: 85
            })
        );
        for (text, vendor) in [
            ("AuthenticAMD", Vendor::Amd),
            ("HygonGenuine", Vendor::Hygon),
            ("CentaurHauls", Vendor::Other),
        ] {
            let found =
                parse_identity(format!("vendor_id : {text}\ncpu family : 25\nmodel : 1\n").as_bytes());
            assert_eq!(found.map(|identity| identity.vendor), Some(vendor));
        }
        let arm = b"processor\t: 0\nCPU implementer\t: 0x41\n";
        assert_eq!(parse_identity(arm), None);
        assert_eq!(
            parse_identity(b"vendor_id : GenuineIntel\ncpu family : -6\nmodel : 1\n"),
            None
        );
    }

    #[test]
    fn cpus_that_share_registers_are_one_domain_and_dies_are_named_where_there_are_several() {
        let shown = |machine: &Machine, scope| -> Vec<(String, Vec<u32>)> {
            let cpus = online(&machine.sys()).unwrap();
            let row = |domain: Domain| (domain.place.to_string(), domain.cpus);
            domains(&cpus, scope).into_iter().map(row).collect()
        };
        let machine = Machine::new();
        for (cpu, package) in [(0, 0), (1, 1), (2, 0), (3, 1)] {
            machine.cpu(cpu, package, None);
        }
        machine.online("0-3\n");
        let two = [
            ("socket0".to_owned(), vec![0, 2]),
            ("socket1".to_owned(), vec![1, 3]),
        ];
        assert_eq!(shown(&machine, Scope::Die), two);
        machine.online("1-3\n");
        assert_eq!(shown(&machine, Scope::Die)[0], ("socket0".to_owned(), vec![2]));

        for (cpu, die) in [(0, 0), (1, 0), (2, 1), (3, 1)] {
            machine.cpu(cpu, 0, Some(die));
        }
        machine.online("0-3\n");
        let dies = [
            ("socket0-die0".to_owned(), vec![0, 1]),
            ("socket0-die1".to_owned(), vec![2, 3]),
        ];
        assert_eq!(shown(&machine, Scope::Die), dies);
        assert_eq!(
            shown(&machine, Scope::Package),
            [("socket0".to_owned(), vec![0, 1, 2, 3])]
        );
    }

    #[test]
    fn a_platform_counter_is_told_once_for_each_package_and_named_like_the_kernel_names_it() {
        let cpu = |number, package, die| Cpu {
            number,
            package: PackageId(package),
            die,
        };
        let all = domains(
            &[cpu(0, 0, 0), cpu(1, 0, 1), cpu(2, 1, 0), cpu(3, 1, 1)],
            Scope::Die,
        );
        let zones = |component| -> Vec<_> {
            let zones = all.iter().filter_map(|domain| domain.zone(component, &all));
            zones.map(|zone| zone.to_string()).collect()
        };
        assert_eq!(zones(Component::Platform), ["platform/psys", "platform/psys-1"]);
        assert_eq!(zones(Component::Dram).len(), 4);
        // The other die of the socket has gone, and with it the need for a name.
        let fewer = domains(&[cpu(1, 0, 1)], Scope::Die);
        assert_eq!(fewer[0].place.to_string(), "socket0");
        assert!(fewer[0].is(&all[1]) && !fewer[0].is(&all[0]));
    }

    #[test]
    fn topology_that_is_no_number_is_named() {
        let machine = Machine::new();
        machine.cpu(0, 0, None);
        machine.online("0\n");
        let file = machine.sys().join("cpu0/topology/physical_package_id");
        std::fs::write(&file, "-1\n").unwrap();
        let fault = online(&machine.sys()).unwrap_err();
        assert_eq!(fault.reason, ErrorReason::Parse);
        assert!(
            fault.words.contains("physical_package_id: found \"-1\\n\""),
            "{}",
            fault.words
        );
        std::fs::write(&file, "65536\n").unwrap();
        assert!(
            online(&machine.sys())
                .unwrap_err()
                .words
                .contains("at most 65535")
        );
    }

    proptest! {
        #[test]
        fn any_list_is_read_back_and_garbage_never_panics(
            cpus in prop::collection::btree_set(0_u32..8_192, 0..50),
            garbage in prop::collection::vec(any::<u8>(), 0..40),
            nearly in "[0-9,-]{0,20}\n?",
        ) {
            let cpus: Vec<u32> = cpus.into_iter().collect();
            let text: Vec<_> = cpus.iter().map(u32::to_string).collect();
            prop_assert_eq!(parse_list(text.join(",").as_bytes()), Some(cpus));
            for bytes in [garbage.as_slice(), nearly.as_bytes()] {
                if let Some(list) = parse_list(bytes) {
                    prop_assert!(list.is_sorted_by(|one, next| one < next));
                }
                parse_identity(bytes);
            }
        }

        #[test]
        fn an_identity_is_never_made_from_garbage(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if parse_identity(&bytes).is_some() {
                prop_assert!(String::from_utf8_lossy(&bytes).contains("vendor_id"));
            }
        }
    }
}
