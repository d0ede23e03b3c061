// SPDX-License-Identifier: Apache-2.0
//! `kepler config show`: every key with its value and where the value comes from, as a TOML file that could be used
//! again (but for masked secrets).

use crate::loaded::Effective;
use crate::path;
use serde_json::Value;

/// Columns up to which origins are aligned; a longer value pushes only its own.
const WIDEST_VALUE: usize = 48;

/// One line per key: `key = value  # origin`, aligned. A key without a value is a comment, as TOML has no null.
#[must_use]
pub fn render_effective(effective: &[Effective]) -> String {
    let rows: Vec<(String, String, String)> = effective
        .iter()
        .map(|one| match one.value {
            Value::Null => (
                format!("# {}", one.key),
                "not set".to_owned(),
                one.origin.to_string(),
            ),
            ref value => (one.key.clone(), toml_value(value), one.origin.to_string()),
        })
        .collect();
    let width = |text: &str| text.chars().count();
    let keys = rows.iter().map(|(key, ..)| width(key)).max().unwrap_or(0);
    let values = rows
        .iter()
        .map(|(_, value, _)| width(value))
        .filter(|width| *width <= WIDEST_VALUE)
        .max()
        .unwrap_or(0);
    rows.into_iter()
        .map(|(key, value, origin)| format!("{key:<keys$} = {value:<values$}  # {origin}\n"))
        .collect()
}

/// A value on one line, as TOML writes it.
fn toml_value(value: &Value) -> String {
    match value {
        // Only inside lists, where TOML cannot say it.
        Value::Null => "\"\"".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => path::toml_string(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(toml_value).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(entries) if entries.is_empty() => "{}".to_owned(),
        Value::Object(entries) => {
            let entries: Vec<String> = entries
                .iter()
                .map(|(key, value)| {
                    format!(
                        "{} = {}",
                        path::join(std::slice::from_ref(key)),
                        toml_value(value)
                    )
                })
                .collect();
            format!("{{ {} }}", entries.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Origin;
    use serde_json::json;

    fn one(key: &str, value: Value) -> Effective {
        Effective {
            key: key.to_owned(),
            value,
            origin: Origin::Default,
        }
    }

    #[test]
    fn keys_values_and_origins_stand_in_columns() {
        let long = "x".repeat(60);
        let mut tick = one("tick", json!("500ms"));
        tick.origin = Origin::Environment {
            variable: "KEPLER_TICK".to_owned(),
        };
        let text = render_effective(&[one("a.limit", json!(null)), one("long", json!(long)), tick]);
        let expected = format!(
            "# a.limit = not set  # default\nlong      = \"{long}\"  # default\ntick      = \"500ms\"  # environment KEPLER_TICK\n"
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn what_is_shown_is_a_configuration_file() {
        let shown = [
            one("a.text", json!("quote \" newline \n del \u{7f} \u{1b}")),
            one("a.list", json!([{ "url": "x", "odd key": 1 }, [true, 2.5e300]])),
            one("a.empty", json!({})),
            one("b", json!(-7)),
            one("c", json!(null)),
        ];
        let table: toml::Table = toml::from_str(&render_effective(&shown)).unwrap();
        assert_eq!(
            serde_json::to_value(table).unwrap(),
            json!({
                "a": { "text": shown[0].value, "list": shown[1].value, "empty": {} },
                "b": -7
            })
        );
    }
}
