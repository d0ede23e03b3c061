// SPDX-License-Identifier: Apache-2.0
//! `make train SHARED=FOLDER`: trains the estimator's built-in model on `FOLDER/data/specpower_ssj2008.csv` and writes the model file and the
//! report. Without the data it says so and leaves both as they are.

#![expect(
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a program that prints, over arrays of known size"
)]

#[path = "../train/mod.rs"]
mod train;

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The table below the folder.
const TABLE: &str = "data/specpower_ssj2008.csv";

fn main() -> Result<()> {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        println!(
            "skipped: no folder with {TABLE} was named (make train SHARED=FOLDER); the model and its report stay as they are"
        );
        return Ok(());
    };
    let table = folder.join(TABLE);
    if !table.exists() {
        println!(
            "skipped: there is no {}; the model and its report stay as they are",
            table.display()
        );
        return Ok(());
    }
    let text = fs::read_to_string(&table).with_context(|| format!("cannot read {}", table.display()))?;
    let trained = train::run(&text).with_context(|| format!("cannot train on {}", table.display()))?;
    for (file, text) in [
        ("src/estimator/builtin.json", trained.model),
        ("../docs/estimator-report.md", trained.report),
    ] {
        let path = crate_folder.join(file);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}
