// SPDX-License-Identifier: Apache-2.0
//! The step between `kepler run` and the command: enters the cgroup and becomes the command. A process of its own, because
//! only the command may be counted there, from its first instruction to the last of its children.

use super::child::{Refused, of_exec};
use crate::exit;
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

/// The first argument that says so. No command of the command line begins with an underscore.
const WORD: &str = "__enter-cgroup";

/// Arguments with which this program enters the cgroup in `folder` and becomes `command`.
pub(super) fn arguments<'a>(folder: &'a Path, command: &'a [OsString]) -> impl Iterator<Item = &'a OsStr> {
    let words = [OsStr::new(WORD), folder.as_os_str()];
    words.into_iter().chain(command.iter().map(OsString::as_os_str))
}

/// Where these are such arguments: enters, and becomes the command if there is one. Gives an exit code where it does not.
pub fn enter(arguments: impl IntoIterator<Item = OsString>) -> Option<u8> {
    let mut arguments = arguments.into_iter().skip(1);
    if arguments.next()? != WORD {
        return None;
    }
    let folder = arguments.next()?;
    // 0 is whoever writes it (cgroups(7)).
    if let Err(error) = std::fs::write(Path::new(&folder).join("cgroup.procs"), "0") {
        return Some(refuse(
            &format!("cannot enter {}: {error}", folder.display()),
            exit::NOT_RUN,
        ));
    }
    let Some(program) = arguments.next() else {
        return Some(exit::OK);
    };
    let error = Command::new(&program).args(arguments).exec();
    let Refused { words, code } = of_exec(&program, &error);
    Some(refuse(&words, code))
}

fn refuse(words: &str, code: u8) -> u8 {
    drop(writeln!(std::io::stderr(), "kepler: {words}"));
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_word_is_its_own() {
        let enter_with = |words: &[&str]| enter(words.iter().map(OsString::from));
        assert_eq!(enter_with(&["kepler"]), None);
        assert_eq!(enter_with(&["kepler", "run", "--", WORD]), None);
        let nowhere = tempfile::TempDir::new().unwrap();
        let folder = nowhere.path().join("gone");
        assert_eq!(
            enter_with(&["kepler", WORD, folder.to_str().unwrap()]),
            Some(exit::NOT_RUN)
        );
        // A folder that is no cgroup takes the file as any other.
        let path = nowhere.path().to_str().unwrap();
        assert_eq!(enter_with(&["kepler", WORD, path]), Some(exit::OK));
        assert_eq!(
            std::fs::read_to_string(nowhere.path().join("cgroup.procs")).unwrap(),
            "0"
        );
        assert_eq!(
            enter_with(&["kepler", WORD, path, "/no/such/command"]),
            Some(exit::NOT_FOUND)
        );
    }
}
