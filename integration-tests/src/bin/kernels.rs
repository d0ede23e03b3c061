// SPDX-License-Identifier: Apache-2.0
//! Makes docs/kernels.md of what the guests said, and fails when one of them failed: `make test-kernels`.
//!
//! `kernels RESULTS [PAGE]`: the folder that guest/run.sh filled; without PAGE the table is printed.

#![allow(clippy::print_stdout, reason = "a program that prints a table")]

use integration_tests::kernels::results::{self, Said};
use integration_tests::kernels::{Guest, render};
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

fn main() -> io::Result<ExitCode> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let (results, page) = match arguments.as_slice() {
        [results] => (Path::new(results), None),
        [results, page] => (Path::new(results), Some(Path::new(page))),
        _ => return Err(io::Error::other("usage: kernels RESULTS [PAGE]")),
    };
    let said = results::read(results);
    let parse = |said: &Said| Guest::parse(&said.name, &said.package, &said.log);
    let guests: Vec<_> = said.iter().map(parse).collect();
    match page {
        Some(page) => {
            if let Some(folder) = page.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(page, render(&guests))?;
        }
        None => println!("{}", render(&guests)),
    }
    let complaints: Vec<_> = guests.iter().flat_map(Guest::complaints).collect();
    for complaint in &complaints {
        eprintln!("failed: {complaint}");
    }
    let good = complaints.is_empty() && !guests.is_empty();
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
