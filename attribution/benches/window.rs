// SPDX-License-Identifier: Apache-2.0
//! What one window costs, as a table: `cargo bench -p attribution`.
//!
//! Two sockets with four zones each, processes in containers of twenty and pods, all counters counted: reports taken, CPU
//! time booked, zones split, every level charged. Writing the snapshot down is a line of its own, because it goes by rows
//! and not by processes. Times are those of a wall clock: on a machine that others use, look at the fastest.

mod crowd;

use attribution::engine::SplitRules;
use crowd::{settled, window};
use divan::{AllocProfiler, Bencher};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const TASKS: [usize; 3] = [1_000, 10_000, 50_000];

fn main() {
    divan::main();
}

fn windows(bencher: Bencher<'_, '_>, tasks: usize, idleness: usize, split: SplitRules) {
    let (mut engine, mut crowd) = settled(tasks, idleness, split);
    bencher
        .with_inputs(|| crowd.reports())
        .bench_local_values(|reports| {
            window(&mut engine, &reports);
            reports
        });
}

/// Everybody ran.
#[divan::bench(args = TASKS, sample_count = 60, sample_size = 1)]
fn all_ran(bencher: Bencher<'_, '_>, tasks: usize) {
    windows(bencher, tasks, 1, SplitRules::default());
}

/// One out of ten ran.
#[divan::bench(args = TASKS, sample_count = 60, sample_size = 1)]
fn a_tenth_ran(bencher: Bencher<'_, '_>, tasks: usize) {
    windows(bencher, tasks, 10, SplitRules::default());
}

/// Everybody ran, and weights are learned.
#[divan::bench(args = TASKS, sample_count = 60, sample_size = 1)]
fn all_ran_learned(bencher: Bencher<'_, '_>, tasks: usize) {
    let split = SplitRules {
        learned: true,
        ..SplitRules::default()
    };
    windows(bencher, tasks, 1, split);
}

/// The snapshot of it.
#[divan::bench(args = TASKS, sample_count = 60, sample_size = 1)]
fn snapshot(bencher: Bencher<'_, '_>, tasks: usize) {
    let (mut engine, mut crowd) = settled(tasks, 1, SplitRules::default());
    let (paid, now) = window(&mut engine, &crowd.reports());
    let Some(paid) = paid else { return };
    bencher.bench_local(|| engine.snapshot(paid, now));
}
