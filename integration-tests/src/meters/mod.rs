// SPDX-License-Identifier: Apache-2.0
//! What the guests of `make test-guest` said on their serial lines, judged: the joules and watts of the metrics beside those
//! that the guest's meters were told to show.
//!
//! Pure: text in, Markdown out. `guest` reads what a guest said, `truth` knows what was really used at any moment, `judge`
//! compares, `scenes` says what has to come out in which guest, `page` makes docs/guest.md of it.

pub mod guest;
pub mod judge;
pub mod page;
pub mod scenes;
pub mod truth;

#[cfg(test)]
mod tests;
