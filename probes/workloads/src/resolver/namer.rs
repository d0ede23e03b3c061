// SPDX-License-Identifier: Apache-2.0
//! Who knows more about owners than their cgroups' paths say: names of containers, pods, virtual machines.

use attribution::model::{Identity, Tally, TallyKind, Usage};
use std::sync::Arc;
use std::time::Duration;

/// Adds to identities what it knows.
///
/// Called once for each usage report, on the resolver's thread, after owners were found; those that come later see what
/// those before have added. What it has to wait for (a server, a slow disk) it gets on a thread of its own; here it only
/// takes over what is there. It touches `identity` through [`Arc::make_mut`] and only when something is new, because every
/// change makes the attribution look at all of its accounts again.
pub trait Namer: Send {
    /// Takes a look at the newest report and at who owns what. `now` is `CLOCK_BOOTTIME`.
    fn name(&mut self, usage: &Usage, identity: &mut Arc<Identity>, now: Duration);

    /// Writes down what it counts of itself, the same counts in the same order each time.
    fn count(&self, _tallies: &mut Tallies) {}
}

/// What everybody who knows names counts, by probe.
#[derive(Clone, Debug, Default)]
pub struct Tallies(Vec<Tally>);

impl Tallies {
    /// Adds counts of one kind.
    pub fn add(&mut self, probe: &'static str, kind: TallyKind, counts: &[(&'static str, u64)]) {
        self.0.extend(counts.iter().map(|(what, count)| Tally {
            probe,
            what,
            kind,
            count: *count,
        }));
    }

    /// All of them.
    #[must_use]
    pub fn into_inner(self) -> Vec<Tally> {
        self.0
    }
}
