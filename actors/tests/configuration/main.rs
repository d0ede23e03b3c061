// SPDX-License-Identifier: Apache-2.0
//! docs/configuration.md is what the configuration's types say: keys, defaults and variables are taken from them, and what the
//! page says is allowed is tried on them, through the variable that the page names. Only the meanings are words (`keys.rs`).

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]

mod keys;

use config::{Effective, Flag, Layers, Loaded, Origin, Problems};
use keys::{COMPANIONS, Key, OTHER_VARIABLES, SECTIONS, Section, all};
use serde_json::Value;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;

fn load(environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let flag = |(key, value): &(&str, &str)| Flag {
        key: (*key).to_owned(),
        value: Value::from(*value),
        name: format!("--set {key}"),
    };
    let environment = environment.iter();
    actors::cli::schema().load(Layers {
        environment: environment
            .map(|(name, value)| (OsString::from(name), OsString::from(value)))
            .collect(),
        flags: flags.iter().map(flag).collect(),
        ..Layers::default()
    })
}

fn known() -> Vec<Effective> {
    load(&[], &[]).expect("defaults are allowed").effective()
}

/// As README and `kepler config show` explain it: sections are joined by two underscores, a dash is one.
fn variable(key: &str) -> String {
    let key = key.replace('.', "__").replace('-', "_");
    format!("KEPLER_{}", key.to_ascii_uppercase())
}

/// What has to be set beside a key for it to mean something.
fn companions(key: &str) -> &'static [(&'static str, &'static str)] {
    let of = COMPANIONS.iter().find(|(of, _)| *of == key);
    of.map_or(&[], |(_, companions)| *companions)
}

#[test]
fn every_key_is_explained_once_and_nothing_else_is() {
    let known: BTreeSet<String> = known().into_iter().map(|one| one.key).collect();
    let explained: Vec<&str> = all().map(|key| key.key).collect();
    let missing: Vec<&String> = known
        .iter()
        .filter(|key| !explained.contains(&key.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "keys without a line in actors/tests/configuration/keys.rs: {missing:?}"
    );
    for key in &explained {
        assert!(known.contains(*key), "there is no key {key}");
        assert_eq!(
            explained.iter().filter(|other| *other == key).count(),
            1,
            "{key} twice"
        );
    }
}

/// Whether the variable's value is what the key has now, or why not.
fn taken(key: &Key, value: &str) -> Result<(), String> {
    let variable = variable(key.key);
    let loaded = load(&[(&variable, value)], companions(key.key)).map_err(|problems| problems.to_string())?;
    let inside = format!("{}.", key.key);
    let effective = loaded.effective();
    let mut ours = effective
        .iter()
        .filter(|one| one.key == key.key || one.key.starts_with(&inside));
    let origin = Origin::Environment { variable };
    match ours.any(|one| one.origin == origin) {
        true => Ok(()),
        false => Err("it set nothing".to_owned()),
    }
}

#[test]
fn what_the_page_allows_is_taken_through_the_variable_that_it_names() {
    let tried = all().flat_map(|key| key.takes.iter().map(move |value| (key, value)));
    let wrong: Vec<String> = tried
        .filter_map(|(key, value)| Some(format!("{} = {value}: {}", key.key, taken(key, value).err()?)))
        .collect();
    assert!(wrong.is_empty(), "not taken:\n{}", wrong.join("\n"));
}

#[test]
fn what_the_page_does_not_allow_is_refused_with_its_section() {
    let mut wrong = Vec::new();
    for key in all() {
        // A rule between keys blames one of them.
        let section = key.key.rsplit_once('.').map_or(key.key, |(section, _)| section);
        for value in key.refuses {
            match taken(key, value) {
                Ok(()) => wrong.push(format!("{} = {value} was taken", key.key)),
                Err(told) if !told.contains(section) => wrong.push(format!("{} = {value}: {told}", key.key)),
                Err(_) => {}
            }
        }
        if key.takes.is_empty() {
            wrong.push(format!("what is allowed of {} is not tried", key.key));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn variables_of_others_set_what_the_page_says() {
    for (name, key, value) in OTHER_VARIABLES {
        let loaded = load(&[(name, value)], &[]).expect("allowed");
        let effective = loaded.effective();
        let one = effective.iter().find(|one| one.key == *key).expect("a key");
        let variable = (*name).to_owned();
        assert_eq!(one.origin, Origin::Environment { variable }, "{name} sets {key}");
    }
}

fn written(default: &Value) -> String {
    match default {
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::Null => "not set".to_owned(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(written).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}

fn section(page: &mut String, section: &Section, known: &[Effective]) {
    let Section { title, words, keys } = section;
    writeln!(page, "\n## {title}\n\n{words}\n").expect("memory");
    page.push_str("| key | allowed | default | variable | meaning |\n|---|---|---|---|---|\n");
    for Key {
        key, allowed, means, ..
    } in *keys
    {
        let inside = format!("{key}.");
        let default = known
            .iter()
            .find(|one| one.key == *key || one.key.starts_with(&inside))
            .map_or_else(String::new, |one| written(&one.value));
        let others = OTHER_VARIABLES
            .iter()
            .filter(|(_, of, _)| of == key)
            .map(|(name, ..)| format!(", else `{name}`"));
        let variable = variable(key);
        let others: String = others.collect();
        writeln!(
            page,
            "| `{key}` | {allowed} | `{default}` | `{variable}`{others} | {means} |"
        )
        .expect("memory");
    }
}

fn page() -> String {
    let known = known();
    let mut page = keys::HEAD.to_owned();
    for one in SECTIONS {
        section(&mut page, one, &known);
    }
    page
}

#[test]
fn the_reference_is_what_the_configuration_is() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let ours = page();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, &ours).expect("docs/configuration.md can be written");
    }
    let theirs = std::fs::read_to_string(&file).unwrap_or_default();
    for (number, (ours, theirs)) in (1..).zip(ours.lines().zip(theirs.lines())) {
        assert_eq!(
            ours, theirs,
            "line {number}: UPDATE_GOLDEN=1 rewrites docs/configuration.md"
        );
    }
    assert!(ours == theirs, "UPDATE_GOLDEN=1 rewrites docs/configuration.md");
}
