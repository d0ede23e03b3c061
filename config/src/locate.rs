// SPDX-License-Identifier: Apache-2.0
//! The line of a key in a file, asked of the parser itself: a deserialiser that fails on purpose when it comes to the
//! wanted place, so that the error carries the parser's position. A search in the text would find comments and strings.
//!
//! Each look-up parses the file once more; the caller bounds their number.

use crate::file::Format;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// One step down a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Into a table.
    Key(String),
    /// Into a list.
    Index(usize),
}

/// The line, from 1, where the element at `steps` is written; `None` where the document has no such element.
pub(crate) fn line(text: &str, format: Format, steps: &[Step]) -> Option<usize> {
    if steps.is_empty() {
        return None;
    }
    match format {
        Format::Toml => {
            let error = Seek(steps).deserialize(toml::Deserializer::new(text)).err()?;
            Some(line_and_column(text, error.span()?.start).0)
        }
        Format::Yaml => {
            let error = Seek(steps)
                .deserialize(serde_yaml::Deserializer::from_str(text))
                .err()?;
            Some(error.location()?.line())
        }
    }
}

/// Line and column, both from 1, of a byte offset; columns count characters.
pub(crate) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count().saturating_add(1);
    let last = before.rsplit('\n').next().unwrap_or_default();
    (line, last.chars().count().saturating_add(1))
}

/// Descends into a value; the first step is still to be taken.
struct Seek<'a>(&'a [Step]);

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what the path leads to")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Some((Step::Key(wanted), rest)) = self.0.split_first() else {
            return Err(A::Error::custom("here"));
        };
        let key = Key {
            wanted,
            is_last: rest.is_empty(),
        };
        while let Some(matches) = entries.next_key_seed(&key)? {
            if matches {
                return entries.next_value_seed(Seek(rest));
            }
            entries.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Some((Step::Index(wanted), rest)) = self.0.split_first() else {
            return Err(A::Error::custom("here"));
        };
        for _ in 0..*wanted {
            if items.next_element::<IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        items.next_element_seed(Seek(rest)).map(|_| ())
    }
}

/// Compares a key; fails at the wanted one if the path ends there.
struct Key<'a> {
    wanted: &'a str,
    is_last: bool,
}

impl<'de> DeserializeSeed<'de> for &Key<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for &Key<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<bool, E> {
        match (key == self.wanted, self.is_last) {
            (true, true) => Err(E::custom("here")),
            (matches, _) => Ok(matches),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(path: &str) -> Vec<Step> {
        path.split('.')
            .map(|part| match part.parse() {
                Ok(index) => Step::Index(index),
                Err(_) => Step::Key(part.to_owned()),
            })
            .collect()
    }

    #[test]
    fn a_toml_key_is_found_in_every_way_of_writing_it() {
        let text = r#"# tick = "0"
tick = "1s"
state.dir = "/tick"

[exporter]   # schemas
processes.max = 5
ended = { keep = "3m" }
listen = [
    "a",
    "b",
]
[[bmc]]
url = "x"
[[bmc]]
url = "y"
"#;
        let table = [
            ("tick", Some(2)),
            ("state.dir", Some(3)),
            ("exporter", Some(5)),
            ("exporter.processes.max", Some(6)),
            ("exporter.ended.keep", Some(7)),
            ("exporter.listen", Some(8)),
            ("exporter.listen.1", Some(10)),
            ("bmc.1.url", Some(15)),
            ("exporter.schemas", None),
            ("bmc.7.url", None),
        ];
        for (path, expected) in table {
            assert_eq!(line(text, Format::Toml, &steps(path)), expected, "{path}");
        }
    }

    #[test]
    fn a_yaml_key_is_found_in_every_way_of_writing_it() {
        let text = "# tick: 0\ntick: 1s\nnote: |\n  listen: no\nexporter:\n  listen:\n    - a\n    - b\n  ended: {keep: 3m}\nbmc:\n  - url: x\n  - name: n\n    url: y\n";
        let table = [
            ("tick", Some(2)),
            ("exporter", Some(5)),
            ("exporter.listen", Some(6)),
            ("exporter.listen.1", Some(8)),
            ("exporter.ended.keep", Some(9)),
            ("bmc.1.url", Some(13)),
            ("listen", None),
        ];
        for (path, expected) in table {
            assert_eq!(line(text, Format::Yaml, &steps(path)), expected, "{path}");
        }
    }

    #[test]
    fn columns_count_characters() {
        assert_eq!(line_and_column("a\n\u{e9}x", 4), (2, 2));
        assert_eq!(line_and_column("", 0), (1, 1));
    }
}
