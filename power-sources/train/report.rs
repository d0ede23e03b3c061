// SPDX-License-Identifier: Apache-2.0
//! The report: owns its tables. Everything in it is computed from the predictions of unseen machines.

use super::data::Published;
use super::validate::{Cases, FOLDS, Predicted, quantile};
use power_sources::estimator::platform::LEVELS;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// What the eBPF-era Kepler (0.7 to 0.9) took for a platform without a meter: a line of its default model.
const EBPF_IDLE: f64 = 63.73;
const EBPF_DYNAMIC: f64 = 60.74;

/// The report as Markdown.
pub(super) fn write(results: &[Published], cases: &Cases) -> String {
    let groups: BTreeSet<&str> = results.iter().map(|result| result.group.as_str()).collect();
    let mut text = format!(
        "# What the estimator's built-in model is worth\n\n\
        Written by `make train SHARED=FOLDER`; not by hand. {} published SPECpower_ssj2008 results (spec.org, power_ssj2008; SPEC and\n\
        SPECpower_ssj are trademarks of the Standard Performance Evaluation Corporation), {} CPU models, wall watts at active idle and ten\n\
        loads each. Every figure is about machines that the model in question has not seen: {FOLDS}-fold cross-validation grouped by CPU\n\
        model, never the same CPU model (nor its variants by memory limit or sockets) on both sides. How the model works, and what is not in\n\
        these figures: [estimator.md](estimator.md).\n\n\
        Errors are relative, `|predicted / measured - 1|`: mean (MAPE), median, and what nine of ten cases are below of.\n\n",
        results.len(),
        groups.len(),
    );
    let line = |ends: (f64, f64)| -> [f64; LEVELS] {
        std::array::from_fn(|level| ends.0 + (ends.1 - ends.0) * tenth(level))
    };
    let ends = |predicted: &Predicted| -> Predicted {
        predicted
            .iter()
            .map(|watts| line((watts[0], watts[LEVELS - 1])))
            .collect()
    };
    let ebpf: Predicted = results
        .iter()
        .map(|_| line((EBPF_IDLE, EBPF_IDLE + EBPF_DYNAMIC)))
        .collect();
    let kinds: [(&str, &Predicted); 8] = [
        ("**the model**, with all that a daemon finds out", &cases.known),
        ("the model, TDP not known", &cases.tdp_guessed),
        (
            "the model, no machine of that generation in the fit",
            &cases.generation_new,
        ),
        ("the model, neither", &cases.both),
        (
            "the model, nothing known of the CPU but its cores and threads",
            &cases.cpu_unknown,
        ),
        (
            "a straight line between the model's own idle and full",
            &ends(&cases.known),
        ),
        (
            "a straight line between the machine's measured idle and full, which no daemon knows",
            &ends(&cases.measured),
        ),
        ("eBPF era's default, 63.73 W + 60.74 W x load", &ebpf),
    ];
    let _ = writeln!(text, "| | MAPE | median | p90 |\n|---|---|---|---|");
    for (name, predicted) in kinds {
        let _ = writeln!(
            text,
            "| {name} | {} |",
            cells(&errors(cases, predicted, |_| true, 0..LEVELS))
        );
    }
    let _ = writeln!(
        text,
        "\n## By load\n\nMAPE, and of the model also median and p90, and the band in which eight of ten machines are: measured watts over predicted ones.\n"
    );
    let _ = writeln!(
        text,
        "| load | the model | median | p90 | p10 to p90 | straight line, own ends | eBPF era's default |\n|---|---|---|---|---|---|---|"
    );
    let doubts = cases.doubts().known;
    for level in 0..LEVELS {
        let of = |predicted: &Predicted| errors(cases, predicted, |_| true, level..level + 1);
        let name = if level == 0 {
            "idle".to_owned()
        } else {
            format!("{} %", level * 10)
        };
        let band = (doubts.p10[level].exp(), doubts.p90[level].exp());
        let own = mean(&of(&ends(&cases.known)));
        let _ = writeln!(
            text,
            "| {name} | {} | {:.2} to {:.2} | {} | {} |",
            cells(&of(&cases.known)),
            band.0,
            band.1,
            percent(own),
            percent(mean(&of(&ebpf)))
        );
    }
    let _ = writeln!(text, "\n## By year of the hardware\n");
    let _ = writeln!(
        text,
        "| year | results | the model: MAPE | median | p90 | TDP not known | generation not in the fit | eBPF era's default |\n|---|---|---|---|---|---|---|---|"
    );
    for (first, last) in [
        (2004, 2008),
        (2009, 2010),
        (2011, 2012),
        (2013, 2015),
        (2016, 2017),
        (2018, 2018),
        (2019, 2019),
        (2020, 2020),
        (2021, 2022),
    ] {
        let within = |result: &Published| (first..=last).contains(&result.year);
        let of = |predicted: &Predicted| errors_of(results, cases, predicted, within);
        let years = if first == last {
            first.to_string()
        } else {
            format!("{first} to {last}")
        };
        let count = results.iter().filter(|result| within(result)).count();
        let _ = writeln!(
            text,
            "| {years} | {count} | {} | {} | {} | {} |",
            cells(&of(&cases.known)),
            percent(mean(&of(&cases.tdp_guessed))),
            percent(mean(&of(&cases.generation_new))),
            percent(mean(&of(&ebpf))),
        );
    }
    let _ = writeln!(
        text,
        "\n## By size\n\n| machines | results | MAPE | median | p90 |\n|---|---|---|---|---|"
    );
    for (name, chips) in [
        ("one chip", 1..2),
        ("two chips", 2..3),
        ("four and eight chips", 3..9),
    ] {
        let within = |result: &Published| result.given.chips.is_some_and(|count| chips.contains(&count));
        let count = results.iter().filter(|result| within(result)).count();
        let _ = writeln!(
            text,
            "| {name} | {count} | {} |",
            cells(&errors_of(results, cases, &cases.known, within))
        );
    }
    text
}

fn tenth(level: usize) -> f64 {
    f64::from(u32::try_from(level).unwrap_or(0)) / 10.0
}

fn errors_of(
    results: &[Published],
    cases: &Cases,
    predicted: &Predicted,
    within: impl Fn(&Published) -> bool,
) -> Vec<f64> {
    errors(cases, predicted, |index| within(&results[index]), 0..LEVELS)
}

fn errors(
    cases: &Cases,
    predicted: &Predicted,
    within: impl Fn(usize) -> bool,
    levels: std::ops::Range<usize>,
) -> Vec<f64> {
    let machines = cases
        .measured
        .iter()
        .zip(predicted)
        .enumerate()
        .filter(|(index, _)| within(*index));
    machines
        .flat_map(|(_, (measured, predicted))| {
            levels
                .clone()
                .map(|level| (predicted[level] / measured[level] - 1.0).abs())
        })
        .collect()
}

fn mean(errors: &[f64]) -> f64 {
    let count = u32::try_from(errors.len()).unwrap_or(u32::MAX).max(1);
    errors.iter().sum::<f64>() / f64::from(count)
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn cells(errors: &[f64]) -> String {
    let quantile = |permille| percent(quantile(errors.to_vec(), permille));
    format!(
        "{} | {} | {}",
        percent(mean(errors)),
        quantile(500),
        quantile(900)
    )
}
