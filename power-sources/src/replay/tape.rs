// SPDX-License-Identifier: Apache-2.0
//! The energy of a recording, report by report: owns the open file and what is said when it ends. Everything else in the
//! recording is passed by.

use attribution::model::{Energy, ErrorReason, Report, SourceId};
use attribution::recording::{Beginning, Ending, Entry, Fault, Reader};
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A recording that is being read.
#[derive(Debug)]
pub(super) struct Tape {
    path: PathBuf,
    reader: Reader<BufReader<File>>,
    pub(super) beginning: Arc<Beginning>,
}

/// Why there is no further report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Over {
    pub(super) reason: ErrorReason,
    pub(super) words: String,
}

impl Tape {
    /// Opens a recording, which must be a plain file: a pipe would be waited for, and cannot begin again. The reason why not
    /// is for people.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let refused = |fault: Fault| match fault {
            Fault::Io(error) => format!("{}: {error}", path.display()),
            fault => format!("{} {fault}", path.display()),
        };
        let io = |error| refused(Fault::Io(error));
        // Before it is opened, because opening a pipe is what waits.
        if !fs::metadata(path).map_err(io)?.is_file() {
            return Err(format!("{} is no plain file", path.display()));
        }
        let file = File::open(path).map_err(io)?;
        let mut reader = Reader::new(BufReader::new(file)).map_err(refused)?;
        let beginning = reader.beginning().map_err(refused)?;
        Ok(Self {
            path: path.to_owned(),
            reader,
            beginning,
        })
    }

    /// The next energy report of any source.
    pub(super) fn next(&mut self) -> Result<(SourceId, Report<Energy>), Over> {
        loop {
            match self.reader.next_entry() {
                Ok(Some(Entry::Energy { source, report })) => return Ok((source, report)),
                Ok(Some(_)) => {}
                Ok(None) => return Err(self.over()),
                Err(fault) => {
                    return Err(Over {
                        reason: ErrorReason::Io,
                        words: format!("{} {fault}", self.path.display()),
                    });
                }
            }
        }
    }

    fn over(&self) -> Over {
        let path = self.path.display();
        let words = match self.reader.ending() {
            Some(torn @ Ending::Torn { .. }) => format!("{path}: {torn}"),
            _ => format!("{path}: the recording has ended"),
        };
        Over {
            reason: ErrorReason::Gone,
            words,
        }
    }
}
