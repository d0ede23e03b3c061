// SPDX-License-Identifier: Apache-2.0
//! What a socket draws, and for whom: owns the machine's figures and the definition of truth.
//!
//! Pure functions over who runs where at which frequency. Knows no time, no scheduler, no meter. Sources of the figures
//! and the argument for the truth are in `docs/lab.md`.

use crate::tasks::{Work, WorkloadId};

/// Figures of the simulated machine. Powers in watts, per socket where nothing else is said.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Sockets.
    pub sockets: usize,
    /// Cores of a socket; each has two hardware threads.
    pub cores: usize,
    /// A package while all its cores sleep: the true idle floor.
    pub package_idle: f64,
    /// Mesh, last-level cache and memory controller once any core is awake: a shared cost.
    pub uncore_awake: f64,
    /// The memory of a socket without accesses.
    pub dram_idle: f64,
    /// Clock tree and leakage of a core that is awake, in W per GHz·V²: shared by its two hardware threads.
    pub core_awake: f64,
    /// Switching of one thread that runs alone with activity 1, in W per GHz·V².
    pub switching: f64,
    /// Speed of each of two hardware threads that share a core, relative to running alone.
    pub smt_rate: f64,
    /// Energy of a miss in the package (mesh and memory controller), in joules.
    pub package_per_miss: f64,
    /// Energy of a miss in memory, in joules.
    pub dram_per_miss: f64,
    /// Highest frequency in GHz by number of awake cores of the socket: (up to so many, GHz).
    pub turbo: &'static [(usize, f64)],
}

/// The machine of every scenario: like a two-socket server with Xeon Gold 6130.
pub const SERVER: Machine = Machine {
    sockets: 2,
    cores: 16,
    package_idle: 20.0,
    uncore_awake: 10.0,
    dram_idle: 4.0,
    core_awake: 0.74,
    switching: 1.11,
    smt_rate: 0.65,
    package_per_miss: 8e-9,
    dram_per_miss: 15e-9,
    turbo: &[(2, 3.7), (4, 3.5), (8, 3.4), (12, 3.1), (16, 2.8)],
};

impl Machine {
    /// Hardware threads of a socket.
    #[must_use]
    pub const fn threads(&self) -> usize {
        self.cores * 2
    }

    /// Hardware threads in all. Thread `2c` and `2c + 1` of a socket share its core `c`.
    #[must_use]
    pub const fn cpus(&self) -> usize {
        self.sockets * self.threads()
    }

    fn turbo(&self, awake: usize) -> f64 {
        let step = self.turbo.iter().find(|(most, _)| awake <= *most);
        step.or_else(|| self.turbo.last()).map_or(1.0, |(_, ghz)| *ghz)
    }
}

/// Core voltage at a frequency in GHz: a straight line, 0.79 V at 1.2 GHz and 1.09 V at 3.7 GHz.
#[must_use]
pub fn volts(ghz: f64) -> f64 {
    0.12f64.mul_add(ghz, 0.65)
}

/// How shared costs are split in the truth that rules are held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// Equally among the hardware threads that use the shared thing: the Shapley value with threads as players.
    Threads,
    /// Equally among the workloads that use it: the Shapley value with workloads as players.
    Workloads,
    /// In proportion to what each uses beside it.
    Proportional,
}

impl Truth {
    /// All, the one of the table first.
    pub const ALL: [Self; 3] = [Self::Threads, Self::Workloads, Self::Proportional];
}

/// Who runs on a hardware thread.
#[derive(Clone, Copy, Debug)]
pub struct Running {
    /// What kind of work it is.
    pub work: Work,
    /// Whose it is.
    pub workload: WorkloadId,
}

/// What one hardware thread does and costs while nothing changes: rates per second.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// Hardware thread within the socket.
    pub slot: usize,
    /// Whose thread runs there.
    pub workload: WorkloadId,
    /// Whether its sibling runs, too.
    pub overlaps: bool,
    /// Cycles that are not halted.
    pub cycles: f64,
    /// Instructions.
    pub instructions: f64,
    /// Misses of the last-level cache.
    pub misses: f64,
    /// True dynamic power in the package by [`Truth::ALL`].
    pub package: [f64; 3],
    /// True dynamic power in memory.
    pub dram: f64,
    /// What it draws itself, without shares of shared things.
    own: f64,
}

/// A socket while nothing changes.
#[derive(Clone, Debug, Default)]
pub struct SocketPower {
    /// Package above its floor, in watts.
    pub package: f64,
    /// Memory above its floor, in watts.
    pub dram: f64,
    /// Those who run.
    pub rates: Vec<Rates>,
}

/// Fills `power` with what the socket draws while `slots` run. `pinned` holds the GHz of cores whose frequency is fixed;
/// the others run as fast as the turbo table lets them.
pub fn solve(machine: &Machine, slots: &[Option<Running>], pinned: &[Option<f64>], power: &mut SocketPower) {
    power.package = 0.0;
    power.dram = 0.0;
    power.rates.clear();
    let awake = slots
        .chunks(2)
        .filter(|core| core.iter().any(Option::is_some))
        .count();
    if awake == 0 {
        return;
    }
    let turbo = machine.turbo(awake);
    for (core, threads) in slots.chunks(2).enumerate() {
        let ghz = pinned.get(core).copied().flatten().unwrap_or(turbo);
        solve_core(machine, ghz, core, threads, power);
    }
    power.package += machine.uncore_awake;
    share(machine.uncore_awake, &mut power.rates);
}

fn solve_core(
    machine: &Machine,
    ghz: f64,
    core: usize,
    threads: &[Option<Running>],
    power: &mut SocketPower,
) {
    let first = power.rates.len();
    let overlaps = threads.iter().flatten().count() == 2;
    let rate = if overlaps { machine.smt_rate } else { 1.0 };
    let square = ghz * volts(ghz).powi(2);
    for (thread, running) in threads.iter().enumerate() {
        let Some(Running { work, workload }) = running else {
            continue;
        };
        let cycles = ghz * 1e9;
        let instructions = cycles * work.ipc * rate;
        let misses = instructions * work.misses_per_kilo / 1_000.0;
        let own =
            (machine.switching * work.activity * square).mul_add(rate, misses * machine.package_per_miss);
        let dram = misses * machine.dram_per_miss;
        power.package += own;
        power.dram += dram;
        power.rates.push(Rates {
            slot: core * 2 + thread,
            workload: *workload,
            overlaps,
            cycles,
            instructions,
            misses,
            package: [own; 3],
            dram,
            own,
        });
    }
    if power.rates.len() > first {
        let shared = machine.core_awake * square;
        power.package += shared;
        share(shared, &mut power.rates[first..]);
    }
}

/// Splits what all of `users` share, in each of the three ways.
fn share(shared: f64, users: &mut [Rates]) {
    let count = users.len() as f64;
    let own: f64 = users.iter().map(|rates| rates.own).sum();
    let mut present: Vec<(WorkloadId, f64)> = Vec::with_capacity(4);
    for rates in users.iter() {
        match present
            .iter_mut()
            .find(|(workload, _)| *workload == rates.workload)
        {
            Some((_, threads)) => *threads += 1.0,
            None => present.push((rates.workload, 1.0)),
        }
    }
    let workloads = present.len() as f64;
    for rates in users.iter_mut() {
        let threads = present.iter().find(|(workload, _)| *workload == rates.workload);
        let threads = threads.map_or(1.0, |(_, threads)| *threads);
        rates.package[0] += shared / count;
        rates.package[1] += shared / workloads / threads;
        rates.package[2] += shared * rates.own / own;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::{COMPUTE, MEMORY};

    fn on(work: Work, workload: usize) -> Option<Running> {
        Some(Running {
            work,
            workload: WorkloadId(workload),
        })
    }

    fn socket(slots: &[Option<Running>]) -> SocketPower {
        let mut all = vec![None; SERVER.threads()];
        all[..slots.len()].copy_from_slice(slots);
        let mut power = SocketPower::default();
        solve(&SERVER, &all, &[], &mut power);
        power
    }

    #[test]
    fn every_truth_adds_up_to_what_the_socket_draws() {
        let power = socket(&[on(COMPUTE, 0), on(MEMORY, 1), None, on(MEMORY, 0), on(COMPUTE, 2)]);
        for truth in 0..3 {
            let sum: f64 = power.rates.iter().map(|rates| rates.package[truth]).sum();
            assert!((sum - power.package).abs() < 1e-9, "{sum} {}", power.package);
        }
    }

    #[test]
    fn a_second_thread_on_a_core_adds_as_little_as_measured() {
        let [alone, both] = [
            socket(&[on(COMPUTE, 0)]),
            socket(&[on(COMPUTE, 0), on(COMPUTE, 1)]),
        ];
        let core = |power: &SocketPower| power.package - SERVER.uncore_awake;
        let ratio = core(&both) / core(&alone);
        assert!((1.1..1.2).contains(&ratio), "{ratio}");
        let speed = |power: &SocketPower| power.rates.iter().map(|rates| rates.instructions).sum::<f64>();
        assert!((speed(&both) / speed(&alone) - 1.3).abs() < 1e-9);
    }

    #[test]
    fn a_full_socket_draws_about_its_tdp() {
        let power = socket(&vec![on(COMPUTE, 0); SERVER.threads()]);
        let package = power.package + SERVER.package_idle;
        assert!((115.0..130.0).contains(&package), "{package}");
    }

    #[test]
    fn a_sleeping_socket_draws_its_floor() {
        assert!(socket(&[]).package.abs() < 1e-12);
    }
}
