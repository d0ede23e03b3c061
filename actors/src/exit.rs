// SPDX-License-Identifier: Apache-2.0
//! Exit codes: owns each number once, and the page that tells them (`kepler help exit-codes`, docs/cli.md, the man page).

use crate::health::EXIT_DIED;

/// What was asked for was done, or it was asked to stop.
pub const OK: u8 = 0;
/// It could not start or not write, or the answer is no.
pub const FAILED: u8 = 1;
/// Wrong usage or configuration; clap exits with the same.
pub const USAGE: u8 = 2;
/// No daemon answered: nobody there, no answer in time, or no TLS that both sides accept.
pub const NOBODY: u8 = 3;
/// A daemon answered, and refused, or said what is no answer.
pub const REFUSED: u8 = 4;
/// A part of the daemon died.
pub const DIED: u8 = EXIT_DIED;
/// `kepler run -- COMMAND` could not begin, so that the command was not started.
pub const NOT_RUN: u8 = 125;
/// The command is there and cannot be executed, as shells say it.
pub const NOT_EXECUTABLE: u8 = 126;
/// There is no such command, as shells say it.
pub const NOT_FOUND: u8 = 127;
/// What a signal's number is added to when it ended the command, as shells do it.
pub const SIGNALLED: u8 = 128;

/// Every code with what it means.
pub const ALL: [(u8, &str); 9] = [
    (OK, "done, or stopped when asked to"),
    (
        FAILED,
        "could not start or not write; `check` says no; `estimate` was asked what it cannot answer",
    ),
    (USAGE, "wrong usage or configuration"),
    (NOBODY, "`snapshot`: no daemon answered, in time or over TLS"),
    (
        REFUSED,
        "`snapshot`: the daemon refused (wrong password, too many viewers) or gave no sense",
    ),
    (DIED, "a part of the daemon died, which is a bug"),
    (
        NOT_RUN,
        "`run -- COMMAND`: kepler itself could not begin; the command was not started",
    ),
    (NOT_EXECUTABLE, "`run -- COMMAND`: the command cannot be executed"),
    (NOT_FOUND, "`run -- COMMAND`: there is no such command"),
];

/// What stands below the table.
pub const BEYOND: &str =
    "`run -- COMMAND` ends with the command's own code otherwise, and with 128 + N when signal N ended it.";

/// The page, for a terminal.
#[must_use]
pub fn page() -> String {
    let rows = ALL.map(|(code, means)| format!("  {code:>3}  {means}\n"));
    format!("Exit codes:\n{}\n{BEYOND}\n", rows.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_told_once() {
        let mut codes: Vec<_> = ALL.iter().map(|(code, _)| *code).collect();
        codes.dedup();
        assert_eq!(codes.len(), ALL.len());
        assert_eq!(codes, [0, 1, 2, 3, 4, 70, 125, 126, 127]);
        assert!(page().contains("  127  `run -- COMMAND`: there is no such command\n"));
    }

    #[test]
    fn the_manual_tells_the_same_codes() {
        let manual = include_str!("../../docs/cli.md");
        for (code, means) in ALL {
            assert!(manual.contains(&format!("| {code} | {means} |")), "{code}");
        }
        assert!(manual.contains(BEYOND));
    }
}
