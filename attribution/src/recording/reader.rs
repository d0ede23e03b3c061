// SPDX-License-Identifier: Apache-2.0
//! A recording read from beginning to end, entry by entry: owns what a torn or damaged end costs, which is itself and
//! what comes after it. Holds one frame at a time.

use super::decoder::{Decoder, memory};
use super::entry::{Beginning, Entry};
use super::fault::Fault;
use super::frame::{self, Found};
use super::{MAGIC, VERSION};
use std::fmt;
use std::io::Read;
use std::sync::Arc;

/// How a recording ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// In order: whoever wrote it was asked to stop.
    Complete,
    /// Without its last word: everything up to here was used.
    Torn {
        /// Bytes that were used.
        used: u64,
        /// Bytes after them, which were not.
        lost: u64,
        /// `cut off` or `damaged`, or what is wrong with it.
        why: &'static str,
    },
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Complete => f.write_str("complete"),
            Self::Torn { used, lost, why } => {
                write!(
                    f,
                    "{why} after {used} bytes, which were used; {lost} bytes after them were not"
                )
            }
        }
    }
}

/// Reads a recording.
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    decoder: Decoder,
    frame: Vec<u8>,
    /// Where in the frame the next entry is.
    next: usize,
    memory: usize,
    /// Bytes before the frame.
    used: u64,
    ending: Option<Ending>,
    after_the_end: u64,
}

impl<R: Read> Reader<R> {
    /// Begins to read.
    ///
    /// # Errors
    /// When it is no recording, or one that is too new, or cannot be read.
    pub fn new(mut from: R) -> Result<Self, Fault> {
        let mut head = [0; MAGIC.len() + 1];
        let read = frame::fill(&mut from, &mut head)?;
        let (magic, version) = head.split_at(MAGIC.len());
        if read < head.len() || magic != MAGIC {
            return Err(Fault::NotARecording);
        }
        match version {
            [VERSION] => {}
            [version] if *version > VERSION => return Err(Fault::Newer { version: *version }),
            _ => return Err(Fault::NotARecording),
        }
        Ok(Self {
            from,
            decoder: Decoder::default(),
            frame: Vec::new(),
            next: 0,
            memory: 0,
            used: frame::count(head.len()),
            ending: None,
            after_the_end: 0,
        })
    }

    /// Reads the beginning, which is the first entry.
    ///
    /// # Errors
    /// When there is none.
    pub fn beginning(&mut self) -> Result<Arc<Beginning>, Fault> {
        match self.next_entry()? {
            Some(Entry::Begin(beginning)) => Ok(beginning),
            _ => Err(Fault::NotARecording),
        }
    }

    /// The next entry; `None` at the end, and then [`Reader::ending`] says which end it was.
    ///
    /// # Errors
    /// When the bytes cannot be had. What is wrong with the bytes themselves is no error but an ending.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, Fault> {
        while self.ending.is_none() {
            let Some(mut rest) = self.frame.get(self.next..).filter(|rest| !rest.is_empty()) else {
                self.next_frame()?;
                continue;
            };
            let before = rest.len();
            match self.decoder.read(&mut rest, &mut self.memory) {
                Ok(Entry::End) => {
                    self.after_the_end = frame::count(rest.len()) + frame::rest(&mut self.from)?;
                    self.ending = Some(Ending::Complete);
                    return Ok(Some(Entry::End));
                }
                Ok(entry) => {
                    self.next += before - rest.len();
                    return Ok(Some(entry));
                }
                Err(garbled) => self.tear(frame::count(self.frame.len()) + 8, garbled.0)?,
            }
        }
        Ok(None)
    }

    /// How it ended; `None` before the end.
    #[must_use]
    pub const fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// Bytes after the end of a complete recording, which were not used: nobody who writes recordings wrote them there.
    #[must_use]
    pub const fn after_the_end(&self) -> u64 {
        self.after_the_end
    }

    fn next_frame(&mut self) -> Result<(), Fault> {
        if !self.frame.is_empty() {
            self.used += frame::count(self.frame.len()) + 8;
        }
        (self.next, self.memory) = (0, memory());
        match frame::next(&mut self.from, &mut self.frame)? {
            Found::Whole => Ok(()),
            Found::Nothing => self.tear(0, "cut off"),
            Found::Torn(read, why) => self.tear(read, why),
        }
    }

    /// Ends before its end. `lost` bytes were read and are of no use, and so are all after them.
    fn tear(&mut self, lost: u64, why: &'static str) -> Result<(), Fault> {
        let lost = lost + frame::rest(&mut self.from)?;
        self.ending = Some(Ending::Torn {
            used: self.used,
            lost,
            why,
        });
        Ok(())
    }
}
