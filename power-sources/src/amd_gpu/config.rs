// SPDX-License-Identifier: Apache-2.0
//! The section `sources.amd`: owns its keys.

use super::NAME;
use crate::SourceOpenError;
use crate::drm::config::{self, MAX_WATTS, PROC, ROOT, SCAN_DEFAULT};
use crate::drm::source::Settings;
use crate::lasting::Lasting;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Section `sources.amd`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AmdConfig {
    /// The folder with `card0` and its likes.
    pub root: PathBuf,
    /// Where processes are, by their pids on the host.
    pub proc: PathBuf,
    /// How often a process is looked at that was there all the time, from 1 s to 5 min.
    pub scan: Lasting,
    /// Highest plausible power of a card in watts, from 1 to 100000; a reading beyond it is refused.
    pub max_watts: u32,
    /// What to do with GPUs that share a chip with the CPU.
    pub apu: Apu,
}

/// What to do with APUs, whose power includes the CPU's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Apu {
    /// Leave them out: RAPL's package has the same energy.
    #[default]
    Ignore,
    /// Count them as GPUs, for machines where RAPL is not used.
    Count,
}

impl Default for AmdConfig {
    fn default() -> Self {
        Self {
            root: PathBuf::from(ROOT),
            proc: PathBuf::from(PROC),
            scan: SCAN_DEFAULT,
            max_watts: MAX_WATTS,
            apu: Apu::default(),
        }
    }
}

impl AmdConfig {
    /// Checks what types cannot.
    pub(super) fn settings(&self) -> Result<Settings, SourceOpenError> {
        config::check(NAME, &self.root, &self.proc, self.scan, self.max_watts)
    }
}
