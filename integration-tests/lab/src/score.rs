// SPDX-License-Identifier: Apache-2.0
//! How far a bill is from the truth.

use crate::run::{Outcome, Run};

/// One rule in one scenario. All in percent.
#[derive(Clone, Debug)]
pub struct Score {
    /// The rule.
    pub rule: &'static str,
    /// Sum of |billed - true| over all workloads and what is nobody's (true: nothing), over the sum of what is true.
    pub error: f64,
    /// The same after the bills were scaled to the true sum: what is wrong with the shares alone.
    pub shares: f64,
    /// The workload that is billed most wrongly, of those with a hundredth of the energy at least.
    pub worst: (String, f64),
    /// All that was billed (dynamic, idle, nobody's) over what was used, minus one.
    pub kept: f64,
    /// Idle energy over the true one, minus one.
    pub idle: f64,
}

/// Scores every rule by the truth at `way` of [`crate::physics::Truth::ALL`].
#[must_use]
pub fn score(run: &Run, way: usize) -> Vec<Score> {
    run.outcomes.iter().map(|outcome| of(run, outcome, way)).collect()
}

fn of(run: &Run, outcome: &Outcome, way: usize) -> Score {
    let truth = &run.truth[way];
    let (bill, sum) = (&outcome.bill, truth.iter().sum::<f64>());
    let nobody = bill.unattributed;
    let billed: f64 = bill.dynamic.iter().sum::<f64>() + nobody;
    let scale = if billed > 0.0 { sum / billed } else { 1.0 };
    let off = |scale: f64| -> f64 {
        let named = bill.dynamic.iter().zip(truth).map(|(billed, truth)| (billed * scale - truth).abs());
        (named.sum::<f64>() + nobody * scale) / sum * 100.0
    };
    let worst = run.workloads.iter().zip(&bill.dynamic).zip(truth);
    let worst = worst
        .filter(|(_, truth)| **truth >= sum / 100.0)
        .map(|((name, billed), truth)| (name.clone(), (billed / truth - 1.0) * 100.0))
        .max_by(|(_, one), (_, other)| one.abs().total_cmp(&other.abs()));
    Score {
        rule: outcome.rule,
        error: off(1.0),
        shares: off(scale),
        worst: worst.unwrap_or_default(),
        kept: (bill.total() / (sum + run.idle) - 1.0) * 100.0,
        idle: (bill.idle / run.idle - 1.0) * 100.0,
    }
}
