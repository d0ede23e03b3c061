// SPDX-License-Identifier: Apache-2.0
//! The committed model and its report are what the training program writes.

#![expect(
    clippy::tests_outside_test_module,
    clippy::indexing_slicing,
    reason = "this whole crate is tests"
)]

#[path = "../train/mod.rs"]
mod train;

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn the_committed_model_and_report_are_what_the_training_writes() {
    let Some(shared) = std::env::var_os("SHARED").map(PathBuf::from) else {
        integration_tests::skip("published results: SHARED is not set");
        return;
    };
    let table = shared.join("data/specpower_ssj2008.csv");
    let Ok(text) = fs::read_to_string(&table) else {
        integration_tests::skip(&format!("published results: there is no {}", table.display()));
        return;
    };
    let trained = train::run(&text).unwrap();
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (file, wanted) in [
        ("src/estimator/builtin.json", trained.model),
        ("../docs/estimator-report.md", trained.report),
    ] {
        let committed = fs::read_to_string(crate_folder.join(file)).unwrap();
        let different = committed
            .lines()
            .zip(wanted.lines())
            .find(|(committed, wanted)| committed != wanted);
        if let Some((committed, wanted)) = different {
            panic!("{file} has\n{committed}\nand `make train` writes\n{wanted}");
        }
        assert_eq!(committed.lines().count(), wanted.lines().count(), "{file}");
    }
}
