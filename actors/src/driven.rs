// SPDX-License-Identifier: Apache-2.0
//! The engine with everything that it is asked written down, where that is wanted.
//!
//! What is recorded and what is called is one value, so a replay makes the same calls with the same moments.

use crate::recorder::Tap;
use attribution::engine::{Closed, Engine, LearnedZone, Settings};
use attribution::model::{NodeFacts, SourceId};
use attribution::recording::Entry;
use std::sync::Arc;

/// An engine, and who listens to its calls.
pub struct Driven {
    engine: Engine,
    tap: Option<Tap>,
    /// Whether a window is open. Closing none is no call worth a word: it happens at every tick.
    is_open: bool,
}

impl Driven {
    /// Drives `engine`; `tap` hears each call before it is made.
    #[must_use]
    pub const fn new(engine: Engine, tap: Option<Tap>) -> Self {
        Self {
            engine,
            tap,
            is_open: false,
        }
    }

    /// Makes a call.
    pub fn call(&mut self, entry: Entry) -> Option<Closed> {
        let closes_nothing = match entry {
            Entry::Open { .. } => {
                self.is_open = true;
                false
            }
            Entry::Close { .. } => !std::mem::take(&mut self.is_open),
            _ => false,
        };
        if let Some(tap) = self.tap.as_mut().filter(|_| !closes_nothing) {
            tap.hear(&entry);
        }
        self.engine.call(entry)
    }

    /// Whether a window is open.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.is_open
    }

    /// Goes on by other rules. Not written down: what is recorded is not reloaded, and a replay has one set of rules.
    pub fn adopt(&mut self, rules: Settings, facts: Arc<NodeFacts>) {
        self.engine.adopt(rules, facts);
    }

    /// Whether components are being handed over from one source to another.
    #[must_use]
    pub fn hands_over(&self) -> bool {
        self.engine.hands_over()
    }

    /// Waits for a source no more, at the latest once what it reads is handed over. Not written down, either.
    pub fn dismiss(&mut self, source: SourceId) {
        self.engine.dismiss_source(source);
    }

    /// What was learned about the floors of its zones.
    #[must_use]
    pub fn learned_floors(&self) -> Vec<LearnedZone> {
        self.engine.learned_floors()
    }

    /// Whether the open window has everything.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.engine.complete()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::{Names, Recording};
    use attribution::engine::{FloorPolicy, IdleShare, SplitRules};
    use attribution::model::{MonotonicNanos, TickId};
    use std::time::Duration;

    #[test]
    fn a_window_that_is_closed_twice_is_recorded_once() {
        let settings = Settings {
            floor: FloorPolicy::None,
            idle_share: IdleShare::Node,
            split: SplitRules::default(),
            processes_max: 1,
            ended_keep: Duration::ZERO,
        };
        let folder = tempfile::TempDir::new().unwrap();
        let (recording, tap) = Recording::create(&folder.path().join("a"), Names::Kept).unwrap();
        let mut engine = Driven::new(Engine::new(settings, Arc::default()), Some(tap));
        let close = || Entry::Close {
            at: MonotonicNanos::ZERO,
            dropped: Vec::new(),
        };
        let mut closed = 0;
        for tick in 1..=3 {
            engine.call(Entry::Open {
                tick: TickId(tick),
                at: MonotonicNanos::ZERO,
                deadline: MonotonicNanos::ZERO,
            });
            closed += [close(), close()]
                .into_iter()
                .filter_map(|entry| engine.call(entry))
                .count();
        }
        assert_eq!(closed, 3);
        assert_eq!(recording.finish().unwrap().windows, 3);
    }
}
