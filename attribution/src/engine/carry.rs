// SPDX-License-Identifier: Apache-2.0
//! Who ran while a zone was late, so that the late energy is paid by those who ran then.

use super::accounts::AccountId;
use super::rise::Rise;
use crate::model::MonotonicNanos;
use std::collections::BTreeMap;
use std::time::Duration;

/// Time for which CPU time is carried for a zone. A zone that stays away longer is paid for, when it is back, by nobody by
/// name: who ran an hour ago is no longer known, and a guess would be somebody's wrong bill. (Meters that are asked less
/// often than once a tick are carried for as a rule: every 5 minutes at most.)
const CARRIED: Duration = Duration::from_secs(3_600);
/// Accounts in a carry: 16,384 are 1.2 MiB. What does not fit weighs in as unknown.
const CARRIED_ACCOUNTS: usize = 16_384;

/// CPU time that waits for a zone's energy.
#[derive(Debug, Default)]
pub(crate) struct Carry {
    rises: BTreeMap<AccountId, Rise>,
    unknown: Rise,
    since: Option<MonotonicNanos>,
}

impl Carry {
    /// Adds the CPU time of a window that closes at `now`.
    pub(crate) fn add(
        &mut self,
        deltas: impl Iterator<Item = (AccountId, Rise)>,
        unknown: &Rise,
        now: MonotonicNanos,
    ) {
        let since = *self.since.get_or_insert(now);
        self.unknown.add(unknown);
        for (id, rise) in deltas {
            if self.rises.len() < CARRIED_ACCOUNTS || self.rises.contains_key(&id) {
                self.rises.entry(id).or_default().add(&rise);
            } else {
                self.unknown.add(&rise);
            }
        }
        if now.since(since) >= CARRIED {
            for rise in std::mem::take(&mut self.rises).values() {
                self.unknown.add(rise);
            }
        }
    }

    /// Takes out who pays now, together with those who ran in this window, and what belongs to nobody known.
    pub(crate) fn take(
        &mut self,
        deltas: impl Iterator<Item = (AccountId, Rise)>,
        nobody: &Rise,
    ) -> (BTreeMap<AccountId, Rise>, Rise) {
        let mut carry = std::mem::take(self);
        carry.unknown.add(nobody);
        // Room for this window's own accounts is not limited by the carry's bound: they are all in memory anyway.
        for (id, rise) in deltas {
            carry.rises.entry(id).or_default().add(&rise);
        }
        (carry.rises, carry.unknown)
    }

    /// Whether `id` waits here for a bill.
    pub(crate) fn holds(&self, id: AccountId) -> bool {
        self.rises.contains_key(&id)
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.rises.is_empty() && self.unknown == Rise::default()
    }
}
