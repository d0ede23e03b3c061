// SPDX-License-Identifier: Apache-2.0
//! `kepler top`: a daemon's live page in a terminal.
//!
//! `model` is what is known and looked at, `keys` what a key or a message makes of it, `view` how it looks; all three
//! are pure. `feed` asks the daemon, `screen` owns the terminal and gives it back whatever happens. Adds no figure to
//! the daemon's but sums and means of what it says.

mod feed;
mod keys;
mod model;
mod past;
mod screen;
mod view;

pub use screen::run;

use crate::client::{Connection, Level};
use crate::snapshot::Sort;
use clap::Args;

/// What stands below the options.
pub const EXAMPLES: &str = "\
Examples:
  kepler top
  kepler top --level processes --sort energy
  kepler top --from https://node7:28282 --ca-file ca.pem --user ops --password-file pw
  kepler top --from unix:/run/kepler/kepler.sock
  NO_COLOR=1 kepler top

Keys: ? lists them, q leaves.
Exit codes: 0 left; 1 no terminal; 2 wrong usage. A daemon that does not answer is waited for; all codes: kepler help exit-codes.";

/// How to begin.
#[derive(Clone, Debug, Args)]
pub struct TopOptions {
    /// Where to ask.
    #[command(flatten)]
    pub connection: Connection,
    /// Whose energy is listed first.
    #[arg(long, value_enum, default_value_t)]
    pub level: Level,
    /// What comes first.
    #[arg(long, value_enum, default_value_t)]
    pub sort: Sort,
}
