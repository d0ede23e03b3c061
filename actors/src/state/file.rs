// SPDX-License-Identifier: Apache-2.0
//! Reads the file, and replaces it as a whole: a reader finds the old one or the new one, also after a power cut.

use super::format::{Saved, Unreadable};
use super::machine::{Identity, Unidentified};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The file's name in the state directory.
pub(super) const NAME: &str = "idle-floor.json";
/// The largest file that is read: a machine with 1,024 zones writes less.
const LARGEST: u64 = 8 << 20;

/// Why nothing is remembered.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// There is one, but it cannot be read.
    #[error(
        "{path}: cannot be read, the idle floor is learned anew: {source}; see that the daemon may read it, or remove it"
    )]
    Read {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It is not what this daemon writes.
    #[error("{path}: is broken, the idle floor is learned anew and the file is replaced: {what}")]
    Broken {
        /// Which.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// A later kepler wrote it.
    #[error(
        "{path}: version {version} is newer than this kepler, the idle floor is learned anew and not saved; remove the file to let this version save its own"
    )]
    Newer {
        /// Which.
        path: String,
        /// Its version.
        version: u32,
    },
    /// Another machine's.
    #[error(
        "{path}: is of another machine ({theirs}), the idle floor is learned anew and the file is replaced"
    )]
    Foreign {
        /// Which.
        path: String,
        /// Whose.
        theirs: String,
    },
    /// Nothing tells machines apart.
    #[error(transparent)]
    Unidentified(#[from] Unidentified),
    /// It cannot be written.
    #[error(
        "{path}: the learned idle floor cannot be saved: {source}; make the folder writable (systemd StateDirectory=kepler, Kubernetes a hostPath volume), set state.dir to another one, or to \"\" to save nothing"
    )]
    Write {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
}

impl StateError {
    pub(super) fn write(path: &Path, source: io::Error) -> Self {
        Self::Write {
            path: path.display().to_string(),
            source,
        }
    }

    /// Whether what is there must be left alone.
    pub(super) const fn forbids_saving(&self) -> bool {
        matches!(self, Self::Newer { .. } | Self::Unidentified(_))
    }
}

/// What `machine` had saved in `path`; `None` where nothing was ever saved.
pub(super) fn read(path: &Path, machine: &Identity) -> Result<Option<Saved>, StateError> {
    let name = || path.display().to_string();
    let unreadable = |source| StateError::Read { path: name(), source };
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file
            .take(LARGEST + 1)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?,
        // No folder, no file, or a file in the folder's place, which will be in the way of saving.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(unreadable(error)),
    };
    let broken = |what| StateError::Broken { path: name(), what };
    if u64::try_from(bytes.len()).is_ok_and(|size| size > LARGEST) {
        return Err(broken(format!("more than {LARGEST} bytes")));
    }
    let saved = Saved::parse(&bytes).map_err(|why| match why {
        Unreadable::Broken(what) => broken(what),
        Unreadable::Newer(version) => StateError::Newer {
            path: name(),
            version,
        },
    })?;
    if saved.machine != *machine {
        let Identity { firmware, processor } = saved.machine;
        return Err(StateError::Foreign {
            path: name(),
            theirs: format!("{firmware}, {processor}"),
        });
    }
    Ok(Some(saved))
}

/// Replaces the file; makes its folder where that is missing.
pub(super) fn write(path: &Path, saved: &Saved) -> Result<(), StateError> {
    replace(path, saved).map_err(|source| StateError::write(path, source))
}

fn replace(path: &Path, saved: &Saved) -> io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("/"));
    fs::create_dir_all(folder)?;
    let fresh = fresh(path);
    // One that a power cut left behind, or a link that somebody put there.
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = fill(&fresh, saved)
        .and_then(|()| fs::rename(&fresh, path))
        .and_then(|()| File::open(folder)?.sync_all());
    if written.is_err() {
        // A half one on a full disk takes the room that others need.
        drop(fs::remove_file(&fresh));
    }
    written
}

fn fill(fresh: &Path, saved: &Saved) -> io::Result<()> {
    let bytes = serde_json::to_vec(saved)?;
    // It names the machine, which is nobody else's business.
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(fresh)?;
    file.write_all(&bytes)?;
    file.sync_all()
}

fn fresh(path: &Path) -> PathBuf {
    path.with_extension("json.fresh")
}

#[cfg(test)]
mod tests {
    use super::super::format::tests::{identity, learned};
    use super::super::machine::Conditions;
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    fn saved(machine: u32) -> Saved {
        Saved::new(identity(machine), Conditions::default(), 1_000, &learned(20))
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/er").join(NAME);
        assert!(read(&path, &identity(1)).expect("readable").is_none());
        write(&path, &saved(1)).expect("written");
        // A leftover of a power cut is in nobody's way.
        fs::write(fresh(&path), "half").expect("a file");
        write(&path, &saved(1)).expect("written again");
        assert_eq!(read(&path, &identity(1)).expect("readable"), Some(saved(1)));
        let parent = path.parent().expect("a parent");
        let names: Vec<_> = fs::read_dir(parent).expect("a folder").collect();
        assert_eq!(names.len(), 1, "{names:?}");
        assert_eq!(fs::metadata(&path).expect("a file").mode() & 0o777, 0o600);
    }

    #[test]
    fn a_link_in_the_place_of_the_fresh_file_is_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, other) = (folder.path().join(NAME), folder.path().join("other"));
        fs::write(&other, "precious").expect("a file");
        std::os::unix::fs::symlink(&other, fresh(&path)).expect("a link");
        write(&path, &saved(1)).expect("written");
        assert_eq!(fs::read_to_string(other).expect("a file"), "precious");
    }

    #[test]
    fn what_cannot_be_used_says_why_and_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(NAME);
        let said = |machine: u32| match read(&path, &identity(machine)) {
            Err(error) => (error.to_string(), error.forbids_saving()),
            Ok(found) => panic!("{found:?}"),
        };
        write(&path, &saved(1)).expect("written");
        let (foreign, forbids) = said(2);
        assert!(
            foreign.contains("another machine (product_uuid 1, Model x 1)"),
            "{foreign}"
        );
        assert!(!forbids);
        fs::write(&path, "{").expect("a file");
        let (broken, forbids) = said(1);
        assert!(broken.contains("is broken") && !forbids, "{broken}");
        fs::write(&path, r#"{"version": 7}"#).expect("a file");
        let (newer, forbids) = said(1);
        assert!(
            newer.contains("version 7") && newer.contains("remove the file") && forbids,
            "{newer}"
        );
        fs::remove_file(&path).expect("a file");
        fs::create_dir(&path).expect("a folder in its place");
        let (unreadable, forbids) = said(1);
        assert!(unreadable.contains("cannot be read") && !forbids, "{unreadable}");
    }

    #[test]
    fn a_file_without_end_is_not_read_to_its_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(NAME);
        std::os::unix::fs::symlink("/dev/zero", &path).expect("a link");
        let error = read(&path, &identity(1)).expect_err("too large").to_string();
        assert!(error.contains("more than 8388608 bytes"), "{error}");
    }

    #[test]
    fn a_folder_that_cannot_be_written_says_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        fs::write(&file, "").expect("a file");
        // Nobody, not even root, makes a folder below a file.
        let error = write(&file.join("kepler").join(NAME), &saved(1)).expect_err("refused");
        let error = error.to_string();
        assert!(
            error.contains("StateDirectory=kepler") && error.contains("state.dir"),
            "{error}"
        );
    }
}
