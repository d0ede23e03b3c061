// SPDX-License-Identifier: Apache-2.0
//! The training of the estimator's built-in model: from a table of published results to the model file and the report. Used by the program
//! (`examples/train.rs`) and by the test that holds the committed files to it (`tests/training.rs`).
//!
//! Deterministic: no randomness, no clock, folds by size and name. Weights are rounded before their errors are taken, so that the report is
//! about what is shipped.

mod data;
mod fit;
mod report;
mod solve;
mod validate;

use anyhow::Result;

/// What the training gives.
pub(crate) struct Trained {
    /// `src/estimator/builtin.json`.
    pub(crate) model: String,
    /// `docs/estimator-report.md`.
    pub(crate) report: String,
}

/// Trains on the table `specpower_ssj2008.csv`.
///
/// # Errors
/// A table that is not of that form.
pub(crate) fn run(table: &str) -> Result<Trained> {
    let results = data::read(table)?;
    let cases = validate::all(&results)?;
    let mut model = fit::fit(&results)?;
    model.doubts = cases.doubts();
    Ok(Trained {
        model: fit::write(&model)?,
        report: report::write(&results, &cases),
    })
}
