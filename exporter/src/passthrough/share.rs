// SPDX-License-Identifier: Apache-2.0
//! The folders on disk: owns how they are made, changed under their readers, and taken away. Knows no snapshot.
//!
//! A counter has two files that take turns: the new value is written into the one that nobody finds by name, and then they
//! change names (`RENAME_EXCHANGE`). Who opens `energy_uj` for each reading has a whole value always: one written in place can be
//! read half old and half new (1,435 of 2,336,559 readings on ext4, with both sides at it without a pause). Who keeps it open has
//! the file of every other turn, which a plain rename would have left behind for good.
//!
//! Every step down is one `openat` without following links, from the folder above that is held open.

use super::plan::{Kind, RANGE};
use rustix::fs::{
    AtFlags, CWD, FlockOperation, Mode, OFlags, RenameFlags, fchmod, flock, fstat, mkdirat, openat, renameat,
    renameat_with, stat, unlinkat,
};
use rustix::io::Errno;
use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind, Read as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _};
use std::path::Path;

/// Says that a folder is fed by us, and whether it was there before.
pub(super) const MARK: &str = ".fed-by-kepler";
/// The mark's words for a folder that we made, and that goes with its machine.
const MADE: &[u8] = b"made\n";
/// For one that was there: the file system shared into a machine must be there before the machine starts.
const FOUND: &[u8] = b"found\n";
/// The counter.
pub(super) const ENERGY: &str = "energy_uj";
/// The file that is about to be it, and was.
const OTHER: &str = "energy_uj.other";
/// Where a file goes that is none of ours.
pub(super) const ASIDE: &str = "energy_uj.set-aside";
const RANGE_FILE: &str = "max_energy_range_uj";
const FRESH: &str = ".fresh";
/// Where a machine's folder is made, beside the others: no machine's name begins with a dot.
const FRESH_MACHINE: &str = ".fresh-machine";
const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// Never waits for the other end of a pipe that somebody put there.
const FILE: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);
/// Everybody may read: in the guest the readers are not root.
const FILE_MODE: u32 = 0o644;
const FOLDER_MODE: u32 = 0o755;
/// Longest file that is read: a `u64` has 20 digits.
const LONGEST: u64 = 32;

/// The folder that holds the machines' folders, held open and locked: two daemons would count everything twice.
#[derive(Debug)]
pub(super) struct Share {
    held: OwnedFd,
}

/// Why a counter's file gives none.
#[derive(Debug)]
pub(super) enum Unread {
    /// It holds something else.
    Damaged(String),
    /// It cannot be read.
    Io(io::Error),
}

impl Share {
    /// Opens the folder; makes it where it is missing.
    ///
    /// # Errors
    /// `WouldBlock` when another daemon has it.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(dir)?;
        let held = openat(
            CWD,
            dir,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        flock(&held, FlockOperation::NonBlockingLockExclusive)?;
        let share = Self { held };
        // What a daemon that was killed has left; where it cannot go it is said when the name is needed.
        drop(share.clear_fresh());
        Ok(share)
    }

    /// Whether `dir` is still this folder.
    pub(super) fn is_at(&self, dir: &Path) -> bool {
        let (Ok(held), Ok(there)) = (fstat(&self.held), stat(dir)) else {
            return false;
        };
        (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino)
    }

    /// Names of the folders in `dir` that are fed by us, `most` at most.
    pub(super) fn fed(&self, dir: &Path, most: usize) -> io::Result<Vec<String>> {
        let mut fed = Vec::new();
        for entry in std::fs::read_dir(dir)?.take(most.saturating_mul(4)) {
            let Ok(name) = entry?.file_name().into_string() else {
                continue;
            };
            let marked = openat(&self.held, &name, FOLDER, Mode::empty())
                .is_ok_and(|folder| openat(&folder, MARK, FILE | OFlags::RDONLY, Mode::empty()).is_ok());
            if marked && fed.len() < most {
                fed.push(name);
            }
        }
        Ok(fed)
    }

    /// A machine's folder; made and marked where that is missing.
    pub(super) fn machine(&self, name: &str) -> io::Result<Machine> {
        let Some(folder) = existing(self.held.as_fd(), name)? else {
            let made = self.make(name);
            if made.is_err() {
                // Half a folder takes what others need.
                drop(self.clear_fresh());
            }
            return made;
        };
        match openat(&folder, MARK, FILE | OFlags::RDONLY, Mode::empty()) {
            Ok(_) => {}
            Err(Errno::NOENT) => replace(folder.as_fd(), MARK, FOUND)?,
            Err(error) => return Err(error.into()),
        }
        Ok(Machine(folder))
    }

    /// Makes a machine's folder. It has its name only with the mark in it: one without is somebody else's, and stays for good.
    fn make(&self, name: &str) -> io::Result<Machine> {
        self.clear_fresh()?;
        let (folder, _) = folder(self.held.as_fd(), FRESH_MACHINE)?;
        replace(folder.as_fd(), MARK, MADE)?;
        renameat_with(
            &self.held,
            FRESH_MACHINE,
            &self.held,
            name,
            RenameFlags::NOREPLACE,
        )
        .map_err(renaming)?;
        Ok(Machine(folder))
    }

    /// Takes away a folder that never had its name.
    fn clear_fresh(&self) -> io::Result<()> {
        if let Ok(folder) = openat(&self.held, FRESH_MACHINE, FOLDER, Mode::empty()) {
            for file in [MARK, FRESH] {
                gone(unlinkat(&folder, file, AtFlags::empty()))?;
            }
        }
        cleared(self.held.as_fd(), FRESH_MACHINE)
    }

    /// Takes away what we put into a machine's folder, and the folder where we made it. What is somebody else's stays.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        let folder = match openat(&self.held, name, FOLDER, Mode::empty()) {
            Ok(folder) => folder,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        // Parts before their whole; each is a folder beside the other.
        for kind in Kind::ALL.iter().rev() {
            if let Ok(zone) = openat(&folder, kind.folder(), FOLDER, Mode::empty()) {
                for file in [ENERGY, OTHER, ASIDE, "name", RANGE_FILE, "provenance", FRESH] {
                    gone(unlinkat(&zone, file, AtFlags::empty()))?;
                }
            }
            gone(unlinkat(&folder, kind.folder(), AtFlags::REMOVEDIR))?;
        }
        let made = small(folder.as_fd(), MARK).is_ok_and(|words| words == MADE);
        gone(unlinkat(&folder, MARK, AtFlags::empty()))?;
        match made {
            true => gone(unlinkat(&self.held, name, AtFlags::REMOVEDIR)),
            false => Ok(()),
        }
    }
}

/// Not there any more is as good as removed, and what holds something of others' stays.
fn gone(removed: rustix::io::Result<()>) -> io::Result<()> {
    match removed {
        Err(Errno::NOENT | Errno::NOTEMPTY | Errno::NOTDIR) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// One machine's folder.
#[derive(Debug)]
pub(super) struct Machine(OwnedFd);

impl Machine {
    /// A zone's folder, and whether it was made just now.
    pub(super) fn zone(&self, kind: Kind) -> io::Result<(Zone, bool)> {
        folder(self.0.as_fd(), kind.folder()).map(|(folder, made)| (Zone(folder), made))
    }
}

/// One zone's folder.
#[derive(Debug)]
pub(super) struct Zone(OwnedFd);

impl Zone {
    /// Where the counter stands; `None` before the first time.
    pub(super) fn counter(&self) -> Result<Option<u64>, Unread> {
        let bytes = match small(self.0.as_fd(), ENERGY) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(match Errno::from_io_error(&error) {
                    Some(Errno::LOOP) => Unread::Damaged("it is a link".to_owned()),
                    None => Unread::Damaged(error.to_string()),
                    Some(_) => Unread::Io(error),
                });
            }
        };
        let digits = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
        let value = str::from_utf8(digits).ok().filter(|_| plain);
        let value = value
            .and_then(|text| text.parse().ok())
            .filter(|value| *value <= RANGE);
        let found = || Unread::Damaged(format!("found \"{}\"", bytes.escape_ascii()));
        value.map(Some).ok_or_else(found)
    }

    /// Gives whatever is in the counter's place another name.
    pub(super) fn set_aside(&self) -> io::Result<()> {
        Ok(renameat(&self.0, ENERGY, &self.0, ASIDE)?)
    }

    /// What a reader needs beside the counter.
    pub(super) fn describe(&self, kind: Kind, provenance: &str) -> io::Result<()> {
        let here = self.0.as_fd();
        replace(here, "provenance", format!("{provenance}\n").as_bytes())?;
        replace(here, RANGE_FILE, format!("{RANGE}\n").as_bytes())?;
        replace(here, "name", format!("{}\n", kind.name()).as_bytes())
    }

    /// Has the counter stand at `value`; see the module's head.
    pub(super) fn show(&self, value: u64) -> io::Result<()> {
        let bytes = format!("{value}\n").into_bytes();
        let other = self.other()?;
        other.write_all_at(&bytes, 0)?;
        other.set_len(u64::try_from(bytes.len()).unwrap_or(LONGEST))?;
        match renameat_with(&self.0, OTHER, &self.0, ENERGY, RenameFlags::EXCHANGE) {
            Ok(()) => Ok(()),
            Err(Errno::NOENT) => Ok(renameat(&self.0, OTHER, &self.0, ENERGY)?),
            Err(error) => Err(renaming(error)),
        }
    }

    /// The file that nobody finds by name, as a plain file with that one name.
    fn other(&self) -> io::Result<File> {
        let flags = FILE | OFlags::WRONLY;
        let plain = openat(&self.0, OTHER, flags, Mode::empty())
            .map_err(io::Error::from)
            .map(File::from)
            .and_then(|file| {
                let facts = file.metadata()?;
                Ok((facts.is_file() && facts.nlink() == 1).then_some(file))
            });
        if let Ok(Some(file)) = plain {
            return Ok(file);
        }
        // None yet, or something that was put there: a link, a pipe, a second name of another file.
        cleared(self.0.as_fd(), OTHER)?;
        created(self.0.as_fd(), OTHER)
    }
}

/// Why `renameat2` failed.
fn renaming(error: Errno) -> io::Error {
    match error {
        Errno::INVAL | Errno::NOSYS => io::Error::other(
            "the file system cannot have two files change their names at once; take one in memory (tmpfs: /run), or ext4, xfs or btrfs",
        ),
        error => error.into(),
    }
}

/// Opens a folder below `above`, where there is one.
fn existing(above: impl AsFd + Copy, name: &str) -> io::Result<Option<OwnedFd>> {
    match openat(above, name, FOLDER, Mode::empty()) {
        Ok(folder) => Ok(Some(folder)),
        Err(Errno::NOENT) => Ok(None),
        Err(Errno::NOTDIR | Errno::LOOP) => Err(io::Error::other(format!("{name}: is no folder; remove it"))),
        Err(error) => Err(error.into()),
    }
}

/// Opens a folder below `above`, and says whether it had to be made.
fn folder(above: impl AsFd + Copy, name: &str) -> io::Result<(OwnedFd, bool)> {
    if let Some(folder) = existing(above, name)? {
        return Ok((folder, false));
    }
    mkdirat(above, name, Mode::from_raw_mode(FOLDER_MODE))?;
    let folder = openat(above, name, FOLDER, Mode::empty())?;
    // Whatever the umask takes away.
    fchmod(&folder, Mode::from_raw_mode(FOLDER_MODE))?;
    Ok((folder, true))
}

/// Makes room for a file.
fn cleared(folder: impl AsFd + Copy, name: &str) -> io::Result<()> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => Ok(unlinkat(folder, name, AtFlags::REMOVEDIR)?),
        Err(Errno::NOENT) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A new file, for everybody to read.
fn created(folder: impl AsFd, name: &str) -> io::Result<File> {
    let flags = FILE | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let file = openat(folder, name, flags, Mode::from_raw_mode(FILE_MODE))?;
    fchmod(&file, Mode::from_raw_mode(FILE_MODE))?;
    Ok(file.into())
}

/// Puts a small file into its place as a whole.
fn replace(folder: impl AsFd + Copy, name: &str, bytes: &[u8]) -> io::Result<()> {
    cleared(folder, FRESH)?;
    created(folder, FRESH)?.write_all_at(bytes, 0)?;
    Ok(renameat(folder, FRESH, folder, name)?)
}

/// Reads a small plain file; an error without a number of the kernel's is about what was found.
fn small(folder: impl AsFd, name: &str) -> io::Result<Vec<u8>> {
    let file = File::from(openat(folder, name, FILE | OFlags::RDONLY, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no plain file"));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}
