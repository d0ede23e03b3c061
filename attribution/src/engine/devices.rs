// SPDX-License-Identifier: Apache-2.0
//! Who used a device (a GPU): the only ones who pay for it.
//!
//! A device's energy and use come in one reading, so a reading that is late or lost costs nothing: the next one says both
//! again, and the account of a process that the device knows is held until a reading does not list it any more, or it has
//! been dead for [`FAREWELLS`] payments: drivers list the dead for days at times. What the device was in use beyond its
//! known users, and users whom no account is known for, weigh in as nobody: their part of the energy is unattributed, and
//! never spread over others.

use super::accounts::{AccountId, Accounts, Delta};
use super::idle::BusyTime;
use super::zones::ZoneState;
use crate::model::{Component, DeviceUse, MonotonicNanos, ZoneReading};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Time for which the dead are remembered for a device that is late. Sources know nothing about use in a longer gap.
const AWAY: Duration = Duration::from_secs(180);
/// Users of one device. A driver has a few hundred contexts at most; what a source lists beyond this weighs in as nobody.
const MOST_USERS: usize = 4_096;
/// Dead processes that are remembered while a reading is late: 16,384 are 100 KiB. Beyond, their use is nobody's.
const MOST_DEAD: usize = 16_384;
/// Payments after which a process that is gone can have used nothing more: its last use may come in the reading after that
/// of its death, and be paid in the window after that.
const FAREWELLS: u8 = 2;

#[derive(Clone, Copy, Debug, Default)]
struct User {
    /// As the newest reading has it.
    used: u64,
    /// Used and not paid yet.
    owed: u64,
    listed: bool,
    account: Option<AccountId>,
    /// Payments since the process is gone, and whether it is.
    farewells: u8,
    gone: bool,
}

/// One device since it was first heard of.
#[derive(Debug, Default)]
pub(crate) struct Device {
    users: BTreeMap<u32, User>,
    /// What users beyond [`MOST_USERS`] add up to.
    beyond: u64,
    busy: Option<u64>,
    /// Died while a reading was late.
    dead: BTreeSet<AccountId>,
    /// Whether a reading told of use, ever; and whether one since the last payment did not.
    is_met: bool,
    is_blind: bool,
    /// In use and not paid yet, whoever it was.
    owed: u64,
    /// Cumulative, for the idle floor.
    in_use: u64,
}

impl Device {
    /// A device as its first reading has it: what it was used before is nobody's debt here.
    pub(crate) fn new(reading: Option<&DeviceUse>) -> Self {
        let mut device = Self::default();
        device.take(reading, Duration::ZERO);
        device
    }

    /// Nothing is owed for what was used until now: there is no energy to pay for it with.
    pub(crate) fn forgive(&mut self) {
        self.owed = 0;
        self.is_blind = false;
        self.users.values_mut().for_each(|user| user.owed = 0);
    }

    /// Whether all readings since the last payment told of use. A device that does not tell may be at rest or at work.
    pub(crate) const fn tells(&self) -> bool {
        !self.is_blind
    }

    /// Enters a newer reading, `elapsed` after the one before; `None` is one that does not tell of use.
    pub(crate) fn take(&mut self, reading: Option<&DeviceUse>, elapsed: Duration) {
        let Some(reading) = reading else {
            self.is_blind = true;
            return;
        };
        let elapsed = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        self.users.values_mut().for_each(|user| user.listed = false);
        let (mut together, mut beyond) = (0_u64, 0_u64);
        for row in &reading.users {
            let used = row.used.as_nanos();
            if !self.users.contains_key(&row.pid) && self.users.len() >= MOST_USERS {
                beyond = beyond.saturating_add(used);
                continue;
            }
            let user = self.users.entry(row.pid).or_default();
            // A total that went back belongs to another process of that pid: all of it is new, and it is no older than
            // the reading before.
            let step = used.checked_sub(user.used).unwrap_or_else(|| used.min(elapsed));
            user.used = used;
            user.owed = user.owed.saturating_add(step);
            user.listed = true;
            together = together.saturating_add(step);
        }
        together = together.saturating_add(beyond.saturating_sub(self.beyond));
        self.beyond = beyond;
        let busy = reading.busy.map(|busy| busy.as_nanos());
        let stepped = match (busy, self.busy) {
            (Some(now), Some(then)) => now.saturating_sub(then),
            _ => 0,
        };
        self.busy = busy;
        self.owed = self.owed.saturating_add(stepped.max(together));
        if !std::mem::replace(&mut self.is_met, true) {
            self.forgive();
        }
    }

    /// Finds the accounts of users: the one of a pid that ran most in this window, else one that lives, else the newest.
    pub(crate) fn find_accounts(&mut self, accounts: &Accounts, deltas: &[Delta]) {
        if self.users.is_empty() {
            return;
        }
        let mut ran: BTreeMap<u32, (u64, AccountId)> = BTreeMap::new();
        for delta in deltas {
            let task = accounts.get(delta.id).and_then(|account| account.task);
            if let Some(task) = task.filter(|task| self.users.contains_key(&task.tgid)) {
                let candidate = (delta.rise.time, delta.id);
                let best = ran.entry(task.tgid).or_insert(candidate);
                *best = candidate.max(*best);
            }
        }
        for (pid, (_, id)) in ran {
            if let Some(user) = self.users.get_mut(&pid) {
                user.account = Some(id);
            }
        }
        let lives = |id: AccountId| accounts.get(id).is_some_and(super::accounts::Account::lives);
        if self.users.values().all(|user| user.account.is_some_and(lives)) {
            return;
        }
        let mut best: BTreeMap<u32, (bool, u64, AccountId)> = BTreeMap::new();
        for (id, account) in accounts.iter() {
            let Some(task) = account.task.filter(|task| self.users.contains_key(&task.tgid)) else {
                continue;
            };
            let candidate = (account.lives(), task.start_ticks, id);
            let entry = best.entry(task.tgid).or_insert(candidate);
            *entry = candidate.max(*entry);
        }
        for (pid, user) in &mut self.users {
            if !user.account.is_some_and(lives)
                && let Some((_, _, id)) = best.get(pid)
            {
                user.account = Some(*id);
            }
            let account = user.account.and_then(|id| accounts.get(id));
            user.gone = account.is_some_and(|account| account.gone);
        }
    }

    /// The reading is late: who died in this window may turn out to have used the device.
    pub(crate) fn remember(&mut self, dead: impl Iterator<Item = AccountId>) {
        let room = MOST_DEAD.saturating_sub(self.dead.len());
        self.dead.extend(dead.take(room));
    }

    /// Nobody waits for a reading any more.
    pub(crate) fn give_up(&mut self) {
        self.dead.clear();
        self.users.values_mut().for_each(|user| user.account = None);
    }

    /// Who pays for the time since the last payment, in nanoseconds of use, and how much of it was nobody's. `elapsed` is
    /// the time since then: no device is in use for longer. Users are paid for afterwards, and those who left forgotten.
    pub(crate) fn take_weights(
        &mut self,
        elapsed: Duration,
        ids: &mut Vec<AccountId>,
        weights: &mut Vec<u64>,
    ) -> u64 {
        ids.clear();
        weights.clear();
        let mut together = 0_u64;
        let mut nameless = 0_u64;
        for user in self.users.values_mut() {
            let owed = std::mem::take(&mut user.owed);
            together = together.saturating_add(owed);
            match user.account {
                Some(_) if owed == 0 => {}
                Some(id) => {
                    ids.push(id);
                    weights.push(owed);
                }
                None => nameless = nameless.saturating_add(owed),
            }
            user.farewells = if user.gone {
                user.farewells.saturating_add(1)
            } else {
                0
            };
            if user.farewells >= FAREWELLS {
                user.account = None;
            }
        }
        self.is_blind = false;
        self.dead.clear();
        let in_use = std::mem::take(&mut self.owed);
        let most = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        self.in_use = self.in_use.saturating_add(in_use.min(most));
        self.users.retain(|_, user| user.listed);
        nameless.saturating_add(in_use.saturating_sub(together))
    }

    /// Time in use and not, for the idle floor, as if the next payment were made at `at`, `elapsed` after the last.
    pub(crate) fn busy_time(&self, at: MonotonicNanos, elapsed: Duration) -> BusyTime {
        let most = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        let busy = self.in_use.saturating_add(self.owed.min(most));
        BusyTime {
            busy,
            idle: at.as_nanos().saturating_sub(busy),
            cpus: 1,
        }
    }

    /// Whether `id` is the account of a user.
    pub(crate) fn holds(&self, id: AccountId) -> bool {
        self.dead.contains(&id) || self.users.values().any(|user| user.account == Some(id))
    }
}

/// A GPU is a device also where nothing tells who used it: then nobody by name pays for it.
pub(super) fn device_of(reading: &ZoneReading) -> Option<Device> {
    let is_device = reading.device.is_some() || reading.zone.component == Component::Gpu;
    is_device.then(|| Device::new(reading.device.as_ref()))
}

impl ZoneState {
    /// Finds the accounts of those who used the device. None are held for one that has been away too long.
    pub(crate) fn find_users(&mut self, accounts: &Accounts, deltas: &[Delta], now: MonotonicNanos) {
        let (waits, away) = (!self.is_due(), now.since(self.latest.at));
        // Whoever used it owes nothing to one that is not read, and nothing to one that begins anew.
        let is_off = self.paid.is_none() && self.debt.is_none() && (self.leaves || self.awaits);
        let Some(device) = &mut self.device else { return };
        if is_off || (waits && away >= AWAY) {
            device.give_up();
            return;
        }
        device.find_accounts(accounts, deltas);
        if waits {
            device.remember(accounts.left_ids());
        }
    }
}
