// SPDX-License-Identifier: Apache-2.0
//! The file of a unix socket: made whole before anybody sees it, taken over from a daemon that died, never from one that lives,
//! and removed at the end.

use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A socket file of ours; removed when the last of its clones is dropped.
#[derive(Clone, Debug)]
pub(super) struct SocketFile(Arc<Owned>);

#[derive(Debug)]
struct Owned {
    path: PathBuf,
    /// Device and inode: a file of that name that somebody else has put there is not ours to remove.
    which: (u64, u64),
}

impl SocketFile {
    /// A listener at `path` that those may use whom `mode` allows.
    ///
    /// # Errors
    ///
    /// `AddrInUse` where somebody listens there, `AlreadyExists` where the file is no socket, else as the kernel says.
    pub(super) fn bind(path: &Path, mode: u16) -> io::Result<(UnixListener, Self)> {
        // Under another name first: with its own name it would, for a moment, have whatever mode the umask gives.
        let mut hidden = path.as_os_str().to_owned();
        hidden.push(format!(".{}", std::process::id()));
        let hidden = PathBuf::from(hidden);
        remove_if_there(&hidden)?;
        let listener = UnixListener::bind(&hidden)?;
        let placed = Self::place(&listener, &hidden, path, mode);
        if placed.is_err() {
            remove_if_there(&hidden)?;
        }
        Ok((listener, placed?))
    }

    fn place(listener: &UnixListener, hidden: &Path, path: &Path, mode: u16) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        fs::set_permissions(hidden, fs::Permissions::from_mode(u32::from(mode)))?;
        let of = fs::symlink_metadata(hidden)?;
        let which = (of.dev(), of.ino());
        if let Err(error) = rename(hidden, path) {
            if error.kind() != ErrorKind::AlreadyExists {
                return Err(error);
            }
            make_way(path)?;
            rename(hidden, path).map_err(|error| match error.kind() {
                // Another daemon was faster.
                ErrorKind::AlreadyExists => io::Error::from(ErrorKind::AddrInUse),
                _ => error,
            })?;
        }
        Ok(Self(Arc::new(Owned {
            path: path.to_owned(),
            which,
        })))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0.path
    }

    /// Removes it now, whoever still has a clone.
    pub(super) fn remove(&self) {
        self.0.remove();
    }
}

/// Never over something that is there.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
}

/// Removes the socket file of a daemon that is gone.
fn make_way(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(ErrorKind::AlreadyExists.into());
    }
    match UnixStream::connect(path) {
        // Nobody has it open.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        // Also where we may not ask: somebody has it.
        Ok(_) | Err(_) => Err(ErrorKind::AddrInUse.into()),
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Owned {
    fn remove(&self) {
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|of| (of.dev(), of.ino()) == self.which);
        if is_ours && let Err(error) = remove_if_there(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket file");
        }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_file_has_the_wanted_mode_and_is_gone_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k.sock");
        let (listener, file) = SocketFile::bind(&path, 0o640).unwrap();
        assert_eq!(mode(&path), 0o640);
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing else is left"
        );
        let mut client = UnixStream::connect(&path).unwrap();
        listener.set_nonblocking(false).unwrap();
        let (mut served, _) = listener.accept().unwrap();
        client.write_all(b"k").unwrap();
        served.read_exact(&mut [0]).unwrap();
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_dead_daemons_file_is_replaced_and_a_living_ones_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k.sock");
        drop(UnixListener::bind(&path).unwrap());
        let (_alive, file) = SocketFile::bind(&path, 0o660).unwrap();
        let error = SocketFile::bind(&path, 0o660).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(path.exists() && fs::read_dir(folder.path()).unwrap().count() == 1);
        drop(file);
    }

    #[test]
    fn what_is_no_socket_is_never_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k.sock");
        fs::write(&path, "precious").unwrap();
        let error = SocketFile::bind(&path, 0o660).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        assert!(SocketFile::bind(&folder.path().join("no/k.sock"), 0o660).is_err());
    }

    #[test]
    fn a_file_that_somebody_else_has_put_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k.sock");
        let (_listener, file) = SocketFile::bind(&path, 0o660).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(file);
        assert!(path.exists());
    }
}
