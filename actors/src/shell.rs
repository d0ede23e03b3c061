// SPDX-License-Identifier: Apache-2.0
//! What a shell and `man` want to know of the command line: completions and manual pages, out of the same declarations
//! that read it, so that they are never behind it.

use crate::cli::Cli;
use crate::exit;
use anyhow::Context as _;
use clap::{Args, Command, CommandFactory as _, ValueEnum};
use clap_complete::Shell as Language;
use clap_mangen::Man;
use std::io::Write;
use std::path::{Path, PathBuf};

/// What stands below the options of `completions`.
pub const COMPLETION_EXAMPLES: &str = "\
Examples:
  kepler completions bash > /usr/share/bash-completion/completions/kepler
  kepler completions zsh > /usr/local/share/zsh/site-functions/_kepler
  kepler completions fish > ~/.config/fish/completions/kepler.fish
  source <(kepler completions bash)";

/// What stands below the options of `man`.
pub const MAN_EXAMPLES: &str = "\
Examples:
  kepler man | man -l -
  kepler man --out /usr/local/share/man/man1      kepler.1, kepler-top.1, ...";

/// A shell that there are completions for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU Bash.
    Bash,
    /// Z shell.
    Zsh,
    /// fish.
    Fish,
}

/// Which completions.
#[derive(Clone, Debug, Args)]
pub struct CompletionOptions {
    /// The shell.
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Which manual pages.
#[derive(Clone, Debug, Args)]
pub struct ManOptions {
    /// A folder for a page of each command; without it the page of `kepler` itself is printed.
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
}

/// Completions for a shell, as a script.
#[must_use]
pub fn completions(shell: Shell) -> Vec<u8> {
    let language = match shell {
        Shell::Bash => Language::Bash,
        Shell::Zsh => Language::Zsh,
        Shell::Fish => Language::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(language, &mut Cli::command(), "kepler", &mut script);
    script
}

/// Every manual page: its file's name, and its text.
///
/// # Errors
/// Never in practice: it is written into memory.
pub fn pages() -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut kepler = Cli::command().disable_help_subcommand(true);
    kepler.build();
    let mut pages = vec![("kepler.1".to_owned(), page(&kepler, None)?)];
    for command in kepler.get_subcommands() {
        let name = format!("kepler-{}", command.get_name());
        pages.push((format!("{name}.1"), page(command, Some(&name))?));
    }
    Ok(pages)
}

fn page(command: &Command, name: Option<&str>) -> std::io::Result<Vec<u8>> {
    let command = command.clone().version(env!("CARGO_PKG_VERSION"));
    // No date: the page of a version is the same whenever it is made.
    let mut man = Man::new(command).date("").manual("Kepler");
    if let Some(name) = name {
        man = man.title(name);
    }
    let mut text = Vec::new();
    man.render(&mut text)?;
    if name.is_none() {
        text.write_all(&exit_codes())?;
    }
    Ok(text)
}

/// The section EXIT STATUS, which clap knows nothing of.
fn exit_codes() -> Vec<u8> {
    use clap_mangen::roff::{Roff, roman};
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    for (code, means) in exit::ALL {
        roff.control("TP", []);
        roff.text([roman(code.to_string())]);
        roff.text([roman(means)]);
    }
    roff.control("PP", []);
    roff.text([roman(exit::BEYOND)]);
    roff.to_roff().into_bytes()
}

/// Writes a page of each command into a folder, which must be there.
///
/// # Errors
/// When one cannot be written.
pub fn write_pages(folder: &Path) -> anyhow::Result<usize> {
    let pages = pages()?;
    for (name, text) in &pages {
        let file = folder.join(name);
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(pages.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every command, also those below others, with its words.
    fn commands(command: &Command, words: &str, all: &mut Vec<(String, Command)>) {
        for below in command.get_subcommands() {
            let words = format!("{words} {}", below.get_name());
            all.push((words.clone(), below.clone()));
            commands(below, &words, all);
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_help_and_those_with_options_have_examples() {
        let mut all = Vec::new();
        commands(&Cli::command(), "kepler", &mut all);
        assert!(all.len() > 12);
        for (words, command) in all {
            assert!(command.get_about().is_some(), "{words}");
            let own = command.get_arguments().filter(|one| !one.is_global_set()).count();
            if own > 0 {
                let text = command
                    .get_after_help()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                assert!(
                    text.contains("Examples:") && text.contains(&words),
                    "{words}: {text}"
                );
            }
        }
    }

    #[test]
    fn completions_of_every_shell_know_every_command() {
        for shell in Shell::value_variants() {
            let script = String::from_utf8(completions(*shell)).unwrap();
            for command in Cli::command().get_subcommands() {
                assert!(
                    script.contains(command.get_name()),
                    "{shell:?}: {}",
                    command.get_name()
                );
            }
            assert!(script.contains("bearer-token-file"), "{shell:?}");
        }
    }

    #[test]
    fn the_manual_pages_that_are_shipped_are_those_of_this_command_line() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/man");
        let pages = pages().unwrap();
        for (name, text) in &pages {
            let shipped = std::fs::read(folder.join(name)).unwrap_or_default();
            assert!(
                shipped == *text,
                "deploy/man/{name} is old: run `cargo run -p actors -- man --out deploy/man`"
            );
        }
        let shipped = std::fs::read_dir(folder).unwrap().count();
        assert_eq!(shipped, pages.len(), "a page of a command that there is no more");
    }

    #[test]
    fn the_page_of_kepler_tells_its_exit_codes() {
        let pages = pages().unwrap();
        let text = String::from_utf8(pages[0].1.clone()).unwrap();
        assert!(
            text.contains(".SH \"EXIT STATUS\"") || text.contains(".SH EXIT STATUS"),
            "{text}"
        );
        assert!(text.contains("there is no such command"));
    }
}
