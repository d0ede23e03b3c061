// SPDX-License-Identifier: Apache-2.0
//! What looking for machines counts of itself, and how the daemon says it.

use crate::resolver::Tallies;
use attribution::model::TallyKind;

/// Its name among the probes.
const PROBE: &str = "vms";

/// What it did since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VmCounters {
    /// Processes looked at.
    pub looks: u64,
    /// Of these: gone meanwhile, which happens to short processes every day.
    pub gone: u64,
    /// Of these: not for us to look at. A machine among them is not known as one.
    pub refused: u64,
    /// Looks put off to the next call by the bound for one call.
    pub looks_put_off: u64,
    /// Processes of machines found.
    pub found: u64,
}

impl VmCounters {
    pub(super) fn count(&self, tallies: &mut Tallies) {
        let done = [
            ("looks", self.looks),
            ("looks put off", self.looks_put_off),
            ("looks at processes that were gone", self.gone),
            ("machines' processes found", self.found),
        ];
        tallies.add(PROBE, TallyKind::Done, &done);
        tallies.add(PROBE, TallyKind::Lost, &[("looks refused", self.refused)]);
    }
}

pub(super) fn hold(held: &[(&'static str, usize)], tallies: &mut Tallies) {
    for (what, count) in held {
        let count = u64::try_from(*count).unwrap_or(u64::MAX);
        tallies.add(PROBE, TallyKind::Held, &[(what, count)]);
    }
}
