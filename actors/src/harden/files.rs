// SPDX-License-Identifier: Apache-2.0
//! Files that a thread may still reach, by Landlock (Linux 5.13; Documentation/userspace-api/landlock.rst).

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus,
};
use std::path::PathBuf;

/// The newest version that we know of; on older kernels as much of it as they have.
const KNOWN: ABI = ABI::V5;

/// Restricts the calling thread and those that it starts: it may read below `readable`, make and remove sockets below
/// `sockets`, and do nothing else with any path. What is open stays open.
pub(super) fn restrict(readable: &[PathBuf], sockets: &[PathBuf]) -> Result<String, String> {
    let words = |error: RulesetError| error.to_string();
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))
        .and_then(Ruleset::create)
        .map_err(words)?;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let ruleset = allow(ruleset, readable, read).map_err(words)?;
    let make = AccessFs::MakeSock | AccessFs::RemoveFile;
    let ruleset = allow(ruleset, sockets, make).map_err(words)?;
    let status = ruleset.restrict_self().map_err(words)?;
    match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, LandlockStatus::NotImplemented) => {
            Err("this kernel has no Landlock (Linux 5.13 and newer, CONFIG_SECURITY_LANDLOCK)".to_owned())
        }
        (RulesetStatus::NotEnforced, _) => {
            Err("Landlock is switched off on this kernel (boot parameter lsm=)".to_owned())
        }
        (RulesetStatus::PartiallyEnforced | RulesetStatus::FullyEnforced, _) => Ok(format!(
            "{} folder(s) readable, {} for sockets",
            readable.len(),
            sockets.len()
        )),
    }
}

/// Whether a thread can be restricted, by one that does nothing else.
pub(super) fn can_be_had() -> Result<String, String> {
    let tried = std::thread::spawn(|| restrict(&[], &[])).join();
    tried.unwrap_or_else(|_panic| Err("the thread that tried it died".to_owned()))
}

fn allow(
    ruleset: RulesetCreated,
    paths: &[PathBuf],
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    paths.iter().try_fold(ruleset, |ruleset, path| {
        // A path that is not there needs no rule, and cannot have one.
        let Ok(opened) = PathFd::new(path) else {
            return Ok(ruleset);
        };
        // A rule is of an inode, and those of /proc come and go with the kernel's cache: what is open stays. A few
        // descriptors for the daemon's life.
        std::mem::forget(PathFd::new(path));
        ruleset.add_rule(PathBeneath::new(opened, access))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_thread_reads_what_it_was_left_and_nothing_else() {
        let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for folder in [&ours, &theirs] {
            fs::write(folder.path().join("file"), "text").unwrap();
        }
        let folders = [ours.path().to_owned(), theirs.path().to_owned()];
        let thread = std::thread::spawn(move || {
            let [ours, theirs] = &folders;
            rustix::thread::set_no_new_privs(true).unwrap();
            match restrict(std::slice::from_ref(ours), std::slice::from_ref(theirs)) {
                Ok(words) => assert_eq!(words, "1 folder(s) readable, 1 for sockets"),
                Err(reason) => {
                    eprintln!("skipped: {reason}");
                    return;
                }
            }
            assert!(fs::read(ours.join("file")).is_ok());
            assert!(fs::read(theirs.join("file")).is_err());
            assert!(fs::write(ours.join("other"), "").is_err());
            assert!(UnixListener::bind(theirs.join("socket")).is_ok());
            assert!(fs::remove_file(theirs.join("socket")).is_ok());
            assert!(UnixListener::bind(ours.join("socket")).is_err());
        });
        thread.join().unwrap();
        assert!(fs::read(theirs.path().join("file")).is_ok());
    }
}
