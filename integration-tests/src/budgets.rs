// SPDX-License-Identifier: Apache-2.0
//! Budgets: how many instructions something may take, and whether what was counted keeps to it.
//!
//! Pure: counts come in as names and numbers, a table goes out. What counts them is `src/bin/budgets.rs`. Nobody is held to a
//! time here, for time is noise on a machine that others use; instructions are the same in every run.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// How far a count may be above its budget, in percent, before it has grown; and below it, before the budget is to follow.
pub const SLACK_PERCENT: u64 = 5;

/// Counts by name.
pub type Counts = BTreeMap<String, u64>;

/// The budgets of a file: counts by name, in sections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budgets(BTreeMap<String, Counts>);

/// What a count is to its budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Neither grew nor fell by more than the slack.
    Kept,
    /// Grew by more: not without the budget in the same commit.
    Grew,
    /// Fell by more: the budget should follow, so that the gain is not lost again unseen.
    Fell,
    /// Nothing is said of it in the file.
    Unknown,
    /// Said of in the file, and not counted.
    Missing,
}

/// A count beside its budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Of what.
    pub name: String,
    /// What was counted.
    pub measured: Option<u64>,
    /// What it may be.
    pub budget: Option<u64>,
}

impl Budgets {
    /// Out of the file's text.
    ///
    /// # Errors
    /// What is no budget, and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text)
            .map(Self)
            .map_err(|error| format!("not sections of names with counts: {error}"))
    }

    /// Of a section; none where it is not there.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<&Counts> {
        self.0.get(name)
    }

    /// Puts a section in the place of what was there.
    pub fn put(&mut self, name: &str, counts: Counts) {
        self.0.insert(name.to_owned(), counts);
    }
}

impl fmt::Display for Budgets {
    /// As [`Budgets::parse`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (section, counts) in &self.0 {
            writeln!(f, "\n[{section:?}]")?;
            for (name, count) in counts {
                writeln!(f, "{name:?} = {count}")?;
            }
        }
        Ok(())
    }
}

impl Row {
    /// Everything that was counted or has a budget.
    #[must_use]
    pub fn all(measured: &Counts, budgets: &Counts) -> Vec<Self> {
        let mut names: Vec<&String> = measured.keys().chain(budgets.keys()).collect();
        names.sort();
        names.dedup();
        let row = |name: &String| Self {
            name: name.clone(),
            measured: measured.get(name).copied(),
            budget: budgets.get(name).copied(),
        };
        names.into_iter().map(row).collect()
    }

    /// Whether it keeps to it.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match (self.measured, self.budget) {
            (Some(now), Some(budget)) if now * 100 > budget * (100 + SLACK_PERCENT) => Verdict::Grew,
            (Some(now), Some(budget)) if now * 100 < budget * (100 - SLACK_PERCENT) => Verdict::Fell,
            (Some(_), Some(_)) => Verdict::Kept,
            (Some(_), None) => Verdict::Unknown,
            (None, _) => Verdict::Missing,
        }
    }
}

impl Verdict {
    /// Whether a change may not go in with it.
    #[must_use]
    pub const fn fails(self) -> bool {
        matches!(self, Self::Grew | Self::Unknown | Self::Missing)
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Kept => "",
            Self::Grew => "GREW",
            Self::Fell => "fell: lower the budget",
            Self::Unknown => "NO BUDGET",
            Self::Missing => "NOT COUNTED",
        }
    }
}

/// The rows as a table.
#[must_use]
pub fn table(what: &str, rows: &[Row]) -> String {
    let mut text = format!("| {what} | counted | budget | change | |\n|---|---:|---:|---:|---|\n");
    for row in rows {
        let number = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
        let line = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            row.name,
            number(row.measured),
            number(row.budget),
            change(row.measured, row.budget),
            row.verdict().words()
        );
        line.expect("a string takes every line");
    }
    text
}

fn change(measured: Option<u64>, budget: Option<u64>) -> String {
    let (Some(now), Some(budget @ 1..)) = (measured, budget) else {
        return "-".to_owned();
    };
    let permille = now.abs_diff(budget) * 1_000 / budget;
    let sign = if now < budget { '-' } else { '+' };
    format!("{sign}{}.{} %", permille / 10, permille % 10)
}

/// What callgrind collected, out of the file that it writes.
///
/// # Errors
/// When it says nothing, or that nothing was collected: then the function was not found.
pub fn collected(text: &str) -> Result<u64, String> {
    let line = text.lines().find_map(|line| line.strip_prefix("totals: "));
    let count = line.and_then(|count| count.trim().parse().ok());
    match count {
        None | Some(0) => {
            Err("callgrind collected nothing: collected_by_callgrind was not called".to_owned())
        }
        Some(count) => Ok(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(all: &[(&str, u64)]) -> Counts {
        all.iter()
            .map(|(name, count)| ((*name).to_owned(), *count))
            .collect()
    }

    #[test]
    fn growth_beyond_the_slack_fails_and_a_fall_is_told() {
        let budgets = counts(&[
            ("a", 1_000),
            ("b", 1_000),
            ("c", 1_000),
            ("d", 1_000),
            ("gone", 1),
        ]);
        let measured = counts(&[("a", 1_050), ("b", 1_051), ("c", 950), ("d", 949), ("new", 1)]);
        let verdicts = Row::all(&measured, &budgets)
            .iter()
            .map(|row| (row.name.clone(), row.verdict(), row.verdict().fails()))
            .collect::<Vec<_>>();
        let expected = [
            ("a", Verdict::Kept, false),
            ("b", Verdict::Grew, true),
            ("c", Verdict::Kept, false),
            ("d", Verdict::Fell, false),
            ("gone", Verdict::Missing, true),
            ("new", Verdict::Unknown, true),
        ];
        assert_eq!(
            verdicts,
            expected.map(|(name, verdict, fails)| (name.to_owned(), verdict, fails))
        );
    }

    #[test]
    fn the_table_says_by_how_much() {
        let rows = Row::all(
            &counts(&[("a", 1_123), ("b", 90)]),
            &counts(&[("a", 1_000), ("b", 100), ("c", 0)]),
        );
        let table = table("window", &rows);
        assert!(table.contains("| a | 1123 | 1000 | +12.3 % | GREW |"), "{table}");
        assert!(
            table.contains("| b | 90 | 100 | -10.0 % | fell: lower the budget |"),
            "{table}"
        );
        assert!(table.contains("| c | - | 0 | - | NOT COUNTED |"), "{table}");
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let mut budgets = Budgets::default();
        budgets.put(
            "programs, verified on 6.18",
            counts(&[("a/b", 7), ("c: d, \"e\"", 8)]),
        );
        budgets.put("instructions", counts(&[("window: 1,000 processes", 1_271_723)]));
        assert_eq!(Budgets::parse(&budgets.to_string()), Ok(budgets));
        let error = Budgets::parse("[a]\nb = 'c'").unwrap_err();
        assert!(error.contains("b = 'c'"), "{error}");
    }

    #[test]
    fn a_count_of_nothing_is_no_count() {
        assert_eq!(collected("events: Ir\nfn=x\n3 9\n\ntotals: 9\n"), Ok(9));
        assert!(collected("totals: 0").is_err() && collected("").is_err());
    }
}
