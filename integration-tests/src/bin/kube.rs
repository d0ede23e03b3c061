// SPDX-License-Identifier: Apache-2.0
//! Makes docs/kube.md of what kepler and a real kubelet said of the same pods, and fails when they differ: `make test-kube`.
//!
//! `kube RESULTS [PAGE]`: the folder that kube/run.sh filled; without PAGE the table is printed.

#![allow(clippy::print_stdout, reason = "a program that prints a table")]

use integration_tests::kube::page::Judged;
use integration_tests::kube::run::Run;
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

fn main() -> io::Result<ExitCode> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let (results, page) = match arguments.as_slice() {
        [results] => (Path::new(results), None),
        [results, page] => (Path::new(results), Some(Path::new(page))),
        _ => return Err(io::Error::other("usage: kube RESULTS [PAGE]")),
    };
    let judged = Judged::new(Run::read(results)?);
    match page {
        Some(page) => fs::write(page, judged.render())?,
        None => println!("{}", judged.render()),
    }
    let complaints = judged.complaints();
    for complaint in &complaints {
        eprintln!("failed: {complaint}");
    }
    Ok(if complaints.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
