// SPDX-License-Identifier: Apache-2.0
//! The clock of those who wait for names: it runs while somebody is there who would know, and stands still else. Pure.

use std::time::Duration;

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// As of the last look.
    pub(super) shows: Duration,
    looked: Duration,
    pub(super) runs: bool,
}

impl Clock {
    /// What held since the last look is what was found then.
    pub(super) fn pass(&mut self, runs: bool, now: Duration) {
        if self.runs {
            self.shows += now.saturating_sub(self.looked);
        }
        (self.looked, self.runs) = (now, runs);
    }
}
