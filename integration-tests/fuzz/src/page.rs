// SPDX-License-Identifier: Apache-2.0
//! What libFuzzer said, and the page that is made of it. Pure: figures are those of runs that took place, and a target that was
//! not run has none.

use crate::{TARGETS, Target};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// One run of one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// How long it was to run.
    pub seconds: u64,
    /// Inputs that were tried.
    pub executions: u64,
    /// Edges of the instrumented program that were reached.
    pub edges: u64,
    /// Edges by how often they were passed, and comparisons by how near they came.
    pub features: u64,
    /// Inputs that the engine kept, because each reached something new.
    pub kept: u64,
    /// Whether it ended with an input that does not hold.
    pub failed: bool,
    /// What was instrumented.
    pub build: Build,
}

/// What was instrumented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// Every crate, optimised.
    All,
    /// Our own crates, not optimised.
    Own,
}

impl Build {
    /// As `FUZZ_BUILD` says it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Own => "own",
        }
    }

    /// What [`Self::name`] wrote.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::All, Self::Own]
            .into_iter()
            .find(|build| build.name() == name)
    }
}

impl Run {
    /// Reads what libFuzzer wrote; `None` where it did not come so far.
    #[must_use]
    pub fn read(log: &str, seconds: u64, failed: bool, build: Build) -> Option<Self> {
        let after = |line: &str, word: &str| -> Option<u64> {
            let (_, rest) = line.split_once(word)?;
            let digits = rest
                .trim_start()
                .split(|char: char| !char.is_ascii_digit())
                .next()?;
            digits.parse().ok()
        };
        let last = |word: &str| log.lines().rev().find_map(|line| after(line, word));
        Some(Self {
            seconds,
            executions: last("stat::number_of_executed_units:")?,
            edges: last(" cov:")?,
            features: last(" ft:")?,
            kept: last(" corp:")?,
            failed,
            build,
        })
    }

    /// As one line of a file, and back.
    #[must_use]
    pub fn line(&self) -> String {
        let Self {
            seconds,
            executions,
            edges,
            features,
            kept,
            failed,
            build,
        } = self;
        let build = build.name();
        format!("{seconds} {executions} {edges} {features} {kept} {failed} {build}\n")
    }

    /// What [`Self::line`] wrote.
    #[must_use]
    pub fn of_line(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let mut number = || words.next()?.parse().ok();
        Some(Self {
            seconds: number()?,
            executions: number()?,
            edges: number()?,
            features: number()?,
            kept: number()?,
            failed: words.next()? == "true",
            build: Build::named(words.next()?)?,
        })
    }
}

const HEAD: &str = "\
<!-- SPDX-License-Identifier: Apache-2.0 -->
<!-- Written by `make fuzz`. -->
# Fuzzing

Everything that is not ours is read by a parser that is a pure function of bytes, and each of them is a target here: names that tenants choose, answers from the network, files of
operators, files of the kernel. A target does more than not panic: what it takes is bounded and clean of control characters where it becomes a label or a line of a log, a number is in its range, what is
written is read back the same, and what is cut by the network is the same as what is not. What has to hold is said in `fuzz.rs` beside each parser, in builds with the feature `fuzzing` alone: no parser is public
in the daemon for this.

```console
$ make fuzz                                   # ten minutes of each target
$ make fuzz FUZZ_SECONDS=60 FUZZ=\"libvirt redfish\"
```

libFuzzer, on stable Rust, with the compiler's own instrumentation of edges and comparisons (`-Cpasses=sancov-module`), with checks of overflow and debug assertions: in every crate but the standard
library, optimised (build *all*, the default), or in our own crates only and not optimised (`FUZZ_BUILD=own`, *own* below), which is built in a minute, tries a tenth as many inputs and sees less of what it does. Whatever it finds goes to `.cache/fuzz/crashes`; its corpus grows in `.cache/fuzz/corpus`, out of the samples in `integration-tests/fuzz/corpus`. `make test` tries all of these
samples, and the same 1,500 mutations of each target's in every run.

## What it found so far and was mended

Words about a state file that is none quoted a name in it whole, with each control character as six: a line of megabytes in the log. They have 200 columns now. And two laws here that were too strict: a libvirt document that is 64 elements deep and whose domain never ends is refused when it goes on, and what a recording says
again (tallies, a source's words) is not written again. The inputs are in the corpus.

## What was run

Executions are inputs that were tried. Edges and features are libFuzzer's (`cov`, `ft`): of the whole program, whose few thousand edges of start-up and formatting are in each. *Kept* are inputs that reached something new.

| target | bytes | chosen by, at worst | build | seconds | executions | edges | features | kept | inputs that do not hold |
|---|---|---|---|---|---|---|---|---|---|
";

/// The page, out of the newest run of each target.
#[must_use]
pub fn page(runs: &BTreeMap<&str, Run>) -> String {
    let mut out = HEAD.to_owned();
    let mut sum = 0_u64;
    for Target {
        name, bytes, from, ..
    } in TARGETS
    {
        let from = from.name();
        let row = match runs.get(name) {
            Some(run) => {
                sum = sum.saturating_add(run.executions);
                let failed = if run.failed { "**1**" } else { "0" };
                format!(
                    "{} | {} | {} | {} | {} | {} | {failed}",
                    run.build.name(),
                    run.seconds,
                    grouped(run.executions),
                    grouped(run.edges),
                    grouped(run.features),
                    grouped(run.kept)
                )
            }
            None => "not run | | | | | |".to_owned(),
        };
        // Writing into a string does not fail.
        let _ = writeln!(out, "| `{name}` | {bytes} | {from} | {row} |");
    }
    let _ = writeln!(out, "\n{} inputs in all. {}", grouped(sum), verdict(runs));
    out
}

/// What the runs in the table say.
fn verdict(runs: &BTreeMap<&str, Run>) -> String {
    let ran = TARGETS
        .iter()
        .filter_map(|target| Some((target.name, runs.get(target.name)?)));
    let (failed, held): (Vec<_>, Vec<_>) = ran.partition(|(_, run)| run.failed);
    let not_run = TARGETS.len() - failed.len() - held.len();
    let mut words = match failed.len() {
        0 if held.is_empty() => "No target was run.".to_owned(),
        0 => format!("Of {} targets that were run, none failed.", held.len()),
        _ => {
            let names: Vec<_> = failed.iter().map(|(name, _)| format!("`{name}`")).collect();
            let ran = failed.len() + held.len();
            format!(
                "Of {ran} targets that were run, {} ended with an input that does not hold: {}.",
                failed.len(),
                names.join(", ")
            )
        }
    };
    if not_run > 0 {
        let _ = write!(words, " {not_run} were not run.");
    }
    words
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
#2\tINITED cov: 8 ft: 9 corp: 1/1b exec/s: 0 rss: 27Mb
#11408\tREDUCE cov: 10 ft: 12 corp: 3/9b lim: 110 exec/s: 0 rss: 27Mb L: 4/4 MS: 1 EraseBytes-
#24515031\tDONE   cov: 22 ft: 31 corp: 8/62b lim: 309 exec/s: 0 rss: 27Mb
Done 24515031 runs in 21 second(s)
stat::number_of_executed_units: 24515031
stat::average_exec_per_sec:     1167382
";

    #[test]
    fn figures_are_the_last_that_the_engine_said() {
        let run = Run::read(LOG, 20, false, Build::All).unwrap();
        let expected = Run {
            seconds: 20,
            executions: 24_515_031,
            edges: 22,
            features: 31,
            kept: 8,
            failed: false,
            build: Build::All,
        };
        assert_eq!(run, expected);
        assert_eq!(Run::of_line(&run.line()), Some(run));
        assert_eq!(Run::read("no such thing", 20, false, Build::All), None);
    }

    #[test]
    fn a_target_that_was_not_run_has_no_figures() {
        let run = Run::read(LOG, 20, true, Build::Own).unwrap();
        let page = page(&BTreeMap::from([("libvirt", run)]));
        assert!(
            page.contains(
                "| `libvirt` | libvirt's run-time XML | a tenant | own | 20 | 24,515,031 | 22 | 31 | 8 | **1** |"
            ),
            "{page}"
        );
        assert_eq!(page.matches("| not run |").count(), TARGETS.len() - 1);
        let verdict = format!(
            "\n24,515,031 inputs in all. Of 1 targets that were run, 1 ended with an input that does not hold: `libvirt`. {} were not run.\n",
            TARGETS.len() - 1
        );
        assert!(page.ends_with(&verdict), "{page}");
    }

    #[test]
    fn the_verdict_is_of_the_runs_in_the_table() {
        let held = Run::read(LOG, 20, false, Build::All).unwrap();
        let failed = Run { failed: true, ..held };
        let mut runs: BTreeMap<&str, Run> = BTreeMap::new();
        let said = |runs: &BTreeMap<&str, Run>| page(runs).lines().last().unwrap_or_default().to_owned();
        assert!(
            said(&runs).starts_with("0 inputs in all. No target was run. "),
            "{}",
            said(&runs)
        );
        runs.extend(TARGETS.iter().map(|target| (target.name, held)));
        let all = format!("Of {} targets that were run, none failed.", TARGETS.len());
        assert!(said(&runs).ends_with(&all), "{}", said(&runs));
        runs.extend([("libvirt", failed), ("recording", failed)]);
        let two = "2 ended with an input that does not hold: `libvirt`, `recording`.";
        assert!(said(&runs).ends_with(two), "{}", said(&runs));
    }
}
