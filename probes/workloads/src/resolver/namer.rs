// SPDX-License-Identifier: Apache-2.0
//! Who knows more about owners than their cgroups' paths say: names of containers, pods, virtual machines.

use attribution::model::{Identity, Usage};
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
}
