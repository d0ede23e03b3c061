// SPDX-License-Identifier: Apache-2.0
//! What a model says and how it is asked: the seam between the estimator, which integrates, and the models, which know
//! watts. Owns no figure.
//!
//! A model is made for one machine ([`super::MachineDescription`]) and then asked for one socket at a time, because each
//! socket has run for its own time at its own load. What a model of the whole machine says is shared between the sockets by
//! their hardware threads, so that sockets of equal load add up to the machine.

use attribution::model::{Microwatts, Permille};

/// Parts per million.
pub(super) const MILLION: u128 = 1_000_000;

/// How busy something is, in parts per million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Busy(u32);

impl Busy {
    /// `busy` out of `available`; all of it at most, and nothing of nothing.
    pub(super) fn share(busy: u128, available: u128) -> Self {
        let ppm = busy
            .saturating_mul(MILLION)
            .checked_div(available)
            .unwrap_or(0)
            .min(MILLION);
        Self(u32::try_from(ppm).unwrap_or(1_000_000))
    }

    /// 0 to 1 000 000.
    pub(super) const fn ppm(self) -> u32 {
        self.0
    }
}

/// Power of one socket and what hangs on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) package: Microwatts,
    pub(super) dram: Microwatts,
    /// Supply losses, fans, board, network, disks. The platform is the sum of the three, so no part exceeds it.
    pub(super) rest: Microwatts,
}

/// Idle power (at busy 0), and what is above it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Power {
    pub(super) idle: Parts,
    pub(super) dynamic: Parts,
}

/// Expected relative error of each figure: 90 % of cross-validated cases were nearer than this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Errors {
    pub(super) package: Permille,
    pub(super) dram: Permille,
    pub(super) platform: Permille,
}

/// A model that was made for one machine.
pub(super) trait MachinePower: Send {
    /// The power of a socket, counted as in [`super::MachineDescription::sockets`], when its threads are `busy`. Called at
    /// every tick: allocates nothing. `idle` does not depend on `busy`, and `dynamic` does not fall when `busy` rises.
    /// A socket that is not there uses nothing.
    fn power(&self, socket: usize, busy: Busy) -> Power;

    /// How wrong it may be.
    fn errors(&self) -> Errors;

    /// Which model and what it takes the machine for, for people.
    fn detail(&self) -> String;

    /// What was wrong with the model's own answer since this was asked last, so that another one was given.
    fn complaint(&self) -> Option<&'static str> {
        None
    }
}
