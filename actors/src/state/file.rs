// SPDX-License-Identifier: Apache-2.0
//! Reads the file, and replaces it as a whole: a reader finds the old one or the new one, also after a power cut.

use super::format::{Saved, Unreadable};
use super::machine::{Identity, Unidentified};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
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
        "{path}: cannot be read, the idle floor is learned anew: {source}; see that the daemon may read it, or {then}"
    )]
    Read {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
        /// What becomes of it, or what must become of it.
        then: &'static str,
    },
    /// It is not what this daemon writes.
    #[error("{path}: is broken: {what}; {then}; the idle floor is learned anew")]
    Broken {
        /// Which.
        path: String,
        /// What is wrong.
        what: String,
        /// What becomes of it.
        then: Aside,
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
    /// Another daemon writes there at this moment.
    #[error("{path}: another kepler saves there, this one will the next time")]
    Busy {
        /// Which.
        path: String,
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

/// What becomes of a broken file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Aside {
    /// It was only looked at.
    ToBe,
    /// It lies beside.
    Done,
    /// It cannot be, for this reason, and stays where it is.
    Failed(String),
}

impl fmt::Display for Aside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ToBe => write!(f, "the daemon sets it aside as {NAME}.broken beside it"),
            Self::Done => write!(f, "it is set aside as {NAME}.broken beside it"),
            Self::Failed(why) => write!(
                f,
                "it cannot be set aside as {NAME}.broken beside it ({why}), so it is left as it is and nothing is saved; make room for {NAME}.broken, or remove the file"
            ),
        }
    }
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

    /// Whether it is the only copy of something that a save would replace, and could not be set aside.
    pub(super) const fn is_in_the_way(&self) -> bool {
        matches!(
            self,
            Self::Broken {
                then: Aside::Failed(_),
                ..
            }
        )
    }

    /// A broken file is set aside from `path`, for whoever wants to know what has become of it; an older one makes room. What became
    /// of that is in the words.
    pub(super) fn set_aside(self, path: &Path) -> Self {
        let Self::Broken { path: name, what, .. } = self else {
            return self;
        };
        let then = match fs::rename(path, path.with_extension("json.broken")) {
            Ok(()) => Aside::Done,
            Err(error) => Aside::Failed(error.to_string()),
        };
        Self::Broken {
            path: name,
            what,
            then,
        }
    }
}

/// What `machine` had saved in `path`; `None` where nothing was ever saved.
pub(super) fn read(path: &Path, machine: &Identity) -> Result<Option<Saved>, StateError> {
    let name = || path.display().to_string();
    let unreadable = |source| StateError::Read {
        path: name(),
        source,
        then: match fs::symlink_metadata(path).is_ok_and(|there| there.is_dir()) {
            true => "remove it: a folder is not replaced",
            false => "remove it; the next save replaces it",
        },
    };
    let mut bytes = Vec::new();
    match open(path) {
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
    let broken = |what| StateError::Broken {
        path: name(),
        what,
        then: Aside::ToBe,
    };
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

/// Opens it without waiting for whoever is at the other end of a pipe, and without going where a link leads: what is wrong
/// with the file is told in words that quote it.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::LOOP) => io::Error::other("it is a link, which is not followed"),
            // A socket.
            Some(Errno::NXIO) => not_plain(),
            _ => error,
        })?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(not_plain()),
    }
}

fn not_plain() -> io::Error {
    io::Error::other("it is no plain file")
}

/// Sets aside what is in the way of a save. Anew looked at: it may have been removed since, or replaced by another daemon's state.
///
/// # Errors
/// It stays in the way.
pub(super) fn make_way(path: &Path, machine: &Identity) -> Result<(), StateError> {
    match read(path, machine).map_err(|error| error.set_aside(path)) {
        Err(error) if error.is_in_the_way() || error.forbids_saving() => Err(error),
        _ => Ok(()),
    }
}

/// Replaces the file; makes its folder where that is missing.
///
/// # Errors
/// [`StateError::Busy`] when another one is at it, which is no trouble; else what is in the way.
pub(super) fn write(path: &Path, saved: &Saved) -> Result<(), StateError> {
    replace(path, saved).map_err(|source| match source.kind() {
        ErrorKind::WouldBlock => StateError::Busy {
            path: path.display().to_string(),
        },
        _ => StateError::write(path, source),
    })
}

fn replace(path: &Path, saved: &Saved) -> io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("/"));
    // Nobody else's to write into, whatever the umask allows.
    DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    let held = File::open(folder)?;
    // Two daemons on one folder would write into one fresh file. Where there are no locks (NFS has none on folders) they are
    // not kept apart. The lock ends with the handle.
    if flock(&held, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
        return Err(ErrorKind::WouldBlock.into());
    }
    let fresh = fresh(path);
    // One that a power cut left behind, or a link that somebody put there.
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = fill(&fresh, saved)
        .and_then(|()| fs::rename(&fresh, path))
        .and_then(|()| held.sync_all());
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
    use rustix::fs::{CWD, FileType, Mode, mknodat};
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
        assert!(
            unreadable.contains("cannot be read") && unreadable.contains("a folder is not replaced"),
            "{unreadable}"
        );
        assert!(!forbids);
    }

    #[test]
    fn a_pipe_in_its_place_is_refused_and_not_waited_for_and_the_next_save_replaces_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(NAME);
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
        let error = read(&path, &identity(1)).expect_err("no file").to_string();
        assert!(
            error.contains("it is no plain file") && error.contains("the next save replaces it"),
            "{error}"
        );
        write(&path, &saved(1)).expect("written");
        assert_eq!(read(&path, &identity(1)).expect("readable"), Some(saved(1)));
    }

    #[test]
    fn a_link_in_its_place_is_not_followed_and_nothing_of_its_target_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, other) = (folder.path().join(NAME), folder.path().join("other"));
        fs::write(&other, r#"{"version": "secret"}"#).expect("a file");
        std::os::unix::fs::symlink(&other, &path).expect("a link");
        let error = read(&path, &identity(1)).expect_err("a link").to_string();
        assert!(
            error.contains("it is a link") && !error.contains("secret"),
            "{error}"
        );
        write(&path, &saved(1)).expect("written");
        assert!(other.exists(), "the target is as it was");
        assert_eq!(read(&path, &identity(1)).expect("readable"), Some(saved(1)));
    }

    #[test]
    fn two_that_save_at_once_do_not_write_into_one_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(NAME);
        let other = File::open(folder.path()).expect("a folder");
        flock(&other, FlockOperation::NonBlockingLockExclusive).expect("a lock");
        fs::write(fresh(&path), "half of another one's").expect("a file");
        assert!(matches!(write(&path, &saved(1)), Err(StateError::Busy { .. })));
        assert!(fresh(&path).exists() && !path.exists());
        drop(other);
        write(&path, &saved(1)).expect("written");
        write(&path, &saved(1)).expect("the lock is gone with the call");
    }

    #[test]
    fn a_folder_that_is_made_is_its_owners_to_write_into_whatever_the_umask() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/er").join(NAME);
        let umask = rustix::process::umask(Mode::empty());
        let written = write(&path, &saved(1));
        rustix::process::umask(umask);
        written.expect("written");
        for made in [folder.path().join("deep"), folder.path().join("deep/er")] {
            assert_eq!(fs::metadata(made).expect("a folder").mode() & 0o777, 0o755);
        }
    }

    #[test]
    fn a_file_without_end_is_not_read_to_its_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(NAME);
        let file = File::create(&path).expect("a file");
        // A hole: as good as without end, and takes no room.
        file.set_len(1 << 40).expect("a hole");
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
