// SPDX-License-Identifier: Apache-2.0
//! The engine with everything that it is asked written down, where that is wanted.
//!
//! What is recorded and what is called is one value, so a replay makes the same calls with the same moments.

use crate::recorder::Tap;
use attribution::engine::{Closed, Engine};
use attribution::recording::Entry;

/// An engine, and who listens to its calls.
pub struct Driven {
    engine: Engine,
    tap: Option<Tap>,
}

impl Driven {
    /// Drives `engine`; `tap` hears each call before it is made.
    #[must_use]
    pub const fn new(engine: Engine, tap: Option<Tap>) -> Self {
        Self { engine, tap }
    }

    /// Makes a call.
    pub fn call(&mut self, entry: Entry) -> Option<Closed> {
        if let Some(tap) = &mut self.tap {
            tap.hear(&entry);
        }
        self.engine.call(entry)
    }

    /// Whether the open window has everything.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.engine.complete()
    }
}
