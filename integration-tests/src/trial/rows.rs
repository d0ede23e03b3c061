// SPDX-License-Identifier: Apache-2.0
//! The rows of the fault matrix as files, and the table in the docs made of them.

use super::Plan;
use crate::{in_guest, say};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// What a guest says before a row.
const SAID: &str = "row ";

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

    /// Writes it into the folder that `FAULTS` names, where it does; in a guest, where no folder is kept, among what it says.
    ///
    /// # Panics
    /// When that cannot be written.
    pub fn keep(&self) {
        if in_guest() {
            say(&format!("{SAID}{}", self.json()));
        }
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

/// The rows that guests said, by the guest's name: one for each fault, and with each word of what was seen the guests that
/// said so.
///
/// # Errors
/// What is no row, in words.
pub fn of_guests(said: &[(String, String)]) -> Result<Vec<Row>, String> {
    let mut by_name: BTreeMap<String, Vec<(&str, Row)>> = BTreeMap::new();
    for (guest, text) in said {
        // A test that fails runs once more: its last word counts.
        let mut last = BTreeMap::new();
        for line in text.lines().filter_map(|line| line.trim_end().strip_prefix(SAID)) {
            let row =
                Row::read(line).ok_or_else(|| format!("{guest}: no row of the fault matrix: {line}"))?;
            last.insert(row.name.clone(), row);
        }
        for (name, row) in last {
            by_name.entry(name).or_default().push((guest, row));
        }
    }
    let joined = |rows: Vec<(&str, Row)>| {
        let (named, seen) = (words(&rows, |row| &row.named), words(&rows, |row| &row.seen));
        let (_, row) = rows.into_iter().next()?;
        Some(Row { named, seen, ..row })
    };
    Ok(by_name.into_values().filter_map(joined).collect())
}

/// Each word once, and who said it where not all did.
fn words(rows: &[(&str, Row)], of: impl Fn(&Row) -> &Vec<String>) -> Vec<String> {
    let mut known: Vec<(&str, Vec<&str>)> = Vec::new();
    for (guest, row) in rows {
        for word in of(row) {
            match known.iter_mut().find(|(text, _)| text == word) {
                Some((_, guests)) => guests.push(guest),
                None => known.push((word, vec![guest])),
            }
        }
    }
    let tell = |(word, guests): (&str, Vec<&str>)| match guests.len() {
        all if all == rows.len() => word.to_owned(),
        _ => format!("{word} ({})", guests.join(", ")),
    };
    known.into_iter().map(tell).collect()
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
        let named = if named.is_empty() { "-" } else { &*named };
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
        let unnamed = Row {
            named: Vec::new(),
            ..row.clone()
        };
        assert!(table(&[unnamed]).ends_with("| a file | removed | comes back | - | b; c |\n"));
        let table = table(&[row]);
        assert!(
            table.ends_with("| a file | removed | comes back | `x` +1 | b; c |\n"),
            "{table}"
        );
        assert_eq!(Row::read("{}"), None);
    }

    #[test]
    fn what_guests_said_is_one_row_for_each_fault_and_what_they_saw_alike_is_said_once() {
        let row = |seen: &str| {
            let row = json!({"name": "a", "thing": "a file", "injected": "removed", "must": "comes back",
                "named": ["`x` +1"], "seen": [seen]});
            format!("@begin test a\r\nnoise\r\nrow {row}\r\n@end 0 1 2\r\n")
        };
        let said = [
            ("5.10".to_owned(), row("b")),
            ("6.1".to_owned(), row("failed") + &row("b")),
            ("6.12".to_owned(), row("c")),
            ("newest".to_owned(), String::new()),
        ];
        let rows = of_guests(&said).expect("rows");
        let [row] = rows.as_slice() else {
            panic!("{rows:?}")
        };
        assert_eq!(row.named, ["`x` +1"]);
        assert_eq!(row.seen, ["b (5.10, 6.1)", "c (6.12)"]);
        let nonsense = [("6.1".to_owned(), "row {".to_owned())];
        assert!(of_guests(&nonsense).is_err());
    }
}
