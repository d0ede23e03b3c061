// SPDX-License-Identifier: Apache-2.0
//! Makes docs/guest.md of what the guests with meters said, and fails when a figure is off: `make test-guest`.
//!
//! `meters RESULTS [PAGE]`: the folder that guest/meters/run.sh filled; without PAGE the tables are printed.

#![allow(clippy::print_stdout, reason = "a program that prints a table")]

use integration_tests::meters::guest::Guest;
use integration_tests::meters::page::{Judged, LEFT_OUT, render};
use integration_tests::meters::scenes;
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

fn main() -> io::Result<ExitCode> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let (results, page) = match arguments.as_slice() {
        [results] => (Path::new(results), None),
        [results, page] => (Path::new(results), Some(Path::new(page))),
        _ => return Err(io::Error::other("usage: meters RESULTS [PAGE]")),
    };
    let mut all = Vec::new();
    for scenes::Scene { name, .. } in scenes::ALL {
        // Only some were asked for when this one has no package.
        let Ok(package) = fs::read_to_string(results.join(format!("{name}.package"))) else {
            continue;
        };
        let log = fs::read(results.join(format!("{name}.log"))).unwrap_or_default();
        all.extend(Judged::new(Guest::parse(
            name,
            &package,
            &String::from_utf8_lossy(&log),
        )));
    }
    match page {
        Some(page) => fs::write(page, render(&all))?,
        None => println!("{}", render(&all)),
    }
    for line in LEFT_OUT {
        println!("left out: {line}");
    }
    let complaints: Vec<_> = all.iter().flat_map(Judged::complaints).collect();
    for complaint in &complaints {
        eprintln!("failed: {complaint}");
    }
    let good = complaints.is_empty() && !all.is_empty();
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
