// SPDX-License-Identifier: Apache-2.0
//! `faults RESULTS [PAGE]`: prints the fault matrix of what its tests saw, and writes it into the docs.

#![forbid(unsafe_code)]

use integration_tests::say;
use integration_tests::trial::rows;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// Where the table stands in the page.
const MARKS: [&str; 2] = ["<!-- rows -->\n", "<!-- end of rows -->"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.as_slice() {
        [results] => print(results, None),
        [results, page] => print(results, Some(page)),
        _ => Err("usage: faults RESULTS [PAGE]".to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            say(&why);
            ExitCode::FAILURE
        }
    }
}

fn print(results: &str, page: Option<&str>) -> Result<(), String> {
    let table = rows::table(&rows::read(Path::new(results))?);
    say(&table);
    let Some(page) = page else { return Ok(()) };
    let text = fs::read_to_string(page).map_err(|error| format!("{page}: {error}"))?;
    let [begin, end] = MARKS;
    let (head, rest) = text
        .split_once(begin)
        .ok_or_else(|| format!("{page}: no line {}", begin.trim()))?;
    let (_, tail) = rest
        .split_once(end)
        .ok_or_else(|| format!("{page}: no line {end}"))?;
    let text = format!("{head}{begin}{table}{end}{tail}");
    fs::write(page, text).map_err(|error| format!("{page}: {error}"))
}
