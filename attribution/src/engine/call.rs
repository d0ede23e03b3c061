// SPDX-License-Identifier: Apache-2.0
//! The engine's calls as values: who records what the engine is asked records exactly this, and who replays a recording
//! calls exactly this.

use super::{Closed, Engine};
use crate::recording::Entry;

impl Engine {
    /// Makes the call that `entry` stands for. Gives what closing a window gives, and nothing for every other call.
    pub fn call(&mut self, entry: Entry) -> Option<Closed> {
        match entry {
            Entry::Expect(reporter) => self.expect(&reporter),
            Entry::ExpectSource(source) => self.expect_source(source),
            Entry::Open { tick, at, deadline } => self.open(tick, at, deadline),
            Entry::Usage(report) => self.on_usage(report),
            Entry::Identity(report) => self.on_identity(report),
            Entry::Tallies(tallies) => self.on_tallies(tallies),
            Entry::Slept { total } => self.on_sleep(total),
            Entry::Describe { source, detail } => self.describe(source, &detail),
            Entry::Energy { source, report } => self.on_energy(source, report),
            Entry::Close { at, dropped } => {
                let mut closed = self.close(at)?;
                closed.snapshot.dropped = dropped;
                return Some(closed);
            }
            Entry::Begin(_) | Entry::Gap { .. } | Entry::End => {}
        }
        None
    }
}
