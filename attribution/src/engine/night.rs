// SPDX-License-Identifier: Apache-2.0
//! A machine that slept: owns which energy is that of the night. Refuses to guess what a sleeping machine draws.
//!
//! Windows are by `CLOCK_MONOTONIC`, which stands still while a machine sleeps; a meter's counter may go on. What it counted then is
//! nobody's doing, so it is idle energy, and its power is that of the whole time. How much of a difference it was nobody has
//! seen: the part of the time. What is integrated or estimated has nothing of the night, because nobody looked.

use super::Engine;
use crate::model::{Microjoules, Provenance};
use std::time::Duration;

/// How long the machine slept, as far as one zone is concerned.
#[derive(Debug, Default)]
pub(super) struct Night {
    /// Since the newest reading: the next one tells its energy.
    unread: Duration,
    /// By the newest reading, as far as its meter counted meanwhile.
    read: Duration,
    /// By the reading that was paid last.
    paid: Duration,
}

impl Night {
    fn slept(&mut self, more: Duration) {
        self.unread = self.unread.saturating_add(more);
    }

    /// There is a newer reading, by a meter of this kind: how long the machine slept between it and the one before, as far as there is
    /// energy of that time in it.
    pub(super) fn read(&mut self, provenance: Provenance) -> Duration {
        let slept = match (std::mem::take(&mut self.unread), provenance) {
            (slept, Provenance::Counted) => slept,
            (_, Provenance::Integrated | Provenance::Estimated { .. }) => Duration::ZERO,
        };
        self.is_in_it(slept);
        slept
    }

    /// So much of a night is in the newest reading.
    pub(super) fn is_in_it(&mut self, slept: Duration) {
        self.read = self.read.saturating_add(slept);
    }

    /// All that is in readings so far.
    pub(super) const fn so_far(&self) -> Duration {
        self.read
    }

    /// Whether the machine slept between the reading that was paid last and the newest.
    pub(super) fn is_unpaid(&self) -> bool {
        self.read > self.paid
    }

    /// The newest reading is paid: how much of the time until it the machine slept.
    pub(super) fn pay(&mut self) -> Duration {
        self.read
            .saturating_sub(std::mem::replace(&mut self.paid, self.read))
    }
}

/// What of `energy` belongs to the night: its part of all the time.
pub(super) fn part(energy: Microjoules, awake: Duration, asleep: Duration) -> Microjoules {
    let all = awake.as_nanos().saturating_add(asleep.as_nanos());
    let part = u128::from(energy.as_micro()).saturating_mul(asleep.as_nanos());
    let part = part.checked_div(all).unwrap_or(0);
    Microjoules::from_micro(u64::try_from(part).unwrap_or(u64::MAX)).min(energy)
}

impl Engine {
    /// The machine has slept for `total` since the engine was made. Comes before the first reading that was made afterwards.
    pub fn on_sleep(&mut self, total: Duration) {
        let more = total.saturating_sub(self.slept);
        self.slept = self.slept.max(total);
        for zone in &mut self.zones {
            zone.night.slept(more);
        }
    }
}
