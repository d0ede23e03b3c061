// SPDX-License-Identifier: Apache-2.0
//! `docs/lab.md`: the words of `page.md` with the figures of a run.

use crate::physics::Truth;
use crate::score::{Score, score};
use crate::table::{Judged, grid, percent, signed};
use crate::verdict::{Against, Aim, aim};
use std::fmt::Write;

/// The page's words, with names of tables in double braces.
const WORDS: &str = include_str!("../page.md");

/// The page.
#[must_use]
pub fn page(judged: &[Judged]) -> String {
    let tables: [(&str, String); 9] = [
        ("verdict", verdict(judged)),
        ("scenarios", scenarios(judged)),
        ("error", grid(judged, |score| percent(score.error))),
        ("parts", grid(judged, |score| percent(score.parts))),
        ("shares", grid(judged, |score| percent(score.shares))),
        ("worst", grid(judged, worst)),
        ("kept", grid(judged, |score| signed(score.kept))),
        ("idle", grid(judged, |score| signed(score.idle))),
        ("truths", truths(judged)),
    ];
    tables.into_iter().fold(WORDS.to_owned(), |page, (name, table)| {
        page.replace(&format!("{{{{{name}}}}}"), table.trim_end())
    })
}

/// A workload and by how much its bill is wrong.
#[must_use]
pub fn worst(score: &Score) -> String {
    format!("{} {:+.0} %", score.worst.0, score.worst.1)
}

fn scenarios(judged: &[Judged]) -> String {
    let mut text = "| scenario | what happens |\n|---|---|\n".to_owned();
    for one in judged {
        let _ = writeln!(text, "| {} | {} |", one.run.name, one.run.about);
    }
    text
}

/// The aim by scenario.
#[must_use]
pub fn verdict(judged: &[Judged]) -> String {
    let mut text =
        "| scenario | ours | better one as it samples | at most | | better formula | at most | |\n"
            .to_owned();
    text.push_str("|---|---:|---:|---:|---|---:|---:|---|\n");
    let mut held = [0; 2];
    for one in judged {
        let aims = [Against::Sampled, Against::Formula].map(|against| aim(one, against, |score| score.error));
        let [Some(sampled), Some(formula)] = aims else {
            continue;
        };
        let ours = percent(sampled.ours);
        let _ = writeln!(
            text,
            "| {} | {ours} | {} | {} |",
            one.run.name,
            cells(&sampled),
            cells(&formula)
        );
        for (held, aim) in held.iter_mut().zip([sampled, formula]) {
            *held += usize::from(aim.is_held());
        }
    }
    let all = judged.len();
    let broken: usize = judged.iter().map(|one| one.run.broken.len()).sum();
    let conserved = if broken == 0 {
        "exact in every window of every scenario"
    } else {
        "BROKEN"
    };
    format!(
        "Reached against the rules as they sample in {} of {all} scenarios, against their formulas over perfect input in {} of {all}. \
         Conservation: {conserved}.\n\n{text}",
        held[0], held[1]
    )
}

fn cells(aim: &Aim) -> String {
    let is_held = if aim.is_held() { "yes" } else { "**no**" };
    format!(
        "{} {} | {} | {is_held}",
        aim.better.0,
        percent(aim.better.1),
        percent(aim.limit)
    )
}

/// Mean error of every rule under each definition of truth.
fn truths(judged: &[Judged]) -> String {
    let names: Vec<&str> = judged
        .first()
        .map_or(Vec::new(), |one| one.scores.iter().map(|it| it.rule).collect());
    let mut text = format!(
        "| shared costs are split | {} |\n|---|{}\n",
        names.join(" | "),
        "---:|".repeat(names.len())
    );
    for (way, truth) in Truth::ALL.into_iter().enumerate() {
        let scores: Vec<Vec<Score>> = judged.iter().map(|one| score(&one.run, way)).collect();
        let mean =
            |rule: usize| scores.iter().map(|scores| scores[rule].parts).sum::<f64>() / scores.len() as f64;
        let cells: Vec<String> = (0..names.len()).map(|rule| percent(mean(rule))).collect();
        let name = match truth {
            Truth::Threads => "equally among threads",
            Truth::Workloads => "equally among workloads",
            Truth::Proportional => "in proportion to own cost",
        };
        let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
    }
    text
}
