// SPDX-License-Identifier: Apache-2.0
//! `lab [--docs FOLDER] [--vary N] [SCENARIO...]`: runs scenarios (all where none is named) and prints what every rule makes
//! of them; with `--docs` writes `lab.md` and `lab.svg` there, with `--vary` runs them on N other machines and prints medians.
//! Fails when a promise is broken, not when an aim is missed.

#![allow(clippy::print_stdout, reason = "a program that prints tables")]

use lab::page::{page, verdict, worst};
use lab::plot::draw;
use lab::table::{Judged, grid, percent, signed};
use lab::vary::varied;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> io::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1).peekable();
    let docs = arguments
        .next_if(|first| first == "--docs")
        .and_then(|_| arguments.next());
    let machines = arguments
        .next_if(|first| first == "--vary")
        .and_then(|_| arguments.next())
        .map(|count| {
            count
                .parse()
                .map_err(|error| io::Error::other(format!("--vary {count}: {error}")))
        })
        .transpose()?;
    let wanted: Vec<String> = arguments.collect();
    let scenarios = lab::scenarios::all();
    let known = |name: &String| scenarios.iter().any(|scenario| scenario.name == name);
    if let Some(unknown) = wanted.iter().find(|name| !known(name)) {
        let names: Vec<&str> = scenarios.iter().map(|scenario| scenario.name).collect();
        return Err(io::Error::other(format!(
            "no scenario {unknown:?}; there are {}",
            names.join(", ")
        )));
    }
    let mut scenarios = scenarios;
    scenarios.retain(|it| wanted.is_empty() || wanted.iter().any(|name| name == it.name));
    if let Some(machines) = machines {
        println!("{}", varied(&scenarios, machines)?);
        return Ok(ExitCode::SUCCESS);
    }
    let mut judged = Vec::new();
    for scenario in &scenarios {
        judged.push(Judged::new(lab::run::run(scenario)?));
    }
    print(&judged);
    if let Some(docs) = docs.map(PathBuf::from) {
        std::fs::write(docs.join("lab.md"), page(&judged))?;
        draw(&judged, &docs.join("lab.svg")).map_err(|error| io::Error::other(error.to_string()))?;
    }
    let broken = judged
        .iter()
        .flat_map(|one| one.run.broken.iter().map(|broken| (one.run.name, broken)));
    let broken = broken
        .inspect(|(name, broken)| println!("{name}: {broken}"))
        .count();
    Ok(if broken == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print(judged: &[Judged]) {
    println!(
        "Error: energy on the wrong bill over all dynamic energy\n\n{}",
        grid(judged, |it| percent(it.error))
    );
    println!(
        "The same by part of the machine\n\n{}",
        grid(judged, |it| percent(it.parts))
    );
    println!("Shares alone\n\n{}", grid(judged, |it| percent(it.shares)));
    println!("Worst workload\n\n{}", grid(judged, worst));
    println!(
        "Everything billed against everything used\n\n{}",
        grid(judged, |it| signed(it.kept))
    );
    println!(
        "Idle energy against the true one\n\n{}",
        grid(judged, |it| signed(it.idle))
    );
    println!("The aim\n\n{}", verdict(judged));
}
