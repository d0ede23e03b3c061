// SPDX-License-Identifier: Apache-2.0
//! The Prometheus text format 0.0.4 and OpenMetrics 1.0.0, written straight into pieces of text.
//!
//! Numbers are printed from integers, never through a float: a node's total must equal the sum of its parts to the last
//! printed digit. Label values are made harmless here and nowhere else.
//! Formats: <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>,
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>.

use super::metric::{Kind, Metric};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt::Write as _;

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
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Labels(String);

impl Labels {
    pub(crate) const fn none() -> Self {
        Self(String::new())
    }

    /// Unless `name` is among the `dropped`.
    pub(crate) fn kept(self, dropped: &[String], name: &str, value: &str) -> Self {
        if dropped.iter().any(|dropped| dropped == name) {
            self
        } else {
            self.with(name, value)
        }
    }

    /// Without those that are empty: to who reads them, an empty label is none.
    pub(crate) fn identity(&self) -> Self {
        let mut labels = self.0.clone();
        // Quotes inside a value are escaped, so this is always a whole value.
        while let Some(value) = labels.find("=\"\"") {
            let begin = labels.get(..value).and_then(|before| before.rfind(','));
            let (begin, mut end) = (begin.unwrap_or(0), value + 3);
            if begin == 0 && labels.get(end..).is_some_and(|rest| rest.starts_with(',')) {
                end += 1;
            }
            labels.replace_range(begin..end, "");
        }
        Self(labels)
    }

    /// Gives back what it has too much: for labels that are kept for long.
    pub(crate) fn tight(mut self) -> Self {
        self.0.shrink_to_fit();
        self
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
/// anything, and the page is also read in terminals), cut at [`LONGEST_VALUE`]. What is not as it was ends with a mark of what it
/// was: two names that differ only in what is not shown would else be one series twice, and the whole page be refused.
fn push_value(out: &mut String, value: &str) {
    let mut characters = value.chars();
    let mut altered = false;
    for character in characters.by_ref().take(LONGEST_VALUE) {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            control if control.is_control() => {
                out.push('\u{fffd}');
                altered = true;
            }
            plain => out.push(plain),
        }
    }
    let is_cut = characters.next().is_some();
    if is_cut {
        out.push('…');
    }
    if is_cut || altered {
        push_mark(out, value);
    }
}

/// `~` and 64 bits of a digest, so that nobody finds two names with one mark.
fn push_mark(out: &mut String, value: &str) {
    let digest = ring::digest::digest(&ring::digest::SHA256, value.as_bytes());
    out.push('~');
    for byte in digest.as_ref().iter().take(8) {
        // Writing into a string does not fail.
        let _ = write!(out, "{byte:02x}");
    }
}

/// The two formats that Prometheus reads as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Format {
    /// Prometheus text 0.0.4.
    Text,
    /// OpenMetrics 1.0.0. Whoever ends the page writes `# EOF`.
    OpenMetrics,
}

/// Size at which a piece of a page is closed and the next one begun. A page grows by pieces and not by doubling, so that
/// writing one needs no more memory than the page and one piece, and no estimate of its size.
const PIECE: usize = 256 * 1024;
/// Room behind a full piece for the sample that fills it: a name, a dozen labels of [`LONGEST_VALUE`].
const SLACK: usize = 8 * 1024;

/// A page while it is written.
#[derive(Debug)]
pub(crate) struct Sheet {
    pieces: Vec<Bytes>,
    piece: String,
    format: Format,
    /// Since when counters count that have no moment of their own (Unix time in seconds); `None` where nothing is said of it.
    since: Option<Decimal>,
}

impl Sheet {
    /// An empty page. Only OpenMetrics says since when counters count.
    pub(crate) fn new(format: Format, since: Option<Decimal>) -> Self {
        Self {
            pieces: Vec::new(),
            piece: String::new(),
            format,
            since: since.filter(|_| format == Format::OpenMetrics),
        }
    }

    /// Whether counters say since when they count.
    pub(crate) const fn says_since(&self) -> bool {
        self.since.is_some()
    }

    /// Ends the page. Its pieces live as long as the page does; what the last one has too much goes back.
    pub(crate) fn into_pieces(mut self) -> Vec<Bytes> {
        self.piece.shrink_to_fit();
        if !self.piece.is_empty() {
            self.pieces.push(Bytes::from(self.piece));
        }
        self.pieces
    }

    /// Appends text that is no family.
    pub(crate) fn push(&mut self, text: &str) {
        self.piece.push_str(text);
    }

    /// Closes a full piece.
    fn turn(&mut self) {
        if self.piece.len() >= PIECE {
            let full = std::mem::replace(&mut self.piece, String::with_capacity(PIECE + SLACK));
            self.pieces.push(Bytes::from(full));
        }
    }
}

/// One metric family. Its head is written with its first sample, so a family without samples leaves no trace.
pub(crate) struct Family<'a> {
    sheet: &'a mut Sheet,
    metric: &'a Metric,
    begun: bool,
}

impl<'a> Family<'a> {
    pub(crate) const fn new(sheet: &'a mut Sheet, metric: &'a Metric) -> Self {
        Self {
            sheet,
            metric,
            begun: false,
        }
    }

    pub(crate) fn sample(&mut self, labels: &Labels, value: Decimal) {
        let since = self.sheet.since;
        self.cell(labels, &Labels::none(), value, since);
    }

    /// A sample whose labels come in two halves: those of its row, made once, and those of its column. `since` is when a
    /// counter began; where the page says nothing of it, it is not looked at.
    pub(crate) fn cell(&mut self, row: &Labels, column: &Labels, value: Decimal, since: Option<Decimal>) {
        self.begin();
        let metric = self.metric;
        self.line(&metric.name, "", [row, column], value);
        if metric.kind == Kind::Counter
            && self.sheet.since.is_some()
            && let Some(since) = since
        {
            self.line(metric.stem(), "_created", [row, column], since);
        }
        self.sheet.turn();
    }

    /// A histogram without labels: upper bounds of buckets, as they are written, with all that is below; the sum, and the count.
    pub(crate) fn histogram(
        &mut self,
        buckets: impl IntoIterator<Item = (String, u64)>,
        sum: Decimal,
        count: u64,
    ) {
        let count = Decimal::whole(count);
        for (bound, below) in buckets {
            let bound = Labels::none().with("le", &bound);
            self.part("_bucket", &bound, Decimal::whole(below));
        }
        self.part("_bucket", &Labels::none().with("le", "+Inf"), count);
        self.part("_sum", &Labels::none(), sum);
        self.part("_count", &Labels::none(), count);
        if let Some(since) = self.sheet.since {
            self.part("_created", &Labels::none(), since);
        }
    }

    fn part(&mut self, suffix: &str, labels: &Labels, value: Decimal) {
        self.begin();
        let metric = self.metric;
        self.line(&metric.name, suffix, [labels, &Labels::none()], value);
    }

    fn line(&mut self, name: &str, suffix: &str, [first, second]: [&Labels; 2], value: Decimal) {
        let out = &mut self.sheet.piece;
        out.push_str(name);
        out.push_str(suffix);
        if !(first.0.is_empty() && second.0.is_empty()) {
            out.push('{');
            out.push_str(&first.0);
            if !(first.0.is_empty() || second.0.is_empty()) {
                out.push(',');
            }
            out.push_str(&second.0);
            out.push('}');
        }
        out.push(' ');
        value.write(out);
        out.push('\n');
    }

    fn begin(&mut self) {
        if self.begun {
            return;
        }
        self.begun = true;
        let metric = self.metric;
        let name = match self.sheet.format {
            Format::Text => &metric.name,
            Format::OpenMetrics => metric.stem(),
        };
        let unit = metric.unit().filter(|_| self.sheet.format == Format::OpenMetrics);
        for (word, value) in [
            ("# HELP ", Some(&*metric.help)),
            ("# TYPE ", Some(metric.kind.name())),
            ("# UNIT ", unit),
        ] {
            let Some(value) = value else { continue };
            for part in [word, name, " ", value, "\n"] {
                self.sheet.piece.push_str(part);
            }
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
    pub(crate) fn write(&self, sheet: &mut Sheet, metric: &Metric) {
        self.write_in(&mut Family::new(sheet, metric));
    }

    /// Writes its samples into a family that others write into, too.
    pub(crate) fn write_in(&self, family: &mut Family<'_>) {
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
        let (shown, mark) = labels.0.split_once('~').unwrap();
        assert_eq!(
            shown,
            "command=\"a\\\"}\\\\ 1\\nb\u{fffd}\u{fffd}\u{fffd}\u{fffd}é"
        );
        assert!(mark.len() == 17 && mark.ends_with('"'), "{mark}");
        let plain = Labels::none().with("command", "a~\u{fffd}é\n");
        assert_eq!(plain.0, "command=\"a~\u{fffd}é\\n\"");
    }

    #[test]
    fn two_names_that_look_alike_are_two_series() {
        let of = |value: &str| Labels::none().with("unit", value).0;
        let long = "x".repeat(256);
        let pairs = [
            ("a\u{1}.service", "a\u{2}.service"),
            ("a\u{1}.service", "a\u{fffd}.service"),
            (&format!("{long}a"), &format!("{long}b")),
            (&format!("{long}a"), &format!("{long}…")),
        ];
        for (one, other) in pairs {
            assert_ne!(of(one), of(other), "{one:?} {other:?}");
            assert_eq!(of(one), of(one));
        }
    }

    #[test]
    fn a_label_value_is_cut_between_characters_and_marked() {
        let labels = Labels::none()
            .with("a", &"é".repeat(257))
            .with("b", &"x".repeat(256));
        let (before, after) = labels.0.split_once('~').unwrap();
        assert_eq!(before, format!("a=\"{}…", "é".repeat(256)));
        assert_eq!(after.split_at(16).1, format!("\",b=\"{}\"", "x".repeat(256)));
    }

    fn written(format: Format, write: impl FnOnce(&mut Sheet)) -> String {
        let mut sheet = Sheet::new(format, Some(Decimal::milli(1_500)));
        write(&mut sheet);
        String::from_utf8(sheet.into_pieces().concat()).unwrap()
    }

    fn two_families(sheet: &mut Sheet) {
        Family::new(sheet, &Metric::new(Kind::Gauge, "empty", "Nothing."));
        let some = Metric::new(Kind::Counter, "some_joules_total", "Some.");
        let mut family = Family::new(sheet, &some);
        family.sample(&Labels::none(), Decimal::whole(1));
        let (row, column) = (Labels::none().with("a", "b"), Labels::none().with("c", "d"));
        family.cell(&row, &column, Decimal::whole(2), Some(Decimal::milli(2_250)));
    }

    #[test]
    fn a_family_has_one_head_and_none_without_samples() {
        assert_eq!(
            written(Format::Text, two_families),
            "# HELP some_joules_total Some.\n# TYPE some_joules_total counter\nsome_joules_total 1\n\
             some_joules_total{a=\"b\",c=\"d\"} 2\n"
        );
    }

    #[test]
    fn openmetrics_has_units_and_says_since_when_a_counter_counts() {
        assert_eq!(
            written(Format::OpenMetrics, two_families),
            "# HELP some_joules Some.\n# TYPE some_joules counter\n# UNIT some_joules joules\n\
             some_joules_total 1\nsome_joules_created 1.5\n\
             some_joules_total{a=\"b\",c=\"d\"} 2\nsome_joules_created{a=\"b\",c=\"d\"} 2.25\n"
        );
    }

    #[test]
    fn a_long_page_is_cut_between_samples_and_nowhere_else() {
        let metric = Metric::new(Kind::Gauge, "a", "A.");
        let mut sheet = Sheet::new(Format::Text, None);
        let mut family = Family::new(&mut sheet, &metric);
        let value = "x".repeat(250);
        for number in 0..5_000_u64 {
            family.sample(&Labels::none().with("v", &value), Decimal::whole(number));
        }
        let pieces = sheet.into_pieces();
        assert_eq!(pieces.len(), 6);
        assert!(
            pieces
                .iter()
                .all(|piece| piece.ends_with(b"\n") && piece.len() < PIECE + SLACK)
        );
        let text = String::from_utf8(pieces.concat()).unwrap();
        assert_eq!(
            text.lines()
                .skip(2)
                .filter(|line| line.starts_with("a{v="))
                .count(),
            5_000
        );
        assert!(text.ends_with("} 4999\n"));
    }

    #[test]
    fn an_empty_label_is_none_to_who_compares_series() {
        let labels = |pairs: &[(&str, &str)]| {
            let none = Labels::none();
            pairs
                .iter()
                .fold(none, |labels, (name, value)| labels.with(name, value))
        };
        for (pairs, same) in [
            (vec![("a", ""), ("b", "x"), ("c", "")], vec![("b", "x")]),
            (
                vec![("a", "=\"\",b"), ("b", ""), ("c", ",")],
                vec![("a", "=\"\",b"), ("c", ",")],
            ),
            (vec![("a", ""), ("b", "")], vec![]),
            (vec![("a", "1")], vec![("a", "1")]),
        ] {
            assert_eq!(labels(&pairs).identity(), labels(&same));
        }
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
