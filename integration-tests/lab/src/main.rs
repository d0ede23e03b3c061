// SPDX-License-Identifier: Apache-2.0
//! `lab [SCENARIO...]`: runs scenarios and prints what every rule makes of them.

#![allow(clippy::print_stdout, reason = "a program that prints tables")]

use lab::scenarios;
use lab::table::{Judged, grid, percent, signed};
use std::io;
use std::process::ExitCode;

fn main() -> io::Result<ExitCode> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let all = scenarios::all();
    let mut judged = Vec::new();
    for scenario in all.iter().filter(|it| wanted.is_empty() || wanted.iter().any(|name| name == it.name)) {
        judged.push(Judged::new(lab::run::run(scenario)?));
    }
    println!("{}", grid(&judged, |score| percent(score.error)));
    println!("{}", grid(&judged, |score| percent(score.parts)));
    println!("{}", grid(&judged, |score| percent(score.shares)));
    println!("{}", grid(&judged, |score| format!("{} {:+.0} %", score.worst.0, score.worst.1)));
    println!("{}", grid(&judged, |score| signed(score.kept)));
    println!("{}", grid(&judged, |score| signed(score.idle)));
    for one in &judged {
        for broken in &one.run.broken {
            println!("{}: {broken}", one.run.name);
        }
    }
    Ok(ExitCode::SUCCESS)
}
