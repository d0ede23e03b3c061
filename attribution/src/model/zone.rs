// SPDX-License-Identifier: Apache-2.0
//! What is metered: zones, their places, and how sure a figure is.

use super::ids::PackageId;
use std::fmt;
use std::sync::Arc;

/// A part of the machine that energy is counted for. The names are those of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// A CPU package: cores, uncore and what else the vendor puts into RAPL's package domain.
    Package,
    /// The cores of a package (RAPL PP0); a part of `Package`.
    Core,
    /// The rest of a package that has a meter of its own (RAPL PP1, often an integrated GPU); a part of `Package`.
    Uncore,
    /// Memory.
    Dram,
    /// An accelerator.
    Gpu,
    /// What the platform uses beside package, DRAM and GPU.
    Other,
    /// The whole machine, as its own meter sees it (BMC, ACPI, psys).
    Platform,
}

impl Component {
    /// Every component, in the order of the metrics contract.
    pub const ALL: [Self; 7] = [
        Self::Package,
        Self::Core,
        Self::Uncore,
        Self::Dram,
        Self::Gpu,
        Self::Other,
        Self::Platform,
    ];

    /// The word in metric names.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Package => "package",
            Self::Core => "core",
            Self::Uncore => "uncore",
            Self::Dram => "dram",
            Self::Gpu => "gpu",
            Self::Other => "other",
            Self::Platform => "platform",
        }
    }

    /// Whether it counts into `kepler_node_joules_total` and its likes, which count nothing twice: core and uncore are
    /// parts of package, and the platform holds all the others.
    #[must_use]
    pub const fn counts_into_total(self) -> bool {
        matches!(self, Self::Package | Self::Dram | Self::Gpu | Self::Other)
    }
}

/// Where a zone is: decides which CPU time pays for it, and is the `package` label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// A socket, or one die of it. Paid by what ran on that socket.
    Socket {
        /// The socket.
        package: PackageId,
        /// The die inside it, where the meter tells dies apart.
        die: Option<u16>,
    },
    /// Something with a name of its own (a platform meter, a GPU's UUID). Paid by everything that ran.
    Named(Arc<str>),
}

impl Place {
    /// A whole socket.
    #[must_use]
    pub const fn socket(package: PackageId) -> Self {
        Self::Socket { package, die: None }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket { package, die: None } => write!(f, "socket{}", package.0),
            Self::Socket {
                package,
                die: Some(die),
            } => write!(f, "socket{}-die{die}", package.0),
            Self::Named(name) => f.write_str(name),
        }
    }
}

/// One metered thing: a component at a place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zone {
    /// What it is.
    pub component: Component,
    /// Where it is.
    pub place: Place,
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.component.name(), self.place)
    }
}

/// By what a zone's dynamic energy was split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// CPU time.
    #[default]
    CpuTime,
    /// Cycles of the CPU clock that were not halted.
    CpuCycles,
    /// Misses of the last-level cache.
    CacheMisses,
    /// Time that the device was used.
    DeviceTime,
    /// Dynamic energy that was charged for package, memory, accelerators and the rest of the platform.
    Energy,
    /// Several of what is counted, weighed as this node's own meters say.
    Learned,
    /// Nothing: by configuration it stays on the node.
    Nothing,
}

impl Feature {
    /// A name for people and for JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CpuTime => "cpu_time",
            Self::CpuCycles => "cpu_cycles",
            Self::CacheMisses => "cache_misses",
            Self::DeviceTime => "device_time",
            Self::Energy => "energy",
            Self::Learned => "learned",
            Self::Nothing => "nothing",
        }
    }
}

/// How the idle floor of a zone came about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FloorOrigin {
    /// There is none: everything is dynamic.
    #[default]
    None,
    /// There is none yet, or `busy-ratio` is asked for: the idle share of time splits the energy.
    BusyRatio,
    /// Watts out of the configuration.
    Fixed,
    /// The static part of a model, as the source says it.
    Model,
    /// Windows in which nearly nobody ran.
    Measured,
    /// Windows of different load, none of them quiet, followed down to none.
    Extrapolated,
    /// Windows of one load, and what servers usually draw at rest of what they draw at such a load.
    Typical,
    /// As measured by an earlier run on this machine.
    Restored,
}

impl FloorOrigin {
    /// A name for people and for JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::BusyRatio => "busy_ratio",
            Self::Typical => "typical",
            Self::Fixed => "fixed",
            Self::Model => "model",
            Self::Measured => "measured",
            Self::Extrapolated => "extrapolated",
            Self::Restored => "restored",
        }
    }
}

/// A share in thousandths, for figures that need no more (an expected error, a busy ratio).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permille(pub u32);

/// Where a figure comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Provenance {
    /// An energy counter in hardware.
    Counted,
    /// Watts that a meter reported, integrated over the measured time between readings.
    Integrated,
    /// A model's figure; never carries a meter's name.
    Estimated {
        /// Expected relative error: 90 % of cross-validated cases were nearer than this.
        relative_error_p90: Permille,
    },
}

impl Provenance {
    /// The word in `kepler_source_info`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counted => "counted",
            Self::Integrated => "integrated",
            Self::Estimated { .. } => "estimated",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_those_of_the_contract() {
        let die = Place::Socket {
            package: PackageId(0),
            die: Some(1),
        };
        assert_eq!(Place::socket(PackageId(1)).to_string(), "socket1");
        assert_eq!(die.to_string(), "socket0-die1");
        assert_eq!(Place::Named(Arc::from("psys")).to_string(), "psys");
    }

    #[test]
    fn nothing_counts_twice_into_the_node_total() {
        let counted: Vec<_> = Component::ALL
            .into_iter()
            .filter(|c| c.counts_into_total())
            .collect();
        assert_eq!(
            counted,
            [
                Component::Package,
                Component::Dram,
                Component::Gpu,
                Component::Other
            ]
        );
    }
}
