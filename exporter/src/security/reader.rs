// SPDX-License-Identifier: Apache-2.0
//! Reads keys of a YAML document one by one and collects all that is wrong with them, in words: where, what was found,
//! what is allowed. Never repeats a value that may be a secret.

use crate::config::HumaneDuration;
use serde_json::{Map, Value};
use std::time::Duration;

/// One table of the document.
pub(super) struct Table<'a> {
    path: String,
    entries: Option<&'a Map<String, Value>>,
}

/// What was wrong so far.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<String>);

impl Problems {
    pub(super) fn say(&mut self, at: &str, what: &str) {
        self.0.push(format!("{at}: {what}"));
    }

    /// All of it, a line each; `None` where all is well.
    pub(super) fn told(&self) -> Option<String> {
        (!self.0.is_empty()).then(|| self.0.join("\n  "))
    }
}

impl<'a> Table<'a> {
    /// The document itself; an empty one is an empty table.
    pub(super) fn root(document: &'a Value, keys: &[&str], problems: &mut Problems) -> Self {
        Self::of(String::new(), document, keys, problems)
    }

    /// The table below `key`.
    pub(super) fn table(&self, key: &str, keys: &[&str], problems: &mut Problems) -> Self {
        Self::of(
            self.at(key),
            self.value(key).unwrap_or(&Value::Null),
            keys,
            problems,
        )
    }

    fn of(path: String, value: &'a Value, keys: &[&str], problems: &mut Problems) -> Self {
        let entries = match value {
            Value::Null => None,
            Value::Object(entries) => Some(entries),
            other => {
                let place = if path.is_empty() { "the file" } else { &path };
                problems.say(
                    place,
                    &format!("found {}; allowed: a table with {}", kind(other), keys.join(", ")),
                );
                None
            }
        };
        let table = Self { path, entries };
        table.refuse_others(keys, problems);
        table
    }

    fn refuse_others(&self, keys: &[&str], problems: &mut Problems) {
        let unknown = self
            .entries
            .into_iter()
            .flat_map(Map::keys)
            .filter(|key| !keys.contains(&key.as_str()));
        for key in unknown {
            let advice = match nearest(key, keys) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("allowed: {}", keys.join(", ")),
            };
            problems.say(&self.at(&cut(key)), &format!("unknown key; {advice}"));
        }
    }

    /// Whether the section is written at all, be it without any key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.is_some_and(|entries| entries.contains_key(key))
    }

    pub(super) fn at(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    fn value(&self, key: &str) -> Option<&'a Value> {
        self.entries?.get(key).filter(|value| !value.is_null())
    }

    /// A text that is not empty.
    pub(super) fn text(&self, key: &str, problems: &mut Problems) -> Option<&'a str> {
        match self.value(key)? {
            Value::String(text) if text.is_empty() => None,
            Value::String(text) => Some(text),
            other => {
                problems.say(&self.at(key), &format!("found {}; allowed: a text", kind(other)));
                None
            }
        }
    }

    /// Yes or no, also as YAML 1.1 and so Prometheus' own programs write it.
    pub(super) fn flag(&self, key: &str, problems: &mut Problems) -> Option<bool> {
        let word = match self.value(key)? {
            Value::Bool(flag) => return Some(*flag),
            Value::String(word) => word.to_ascii_lowercase(),
            other => kind(other).to_owned(),
        };
        match word.as_str() {
            "y" | "yes" | "on" | "true" => Some(true),
            "n" | "no" | "off" | "false" => Some(false),
            _ => {
                problems.say(&self.at(key), "allowed: true, false");
                None
            }
        }
    }

    /// A list of texts.
    pub(super) fn list(&self, key: &str, problems: &mut Problems) -> Option<Vec<&'a str>> {
        let items = match self.value(key)? {
            Value::Array(items) => items,
            other => {
                problems.say(
                    &self.at(key),
                    &format!("found {}; allowed: a list of texts", kind(other)),
                );
                return None;
            }
        };
        let texts: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
        if texts.len() < items.len() {
            problems.say(&self.at(key), "allowed: a list of texts");
        }
        Some(texts)
    }

    /// A number from 0.
    pub(super) fn number(&self, key: &str, problems: &mut Problems) -> Option<u32> {
        let value = self.value(key)?;
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        if number.is_none() {
            problems.say(
                &self.at(key),
                &format!("allowed: an integer from 0 to {}", u32::MAX),
            );
        }
        number
    }

    /// A time with its unit; a bare 0 is one, too.
    pub(super) fn duration(&self, key: &str, problems: &mut Problems) -> Option<Duration> {
        let duration = match self.value(key)? {
            Value::Number(number) if number.as_u64() == Some(0) => Some(Duration::ZERO),
            Value::String(text) => text.parse().ok().map(|HumaneDuration(duration)| duration),
            _ => None,
        };
        if duration.is_none() {
            problems.say(
                &self.at(key),
                "allowed: a duration in units h, m, s, ms without fractions, such as 1s or 200ms",
            );
        }
        duration
    }

    /// One of several words.
    pub(super) fn choice<T: Copy>(&self, key: &str, of: &[(&str, T)], problems: &mut Problems) -> Option<T> {
        let word = self.text(key, problems)?;
        let found = of.iter().find(|(name, _)| *name == word);
        if found.is_none() {
            let names: Vec<&str> = of.iter().map(|(name, _)| *name).collect();
            problems.say(&self.at(key), &refused(word, &names));
        }
        found.map(|(_, value)| *value)
    }

    /// Every key with its text; for tables whose keys are people's own.
    pub(super) fn texts(&self, problems: &mut Problems) -> Vec<(&'a str, &'a str)> {
        let mut texts = Vec::new();
        for (key, value) in self.entries.into_iter().flatten() {
            match value {
                Value::String(text) => texts.push((key.as_str(), text.as_str())),
                other => problems.say(
                    &self.at(&cut(key)),
                    &format!("found {}; allowed: a text", kind(other)),
                ),
            }
        }
        texts
    }

    /// The table below `key`, whose keys are people's own.
    pub(super) fn people(&self, key: &str, problems: &mut Problems) -> Self {
        let value = self.value(key).unwrap_or(&Value::Null);
        if !value.is_null() && !value.is_object() {
            problems.say(&self.at(key), &format!("found {}; allowed: a table", kind(value)));
        }
        Self {
            path: self.at(key),
            entries: value.as_object(),
        }
    }
}

/// A word that is none of those that may be.
pub(super) fn refused(word: &str, allowed: &[&str]) -> String {
    let meant = nearest(word, allowed)
        .map(|near| format!("; did you mean {near}?"))
        .unwrap_or_default();
    format!("found \"{}\"{meant}; allowed: {}", cut(word), allowed.join(", "))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}

/// Short, and without what would break the line.
fn cut(text: &str) -> String {
    let mut short: String = text.chars().take(64).flat_map(char::escape_debug).collect();
    if text.chars().nth(64).is_some() {
        short.push('…');
    }
    short
}

/// The key that was probably meant. As crate `config` guesses, which is not ours to call.
fn nearest<'k>(wanted: &str, known: &[&'k str]) -> Option<&'k str> {
    let length = wanted.chars().count();
    if length > 64 {
        return None;
    }
    let tolerance = (length / 3).clamp(1, 4);
    let near = known
        .iter()
        .map(|name| (strsim::osa_distance(wanted, name), *name));
    let near = near.filter(|(distance, name)| *distance <= tolerance && *distance < name.len());
    near.min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}
