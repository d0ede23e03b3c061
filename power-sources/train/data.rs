// SPDX-License-Identifier: Apache-2.0
//! The table of results: owns its columns, and what of them a daemon would know.

use anyhow::{Context, Result, ensure};
use power_sources::estimator::platform::LEVELS;
use power_sources::estimator::{Given, canonical};
use serde::Deserialize;

/// One published result.
pub(super) struct Published {
    /// Hardware availability; for the report only.
    pub(super) year: u16,
    /// What a daemon could find out of the machine.
    pub(super) given: Given,
    /// One spelling of the CPU's name.
    pub(super) cpu: String,
    /// What may not be on both sides of a fold: the CPU's name without the letters of variants of one die (memory limit, sockets).
    pub(super) group: String,
    /// Wall watts at 0, 10 ... 100 %.
    pub(super) watts: [f64; LEVELS],
}

#[derive(Deserialize)]
struct Row {
    year: u16,
    cpu: String,
    vendor: String,
    chips: u32,
    cores: u32,
    threads: u32,
    base_mhz: u32,
    tdp_watts_per_chip: Option<f64>,
    memory_gib: f64,
    watts_idle: f64,
    watts_10: f64,
    watts_20: f64,
    watts_30: f64,
    watts_40: f64,
    watts_50: f64,
    watts_60: f64,
    watts_70: f64,
    watts_80: f64,
    watts_90: f64,
    watts_100: f64,
}

/// Reads the table.
pub(super) fn read(table: &str) -> Result<Vec<Published>> {
    let mut reader = csv::Reader::from_reader(table.as_bytes());
    let rows = reader.deserialize::<Row>().enumerate();
    let results = rows
        .map(|(index, row)| published(row?).with_context(|| format!("result {}", index + 1)))
        .collect::<Result<Vec<_>>>()?;
    ensure!(
        results.len() >= 100,
        "{} results are too few to train on",
        results.len()
    );
    Ok(results)
}

#[rustfmt::skip]
fn published(row: Row) -> Result<Published> {
    let watts = [
        row.watts_idle, row.watts_10, row.watts_20, row.watts_30, row.watts_40, row.watts_50, row.watts_60, row.watts_70, row.watts_80,
        row.watts_90, row.watts_100,
    ];
    ensure!(watts.iter().all(|watts| watts.is_finite() && *watts > 0.0), "a machine draws power");
    ensure!(watts[LEVELS - 1] > watts[0], "full load draws more than idle");
    let cpu = canonical(&row.cpu);
    let group = if ["platinum", "gold", "silver", "epyc"].iter().any(|family| cpu.starts_with(family)) {
        cpu.trim_end_matches(['m', 'l', 'p']).to_owned()
    } else {
        cpu.clone()
    };
    Ok(Published {
        year: row.year,
        given: Given {
            vendor: Some(row.vendor),
            cpu: Some(row.cpu),
            chips: Some(row.chips),
            cores: Some(row.cores),
            threads: Some(row.threads),
            base_mhz: Some(row.base_mhz),
            tdp_watts_per_chip: row.tdp_watts_per_chip,
            memory_gib: Some(row.memory_gib),
            ..Given::default()
        },
        cpu,
        group,
        watts,
    })
}
