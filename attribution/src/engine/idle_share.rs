// SPDX-License-Identifier: Apache-2.0
//! Who pays the idle energy of a zone.

use super::accounts::{AccountId, Accounts};
use super::settle::split;
use super::{Bill, IdleShare, Work};
use crate::model::{Microjoules, TaskKey};

/// Idle energy of one zone in one window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Idle {
    pub(super) zone: usize,
    pub(super) amount: Microjoules,
    /// Whether the zone is a device, which has users of its own.
    pub(super) device: bool,
    /// Weight of those whom nobody knows, beside the weights in [`Work`].
    pub(super) unknown: u64,
}

impl Idle {
    /// Writes bills; returns what stays on the node. `living` are those who pay alike, where the rule asks for them.
    pub(super) fn share(
        self,
        rule: IdleShare,
        living: Option<&Vec<AccountId>>,
        work: &mut Work,
    ) -> Microjoules {
        let bill = |id, part| idle_bill(id, self.zone, part);
        match (rule, living) {
            (IdleShare::Usage, _) => split(work, self.amount, self.unknown, bill),
            (IdleShare::Equal, Some(living)) => {
                // Nobody pays for a device that they did not use, not even its idle energy.
                if !self.device {
                    work.ids.clone_from(living);
                }
                work.weights.clear();
                work.weights.resize(work.ids.len(), 1);
                split(work, self.amount, 0, bill)
            }
            _ => self.amount,
        }
    }
}

/// One living account per process, in a fixed order. Softirqs have a row like a process but are none.
pub(super) fn one_account_per_process(accounts: &Accounts) -> Vec<AccountId> {
    let mut living: Vec<(TaskKey, AccountId)> = accounts
        .iter()
        .filter(|(_, account)| account.lives())
        .filter_map(|(id, account)| Some((account.task?, id)))
        .filter(|(task, _)| *task != TaskKey::SOFTIRQ)
        .collect();
    living.sort_unstable();
    living.dedup_by_key(|(task, _)| *task);
    living.into_iter().map(|(_, id)| id).collect()
}

const fn idle_bill(id: AccountId, zone: usize, idle: Microjoules) -> Bill {
    Bill {
        idle,
        ..Bill::nothing(id, zone)
    }
}
