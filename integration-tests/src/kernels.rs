// SPDX-License-Identifier: Apache-2.0
//! What the guests of `make test-kernels` said on their serial lines, and the table that it makes.
//!
//! Pure: text in, Markdown out.

pub mod results;

use crate::serial::{Log, Section};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// One kernel's run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guest {
    /// As the table's head names it: `6.1`, `newest`.
    pub name: String,
    /// Debian's package, and how busy the host was.
    pub package: String,
    log: Log,
}

/// A line of a table: its head, and a cell for each kernel.
type Row = (String, Vec<String>);

/// What is told below a table, and the kernels that it is true of.
type Notes = BTreeMap<String, Vec<String>>;

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Skipped,
    Failed,
}

impl Guest {
    /// Out of what it wrote.
    #[must_use]
    pub fn parse(name: &str, package: &str, log: &str) -> Self {
        Self {
            name: name.to_owned(),
            package: package.trim().to_owned(),
            log: Log::parse(log),
        }
    }

    /// Sections that no later one of the same title replaces: a test that fails runs once more.
    fn last(&self) -> impl Iterator<Item = &Section> {
        let is_last = |at: usize, title: &str| {
            self.log
                .sections
                .iter()
                .skip(at + 1)
                .all(|later| later.title != title)
        };
        let numbered = self.log.sections.iter().enumerate();
        numbered.filter_map(move |(at, section)| is_last(at, &section.title).then_some(section))
    }

    fn tests(&self) -> impl Iterator<Item = (&str, &Section)> {
        self.last()
            .filter_map(|section| Some((section.title.strip_prefix("test ")?, section)))
    }

    /// Where the guest ended that did not come to its end.
    fn stopped(&self) -> Option<String> {
        if self.log.done {
            return None;
        }
        let Some(last) = self.log.sections.last() else {
            return Some("the guest said nothing".to_owned());
        };
        let name = last.title.strip_prefix("test ").unwrap_or(&last.title);
        let place = if last.exit.is_none() { "in" } else { "after" };
        Some(format!("the guest stopped {place} `{name}`"))
    }

    fn runs_of(&self, test: &str) -> usize {
        let runs = self.log.sections.iter();
        runs.filter(|section| section.title.strip_prefix("test ") == Some(test))
            .count()
    }

    /// `KEY: VALUE` lines of all tests that `take` accepts, by key; values of one key are joined.
    fn facts<'a>(&'a self, take: impl Fn(&'a str) -> Option<(&'a str, String)>) -> BTreeMap<&'a str, String> {
        let mut facts: BTreeMap<&str, String> = BTreeMap::new();
        let lines = self.tests().flat_map(|(_, section)| &section.lines);
        for (key, value) in lines.filter_map(|line| take(line)) {
            let known = facts.entry(key).or_default();
            if !known.is_empty() {
                known.push_str(", ");
            }
            known.push_str(&value);
        }
        facts
    }

    /// What must not be: tests that failed, a guest that stopped, and nothing having been tested.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        let mut complain = |text: String| complaints.push(format!("{}: {text}", self.name));
        if self.tests().count() == 0 {
            complain("no test has run".to_owned());
        }
        for section in self.last() {
            match section.exit {
                Some(0) => {}
                Some(exit) => complain(format!("{} ended with {exit}", section.title)),
                None => complain(format!("it stopped in {}", section.title)),
            }
        }
        if !self.log.done {
            complain("the guest did not come to its end".to_owned());
        }
        complaints
    }
}

impl Outcome {
    fn of(section: &Section) -> Self {
        if section.exit != Some(0) {
            Self::Failed
        } else if section.lines.iter().any(|line| line.starts_with("skipped: ")) {
            Self::Skipped
        } else {
            Self::Passed
        }
    }
}

/// Of a test that failed.
fn first_words(section: &Section) -> &str {
    let panic = section.lines.iter().position(|line| line.contains("panicked at"));
    let words = panic.and_then(|at| section.lines.get(at + 1));
    words.map_or_else(
        || match section.exit {
            None => "the guest stopped in it",
            Some(_) => "no word",
        },
        String::as_str,
    )
}

/// `program cpu_time/flush: loaded`
fn program(line: &str) -> Option<(&str, String)> {
    let (name, outcome) = line.strip_prefix("program ")?.split_once(": ")?;
    Some((name, outcome.to_owned()))
}

/// `storm: 12345 ns, 998 per mille of cpu.stat, 501 tasks` is 99.8 %.
fn ratio(line: &str) -> Option<(&str, String)> {
    let (name, rest) = line.split_once(": ")?;
    let (before, _) = rest.split_once(" per mille")?;
    let permille: u64 = before.rsplit(' ').next()?.parse().ok()?;
    Some((name, format!("{}.{} %", permille / 10, permille % 10)))
}

/// `daemon without types: /proc`
fn daemon(line: &str) -> Option<(&str, String)> {
    let (what, outcome) = line.strip_prefix("daemon ")?.split_once(": ")?;
    Some((what, outcome.to_owned()))
}

/// `cgroup made: known by its number`
fn cgroup(line: &str) -> Option<(&str, String)> {
    let (what, outcome) = line.strip_prefix("cgroup ")?.split_once(": ")?;
    Some((what, outcome.to_owned()))
}

/// The whole page.
#[must_use]
pub fn render(guests: &[Guest]) -> String {
    let mut page = String::from(HEAD);
    let facts = |of: &dyn Fn(&Guest) -> String| guests.iter().map(of).collect::<Vec<_>>();
    let names = facts(&|guest| guest.name.clone());
    table(
        &mut page,
        "",
        &names,
        &[
            ("release".to_owned(), facts(&|guest| guest.log.release.clone())),
            ("package".to_owned(), facts(&|guest| guest.package.clone())),
            ("tests".to_owned(), facts(&summary)),
        ],
    );
    page.push_str("\n## Programs\n\n");
    let (rows, reasons) = programs(guests);
    table(&mut page, "object/program", &names, &rows);
    page.push('\n');
    if reasons.is_empty() {
        page.push_str("Every kernel takes every program.\n");
    }
    notes(&mut page, &reasons);
    page.push_str("\n## Cgroups by their number\n\n");
    let cgroups: Vec<_> = guests.iter().map(|guest| guest.facts(cgroup)).collect();
    table(&mut page, "", &names, &rows_of(&cgroups));
    page.push_str("\n## The whole daemon\n\n");
    page.push_str(DAEMON);
    let daemons: Vec<_> = guests.iter().map(|guest| guest.facts(daemon)).collect();
    table(&mut page, "", &names, &rows_of(&daemons));
    page.push_str("\n## Charged, of what the kernel accounts\n\n");
    let ratios: Vec<_> = guests.iter().map(|guest| guest.facts(ratio)).collect();
    table(&mut page, "", &names, &rows_of(&ratios));
    page.push_str("\n## Tests\n\n");
    let outcomes: Vec<_> = guests.iter().map(outcomes).collect();
    table(&mut page, "", &names, &rows_of(&outcomes));
    page.push_str("\n## Left out, and what failed\n\n");
    let left_out = left_out(guests);
    if left_out.is_empty() {
        page.push_str("Nothing.\n");
    }
    notes(&mut page, &left_out);
    page.push_str("\n## What `kepler check` says\n");
    for guest in guests {
        let _infallible = write!(page, "\n{}:\n\n```\n{}```\n", guest.log.release, check(guest));
    }
    page
}

const HEAD: &str = "# Kernels

Written by `make test-kernels`, which boots Debian's kernels in QEMU with two emulated CPUs (TCG, no KVM) and runs
`probes/ebpf/tests/kernel`, `probes/workloads/tests/real_tree.rs`, `kepler check` and the whole daemon
(`integration-tests/tests/fault_matrix/guest`) in each, one test after the other, with control groups of version 2 alone;
change nothing here by hand.

What is charged is held to 1 % of the scheduler's own figures, here as on a real machine. A test that fails runs once more
(`in run 2`), because a host that is busy with other things makes an emulated CPU's ticks late, and with them what the guest's
scheduler accounts. Storms have 60 to 250 processes, a tenth or less of those on a real machine. The kernel gets
`tsc=reliable`, or it may take two different clocks for its scheduler and for `CLOCK_MONOTONIC`, as 5.10 did.

";

const DAEMON: &str = "Beside a powercap tree whose counters move (`sources.rapl.root`), under each accountant and without the kernel's types: every
snapshot conserves to the microjoule, no counter falls, a busy loop pays. What breaks beside it: [faults.md](faults.md).

";

fn summary(guest: &Guest) -> String {
    let count = |wanted| {
        guest
            .tests()
            .filter(|(_, section)| Outcome::of(section) == wanted)
            .count()
    };
    format!(
        "{} passed, {} with something left out, {} failed",
        count(Outcome::Passed),
        count(Outcome::Skipped),
        count(Outcome::Failed)
    )
}

fn outcomes(guest: &Guest) -> BTreeMap<&str, String> {
    let word = |name: &str, section: &Section| {
        let word = match Outcome::of(section) {
            Outcome::Passed => "ok",
            Outcome::Skipped => "left out",
            Outcome::Failed => "**failed**",
        };
        match guest.runs_of(name) {
            1 => word.to_owned(),
            runs => format!("{word}, in run {runs}"),
        }
    };
    guest
        .tests()
        .map(|(name, section)| (name, word(name, section)))
        .collect()
}

/// `attached to mark_page_accessed` where the program's first place is not there.
fn taken(outcome: &str) -> bool {
    ["attached", "loaded"].contains(&outcome) || outcome.starts_with("attached to ")
}

/// Rows of programs, and the kernels' reasons for the ones that say `no`.
fn programs(guests: &[Guest]) -> (Vec<Row>, Notes) {
    let mut reasons = Notes::new();
    let mut columns = Vec::new();
    for guest in guests {
        let mut column = guest.facts(program);
        for (name, outcome) in &mut column {
            if !taken(outcome) {
                let reason = format!("`{name}`: {outcome}");
                reasons.entry(reason).or_default().push(guest.name.clone());
                "no".clone_into(outcome);
            }
        }
        columns.push(column);
    }
    (rows_of(&columns), reasons)
}

/// Every `skipped:` line with its kernels, the first words of what failed, and what a guest did not come to.
fn left_out(guests: &[Guest]) -> Notes {
    let all: BTreeSet<&str> = guests
        .iter()
        .flat_map(Guest::tests)
        .map(|(name, _)| name)
        .collect();
    let mut reasons = Notes::new();
    for guest in guests {
        let mut say = |name: &str, text: &str| {
            let reason = format!("`{name}`: {text}");
            reasons.entry(reason).or_default().push(guest.name.clone());
        };
        for (name, section) in guest.tests() {
            let skipped = section.lines.iter();
            skipped
                .filter_map(|line| line.strip_prefix("skipped: "))
                .for_each(|why| say(name, why));
            if Outcome::of(section) == Outcome::Failed {
                say(name, &format!("**failed**: {}", first_words(section)));
            }
        }
        if let Some(stopped) = guest.stopped() {
            let ran: BTreeSet<&str> = guest.tests().map(|(name, _)| name).collect();
            for name in all.difference(&ran) {
                say(name, &format!("never ran, because {stopped}"));
            }
        }
    }
    reasons
}

/// The parts of `kepler check` that depend on the kernel.
fn check(guest: &Guest) -> String {
    let mut text = String::new();
    let mut wanted = false;
    let lines = guest
        .log
        .sections
        .iter()
        .filter(|section| section.title == "check");
    for line in lines.flat_map(|section| &section.lines) {
        if !line.starts_with(' ') {
            wanted = line == "kernel" || line == "probes";
        }
        if wanted {
            let _infallible = writeln!(text, "{}", line.trim_end());
        }
    }
    text
}

/// One row per key that any column has, a dash where a column lacks it.
fn rows_of(columns: &[BTreeMap<&str, String>]) -> Vec<Row> {
    let mut rows: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for key in columns.iter().flat_map(BTreeMap::keys) {
        let cells = columns.iter().map(|column| column.get(key).cloned());
        rows.insert(
            key,
            cells.map(|cell| cell.unwrap_or_else(|| "–".to_owned())).collect(),
        );
    }
    rows.into_iter()
        .map(|(key, cells)| (key.to_owned(), cells))
        .collect()
}

fn table(page: &mut String, corner: &str, names: &[String], rows: &[Row]) {
    let _infallible = writeln!(page, "| {corner} | {} |", names.join(" | "));
    let _infallible = writeln!(page, "|---|{}", "---|".repeat(names.len()));
    for (key, cells) in rows {
        let _infallible = writeln!(page, "| {key} | {} |", cells.join(" | "));
    }
}

fn notes(page: &mut String, reasons: &Notes) {
    for (reason, kernels) in reasons {
        let _infallible = writeln!(page, "- {} ({})", reason.replace('|', "\\|"), kernels.join(", "));
    }
}

#[cfg(test)]
mod tests;
