// SPDX-License-Identifier: Apache-2.0
//! Files that were read, and whether they are still the same. Told by what stat(2) says and not by contents, so that looking
//! is cheap; through links, so that a Kubernetes secret, which is replaced by turning a link, is seen to change.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Largest file that is read: certificates and lists of users have some thousand bytes.
const LARGEST: u64 = 1024 * 1024;

/// Device, inode, size, and the times of the last change of contents and of anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp([i128; 7]);

/// What was read, and how it looked then. What could not be read is there, too: it may come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shelf(Vec<(PathBuf, Option<Stamp>)>);

impl Shelf {
    /// A whole file.
    ///
    /// # Errors
    ///
    /// As the kernel says, and for a file that is too large.
    pub(super) fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        // Before: what changes meanwhile is then seen to have changed.
        self.0.push((path.to_owned(), stamp(path)));
        // A pipe would keep us waiting for ever.
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::other("no regular file"));
        }
        let mut bytes = Vec::new();
        fs::File::open(path)?.take(LARGEST + 1).read_to_end(&mut bytes)?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > LARGEST {
            return Err(io::Error::other("larger than 1 MiB"));
        }
        Ok(bytes)
    }

    /// The same files as they look now.
    pub(super) fn now(&self) -> Self {
        Self(
            self.0
                .iter()
                .map(|(path, _)| (path.clone(), stamp(path)))
                .collect(),
        )
    }

    /// All of them.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|(path, _)| path.as_path())
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let of = fs::metadata(path).ok()?;
    let times = [of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec()].map(i128::from);
    let [mtime, mtime_nsec, ctime, ctime_nsec] = times;
    let [dev, ino, size] = [of.dev(), of.ino(), of.size()].map(i128::from);
    Some(Stamp([dev, ino, size, mtime, mtime_nsec, ctime, ctime_nsec]))
}
