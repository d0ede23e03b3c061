// SPDX-License-Identifier: Apache-2.0
//! What it cost: one folder per energy meter, and the estimator where there is none.
//!
//! This crate owns the way from a meter's bytes to a total in microjoules that never falls. It refuses
//! everything that comes after: it knows no workload, no window, no metric name, no actor and no clock (the
//! time of a read is an argument; so are the clock of a source that reads between the ticks, and the one that tells how long the machine
//! has slept). Every meter is one folder with the same files and one line in [`ALL`]; see
//! `README.md`.

#![forbid(unsafe_code)]

pub mod acpi;
pub mod amd_gpu;
pub mod backoff;
pub mod battery;
mod counted;
pub mod counter;
mod cpus;
mod drm;
pub mod errors;
pub mod estimator;
mod files;
#[cfg(feature = "fuzzing")]
pub mod fuzz;
pub mod hwmon;
pub mod integrate;
pub mod intel_gpu;
pub mod ipmi;
pub mod lasting;
mod moment;
pub mod msr;
pub mod nvml;
mod poller;
pub mod rapl;
pub mod rapl_perf;
pub mod redfish;
pub mod replay;
mod sensors;
#[cfg(test)]
mod testing;

pub use moment::{Moment, Slept};

use attribution::model::{Component, Energy, MonotonicNanos, SourceId, Zone};
use std::path::PathBuf;

/// A meter that was found on this machine and is open.
///
/// Implementations block (they read files), so each is driven by one thread of its own.
pub trait PowerSource: Send {
    /// The `source` label of its figures.
    fn id(&self) -> SourceId;

    /// The components that it answers for: those that were wanted and have at least one zone here.
    fn components(&self) -> Vec<Component>;

    /// What it reads, for people.
    fn detail(&self) -> String;

    /// Reads every zone. `now` is `CLOCK_MONOTONIC` at the moment of the call.
    ///
    /// Never fails as a whole: a zone that did not answer is missing from `zones`, counted in `errors`, and
    /// tried again with back-off; its next reading pays the gap.
    fn read(&mut self, now: MonotonicNanos) -> Energy;

    /// Where its counters stand, for whoever reads the same ones after it. Nothing where they stand is of use to nobody else: then
    /// what is used between the last reading of this one and the first of that one is counted by neither.
    fn leave(&mut self) -> Vec<Standing> {
        Vec::new()
    }

    /// Goes on where another reader of the same counters stopped, also with their totals. Answers with the zones for which it does;
    /// called before the first reading.
    fn follow(&mut self, _before: Vec<Standing>) -> Vec<Zone> {
        Vec::new()
    }
}

/// Where one counter stands.
#[derive(Clone, Debug)]
pub struct Standing(Stand);

#[derive(Clone, Debug)]
enum Stand {
    /// One in a file.
    Counter {
        place: PathBuf,
        counted: counted::Counted,
    },
    /// A GPU of NVIDIA with its users, which the library knows by its UUID.
    Gpu(Box<nvml::Gpu>),
}

/// What a source is asked for when it is opened.
pub struct Ask<'a> {
    /// Its own section of the configuration.
    pub section: &'a serde_json::Value,
    /// The components that are wanted of it.
    pub wanted: &'a [Component],
    /// `CLOCK_MONOTONIC`, for sources that read on a thread of their own between the ticks.
    pub clock: fn() -> MonotonicNanos,
    /// How long the machine has slept, for sources with a counter: it may have gone on meanwhile.
    pub slept: Slept,
}

/// What looking for a meter found.
pub enum Opened {
    /// It is here and at least one wanted zone answers.
    Source(Box<dyn PowerSource>),
    /// It is not on this machine, or cannot be read.
    Absent {
        /// Which path says so and what to do about it.
        reason: String,
    },
}

/// A configuration section that cannot be used. A meter that is missing or unreadable is no error: see
/// [`Opened::Absent`].
#[derive(Debug, thiserror::Error)]
pub enum SourceOpenError {
    /// The section does not have the keys and types of this source.
    #[error("section `sources.{name}` is not usable")]
    Section {
        /// The source's name as configured.
        name: &'static str,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A key has a value outside its range.
    #[error("`sources.{name}.{key}` {problem}")]
    Value {
        /// The source's name as configured.
        name: &'static str,
        /// The key below its section.
        key: &'static str,
        /// What is wrong and what would be right.
        problem: String,
    },
}

/// One line of the table of sources.
pub struct Entry {
    /// The name in `sources.cpu = [...]` and of the section `sources.<name>`.
    pub name: &'static str,
    /// Looks for the meter and opens the zones of the wanted components.
    pub open: fn(&Ask<'_>) -> Result<Opened, SourceOpenError>,
    /// Whether a section is one that this source can use.
    pub check: fn(section: &serde_json::Value) -> Result<(), SourceOpenError>,
    /// Its section with every key at its default.
    pub default_section: fn() -> serde_json::Value,
    /// Everything that a meter of this kind can have on any machine.
    pub components: &'static [Component],
}

/// Every source that can be configured by name. The estimator is not one of them: it needs usage, see
/// [`estimator::Estimator`].
#[rustfmt::skip] // A table is read by its columns.
pub const ALL: &[Entry] = &[
    Entry { name: rapl::NAME, components: rapl::COMPONENTS, open: rapl::open, check: rapl::check, default_section: rapl::default_section },
    Entry { name: rapl_perf::NAME, components: rapl_perf::COMPONENTS, open: rapl_perf::open, check: rapl_perf::check, default_section: rapl_perf::default_section },
    Entry { name: msr::NAME, components: msr::COMPONENTS, open: msr::open, check: msr::check, default_section: msr::default_section },
    Entry { name: hwmon::NAME, components: hwmon::COMPONENTS, open: hwmon::open, check: hwmon::check, default_section: hwmon::default_section },
    Entry { name: redfish::NAME, components: redfish::COMPONENTS, open: redfish::open, check: redfish::check, default_section: redfish::default_section },
    Entry { name: acpi::NAME, components: acpi::COMPONENTS, open: acpi::open, check: acpi::check, default_section: acpi::default_section },
    Entry { name: ipmi::NAME, components: ipmi::COMPONENTS, open: ipmi::open, check: ipmi::check, default_section: ipmi::default_section },
    Entry { name: battery::NAME, components: battery::COMPONENTS, open: battery::open, check: battery::check, default_section: battery::default_section },
    Entry { name: nvml::NAME, components: nvml::COMPONENTS, open: nvml::open, check: nvml::check, default_section: nvml::default_section },
    Entry { name: intel_gpu::NAME, components: intel_gpu::COMPONENTS, open: intel_gpu::open, check: intel_gpu::check, default_section: intel_gpu::default_section },
    Entry { name: amd_gpu::NAME, components: amd_gpu::COMPONENTS, open: amd_gpu::open, check: amd_gpu::check, default_section: amd_gpu::default_section },
    Entry { name: replay::NAME, components: replay::COMPONENTS, open: replay::open, check: replay::check, default_section: replay::default_section },
];

/// Says that a key of a source's section has a value out of its range; `problem` says what is wrong and what would be right.
///
/// # Errors
/// Always: that it is refused.
pub fn refuse(name: &'static str, key: &'static str, problem: String) -> Result<(), SourceOpenError> {
    Err(SourceOpenError::Value { name, key, problem })
}

/// Reads a source's own section; `null` is an empty one.
///
/// # Errors
/// A key that there is not, or a value of another type.
pub fn section<T: serde::de::DeserializeOwned + Default>(
    name: &'static str,
    section: &serde_json::Value,
) -> Result<T, SourceOpenError> {
    if section.is_null() {
        return Ok(T::default());
    }
    T::deserialize(section).map_err(|source| SourceOpenError::Section { name, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ask;

    #[test]
    fn every_source_accepts_its_own_default_section_and_has_a_name_of_its_own() {
        for entry in ALL {
            let opened = (entry.open)(&ask(&(entry.default_section)(), &[]));
            assert!(opened.is_ok(), "{}", entry.name);
            assert_eq!(ALL.iter().filter(|other| other.name == entry.name).count(), 1);
            assert!(!entry.components.is_empty());
        }
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_name_of_the_section() {
        for entry in ALL {
            let error = match (entry.open)(&ask(&serde_json::json!({ "rout": "/sys" }), &[])) {
                Err(error) => error,
                Ok(_) => panic!("{} took an unknown key", entry.name),
            };
            assert!(error.to_string().contains(entry.name));
            let cause = std::error::Error::source(&error).expect("a cause");
            assert!(cause.to_string().contains("rout"), "{cause}");
        }
    }
}
