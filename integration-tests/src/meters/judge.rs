// SPDX-License-Identifier: Apache-2.0
//! Comparisons: owns what counts as equal, and makes a row of each. Knows no guest.

use super::guest::{Guest, Sample, Zone};
use crate::promtext;
use crate::serial::Section;
use std::collections::BTreeMap;

/// How far off a figure may be: 1 %, in millionths.
const MOST_OFF_PPM: u64 = 10_000;

/// One comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What was compared.
    pub what: String,
    /// What it should be.
    pub truth: String,
    /// What kepler said.
    pub shown: String,
    /// Difference in millionths of the truth, where both are numbers.
    pub off_ppm: Option<u64>,
    /// Whether it is as it should be.
    pub good: bool,
}

/// Two samples of one guest, and what lies between them.
#[derive(Clone, Copy, Debug)]
pub struct Span<'a> {
    /// The earlier one's name.
    pub from: &'a str,
    /// The later one's name.
    pub to: &'a str,
}

/// Gathers rows about one guest.
pub struct Judge<'a> {
    guest: &'a Guest,
    rows: Vec<Row>,
}

impl<'a> Judge<'a> {
    /// About this guest.
    #[must_use]
    pub const fn new(guest: &'a Guest) -> Self {
        Self {
            guest,
            rows: Vec::new(),
        }
    }

    /// All rows, in the order in which they were asked for.
    #[must_use]
    pub fn rows(self) -> Vec<Row> {
        self.rows
    }

    fn add(&mut self, what: &str, row: Result<Row, String>) {
        let failed = |words| Row {
            what: String::new(),
            truth: String::new(),
            shown: words,
            off_ppm: None,
            good: false,
        };
        let row = row.unwrap_or_else(failed);
        self.rows.push(Row {
            what: what.to_owned(),
            ..row
        });
    }

    /// Joules of a zone between two samples, beside what `truth` rose by between the moments that these are about.
    pub fn energy(&mut self, what: &str, zone: Zone<'_>, truth: &str, span: Span<'_>) {
        let row = self.delta(zone, span).and_then(|delta| {
            let used = self.guest.truth.total(truth, delta.until)?;
            let used = used.saturating_sub(self.guest.truth.total(truth, delta.since)?);
            Ok(compared(used, delta.energy, |energy| delta.describe(energy)))
        });
        self.add(what, row);
    }

    /// Mean power of a zone between two samples, by the guest's clock, beside a power that was the same all the time.
    pub fn power(&mut self, what: &str, zone: Zone<'_>, milliwatts: u64, span: Span<'_>) {
        let row = self.delta(zone, span).map(|delta| {
            // mW x ns are pJ.
            let used = u128::from(milliwatts) * u128::from(delta.until.saturating_sub(delta.since));
            let used = u64::try_from(used / 1_000_000).unwrap_or(u64::MAX);
            compared(used, delta.energy, |energy| delta.describe(energy))
        });
        self.add(what, row);
    }

    /// The power that a sample shows of a zone.
    pub fn watts(&mut self, what: &str, zone: Zone<'_>, milliwatts: u64, at: &str) {
        let row = self.guest.sample(at).and_then(|sample| {
            let shown = sample.watts(zone)?;
            Ok(compared(milliwatts * 1_000, shown, |power| unit(power, "W")))
        });
        self.add(what, row);
    }

    /// Two numbers of microjoules.
    pub fn joules(&mut self, what: &str, truth: Result<u64, String>, shown: Result<u64, String>) {
        let row =
            truth.and_then(|truth| shown.map(|shown| compared(truth, shown, |energy| unit(energy, "J"))));
        self.add(what, row);
    }

    /// Anything that is so or not.
    pub fn fact(&mut self, what: &str, truth: &str, shown: Result<String, String>, is_good: bool) {
        let row = shown.map(|shown| Row {
            what: String::new(),
            truth: truth.to_owned(),
            shown,
            off_ppm: None,
            good: is_good,
        });
        self.add(what, row);
    }

    /// Whether a source says that a component is up, in a sample.
    pub fn up(&mut self, what: &str, (source, component): (&str, &str), at: &str, up: f64) {
        let labels = [("source", source), ("component", component)];
        let shown = self
            .guest
            .sample(at)
            .map(|sample| sample.value("kepler_source_up", &labels));
        let good = shown.as_ref().is_ok_and(|shown| (shown - up).abs() < 0.5);
        let words = shown.map(|shown| format!("kepler_source_up {shown}"));
        self.fact(what, &format!("kepler_source_up {up}"), words, good);
    }

    /// Whether errors of a reason were counted by a sample: at least one, or none at all.
    pub fn errors(&mut self, what: &str, (source, reason): (&str, &str), at: &str, wanted: Errors) {
        let labels = [("source", source), ("reason", reason)];
        let shown = self
            .guest
            .sample(at)
            .map(|sample| sample.value("kepler_source_errors_total", &labels));
        let good = shown.as_ref().is_ok_and(|shown| match wanted {
            Errors::Some => *shown >= 1.0,
            Errors::None => *shown < 1.0,
        });
        let words = shown.map(|shown| format!("{shown} of reason {reason}"));
        let truth = match wanted {
            Errors::Some => "some errors",
            Errors::None => "no errors",
        };
        self.fact(what, truth, words, good);
    }

    /// Whether a section ended well.
    pub fn ended(&mut self, what: &str, title: &str) {
        let section = self.guest.log.section(title);
        let exit = section.map(|section| section.exit);
        let shown = match exit {
            Some(Some(exit)) => Ok(format!("exit code {exit}")),
            Some(None) => Err("the guest stopped in it".to_owned()),
            None => Err("it was not tried".to_owned()),
        };
        self.fact(what, "exit code 0", shown, exit == Some(Some(0)));
    }

    /// Whether a section has a line with all of these words.
    pub fn says(&mut self, what: &str, title: &str, words: &[&str]) {
        let found = self
            .guest
            .lines(title)
            .iter()
            .find(|line| words.iter().all(|word| line.contains(word)));
        let shown = found
            .map(|line| squeezed(line))
            .ok_or_else(|| format!("no such line in `{title}`"));
        let truth = words.join(" .. ");
        self.fact(what, &truth, shown, found.is_some());
    }

    /// Whether every sample of this guest adds up, at both levels that cover the node, to the printed digit.
    pub fn conserves(&mut self) {
        let samples: Vec<_> = self.guest.log.sections.iter().filter_map(name_of).collect();
        let mut checked = 0;
        let mut wrong = Vec::new();
        for name in &samples {
            match self.guest.sample(name) {
                Ok(sample) => {
                    checked += 1;
                    wrong.extend(misses(&sample).into_iter().map(|miss| format!("{name}: {miss}")));
                }
                Err(words) => wrong.push(words),
            }
        }
        let good = wrong.is_empty() && checked > 0;
        let shown = if wrong.is_empty() {
            format!("so in all of {checked} samples, to the microjoule")
        } else {
            wrong.join("; ")
        };
        let truth = "node = processes + unattributed + unreserved idle = containers + the same";
        self.fact("every component adds up", truth, Ok(shown), good);
    }

    fn delta(&self, zone: Zone<'_>, span: Span<'_>) -> Result<Delta, String> {
        let (from, to) = (self.guest.sample(span.from)?, self.guest.sample(span.to)?);
        let energy = to
            .joules(zone)?
            .checked_sub(from.joules(zone)?)
            .ok_or_else(|| format!("{} fell", zone.component))?;
        Ok(Delta {
            energy,
            since: from.moment(zone)?,
            until: to.moment(zone)?,
        })
    }
}

/// How many errors there should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errors {
    /// At least one.
    Some,
    /// None at all.
    None,
}

struct Delta {
    energy: u64,
    since: u64,
    until: u64,
}

impl Delta {
    fn describe(&self, energy: u64) -> String {
        let nanos = self.until.saturating_sub(self.since).max(1);
        let power = (u128::from(energy) * 1_000_000_000 + u128::from(nanos / 2)) / u128::from(nanos);
        format!(
            "{} ({} over {})",
            unit(energy, "J"),
            unit(u64::try_from(power).unwrap_or(u64::MAX), "W"),
            unit(nanos / 1_000, "s")
        )
    }
}

fn name_of(section: &Section) -> Option<&str> {
    section.title.strip_prefix("sample ")
}

/// Longest line of a guest in a row.
const MOST_CHARACTERS: usize = 160;

/// Runs of blanks as one, and what is too long cut short.
fn squeezed(line: &str) -> String {
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MOST_CHARACTERS) {
        Some((end, _)) => format!("{} ...", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

/// Millionths with three places.
fn unit(micro: u64, unit: &str) -> String {
    let milli = micro.saturating_add(500) / 1_000;
    format!("{}.{:03} {unit}", milli / 1_000, milli % 1_000)
}

fn compared(truth: u64, shown: u64, describe: impl Fn(u64) -> String) -> Row {
    let off = u128::from(truth.abs_diff(shown)) * 1_000_000 / u128::from(truth.max(1));
    let off = u64::try_from(off).unwrap_or(u64::MAX);
    Row {
        what: String::new(),
        truth: describe(truth),
        shown: describe(shown),
        off_ppm: Some(off),
        // Nothing is no truth to compare with.
        good: truth > 0 && off <= MOST_OFF_PPM,
    }
}

/// Components of a sample whose sums differ, in words.
fn misses(sample: &Sample) -> Vec<String> {
    let mut misses = Vec::new();
    let sums = Sums::of(sample);
    for ((component, mode), node) in &sums.node {
        let nobody = sums.nobody(component, mode);
        for level in ["process", "container"] {
            let named = sums.named(level, component, mode);
            if named + nobody != *node {
                misses.push(format!(
                    "{component} {mode}: the node has {node} uJ, {level} level {named}, nobody {nobody}"
                ));
            }
        }
    }
    if sums.node.is_empty() {
        misses.push("no joules at all".to_owned());
    }
    misses
}

struct Sums<'a> {
    sample: &'a Sample,
    node: BTreeMap<(String, String), u64>,
}

impl<'a> Sums<'a> {
    fn of(sample: &'a Sample) -> Self {
        let mut node: BTreeMap<_, u64> = BTreeMap::new();
        for row in &sample.metrics {
            let component = row
                .name
                .strip_prefix("kepler_node_")
                .and_then(|rest| rest.strip_suffix("_joules_total"));
            if let Some(component) = component.filter(|_| !row.label("package").is_empty()) {
                let key = (component.to_owned(), row.label("mode").to_owned());
                *node.entry(key).or_default() += row.millionths();
            }
        }
        Self { sample, node }
    }

    fn nobody(&self, component: &str, mode: &str) -> u64 {
        let name = match mode {
            "dynamic" => "kepler_node_unattributed_joules_total",
            _ => "kepler_node_unreserved_idle_joules_total",
        };
        self.sum(name, &[("component", component)])
    }

    fn named(&self, level: &str, component: &str, mode: &str) -> u64 {
        self.sum(
            &format!("kepler_{level}_{component}_joules_total"),
            &[("mode", mode)],
        )
    }

    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        promtext::of(&self.sample.metrics, name)
            .into_iter()
            .filter(|row| labels.iter().all(|(label, value)| row.label(label) == *value))
            .map(promtext::Sample::millionths)
            .sum()
    }
}
