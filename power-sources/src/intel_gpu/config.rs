// SPDX-License-Identifier: Apache-2.0
//! The section `sources.intel`: owns its keys.

use super::NAME;
use crate::SourceOpenError;
use crate::drm::config::{self, MAX_WATTS, PROC, ROOT, SCAN_DEFAULT};
use crate::drm::source::Settings;
use crate::lasting::Lasting;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Section `sources.intel`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IntelConfig {
    /// The folder with `card0` and its likes.
    pub root: PathBuf,
    /// Where processes are, by their pids on the host.
    pub proc: PathBuf,
    /// How often a process is looked at that was there all the time, from 1 s to 5 min.
    pub scan: Lasting,
    /// Highest plausible power of a card in watts, from 1 to 100000; a step of its counter beyond it is dropped.
    pub max_watts: u32,
}

impl Default for IntelConfig {
    fn default() -> Self {
        Self {
            root: PathBuf::from(ROOT),
            proc: PathBuf::from(PROC),
            scan: SCAN_DEFAULT,
            max_watts: MAX_WATTS,
        }
    }
}

impl IntelConfig {
    /// Checks what types cannot.
    pub(super) fn settings(&self) -> Result<Settings, SourceOpenError> {
        config::check(NAME, &self.root, &self.proc, self.scan, self.max_watts)
    }
}
