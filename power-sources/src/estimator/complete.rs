// SPDX-License-Identifier: Apache-2.0
//! From what is known of a machine to everything that the model asks: owns the assumptions about what is not said. Every field of
//! [`Spec`] is finite and positive whatever was given.
//!
//! What is not said is taken from: the model file's list of CPUs (cores, clock and TDP of that CPU), else a usual chip of its generation
//! (`generations.rs`), else the usual chip of [`UNKNOWN`].

use super::generations::{Generation, Made, Vendor};
use super::machine::Given;
use super::names;
use super::platform::{KnownCpu, PlatformModel};

/// A machine as the model sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spec {
    /// The generation of its CPU.
    pub generation: Option<&'static Generation>,
    /// Whose CPU.
    pub vendor: Vendor,
    /// What it is made for.
    pub made: Made,
    /// The year of the generation.
    pub year: u16,
    /// Sockets.
    pub chips: u32,
    /// Cores of all sockets.
    pub cores: u32,
    /// Hardware threads of all sockets.
    pub threads: u32,
    /// Nominal clock.
    pub base_mhz: u32,
    /// Memory.
    pub memory_gib: f64,
    /// Thermal design power of one socket; `None`: the model has to guess.
    pub tdp_watts_per_chip: Option<f64>,
}

/// A CPU that nothing is known of: a server of 2019 to 2021 in the middle of the market.
const UNKNOWN: (u16, u32, u32, u32) = (2019, 24, 2_400, 2);

/// GiB of memory for each core, where nothing says how much there is: the middle of published results since 2012 is 2 to 4.
const GIB_PER_CORE: f64 = 4.0;

/// Bounds of what is believed.
const MOST_CHIPS: u32 = 256;
const MOST_THREADS: u32 = 65_536;

/// Fills in what was not said.
#[must_use]
pub fn complete(given: &Given, model: &PlatformModel) -> Spec {
    let name = given.cpu.as_deref().unwrap_or_default();
    let listed = model.cpu(&names::canonical(name));
    let (generation, made) = given.generation();
    let made = made.unwrap_or(Made::Server);
    let vendor = generation
        .map(|generation| generation.vendor)
        .or_else(|| names::read(name).vendor)
        .or_else(|| names::vendor(given.vendor.as_deref().unwrap_or_default()))
        .unwrap_or(Vendor::Intel);
    let (year, usual_cores, usual_mhz, threads_per_core) = generation.map_or(UNKNOWN, |of| {
        (of.year, of.cores, of.base_mhz, of.threads_per_core)
    });
    let usual_cores = listed.map_or(usual_cores, |cpu| cpu.cores).max(1);
    let (chips, cores, threads) = size(given, made, usual_cores, threads_per_core);
    Spec {
        generation,
        vendor,
        made,
        year: match generation {
            Some(_) => year,
            None => given.year.unwrap_or(year),
        },
        chips,
        cores,
        threads,
        base_mhz: given
            .base_mhz
            .or_else(|| listed.map(|cpu| cpu.base_mhz))
            .unwrap_or(usual_mhz)
            .clamp(100, 10_000),
        memory_gib: believable(given.memory_gib).unwrap_or_else(|| f64::from(cores) * GIB_PER_CORE),
        tdp_watts_per_chip: believable(given.tdp_watts_per_chip).or_else(|| listed.and_then(KnownCpu::tdp)),
    }
}

/// A finite, positive number, or nothing.
fn believable(number: Option<f64>) -> Option<f64> {
    number.filter(|number| number.is_finite() && *number > 0.0)
}

/// Sockets, cores and threads, each at least as many as the one before.
fn size(given: &Given, made: Made, usual_cores: u32, threads_per_core: u32) -> (u32, u32, u32) {
    let positive = |count: Option<u32>| {
        count
            .filter(|count| *count > 0)
            .map(|count| count.min(MOST_THREADS))
    };
    let (threads, cores) = (positive(given.threads), positive(given.cores));
    let cores = cores.or_else(|| threads.map(|threads| threads.div_ceil(threads_per_core.max(1))));
    let chips = positive(given.chips).unwrap_or_else(|| match (cores, made) {
        (_, Made::Client) => 1,
        (Some(cores), Made::Server) => cores.div_ceil(usual_cores),
        (None, Made::Server) => 2,
    });
    let chips = chips.min(MOST_CHIPS);
    let cores = cores
        .unwrap_or_else(|| usual_cores.saturating_mul(chips))
        .clamp(chips, MOST_THREADS);
    let threads = threads.unwrap_or_else(|| cores.saturating_mul(threads_per_core));
    (chips, cores, threads.clamp(cores, MOST_THREADS))
}
