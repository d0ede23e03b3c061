// SPDX-License-Identifier: Apache-2.0
//! What sources over the kernel's hwmon class share: chips below a root, the channels that their files make, and zones
//! that hold one channel or several.
//!
//! Which chip is what part of a machine is not known here: that is what the sources are for (`hwmon`, `acpi`, GPUs).
//! Units and names are those of Documentation/hwmon/sysfs-interface.rst.

pub(crate) mod acpi;
pub(crate) mod channel;
pub(crate) mod chip;
pub(crate) mod panel;
pub(crate) mod pattern;
#[cfg(test)]
mod tests;
