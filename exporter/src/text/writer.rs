// SPDX-License-Identifier: Apache-2.0
//! The Prometheus text format 0.0.4, written straight into one string.
//!
//! Numbers are printed from integers, never through a float: a node's total must equal the sum of its parts to the last
//! printed digit. Label values are made harmless here and nowhere else.
//! Format: <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>.

use std::collections::BTreeMap;

/// Longest label value, in characters. Every id that a kernel or a runtime gives is shorter (a unit name has at most
/// 255 bytes); what is longer is cut and marked, so that no workload can blow up the page by its name.
const LONGEST_VALUE: usize = 256;

/// An integer with a decimal point: `value` / 10^`digits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Decimal {
    value: u64,
    digits: u8,
}

impl Decimal {
    pub(crate) const fn whole(value: u64) -> Self {
        Self { value, digits: 0 }
    }

    /// Hundredths: clock ticks as seconds.
    pub(crate) const fn centi(value: u64) -> Self {
        Self { value, digits: 2 }
    }

    /// Thousandths: permille as a ratio, milliseconds as seconds.
    pub(crate) const fn milli(value: u64) -> Self {
        Self { value, digits: 3 }
    }

    /// Millionths: microjoules as joules, microwatts as watts, nanoseconds as milliseconds.
    pub(crate) const fn micro(value: u64) -> Self {
        Self { value, digits: 6 }
    }

    /// Billionths: nanoseconds as seconds.
    pub(crate) const fn nano(value: u64) -> Self {
        Self { value, digits: 9 }
    }

    /// Both together; the left one says where the point is.
    pub(crate) const fn plus(self, other: Self) -> Self {
        Self {
            value: self.value.saturating_add(other.value),
            digits: self.digits,
        }
    }

    /// Appends the number in its shortest exact form: `12.5`, `0`, `0.000001`.
    pub(crate) fn write(self, out: &mut String) {
        let power = 10_u64.pow(u32::from(self.digits));
        out.push_str(itoa::Buffer::new().format(self.value / power));
        let mut fraction = self.value % power;
        if fraction == 0 {
            return;
        }
        let mut digits = self.digits;
        while fraction.is_multiple_of(10) {
            fraction /= 10;
            digits -= 1;
        }
        out.push('.');
        let mut buffer = itoa::Buffer::new();
        let text = buffer.format(fraction);
        for _ in text.len()..usize::from(digits) {
            out.push('0');
        }
        out.push_str(text);
    }
}

/// Label pairs as they stand between the braces.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Labels(String);

impl Labels {
    pub(crate) const fn none() -> Self {
        Self(String::new())
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(name);
        self.0.push_str("=\"");
        push_value(&mut self.0, value);
        self.0.push('"');
        self
    }
}

/// Appends a label value: escaped as the format wants, control characters replaced (a process may call itself
/// anything, and the page is also read in terminals), cut at [`LONGEST_VALUE`].
fn push_value(out: &mut String, value: &str) {
    let mut characters = value.chars();
    for character in characters.by_ref().take(LONGEST_VALUE) {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            control if control.is_control() => out.push('\u{fffd}'),
            plain => out.push(plain),
        }
    }
    if characters.next().is_some() {
        out.push('…');
    }
}

/// The type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One metric family. Its head is written with its first sample, so a family without samples leaves no trace.
pub(crate) struct Family<'a> {
    out: &'a mut String,
    name: &'a str,
    kind: Kind,
    help: &'a str,
    begun: bool,
}

impl<'a> Family<'a> {
    /// `help` is one line without backslashes; all of them are constants of this crate.
    pub(crate) const fn new(out: &'a mut String, name: &'a str, kind: Kind, help: &'a str) -> Self {
        Self {
            out,
            name,
            kind,
            help,
            begun: false,
        }
    }

    pub(crate) fn sample(&mut self, labels: &Labels, value: Decimal) {
        self.write("", labels, &Labels::none(), value);
    }

    /// A sample whose labels come in two halves: those of its row, made once, and those of its column.
    pub(crate) fn cell(&mut self, row: &Labels, column: &Labels, value: Decimal) {
        self.write("", row, column, value);
    }

    /// A sample of a histogram: `suffix` is `_bucket`, `_sum` or `_count`.
    pub(crate) fn part(&mut self, suffix: &str, labels: &Labels, value: Decimal) {
        self.write(suffix, labels, &Labels::none(), value);
    }

    fn write(&mut self, suffix: &str, first: &Labels, second: &Labels, value: Decimal) {
        self.begin();
        self.out.push_str(self.name);
        self.out.push_str(suffix);
        if !(first.0.is_empty() && second.0.is_empty()) {
            self.out.push('{');
            self.out.push_str(&first.0);
            if !(first.0.is_empty() || second.0.is_empty()) {
                self.out.push(',');
            }
            self.out.push_str(&second.0);
            self.out.push('}');
        }
        self.out.push(' ');
        value.write(self.out);
        self.out.push('\n');
    }

    fn begin(&mut self) {
        if self.begun {
            return;
        }
        self.begun = true;
        for part in [
            "# HELP ",
            self.name,
            " ",
            self.help,
            "\n# TYPE ",
            self.name,
            " ",
            self.kind.name(),
            "\n",
        ] {
            self.out.push_str(part);
        }
    }
}

/// Samples of a small family by their labels: those that share all labels become one, because Prometheus refuses a
/// whole page for one doubled series.
#[derive(Debug, Default)]
pub(crate) struct Tally(BTreeMap<Labels, Decimal>);

impl Tally {
    /// Adds to what is there.
    pub(crate) fn add(&mut self, labels: Labels, value: Decimal) {
        self.merge(labels, value, Decimal::plus);
    }

    /// Keeps the larger one.
    pub(crate) fn max(&mut self, labels: Labels, value: Decimal) {
        self.merge(labels, value, Ord::max);
    }

    /// Keeps the smaller one.
    pub(crate) fn min(&mut self, labels: Labels, value: Decimal) {
        self.merge(labels, value, Ord::min);
    }

    fn merge(&mut self, labels: Labels, value: Decimal, with: fn(Decimal, Decimal) -> Decimal) {
        self.0
            .entry(labels)
            .and_modify(|sum| *sum = with(*sum, value))
            .or_insert(value);
    }

    /// Writes the family.
    pub(crate) fn write(&self, out: &mut String, name: &str, kind: Kind, help: &str) {
        let mut family = Family::new(out, name, kind, help);
        for (labels, value) in &self.0 {
            family.sample(labels, *value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(value: Decimal) -> String {
        let mut out = String::new();
        value.write(&mut out);
        out
    }

    #[test]
    fn a_decimal_is_exact_has_no_exponent_and_no_needless_zeros() {
        assert_eq!(printed(Decimal::micro(12_345_678)), "12.345678");
        assert_eq!(printed(Decimal::micro(12_500_000)), "12.5");
        assert_eq!(printed(Decimal::micro(1)), "0.000001");
        assert_eq!(printed(Decimal::micro(10_010)), "0.01001");
        assert_eq!(printed(Decimal::micro(0)), "0");
        assert_eq!(printed(Decimal::micro(u64::MAX)), "18446744073709.551615");
        assert_eq!(printed(Decimal::nano(1_000_000_001)), "1.000000001");
        assert_eq!(printed(Decimal::milli(42)), "0.042");
        assert_eq!(printed(Decimal::centi(105)), "1.05");
        assert_eq!(printed(Decimal::whole(u64::MAX)), "18446744073709551615");
    }

    #[test]
    fn a_label_value_can_break_out_of_neither_its_quotes_nor_its_line() {
        let labels = Labels::none().with("command", "a\"}\\ 1\nb\r\x1b\u{9b}\u{fffd}é");
        assert_eq!(
            labels.0,
            "command=\"a\\\"}\\\\ 1\\nb\u{fffd}\u{fffd}\u{fffd}\u{fffd}é\""
        );
    }

    #[test]
    fn a_label_value_is_cut_between_characters_and_marked() {
        let labels = Labels::none()
            .with("a", &"é".repeat(257))
            .with("b", &"x".repeat(256));
        assert_eq!(
            labels.0,
            format!("a=\"{}…\",b=\"{}\"", "é".repeat(256), "x".repeat(256))
        );
    }

    #[test]
    fn a_family_has_one_head_and_none_without_samples() {
        let mut out = String::new();
        Family::new(&mut out, "empty", Kind::Gauge, "Nothing.");
        let mut family = Family::new(&mut out, "some_total", Kind::Counter, "Some.");
        family.sample(&Labels::none(), Decimal::whole(1));
        family.cell(
            &Labels::none().with("a", "b"),
            &Labels::none().with("c", "d"),
            Decimal::whole(2),
        );
        assert_eq!(
            out,
            "# HELP some_total Some.\n# TYPE some_total counter\nsome_total 1\nsome_total{a=\"b\",c=\"d\"} 2\n"
        );
    }

    #[test]
    fn a_tally_never_holds_the_same_labels_twice() {
        let mut tally = Tally::default();
        tally.add(Labels::none(), Decimal::micro(1));
        tally.add(Labels::none(), Decimal::micro(2));
        assert_eq!(tally.0.get(&Labels::none()), Some(&Decimal::micro(3)));
        tally.min(Labels::none(), Decimal::micro(1));
        assert_eq!(tally.0.get(&Labels::none()), Some(&Decimal::micro(1)));
        tally.max(Labels::none(), Decimal::micro(9));
        assert_eq!(tally.0.get(&Labels::none()), Some(&Decimal::micro(9)));
    }
}
