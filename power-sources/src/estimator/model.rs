// SPDX-License-Identifier: Apache-2.0
//! The built-in power model: owns the fitted constants, the assumptions about the parts of a machine, and
//! their errors.
//!
//! Pure and in integers (microwatts, parts per million), so there is no NaN, no negative and no absurd figure
//! to guard against. Knows no time and no package number.
//!
//! # Where the constants come from
//! Published SPECpower_ssj2008 results (spec.org, power_ssj2008; SPEC and SPECpower_ssj are trademarks of the
//! Standard Performance Evaluation Corporation): wall power at active idle and at ten loads, of 178 machines
//! of 2016 to 2022 with 68 CPU models. The fit, its form and its reasons are in the program that printed
//! every constant here:
//!
//! ```text
//! python3 power-sources/train/fit_builtin.py SHARED/data/specpower_ssj2008.csv
//! ```
//!
//! Cross-validated relative error of platform power, `|predicted / actual - 1|`, median and 90th percentile
//! (folds of CPU models, so no model was seen in training):
//!
//! | form     | all loads     | idle          | 50 % load     | full load     | machines of 2012-2015, never seen |
//! |----------|---------------|---------------|---------------|---------------|-----------------------------------|
//! | physical | 0.119 / 0.320 | 0.245 / 0.480 | 0.105 / 0.261 | 0.158 / 0.333 | 0.393 / 0.556                     |
//! | guest    | 0.196 / 0.541 | 0.268 / 0.595 | 0.138 / 0.512 | 0.269 / 0.829 | 0.693 / 0.769                     |
//!
//! Not in these figures: the machines were set up to score well (few modules, one supply, no disks), so
//! ordinary ones use more; the load is the benchmark's, not exactly the busy share of the CPUs; GPUs are not
//! known to the model.

use super::MachineDescription;
use super::parts::{Busy, Errors, MILLION, MachinePower, Parts, Power};
use attribution::model::{Microwatts, Permille};

const GIB: u128 = 1 << 30;

/// One socket with its share of the machine's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    /// Hardware threads (a guest's vCPUs); 1 at least.
    pub(super) threads: u32,
    /// Memory that belongs to it.
    pub(super) memory_bytes: u64,
}

/// What power grows with, beside memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    /// The square root of the socket's threads: the threads of one die share its uncore.
    RootOfThreads,
    /// Threads: a share of somebody else's machine.
    Threads,
}

/// A line in size and memory. No constant term, so that a small machine does not pay for a large one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    /// µW per unit of [`Size`].
    per_size: u64,
    /// µW per GiB.
    per_gib: u64,
}

/// A fitted form with its errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PowerModel {
    pub(super) name: &'static str,
    size: Size,
    idle: Line,
    dynamic: Line,
    /// Expected relative error (p90) of package, DRAM and platform.
    pub(super) package_error: Permille,
    pub(super) dram_error: Permille,
    pub(super) platform_error: Permille,
}

/// Share of dynamic power at 0 %, 10 % ... 100 % busy in parts per thousand, linear in between: the median
/// machine leaves its deep sleep states with the first load and clocks up with the last. Rises everywhere.
const SHAPE: [u32; 11] = [0, 184, 248, 312, 378, 442, 529, 612, 725, 859, 1_000];

/// Memory beyond this counts no more: the fit saw 0.4 to 19.2 GiB per thread, and the watts per GiB of
/// today's large modules are far lower.
const MOST_GIB_PER_THREAD: u128 = 20;

/// The parts of a machine's power. SPECpower meters the wall only, so these are assumptions, not fits.
/// Anchor: Barroso, Hölzle and Ranganathan, "The Datacenter as a Computer" (3rd edition, 2018), chapter 5: of
/// a two-socket server's power at high load the CPUs use about 61 % and DRAM about 18 %, and CPUs have the
/// wider dynamic range. At the median machine (idle is a fifth of full power) the four figures give 61 % and
/// 18 % under load.
const PACKAGE_OF_IDLE: u64 = 450;
const DRAM_OF_IDLE: u64 = 200;
const PACKAGE_OF_DYNAMIC: u64 = 650;
const DRAM_OF_DYNAMIC: u64 = 175;

/// A machine of its own.
///
/// Errors: platform is the 90th percentile at the worst load level (idle, where most nodes are); the parts
/// add the assumption's own error as independent, 30 % for package and 60 % for DRAM (module count varies
/// most): sqrt(0.48^2 + 0.3^2) and sqrt(0.48^2 + 0.6^2).
pub(super) const PHYSICAL: PowerModel = PowerModel {
    name: "physical",
    size: Size::RootOfThreads,
    idle: Line {
        per_size: 3_139_000,
        per_gib: 129_000,
    },
    dynamic: Line {
        per_size: 12_365_000,
        per_gib: 571_000,
    },
    platform_error: Permille(480),
    package_error: Permille(566),
    dram_error: Permille(768),
};

/// A virtual machine: its share of a host, in proportion to vCPUs and memory.
///
/// Errors: as above from the worst level (full load), and another 50 % because nobody has published how
/// guests share a host: sqrt(0.829^2 + 0.5^2) for platform, then the parts. Above 1 means: the order of
/// magnitude.
pub(super) const GUEST: PowerModel = PowerModel {
    name: "guest",
    size: Size::Threads,
    idle: Line {
        per_size: 322_000,
        per_gib: 176_000,
    },
    dynamic: Line {
        per_size: 849_000,
        per_gib: 1_061_000,
    },
    platform_error: Permille(968),
    package_error: Permille(1_014),
    dram_error: Permille(1_139),
};

impl PowerModel {
    /// The power of one socket when its threads are `busy`.
    pub(super) fn power(&self, socket: Socket, busy: Busy) -> Power {
        let full = self.line(self.dynamic, socket);
        let dynamic = full * u128::from(shape(busy)) / MILLION;
        Power {
            idle: split(self.line(self.idle, socket), PACKAGE_OF_IDLE, DRAM_OF_IDLE),
            dynamic: split(dynamic, PACKAGE_OF_DYNAMIC, DRAM_OF_DYNAMIC),
        }
    }

    /// In microwatts. Cannot overflow: 2^32 threads at 2^30 µW, and memory is bounded by threads.
    fn line(&self, line: Line, socket: Socket) -> u128 {
        let threads = u128::from(socket.threads.max(1));
        let per_size = u128::from(line.per_size);
        let by_size = match self.size {
            Size::RootOfThreads => (per_size * per_size * threads).isqrt(),
            Size::Threads => per_size * threads,
        };
        let bytes = u128::from(socket.memory_bytes).min(threads * MOST_GIB_PER_THREAD * GIB);
        by_size + u128::from(line.per_gib) * bytes / GIB
    }
}

/// Share of dynamic power in parts per million.
fn shape(busy: Busy) -> u32 {
    const STEP: u32 = 100_000;
    let mut from = 0;
    for (low, high) in SHAPE.iter().zip(SHAPE.iter().skip(1)) {
        if busy.ppm() <= from + STEP {
            // At most 1000 x 100 000: below 2^32.
            return low * 1_000 + (high - low) * (busy.ppm() - from) / 100;
        }
        from += STEP;
    }
    1_000_000
}

fn split(microwatts: u128, package_permille: u64, dram_permille: u64) -> Parts {
    let part = |permille: u64| microwatts * u128::from(permille) / 1_000;
    let (package, dram) = (part(package_permille), part(dram_permille));
    let watts = |microwatts: u128| Microwatts::from_micro(u64::try_from(microwatts).unwrap_or(u64::MAX));
    Parts {
        package: watts(package),
        dram: watts(dram),
        rest: watts(microwatts.saturating_sub(package + dram)),
    }
}

/// A fitted form for the sockets of one machine.
pub(super) struct Fitted {
    model: &'static PowerModel,
    sockets: Vec<Socket>,
    detail: String,
}

impl Fitted {
    pub(super) fn new(machine: &MachineDescription) -> Self {
        let model = if machine.guest { &GUEST } else { &PHYSICAL };
        let sockets = machine.sockets();
        let all: u64 = sockets.values().map(|threads| u64::from(*threads)).sum();
        let name = [&machine.vendor, &machine.model_name].map(|part| part.as_deref().unwrap_or("unknown"));
        Self {
            model,
            detail: format!(
                "built-in {} model for {} threads in {} packages, {} MiB ({})",
                model.name,
                all,
                sockets.len(),
                machine.memory_bytes >> 20,
                name.join(" ")
            ),
            sockets: sockets
                .values()
                .map(|threads| Socket {
                    threads: *threads,
                    memory_bytes: share(machine.memory_bytes, *threads, all),
                })
                .collect(),
        }
    }
}

impl MachinePower for Fitted {
    fn power(&self, socket: usize, busy: Busy) -> Power {
        let socket = self.sockets.get(socket);
        socket.map_or_else(Power::default, |socket| self.model.power(*socket, busy))
    }

    fn errors(&self) -> Errors {
        Errors {
            package: self.model.package_error,
            dram: self.model.dram_error,
            platform: self.model.platform_error,
        }
    }

    fn detail(&self) -> String {
        self.detail.clone()
    }
}

/// `whole x part / all`, rounded down.
fn share(whole: u64, part: u32, all: u64) -> u64 {
    let product = u128::from(whole) * u128::from(part);
    u64::try_from(product / u128::from(all.max(1))).unwrap_or(whole)
}
