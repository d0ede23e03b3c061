// SPDX-License-Identifier: Apache-2.0
//! What can go wrong while the kernel's files are read. A file that vanished is not here: processes and cgroups come and
//! go, and readers answer `None` for that.

use std::io;
use std::path::{Path, PathBuf};

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// The kernel refused for lack of rights. Costs one process or one figure.
    #[error("not allowed to read {}: run as root, or grant CAP_SYS_PTRACE and look for a hidepid mount option", path.display())]
    Denied {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Any other failure to read.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A file that has to be there is not.
    #[error("{} does not exist: check the configured root", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The bytes are not what the kernel documents.
    #[error("{} holds no {expected}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        expected: &'static str,
    },
    /// The file goes on beyond any size that the kernel can mean.
    #[error("{} is longer than {limit} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The bound in bytes.
        limit: usize,
    },
}

impl WorkloadError {
    /// An I/O error, told apart by whether rights were lacking.
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        if source.kind() == io::ErrorKind::PermissionDenied {
            Self::Denied { path, source }
        } else {
            Self::Io { path, source }
        }
    }

    /// Bytes that were not understood.
    pub(crate) fn malformed(path: &Path, expected: &'static str) -> Self {
        Self::Malformed {
            path: path.to_owned(),
            expected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_rights_is_told_apart_and_the_cause_is_kept() {
        use std::error::Error as _;
        let path = Path::new("/proc/1/stat");
        for (errno, denied) in [(13, true), (1, true), (5, false)] {
            let error = WorkloadError::io(path, io::Error::from_raw_os_error(errno));
            assert_eq!(matches!(error, WorkloadError::Denied { .. }), denied, "{error}");
            assert!(error.to_string().contains("/proc/1/stat") && error.source().is_some());
        }
    }
}
