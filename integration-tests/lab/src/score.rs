// SPDX-License-Identifier: Apache-2.0
//! How far a bill is from the truth.

use crate::bill::Parts;
use crate::run::{Outcome, Run};

/// One rule in one scenario. All in percent.
#[derive(Clone, Debug)]
pub struct Score {
    /// The rule.
    pub rule: &'static str,
    /// Sum of |billed - true| over all workloads and what is nobody's (true: nothing), over the sum of what is true.
    pub error: f64,
    /// The same with packages, memories and GPU each on their own, so that one's error cannot hide another's.
    pub parts: f64,
    /// As `parts`, after what was billed of each part was scaled to the true sum of it: what is wrong with the shares alone.
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

fn sum(parts: &Parts) -> f64 {
    parts.iter().sum()
}

fn of(run: &Run, outcome: &Outcome, way: usize) -> Score {
    let truth = &run.truth[way];
    let bill = &outcome.bill;
    let pairs = || {
        bill.dynamic
            .iter()
            .zip(truth)
            .chain([(&bill.unattributed, &[0.0; 3])])
    };
    let whole: f64 = truth.iter().map(sum).sum();
    let off: f64 = pairs()
        .map(|(billed, truth)| (sum(billed) - sum(truth)).abs())
        .sum();
    let scale: Parts = std::array::from_fn(|part| {
        let [billed, truth] = pairs().fold([0.0; 2], |[b, t], (billed, truth)| {
            [b + billed[part], t + truth[part]]
        });
        if billed > 0.0 { truth / billed } else { 1.0 }
    });
    let off_by_part = |scale: &Parts| -> f64 {
        let parts = pairs().flat_map(|(billed, truth)| billed.iter().zip(truth).zip(scale));
        parts
            .map(|((billed, truth), scale)| (billed * scale - truth).abs())
            .sum()
    };
    let of_note = run
        .workloads
        .iter()
        .zip(pairs())
        .filter(|(_, (_, truth))| sum(truth) >= whole / 100.0);
    let worst = of_note
        .map(|(name, (billed, truth))| (name.clone(), (sum(billed) / sum(truth) - 1.0) * 100.0))
        .max_by(|(_, one), (_, other)| one.abs().total_cmp(&other.abs()));
    Score {
        rule: outcome.rule,
        error: off / whole * 100.0,
        parts: off_by_part(&[1.0; 3]) / whole * 100.0,
        shares: off_by_part(&scale) / whole * 100.0,
        worst: worst.unwrap_or_default(),
        kept: (bill.total() / (whole + run.idle) - 1.0) * 100.0,
        idle: (bill.idle / run.idle - 1.0) * 100.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bill::Bill;

    fn scored(dynamic: Vec<Parts>, unattributed: f64, idle: f64) -> Score {
        let run = Run {
            name: "",
            about: "",
            workloads: vec!["a".to_owned(), "b".to_owned()],
            truth: std::array::from_fn(|_| vec![[60.0, 20.0, 0.0], [20.0, 0.0, 0.0]]),
            idle: 100.0,
            outcomes: vec![Outcome {
                rule: "",
                bill: Bill {
                    dynamic,
                    unattributed: [unattributed, 0.0, 0.0],
                    idle,
                },
            }],
            broken: Vec::new(),
        };
        score(&run, 0).remove(0)
    }

    #[test]
    fn energy_on_the_wrong_bill_counts_where_it_is_missing_and_where_it_is_too_much() {
        let score = scored(vec![[50.0, 20.0, 0.0], [30.0, 0.0, 0.0]], 0.0, 100.0);
        assert!((score.error - 20.0).abs() < 1e-9);
        assert_eq!(score.worst.0, "b");
        assert!((score.worst.1 - 50.0).abs() < 1e-9 && score.kept.abs() < 1e-9);
    }

    #[test]
    fn what_is_nobodys_counts_like_a_wrong_bill() {
        assert!((scored(vec![[50.0, 20.0, 0.0], [20.0, 0.0, 0.0]], 10.0, 100.0).error - 20.0).abs() < 1e-9);
    }

    #[test]
    fn a_scaled_bill_has_right_shares_and_a_swapped_part_only_wrong_parts() {
        let halved = scored(vec![[30.0, 10.0, 0.0], [10.0, 0.0, 0.0]], 0.0, 150.0);
        assert!((halved.error - 50.0).abs() < 1e-9 && halved.shares.abs() < 1e-9);
        assert!(halved.kept.abs() < 1e-9 && (halved.idle - 50.0).abs() < 1e-9);
        let swapped = scored(vec![[70.0, 10.0, 0.0], [10.0, 10.0, 0.0]], 0.0, 100.0);
        assert!(swapped.error.abs() < 1e-9 && (swapped.parts - 40.0).abs() < 1e-9);
    }
}
