// SPDX-License-Identifier: Apache-2.0
//! The model's file: there as a whole or not at all, and never in place of another one.
//!
//! Made before anything is watched, so that nobody waits ten minutes to be told that the folder cannot be written.

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

/// A file that has not got its name yet. Without it when dropped.
#[derive(Debug)]
pub(super) struct Draft {
    out: PathBuf,
    draft: PathBuf,
    file: File,
}

impl Draft {
    /// A draft of `out`, which must not be there yet.
    pub(super) fn create(out: &Path) -> anyhow::Result<Self> {
        let refuse = |error: &io::Error| anyhow::anyhow!("{}: {}", out.display(), in_words(error));
        if fs::symlink_metadata(out).is_ok() {
            return Err(refuse(&ErrorKind::AlreadyExists.into()));
        }
        let Some(name) = out.file_name() else {
            anyhow::bail!("{}: is no name of a file", out.display());
        };
        // Beside it: only within a file system a file gets a name in one step.
        let draft = out.with_file_name(format!(".{}.{}.part", name.to_string_lossy(), std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).open(&draft);
        Ok(Self {
            out: out.to_owned(),
            file: file.map_err(|error| anyhow::anyhow!("{}: {}", draft.display(), in_words(&error)))?,
            draft,
        })
    }

    /// Writes it and gives it its name.
    pub(super) fn commit(mut self, bytes: &[u8]) -> anyhow::Result<PathBuf> {
        let written = self.file.write_all(bytes).and_then(|()| self.file.sync_all());
        let named = written.and_then(|()| rename(&self.draft, &self.out));
        named.map_err(|error| anyhow::anyhow!("{}: {}", self.out.display(), in_words(&error)))?;
        Ok(self.out.clone())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Not there any more under this name once it has its own.
        drop(fs::remove_file(&self.draft));
    }
}

/// Gives a file its name where no other one has it.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // File systems that do not know how (NFS, FUSE). It was not there at the beginning.
        Err(Errno::INVAL | Errno::NOSYS) if fs::symlink_metadata(to).is_err() => fs::rename(from, to),
        Err(Errno::INVAL | Errno::NOSYS) => Err(ErrorKind::AlreadyExists.into()),
        renamed => Ok(renamed?),
    }
}

/// Why there is no file, with what to do.
fn in_words(error: &io::Error) -> String {
    let hint = match error.kind() {
        ErrorKind::AlreadyExists => "is there already; name another file with --out, or remove it first",
        ErrorKind::PermissionDenied => "cannot be written: this user may not write there",
        ErrorKind::NotFound => "cannot be written: is there such a folder?",
        ErrorKind::StorageFull => "cannot be written: the disk is full",
        _ => return format!("cannot be written: {error}"),
    };
    hint.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_has_its_name_when_it_is_whole_and_leaves_nothing_when_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let names = || -> Vec<_> {
            let entries = fs::read_dir(folder.path()).unwrap();
            entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect()
        };
        let out = folder.path().join("model.json");
        let draft = Draft::create(&out).unwrap();
        assert!(names().len() == 1 && !out.exists());
        drop(draft);
        assert_eq!(names(), Vec::<String>::new());
        assert_eq!(Draft::create(&out).unwrap().commit(b"{}").unwrap(), out);
        assert_eq!(names(), ["model.json"]);
        assert_eq!(fs::read(&out).unwrap(), b"{}");
    }

    #[test]
    fn another_file_is_never_replaced_also_when_it_comes_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("model.json");
        let draft = Draft::create(&out).unwrap();
        fs::write(&out, "theirs").unwrap();
        let words = draft.commit(b"ours").unwrap_err().to_string();
        assert!(
            words.contains("model.json: is there already; name another file"),
            "{words}"
        );
        assert_eq!(fs::read(&out).unwrap(), b"theirs");
        let words = Draft::create(&out).unwrap_err().to_string();
        assert!(words.contains("is there already"), "{words}");
        let words = Draft::create(&folder.path().join("no/such.json"))
            .unwrap_err()
            .to_string();
        assert!(words.contains("is there such a folder?"), "{words}");
    }
}
