// SPDX-License-Identifier: Apache-2.0
//! The rows of the fault matrix as files, and the table in the docs made of them.

use super::Plan;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// What became of one fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    name: String,
    thing: String,
    injected: String,
    must: String,
    named: Vec<String>,
    seen: Vec<String>,
}

impl Row {
    pub(super) fn new(plan: Plan, named: Vec<String>, seen: Vec<String>) -> Self {
        let Plan {
            name,
            thing,
            injected,
            must,
        } = plan;
        Self {
            name: name.to_owned(),
            thing: thing.to_owned(),
            injected: injected.to_owned(),
            must: must.to_owned(),
            named,
            seen,
        }
    }

    /// Writes it into the folder that `FAULTS` names, where it does.
    ///
    /// # Panics
    /// When that cannot be written.
    pub fn keep(&self) {
        let Some(folder) = std::env::var_os("FAULTS") else {
            return;
        };
        fs::create_dir_all(&folder).expect("the results' folder");
        let file = Path::new(&folder).join(format!("{}.json", self.name));
        fs::write(file, self.json().to_string()).expect("the row's file");
    }

    fn json(&self) -> Value {
        json!({"name": self.name, "thing": self.thing, "injected": self.injected, "must": self.must,
            "named": self.named, "seen": self.seen})
    }

    fn read(text: &str) -> Option<Self> {
        let row: Value = serde_json::from_str(text).ok()?;
        let text = |field: &str| row[field].as_str().map(str::to_owned);
        let list = |field: &str| {
            let all = row[field].as_array()?.iter();
            all.map(|one| one.as_str().map(str::to_owned))
                .collect::<Option<Vec<_>>>()
        };
        Some(Self {
            name: text("name")?,
            thing: text("thing")?,
            injected: text("injected")?,
            must: text("must")?,
            named: list("named")?,
            seen: list("seen")?,
        })
    }
}

/// All rows of a folder, by name.
///
/// # Errors
/// What cannot be read, in words.
pub fn read(folder: &Path) -> Result<Vec<Row>, String> {
    let files = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut paths: Vec<_> = files.filter_map(|file| Some(file.ok()?.path())).collect();
    paths.sort();
    let row = |path: &Path| {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Row::read(&text).ok_or_else(|| format!("{}: no row of the fault matrix", path.display()))
    };
    paths.iter().map(|path| row(path)).collect()
}

/// The table.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| what | what is done to it | what must happen | what names it | what was seen |\n|---|---|---|---|---|\n",
    );
    for row in rows {
        let Row {
            thing,
            injected,
            must,
            ..
        } = row;
        let (named, seen) = (row.named.join(", "), row.seen.join("; "));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {thing} | {injected} | {must} | {named} | {seen} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_the_same_after_it_was_written_and_stands_in_the_table() {
        let plan = Plan {
            name: "a",
            thing: "a file",
            injected: "removed",
            must: "comes back",
        };
        let row = Row::new(
            plan,
            vec!["`x` +1".to_owned()],
            vec!["b".to_owned(), "c".to_owned()],
        );
        assert_eq!(Row::read(&row.json().to_string()), Some(row.clone()));
        let table = table(&[row]);
        assert!(
            table.ends_with("| a file | removed | comes back | `x` +1 | b; c |\n"),
            "{table}"
        );
        assert_eq!(Row::read("{}"), None);
    }
}
