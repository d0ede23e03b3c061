// SPDX-License-Identifier: Apache-2.0
//! Reads the Prometheus text format, values as exact decimals: sums are compared digit by digit.

use std::collections::BTreeMap;

/// One sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Metric name.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Value as it was written.
    pub value: String,
}

impl Sample {
    /// A label's value, empty when it is not there.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    /// The value in millionths, exactly.
    ///
    /// # Panics
    /// When it is no plain decimal with at most six places.
    #[must_use]
    pub fn millionths(&self) -> u64 {
        let (whole, part) = self.value.split_once('.').unwrap_or((&self.value, ""));
        assert!(
            part.len() <= 6,
            "{} has too many places: {}",
            self.name,
            self.value
        );
        let text = format!("{whole}{part:0<6}");
        text.parse()
            .unwrap_or_else(|_| panic!("{} is no plain decimal: {}", self.name, self.value))
    }

    /// The value as a float.
    ///
    /// # Panics
    /// When it is no number.
    #[must_use]
    pub fn float(&self) -> f64 {
        self.value.parse().expect("a number")
    }
}

/// All samples of a page.
///
/// # Panics
/// When a line is not in the format.
#[must_use]
pub fn parse(text: &str) -> Vec<Sample> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(sample)
        .collect()
}

/// Samples of one metric.
#[must_use]
pub fn of<'a>(samples: &'a [Sample], name: &str) -> Vec<&'a Sample> {
    samples.iter().filter(|sample| sample.name == name).collect()
}

fn sample(line: &str) -> Sample {
    let Some((name, rest)) = line.split_once('{') else {
        let (name, value) = line.split_once(' ').expect("name and value");
        return Sample {
            name: name.to_owned(),
            labels: BTreeMap::new(),
            value: value.to_owned(),
        };
    };
    let mut labels = BTreeMap::new();
    let mut rest = rest;
    loop {
        rest = rest.strip_prefix(',').unwrap_or(rest);
        if let Some(value) = rest.strip_prefix('}') {
            return Sample {
                name: name.to_owned(),
                labels,
                value: value.trim().to_owned(),
            };
        }
        let (label, after) = rest
            .split_once("=\"")
            .unwrap_or_else(|| panic!("no label: {line}"));
        let (value, after) = quoted(after).unwrap_or_else(|| panic!("no closing quote: {line}"));
        labels.insert(label.to_owned(), value);
        rest = after;
    }
}

/// Text up to the closing quote, unescaped, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_with_quotes_commas_and_braces_are_read_back() {
        let samples = parse("# HELP a b\na{x=\"1,}\\\"\\\\\",y=\"\\n\"} 0.5\nb 3\n");
        let first = samples.first().expect("one");
        assert_eq!(
            (first.label("x"), first.label("y"), first.millionths()),
            ("1,}\"\\", "\n", 500_000)
        );
        assert_eq!(
            of(&samples, "b").first().map(|sample| sample.millionths()),
            Some(3_000_000)
        );
    }
}
