// SPDX-License-Identifier: Apache-2.0
//! `faults RESULTS [PAGE]`: prints the fault matrix of what its tests saw, and writes it into the docs. `faults guests RESULTS
//! [PAGE]`: the same of what guests said (`make test-kernels`), in the page's other table.

#![forbid(unsafe_code)]

use integration_tests::kernels::results;
use integration_tests::say;
use integration_tests::trial::rows::{self, Row};
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// Where a table stands in the page.
type Marks = [&'static str; 2];
const HOST: Marks = ["<!-- rows -->\n", "<!-- end of rows -->"];
const GUESTS: Marks = ["<!-- rows of guests -->\n", "<!-- end of rows of guests -->"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["guests", results] => of_guests(results).and_then(|rows| print(&rows, GUESTS, None)),
        ["guests", results, page] => of_guests(results).and_then(|rows| print(&rows, GUESTS, Some(page))),
        [results] => rows::read(Path::new(results)).and_then(|rows| print(&rows, HOST, None)),
        [results, page] => rows::read(Path::new(results)).and_then(|rows| print(&rows, HOST, Some(page))),
        _ => Err("usage: faults [guests] RESULTS [PAGE]".to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            say(&why);
            ExitCode::FAILURE
        }
    }
}

/// Of the folder that guest/run.sh filled.
fn of_guests(results: &str) -> Result<Vec<Row>, String> {
    let said = results::read(Path::new(results)).into_iter();
    let said: Vec<_> = said.map(|said| (said.name, said.log)).collect();
    rows::of_guests(&said)
}

fn print(rows: &[Row], marks: Marks, page: Option<&str>) -> Result<(), String> {
    let table = rows::table(rows);
    say(&table);
    let Some(page) = page else { return Ok(()) };
    let text = fs::read_to_string(page).map_err(|error| format!("{page}: {error}"))?;
    let [begin, end] = marks;
    let (head, rest) = text
        .split_once(begin)
        .ok_or_else(|| format!("{page}: no line {}", begin.trim()))?;
    let (_, tail) = rest
        .split_once(end)
        .ok_or_else(|| format!("{page}: no line {end}"))?;
    let text = format!("{head}{begin}{table}{end}{tail}");
    fs::write(page, text).map_err(|error| format!("{page}: {error}"))
}
