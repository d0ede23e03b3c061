// SPDX-License-Identifier: Apache-2.0
//! Generations of CPUs: owns the table from what a CPU says of itself (CPUID's signature, MIDR on arm64) to the name of its
//! microarchitecture, and what a usual machine of that generation is like. Guesses nothing from a name: see `names.rs`.
//!
//! Signatures: Linux, `arch/x86/include/asm/intel-family.h`, the ranges of AMD families in `arch/x86/kernel/cpu/amd.c`, and
//! `arch/arm64/include/asm/cputype.h`. Years, cores, clocks and TDP of a usual (for servers: mid-range) product of each are from the
//! vendors' public product pages; they are used only where the machine does not say its own.

/// Who designed a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    /// Intel.
    Intel,
    /// AMD, and Hygon with its cores.
    Amd,
    /// Everybody with an ARM instruction set.
    Arm,
}

impl Vendor {
    /// Who writes this as `vendor_id`; `None` for a vendor of whom this table knows nothing.
    #[must_use]
    pub fn of(vendor_id: &str) -> Option<Self> {
        match vendor_id {
            "GenuineIntel" => Some(Self::Intel),
            "AuthenticAMD" | "HygonGenuine" => Some(Self::Amd),
            _ => None,
        }
    }
}

/// What a machine is made for, as far as its CPU tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// Sockets for servers.
    Server,
    /// Desktops, laptops and the small servers with their dies.
    Client,
}

/// One microarchitecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Its public name.
    pub name: &'static str,
    /// Who designed it.
    pub vendor: Vendor,
    /// The year in which its servers came (its first product, where there are no servers).
    pub year: u16,
    /// Cores of a usual chip.
    pub cores: u32,
    /// Threads of a core.
    pub threads_per_core: u32,
    /// Nominal clock of a usual chip.
    pub base_mhz: u32,
    /// Thermal design power of a usual chip.
    pub tdp_watts: u32,
    /// Whether servers with more than one socket are made with it.
    pub made: Made,
}

use Made::{Client, Server};
use Vendor::{Amd, Arm, Intel};

#[rustfmt::skip]
const fn row(name: &'static str, vendor: Vendor, year: u16, made: Made, size: [u32; 4]) -> Generation {
    let [cores, threads_per_core, base_mhz, tdp_watts] = size;
    Generation { name, vendor, year, cores, threads_per_core, base_mhz, tdp_watts, made }
}

/// Every generation that has a name here.
#[rustfmt::skip] // A table is read by its columns: name, vendor, year, made for, [cores, threads of a core, MHz, TDP].
pub(super) const GENERATIONS: &[Generation] = &[
    row("NetBurst", Intel, 2005, Server, [2, 2, 3_000, 110]),
    row("Core", Intel, 2007, Server, [4, 1, 2_500, 80]),
    row("Nehalem", Intel, 2009, Server, [4, 2, 2_666, 95]),
    row("Westmere", Intel, 2010, Server, [6, 2, 2_933, 95]),
    row("Sandy Bridge", Intel, 2012, Server, [8, 2, 2_200, 95]),
    row("Ivy Bridge", Intel, 2013, Server, [10, 2, 2_500, 115]),
    row("Haswell", Intel, 2014, Server, [12, 2, 2_500, 120]),
    row("Broadwell", Intel, 2016, Server, [14, 2, 2_400, 120]),
    row("Skylake", Intel, 2017, Server, [24, 2, 2_100, 150]),
    row("Cascade Lake", Intel, 2019, Server, [24, 2, 2_400, 150]),
    row("Cooper Lake", Intel, 2020, Server, [24, 2, 2_500, 205]),
    row("Ice Lake", Intel, 2021, Server, [32, 2, 2_400, 205]),
    row("Sapphire Rapids", Intel, 2023, Server, [48, 2, 2_100, 300]),
    row("Emerald Rapids", Intel, 2023, Server, [48, 2, 2_300, 300]),
    row("Granite Rapids", Intel, 2024, Server, [86, 2, 2_000, 350]),
    row("Sierra Forest", Intel, 2024, Server, [144, 1, 2_200, 330]),
    row("Clearwater Forest", Intel, 2026, Server, [288, 1, 2_000, 450]),
    row("Knights Landing", Intel, 2016, Client, [64, 4, 1_300, 215]),
    row("Kaby Lake", Intel, 2017, Client, [4, 2, 3_600, 65]),
    row("Coffee Lake", Intel, 2018, Client, [6, 2, 3_500, 80]),
    row("Comet Lake", Intel, 2020, Client, [8, 2, 3_300, 65]),
    row("Tiger Lake", Intel, 2020, Client, [4, 2, 2_800, 28]),
    row("Rocket Lake", Intel, 2021, Client, [8, 2, 3_200, 80]),
    row("Alder Lake", Intel, 2021, Client, [10, 2, 2_500, 65]),
    row("Raptor Lake", Intel, 2022, Client, [12, 2, 2_500, 65]),
    row("Meteor Lake", Intel, 2023, Client, [14, 1, 1_400, 28]),
    row("Lunar Lake", Intel, 2024, Client, [8, 1, 2_200, 17]),
    row("Arrow Lake", Intel, 2024, Client, [14, 1, 3_000, 65]),
    row("Silvermont", Intel, 2013, Client, [4, 1, 2_000, 10]),
    row("Goldmont", Intel, 2017, Client, [8, 1, 2_000, 20]),
    row("Tremont", Intel, 2020, Client, [8, 1, 2_200, 20]),
    row("Gracemont", Intel, 2023, Client, [4, 1, 1_000, 10]),
    row("K8", Amd, 2006, Server, [2, 1, 2_400, 95]),
    row("K10", Amd, 2009, Server, [4, 1, 2_500, 95]),
    row("Bobcat", Amd, 2011, Client, [2, 1, 1_600, 18]),
    row("Jaguar", Amd, 2013, Client, [4, 1, 1_600, 15]),
    row("Bulldozer", Amd, 2011, Server, [16, 1, 2_300, 115]),
    row("Piledriver", Amd, 2012, Server, [16, 1, 2_400, 115]),
    row("Steamroller", Amd, 2014, Client, [4, 1, 3_500, 65]),
    row("Excavator", Amd, 2015, Client, [4, 1, 3_000, 35]),
    row("Zen", Amd, 2017, Server, [32, 2, 2_200, 180]),
    row("Zen+", Amd, 2018, Client, [8, 2, 3_400, 65]),
    row("Zen 2", Amd, 2019, Server, [64, 2, 2_250, 200]),
    row("Zen 3", Amd, 2021, Server, [64, 2, 2_450, 225]),
    row("Zen 4", Amd, 2022, Server, [64, 2, 2_700, 320]),
    row("Zen 5", Amd, 2024, Server, [96, 2, 2_600, 400]),
    row("Zen 6", Amd, 2026, Server, [128, 2, 2_600, 500]),
    row("Cortex-A53", Arm, 2014, Client, [4, 1, 1_400, 5]),
    row("Cortex-A57", Arm, 2014, Client, [8, 1, 2_000, 30]),
    row("Cortex-A72", Arm, 2016, Client, [4, 1, 1_800, 8]),
    row("Cortex-A76", Arm, 2020, Client, [4, 1, 2_400, 12]),
    row("Neoverse N1", Arm, 2020, Server, [64, 1, 2_600, 180]),
    row("Neoverse V1", Arm, 2021, Server, [64, 1, 2_600, 180]),
    row("Neoverse N2", Arm, 2023, Server, [128, 1, 2_700, 250]),
    row("Neoverse V2", Arm, 2023, Server, [72, 1, 2_800, 250]),
    row("Neoverse V3", Arm, 2025, Server, [96, 1, 2_800, 300]),
    row("AmpereOne", Arm, 2023, Server, [160, 1, 2_800, 350]),
    row("ThunderX2", Arm, 2018, Server, [32, 4, 2_200, 180]),
    row("TaiShan v110", Arm, 2019, Server, [64, 1, 2_600, 180]),
    row("A64FX", Arm, 2020, Server, [48, 1, 2_000, 150]),
    row("Apple silicon", Arm, 2020, Client, [8, 1, 3_200, 30]),
];

/// What a CPU says of itself, as `/proc/cpuinfo` prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature {
    /// CPUID of x86: `vendor_id` with `cpu family`, `model` and `stepping`.
    X86 {
        /// Whose numbers these are.
        vendor: Vendor,
        /// With the extended family.
        family: u32,
        /// With the extended model.
        model: u32,
        /// The stepping.
        stepping: u32,
    },
    /// MIDR_EL1 of arm64: `CPU implementer` and `CPU part`.
    Arm {
        /// Who made it.
        implementer: u32,
        /// What.
        part: u32,
    },
}

impl Generation {
    /// The generation with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        GENERATIONS.iter().find(|generation| generation.name == name)
    }

    /// The generation of a signature, and whether its die is one for clients.
    #[must_use]
    pub fn of(signature: Signature) -> Option<(&'static Self, Made)> {
        let name = match signature {
            Signature::X86 {
                vendor: Intel,
                family,
                model,
                stepping,
            } => return intel(family, model, stepping),
            Signature::X86 {
                vendor: Amd,
                family,
                model,
                ..
            } => return amd(family, model),
            Signature::X86 { vendor: Arm, .. } => None,
            Signature::Arm { implementer, part } => arm(implementer, part),
        };
        let generation = Self::named(name?)?;
        Some((generation, generation.made))
    }
}

fn found(name: &str, made: Made) -> Option<(&'static Generation, Made)> {
    Some((Generation::named(name)?, made))
}

#[rustfmt::skip] // A table.
fn intel(family: u32, model: u32, stepping: u32) -> Option<(&'static Generation, Made)> {
    match (family, model) {
        (15, _) => found("NetBurst", Server),
        (6, 0x0f | 0x16 | 0x17 | 0x1d) => found("Core", Server),
        (6, 0x1a | 0x2e) => found("Nehalem", Server),
        (6, 0x1e | 0x1f) => found("Nehalem", Client),
        (6, 0x2c | 0x2f) => found("Westmere", Server),
        (6, 0x25) => found("Westmere", Client),
        (6, 0x2d) => found("Sandy Bridge", Server),
        (6, 0x2a) => found("Sandy Bridge", Client),
        (6, 0x3e) => found("Ivy Bridge", Server),
        (6, 0x3a) => found("Ivy Bridge", Client),
        (6, 0x3f) => found("Haswell", Server),
        (6, 0x3c | 0x45 | 0x46) => found("Haswell", Client),
        (6, 0x4f | 0x56) => found("Broadwell", Server),
        (6, 0x3d | 0x47) => found("Broadwell", Client),
        (6, 0x55) if stepping <= 4 => found("Skylake", Server),
        (6, 0x55) if stepping <= 7 => found("Cascade Lake", Server),
        (6, 0x55) => found("Cooper Lake", Server),
        (6, 0x4e | 0x5e) => found("Skylake", Client),
        (6, 0x8e | 0x9e) if stepping <= 9 => found("Kaby Lake", Client),
        (6, 0x8e | 0x9e) => found("Coffee Lake", Client),
        (6, 0xa5 | 0xa6) => found("Comet Lake", Client),
        (6, 0x6a | 0x6c) => found("Ice Lake", Server),
        (6, 0x7d | 0x7e | 0x9d) => found("Ice Lake", Client),
        (6, 0x8c | 0x8d) => found("Tiger Lake", Client),
        (6, 0xa7) => found("Rocket Lake", Client),
        (6, 0x97 | 0x9a) => found("Alder Lake", Client),
        (6, 0xb7 | 0xba | 0xbf) => found("Raptor Lake", Client),
        (6, 0xaa | 0xac) => found("Meteor Lake", Client),
        (6, 0xbd) => found("Lunar Lake", Client),
        (6, 0xb5 | 0xc5 | 0xc6) => found("Arrow Lake", Client),
        (6, 0x8f) => found("Sapphire Rapids", Server),
        (6, 0xcf) => found("Emerald Rapids", Server),
        (6, 0xad | 0xae) => found("Granite Rapids", Server),
        (6, 0xaf) => found("Sierra Forest", Server),
        (6, 0xdd) => found("Clearwater Forest", Server),
        (6, 0x57 | 0x85) => found("Knights Landing", Client),
        (6, 0x37 | 0x4a | 0x4c | 0x4d | 0x5a | 0x5d) => found("Silvermont", Client),
        (6, 0x5c | 0x5f | 0x7a) => found("Goldmont", Client),
        (6, 0x86 | 0x96 | 0x9c) => found("Tremont", Client),
        (6, 0xbe) => found("Gracemont", Client),
        _ => None,
    }
}

#[rustfmt::skip] // A table.
fn amd(family: u32, model: u32) -> Option<(&'static Generation, Made)> {
    match (family, model) {
        (0x0f, _) => found("K8", Server),
        (0x10, _) => found("K10", Server),
        (0x12, _) => found("K10", Client),
        (0x14, _) => found("Bobcat", Client),
        (0x16, _) => found("Jaguar", Client),
        (0x15, 0x00 | 0x01) => found("Bulldozer", Server),
        (0x15, 0x02) => found("Piledriver", Server),
        (0x15, 0x10..=0x1f) => found("Piledriver", Client),
        (0x15, 0x30..=0x3f) => found("Steamroller", Client),
        (0x15, 0x60..=0x7f) => found("Excavator", Client),
        (0x17, 0x08 | 0x18) => found("Zen+", Client),
        (0x17, 0x00..=0x0f) => found("Zen", Server),
        (0x17, 0x10..=0x2f) => found("Zen", Client),
        (0x17, 0x30..=0x3f) => found("Zen 2", Server),
        (0x17, 0x40..=0xaf) => found("Zen 2", Client),
        (0x18, _) => found("Zen", Server),
        (0x19, 0x00..=0x0f) => found("Zen 3", Server),
        (0x19, 0x20..=0x5f) => found("Zen 3", Client),
        (0x19, 0x10..=0x1f | 0xa0..=0xaf) => found("Zen 4", Server),
        (0x19, 0x60..=0x7f) => found("Zen 4", Client),
        (0x1a, 0x00..=0x1f) => found("Zen 5", Server),
        (0x1a, 0x20..=0x4f | 0x60..=0x7f) => found("Zen 5", Client),
        (0x1a, 0x50..=0x5f | 0x80..=0xaf | 0xc0..=0xcf) => found("Zen 6", Server),
        _ => None,
    }
}

#[rustfmt::skip] // A table.
fn arm(implementer: u32, part: u32) -> Option<&'static str> {
    Some(match (implementer, part) {
        (0x41, 0xd03..=0xd05) => "Cortex-A53",
        (0x41, 0xd07) => "Cortex-A57",
        (0x41, 0xd08 | 0xd09) => "Cortex-A72",
        (0x41, 0xd0a | 0xd0b | 0xd0d) => "Cortex-A76",
        (0x41, 0xd0c) => "Neoverse N1",
        (0x41, 0xd40) => "Neoverse V1",
        (0x41, 0xd49) => "Neoverse N2",
        (0x41, 0xd4f) => "Neoverse V2",
        (0x41, 0xd83 | 0xd84) => "Neoverse V3",
        (0xc0, _) => "AmpereOne",
        (0x43, 0x0af) | (0x42, 0x516) => "ThunderX2",
        (0x48, 0xd01) => "TaiShan v110",
        (0x46, 0x001) => "A64FX",
        (0x61, _) => "Apple silicon",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_tell_the_generation_and_whether_it_is_a_client() {
        let x86 = |vendor, family, model, stepping| {
            let found = Generation::of(Signature::X86 {
                vendor,
                family,
                model,
                stepping,
            });
            found.map(|(generation, made)| (generation.name, made))
        };
        for (vendor, family, model, stepping, found) in [
            (Intel, 6, 0x55, 4, Some(("Skylake", Server))),
            (Intel, 6, 0x55, 7, Some(("Cascade Lake", Server))),
            (Intel, 6, 0x55, 11, Some(("Cooper Lake", Server))),
            (Intel, 6, 0x9e, 9, Some(("Kaby Lake", Client))),
            (Intel, 6, 0x9e, 10, Some(("Coffee Lake", Client))),
            (Intel, 6, 0x8f, 8, Some(("Sapphire Rapids", Server))),
            (Intel, 6, 0x2a, 7, Some(("Sandy Bridge", Client))),
            (Intel, 25, 1, 1, None),
            (Amd, 23, 1, 2, Some(("Zen", Server))),
            (Amd, 23, 0x31, 0, Some(("Zen 2", Server))),
            (Amd, 25, 0x11, 1, Some(("Zen 4", Server))),
            (Amd, 25, 0x21, 0, Some(("Zen 3", Client))),
            (Amd, 26, 2, 1, Some(("Zen 5", Server))),
            (Amd, 6, 0x55, 4, None),
        ] {
            assert_eq!(
                x86(vendor, family, model, stepping),
                found,
                "{vendor:?} {family} {model} {stepping}"
            );
        }
        let arm = |implementer, part| {
            Generation::of(Signature::Arm { implementer, part }).map(|(generation, _)| generation.name)
        };
        assert_eq!(arm(0x41, 0xd40), Some("Neoverse V1"));
        assert_eq!(arm(0xc0, 0xac3), Some("AmpereOne"));
        assert_eq!(arm(0x41, 0xfff), None);
    }

    #[test]
    fn every_generation_has_one_row_that_can_be() {
        for row in GENERATIONS {
            assert_eq!(
                GENERATIONS.iter().filter(|other| other.name == row.name).count(),
                1,
                "{}",
                row.name
            );
            assert!((2_004..=2_026).contains(&row.year), "{}", row.name);
            assert!(
                row.cores > 0 && row.tdp_watts > 0 && (1_000..=4_000).contains(&row.base_mhz),
                "{}",
                row.name
            );
            assert!((1..=4).contains(&row.threads_per_core), "{}", row.name);
        }
    }

    #[test]
    fn every_name_that_numbers_give_has_a_row() {
        for family in [6, 15, 0x0f, 0x10, 0x12, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a] {
            for model in 0..=0xff {
                for stepping in [0, 5, 10] {
                    for vendor in [Intel, Amd] {
                        if let Some((generation, _)) = Generation::of(Signature::X86 {
                            vendor,
                            family,
                            model,
                            stepping,
                        }) {
                            assert_eq!(generation.vendor, vendor);
                        }
                    }
                }
            }
        }
        for (implementer, part) in [
            (0x41, 0xd03),
            (0x41, 0xd07),
            (0x41, 0xd08),
            (0x41, 0xd0b),
            (0x41, 0xd49),
            (0x41, 0xd4f),
            (0x41, 0xd84),
            (0x43, 0x0af),
            (0x48, 0xd01),
            (0x46, 1),
            (0x61, 0),
        ] {
            assert!(
                Generation::of(Signature::Arm { implementer, part }).is_some(),
                "{implementer:x} {part:x}"
            );
        }
    }
}
