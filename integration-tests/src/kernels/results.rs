// SPDX-License-Identifier: Apache-2.0
//! The folder that guest/run.sh fills: owns which guests there are, and the names of their files.

use std::fs;
use std::path::Path;

/// In the order of the tables.
const NAMES: [&str; 4] = ["5.10", "6.1", "6.12", "newest"];

/// What one guest left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// As the tables' heads name it: `6.1`, `newest`.
    pub name: String,
    /// Debian's package, and how busy the host was.
    pub package: String,
    /// All that it wrote on its second serial line.
    pub log: String,
}

/// Those guests that were booted; only some of them may have been asked for.
#[must_use]
pub fn read(results: &Path) -> Vec<Said> {
    let said = |name: &&str| {
        // Written before the guest is booted.
        let package = fs::read_to_string(results.join(format!("{name}.package"))).ok()?;
        let log = fs::read(results.join(format!("{name}.log"))).unwrap_or_default();
        Some(Said {
            name: (*name).to_owned(),
            package,
            log: String::from_utf8_lossy(&log).into_owned(),
        })
    };
    NAMES.iter().filter_map(said).collect()
}
