// SPDX-License-Identifier: Apache-2.0
//! Which cgroups do not count from zero.

use crate::cgroup::{self, Accounting, WalkOutcome};
use attribution::model::CgroupId;
use std::collections::HashSet;
use std::ops::ControlFlow;

/// Cgroups noted: twice as many as the kernel can have, a megabyte or two.
const NOTED: usize = 2 * 65_536;

/// Cgroups that were there at `open`, and those of which something was charged that could not be explained to them for want
/// of room. `None` when not all could be listed or there came to be more than [`NOTED`], each of which was counted when it
/// found no room: then none is new.
pub(super) struct Noted(Option<HashSet<CgroupId>>);

impl Noted {
    /// Those that are there now.
    pub(super) fn at_open(accounting: Option<&Accounting>) -> Self {
        let mut noted = HashSet::new();
        let outcome = accounting.map_or_else(WalkOutcome::default, |found| {
            cgroup::walk(&found.mount, &mut |id, _| {
                noted.insert(id);
                ControlFlow::Continue(())
            })
        });
        let complete = !outcome.truncated && outcome.unreadable == 0;
        Self(complete.then_some(noted))
    }

    /// Whether all that its counter has is from after `open` and explained, or left to be.
    pub(super) fn is_new(&self, id: CgroupId) -> bool {
        self.0.as_ref().is_some_and(|noted| !noted.contains(&id))
    }

    /// It is not new any more.
    pub(super) fn add(&mut self, id: CgroupId) {
        if let Some(noted) = &mut self.0 {
            noted.insert(id);
            if noted.len() > NOTED {
                self.0 = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_too_many_found_no_room_none_is_new() {
        let mut noted = Noted::at_open(None);
        let bound = u64::try_from(NOTED).unwrap();
        (0..bound).for_each(|id| noted.add(CgroupId(id)));
        assert!(noted.is_new(CgroupId(bound + 1)) && !noted.is_new(CgroupId(1)));
        noted.add(CgroupId(bound));
        assert!(!noted.is_new(CgroupId(bound + 1)));
    }
}
