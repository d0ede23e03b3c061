// SPDX-License-Identifier: Apache-2.0
//! Reads one of the kernel's small files whole, into a buffer that is used again. Refuses to follow a file without end.

use crate::error::WorkloadError;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The first try: `/proc/PID/stat`, `cpu.stat` and a `/proc/PID/cgroup` fit, so each costs one read and its end.
const FIRST: usize = 4_096;

/// The largest of the files read here is `/proc/cpuinfo`, some 2 KiB for each of at most 8,192 CPUs (NR_CPUS of x86).
const LIMIT: usize = 16 * 1_024 * 1_024;

/// Reads `path` into `buffer`, which then holds the file and nothing else; `false` when there is no such file any more.
pub(crate) fn read_into(path: &Path, buffer: &mut Vec<u8>) -> Result<bool, WorkloadError> {
    match read_all(path, buffer) {
        Ok(true) => Ok(true),
        Ok(false) => Err(WorkloadError::TooLong {
            path: path.to_owned(),
            limit: LIMIT,
        }),
        Err(error) if vanished(&error) => Ok(false),
        Err(error) => Err(WorkloadError::io(path, error)),
    }
}

/// As [`read_into`] with a buffer of its own, for files read once.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, WorkloadError> {
    let mut buffer = Vec::new();
    Ok(read_into(path, &mut buffer)?.then_some(buffer))
}

/// `ENOENT` when the name is gone, `ESRCH` when the process died after the open, `ENODEV` when a cgroup did.
pub(crate) fn vanished(error: &io::Error) -> bool {
    const ESRCH: i32 = rustix::io::Errno::SRCH.raw_os_error();
    const ENODEV: i32 = rustix::io::Errno::NODEV.raw_os_error();
    error.kind() == io::ErrorKind::NotFound || matches!(error.raw_os_error(), Some(ESRCH | ENODEV))
}

fn read_all(path: &Path, buffer: &mut Vec<u8>) -> io::Result<bool> {
    buffer.clear();
    let mut file = File::open(path)?;
    let mut filled = 0;
    loop {
        if filled == buffer.len() {
            if filled >= LIMIT {
                return Ok(false);
            }
            buffer.resize((filled * 2).max(FIRST), 0);
        }
        match file.read(buffer.get_mut(filled..).unwrap_or_default()) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(filled);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_longer_than_the_first_try_is_read_whole_and_the_buffer_keeps_nothing_old() {
        let dir = tempfile::tempdir().unwrap();
        let (long, short) = (dir.path().join("long"), dir.path().join("short"));
        let text: Vec<u8> = (0..20_000_u32)
            .map(|n| b'a' + u8::try_from(n % 26).unwrap())
            .collect();
        std::fs::write(&long, &text).unwrap();
        std::fs::write(&short, "x").unwrap();
        let mut buffer = Vec::new();
        assert!(read_into(&long, &mut buffer).unwrap());
        assert_eq!(buffer, text);
        assert!(read_into(&short, &mut buffer).unwrap());
        assert_eq!(buffer, b"x");
    }

    #[test]
    fn a_file_without_end_is_refused() {
        let error = read(Path::new("/dev/zero")).unwrap_err();
        assert!(matches!(error, WorkloadError::TooLong { .. }), "{error}");
    }

    #[test]
    fn a_file_that_is_gone_is_no_error() {
        assert!(read(Path::new("/nonexistent/file")).unwrap().is_none());
        assert!(vanished(&io::Error::from_raw_os_error(3)), "ESRCH");
        assert!(vanished(&io::Error::from_raw_os_error(19)), "ENODEV");
        assert!(!vanished(&io::Error::from_raw_os_error(13)), "EACCES");
    }
}
