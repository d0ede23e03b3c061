// SPDX-License-Identifier: Apache-2.0
//! The section `sources.nvml`: owns its keys, defaults and ranges.

use super::NAME;
use crate::SourceOpenError;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Section `sources.nvml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NvmlConfig {
    /// The file of NVIDIA's management library. Empty: `libnvidia-ml.so.1` where the loader finds it, then where
    /// containers usually have it.
    pub library: PathBuf,
    /// The driver's folder with one entry per GPU. When its entries change, the library is opened again, because it does
    /// not notice GPUs that come. A folder that is not there says nothing.
    pub root: PathBuf,
    /// Highest plausible power of one GPU in watts; 0 takes four times the highest limit that its board can be set to
    /// (counters move in steps, so a short tick may see two of them), or 4000 W where it does not tell.
    pub max_watts: u32,
}

impl Default for NvmlConfig {
    fn default() -> Self {
        Self {
            library: PathBuf::new(),
            root: PathBuf::from("/proc/driver/nvidia/gpus"),
            max_watts: 0,
        }
    }
}

impl NvmlConfig {
    /// A board that draws more than this is more than one GPU.
    const HIGHEST: u32 = 100_000;

    /// Checks what types cannot.
    pub(super) fn check(&self) -> Result<(), SourceOpenError> {
        let refuse = |key, problem| {
            Err(SourceOpenError::Value {
                name: NAME,
                key,
                problem,
            })
        };
        if self.root.as_os_str().is_empty() {
            let default = Self::default().root;
            return refuse("root", format!("is empty; the default is {}", default.display()));
        }
        if self.max_watts > Self::HIGHEST {
            let (given, highest) = (self.max_watts, Self::HIGHEST);
            return refuse("max_watts", format!("is {given}; the most is {highest}"));
        }
        Ok(())
    }
}
