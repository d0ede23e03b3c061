// SPDX-License-Identifier: Apache-2.0
//! One question about one machine, without a daemon: what it draws when it is so busy. Owns nothing but the way through the model.

use super::builtin::{MachineCurve, micro};
use super::complete::complete;
use super::machine::Given;
use super::parts::{Busy, MILLION};
use super::platform::PlatformModel;
use attribution::model::Microwatts;

/// Mean power of a machine at one load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prediction {
    /// The whole machine.
    pub platform: Microwatts,
    /// One of ten such machines draws less.
    pub p10: Microwatts,
    /// One of ten such machines draws more.
    pub p90: Microwatts,
    /// All its CPU packages.
    pub package: Microwatts,
    /// All its memory.
    pub dram: Microwatts,
}

/// What a machine draws when it is `busy` (0 to 1; what is outside counts as the nearest end).
#[must_use]
pub fn predict(given: &Given, busy: f64) -> Prediction {
    let model = PlatformModel::builtin();
    let curve = MachineCurve::new(&complete(given, model), model);
    let busy = busy.clamp(0.0, 1.0);
    let power = curve.share(Busy::share(u128::from(micro(busy)), MILLION), 1, 1);
    let (package, dram) = (
        power.idle.package + power.dynamic.package,
        power.idle.dram + power.dynamic.dram,
    );
    let platform = package + dram + power.idle.rest + power.dynamic.rest;
    let (p10, p90) = curve.p10_to_p90(busy);
    let watts = |watts: f64| Microwatts::from_micro(micro(watts));
    Prediction {
        platform,
        p10: watts(p10).min(platform),
        p90: watts(p90).max(platform),
        package,
        dram,
    }
}
