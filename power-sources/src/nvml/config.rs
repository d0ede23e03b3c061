// SPDX-License-Identifier: Apache-2.0
//! The section `sources.nvml`: owns its keys, defaults and ranges.

use super::NAME;
use crate::SourceOpenError;
use crate::lasting::Lasting;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

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
    /// Shortest time between two readings, from 100 ms to 1 min. On an H100 one costs 6 to 14 ms of CPU time per GPU, nearly all of it
    /// inside the driver, so a shorter tick does not ask more often: it repeats the last reading with its moment.
    pub interval: Lasting,
    /// Highest plausible power of one GPU in watts; 0 takes four times the highest limit that its board can be set to
    /// (counters move in steps, so a short tick may see two of them), or 4000 W where it does not tell.
    pub max_watts: u32,
}

impl Default for NvmlConfig {
    fn default() -> Self {
        Self {
            library: PathBuf::new(),
            root: PathBuf::from("/proc/driver/nvidia/gpus"),
            interval: Lasting::seconds(1),
            max_watts: 0,
        }
    }
}

impl NvmlConfig {
    /// A board that draws more than this is more than one GPU.
    const HIGHEST: u32 = 100_000;
    /// The driver moves the energy counter every 100 ms (H100, driver 580).
    const INTERVAL: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(60)];

    /// Checks what types cannot.
    pub(super) fn check(&self) -> Result<(), SourceOpenError> {
        let refuse = |key, problem| crate::refuse(NAME, key, problem);
        if self.root.as_os_str().is_empty() {
            let default = Self::default().root;
            return refuse("root", format!("is empty; the default is {}", default.display()));
        }
        self.interval.within(Self::INTERVAL, NAME, "interval")?;
        if self.max_watts > Self::HIGHEST {
            let (given, highest) = (self.max_watts, Self::HIGHEST);
            return refuse("max_watts", format!("is {given}; the most is {highest}"));
        }
        Ok(())
    }
}
