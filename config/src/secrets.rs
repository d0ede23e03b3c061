// SPDX-License-Identifier: Apache-2.0
//! What must not be shown: values of secret keys, and passwords inside URLs. Only hides; never changes what is used.

use crate::path;
use serde_json::Value;

/// What stands where a secret was.
pub(crate) const MASK: &str = "***";

/// Whether a key's name says that its value is secret: by its last word, so `password` and `bmc_token` are, but
/// `password_file` and `token_path` (a place, not the secret) are not.
pub(crate) fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    let words = [
        "password",
        "passwd",
        "passphrase",
        "token",
        "secret",
        "secrets",
        "credential",
        "credentials",
        "bearer",
        "apikey",
    ];
    let last = name.rsplit('_').next().unwrap_or_default();
    words.contains(&last)
        || ["api_key", "access_key", "private_key", "secret_key"]
            .iter()
            .any(|tail| name.ends_with(tail))
}

/// A copy that may be shown. Empty strings and nulls stay, because "not set" is worth knowing and no secret; so do switches, such
/// as `plain_secrets`.
pub(crate) fn masked(value: &Value, secret: bool) -> Value {
    match value {
        Value::Null | Value::Bool(_) => value.clone(),
        Value::String(text) if text.is_empty() => value.clone(),
        Value::Object(entries) => Value::Object(
            entries
                .iter()
                .map(|(name, inner)| (name.clone(), masked(inner, secret || is_secret_name(name))))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(|item| masked(item, secret)).collect()),
        _ if secret => Value::from(MASK),
        Value::String(text) => Value::from(without_url_password(text)),
        other => other.clone(),
    }
}

/// `https://admin:hunter2@bmc` becomes `https://admin:***@bmc` (RFC 3986, 3.2.1: user information).
pub(crate) fn without_url_password(text: &str) -> String {
    let hidden = || {
        let (scheme, rest) = text.split_once("://")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at_checked(end)?;
        let (user_information, host) = authority.rsplit_once('@')?;
        let (user, _password) = user_information.split_once(':')?;
        Some(format!("{scheme}://{user}:{MASK}@{host}{tail}"))
    };
    hidden().unwrap_or_else(|| text.to_owned())
}

/// What was found, for a message: short, quoted where it is text, typed where its type is the news.
pub(crate) fn found(value: &Value, secret: bool) -> String {
    match masked(value, secret) {
        Value::Null => "nothing".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) if number.is_f64() => format!("number {number}"),
        Value::Number(number) => format!("integer {number}"),
        Value::String(text) => path::quoted(&text),
        Value::Array(items) => format!("a list {}", path::cut(&Value::Array(items).to_string())),
        Value::Object(entries) if entries.is_empty() => "an empty table".to_owned(),
        Value::Object(entries) => {
            let names: Vec<String> = entries.keys().cloned().collect();
            format!("a table with {}", path::cut(&path::plain(&names.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_name_is_secret_by_its_last_word() {
        for name in [
            "password",
            "bmc_password",
            "TOKEN",
            "client-secret",
            "api_key",
            "private-key",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "password_file",
            "token_path",
            "max_tokens",
            "key",
            "monkey",
            "tick",
            "",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn secrets_are_hidden_however_deep_they_lie() {
        let value =
            json!([{ "url": "https://admin:hunter2@bmc/redfish?a@b", "password": "hunter2", "port": 443 }]);
        assert_eq!(
            masked(&value, false),
            json!([{ "url": "https://admin:***@bmc/redfish?a@b", "password": "***", "port": 443 }])
        );
        assert_eq!(
            masked(&json!({ "a": [1, ""], "plain_secrets": true }), true),
            json!({ "a": ["***", ""], "plain_secrets": true })
        );
    }

    #[test]
    fn urls_without_a_password_stay_as_they_are() {
        for text in [
            "https://bmc",
            "https://admin@bmc/x:y@z",
            "10.0.0.1:1",
            "a:b@c",
            "://",
        ] {
            assert_eq!(without_url_password(text), text);
        }
    }

    #[test]
    fn what_was_found_is_named_with_its_type() {
        let table = [
            (json!(null), "nothing"),
            (json!(true), "true"),
            (json!(5), "integer 5"),
            (json!(2.5), "number 2.5"),
            (json!("a\nb"), "\"a\\nb\""),
            (json!(["x"]), "a list [\"x\"]"),
            (json!({}), "an empty table"),
            (json!({ "x": 1 }), "a table with x"),
        ];
        for (value, expected) in table {
            assert_eq!(found(&value, false), expected);
        }
        assert_eq!(found(&json!("hunter2"), true), "\"***\"");
    }
}
