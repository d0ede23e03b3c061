// SPDX-License-Identifier: Apache-2.0
//! What was really used: owns the guest's own log of its meters, and the way from a moment to the energy until then.
//!
//! Lines are `rapl NS PACKAGE UJ UJ UJ UJ` (package, core, DRAM and psys of one package), `task NS` (CPU time of the burner
//! at the moment of the line before), and facts for `scenes`: `raw WHEN VALUE`, the counter as the kernel shows it.

use std::collections::BTreeMap;

/// In the order of a line.
const PARTS: [&str; 4] = ["package", "core", "dram", "psys"];

/// Longest way between two lines to draw a straight line over. They come five times a second.
const LONGEST_GAP_NS: u64 = 3_000_000_000;

/// A log of meters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Truth {
    /// Moment and total by name: `package 0`, `task`.
    series: BTreeMap<String, Vec<(u64, u64)>>,
    facts: BTreeMap<String, u64>,
}

impl Truth {
    /// Out of its lines. What is no such line is left out: rows that need it will say that it is missing.
    #[must_use]
    pub fn parse(lines: &[String]) -> Self {
        let mut truth = Self::default();
        let mut now = 0;
        for line in lines {
            let mut words = line.split(' ');
            let kind = words.next().unwrap_or_default();
            let words: Vec<&str> = words.collect();
            let numbers: Vec<u64> = words.iter().filter_map(|word| word.parse().ok()).collect();
            match (kind, numbers.as_slice()) {
                ("rapl", [at, package, totals @ ..]) => {
                    now = *at;
                    for (part, total) in PARTS.iter().zip(totals) {
                        let name = format!("{part} {package}");
                        truth.series.entry(name).or_default().push((now, *total));
                    }
                }
                ("task", [total]) => {
                    truth
                        .series
                        .entry("task".to_owned())
                        .or_default()
                        .push((now, *total));
                }
                (_, [value]) => {
                    let name = words
                        .first()
                        .map_or(String::new(), |word| format!("{kind} {word}"));
                    truth.facts.insert(name, *value);
                }
                _ => {}
            }
        }
        truth
    }

    /// The total of a series at a moment: on the straight line between the lines before and after it.
    ///
    /// # Errors
    /// That the log does not tell, in words.
    pub fn total(&self, name: &str, at: u64) -> Result<u64, String> {
        let series = self.series.get(name).map_or(&[][..], Vec::as_slice);
        let after = series.partition_point(|(then, _)| *then < at);
        let pair = after
            .checked_sub(1)
            .and_then(|before| series.get(before).zip(series.get(after)));
        let straight = pair.and_then(|(before, after)| between(*before, *after, at));
        straight.ok_or_else(|| format!("the guest's log does not say what {name} was at {at} ns"))
    }

    /// What a fact says.
    ///
    /// # Errors
    /// That there is none, in words.
    pub fn fact(&self, name: &str) -> Result<u64, String> {
        let fact = self.facts.get(name).copied();
        fact.ok_or_else(|| format!("the guest's log does not say {name}"))
    }
}

/// `None` where the meter began anew, and over a gap.
fn between((then, low): (u64, u64), (next, high): (u64, u64), at: u64) -> Option<u64> {
    let way = next.checked_sub(then).filter(|way| *way <= LONGEST_GAP_NS)?;
    let rise = u128::from(high.checked_sub(low)?);
    let part = u128::from(at.checked_sub(then)?);
    let risen = rise * part / u128::from(way.max(1));
    low.checked_add(u64::try_from(risen).ok()?)
}
