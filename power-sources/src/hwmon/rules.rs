// SPDX-License-Identifier: Apache-2.0
//! What is known about chips: owns the built-in rules and the verdict on one channel. Pure, and reads nothing.
//!
//! A chip that no rule names is counted as nothing: a NIC, a drive or a power supply that was taken for the CPU would be
//! billed to workloads, and one that is missed is seen at once.

use crate::sensors::acpi::Rail;
use crate::sensors::pattern::matches;
use attribution::model::{Component, PackageId, Place};

/// Where a channel of a known chip is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    /// The first chip of this name, in the order of devices, is socket 0, the second socket 1.
    ChipBySocket,
    /// The number at the end of the label.
    NumberInLabel,
    /// The only socket.
    Socket0,
    /// Called by its label.
    Label,
}

/// What a channel of a known chip is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Zone(Component, Where),
    /// Known, and not counted here.
    Nothing,
}

/// One built-in rule.
struct Builtin {
    chip: &'static str,
    label: &'static str,
    known: Known,
}

const fn zone(chip: &'static str, label: &'static str, component: Component, place: Where) -> Builtin {
    Builtin {
        chip,
        label,
        known: Known::Zone(component, place),
    }
}

const fn not(chip: &'static str, label: &'static str) -> Builtin {
    Builtin {
        chip,
        label,
        known: Known::Nothing,
    }
}

/// What is built in; the first match decides. Their order is also the order of preference where two chips are about one
/// zone (see `plan.rs`).
///
/// - `apm_xgene` (drivers/hwmon/xgene-hwmon.c; Ampere eMAG, Altra: a device APMC0D29 for each socket): "CPU power" is the CPU's
///   rail. "IO power" is that of the SoC's I/O (PCIe, memory controllers): what it holds differs by part, no other package
///   figure has its like, and it is not driven by CPU time; a rule can add it.
/// - `amd_energy` (Documentation/hwmon/amd_energy.rst, Linux 5.8 to 5.12 and out of tree): `EsocketN` is socket N; `EcoreNNN` are
///   single cores and inside it.
/// - `amd_hsmp_hwmon` (drivers/platform/x86/amd/hsmp/hwmon.c): one chip for each socket in their order, its power1 the
///   socket's.
/// - `fam15h_power` (Documentation/hwmon/fam15h_power.rst): power1 is the processor's; the device is function 4 of the node, so
///   they come in the order of nodes.
/// - `ina3221` on NVIDIA Jetson (labels of the device trees tegra194 to tegra264; "Jetson Linux Developer Guide", Platform Power
///   and Performance, Software-Based Power Consumption Modeling). VDD_IN and POM_5V_IN are the input of the whole module. A rail
///   that feeds CPU and GPU (VDD_CPU_GPU_CV) or CPU and accelerators (VDD_CPU_CV, VDD_CPU_SOC_MSS) cannot be split and is
///   counted once, as the package, for CPU time can pay for it; one that feeds GPU and SoC (VDD_GPU_SOC) as the GPU.
///   VDDQ_VDD2_1V8AO, VDDRQ and VDD_SYS_DDR feed the memory. VDD_SOC, CV, VIN_SYS_5V0 and the rest are parts that no component
///   stands for: not counted, unless a rule says so. AGX modules have no rail for the whole, so there is no platform.
const BUILTIN: &[Builtin] = &[
    zone("apm_xgene", "CPU power", Component::Package, Where::ChipBySocket),
    not("apm_xgene", "IO power"),
    zone("amd_energy", "Esocket*", Component::Package, Where::NumberInLabel),
    not("amd_energy", "Ecore*"),
    zone(
        "amd_hsmp_hwmon",
        "power1",
        Component::Package,
        Where::ChipBySocket,
    ),
    zone(
        "amd_hsmp_hwmon",
        "pinput",
        Component::Package,
        Where::ChipBySocket,
    ),
    zone("fam15h_power", "power1", Component::Package, Where::ChipBySocket),
    zone("ina3221", "VDD_IN", Component::Platform, Where::Label),
    zone("ina3221", "POM_5V_IN", Component::Platform, Where::Label),
    zone("ina3221", "*CPU*", Component::Package, Where::Socket0),
    zone("ina3221", "*GPU*", Component::Gpu, Where::Label),
    zone("ina3221", "*DDR*", Component::Dram, Where::Socket0),
    zone("ina3221", "VDDQ_VDD2_1V8AO", Component::Dram, Where::Socket0),
    not("ina3221", "NC"),
    // GPUs have sources of their own, which know who used them; i915 has a chip for each tile, too.
    not("amdgpu", "*"),
    not("i915*", "*"),
    not("xe", "*"),
    // The machine's meter: source `acpi`.
    not("power_meter", "*"),
    // A power_supply's hwmon chip: source `battery`.
    not("BAT*", "*"),
];

/// What a channel is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// To be counted here. `rank` orders chips that are about one zone; lower goes before.
    Zone {
        /// What it meters.
        component: Component,
        /// Where.
        place: Place,
        /// The chip's place in the table.
        rank: usize,
    },
    /// Known, and not counted here.
    Nothing,
    /// No rule names it.
    Unnamed,
}

/// The verdict of the built-in rules on the channel `label` of a chip `name` that is the `nth` of its name.
pub(super) fn builtin(name: &str, nth: usize, label: &str) -> Verdict {
    let known = BUILTIN
        .iter()
        .find(|rule| matches(rule.chip, name) && matches(rule.label, label));
    let Some(rule) = known else {
        return Verdict::Unnamed;
    };
    let Known::Zone(component, place) = rule.known else {
        return Verdict::Nothing;
    };
    let socket = |number: Option<u16>| number.map(|number| Place::socket(PackageId(number)));
    let place = match place {
        Where::ChipBySocket => socket(u16::try_from(nth).ok()),
        Where::NumberInLabel => socket(number_at_the_end(label)),
        Where::Socket0 => socket(Some(0)),
        Where::Label => Some(Place::Named(label.into())),
    };
    // Rules of one chip have one rank.
    let rank = BUILTIN.iter().position(|one| one.chip == rule.chip);
    match place.zip(rank) {
        Some((place, rank)) => Verdict::Zone {
            component,
            place,
            rank,
        },
        None => Verdict::Unnamed,
    }
}

/// `Esocket1` is 1.
fn number_at_the_end(label: &str) -> Option<u16> {
    let head = label.trim_end_matches(|sign: char| sign.is_ascii_digit());
    label.strip_prefix(head)?.parse().ok()
}

/// What a meter of an NVIDIA Grace is. `has_total` says whether this socket has a meter of its whole (`Grace Power`).
///
/// Module holds Grace, and Grace holds CPU and SysIO, its memory and the losses of its regulators (NVIDIA Grace Performance
/// Tuning Guide, Power Telemetry): so Grace is the package, CPU and SysIO are parts of it, and there is no DRAM beside it. Without
/// Grace the package is the sum of those two, as far as they are there.
pub(super) const fn grace(rail: Rail, has_total: bool) -> Option<Component> {
    Some(match rail {
        Rail::Module => Component::Platform,
        Rail::Grace => Component::Package,
        Rail::Cpu if has_total => Component::Core,
        Rail::SysIo if has_total => Component::Uncore,
        Rail::Cpu | Rail::SysIo => Component::Package,
        Rail::Unknown => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(name: &str, nth: usize, label: &str) -> String {
        match builtin(name, nth, label) {
            Verdict::Zone { component, place, .. } => format!("{}/{place}", component.name()),
            Verdict::Nothing => "nothing".to_owned(),
            Verdict::Unnamed => "unnamed".to_owned(),
        }
    }

    #[test]
    fn what_is_built_in() {
        for (name, nth, label, expected) in [
            ("apm_xgene", 0, "CPU power", "package/socket0"),
            ("apm_xgene", 1, "CPU power", "package/socket1"),
            ("apm_xgene", 0, "IO power", "nothing"),
            ("amd_energy", 0, "Esocket1", "package/socket1"),
            ("amd_energy", 0, "Ecore001", "nothing"),
            ("amd_energy", 0, "Esocket", "unnamed"),
            ("amd_energy", 0, "Esocket99999", "unnamed"),
            ("amd_hsmp_hwmon", 1, "power1", "package/socket1"),
            ("fam15h_power", 0, "power1", "package/socket0"),
            // Jetson: Nano, TX2, Xavier NX, AGX Xavier, Orin NX, AGX Orin, Thor.
            ("ina3221", 0, "POM_5V_IN", "platform/POM_5V_IN"),
            ("ina3221", 0, "POM_5V_CPU", "package/socket0"),
            ("ina3221", 0, "POM_5V_GPU", "gpu/POM_5V_GPU"),
            ("ina3221", 0, "VDD_IN", "platform/VDD_IN"),
            ("ina3221", 1, "VDD_SYS_CPU", "package/socket0"),
            ("ina3221", 0, "VDD_SYS_GPU", "gpu/VDD_SYS_GPU"),
            ("ina3221", 0, "VDD_SYS_DDR", "dram/socket0"),
            ("ina3221", 0, "VDD_SYS_SOC", "unnamed"),
            ("ina3221", 0, "VDD_MUX", "unnamed"),
            ("ina3221", 0, "VDD_CPU_GPU_CV", "package/socket0"),
            ("ina3221", 0, "VDD_SOC", "unnamed"),
            ("ina3221", 0, "CPU", "package/socket0"),
            ("ina3221", 0, "GPU", "gpu/GPU"),
            ("ina3221", 0, "CV", "unnamed"),
            ("ina3221", 0, "VDDRQ", "dram/socket0"),
            ("ina3221", 0, "SYS5V", "unnamed"),
            ("ina3221", 0, "VDD_CPU_CV", "package/socket0"),
            ("ina3221", 0, "VDD_GPU_SOC", "gpu/VDD_GPU_SOC"),
            ("ina3221", 0, "VIN_SYS_5V0", "unnamed"),
            ("ina3221", 1, "VDDQ_VDD2_1V8AO", "dram/socket0"),
            ("ina3221", 0, "VDD_CPU_SOC_MSS", "package/socket0"),
            ("ina3221", 0, "NC", "nothing"),
            ("ina3221", 0, "sum of shunt voltages", "unnamed"),
            // Another source's.
            ("amdgpu", 0, "PPT", "nothing"),
            ("i915_gt0", 0, "energy1", "nothing"),
            ("xe", 0, "pkg", "nothing"),
            ("power_meter", 0, "power1", "nothing"),
            ("BAT0", 0, "power1", "nothing"),
        ] {
            assert_eq!(shown(name, nth, label), expected, "{name} {label}");
        }
    }

    #[test]
    fn no_chip_of_something_else_is_ever_part_of_a_cpu_whatever_its_label() {
        let chips = [
            "mlx5",
            "nvme",
            "BAT0",
            "BAT1",
            "corsairpsu",
            "pmbus",
            "ucsi_source_psy_USBC000:001",
            "ina226",
            "ina2xx",
            "ina238",
            "ina219",
            "amdgpu",
            "i915",
            "i915_gt0",
            "xe",
            "nouveau",
            "power_meter",
            "r8169",
            "ixgbe",
            "bnxt_en",
            "drivetemp",
            "nct6775",
            "dell_smm",
            "thinkpad",
            "acpitz",
            "k10temp",
            "coretemp",
            "spd5118",
            "jc42",
            "AC",
            "ADP1",
            "hidpp_battery_0",
            "tps546d24",
            "max34451",
            "adm1278",
            "ltc2945",
            "scmi_sensors",
            "scpi_sensors",
            "apm_xgene2",
            "xina3221",
            "",
        ];
        let labels = [
            "CPU power",
            "Esocket0",
            "power1",
            "pinput",
            "VDD_CPU",
            "CPU",
            "package",
            "energy1",
            "PPT",
            "pkg",
            "VDD_IN",
            "",
            "Package id 0",
            "vcore",
            "socket0",
        ];
        for chip in chips {
            for label in labels {
                let verdict = builtin(chip, 0, label);
                assert!(
                    !matches!(verdict, Verdict::Zone { .. }),
                    "{chip} {label}: {verdict:?}"
                );
            }
        }
    }

    #[test]
    fn every_built_in_rule_is_reached() {
        for (index, rule) in BUILTIN.iter().enumerate() {
            let (chip, label) = (rule.chip.replace('*', "0"), rule.label.replace('*', "0"));
            let first = BUILTIN
                .iter()
                .position(|one| matches(one.chip, &chip) && matches(one.label, &label));
            assert_eq!(first, Some(index), "{chip} {label}");
        }
    }

    #[test]
    fn what_holds_what_on_a_grace() {
        for (rail, with, without) in [
            (Rail::Module, Some(Component::Platform), Some(Component::Platform)),
            (Rail::Grace, Some(Component::Package), Some(Component::Package)),
            (Rail::Cpu, Some(Component::Core), Some(Component::Package)),
            (Rail::SysIo, Some(Component::Uncore), Some(Component::Package)),
            (Rail::Unknown, None, None),
        ] {
            assert_eq!(
                (grace(rail, true), grace(rail, false)),
                (with, without),
                "{rail:?}"
            );
        }
    }
}
