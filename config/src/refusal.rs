// SPDX-License-Identifier: Apache-2.0
//! Why an owner's type refuses a value, in words for people who do not read Rust.
//!
//! The convention with owners is serde's own: what stands after the last `, expected ` of an error is what is allowed
//! (`serde::de::Error::invalid_value(unexpected, &"a duration from 100ms to 60s")`). A message without it is repeated.

use crate::locate::Step;
use crate::path;
use crate::problem::Fault;
use crate::secrets;
use serde_json::Value;

/// An owner's refusal of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Where inside the section, as far as known.
    pub(crate) at: Vec<Step>,
    /// The type's words.
    pub(crate) message: String,
}

impl Refusal {
    /// Deserialises a section, to learn where and why it fails.
    pub(crate) fn of_type<T: serde::de::DeserializeOwned>(section: &Value) -> Result<T, Self> {
        serde_path_to_error::deserialize(section).map_err(|error| Self {
            at: error.path().iter().filter_map(step).collect(),
            message: error.inner().to_string(),
        })
    }

    /// Whether the type objects to the kind of value, not to the value itself.
    pub(crate) fn is_of_type(&self) -> bool {
        self.message.starts_with("invalid type: ")
    }

    /// Whether the type has no use for a table here.
    pub(crate) fn is_of_table(&self) -> bool {
        self.message.starts_with("invalid type: map")
    }

    /// As a problem with `value`, which was found at [`Refusal::at`]. `secret` hides it.
    pub(crate) fn fault(&self, value: &Value, secret: bool) -> Fault {
        let found = secrets::found(value, secret);
        if let Some(field) = between_backticks(&self.message, "missing field ") {
            return refused(found, None, Some(format!("{field} is missing")));
        }
        let allowed = self
            .message
            .rsplit_once(", expected ")
            .map(|(_, allowed)| allowed);
        if let Some(field) = between_backticks(&self.message, "unknown field ") {
            return refused(
                format!("the unknown key {}", path::quoted(field)),
                allowed.map(|names| format!("the keys {}", names.replace('`', "\""))),
                None,
            );
        }
        match allowed {
            Some(allowed) => refused(found, Some(in_words(allowed)), None),
            // The owner's own sentence may repeat the value, so a secret key's owner is not quoted.
            None if secret => refused(found, None, Some("its owner refuses it".to_owned())),
            None => refused(found, None, Some(secrets::without_url_password(&self.message))),
        }
    }
}

fn refused(found: String, allowed: Option<String>, reason: Option<String>) -> Fault {
    Fault::Refused {
        found,
        allowed,
        reason,
    }
}

fn step(segment: &serde_path_to_error::Segment) -> Option<Step> {
    use serde_path_to_error::Segment;
    match segment {
        Segment::Seq { index } => Some(Step::Index(*index)),
        Segment::Map { key } | Segment::Enum { variant: key } => Some(Step::Key(key.clone())),
        Segment::Unknown => None,
    }
}

fn between_backticks<'a>(message: &'a str, before: &str) -> Option<&'a str> {
    message
        .strip_prefix(before)?
        .strip_prefix('`')?
        .split_once('`')
        .map(|(name, _)| name)
}

/// serde names Rust's types; people who write TOML do not know them.
fn in_words(allowed: &str) -> String {
    let words = match allowed {
        "u8" => "an integer from 0 to 255",
        "u16" => "an integer from 0 to 65535",
        "u32" => "an integer from 0 to 4294967295",
        "u64" | "u128" | "usize" => "an integer from 0",
        "i8" => "an integer from -128 to 127",
        "i16" => "an integer from -32768 to 32767",
        "i32" => "an integer from -2147483648 to 2147483647",
        "i64" | "i128" | "isize" => "an integer",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a string" => "a text in quotes",
        "a sequence" => "a list",
        "a map" => "a table",
        _ if allowed.starts_with("struct ") => "a table",
        _ => return allowed.replace('`', "\""),
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(message: &str, value: &Value, secret: bool) -> (String, Option<String>, Option<String>) {
        let refusal = Refusal {
            at: Vec::new(),
            message: message.to_owned(),
        };
        match refusal.fault(value, secret) {
            Fault::Refused {
                found,
                allowed,
                reason,
            } => (found, allowed, reason),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn serde_speaks_to_people() {
        let owned = |text: &str| Some(text.to_owned());
        let five = json!(5);
        let table = [
            // message, allowed, reason
            (
                "invalid type: integer `5`, expected a duration, such as \"1s\"",
                owned("a duration, such as \"1s\""),
                None,
            ),
            (
                "invalid value: integer `-1`, expected u32",
                owned("an integer from 0 to 4294967295"),
                None,
            ),
            (
                "invalid type: string \"x, expected y\", expected f64",
                owned("a number"),
                None,
            ),
            (
                "unknown variant `x`, expected `a` or `b`",
                owned("\"a\" or \"b\""),
                None,
            ),
            ("invalid type: null, expected struct Idle", owned("a table"), None),
            (
                "cannot reach https://root:hunter2@bmc/",
                None,
                owned("cannot reach https://root:***@bmc/"),
            ),
            ("must be at most 60 s", None, owned("must be at most 60 s")),
            ("missing field `url`", None, owned("url is missing")),
        ];
        for (message, allowed, reason) in table {
            assert_eq!(
                told(message, &five, false),
                ("integer 5".to_owned(), allowed, reason),
                "{message}"
            );
        }
        assert_eq!(
            told("unknown field `urll`, expected `url` or `user`", &five, false),
            (
                "the unknown key \"urll\"".to_owned(),
                owned("the keys \"url\" or \"user\""),
                None
            )
        );
    }

    #[test]
    fn a_refused_secret_is_not_told() {
        let (found, allowed, reason) = told("\"hunter2\" is too short", &json!("hunter2"), true);
        assert_eq!(found, "\"***\"");
        assert_eq!((allowed, reason), (None, Some("its owner refuses it".to_owned())));
    }
}
