// SPDX-License-Identifier: Apache-2.0
//! What the tests of several sources need. Not part of the crate that others see.

pub(crate) mod sysfs;

use crate::Ask;
use attribution::model::{Component, Energy, ErrorReason, MonotonicNanos, SourceError, ZoneReading};
use serde_json::Value;
use std::cell::Cell;
use std::path::PathBuf;
use std::time::Duration;

/// An order for `wanted` with a clock that stands still.
pub(crate) fn ask<'a>(section: &'a Value, wanted: &'a [Component]) -> Ask<'a> {
    Ask {
        section,
        wanted,
        clock: || MonotonicNanos::ZERO,
        slept,
    }
}

thread_local! {
    static SLEPT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// How long the machine has slept, as this test says.
pub(crate) fn slept() -> Duration {
    SLEPT.get()
}

/// The machine sleeps for so many seconds.
pub(crate) fn sleep(seconds: u64) {
    SLEPT.set(SLEPT.get() + Duration::from_secs(seconds));
}

/// Readings as `(zone, microjoules)`, in the order in which they were told.
pub(crate) fn totals(energy: &Energy) -> Vec<(String, u64)> {
    let row = |reading: &ZoneReading| (reading.zone.to_string(), reading.total.as_micro());
    energy.zones.iter().map(row).collect()
}

/// Errors as `(zone or nothing, reason, count)`.
pub(crate) fn errors(energy: &Energy) -> Vec<(String, ErrorReason, u64)> {
    let zone = |row: &SourceError| row.zone.as_ref().map_or_else(String::new, ToString::to_string);
    energy
        .errors
        .iter()
        .map(|row| (zone(row), row.reason, row.count))
        .collect()
}

/// The files that say which CPUs there are: a sys root and a cpuinfo of our own.
pub(crate) struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    /// Without any CPU.
    pub(crate) fn new() -> Self {
        let dir = tempfile::TempDir::new().unwrap();
        std::fs::create_dir(dir.path().join("cpu")).unwrap();
        Self { dir }
    }

    /// `/sys/devices/system/cpu`.
    pub(crate) fn sys(&self) -> PathBuf {
        self.dir.path().join("cpu")
    }

    /// `/proc/cpuinfo`.
    pub(crate) fn cpuinfo(&self) -> PathBuf {
        self.dir.path().join("cpuinfo")
    }

    /// The rest of the machine.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What kind of CPU it has.
    pub(crate) fn identity(&self, vendor: &str, family: u32, model: u32) {
        let text =
            format!("processor\t: 0\nvendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\n\n");
        std::fs::write(self.cpuinfo(), text).unwrap();
    }

    /// Puts a CPU into a package, and into a die where dies are told.
    pub(crate) fn cpu(&self, number: u32, package: u16, die: Option<u16>) {
        let topology = self.sys().join(format!("cpu{number}/topology"));
        std::fs::create_dir_all(&topology).unwrap();
        std::fs::write(topology.join("physical_package_id"), format!("{package}\n")).unwrap();
        if let Some(die) = die {
            std::fs::write(topology.join("die_id"), format!("{die}\n")).unwrap();
        }
    }

    /// The CPUs that are online.
    pub(crate) fn online(&self, list: &str) {
        std::fs::write(self.sys().join("online"), list).unwrap();
    }
}

/// `seconds` after the clock's zero.
pub(crate) fn at(seconds: u64) -> MonotonicNanos {
    MonotonicNanos::ZERO.after(Duration::from_secs(seconds))
}

/// `milliseconds` after the clock's zero.
pub(crate) fn at_ms(milliseconds: u64) -> MonotonicNanos {
    MonotonicNanos::from_nanos(milliseconds * 1_000_000)
}

/// Expected readings in the form of [`totals`], in joules.
pub(crate) fn joules<const N: usize>(expected: [(&str, u64); N]) -> Vec<(String, u64)> {
    expected
        .map(|(zone, joules)| (zone.to_owned(), joules * 1_000_000))
        .to_vec()
}
