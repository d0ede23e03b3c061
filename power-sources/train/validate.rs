// SPDX-License-Identifier: Apache-2.0
//! How wrong the model is on machines that it has not seen: owns the folds, and the errors that are shipped with it.
//!
//! A fold holds whole groups: never the same CPU model on both sides. Of each left-out machine the model is told what a daemon would know;
//! once with its TDP and once without, once with its generation in the fit and once without any machine of it.

use super::data::Published;
use super::fit::{blank, fit, rounded};
use anyhow::Result;
use power_sources::estimator::platform::{Curve, Doubt, Doubts, LEVELS, PlatformModel};
use power_sources::estimator::{Given, complete};
use std::collections::{BTreeMap, BTreeSet};

/// Folds of groups.
pub(super) const FOLDS: usize = 10;

/// A machine with what was said of it unseen, in the order of the results.
pub(super) type Predicted = Vec<[f64; LEVELS]>;

/// Predictions of every result by models that have not seen its CPU.
pub(super) struct Cases {
    /// Measured watts.
    pub(super) measured: Vec<[f64; LEVELS]>,
    /// TDP told, generation in the fit.
    pub(super) known: Predicted,
    /// TDP guessed, generation in the fit.
    pub(super) tdp_guessed: Predicted,
    /// TDP told, generation not in the fit.
    pub(super) generation_new: Predicted,
    /// Neither.
    pub(super) both: Predicted,
    /// Sizes and memory told, and nothing of the CPU.
    pub(super) cpu_unknown: Predicted,
}

/// Predicts everything unseen.
pub(super) fn all(results: &[Published]) -> Result<Cases> {
    let by_cpu = folds(results);
    let skeleton = blank(results.iter());
    let generation = |result: &Published| {
        let spec = complete(&result.given, &skeleton);
        spec.generation
            .map_or_else(|| "none".to_owned(), |of| of.name.to_owned())
    };
    let by_generation: Vec<String> = results.iter().map(generation).collect();
    let told = |result: &Published| result.given.clone();
    let no_tdp = |result: &Published| Given {
        tdp_watts_per_chip: None,
        ..result.given.clone()
    };
    let no_cpu = |result: &Published| Given {
        vendor: None,
        cpu: None,
        base_mhz: None,
        tdp_watts_per_chip: None,
        ..result.given.clone()
    };
    Ok(Cases {
        measured: results.iter().map(|result| result.watts).collect(),
        known: unseen(results, &by_cpu, told)?,
        tdp_guessed: unseen(results, &by_cpu, no_tdp)?,
        generation_new: unseen(results, &by_generation, told)?,
        both: unseen(results, &by_generation, no_tdp)?,
        cpu_unknown: unseen(results, &by_cpu, no_cpu)?,
    })
}

/// The fold of each result: the largest groups first, each into what is the smallest fold then.
fn folds(results: &[Published]) -> Vec<String> {
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    for result in results {
        *sizes.entry(&result.group).or_default() += 1;
    }
    let mut groups: Vec<(usize, &str)> = sizes.into_iter().map(|(group, size)| (size, group)).collect();
    groups.sort_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(other.1)));
    let mut filled = [0; FOLDS];
    let mut fold_of = BTreeMap::new();
    for (size, group) in groups {
        let fold = (0..FOLDS).min_by_key(|fold| (filled[*fold], *fold)).unwrap_or(0);
        filled[fold] += size;
        fold_of.insert(group, fold);
    }
    results
        .iter()
        .map(|result| fold_of[result.group.as_str()].to_string())
        .collect()
}

/// Predicts each result by a model that was fitted to all others of another fold.
fn unseen(results: &[Published], folds: &[String], told: impl Fn(&Published) -> Given) -> Result<Predicted> {
    let names: BTreeSet<&String> = folds.iter().collect();
    let mut models: BTreeMap<&String, PlatformModel> = BTreeMap::new();
    for name in names {
        let others = results
            .iter()
            .zip(folds)
            .filter(|(_, fold)| *fold != name)
            .map(|(result, _)| result);
        models.insert(name, fit(others)?);
    }
    let predict = |(result, fold): (&Published, &String)| {
        let model = &models[fold];
        let Curve { watts, .. } = model.curve(&complete(&told(result), model));
        watts
    };
    Ok(results.iter().zip(folds).map(predict).collect())
}

impl Cases {
    /// The errors that are shipped.
    pub(super) fn doubts(&self) -> Doubts {
        Doubts {
            known: self.doubt(&self.known),
            tdp_guessed: self.doubt(&self.tdp_guessed),
            generation_new: self.doubt(&self.generation_new),
            both: self.doubt(&self.both),
            cpu_unknown: self.doubt(&self.cpu_unknown),
        }
    }

    fn doubt(&self, predicted: &Predicted) -> Doubt {
        let mut doubt = Doubt {
            p10: [0.0; LEVELS],
            p90: [0.0; LEVELS],
            relative_error_permille: 1,
        };
        for level in 0..LEVELS {
            let of = |error: fn(f64, f64) -> f64| -> Vec<f64> {
                self.measured
                    .iter()
                    .zip(predicted)
                    .map(|(measured, predicted)| error(predicted[level], measured[level]))
                    .collect()
            };
            let logs = of(|predicted, measured| (measured / predicted).ln());
            doubt.p10[level] = rounded(quantile(logs.clone(), 100).min(0.0));
            doubt.p90[level] = rounded(quantile(logs, 900).max(0.0));
            let relative = quantile(of(|predicted, measured| (predicted / measured - 1.0).abs()), 900);
            let permille = (1..=10_000)
                .find(|permille| f64::from(*permille) >= relative * 1_000.0)
                .unwrap_or(10_000);
            doubt.relative_error_permille = doubt.relative_error_permille.max(permille);
        }
        doubt
    }
}

/// The value that so many thousandths are not above of.
pub(super) fn quantile(mut values: Vec<f64>, permille: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len() * permille).div_ceil(1_000).max(1) - 1;
    values.get(at).copied().unwrap_or(0.0)
}
