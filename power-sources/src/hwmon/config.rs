// SPDX-License-Identifier: Apache-2.0
//! The section `sources.hwmon`: owns its keys, defaults and ranges.

use super::NAME;
use crate::SourceOpenError;
use crate::sensors::pattern::Pattern;
use attribution::model::{Component, PackageId, Place};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Section `sources.hwmon`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HwmonConfig {
    /// The folder with `hwmon0` and its likes.
    pub root: PathBuf,
    /// Most watts of one channel that are believed.
    pub max_watts: MaxWatts,
    /// What channels are, beside what is built in. The first rule that matches a channel decides; the built-in ones come
    /// last.
    pub rules: Vec<Rule>,
}

/// Most watts of one channel of each kind that are believed, from 1 to 100000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaxWatts {
    /// A package.
    pub package: u32,
    /// The cores of a package.
    pub core: u32,
    /// The rest of a package.
    pub uncore: u32,
    /// Memory.
    pub dram: u32,
    /// A GPU.
    pub gpu: u32,
    /// The machine, or a module of it.
    pub platform: u32,
}

/// What a channel is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The chip's name (`hwmonN/name`).
    pub chip: Pattern,
    /// Its device, the last name that `hwmonN/device` leads to. Left out: any.
    #[serde(default)]
    pub device: Pattern,
    /// The channel's label, or its stem (`power1`, `in2`) where the driver gives none. Left out: any.
    #[serde(default)]
    pub label: Pattern,
    /// What it meters.
    pub component: Metering,
    /// Where: `socket0` or `socket0-die1` for parts of a CPU and memory (left out: `socket0`), a name for `gpu` and `platform`
    /// (left out: the label). Channels of one component and place are added up.
    #[serde(default)]
    pub place: String,
}

/// What a rule can make of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metering {
    /// A CPU package.
    Package,
    /// The cores of a package.
    Core,
    /// The rest of a package.
    Uncore,
    /// Memory.
    Dram,
    /// A GPU.
    Gpu,
    /// The whole machine.
    Platform,
    /// Nothing that is to be counted.
    None,
}

impl Default for HwmonConfig {
    fn default() -> Self {
        Self {
            root: PathBuf::from("/sys/class/hwmon"),
            max_watts: MaxWatts::default(),
            rules: Vec::new(),
        }
    }
}

impl Default for MaxWatts {
    /// Above everything that is sold, so that no real load is refused: sockets of 500 W, superchips of 1.2 kW, a node with
    /// eight GPUs of 10 kW.
    fn default() -> Self {
        Self {
            package: 1_000,
            core: 1_000,
            uncore: 1_000,
            dram: 500,
            gpu: 3_000,
            platform: 20_000,
        }
    }
}

/// What one channel can meter is a rack at most.
const MOST_WATTS: u32 = 100_000;

impl MaxWatts {
    /// The figure for a component.
    pub(super) const fn of(&self, component: Component) -> u32 {
        match component {
            Component::Package => self.package,
            Component::Core => self.core,
            Component::Uncore => self.uncore,
            Component::Dram => self.dram,
            Component::Gpu => self.gpu,
            Component::Platform | Component::Other => self.platform,
        }
    }
}

impl Metering {
    /// The component; `None` for what is not counted.
    pub(super) const fn component(self) -> Option<Component> {
        Some(match self {
            Self::Package => Component::Package,
            Self::Core => Component::Core,
            Self::Uncore => Component::Uncore,
            Self::Dram => Component::Dram,
            Self::Gpu => Component::Gpu,
            Self::Platform => Component::Platform,
            Self::None => return None,
        })
    }
}

impl Rule {
    /// Where a channel called `label` is; `None` for a place that such a component cannot have.
    pub(super) fn place(&self, component: Component, label: &str) -> Option<Place> {
        match component {
            Component::Gpu | Component::Platform | Component::Other => {
                let name = if self.place.is_empty() { label } else { &self.place };
                Some(Place::Named(name.into()))
            }
            _ if self.place.is_empty() => Some(Place::socket(PackageId(0))),
            _ => socket(&self.place),
        }
    }
}

/// `socket0` or `socket0-die1`.
fn socket(text: &str) -> Option<Place> {
    // Digits only: `parse` alone would take a sign.
    let number = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u16>().ok())?
    };
    let rest = text.strip_prefix("socket")?;
    let (package, die) = match rest.split_once("-die") {
        Some((package, die)) => (package, Some(number(die)?)),
        None => (rest, None),
    };
    Some(Place::Socket {
        package: PackageId(number(package)?),
        die,
    })
}

impl HwmonConfig {
    /// Checks what types cannot.
    pub(super) fn check(&self) -> Result<(), SourceOpenError> {
        let refuse = |key, problem| crate::refuse(NAME, key, problem);
        if self.root.as_os_str().is_empty() {
            return refuse("root", "is empty; the default is /sys/class/hwmon".to_owned());
        }
        for component in super::COMPONENTS {
            let watts = self.max_watts.of(*component);
            if !(1..=MOST_WATTS).contains(&watts) {
                let name = component.name();
                return refuse(
                    "max_watts",
                    format!("has {watts} W for {name}; from 1 to {MOST_WATTS} are allowed"),
                );
            }
        }
        for (index, rule) in self.rules.iter().enumerate() {
            let number = index.saturating_add(1);
            if rule.chip.as_str().trim_matches('*').is_empty() {
                let problem = "names no chip; a rule for every chip would count NICs and drives as well";
                return refuse("rules", format!("number {number} {problem}"));
            }
            if let Some(component) = rule.component.component()
                && rule.place(component, "").is_none()
            {
                return refuse(
                    "rules",
                    format!(
                        "number {number} has the place {:?} for {}; allowed are socket0 and socket0-die1 and their likes",
                        rule.place,
                        component.name()
                    ),
                );
            }
        }
        Ok(())
    }
}
