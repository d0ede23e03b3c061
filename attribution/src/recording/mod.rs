// SPDX-License-Identifier: Apache-2.0
//! Recordings: what reporters said and what the engine was asked, as bytes, and back.
//!
//! Pure functions over bytes: who opens files is elsewhere. An [`Encoder`] writes each [`Entry`] against what was said
//! before, so a row that did not change costs nothing; a [`Reader`] takes any bytes at all and gives back entries as long as
//! they make sense, in bounded memory. Not in [`model`](crate::model), which knows no representation, and not in
//! [`engine`](crate::engine), which need not be there to read a meter out of a recording.
//!
//! The layout is written down in `docs/recording.md`. A change of it is a new [`VERSION`].

mod decoder;
mod encoder;
mod energy;
mod entry;
mod facts;
mod fault;
mod frame;
#[cfg(feature = "fuzzing")]
pub mod fuzz;
mod identity;
mod mask;
mod names;
mod reader;
#[cfg(test)]
mod tests;
mod usage;
mod wire;
mod words;

pub use encoder::{Encoder, TooMuch};
pub use entry::{Beginning, Entry};
pub use fault::Fault;
pub use mask::Mask;
pub use reader::{Ending, Reader};

use crate::model::{MonotonicNanos, TickId};

/// The first bytes of a recording. Not text, so that nobody edits it by mistake.
const MAGIC: [u8; 8] = *b"\x89keplrec";

/// The version of the layout.
pub const VERSION: u8 = 1;

/// The window that was opened last: what ticks and moments are written against.
#[derive(Clone, Copy, Debug, Default)]
struct Moment {
    tick: TickId,
    opened: MonotonicNanos,
}

/// Kinds of entry.
mod kind {
    pub(super) const BEGIN: u8 = 1;
    pub(super) const EXPECT: u8 = 2;
    pub(super) const EXPECT_SOURCE: u8 = 3;
    pub(super) const OPEN: u8 = 4;
    pub(super) const USAGE: u8 = 5;
    pub(super) const IDENTITY: u8 = 6;
    pub(super) const DESCRIBE: u8 = 7;
    pub(super) const ENERGY: u8 = 8;
    pub(super) const CLOSE: u8 = 9;
    pub(super) const GAP: u8 = 10;
    pub(super) const END: u8 = 11;
    pub(super) const TALLIES: u8 = 12;
    pub(super) const SLEPT: u8 = 13;
}
