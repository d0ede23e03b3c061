// SPDX-License-Identifier: Apache-2.0
//! What a text from a variable or a flag may mean. It has no type, so the owner's type is offered each reading in turn.

use serde_json::Value;

/// The readings of a text, likeliest first. `default` tells a list from a value: a list is split at commas first,
/// anything else is first of all a text.
pub(crate) fn readings(text: &str, default: &Value) -> Vec<Value> {
    let as_text = Value::from(text);
    let literal = literal(text);
    let mut readings = Vec::new();
    if default.is_array() {
        readings.extend(literal.clone().filter(Value::is_array));
        readings.extend(split(text));
        readings.push(as_text);
        readings.extend(literal);
    } else {
        readings.push(as_text);
        readings.extend(literal);
        if default.is_null() || text.contains(',') {
            readings.extend(split(text));
        }
    }
    readings
}

/// The text split at commas: once as texts, once as what they look like.
fn split(text: &str) -> Vec<Value> {
    if text.trim().is_empty() {
        return vec![Value::Array(Vec::new())];
    }
    let parts = || text.split(',').map(str::trim);
    let texts: Vec<Value> = parts().map(Value::from).collect();
    let literals: Option<Vec<Value>> = parts().map(literal).collect();
    [Some(texts), literals]
        .into_iter()
        .flatten()
        .map(Value::Array)
        .collect()
}

/// A text as TOML or JSON would read it after an equals sign: `true`, `5`, `2.5`, `["a"]`, `{ package = 20.0 }`.
fn literal(text: &str) -> Option<Value> {
    if let Ok(value @ (Value::Array(_) | Value::Object(_))) = serde_json::from_str(text) {
        return Some(value);
    }
    let table: toml::Table = toml::from_str(&format!("v = {text}")).ok()?;
    let value = table.get("v")?;
    // More than one key: the text held a line break and went on.
    (table.len() == 1 && is_plain(value)).then(|| serde_json::to_value(value).ok())?
}

/// Whether plain values can carry it: serde would write a date as a table with a private name, and nan as null.
fn is_plain(value: &toml::Value) -> bool {
    match value {
        toml::Value::Datetime(_) => false,
        toml::Value::Float(number) => number.is_finite(),
        toml::Value::Array(items) => items.iter().all(is_plain),
        toml::Value::Table(table) => table.values().all(is_plain),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_text_is_first_a_text_unless_a_list_is_wanted() {
        let table = [
            ("500ms", json!("1s"), vec![json!("500ms")]),
            ("5", json!(1), vec![json!("5"), json!(5)]),
            ("true", json!(false), vec![json!("true"), json!(true)]),
            ("2.5", json!(1.0), vec![json!("2.5"), json!(2.5)]),
            ("\"1s\"", json!("1s"), vec![json!("\"1s\""), json!("1s")]),
            (
                "{ package = 20.0 }",
                json!("measured"),
                vec![json!("{ package = 20.0 }"), json!({ "package": 20.0 })],
            ),
            (
                "{\"a\": 1}",
                json!({}),
                vec![json!("{\"a\": 1}"), json!({ "a": 1 })],
            ),
            (
                "rapl, hwmon",
                json!([]),
                vec![json!(["rapl", "hwmon"]), json!("rapl, hwmon")],
            ),
            ("rapl", json!([]), vec![json!(["rapl"]), json!("rapl")]),
            ("", json!([]), vec![json!([]), json!("")]),
            (
                "[\"a\",\"b\"]",
                json!([]),
                vec![
                    json!(["a", "b"]),
                    json!(["[\"a\"", "\"b\"]"]),
                    json!("[\"a\",\"b\"]"),
                    json!(["a", "b"]),
                ],
            ),
            (
                "1,2",
                json!([]),
                vec![json!(["1", "2"]), json!([1, 2]), json!("1,2")],
            ),
            (
                "[::1]:28282",
                json!([]),
                vec![json!(["[::1]:28282"]), json!("[::1]:28282")],
            ),
            ("2026-01-01", json!("x"), vec![json!("2026-01-01")]),
            ("1\nw = 2", json!(1), vec![json!("1\nw = 2")]),
            ("a", json!(null), vec![json!("a"), json!(["a"])]),
            ("a,b", json!("x"), vec![json!("a,b"), json!(["a", "b"])]),
            ("nan", json!(1.0), vec![json!("nan")]),
        ];
        for (text, default, expected) in table {
            assert_eq!(readings(text, &default), expected, "{text:?}");
        }
    }
}
