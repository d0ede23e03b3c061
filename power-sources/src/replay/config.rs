// SPDX-License-Identifier: Apache-2.0
//! The section `sources.replay`: owns its keys, defaults and ranges.

use super::NAME;
use crate::SourceOpenError;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Section `sources.replay`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReplayConfig {
    /// What `kepler record` wrote. Empty for none.
    pub file: PathBuf,
    /// Whether it begins again when it has ended.
    pub r#loop: bool,
    /// Recorded seconds in one second. Energy is what it was, so twice the speed is twice the power.
    pub speed: f64,
}

impl Default for ReplayConfig {
    fn default() -> Self {
        Self {
            file: PathBuf::new(),
            r#loop: false,
            speed: 1.0,
        }
    }
}

/// Speeds at which a window still holds a reading now and then, and not thousands of them.
const SPEEDS: [f64; 2] = [0.01, 100.0];

impl ReplayConfig {
    /// Checks what types cannot.
    pub(super) fn check(&self) -> Result<(), SourceOpenError> {
        let [least, most] = SPEEDS;
        if (least..=most).contains(&self.speed) {
            return Ok(());
        }
        let problem = format!("is {}; from {least} to {most} are allowed", self.speed);
        crate::refuse(NAME, "speed", problem)
    }
}
