// SPDX-License-Identifier: Apache-2.0
//! `/proc/cpuinfo`: names, signature and the hypervisor flag. Its layout differs by architecture; topology is not taken from it.

use super::CpuSignature;

/// What the first processor's block says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CpuInfo {
    pub(super) vendor: Option<String>,
    pub(super) model_name: Option<String>,
    pub(super) signature: Option<CpuSignature>,
    /// Clock that the model name gives after `@`, in MHz.
    pub(super) nominal_mhz: Option<u32>,
    /// Whether the x86 flag is set; `None` where there is no such line.
    pub(super) hypervisor: Option<bool>,
}

impl CpuInfo {
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let field = |name: &str| {
            text.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                let value = value.trim();
                (key.trim() == name && !value.is_empty()).then_some(value)
            })
        };
        let implementer = field("CPU implementer");
        let vendor = field("vendor_id").or_else(|| implementer.map(implementer_name));
        let arm_part = || {
            let (implementer, part) = (implementer?, field("CPU part")?);
            Some(format!("implementer {implementer} part {part}"))
        };
        let model_name = field("model name").map(str::to_owned).or_else(arm_part);
        let decimal = |name: &str| field(name)?.parse().ok();
        let hexadecimal = |name: &str| u32::from_str_radix(field(name)?.strip_prefix("0x")?, 16).ok();
        let of_x86 = || {
            Some(CpuSignature::X86 {
                family: decimal("cpu family")?,
                model: decimal("model")?,
                stepping: decimal("stepping")?,
            })
        };
        let of_arm = || {
            Some(CpuSignature::Arm {
                implementer: hexadecimal("CPU implementer")?,
                part: hexadecimal("CPU part")?,
            })
        };
        Self {
            vendor: vendor.map(str::to_owned),
            signature: of_x86().or_else(of_arm),
            nominal_mhz: model_name.as_deref().and_then(clock_in_name),
            model_name,
            hypervisor: field("flags")
                .map(|flags| flags.split_ascii_whitespace().any(|flag| flag == "hypervisor")),
        }
    }
}

/// Codes of MIDR_EL1 (arch/arm64/include/asm/cputype.h); an unknown one stays as it is.
fn implementer_name(code: &str) -> &str {
    match code {
        "0x41" => "ARM",
        "0x42" => "Broadcom",
        "0x43" => "Cavium",
        "0x46" => "Fujitsu",
        "0x48" => "HiSilicon",
        "0x4e" => "NVIDIA",
        "0x50" => "APM",
        "0x51" => "Qualcomm",
        "0x61" => "Apple",
        "0x6d" => "Microsoft",
        "0xc0" => "Ampere",
        other => other,
    }
}

/// `… @ 2.10GHz` as MHz, in integers: 2.10 is not a binary fraction.
fn clock_in_name(name: &str) -> Option<u32> {
    let clock = name.rsplit_once('@')?.1.trim().strip_suffix("GHz")?;
    let (whole, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
    let whole: u32 = whole.parse().ok()?;
    whole.checked_mul(1_000)?.checked_add(digits.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_intel_name_gives_the_nominal_clock() {
        let text = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) Gold 6130 CPU @ 2.10GHz\n\
            cpu MHz\t\t: 3700.000\nflags\t\t: fpu vme\n\nprocessor\t: 1\nvendor_id\t: Other\n";
        let info = CpuInfo::parse(text.as_bytes());
        assert_eq!(info.vendor.as_deref(), Some("GenuineIntel"));
        assert_eq!(info.nominal_mhz, Some(2_100));
        assert_eq!(info.hypervisor, Some(false));
        assert_eq!(clock_in_name("x @ 3GHz"), Some(3_000));
        assert_eq!(clock_in_name("x @ 2.667GHz"), Some(2_667));
        assert_eq!(clock_in_name("AMD EPYC 7763 64-Core Processor"), None);
    }

    #[test]
    fn the_signature_of_x86_is_whole_or_not_there() {
        let signature = |text: &str| CpuInfo::parse(text.as_bytes()).signature;
        let whole = "cpu family\t: 25\nmodel\t\t: 1\nmodel name\t: AMD EPYC Processor\nstepping\t: 1\n";
        let (family, model, stepping) = (25, 1, 1);
        assert_eq!(
            signature(whole),
            Some(CpuSignature::X86 {
                family,
                model,
                stepping
            })
        );
        assert_eq!(
            signature("cpu family : 25\nmodel name : AMD EPYC Processor\nstepping : unknown\n"),
            None
        );
        assert_eq!(
            signature("cpu family : 25\nmodel : 1\nstepping : unknown\n"),
            None
        );
    }

    #[test]
    fn the_hypervisor_flag_is_a_word_not_a_part_of_one() {
        let flag = |flags: &str| CpuInfo::parse(format!("flags\t: {flags}\n").as_bytes()).hypervisor;
        assert_eq!(flag("fpu hypervisor lahf_lm"), Some(true));
        assert_eq!(flag("fpu hypervisors"), Some(false));
        assert_eq!(CpuInfo::parse(b"processor : 0\n").hypervisor, None);
    }

    #[test]
    fn arm_has_implementer_and_part() {
        let info =
            CpuInfo::parse(b"processor\t: 0\nFeatures\t: fp\nCPU implementer\t: 0xc0\nCPU part\t: 0xac3\n");
        assert_eq!(info.vendor.as_deref(), Some("Ampere"));
        assert_eq!(info.model_name.as_deref(), Some("implementer 0xc0 part 0xac3"));
        let (implementer, part) = (0xc0, 0xac3);
        assert_eq!(info.signature, Some(CpuSignature::Arm { implementer, part }));
        assert_eq!(info.hypervisor, None);
    }
}
