// SPDX-License-Identifier: Apache-2.0
//! The floor by example, by property, and on simulated machines whose floor is known.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "figures of tests are small"
)]

mod examples;
mod properties;
mod published;
mod saved;
mod simulated;

use super::*;

pub(super) const SECOND: Duration = Duration::from_secs(1);

/// Of one CPU and one second.
pub(super) fn busy(share: f64) -> BusyTime {
    let busy = (share.clamp(0.0, 1.0) * 1e9).round() as u64;
    BusyTime {
        busy,
        idle: 1_000_000_000 - busy,
        cpus: 1,
    }
}

pub(super) fn joules(joules: f64) -> Microjoules {
    Microjoules::from_micro((joules * 1e6).round() as u64)
}

/// One second at this power and busy share.
pub(super) fn learn(floor: &mut Floor, watts: f64, share: f64) {
    floor.learn(joules(watts), SECOND, busy(share));
}

pub(super) fn now(floor: &Floor) -> InForce {
    floor.in_force(&FloorPolicy::Measured, Component::Package)
}

pub(super) fn watts(floor: &Floor) -> Option<f64> {
    now(floor).power.map(|power| power.as_micro() as f64 / 1e6)
}

/// Within `percent` of `expected`.
#[track_caller]
pub(super) fn near(floor: &Floor, expected: f64, percent: f64) {
    let found = now(floor);
    let watts = watts(floor).expect("a floor");
    assert!(
        (watts - expected).abs() <= expected * percent / 100.0,
        "{watts} W instead of {expected}: {found:?}"
    );
}
