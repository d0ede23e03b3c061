// SPDX-License-Identifier: Apache-2.0
//! The configuration file: read, checked to be text, parsed as TOML or YAML into plain values.
//!
//! Knows no key. Refuses what the layers cannot carry (dates, infinities, YAML tags, keys that are no text) by name.

use crate::locate::{self, Step};
use crate::path;
use crate::problem::{Fault, Origin, Problem};
use serde_json::{Map, Value};
use std::cell::Cell;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Most bytes that a file may have: the size limit of a Kubernetes ConfigMap, many times what all keys need. Keeps a
/// device or a log that was named by mistake out of memory.
const MOST_BYTES: u64 = 1 << 20;

/// Most look-ups of a line in one file. Each parses the file again: a real file of a few kilobytes and a hundred keys
/// needs some ten milliseconds for all of them, and a hostile one cannot hold the start up for minutes.
const MOST_LOOKUPS: u32 = 512;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// `.toml`
    Toml,
    /// `.yaml`, `.yml`
    Yaml,
}

/// A parsed file.
#[derive(Debug)]
pub(crate) struct File {
    path: PathBuf,
    text: String,
    format: Format,
    lookups_left: Cell<u32>,
    /// What it says: always an object, without what is in `refused`.
    pub(crate) tree: Value,
    /// What it says and no layer can carry.
    pub(crate) refused: Vec<Problem>,
}

impl File {
    /// Reads and parses a file. A file that is not there is `Ok(None)`: only the caller knows whether it had to be.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, Box<Problem>> {
        let format = format(path)?;
        match read(path) {
            Ok(bytes) => Self::parse(path, format, bytes).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unusable(path, None, what_to_do(&error))),
        }
    }

    /// Parses what a file holds.
    pub(crate) fn parse(path: &Path, format: Format, bytes: Vec<u8>) -> Result<Self, Box<Problem>> {
        if u64::try_from(bytes.len()).is_ok_and(|length| length > MOST_BYTES) {
            let message = "is larger than 1 MiB, which no configuration is; name another file";
            return Err(unusable(path, None, message.to_owned()));
        }
        let text = text(bytes).map_err(|place| {
            unusable(
                path,
                Some(place),
                "is not UTF-8 text here; save it as UTF-8".to_owned(),
            )
        })?;
        let mut conversion = Conversion::default();
        let tree = match format {
            Format::Toml => parse_toml(&text, &mut conversion),
            Format::Yaml => parse_yaml(&text, &mut conversion),
        }
        .map_err(|(place, message)| unusable(path, place, message))?;
        let mut file = Self {
            path: path.to_owned(),
            text,
            format,
            lookups_left: Cell::new(MOST_LOOKUPS),
            tree: Value::Object(tree),
            refused: Vec::new(),
        };
        file.refused = conversion
            .refused
            .into_iter()
            .map(|(steps, fault)| Problem {
                origin: file.origin(&steps),
                key: key_text(&steps),
                fault,
            })
            .collect();
        Ok(file)
    }

    /// Its path as it was named.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The place of a key, with its line if it can be found.
    pub(crate) fn origin(&self, steps: &[Step]) -> Origin {
        // What is missing inside a table has no line of its own: then the table's line has to do.
        let line = (1..=steps.len())
            .rev()
            .find_map(|length| self.line(steps.get(..length)?));
        Origin::File {
            path: self.path.clone(),
            line,
            column: None,
        }
    }

    fn line(&self, steps: &[Step]) -> Option<usize> {
        let left = self.lookups_left.get().checked_sub(1)?;
        self.lookups_left.set(left);
        locate::line(&self.text, self.format, steps)
    }
}

/// Bytes as text, or the line and column of the first byte that is no text. Both parsers skip a byte-order mark.
fn text(bytes: Vec<u8>) -> Result<String, (usize, usize)> {
    String::from_utf8(bytes).map_err(|error| {
        let end = error.utf8_error().valid_up_to();
        let valid = error.as_bytes().get(..end).unwrap_or_default();
        locate::line_and_column(&String::from_utf8_lossy(valid), end)
    })
}

/// A key for people: `bmc[1].url`.
pub(crate) fn key_text(steps: &[Step]) -> String {
    steps.iter().fold(String::new(), |mut key, step| {
        match step {
            Step::Key(name) => {
                if !key.is_empty() {
                    key.push('.');
                }
                key.push_str(&path::join(std::slice::from_ref(name)));
            }
            Step::Index(index) => key.push_str(&format!("[{index}]")),
        }
        key
    })
}

fn format(path: &Path) -> Result<Format, Box<Problem>> {
    let extension = path.extension().map(|extension| extension.to_ascii_lowercase());
    match extension.as_deref().and_then(|extension| extension.to_str()) {
        Some("toml") => Ok(Format::Toml),
        Some("yaml" | "yml") => Ok(Format::Yaml),
        _ => {
            let message = "its name does not tell its format; allowed: .toml, .yaml or .yml at the end";
            Err(unusable(path, None, message.to_owned()))
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let facts = std::fs::metadata(path)?;
    if !facts.is_file() && !facts.is_dir() {
        // Opening a named pipe waits until somebody writes into it, and a reload would wait with it.
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // One byte more than allowed, so that the caller sees that it is too long.
    std::fs::File::open(path)?
        .take(MOST_BYTES.saturating_add(1))
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Why a file cannot be read, and what to do.
fn what_to_do(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::IsADirectory => "is a directory; name a file in it".to_owned(),
        io::ErrorKind::InvalidInput => "is a pipe, a socket or a device; name a regular file".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "may not be read; make it readable for the user that kepler runs as".to_owned()
        }
        _ => format!("cannot be read: {error}"),
    }
}

/// A problem with the file as a whole, at (line, column) where known.
pub(crate) fn unusable(path: &Path, place: Option<(usize, usize)>, message: String) -> Box<Problem> {
    Box::new(Problem {
        origin: Origin::File {
            path: path.to_owned(),
            line: place.map(|(line, _)| line),
            column: place.map(|(_, column)| column),
        },
        key: String::new(),
        fault: Fault::Unusable(message),
    })
}

type SyntaxError = (Option<(usize, usize)>, String);

fn parse_toml(text: &str, conversion: &mut Conversion) -> Result<Map<String, Value>, SyntaxError> {
    let table: toml::Table = toml::from_str(text).map_err(|error| {
        let place = error.span().map(|span| locate::line_and_column(text, span.start));
        // The parser speaks in two lines: what it was reading, and what it would have liked.
        (place, error.message().trim().replace('\n', "; "))
    })?;
    Ok(conversion.toml_table(table, &mut Vec::new()))
}

fn parse_yaml(text: &str, conversion: &mut Conversion) -> Result<Map<String, Value>, SyntaxError> {
    let document: serde_yaml::Value = serde_yaml::from_str(text).map_err(|error| {
        let place = error
            .location()
            .map(|location| (location.line(), location.column()));
        let words = error.to_string();
        // The place stands before the message already.
        let words = words
            .split_once(" at line ")
            .map_or(words.as_str(), |(words, _)| words);
        (place, words.to_owned())
    })?;
    match document {
        // Nothing but comments.
        serde_yaml::Value::Null => Ok(Map::new()),
        serde_yaml::Value::Mapping(mapping) => Ok(conversion.yaml_mapping(mapping, &mut Vec::new())),
        _ => Err((
            None,
            "holds no keys; allowed: lines such as \"tick: 1s\"".to_owned(),
        )),
    }
}

/// From a parser's values to plain ones; `None` for what was refused. Recursion is bounded by the parsers' own limits
/// on nesting.
#[derive(Default)]
struct Conversion {
    refused: Vec<(Vec<Step>, Fault)>,
}

impl Conversion {
    fn refuse(&mut self, at: &[Step], found: String, allowed: &str) -> Option<Value> {
        let fault = Fault::Refused {
            found,
            allowed: Some(allowed.to_owned()),
            reason: None,
        };
        self.refused.push((at.to_vec(), fault));
        None
    }

    fn float(&mut self, number: f64, at: &[Step]) -> Option<Value> {
        match serde_json::Number::from_f64(number) {
            Some(number) => Some(Value::Number(number)),
            None => self.refuse(at, number.to_string(), "a finite number"),
        }
    }

    fn items<T>(&mut self, items: Vec<T>, at: &mut Vec<Step>, convert: Convert<T>) -> Option<Value> {
        let mut list = Vec::with_capacity(items.len());
        let mut whole = true;
        for (index, item) in items.into_iter().enumerate() {
            at.push(Step::Index(index));
            match convert(self, item, at) {
                Some(item) => list.push(item),
                None => whole = false,
            }
            at.pop();
        }
        whole.then_some(Value::Array(list))
    }

    fn toml_table(&mut self, table: toml::Table, at: &mut Vec<Step>) -> Map<String, Value> {
        let mut object = Map::new();
        for (key, value) in table {
            at.push(Step::Key(key.clone()));
            if let Some(value) = self.toml(value, at) {
                object.insert(key, value);
            }
            at.pop();
        }
        object
    }

    fn toml(&mut self, value: toml::Value, at: &mut Vec<Step>) -> Option<Value> {
        match value {
            toml::Value::String(text) => Some(Value::String(text)),
            toml::Value::Integer(number) => Some(Value::from(number)),
            toml::Value::Float(number) => self.float(number, at),
            toml::Value::Boolean(flag) => Some(Value::Bool(flag)),
            toml::Value::Datetime(date) => {
                self.refuse(at, format!("date {date}"), "a text in quotes, or a number")
            }
            toml::Value::Array(items) => self.items(items, at, Self::toml),
            toml::Value::Table(table) => Some(Value::Object(self.toml_table(table, at))),
        }
    }

    fn yaml_mapping(&mut self, mapping: serde_yaml::Mapping, at: &mut Vec<Step>) -> Map<String, Value> {
        let mut object = Map::new();
        for (key, value) in mapping {
            let serde_yaml::Value::String(key) = key else {
                let found = serde_yaml::to_string(&key).unwrap_or_default();
                self.refuse(
                    at,
                    format!("the key {}", path::quoted(found.trim())),
                    "keys that are texts",
                );
                continue;
            };
            at.push(Step::Key(key.clone()));
            if let Some(value) = self.yaml(value, at) {
                object.insert(key, value);
            }
            at.pop();
        }
        object
    }

    fn yaml(&mut self, value: serde_yaml::Value, at: &mut Vec<Step>) -> Option<Value> {
        match value {
            serde_yaml::Value::Null => Some(Value::Null),
            serde_yaml::Value::Bool(flag) => Some(Value::Bool(flag)),
            serde_yaml::Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(number), _) => Some(Value::from(number)),
                (None, Some(number)) => Some(Value::from(number)),
                (None, None) => self.float(number.as_f64().unwrap_or(f64::NAN), at),
            },
            serde_yaml::Value::String(text) => Some(Value::String(text)),
            serde_yaml::Value::Sequence(items) => self.items(items, at, Self::yaml),
            serde_yaml::Value::Mapping(mapping) => Some(Value::Object(self.yaml_mapping(mapping, at))),
            serde_yaml::Value::Tagged(tagged) => {
                let found = format!("the tag {}", path::quoted(&tagged.tag.to_string()));
                self.refuse(at, found, "a value without a YAML tag")
            }
        }
    }
}

/// How one item of a list becomes plain.
type Convert<T> = fn(&mut Conversion, T, &mut Vec<Step>) -> Option<Value>;

#[cfg(test)]
mod tests;
