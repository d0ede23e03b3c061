// SPDX-License-Identifier: Apache-2.0
//! One window of 1,000 processes, for `make budgets`, which counts its instructions.

#![expect(clippy::print_stdout, reason = "a program that names its cases")]

#[path = "../../integration-tests/budgets/collect.rs"]
mod collect;
#[path = "../benches/crowd/mod.rs"]
mod crowd;

use attribution::engine::SplitRules;
use collect::{Case, collected_by_callgrind, run};
use crowd::{settled, window};
use std::hint::black_box;

const TASKS: usize = 1_000;

const CASES: [Case; 4] = [
    ("window: all of 1,000 processes ran", || {
        one(1, SplitRules::default())
    }),
    ("window: a tenth of 1,000 processes ran", || {
        one(10, SplitRules::default());
    }),
    ("window: all of 1,000 processes ran, weights learned", || {
        let split = SplitRules {
            learned: true,
            ..SplitRules::default()
        };
        one(1, split);
    }),
    ("window: the snapshot of it", snapshot),
];

fn one(idleness: usize, split: SplitRules) {
    let (mut engine, mut crowd) = settled(TASKS, idleness, split);
    let reports = crowd.reports();
    collected_by_callgrind(&mut || {
        black_box(window(&mut engine, &reports));
    });
}

fn snapshot() {
    let (mut engine, mut crowd) = settled(TASKS, 1, SplitRules::default());
    let (mut paid, now) = window(&mut engine, &crowd.reports());
    collected_by_callgrind(&mut || {
        if let Some(paid) = paid.take() {
            black_box(engine.snapshot(paid, now));
        }
    });
}

fn main() -> Result<(), String> {
    run(&CASES)
}
