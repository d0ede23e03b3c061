// SPDX-License-Identifier: Apache-2.0
//! One page of 1,000 processes in every form, for `make budgets`, which counts its instructions.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program that names its cases, and writes what the configuration of a test asks for"
)]

#[path = "../../integration-tests/budgets/collect.rs"]
mod collect;
#[path = "../benches/node/mod.rs"]
mod node;

use attribution::model::MonotonicNanos;
use collect::{Case, collected_by_callgrind, run};
use exporter::{BuildInfo, ExporterConfig, Page, RenderSettings, Schema};
use node::Node;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

const PROCESSES: u32 = 1_000;

const CASES: [Case; 6] = [
    ("page: kepler, 1,000 processes", || {
        each(&[Schema::Kepler], 1, |page| page.text().len());
    }),
    ("page: kepler, the first one", || {
        each(&[Schema::Kepler], 0, |page| page.text().len());
    }),
    ("page: kepler, OpenMetrics", || {
        each(&[Schema::Kepler], 1, |page| page.openmetrics().len());
    }),
    ("page: kepler-0.11, 1,000 processes", || {
        each(&[Schema::Kepler011], 1, |page| page.text().len());
    }),
    ("page: both schemas", || {
        each(&[Schema::Kepler, Schema::Kepler011], 1, |page| page.text().len());
    }),
    ("page: JSON", || {
        each(&[Schema::Kepler], 1, |page| page.json().unwrap().len());
    }),
];

/// Writes a page of the window after `before` others, which have found what rows are called.
fn each(schemas: &[Schema], before: u32, write: fn(&Page) -> usize) {
    let config = ExporterConfig {
        schemas: schemas.to_vec(),
        ..ExporterConfig::default()
    };
    let settings = RenderSettings::new(&config, BuildInfo::default())
        .with_start(Duration::from_secs(1_700_000_000), MonotonicNanos::ZERO)
        .with_proc_root("/nonexistent".into());
    let (node, settings) = (Node::new(PROCESSES), Arc::new(settings));
    for window in 1..=before {
        black_box(write(&Page::new(node.snapshot(window), Arc::clone(&settings))));
    }
    let mut snapshot = Some(node.snapshot(before + 1));
    collected_by_callgrind(&mut || {
        if let Some(snapshot) = snapshot.take() {
            black_box(write(&Page::new(snapshot, Arc::clone(&settings))));
        }
    });
}

fn main() -> Result<(), String> {
    run(&CASES)
}
