// SPDX-License-Identifier: Apache-2.0
//! Why a recording cannot be read, in words for people.

use super::VERSION;
use std::fmt;
use std::io;

/// Bytes that no writer of recordings has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Garbled(pub(super) &'static str);

/// Why a recording cannot be read at all. A recording that only ends too early is no such fault: see
/// [`Ending`](super::Ending).
#[derive(Debug)]
pub enum Fault {
    /// The bytes do not begin as a recording does.
    NotARecording,
    /// A newer version of the format than this program knows.
    Newer {
        /// The version that the bytes name.
        version: u8,
    },
    /// The file cannot be read.
    Io(io::Error),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotARecording => f.write_str("is no recording of `kepler record`"),
            Self::Newer { version } => write!(
                f,
                "is a recording of format {version}; this program reads up to {VERSION}: use the kepler that wrote it, or a newer one"
            ),
            Self::Io(_) => f.write_str("cannot be read"),
        }
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::NotARecording | Self::Newer { .. } => None,
        }
    }
}
