// SPDX-License-Identifier: Apache-2.0
//! Threads of our own that never rest. Unlike those of other processes their CPU clocks may be asked, which makes the
//! scheduler write down what it owes them: the truth of this moment, not of its last tick.

use crate::support::pin;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};

/// Ends the threads that burn, a failed bound included: their scope waits for them.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `measure` while a thread burns on each of `cpus`.
pub(crate) fn burning(cpus: &[u32], measure: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for cpu in cpus {
            let stop = &stop;
            scope.spawn(move || {
                pin(*cpu);
                while !stop.load(Ordering::Relaxed) {
                    black_box(cpu);
                }
            });
        }
        let _stop = StopAtEnd(&stop);
        measure();
    });
}
