// SPDX-License-Identifier: Apache-2.0
//! What the sections of all GPUs below DRM have in common: owns defaults and ranges. Which keys there are is said in
//! each section's own file, so that a wrong one is refused with the name of its section.

use super::source::Settings;
use crate::SourceOpenError;
use crate::lasting::Lasting;
use std::path::PathBuf;
use std::time::Duration;

/// `/sys/class/drm`.
pub(crate) const ROOT: &str = "/sys/class/drm";
/// `/proc`.
pub(crate) const PROC: &str = "/proc";
/// Highest plausible power of a card in watts: the largest accelerator modules are sold with 1400 W (AMD Instinct MI355X),
/// and power supplies of such cards take twice that for a moment.
pub(crate) const MAX_WATTS: u32 = 3_000;
/// A card that draws more is none.
const HIGHEST_WATTS: u32 = 100_000;

/// How often a process is looked at that was there all the time.
const SCAN: [Duration; 2] = [
    Duration::from_secs(1),
    // Half of what a file is remembered for that nobody seems to hold.
    Duration::from_secs(300),
];
/// The same by default.
pub(crate) const SCAN_DEFAULT: Lasting = Lasting::seconds(10);

/// Checks what types cannot.
pub(crate) fn check(
    name: &'static str,
    root: &PathBuf,
    proc: &PathBuf,
    scan: Lasting,
    max_watts: u32,
) -> Result<Settings, SourceOpenError> {
    let refuse = |key, problem| SourceOpenError::Value { name, key, problem };
    for (key, path, default) in [("root", root, ROOT), ("proc", proc, PROC)] {
        if path.as_os_str().is_empty() {
            return Err(refuse(key, format!("is empty; the default is {default}")));
        }
    }
    if !(1..=HIGHEST_WATTS).contains(&max_watts) {
        let problem =
            format!("is {max_watts} W; it is from 1 to {HIGHEST_WATTS} W, the default is {MAX_WATTS}");
        return Err(refuse("max_watts", problem));
    }
    scan.within(SCAN, name, "scan")?;
    Ok(Settings {
        root: root.clone(),
        proc: proc.clone(),
        scan: scan.0,
        max_watts,
    })
}
