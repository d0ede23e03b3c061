// SPDX-License-Identifier: Apache-2.0
//! Which machine a model is of, and whether another one is of its kind.

use crate::estimator::{MachineDescription, Signature, canonical};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A machine as a model file describes it. The names are those of the columns of published results, and of
/// `kepler estimate`. What is not known is left out, and then it is held against nobody.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Described {
    /// `GenuineIntel`, `AuthenticAMD`, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// The processor's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// The vendor's number of its family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<u32>,
    /// The vendor's number of its model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<u32>,
    /// Packages (sockets).
    pub chips: u32,
    /// Cores of all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<u32>,
    /// Hardware threads of all of them.
    pub threads: u32,
    /// Nominal clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_mhz: Option<u32>,
    /// Memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_gib: Option<f64>,
}

/// Why a model is not for a machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the model is of {model}, and this is {machine}: {what} differ; calibrate on a machine of this kind{}", guest(*is_guest))]
pub struct Mismatch {
    model: String,
    machine: String,
    what: &'static str,
    is_guest: bool,
}

/// What to do in a guest.
fn guest(is_guest: bool) -> &'static str {
    if is_guest {
        ", or, in a guest of such a machine, describe its host in estimator.machine"
    } else {
        ""
    }
}

/// Memory that differs by more than this is worth a word.
const OTHER_MEMORY: f64 = 0.25;

impl Described {
    /// Whether a model of this machine is one for `other`: the processor's name, chips and threads are the same, as far as both
    /// are known. Nothing is scaled: a machine with half of the threads does not use half of the watts, and how much it
    /// does use is what a calibration would have to say. Gives what is different and does not forbid it, in words.
    ///
    /// # Errors
    /// What differs.
    pub fn fits(&self, other: &Self, is_guest: bool) -> Result<Option<String>, Mismatch> {
        let refuse = |what| {
            Err(Mismatch {
                model: self.to_string(),
                machine: other.to_string(),
                what,
                is_guest,
            })
        };
        let names = [&self.cpu, &other.cpu].map(|name| name.as_deref().map(spelling));
        if let [Some(one), Some(two)] = names
            && one != two
        {
            return refuse("the processors");
        }
        if self.chips != other.chips {
            return refuse("the numbers of chips");
        }
        if self.threads != other.threads {
            return refuse("the numbers of hardware threads");
        }
        let (Some(had), Some(has)) = (self.memory_gib, other.memory_gib) else {
            return Ok(None);
        };
        let is_other = (has - had).abs() > OTHER_MEMORY * had;
        Ok(is_other.then(|| format!("made with {had:.0} GiB of memory, and here are {has:.0} GiB")))
    }
}

/// A name in one spelling; where nothing in it tells a model, without what spaces and letters' case say.
fn spelling(name: &str) -> String {
    let model = canonical(name);
    if model.is_empty() {
        return name
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .to_lowercase();
    }
    model
}

impl From<&MachineDescription> for Described {
    fn from(machine: &MachineDescription) -> Self {
        let (family, model) = match machine.signature {
            Some(Signature::X86 { family, model, .. }) => (Some(family), Some(model)),
            _ => (None, None),
        };
        Self {
            vendor: machine.vendor.clone(),
            cpu: machine.model_name.clone(),
            family,
            model,
            chips: u32::try_from(machine.sockets().len()).unwrap_or(u32::MAX),
            cores: (machine.cores > 0).then_some(machine.cores),
            threads: machine.all_threads(),
            base_mhz: machine.base_mhz,
            memory_gib: machine.gib(),
        }
    }
}

impl fmt::Display for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.cpu.as_deref().unwrap_or("an unnamed processor");
        let (chips, threads) = (self.chips, self.threads);
        write!(f, "{name}, {chips} chip(s), {threads} hardware thread(s)")
    }
}
