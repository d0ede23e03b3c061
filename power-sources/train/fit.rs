// SPDX-License-Identifier: Apache-2.0
//! From results to a model: owns the penalties, what each output is fitted to, and the form of the file.

use super::data::Published;
use super::solve::ridge;
use anyhow::{Context, Result};
use power_sources::estimator::complete;
use power_sources::estimator::platform::{
    BOUND, Doubt, Doubts, FORMAT, KnownCpu, LEVELS, OUTPUTS, PlatformModel, TERMS, terms,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The penalty on every weight but the constant's. Errors are the same to a thousandth from 0.5 to 2.
const PENALTY: f64 = 1.0;
/// A generation counts half: it then takes four times the evidence to move its figure away from what its year says.
const GENERATION: f64 = 0.5;

const SOURCE: &str = "published SPECpower_ssj2008 results (spec.org, power_ssj2008), as collected by green-coding-solutions/spec-power-model";

/// Positions in [`TERMS`].
const TDP: usize = 1;
const MEMORY: usize = 4;

/// A model without weights that knows these CPUs.
pub(super) fn blank<'a>(results: impl Iterator<Item = &'a Published> + Clone) -> PlatformModel {
    let none = Doubt {
        p10: [0.0; LEVELS],
        p90: [0.0; LEVELS],
        relative_error_permille: 1,
    };
    let groups: BTreeSet<&str> = results.clone().map(|result| result.group.as_str()).collect();
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    PlatformModel {
        format: FORMAT.to_owned(),
        source: SOURCE.to_owned(),
        results: count(results.clone().count()),
        cpu_models: count(groups.len()),
        terms: TERMS.map(str::to_owned).to_vec(),
        range: [[0.0; 2]; BOUND],
        outputs: [[0.0; TERMS.len()]; OUTPUTS],
        generations: BTreeMap::new(),
        doubts: Doubts {
            known: none,
            tdp_guessed: none,
            generation_new: none,
            both: none,
            cpu_unknown: none,
        },
        cpus: results.filter_map(known).collect(),
    }
}

/// What a result tells of its CPU, which is what the vendor's data sheet says.
fn known(result: &Published) -> Option<(String, KnownCpu)> {
    let (chips, cores) = (result.given.chips?, result.given.cores?);
    let named = !result.cpu.is_empty() && !result.cpu.chars().all(|c| c.is_ascii_digit() || c == '.');
    named.then(|| {
        let cpu = KnownCpu {
            cores: cores / chips.max(1),
            base_mhz: result.given.base_mhz.unwrap_or(0),
            tdp_watts: result.given.tdp_watts_per_chip.unwrap_or(0.0),
        };
        (result.cpu.clone(), cpu)
    })
}

/// Fits a model to results. Those without a TDP are left out: there are too few to fit anything to.
pub(super) fn fit<'a>(results: impl IntoIterator<Item = &'a Published>) -> Result<PlatformModel> {
    let results: Vec<&Published> = results
        .into_iter()
        .filter(|result| result.given.tdp_watts_per_chip.is_some())
        .collect();
    let mut model = blank(results.iter().copied());
    let specs: Vec<_> = results
        .iter()
        .map(|result| complete(&result.given, &model))
        .collect();
    let rows: Vec<_> = specs.iter().map(terms).collect();
    let names: Vec<&str> = specs
        .iter()
        .filter_map(|spec| spec.generation.map(|of| of.name))
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    for (term, range) in (1..).zip(&mut model.range) {
        let of = |pick: fn(f64, f64) -> f64, from: f64| rows.iter().map(|row| row[term]).fold(from, pick);
        *range = [
            rounded(of(f64::min, f64::INFINITY)),
            rounded(of(f64::max, f64::NEG_INFINITY)),
        ];
    }
    let mut effects: BTreeMap<String, [f64; OUTPUTS]> = names
        .iter()
        .map(|name| ((*name).to_owned(), [0.0; OUTPUTS]))
        .collect();
    let penalty: Vec<f64> = (0..TERMS.len() + names.len())
        .map(|column| if column == 0 { 0.0 } else { PENALTY })
        .collect();
    for output in 0..OUTPUTS {
        // The last one is what the TDP is guessed with: from the CPU alone, and not from the memory beside it.
        let guess = output == OUTPUTS - 1;
        let x: Vec<Vec<f64>> = rows
            .iter()
            .zip(&specs)
            .map(|(row, spec)| {
                let terms = row.iter().enumerate().map(|(term, value)| {
                    if guess && [TDP, MEMORY].contains(&term) {
                        0.0
                    } else {
                        *value
                    }
                });
                let own = spec.generation.map(|of| of.name);
                let generations = names
                    .iter()
                    .map(|name| if own == Some(*name) { GENERATION } else { 0.0 });
                terms.chain(generations).collect()
            })
            .collect();
        let y: Vec<f64> = results
            .iter()
            .zip(&rows)
            .map(|(result, row)| target(output, &result.watts, row[1]))
            .collect();
        let weights = ridge(&x, &y, &penalty);
        for (weight, to) in weights.iter().zip(&mut model.outputs[output]) {
            *to = rounded(*weight);
        }
        for (name, weight) in names.iter().zip(weights.iter().skip(TERMS.len())) {
            effects.get_mut(*name).context("a generation of the fit")?[output] = rounded(weight * GENERATION);
        }
    }
    model.generations = effects;
    Ok(model)
}

fn target(output: usize, watts: &[f64; LEVELS], tdp: f64) -> f64 {
    let (idle, full) = (watts[0], watts[LEVELS - 1]);
    match output {
        0 => full.ln(),
        1 => (idle / full).ln(),
        level @ 2..=10 => (watts[level - 1] - idle) / (full - idle),
        _ => tdp,
    }
}

/// Six places: far below what the errors are, and the same on every machine.
pub(super) fn rounded(number: f64) -> f64 {
    let rounded = (number * 1e6).round() / 1e6;
    // No "-0.0" in the file.
    if rounded == 0.0 { 0.0 } else { rounded }
}

/// The file: a line for each output, generation and CPU, so that changes can be seen.
pub(super) fn write(model: &PlatformModel) -> Result<String> {
    let mut fields = vec![
        field("format", &model.format)?,
        field("source", &model.source)?,
        field("results", &model.results)?,
        field("cpu_models", &model.cpu_models)?,
        field("terms", &model.terms)?,
        format!(
            "\"range\": {}",
            lines(
                model.range.iter().map(|range| Ok(serde_json::to_string(range)?)),
                ['[', ']']
            )?
        ),
        format!(
            "\"outputs\": {}",
            lines(
                model
                    .outputs
                    .iter()
                    .map(|output| Ok(serde_json::to_string(output)?)),
                ['[', ']']
            )?
        ),
    ];
    fields.push(format!(
        "\"generations\": {}",
        lines(
            model.generations.iter().map(|(name, own)| field(name, own)),
            ['{', '}']
        )?
    ));
    let Doubts {
        known,
        tdp_guessed,
        generation_new,
        both,
        cpu_unknown,
    } = &model.doubts;
    let doubts = [
        ("known", known),
        ("tdp_guessed", tdp_guessed),
        ("generation_new", generation_new),
        ("both", both),
        ("cpu_unknown", cpu_unknown),
    ];
    fields.push(format!(
        "\"doubts\": {}",
        lines(doubts.iter().map(|(name, doubt)| field(name, doubt)), ['{', '}'])?
    ));
    fields.push(format!(
        "\"cpus\": {}",
        lines(model.cpus.iter().map(|(name, cpu)| field(name, cpu)), ['{', '}'])?
    ));
    Ok(format!("{{\n{}\n}}\n", fields.join(",\n")))
}

fn field(name: &str, value: &impl Serialize) -> Result<String> {
    Ok(format!(
        "{}: {}",
        serde_json::to_string(name)?,
        serde_json::to_string(value)?
    ))
}

fn lines(values: impl Iterator<Item = Result<String>>, [open, close]: [char; 2]) -> Result<String> {
    let lines: Vec<String> = values
        .map(|value| Ok(format!("  {}", value?)))
        .collect::<Result<_>>()?;
    Ok(format!("{open}\n{}\n{close}", lines.join(",\n")))
}
