// SPDX-License-Identifier: Apache-2.0
//! Scores as tables in Markdown, for the terminal and for the page.

use crate::run::Run;
use crate::score::{Score, score};
use std::fmt::Write;

/// One scenario with its scores.
pub struct Judged {
    /// The run.
    pub run: Run,
    /// Scores of every rule, by the first truth.
    pub scores: Vec<Score>,
}

impl Judged {
    /// Scores a run.
    #[must_use]
    pub fn new(run: Run) -> Self {
        Self {
            scores: score(&run, 0),
            run,
        }
    }
}

/// Scenario by rule, with what `cell` says of a score.
#[must_use]
pub fn grid(judged: &[Judged], cell: impl Fn(&Score) -> String) -> String {
    let mut text = String::new();
    let names: Vec<&str> = judged
        .first()
        .map_or(Vec::new(), |one| one.scores.iter().map(|it| it.rule).collect());
    let _ = writeln!(text, "| scenario | {} |", names.join(" | "));
    let _ = writeln!(text, "|---|{}", "---:|".repeat(names.len()));
    for one in judged {
        let cells: Vec<String> = one.scores.iter().map(&cell).collect();
        let _ = writeln!(text, "| {} | {} |", one.run.name, cells.join(" | "));
    }
    text
}

/// A percentage with a decimal.
#[must_use]
pub fn percent(value: f64) -> String {
    format!("{value:.1} %")
}

/// A percentage with its sign.
#[must_use]
pub fn signed(value: f64) -> String {
    let text = format!("{value:+.2} %");
    // Nothing has no sign.
    if text.ends_with("0.00 %") && value.abs() < 0.01 {
        "0.00 %".to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_has_no_sign_and_everything_else_has() {
        let told = [-0.001, 0.0, 0.004, -0.01, 12.0, -10.0].map(signed);
        assert_eq!(
            told,
            ["0.00 %", "0.00 %", "0.00 %", "-0.01 %", "+12.00 %", "-10.00 %"]
        );
    }
}
