// SPDX-License-Identifier: Apache-2.0
//! The corpus: small samples of what each parser reads, under `corpus/TARGET`, in git.

use std::io;
use std::path::{Path, PathBuf};

/// Where the samples of a target are.
#[must_use]
pub fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// The samples of a target in the order of their names.
///
/// # Errors
/// When they cannot be read.
pub fn samples(target: &str) -> io::Result<Vec<Vec<u8>>> {
    let entries = std::fs::read_dir(folder(target))?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<_>>>()?;
    paths.sort_unstable();
    paths.iter().map(std::fs::read).collect()
}
