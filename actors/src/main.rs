// SPDX-License-Identifier: Apache-2.0
//! The `kepler` command: owns exit codes and what is printed, nothing else.

use actors::cli::{self, Cli, Command, ConfigAction};
use actors::settings::Log;
use actors::{check, logging, run};
use clap::Parser;
use config::{Loaded, Problems};
use std::io::Write;
use std::process::ExitCode;

/// Wrong configuration; clap exits with the same for wrong usage.
const EXIT_CONFIG: u8 = 2;

fn main() -> ExitCode {
    let Cli { options, command } = Cli::parse();
    if let Some(Command::Config {
        action: ConfigAction::Check { file },
    }) = &command
    {
        return match cli::load_file(file) {
            Ok(_) => say(&format!("{}: valid\n", file.display())),
            Err(problems) => refuse(&problems),
        };
    }
    let loaded = match cli::load(&options, std::env::vars_os().collect()) {
        Ok(loaded) => loaded,
        Err(problems) => return refuse(&problems),
    };
    match command {
        Some(Command::Config { .. }) => say(&config::render_effective(&loaded.effective())),
        Some(Command::Check) => {
            let report = check::inspect(&loaded);
            say(&report.to_string());
            ExitCode::from(u8::from(!report.can_run()))
        }
        Some(Command::Run) | None => daemon(&loaded),
    }
}

fn daemon(loaded: &Loaded) -> ExitCode {
    match loaded.section::<Log>("log") {
        Ok(log) => logging::start(&log),
        Err(error) => return fail(&error.into()),
    }
    logging::end_on_panic();
    match run::run(loaded) {
        Ok(outcome) => ExitCode::from(outcome.code()),
        Err(error) => fail(&error),
    }
}

fn say(text: &str) -> ExitCode {
    // A reader that went away (`kepler config show | head`) is no failure of ours.
    drop(std::io::stdout().write_all(text.as_bytes()));
    ExitCode::SUCCESS
}

fn refuse(problems: &Problems) -> ExitCode {
    drop(writeln!(std::io::stderr(), "{problems}"));
    ExitCode::from(EXIT_CONFIG)
}

fn fail(error: &anyhow::Error) -> ExitCode {
    drop(writeln!(std::io::stderr(), "kepler: {error:#}"));
    ExitCode::FAILURE
}
