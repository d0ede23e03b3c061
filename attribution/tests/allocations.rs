// SPDX-License-Identifier: Apache-2.0
//! A window in the steady state allocates nothing for the processes in it, however many there are. Its own program, because
//! the allocator that counts is a program's.

#[cfg(test)]
#[path = "../benches/crowd/mod.rs"]
mod crowd;

#[cfg(test)]
mod tests {
    use super::crowd::{settled, window};
    use attribution::engine::SplitRules;
    use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
    use std::alloc::System;

    #[global_allocator]
    static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

    /// The copy of the energy report that this program hands over.
    const OWN: usize = 1;

    /// Allocations and reallocations of a window: of several the fewest, because the thread that waits for this test may
    /// allocate meanwhile, too.
    fn allocations(tasks: usize, idleness: usize, split: &SplitRules) -> usize {
        let (mut engine, mut crowd) = settled(tasks, idleness, split.clone());
        let counts = (0..10).map(|_| {
            let reports = crowd.reports();
            let region = Region::new(ALLOCATOR);
            window(&mut engine, &reports);
            let change = region.change();
            change.allocations + change.reallocations
        });
        counts.min().unwrap_or(usize::MAX)
    }

    #[test]
    fn a_window_allocates_nothing_per_process_in_the_steady_state() {
        let learned = SplitRules {
            learned: true,
            ..SplitRules::default()
        };
        for split in [SplitRules::default(), learned] {
            for idleness in [1, 10] {
                for tasks in [100, 1_000, 5_000] {
                    let count = allocations(tasks, idleness, &split);
                    assert_eq!(count, OWN, "{tasks} tasks, 1 of {idleness} runs, {split:?}");
                }
            }
        }
    }
}
