// SPDX-License-Identifier: Apache-2.0
//! The section `[estimator]`: owns its keys, their ranges and what they mean together.

use super::files::ModelPaths;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use std::path::PathBuf;

/// Section `[estimator]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EstimatorConfig {
    /// The machine, where it cannot tell itself.
    pub machine: MachineConfig,
    /// Models out of files.
    pub models: ModelsConfig,
}

/// `estimator.models`: files with models for some of the figures, in place of the built-in one. Empty: the built-in one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelsConfig {
    /// For packages.
    pub package: PathBuf,
    /// For memory.
    pub dram: PathBuf,
    /// For the whole machine.
    pub platform: PathBuf,
}

impl ModelsConfig {
    /// The files that are named.
    pub(super) fn paths(&self) -> ModelPaths {
        let named = |path: &PathBuf| Some(path.clone()).filter(|path| !path.as_os_str().is_empty());
        ModelPaths {
            package: named(&self.package),
            dram: named(&self.dram),
            platform: named(&self.platform),
        }
    }
}

/// `estimator.machine`: what is said of the machine. In a guest, the host that it shares; elsewhere, this machine, over what it tells of
/// itself. Empty and 0: not said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MachineConfig {
    /// `intel` or `amd`.
    pub vendor: String,
    /// The CPU's name, such as `AMD EPYC 7763`.
    pub cpu: String,
    /// The year in which this hardware was sold.
    #[serde(deserialize_with = "whole::<_, _, 1990, 2100>")]
    pub year: u16,
    /// Sockets.
    #[serde(deserialize_with = "whole::<_, _, 1, 256>")]
    pub chips: u32,
    /// Cores of all sockets.
    #[serde(deserialize_with = "whole::<_, _, 1, 65_536>")]
    pub cores: u32,
    /// Hardware threads of all sockets.
    #[serde(deserialize_with = "whole::<_, _, 1, 65_536>")]
    pub threads: u32,
    /// Nominal clock.
    #[serde(deserialize_with = "whole::<_, _, 100, 10_000>")]
    pub base_mhz: u32,
    /// Thermal design power of one socket.
    #[serde(deserialize_with = "number::<_, 1, 5_000>")]
    pub tdp_watts_per_chip: f64,
    /// Memory of the machine.
    #[serde(deserialize_with = "number::<_, 0, 1_048_576>")]
    pub memory_gib: f64,
}

/// A whole number from `LOW` to `HIGH`, or 0.
fn whole<'de, D: Deserializer<'de>, T: TryFrom<u64>, const LOW: u64, const HIGH: u64>(
    from: D,
) -> Result<T, D::Error> {
    let allowed = || {
        D::Error::custom(format!(
            "expected a whole number from {LOW} to {HIGH}, or 0 for not known"
        ))
    };
    let given = u64::deserialize(from).map_err(|_other_type| allowed())?;
    if given != 0 && !(LOW..=HIGH).contains(&given) {
        return Err(allowed());
    }
    T::try_from(given).map_err(|_too_large| allowed())
}

/// A number from `LOW` to `HIGH`, or 0.
fn number<'de, D: Deserializer<'de>, const LOW: u32, const HIGH: u32>(from: D) -> Result<f64, D::Error> {
    let allowed = || {
        D::Error::custom(format!(
            "expected a number from {LOW} to {HIGH}, or 0 for not known"
        ))
    };
    let given = f64::deserialize(from).map_err(|_other_type| allowed())?;
    let within = given == 0.0 || (f64::from(LOW)..=f64::from(HIGH)).contains(&given);
    within.then_some(given).ok_or_else(allowed)
}
