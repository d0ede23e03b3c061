// SPDX-License-Identifier: Apache-2.0
//! A powercap tree in a folder, whose counters a test moves by hand: `intel-rapl:0` (package-0) with a `dram` sub-zone.

use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Range of the counters: 2^32 counts of 2^-14 J, as the driver reports it for common Intel parts.
pub const RANGE: u64 = 262_143_328_850;

/// The tree.
pub struct Powercap {
    folder: TempDir,
}

impl Powercap {
    /// One package with memory, both counters at `start` microjoules.
    ///
    /// # Panics
    /// When the folder cannot be written.
    #[must_use]
    pub fn new(start: u64) -> Self {
        let tree = Self {
            folder: TempDir::new().expect("a folder"),
        };
        tree.zone("intel-rapl:0", "package-0", start);
        tree.zone("intel-rapl:0:0", "dram", start);
        tree
    }

    /// The root, for `sources.rapl.root`.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// Adds a zone.
    ///
    /// # Panics
    /// When the folder cannot be written.
    pub fn zone(&self, folder: &str, name: &str, start: u64) {
        let zone = self.root().join(folder);
        fs::create_dir_all(&zone).expect("a folder");
        fs::write(zone.join("name"), format!("{name}\n")).expect("a file");
        fs::write(zone.join("max_energy_range_uj"), format!("{RANGE}\n")).expect("a file");
        self.set(folder, start);
    }

    /// Moves a counter.
    ///
    /// # Panics
    /// When the folder cannot be written.
    pub fn set(&self, folder: &str, microjoules: u64) {
        self.write(folder, &format!("{microjoules}\n"));
    }

    /// Writes any text where the counter is, at once as a driver would.
    ///
    /// # Panics
    /// When the folder cannot be written.
    pub fn write(&self, folder: &str, text: &str) {
        let file = self.file(folder);
        let fresh = file.with_extension("fresh");
        fs::write(&fresh, text).expect("a file");
        fs::rename(fresh, file).expect("a rename");
    }

    /// Takes a zone away.
    ///
    /// # Panics
    /// When it is not there.
    pub fn remove(&self, folder: &str) {
        fs::remove_dir_all(self.root().join(folder)).expect("it was there");
    }

    fn file(&self, folder: &str) -> PathBuf {
        self.root().join(folder).join("energy_uj")
    }
}
