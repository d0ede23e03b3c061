// SPDX-License-Identifier: Apache-2.0
//! The built-in model as one of the models: owns how a machine's power is shared between package, DRAM and rest, and which share of a
//! host a guest pays. Pure and in integers once it was made, so there is no NaN, no negative and no absurd figure to guard against.
//!
//! # The parts
//! Published results meter the wall only, so these are assumptions, not fits (reasons and sources: `docs/estimator.md`):
//!
//! - package under full load: 90 % of its TDP, but 40 % to 75 % of the platform; idle: 45 % of the platform.
//! - DRAM under full load: 0.392 W/GiB, but 18 % of the platform at most; idle: half of that, but 20 % of the platform at most.
//! - in between both rise as the platform does.

use super::MachineDescription;
use super::complete::{Spec, complete};
use super::config::MachineConfig;
use super::machine::Given;
use super::parts::{Busy, Errors, MILLION, MachinePower, Parts, Power};
use super::platform::{Curve, LEVELS, PlatformModel, between};
use attribution::model::{Microwatts, Permille};

/// Shares of the platform, see the module's head.
const PACKAGE_OF_TDP: f64 = 0.9;
const PACKAGE_OF_FULL: (f64, f64) = (0.40, 0.75);
const PACKAGE_OF_IDLE: f64 = 0.45;
const DRAM_WATTS_PER_GIB: f64 = 0.392;
const DRAM_OF_FULL: f64 = 0.18;
const DRAM_OF_IDLE: f64 = 0.20;
/// Of what is above idle, together the whole: integer shares then never exceed it.
const MOST_PACKAGE_OF_DYNAMIC: f64 = 0.80;
const MOST_DRAM_OF_DYNAMIC: f64 = 0.20;

/// Errors of the assumptions, in thousandths, taken as independent of the platform's.
const PACKAGE_ASSUMED: u32 = 300;
const DRAM_ASSUMED: u32 = 600;
/// Nobody has published how guests share a host: at one moment they run different loads.
const SHARE_ASSUMED: u32 = 500;

/// Memory of an assumed host, in GiB for each hardware thread: as the guest is equipped, within what clouds sell.
const HOST_GIB_PER_THREAD: (f64, f64) = (1.0, 8.0);

/// What one machine uses, by load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct MachineCurve {
    /// µW at 0, 10 ... 100 %; in order.
    platform: [u64; LEVELS],
    /// Parts per million of idle power, and of what is above.
    package: (u32, u32),
    dram: (u32, u32),
    curve: Curve,
}

impl MachineCurve {
    pub(super) fn new(spec: &Spec, model: &PlatformModel) -> Self {
        let curve = model.curve(spec);
        let (idle, full) = (between(&curve.watts, 0.0), between(&curve.watts, 1.0));
        let dynamic = full - idle;
        let package_idle = PACKAGE_OF_IDLE * idle;
        let package_full = (PACKAGE_OF_TDP * curve.tdp_watts_per_chip * f64::from(spec.chips))
            .clamp(PACKAGE_OF_FULL.0 * full, PACKAGE_OF_FULL.1 * full);
        let memory = DRAM_WATTS_PER_GIB * spec.memory_gib;
        let dram_full = memory.min(DRAM_OF_FULL * full);
        let dram_idle = (memory / 2.0).min(DRAM_OF_IDLE * idle);
        let above = |full: f64, idle: f64, most: f64| ((full - idle) / dynamic).min(most);
        Self {
            platform: curve.watts.map(micro),
            package: (
                ppm(PACKAGE_OF_IDLE),
                ppm(above(package_full, package_idle, MOST_PACKAGE_OF_DYNAMIC)),
            ),
            dram: (
                ppm(dram_idle / idle),
                ppm(above(dram_full, dram_idle, MOST_DRAM_OF_DYNAMIC)),
            ),
            curve,
        }
    }

    /// The platform's power in µW when it is `busy`.
    fn platform(&self, busy: Busy) -> u64 {
        const STEP: u32 = 100_000;
        let mut from = 0;
        for (low, high) in self.platform.iter().zip(self.platform.iter().skip(1)) {
            if busy.ppm() <= from + STEP {
                let rise = u128::from(high - low) * u128::from(busy.ppm() - from) / u128::from(STEP);
                return low + u64::try_from(rise).unwrap_or(0);
            }
            from += STEP;
        }
        self.platform[LEVELS - 1]
    }

    /// `part` of `all` of this machine.
    pub(super) fn share(&self, busy: Busy, part: u64, all: u64) -> Power {
        let share = |microwatts: u64| u128::from(microwatts) * u128::from(part) / u128::from(all.max(1));
        let idle = self.platform[0];
        let dynamic = self.platform(busy) - idle;
        Power {
            idle: split(share(idle), self.package.0, self.dram.0),
            dynamic: split(share(dynamic), self.package.1, self.dram.1),
        }
    }

    /// What one of ten such machines is below of, and one of ten above.
    pub(super) fn p10_to_p90(&self, busy: f64) -> (f64, f64) {
        let watts = between(&self.curve.watts, busy);
        let at = |quantile: &[f64; LEVELS]| watts * between(quantile, busy).exp();
        (at(&self.curve.doubt.p10), at(&self.curve.doubt.p90))
    }

    /// How wrong its figures may be, with this beside the model's own error.
    fn errors(&self, beside: u32) -> Errors {
        let platform = together(self.curve.doubt.relative_error_permille, beside);
        Errors {
            package: Permille(together(platform, PACKAGE_ASSUMED)),
            dram: Permille(together(platform, DRAM_ASSUMED)),
            platform: Permille(platform),
        }
    }
}

/// Independent errors together.
fn together(one: u32, other: u32) -> u32 {
    let squares = u64::from(one) * u64::from(one) + u64::from(other) * u64::from(other);
    u32::try_from(squares.isqrt()).unwrap_or(u32::MAX)
}

/// Watts as µW; what is no such number is nothing.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "within 0 and 10^15 after the clamp, and NaN becomes 0"
)]
pub(super) fn micro(watts: f64) -> u64 {
    (watts * 1e6).clamp(0.0, 1e15) as u64
}

/// A share as parts per million; what is no share is nothing.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "within 0 and 10^6 after the clamp, and NaN becomes 0"
)]
fn ppm(share: f64) -> u32 {
    (share * 1e6).clamp(0.0, 1e6) as u32
}

fn split(microwatts: u128, package_ppm: u32, dram_ppm: u32) -> Parts {
    let part = |ppm: u32| microwatts * u128::from(ppm) / MILLION;
    let (package, dram) = (part(package_ppm), part(dram_ppm));
    let watts = |microwatts: u128| Microwatts::from_micro(u64::try_from(microwatts).unwrap_or(u64::MAX));
    Parts {
        package: watts(package),
        dram: watts(dram),
        rest: watts(microwatts.saturating_sub(package + dram)),
    }
}

/// The built-in model for one machine, or for the part of a host that a guest is.
pub(super) struct Builtin {
    curve: MachineCurve,
    /// Hardware threads of each socket (a guest's vCPUs).
    sockets: Vec<u32>,
    /// Hardware threads that the curve is of.
    all: u64,
    errors: Errors,
    detail: String,
}

impl Builtin {
    pub(super) fn new(machine: &MachineDescription, said: &MachineConfig, model: &PlatformModel) -> Self {
        let sockets: Vec<u32> = machine.sockets().into_values().collect();
        let own = machine.all_threads();
        let spec = if machine.guest {
            host(machine, said, model)
        } else {
            complete(&machine.given().with(said), model)
        };
        let curve = MachineCurve::new(&spec, model);
        let (all, beside, whose) = if machine.guest {
            let assumed = if said.threads > 0 {
                "estimator.machine"
            } else {
                "assumed; set estimator.machine"
            };
            let whose = format!(
                "; this guest of {own} vCPUs pays {own}/{} of that host ({assumed})",
                spec.threads
            );
            (u64::from(spec.threads), SHARE_ASSUMED, whose)
        } else {
            (u64::from(own), 0, String::new())
        };
        Self {
            errors: curve.errors(beside),
            detail: format!(
                "built-in model of {} ({}){whose}",
                describe(&spec, &curve),
                called(machine, said)
            ),
            curve,
            sockets,
            all,
        }
    }
}

/// The machine that a guest runs on: what the configuration says, else a usual server with the CPU that the guest sees.
fn host(guest: &MachineDescription, said: &MachineConfig, model: &PlatformModel) -> Spec {
    let vcpus = guest.all_threads();
    let given = guest.given().with(said);
    let spec = complete(&given, model);
    // A guest is no larger than its host.
    let larger = spec.threads < vcpus;
    let given = if larger {
        Given {
            chips: None,
            cores: None,
            threads: Some(vcpus),
            ..given
        }
    } else {
        given
    };
    let spec = if larger { complete(&given, model) } else { spec };
    let per_thread = guest
        .gib()
        .map_or(HOST_GIB_PER_THREAD.0 * 4.0, |gib| gib / f64::from(vcpus.max(1)));
    let assumed = per_thread.clamp(HOST_GIB_PER_THREAD.0, HOST_GIB_PER_THREAD.1) * f64::from(spec.threads);
    Spec {
        memory_gib: given.memory_gib.unwrap_or(assumed),
        ..spec
    }
}

/// What the model takes a machine for.
fn describe(spec: &Spec, curve: &MachineCurve) -> String {
    let tdp = match spec.tdp_watts_per_chip {
        Some(tdp) => format!("{tdp:.0} W TDP each"),
        None => format!("a TDP of {:.0} W each (guessed)", curve.curve.tdp_watts_per_chip),
    };
    format!(
        "{}: {} chips, {tdp}, {} cores, {} threads, {} MHz, {:.1} GiB",
        spec.generation
            .map_or("a CPU of unknown generation", |generation| generation.name),
        spec.chips,
        spec.cores,
        spec.threads,
        spec.base_mhz,
        spec.memory_gib
    )
}

fn called(machine: &MachineDescription, said: &MachineConfig) -> String {
    if !said.cpu.is_empty() {
        return said.cpu.clone();
    }
    machine
        .model_name
        .clone()
        .unwrap_or_else(|| "a CPU without a name".to_owned())
}

impl MachinePower for Builtin {
    fn power(&self, socket: usize, busy: Busy) -> Power {
        let threads = self.sockets.get(socket).copied().unwrap_or(0);
        self.curve.share(busy, u64::from(threads), self.all)
    }

    fn errors(&self) -> Errors {
        self.errors
    }

    fn detail(&self) -> String {
        self.detail.clone()
    }
}
