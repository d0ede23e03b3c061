// SPDX-License-Identifier: Apache-2.0
//! Reads small files below the host's root, as the host sees them, and trusts none of them. Refuses whatever is no regular
//! file, is too long, or leads out of the folder.
//!
//! Absolute links (`/var/lib/docker -> /data/docker`) are followed inside of the root, as after a chroot. In the home of a
//! user, who may put there what he likes, nothing is followed and no other mount is entered: a FUSE mount could keep us
//! for ever, and so could a FIFO, which is why files are opened without waiting.

use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, fstat, open, openat, openat2};
use rustix::io::Errno;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// The longest file that is read. What runtimes write about one container has 2 to 30 KiB; podman's list has half a KiB
/// for each, so 2,000 containers of one user fit.
pub(super) const LONGEST: u64 = 1_024 * 1_024;

/// The longest list of root's podman: 16,000 containers, most of them dead.
pub(super) const LONGEST_LIST: u64 = 8 * LONGEST;

/// Names in a folder that are looked at. containerd has two or three namespaces.
const NAMES: usize = 64;

/// A folder that paths are relative to.
pub(super) struct View {
    folder: OwnedFd,
    resolve: ResolveFlags,
    /// Whether somebody else than root owns what is below.
    is_foreign: bool,
}

/// One try to read a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    Bytes(Vec<u8>),
    /// There is none, as yet.
    Missing,
    /// There is something that we may not or will not read.
    Refused,
}

impl View {
    /// The host's root; `None` when it is not there.
    pub(super) fn of(root: &Path) -> Option<Self> {
        Some(Self {
            folder: open(
                root,
                OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .ok()?,
            resolve: ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
            is_foreign: false,
        })
    }

    /// The home of a user at `path`, which begins with `/`.
    pub(super) fn home(&self, path: &str) -> Option<Self> {
        Some(Self {
            folder: self.open(path, OFlags::PATH | OFlags::DIRECTORY).ok()?,
            resolve: ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV,
            is_foreign: true,
        })
    }

    /// Whether there is such a folder.
    pub(super) fn has(&self, path: &str) -> bool {
        self.open(path, OFlags::PATH | OFlags::DIRECTORY).is_ok()
    }

    /// Names of the folder, as far as they are text, in order; empty where it cannot be read.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let Ok(folder) = self
            .open(path, OFlags::RDONLY | OFlags::DIRECTORY)
            .and_then(Dir::new)
        else {
            return Vec::new();
        };
        let entries = folder.flatten();
        let names = entries.filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned));
        let mut names: Vec<_> = names.filter(|name| !name.starts_with('.')).take(NAMES).collect();
        names.sort_unstable();
        names
    }

    /// The file at `path`, whole, if it has `longest` bytes at most, and [`LONGEST`] where it is not root's.
    pub(super) fn read(&self, path: &str, longest: u64) -> Content {
        let longest = if self.is_foreign {
            longest.min(LONGEST)
        } else {
            longest
        };
        let file = match self.open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NOTDIR) => return Content::Missing,
            Err(_) => return Content::Refused,
        };
        match fstat(&file) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {}
            _ => return Content::Refused,
        }
        let mut bytes = Vec::new();
        match File::from(file).take(longest + 1).read_to_end(&mut bytes) {
            Ok(read) if u64::try_from(read).is_ok_and(|read| read <= longest) => Content::Bytes(bytes),
            _ => Content::Refused,
        }
    }

    fn open(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC;
        // Beneath a folder no path may be absolute.
        let path = path.trim_start_matches('/');
        let path = if path.is_empty() { "." } else { path };
        match openat2(self.folder.as_fd(), path, flags, Mode::empty(), self.resolve) {
            // Linux before 5.6, or a seccomp filter older than the call.
            Err(Errno::NOSYS | Errno::PERM) if !self.is_foreign => {
                openat(self.folder.as_fd(), path, flags | OFlags::NOFOLLOW, Mode::empty())
            }
            answer => answer,
        }
    }
}
