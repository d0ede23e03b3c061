// SPDX-License-Identifier: Apache-2.0
//! What holds for every configuration file, for `integration-tests/fuzz`. In no build of the daemon.

use crate::file::{File, Format};
use crate::{Loaded, Problems, Schema};
use std::path::Path;

impl Schema {
    /// Loads a file of these bytes, TOML or YAML.
    ///
    /// # Errors
    /// Every problem of it.
    pub fn load_bytes(&self, bytes: &[u8], is_toml: bool) -> Result<Loaded, Problems> {
        let (format, path) = match is_toml {
            true => (Format::Toml, "/etc/kepler/kepler.toml"),
            false => (Format::Yaml, "/etc/kepler/kepler.yaml"),
        };
        self.load_file(File::parse(Path::new(path), format, bytes.to_vec()))
    }
}
