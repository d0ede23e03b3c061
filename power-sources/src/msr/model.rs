// SPDX-License-Identifier: Apache-2.0
//! What the RAPL registers of a CPU model are and what one unit of them is worth. Pure: vendor, family, model and the unit
//! register's value come in. Reads nothing.
//!
//! Facts from Linux: arch/x86/include/asm/msr-index.h (numbers), drivers/powercap/intel_rapl_common.c (`rapl_ids`,
//! `rapl_check_unit_core`, `rapl_check_unit_atom`), arch/x86/events/rapl.c (`rapl_model_match`, `rapl_check_hw_unit`),
//! arch/x86/include/asm/intel-family.h (model numbers) and tools/power/x86/turbostat (`turbostat_pdata`).

use crate::cpus::{Identity, Scope, Vendor};
use attribution::model::Component;

/// Microjoules in a joule.
const MICRO: u64 = 1_000_000;

/// Server models whose DRAM counter has a unit of its own, 2^-16 J (15.3 µJ), whatever the unit register says (Intel,
/// "Xeon E5-1600 and E5-2600 v3 Datasheet, Volume 2", 330784): Haswell-X, Broadwell-X, Broadwell-D, Skylake-X (also
/// Cascade and Cooper Lake), Ice Lake-X and -D, Knights Landing and Mill. Of Broadwell-D the powercap driver does not say
/// so; the perf driver and turbostat do.
const FIXED_DRAM: &[u32] = &[0x3f, 0x4f, 0x56, 0x55, 0x6a, 0x6c, 0x57, 0x85];
/// Whose platform counter counts whole joules: Sapphire and Emerald Rapids; Granite Rapids by turbostat.
const FIXED_PLATFORM: &[u32] = &[0x8f, 0xcf, 0xad, 0xae];
/// Whose unit is 2^n µJ instead of 2^-n J: Silvermont, Airmont and their MID variants.
const SILVERMONT: &[u32] = &[0x37, 0x4a, 0x4c, 0x5a];
/// Those for which the unit register holds for everything: the rest of `rapl_ids`.
const PLAIN: &[u32] = &[
    0x2a, 0x2d, 0x3a, 0x3e, // Sandy Bridge, Ivy Bridge
    0x3c, 0x45, 0x46, 0x3d, 0x47, // Haswell, Broadwell
    0x4e, 0x5e, 0x8e, 0x9e, 0x66, // Skylake, Kaby Lake, Cannon Lake
    0x7d, 0x7e, 0x9d, 0xa5, 0xa6, // Ice Lake, Comet Lake
    0x8c, 0x8d, 0xa7, 0x8a, // Tiger Lake, Rocket Lake, Lakefield
    0x97, 0x9a, 0xbe, 0xb7, 0xba, 0xbf, 0xd7, // Alder Lake, Gracemont, Raptor Lake, Bartlett Lake
    0xaa, 0xac, 0xb5, 0xc5, 0xc6, 0xbd, 0xcc, // Meteor Lake, Arrow Lake, Lunar Lake, Panther Lake
    0x5c, 0x5f, 0x7a, 0x86, 0x96, 0x9c, // Goldmont, Tremont
];

/// A register, by component: `MSR_PKG_ENERGY_STATUS`, `MSR_PP0_...`, `MSR_PP1_...`, `MSR_DRAM_...`, `MSR_PLATFORM_...`.
const INTEL: &[(Component, u32)] = &[
    (Component::Package, 0x611),
    (Component::Core, 0x639),
    (Component::Uncore, 0x641),
    (Component::Dram, 0x619),
    (Component::Platform, 0x64d),
];
/// `MSR_AMD_PKG_ENERGY_STATUS`. `MSR_AMD_CORE_ENERGY_STATUS` (0xc001029a) is left out: every core has its own, so a sum
/// would interrupt and wake each of them at each tick, for a part of what the package's counter holds anyway.
const AMD: &[(Component, u32)] = &[(Component::Package, 0xc001_029b)];

/// What one unit of a counter is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// 2^-n J, n up to 31.
    Fraction(u8),
    /// 2^n µJ, n up to 31.
    Multiple(u8),
}

impl Unit {
    /// The counter as microjoules, rounded down. Nothing gets lost over time: what is below a microjoule is in the counter
    /// and comes with a later reading.
    pub(super) const fn microjoules(self, raw: u32) -> u64 {
        match self {
            Self::Fraction(n) => (raw as u64 * MICRO) >> n,
            Self::Multiple(n) => (raw as u64) << n,
        }
    }

    /// Microjoules between two zeros of a 32-bit counter. Exact: 2^32 x 10^6 has 38 factors of two.
    pub(super) const fn modulus(self) -> u64 {
        match self {
            Self::Fraction(n) => (MICRO << 32) >> n,
            Self::Multiple(n) => 1 << (32 + n),
        }
    }
}

/// Which units a model has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    Plain,
    FixedDram,
    FixedPlatform,
    Silvermont,
}

/// How to read a CPU model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// What has counters of its own.
    pub(super) scope: Scope,
    /// The register that says what units are: `MSR_RAPL_POWER_UNIT` or `MSR_AMD_RAPL_POWER_UNIT`.
    pub(super) unit: u32,
    /// The counters that the model may have.
    pub(super) counters: &'static [(Component, u32)],
    rule: Rule,
}

impl Plan {
    /// The plan for a CPU, or why there is none. A model that is not known is refused, as the kernel's drivers do: read
    /// with a wrong unit, its figures would be plausible and wrong.
    pub(super) fn of(cpu: Identity) -> Result<Self, String> {
        let Identity { family, model, .. } = cpu;
        let rule = match cpu.vendor {
            // Family 0x17 is the first Zen, 0x18 Hygon's.
            Vendor::Amd | Vendor::Hygon if family >= 0x17 => {
                return Ok(Self {
                    scope: cpu.scope(),
                    unit: 0xc001_0299,
                    counters: AMD,
                    rule: Rule::Plain,
                });
            }
            Vendor::Intel if family == 6 => [
                (FIXED_DRAM, Rule::FixedDram),
                (FIXED_PLATFORM, Rule::FixedPlatform),
                (SILVERMONT, Rule::Silvermont),
                (PLAIN, Rule::Plain),
            ]
            .into_iter()
            .find_map(|(models, rule)| models.contains(&model).then_some(rule)),
            _ => None,
        };
        let Some(rule) = rule else {
            return Err(format!(
                "{:?} family {family:#x} model {model:#x} is not known here, so neither are the units of its registers; use \
                 `rapl` or `rapl-perf`",
                cpu.vendor
            ));
        };
        Ok(Self {
            scope: cpu.scope(),
            unit: 0x606,
            counters: INTEL,
            rule,
        })
    }

    /// The unit of a component's counter where the unit register has `units`: bits 12 to 8.
    pub(super) const fn unit_of(&self, component: Component, units: u64) -> Unit {
        let exponent = units.to_le_bytes()[1] & 0x1f;
        match (self.rule, component) {
            (Rule::Silvermont, _) => Unit::Multiple(exponent),
            (Rule::FixedDram, Component::Dram) => Unit::Fraction(16),
            (Rule::FixedPlatform, Component::Platform) => Unit::Fraction(0),
            _ => Unit::Fraction(exponent),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn cpu(vendor: Vendor, family: u32, model: u32) -> Identity {
        Identity {
            vendor,
            family,
            model,
        }
    }

    #[test]
    fn every_model_has_the_units_that_the_kernel_gives_it() {
        use Component::{Dram, Package, Platform};
        use Unit::{Fraction, Multiple};
        // model, value of the unit register, then the units of package, dram and platform
        let cases = [
            (
                "Skylake client",
                0x5e,
                0xa0e03,
                Fraction(14),
                Fraction(14),
                Fraction(14),
            ),
            (
                "Haswell-X",
                0x3f,
                0xa0e03,
                Fraction(14),
                Fraction(16),
                Fraction(14),
            ),
            (
                "Broadwell-D",
                0x56,
                0xa0e03,
                Fraction(14),
                Fraction(16),
                Fraction(14),
            ),
            (
                "Skylake-X",
                0x55,
                0xa0e03,
                Fraction(14),
                Fraction(16),
                Fraction(14),
            ),
            (
                "Ice Lake-X",
                0x6a,
                0xa0e03,
                Fraction(14),
                Fraction(16),
                Fraction(14),
            ),
            (
                "Sapphire Rapids",
                0x8f,
                0xa0e03,
                Fraction(14),
                Fraction(14),
                Fraction(0),
            ),
            (
                "Granite Rapids",
                0xad,
                0xa0e03,
                Fraction(14),
                Fraction(14),
                Fraction(0),
            ),
            ("Silvermont", 0x37, 0x505, Multiple(5), Multiple(5), Multiple(5)),
            (
                "Sandy Bridge",
                0x2a,
                0xa1003,
                Fraction(16),
                Fraction(16),
                Fraction(16),
            ),
        ];
        for (name, model, units, package, dram, platform) in cases {
            let plan = Plan::of(cpu(Vendor::Intel, 6, model)).unwrap();
            assert_eq!(plan.unit_of(Package, units), package, "{name}");
            assert_eq!(plan.unit_of(Dram, units), dram, "{name}");
            assert_eq!(plan.unit_of(Platform, units), platform, "{name}");
            assert_eq!((plan.unit, plan.scope), (0x606, Scope::Die), "{name}");
        }
        for (vendor, family) in [(Vendor::Amd, 0x17), (Vendor::Amd, 0x1a), (Vendor::Hygon, 0x18)] {
            let plan = Plan::of(cpu(vendor, family, 1)).unwrap();
            assert_eq!(plan.unit_of(Package, 0xa1003), Fraction(16));
            assert_eq!((plan.unit, plan.scope), (0xc001_0299, Scope::Package));
            assert_eq!(plan.counters, [(Package, 0xc001_029b)]);
        }
    }

    #[test]
    fn a_model_that_is_not_known_is_refused_with_its_numbers() {
        let unknown = [
            cpu(Vendor::Intel, 6, 0x1a),  // Nehalem: before RAPL
            cpu(Vendor::Intel, 19, 0x01), // Diamond Rapids: has no such registers
            cpu(Vendor::Intel, 6, 0x4d),  // Avoton: neither in the kernel's list nor of one unit
            cpu(Vendor::Amd, 0x15, 0x60), // before Zen
            cpu(Vendor::Amd, 0x16, 0x30), // the last before Zen: without these registers
            cpu(Vendor::Other, 7, 0x3b),
        ];
        for identity in unknown {
            let reason = Plan::of(identity).unwrap_err();
            let numbers = format!("family {:#x} model {:#x}", identity.family, identity.model);
            assert!(reason.contains(&numbers), "{reason}");
            assert!(reason.contains("use `rapl` or `rapl-perf`"));
        }
    }

    #[test]
    fn no_model_is_in_two_lists() {
        let all = [FIXED_DRAM, FIXED_PLATFORM, SILVERMONT, PLAIN].concat();
        for model in &all {
            assert_eq!(
                all.iter().filter(|other| *other == model).count(),
                1,
                "{model:#x}"
            );
        }
    }

    #[test]
    fn units_are_worth_what_the_manuals_say() {
        assert_eq!(Unit::Fraction(14).microjoules(16_384), 1_000_000);
        assert_eq!(Unit::Fraction(14).modulus(), 262_144_000_000);
        assert_eq!(Unit::Fraction(16).microjoules(1), 15);
        assert_eq!(Unit::Fraction(16).modulus(), 65_536_000_000);
        assert_eq!(Unit::Fraction(0).microjoules(7), 7_000_000);
        assert_eq!(Unit::Multiple(5).microjoules(3), 96);
        assert_eq!(Unit::Multiple(31).modulus(), 1 << 63);
    }

    proptest! {
        #[test]
        fn a_turn_of_the_counter_is_a_whole_number_of_microjoules_and_no_reading_is_beyond_it(
            n in 0_u8..32, raw in any::<u32>(), multiple in any::<bool>(),
        ) {
            let unit = if multiple { Unit::Multiple(n) } else { Unit::Fraction(n) };
            prop_assert!(unit.microjoules(raw) < unit.modulus());
            if !multiple {
                // 2^32 units of 2^-n J, in µJ: no remainder.
                prop_assert_eq!(u128::from(unit.modulus()) << n, u128::from(MICRO) << 32);
            }
        }
    }
}
