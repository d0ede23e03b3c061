// SPDX-License-Identifier: Apache-2.0
//! `kepler run -- COMMAND`: what a command and all that it starts used in energy, as `time` says it for seconds.
//!
//! Owns the command's life (`child`), its cgroup (`cgroup`) or, where there can be none, its family (`kin`), and the
//! bill (`bill`, pure; `report`). Who pays is decided by the same pipeline and the same rules as in the daemon
//! (`inside`), or by a running daemon (`outside`). Touches neither the command's input nor its output.

mod bill;
mod cgroup;
mod child;
mod enter;
mod inside;
mod kin;
mod outside;
mod report;

pub use enter::enter;

use crate::cli::Options;
use crate::client::Connection;
use crate::exit;
use crate::logging;
use crate::settings::{Log, LogLevel};
use bill::Bill;
use child::{Ended, Refused};
use clap::{Args, ValueEnum};
use config::Loaded;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;

/// What stands below the options.
pub const EXAMPLES: &str = "\
Examples:
  kepler run                              the daemon
  kepler run -- make -j8                  what a build uses (as root: measured in a cgroup of its own)
  kepler run --json build.json -- make    the same as JSON
  kepler run --json /dev/fd/3 -- make 3>build.json
  kepler run --via daemon --from unix:/run/kepler/kepler.sock -- ./bench      without root, by a daemon of this machine

Exit codes: the command's own, 128 + N when signal N ended it; 125 not started, 126 not executable, 127 not found.";

/// Length of a window where nobody says one: commands are short, and below half a second CPU time is counted at each switch,
/// where that can be had, which knows the time of the dead at once.
pub const TICK: &str = "250ms";

/// Who says what a command used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Via {
    /// Root measures; others ask a daemon of this machine if one answers, and measure what they may if none does.
    #[default]
    Auto,
    /// This process measures.
    Inside,
    /// A running daemon of this machine is asked.
    Daemon,
}

/// What to run, and how to say what it used.
#[derive(Clone, Debug, Default, Args)]
pub struct MeasureOptions {
    /// The daemon to ask, where one is asked.
    #[command(flatten)]
    pub connection: Connection,
    /// Write the figures as JSON into this file (`/dev/fd/3` for a descriptor) instead of as text to standard error.
    #[arg(long, value_name = "FILE", requires = "command")]
    pub json: Option<PathBuf>,
    /// Who measures.
    #[arg(long, value_enum, default_value_t, requires = "command")]
    pub via: Via,
    /// The command with its arguments, behind `--`. Without one the daemon runs.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

impl MeasureOptions {
    /// A flag that was given and would do nothing where the daemon is what runs.
    #[must_use]
    pub const fn not_for_the_daemon(&self) -> Option<&'static str> {
        let connection = &self.connection;
        if !self.command.is_empty() {
            return None;
        }
        if connection.from.is_some() {
            return Some("--from");
        }
        if connection.ca_file.is_some() || connection.cert_file.is_some() {
            return Some("--ca-file or --cert-file");
        }
        if connection.user.is_some() || connection.bearer_token_file.is_some() {
            return Some("--user or --bearer-token-file");
        }
        None
    }
}

/// What came of it.
struct Measured {
    ended: Ended,
    /// The bill, or why there is none; the command ran all the same.
    bill: Result<Bill, String>,
}

/// How a command went.
enum Gone {
    /// It ran.
    Ran(Measured),
    /// It could not be started.
    Refused(Refused),
}

/// Runs the command and says what it used. Gives the exit code.
#[must_use]
pub fn run(loaded: &Loaded, options: &Options, wanted: &MeasureOptions) -> u8 {
    start_log(loaded, options);
    let measured = match measured(loaded, wanted) {
        Ok(Gone::Ran(measured)) => measured,
        Ok(Gone::Refused(Refused { words, code })) => {
            say(&format!("kepler: {words}\n"));
            return code;
        }
        Err(error) => {
            say(&format!("kepler: {error:#}\n"));
            return exit::NOT_RUN;
        }
    };
    let code = measured.ended.code();
    let command = &wanted.command;
    let done = match &wanted.json {
        None => {
            say(&report::text(command, &measured));
            Ok(())
        }
        Some(file) => report::json(command, &measured).and_then(|text| std::fs::write(file, text)),
    };
    if let (Err(error), Some(file)) = (done, &wanted.json) {
        say(&format!("kepler: cannot write {}: {error}\n", file.display()));
    }
    code
}

/// The daemon's log belongs to the daemon: what a command's user reads is what concerns the figures.
fn start_log(loaded: &Loaded, options: &Options) {
    let mut log: Log = loaded.section("log").unwrap_or_default();
    if options.log_level.is_none() {
        log.level = LogLevel::Error;
    }
    logging::start(&log);
}

fn measured(loaded: &Loaded, wanted: &MeasureOptions) -> anyhow::Result<Gone> {
    let path = std::env::var_os("PATH");
    if let Some(program) = wanted.command.first()
        && let Err(refused) = child::look_up(program, path.as_deref())
    {
        return Ok(Gone::Refused(refused));
    }
    match wanted.via {
        Via::Inside => inside::measure(loaded, &wanted.command),
        Via::Daemon => outside::measure(&outside::open(loaded, wanted)?, &wanted.command),
        Via::Auto if rustix::process::geteuid().is_root() => inside::measure(loaded, &wanted.command),
        Via::Auto => match outside::open(loaded, wanted) {
            Ok(daemon) => outside::measure(&daemon, &wanted.command),
            Err(nobody) => {
                let mut gone = inside::measure(loaded, &wanted.command)?;
                if let Gone::Ran(Measured { bill: Ok(bill), .. }) = &mut gone {
                    let words = format!(
                        "not root, so meters may be closed to it, and no daemon was asked: {nobody:#}; with root or a daemon figures are measured where there are meters"
                    );
                    bill.remarks.push(words);
                }
                Ok(gone)
            }
        },
    }
}

/// Writes to standard error; somebody who closed it wants no words.
fn say(text: &str) {
    drop(std::io::stderr().write_all(text.as_bytes()));
}
