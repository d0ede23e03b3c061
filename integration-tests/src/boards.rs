// SPDX-License-Identifier: Apache-2.0
//! What a dashboard asks, as Grafana would: its queries with the variables filled in.

use crate::prometheus::Prometheus;
use serde_json::Value;
use std::collections::BTreeMap;

/// Panels of a board, but for headlines.
pub fn panels(board: &Value) -> impl Iterator<Item = &Value> {
    let all = board["panels"].as_array().into_iter().flatten();
    all.filter(|panel| panel["type"] != "row")
}

/// Queries of a panel.
pub fn expressions(panel: &Value) -> impl Iterator<Item = &str> {
    let all = panel["targets"].as_array().into_iter().flatten();
    all.filter_map(|target| target["expr"].as_str())
}

/// Variables of a board.
pub fn variables(board: &Value) -> impl Iterator<Item = &Value> {
    board["templating"]["list"].as_array().into_iter().flatten()
}

/// What a variable asks Prometheus.
#[must_use]
pub fn question(variable: &Value) -> Option<&str> {
    variable["query"]["query"].as_str()
}

/// The selector and the label of `label_values(SELECTOR, LABEL)`.
#[must_use]
pub fn label_values(query: &str) -> Option<(&str, &str)> {
    let inner = query.strip_prefix("label_values(")?.strip_suffix(')')?;
    let (selector, label) = inner.rsplit_once(',')?;
    Some((selector.trim(), label.trim()))
}

/// Every choice of a board's variables that a reader would begin with: of a variable with one value each of its values,
/// of one with several all of them.
///
/// # Panics
/// When a variable has no values.
#[must_use]
pub fn choices(board: &Value, prometheus: &Prometheus) -> Vec<BTreeMap<String, String>> {
    // Of many scrapes, so that a machine that is busy with other tests has some in each.
    let mut choices = vec![BTreeMap::from([
        ("__rate_interval".to_owned(), "20s".to_owned()),
        ("__range".to_owned(), "30s".to_owned()),
    ])];
    for variable in variables(board).filter(|variable| variable["type"] != "datasource") {
        let name = variable["name"].as_str().expect("a name");
        choices = choices
            .iter()
            .flat_map(|choice| {
                let values = values(variable, choice, prometheus);
                assert!(!values.is_empty(), "{name} has no values for {choice:?}");
                values.into_iter().map(move |value| {
                    let mut more = choice.clone();
                    more.insert(name.to_owned(), value);
                    more
                })
            })
            .collect();
    }
    choices
}

fn values(variable: &Value, choice: &BTreeMap<String, String>, prometheus: &Prometheus) -> Vec<String> {
    if variable["type"] == "textbox" {
        return vec![variable["query"].as_str().expect("text").to_owned()];
    }
    let query = fill(question(variable).expect("a query"), choice);
    let (selector, label) = label_values(&query).expect("label_values");
    let values = prometheus.label_values(selector, label);
    let is_all = variable["includeAll"] == true && !values.is_empty();
    if is_all {
        vec![variable["allValue"].as_str().expect("a pattern").to_owned()]
    } else {
        values
    }
}

/// The text with variables filled in, the longest names first.
#[must_use]
pub fn fill(text: &str, choice: &BTreeMap<String, String>) -> String {
    let mut names: Vec<&String> = choice.keys().collect();
    names.sort_by_key(|name| std::cmp::Reverse(name.len()));
    names.into_iter().fold(text.to_owned(), |text, name| {
        let value = choice.get(name).map_or("", String::as_str);
        text.replace(&format!("${{{name}}}"), value)
            .replace(&format!("${name}"), value)
    })
}

/// Names of our metrics in a query, without the ends that a histogram's samples have.
#[must_use]
pub fn metrics(expression: &str) -> Vec<String> {
    let words =
        expression.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_' || letter == ':'));
    let ours = words.filter(|word| word.starts_with("kepler_") || word.starts_with("process_"));
    let name = |word: &str| {
        let end = ["_bucket", "_sum", "_count"]
            .into_iter()
            .find(|end| word.ends_with(end));
        end.and_then(|end| word.strip_suffix(end))
            .unwrap_or(word)
            .to_owned()
    };
    ours.map(name).collect()
}
