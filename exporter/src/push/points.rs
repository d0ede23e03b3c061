// SPDX-License-Identifier: Apache-2.0
//! The samples of a page, read back from the very bytes that scrapers get: what is pushed is what is scraped, because there is no
//! other place that it could come from.
//!
//! Reads what [`crate::text`] writes and nothing else; a line that it does not know is no sample.

use crate::text::metric::Kind;
use bytes::Bytes;
use std::borrow::Cow;

/// What a family says of itself, as far as the lines before its samples do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FamilyHead {
    /// As its samples are called: a counter with its `_total`.
    pub(super) name: Bytes,
    pub(super) help: Bytes,
    pub(super) unit: Bytes,
    pub(super) kind: Option<Kind>,
}

/// A sample, borrowed from its page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point<'a> {
    piece: &'a Bytes,
    pub(super) family: &'a FamilyHead,
    /// Name and labels, as they are written.
    pub(super) series: &'a str,
    /// With the suffix of a histogram's part.
    pub(super) name: &'a str,
    /// As they stand between the braces.
    pub(super) labels: &'a str,
    /// The value, as it is written.
    pub(super) text: &'a str,
    /// Since when it counts, in Unix milliseconds.
    pub(super) since: Option<i64>,
}

impl<'a> Point<'a> {
    /// The number, as whoever reads the page reads it.
    pub(super) fn value(&self) -> f64 {
        self.text.parse().unwrap_or(f64::NAN)
    }

    /// Bytes of the page without a copy of them.
    pub(super) fn share(&self, part: &'a str) -> Bytes {
        self.piece.slice_ref(part.as_bytes())
    }

    /// Its labels with their values unescaped, those without a value left out: an empty label is none.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (Bytes, Bytes)> + use<'a> {
        let point = *self;
        Pairs(point.labels).filter_map(move |(name, value)| {
            let value = match unescaped(value) {
                Cow::Borrowed(value) => point.share(value),
                Cow::Owned(value) => Bytes::from(value),
            };
            (!value.is_empty()).then(|| (point.share(name), value))
        })
    }

    /// Since when it counts; `None` also where that is after `at`, as it is when the clock was wrong at the start: no receiver takes
    /// what ended before it began.
    pub(super) fn since_before(&self, at: i64) -> Option<i64> {
        self.since.filter(|since| *since <= at)
    }

    /// How long its line is: a measure of what it takes to send it.
    pub(super) const fn size(&self) -> usize {
        self.name
            .len()
            .saturating_add(self.labels.len())
            .saturating_add(self.text.len())
    }
}

/// Label pairs as they are written, values escaped.
struct Pairs<'a>(&'a str);

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = self.0.split_once("=\"")?;
        let mut escaped = false;
        let end = rest.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        })?;
        let (value, rest) = rest.split_at_checked(end)?;
        self.0 = rest.strip_prefix("\",").unwrap_or_default();
        Some((name, value))
    }
}

fn unescaped(value: &str) -> Cow<'_, str> {
    if !value.contains('\\') {
        return Cow::Borrowed(value);
    }
    let mut out = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some('n') => out.push('\n'),
                Some(other) => out.push(other),
                None => {}
            },
            plain => out.push(plain),
        }
    }
    Cow::Owned(out)
}

/// Calls `each` for every sample of a page, in its order. `_created` lines of OpenMetrics are told with the sample they belong to.
pub(super) fn each(pieces: &[Bytes], mut each: impl FnMut(&Point<'_>)) {
    let mut head = FamilyHead::default();
    for piece in pieces {
        let text = std::str::from_utf8(piece).unwrap_or_default();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            if let Some(comment) = line.strip_prefix("# ") {
                head.hear(piece, comment);
                continue;
            }
            let Some(line) = Line::of(line) else {
                continue;
            };
            let next = lines.peek().copied().and_then(Line::of);
            let created = next.filter(|next| next.says_since(&line));
            if created.is_some() {
                lines.next();
            }
            each(&Point {
                piece,
                family: &head,
                series: line.series,
                name: line.name,
                labels: line.labels,
                text: line.text,
                since: created.and_then(|created| millis(created.text)),
            });
        }
    }
}

/// A line with a sample.
struct Line<'a> {
    series: &'a str,
    name: &'a str,
    labels: &'a str,
    text: &'a str,
}

impl<'a> Line<'a> {
    /// A value holds no blank, and a name neither a blank nor a brace.
    fn of(line: &'a str) -> Option<Self> {
        if line.starts_with('#') {
            return None;
        }
        let (series, text) = line.rsplit_once(' ')?;
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}')?),
            None => (series, ""),
        };
        Some(Self {
            series,
            name,
            labels,
            text,
        })
    }

    /// Whether it says since when `counter` counts: `a_created` behind `a_total`, or behind a histogram's `a_count`.
    fn says_since(&self, counter: &Line<'_>) -> bool {
        let stem = self.name.strip_suffix("_created");
        self.labels == counter.labels
            && stem.is_some_and(|stem| {
                let suffix = counter.name.strip_prefix(stem);
                matches!(suffix, Some("_total" | "_count"))
            })
    }
}

/// Seconds with a fraction, as milliseconds.
fn millis(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let fraction: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    whole
        .parse::<i64>()
        .ok()?
        .checked_mul(1000)?
        .checked_add(fraction)
}

impl FamilyHead {
    /// A comment line behind its `# `.
    fn hear(&mut self, piece: &Bytes, comment: &str) {
        let share = |text: &str| piece.slice_ref(text.as_bytes());
        let mut words = comment.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("HELP"), Some(name), help) => {
                *self = Self {
                    name: share(name),
                    help: help.map(share).unwrap_or_default(),
                    ..Self::default()
                };
            }
            (Some("TYPE"), Some(name), Some(kind)) => {
                self.kind = Kind::of(kind);
                // OpenMetrics calls a counter's family without what its samples end in.
                if self.kind == Some(Kind::Counter) && !name.ends_with("_total") {
                    self.name = Bytes::from(format!("{name}_total"));
                }
            }
            (Some("UNIT"), Some(_), Some(unit)) => self.unit = share(unit),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Seen = (String, String, Vec<(String, String)>, String, Option<i64>);

    fn seen(text: &'static str) -> Vec<Seen> {
        let mut seen = Vec::new();
        let word = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        each(&[Bytes::from_static(text.as_bytes())], |point| {
            let pairs = point.pairs().map(|(name, value)| (word(&name), word(&value)));
            let family = format!(
                "{}|{}|{:?}",
                word(&point.family.name),
                word(&point.family.unit),
                point.family.kind
            );
            seen.push((
                family,
                point.name.to_owned(),
                pairs.collect(),
                point.text.to_owned(),
                point.since,
            ));
        });
        seen
    }

    fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
        of.iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect()
    }

    #[test]
    fn samples_are_read_with_their_labels_and_their_beginning() {
        let text = "# HELP a_joules Some help.\n# TYPE a_joules counter\n# UNIT a_joules joules\n\
                    a_joules_total{x=\"1\",e=\"\",y=\"a\\\"},b=\\\"\\\\n\\n {\"} 12.5\n\
                    a_joules_created{x=\"1\",e=\"\",y=\"a\\\"},b=\\\"\\\\n\\n {\"} 1700000000.25\n\
                    a_joules_total 3\na_joules_created 1.5\n\
                    # HELP g_created Odd.\n# TYPE g_created gauge\ng_created 7\n# EOF\n";
        let counter = "a_joules_total|joules|Some(Counter)".to_owned();
        assert_eq!(
            seen(text),
            [
                (
                    counter.clone(),
                    "a_joules_total".to_owned(),
                    pairs(&[("x", "1"), ("y", "a\"},b=\"\\n\n {")]),
                    "12.5".to_owned(),
                    Some(1_700_000_000_250)
                ),
                (
                    counter,
                    "a_joules_total".to_owned(),
                    vec![],
                    "3".to_owned(),
                    Some(1500)
                ),
                (
                    "g_created||Some(Gauge)".to_owned(),
                    "g_created".to_owned(),
                    vec![],
                    "7".to_owned(),
                    None
                ),
            ]
        );
    }

    #[test]
    fn what_a_family_says_of_itself_ends_with_the_next_one() {
        let text = "# HELP a_total A.\n# TYPE a_total counter\na_total 1\n# HELP b B.\n# TYPE b gauge\nb 2\n";
        let families: Vec<_> = seen(text).into_iter().map(|point| point.0).collect();
        assert_eq!(families, ["a_total||Some(Counter)", "b||Some(Gauge)"]);
    }

    #[test]
    fn the_beginning_of_a_histogram_stands_behind_its_count() {
        let text =
            "# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 2\nh_sum 1.5\nh_count 2\nh_created 9\n";
        let since: Vec<_> = seen(text).into_iter().map(|point| (point.1, point.4)).collect();
        let named = |name: &str, since| (name.to_owned(), since);
        assert_eq!(
            since,
            [
                named("h_bucket", None),
                named("h_sum", None),
                named("h_count", Some(9000))
            ]
        );
    }
}
