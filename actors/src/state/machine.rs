// SPDX-License-Identifier: Apache-2.0
//! Which machine this is, so that no floor is used on another one.
//!
//! The identity is the firmware's (the DMI system UUID, else a serial number of DMI or the device tree) with the
//! processor's model and the number of packages. It is not `/etc/machine-id`: that is on the disk, so it moves with a disk to
//! another machine and is in every clone of an image, and in a container it is the container's. A machine whose
//! firmware tells nothing of its own has no identity but what `state.machine` calls it; without that nothing is saved: a
//! wrong floor is worse than none.
//!
//! What can change on one machine and changes its power at rest (microcode, firmware, kernel, threads, memory) is not in the
//! identity but beside it: after such a change the old floor is most likely nearly right, and is kept as a prior only.

use probe_workloads::Machine;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// What its firmware calls it: `product_uuid 4c4c4544-…`.
    pub firmware: String,
    /// The processor: `Intel(R) Xeon(R) … x 2`.
    pub processor: String,
}

/// What power at rest also depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Conditions {
    /// Revision of the processor's microcode, as the kernel writes it.
    pub microcode: Option<String>,
    /// Version of the firmware (`bios_version`).
    pub firmware: Option<String>,
    /// Release of the kernel.
    pub kernel: Option<String>,
    /// Online hardware threads.
    pub threads: u64,
    /// Memory in whole GiB, because the kernel's own part of it differs from start to start. Not known of files that were
    /// saved before it was noted.
    pub memory_gib: Option<u64>,
}

/// Why a machine cannot be told from others.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this machine cannot be told from others: {0}; learned idle floors are not saved (run as root, in a container with the host's /sys, or set state.machine to a name that no other machine has)"
)]
pub struct Unidentified(String);

/// Where a machine's own number may be, below `/sys`, best first.
const NUMBERS: [&str; 4] = [
    "class/dmi/id/product_uuid",
    "class/dmi/id/product_serial",
    "class/dmi/id/board_serial",
    "firmware/devicetree/base/serial-number",
];
/// Longest number that is taken; SMBIOS strings are shorter.
const LONGEST: usize = 128;
/// What vendors ship where a number should be, without signs and in lower case. The last two are UUIDs out of
/// a firmware kit that many boards were sold with.
const PLACEHOLDERS: [&str; 14] = [
    "none",
    "na",
    "unknown",
    "default",
    "defaultstring",
    "notspecified",
    "notsettable",
    "notapplicable",
    "notavailable",
    "systemserialnumber",
    "baseboardserialnumber",
    "tobefilledbyoem",
    "03000200040005000006000700080009",
    "00020003000400050006000700080009",
];

impl Identity {
    /// Takes the name that it was given, else reads its number below `sys`.
    ///
    /// # Errors
    /// When nothing there is this machine's alone.
    pub fn read(name: &str, sys: &Path, machine: &Machine) -> Result<Self, Unidentified> {
        if !name.is_empty() {
            return Ok(Self {
                firmware: format!("state.machine {name}"),
                processor: processor(machine),
            });
        }
        let mut why = Vec::new();
        for name in NUMBERS {
            match line(&sys.join(name)) {
                Ok(text) if is_a_number(&text) => {
                    let short = name.rsplit('/').next().unwrap_or(name);
                    return Ok(Self {
                        firmware: format!("{short} {text}"),
                        processor: processor(machine),
                    });
                }
                Ok(text) => why.push(format!("{name} is {text:?}")),
                Err(error) => why.push(format!("{name}: {error}")),
            }
        }
        Err(Unidentified(why.join(", ")))
    }
}

impl Conditions {
    /// Reads them below `sys`; what is not there stays unknown.
    #[must_use]
    pub fn read(sys: &Path, machine: &Machine) -> Self {
        let read = |name: &str| line(&sys.join(name)).ok().filter(|text| !text.is_empty());
        Self {
            microcode: read("devices/system/cpu/cpu0/microcode/version"),
            firmware: read("class/dmi/id/bios_version"),
            kernel: machine.kernel_release.clone(),
            threads: u64::try_from(machine.threads()).unwrap_or(u64::MAX),
            memory_gib: machine.memory_bytes.map(gib),
        }
    }

    /// What is different from `then`, for people; empty where nothing is.
    #[must_use]
    pub fn changes_since(&self, then: &Self) -> String {
        let mut changed = Vec::new();
        for (name, old, new) in [
            ("microcode", &then.microcode, &self.microcode),
            ("firmware", &then.firmware, &self.firmware),
            ("kernel", &then.kernel, &self.kernel),
        ] {
            if old != new {
                changed.push(name);
            }
        }
        if then.threads != self.threads {
            changed.push("threads");
        }
        if then.memory_gib.is_some() && then.memory_gib != self.memory_gib {
            changed.push("memory");
        }
        changed.join(", ")
    }
}

/// The nearest number of GiB.
const fn gib(bytes: u64) -> u64 {
    bytes.saturating_add(1 << 29) >> 30
}

fn processor(machine: &Machine) -> String {
    let model = machine.model_name.as_deref().unwrap_or("unknown processor");
    format!("{model} x {}", machine.packages.len())
}

/// The first line, without what is around it. A device tree ends its texts with a NUL.
fn line(path: &Path) -> std::io::Result<String> {
    let bytes = std::fs::read(path)?;
    let text = String::from_utf8_lossy(&bytes);
    let first = text.lines().next().unwrap_or_default();
    Ok(first
        .trim_matches(|c: char| c.is_whitespace() || c == '\0')
        .to_owned())
}

/// Whether it is a number of one machine and not a vendor's word for none.
fn is_a_number(text: &str) -> bool {
    let signs: String = text
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let first = signs.chars().next();
    let varies = signs.chars().any(|c| Some(c) != first);
    let counts_up = "0123456789".starts_with(signs.as_str()) || "123456789".starts_with(signs.as_str());
    text.len() <= LONGEST
        && signs.len() >= 4
        && varies
        && !counts_up
        && signs.chars().any(|c| c.is_ascii_digit())
        && !PLACEHOLDERS.contains(&signs.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    fn sys(files: &[(&str, &str)]) -> TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        folder
    }

    fn identity(files: &[(&str, &str)]) -> Result<String, String> {
        Identity::read("", sys(files).path(), &Machine::default())
            .map(|found| found.firmware)
            .map_err(|error| error.to_string())
    }

    const UUID: &str = "class/dmi/id/product_uuid";
    const SERIAL: &str = "class/dmi/id/product_serial";
    const BOARD: &str = "class/dmi/id/board_serial";
    const TREE: &str = "firmware/devicetree/base/serial-number";

    #[test]
    fn the_best_number_that_is_one_names_the_machine() {
        let uuid = "4c4c4544-0035-3910-8056-b4c04f4d5132";
        let cases: [(&[(&str, &str)], &str); 4] = [
            (
                &[
                    (UUID, "4c4c4544-0035-3910-8056-b4c04f4d5132\n"),
                    (SERIAL, "5Q9V\n"),
                ],
                &format!("product_uuid {uuid}"),
            ),
            (
                &[
                    (UUID, "03000200-0400-0500-0006-000700080009\n"),
                    (SERIAL, "5Q9V2\n"),
                ],
                "product_serial 5Q9V2",
            ),
            (
                &[
                    (UUID, "ffffffff-ffff-ffff-ffff-ffffffffffff\n"),
                    (SERIAL, "To Be Filled By O.E.M.\n"),
                    (BOARD, "/5Q9V2/CN7\n"),
                ],
                "board_serial /5Q9V2/CN7",
            ),
            (&[(TREE, "10000000abcdef01\0")], "serial-number 10000000abcdef01"),
        ];
        for (files, expected) in cases {
            assert_eq!(identity(files).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn a_vendors_word_for_no_number_names_nothing() {
        for text in [
            "",
            "\n",
            "0",
            "00000000-0000-0000-0000-000000000000",
            "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
            "03000200-0400-0500-0006-000700080009",
            "00020003-0004-0005-0006-000700080009",
            "Default string",
            "To be filled by O.E.M.",
            "System Serial Number",
            "Not Specified",
            "0123456789",
            "123456789",
            "N/A",
            "None",
            "xxxxxxxx",
            "Chassis Serial",
        ] {
            assert!(!is_a_number(text), "{text:?}");
            let error = identity(&[(UUID, text)]).expect_err(text);
            assert!(error.contains("run as root"), "{error}");
        }
        assert!(!is_a_number(&"a1".repeat(65)));
    }

    #[test]
    fn a_name_that_was_given_counts_before_what_firmware_says() {
        let folder = sys(&[(UUID, "4c4c4544-0035-3910-8056-b4c04f4d5132\n")]);
        let named = Identity::read("rack-7", folder.path(), &Machine::default()).expect("an identity");
        assert_eq!(named.firmware, "state.machine rack-7");
    }

    #[test]
    fn another_processor_is_another_machine_and_new_microcode_is_not() {
        let folder = sys(&[
            (UUID, "4c4c4544-0035-3910-8056-b4c04f4d5132\n"),
            ("devices/system/cpu/cpu0/microcode/version", "0x2b000571\n"),
            ("class/dmi/id/bios_version", "1.8.2\n"),
        ]);
        let machine = |model: &str, kernel: &str| Machine {
            model_name: Some(model.to_owned()),
            kernel_release: Some(kernel.to_owned()),
            ..Machine::default()
        };
        let read = |machine: &Machine| Identity::read("", folder.path(), machine).expect("an identity");
        let (old, new) = (machine("A", "6.1"), machine("A", "6.12"));
        assert_eq!(read(&old), read(&new));
        assert_ne!(read(&old), read(&machine("B", "6.1")));
        let then = Conditions::read(folder.path(), &old);
        assert_eq!(
            (then.microcode.as_deref(), then.firmware.as_deref()),
            (Some("0x2b000571"), Some("1.8.2"))
        );
        assert_eq!(then.changes_since(&then), "");
        let now = Conditions {
            microcode: Some("0x2b000590".to_owned()),
            threads: 7,
            ..Conditions::read(folder.path(), &new)
        };
        assert_eq!(now.changes_since(&then), "microcode, kernel, threads");
    }

    #[test]
    fn more_memory_is_a_change_and_a_few_megabytes_of_the_kernels_are_not() {
        let with = |bytes: Option<u64>| {
            let machine = Machine {
                memory_bytes: bytes,
                ..Machine::default()
            };
            Conditions::read(Path::new("/nonexistent"), &machine)
        };
        let changes = |then, now| with(now).changes_since(&with(then));
        let (small, same, large) = (Some(67_000_000_000), Some(66_900_000_000), Some(135_000_000_000));
        assert_eq!(with(small).memory_gib, Some(62));
        assert_eq!(changes(small, same), "");
        assert_eq!(changes(small, large), "memory");
        assert_eq!(changes(small, None), "memory");
        assert_eq!(changes(None, large), "", "an older file does not tell");
    }
}
