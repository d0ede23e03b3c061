// SPDX-License-Identifier: Apache-2.0
//! What the estimator costs the thread that asks, as a table: `cargo bench -p power-sources --bench estimate`. Nothing here fails for
//! being slow.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a program that prints a table"
)]

use attribution::model::{CpuNanos, Microwatts, MonotonicNanos, PackageId, PackageTime};
use power_sources::estimator::{COMPONENTS, Estimator, EstimatorConfig, Given, MachineDescription, predict};
use rustix::time::{ClockId, clock_gettime};

/// Questions of each kind.
const ASKED: u64 = 20_001;

fn main() {
    println!("| estimator | us, median | 99th percentile |");
    println!("|---|---|---|");
    let machine = MachineDescription {
        packages: vec![(PackageId(0), 128), (PackageId(1), 128)],
        memory_bytes: 512 << 30,
        model_name: Some("AMD EPYC 7763 64-Core Processor".to_owned()),
        ..MachineDescription::default()
    };
    let mut estimator = Estimator::new(&machine, &EstimatorConfig::default(), COMPONENTS);
    measure("a tick of 2 sockets: 2 questions, 5 zones of an answer", |tick| {
        let busy = CpuNanos::from_nanos(64_000_000_000 * tick);
        let row = |package| PackageTime {
            package: PackageId(package),
            cpus: 128,
            busy,
            idle: CpuNanos::ZERO,
        };
        let now = MonotonicNanos::from_nanos(1_000_000_000 * (tick + 1));
        assert_eq!(estimator.observe(now, &[row(0), row(1)]).zones.len(), 5);
    });
    let given = Given {
        cpu: Some("AMD EPYC 7763".to_owned()),
        chips: Some(2),
        ..Given::default()
    };
    measure("a machine from its name to watts", |_| {
        assert!(predict(&given, 0.5).platform > Microwatts::ZERO);
    });
}

fn measure(what: &str, mut ask: impl FnMut(u64)) {
    let mut costs: Vec<u64> = (0..ASKED)
        .map(|round| {
            let before = time();
            ask(round);
            time() - before
        })
        .collect();
    costs.sort_unstable();
    let micros = |nanos: u64| format!("{}.{}", nanos / 1_000, nanos % 1_000 / 100);
    let (median, most) = (costs[costs.len() / 2], costs[costs.len() * 99 / 100]);
    println!("| {what} | {} | {} |", micros(median), micros(most));
}

fn time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap()
}
