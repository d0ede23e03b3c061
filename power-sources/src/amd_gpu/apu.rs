// SPDX-License-Identifier: Apache-2.0
//! Whether a GPU shares its chip with the CPU: a pure verdict over what the driver says about it.
//!
//! | what is known                                        | verdict                                                          |
//! |------------------------------------------------------|------------------------------------------------------------------|
//! | PCI device 74a0 (Instinct MI300A)                    | APU: it has the tables of its sister without a CPU (MI300X)      |
//! | `gpu_metrics`, format 1                              | discrete                                                         |
//! | `gpu_metrics`, format 2 or 3                         | APU                                                              |
//! | `gpu_metrics`, another format                        | unknown; left out as an APU is, since counting twice is worse    |
//! | no `gpu_metrics`, `power1_label` slowPPT or fastPPT  | APU: only Van Gogh names its power so                            |
//! | no `gpu_metrics` otherwise                           | discrete: the APUs without it (before Renoir) show no power      |
//!
//! The formats are those of `struct metrics_table_header` and `gpu_metrics_vX_Y` in
//! drivers/gpu/drm/amd/include/kgd_pp_interface.h: all of 1 have the fields of a card, those of 2 and 3 a CPU's cores. That
//! APUs before Renoir show no power, and who shows labels, is `hwmon_attributes_visible` in
//! drivers/gpu/drm/amd/pm/amdgpu_pm.c.

use std::fmt;

/// Data-centre APUs that show themselves as cards do.
const APUS: [u16; 1] = [0x74a0];
/// `structure_size` (little-endian), `format_revision`, `content_revision`.
const HEADER: usize = 4;

/// What a GPU is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chip {
    /// A chip of its own.
    Discrete,
    /// One chip with the CPU, and why we think so.
    Apu(Evidence),
    /// A format that is not known.
    Unknown {
        /// Its number.
        format: u8,
    },
}

/// What says that it is an APU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// The PCI device.
    Device,
    /// The format of its metrics.
    Format(u8),
    /// The name of its power.
    Label,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device => f.write_str("by its PCI device"),
            Self::Format(format) => write!(f, "by gpu_metrics format {format}"),
            Self::Label => f.write_str("by the label of its power"),
        }
    }
}

/// The verdict over the beginning of `gpu_metrics`, the PCI device and the label of the power, each if it is there.
pub(super) fn verdict(metrics: Option<&[u8]>, device: Option<u16>, label: Option<&str>) -> Chip {
    if device.is_some_and(|device| APUS.contains(&device)) {
        return Chip::Apu(Evidence::Device);
    }
    match metrics.and_then(format) {
        Some(1) => Chip::Discrete,
        Some(format @ (2 | 3)) => Chip::Apu(Evidence::Format(format)),
        Some(format) => Chip::Unknown { format },
        None if matches!(label, Some("slowPPT" | "fastPPT")) => Chip::Apu(Evidence::Label),
        None => Chip::Discrete,
    }
}

/// `None` for what is no such table: shorter than a header, or of a size that holds none.
fn format(metrics: &[u8]) -> Option<u8> {
    let [low, high, format, _content] = *metrics.first_chunk::<HEADER>()?;
    (usize::from(u16::from_le_bytes([low, high])) > HEADER).then_some(format)
}

/// `0x74a0`.
pub(super) fn device_id(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("0x")?;
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u16::from_str_radix(digits, 16).ok())?
}

/// For `crate::fuzz`: the beginning of `gpu_metrics`, a device's number, and the label of a power.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz_metrics(bytes: &[u8]) {
    let text = str::from_utf8(bytes).ok();
    let _chip = verdict(Some(bytes), text.and_then(device_id), text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn verdicts() {
        // sizes of gpu_metrics v1_3, v2_2 and v3_0, little-endian
        let dgpu: &[u8] = &[0x78, 0x00, 1, 3, 0xff];
        let (renoir, strix): (&[u8], &[u8]) = (&[0x80, 0x00, 2, 2], &[0x08, 0x01, 3, 0]);
        let apu = |evidence| Chip::Apu(evidence);
        for (metrics, device, label, expected) in [
            (Some(dgpu), Some(0x744c), Some("PPT"), Chip::Discrete),
            (Some(dgpu), Some(0x74a1), None, Chip::Discrete),
            (Some(dgpu), Some(0x74a0), None, apu(Evidence::Device)),
            (Some(renoir), Some(0x1636), Some("PPT"), apu(Evidence::Format(2))),
            (Some(strix), Some(0x150e), None, apu(Evidence::Format(3))),
            (Some(&[0x80, 0, 4, 0]), None, None, Chip::Unknown { format: 4 }),
            (Some(&[0x80, 0, 0, 0]), None, None, Chip::Unknown { format: 0 }),
            (None, Some(0x163f), Some("slowPPT"), apu(Evidence::Label)),
            (None, None, Some("fastPPT"), apu(Evidence::Label)),
            (None, Some(0x67df), Some("PPT"), Chip::Discrete),
            (None, None, None, Chip::Discrete),
            // No table at all.
            (Some(&[]), None, Some("slowPPT"), apu(Evidence::Label)),
            (Some(&[0x80, 0, 2]), None, None, Chip::Discrete),
            (Some(&[4, 0, 2, 2]), None, None, Chip::Discrete),
        ] {
            assert_eq!(
                verdict(metrics, device, label),
                expected,
                "{metrics:?} {device:?} {label:?}"
            );
        }
    }

    #[test]
    fn a_device_id_is_hex_of_16_bits() {
        assert_eq!(device_id("0x74a0"), Some(0x74a0));
        for text in ["74a0", "0x", "0x+4a0", "0x174a0", "0xg", ""] {
            assert_eq!(device_id(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(metrics in prop::collection::vec(any::<u8>(), 0..200), text in ".{0,10}") {
            let chip = verdict(Some(&metrics), device_id(&text), Some(&text));
            let long_enough = metrics.len() >= HEADER;
            prop_assert!(long_enough || chip == Chip::Discrete);
        }
    }
}
