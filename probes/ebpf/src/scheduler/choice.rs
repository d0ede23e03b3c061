// SPDX-License-Identifier: Apache-2.0
//! Which of the two accountants of CPU time to take: the cheaper one that gives what the machine can count.
//!
//! Pure: plain values in, a verdict with its reason out.

use std::fmt;
use std::time::Duration;

/// What `sched_switch` takes for a context switch, in nanoseconds, without the clock reads of the statistics that
/// measured it (`benches/switch.rs`: 19 with warm caches, 101 with cold ones). Its drain, which reads only who ran, is left
/// out, in its favour: it gives more.
const SWITCH_NS: u64 = 100;

/// What a pass takes for a thread, in the kernel and in user space, in nanoseconds (`benches/scheduler.rs`: 320 with
/// 1,000 threads, 550 with 10,000, which no longer fit the caches).
const THREAD_NS: u64 = 550;

/// The scheduler's figure of a running thread is up to 10 ms old. In a tick of this length that is 2 %.
const SHORTEST_TICK: Duration = Duration::from_millis(500);

/// What is known of the machine, and what is wanted of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// CPU packages.
    pub packages: u32,
    /// Whether hardware counters can be read.
    pub has_pmu: bool,
    /// Whether cores have two hardware threads that are both online.
    pub smt: bool,
    /// Whether softirqs or page-cache events are to be counted by task.
    pub events_wanted: bool,
    /// Context switches of all CPUs (`ctxt` in `/proc/stat`).
    pub switches_per_second: u64,
    /// Threads that there are (`/proc/loadavg`).
    pub threads: u64,
    /// Time between two drains.
    pub tick: Duration,
}

/// The two accountants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accountant {
    /// [`crate::Probe`]: a hook at every context switch.
    Switch,
    /// [`crate::SchedulerProbe`]: a look at every thread at every tick.
    Scheduler,
}

impl Accountant {
    /// As in `probes.cpu_time`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Switch => "switch",
            Self::Scheduler => "scheduler",
        }
    }
}

impl fmt::Display for Accountant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Which one.
    pub accountant: Accountant,
    /// Why, in words.
    pub reason: String,
}

/// The accountant to take on `machine`.
#[must_use]
pub fn cheaper(machine: &Machine) -> Choice {
    if let Some(reason) = needs_switch(machine) {
        return Choice {
            accountant: Accountant::Switch,
            reason,
        };
    }
    let switch = machine.switches_per_second.saturating_mul(SWITCH_NS);
    let scheduler = per_second(machine.threads.saturating_mul(THREAD_NS), machine.tick);
    let accountant = if scheduler < switch {
        Accountant::Scheduler
    } else {
        Accountant::Switch
    };
    Choice {
        accountant,
        reason: format!(
            "{accountant} is the cheaper one here: about {} us a second for {} switches a second by switch, {} us a \
             second for {} threads every {:?} by scheduler",
            switch / 1_000,
            machine.switches_per_second,
            scheduler / 1_000,
            machine.threads,
            machine.tick
        ),
    }
}

/// What only a hook at the context switch can give, of what this machine asks for.
fn needs_switch(machine: &Machine) -> Option<String> {
    let reason = if machine.packages > 1 {
        format!(
            "{} CPU packages: only a hook at the context switch knows on which one a task ran",
            machine.packages
        )
    } else if machine.has_pmu {
        "hardware counters: they must be read where tasks change".to_owned()
    } else if machine.smt {
        "SMT: only a hook at the context switch knows when both threads of a core were busy".to_owned()
    } else if machine.events_wanted {
        "softirqs or page-cache events: they are charged to the task that the switch accountant keeps"
            .to_owned()
    } else if machine.tick < SHORTEST_TICK {
        format!(
            "a tick of {:?}: the scheduler's figures are up to 10 ms old, too coarse below {SHORTEST_TICK:?}",
            machine.tick
        )
    } else {
        return None;
    };
    Some(reason)
}

/// Nanoseconds a second for `nanos` every `tick`.
fn per_second(nanos: u64, tick: Duration) -> u64 {
    let tick = tick.as_nanos().max(1);
    u64::try_from(u128::from(nanos) * 1_000_000_000 / tick).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Machine = Machine {
        packages: 1,
        has_pmu: false,
        smt: false,
        events_wanted: false,
        switches_per_second: 20_000,
        threads: 1_000,
        tick: Duration::from_secs(1),
    };

    #[test]
    fn what_only_the_switch_accountant_counts_decides_before_any_cost() {
        let cases = [
            (Machine { packages: 2, ..QUIET }, "2 CPU packages"),
            (
                Machine {
                    has_pmu: true,
                    ..QUIET
                },
                "hardware counters",
            ),
            (Machine { smt: true, ..QUIET }, "SMT"),
            (
                Machine {
                    events_wanted: true,
                    ..QUIET
                },
                "softirqs or page-cache events",
            ),
            (
                Machine {
                    tick: Duration::from_millis(499),
                    ..QUIET
                },
                "a tick of 499ms",
            ),
        ];
        for (machine, reason) in cases {
            let choice = cheaper(&machine);
            assert_eq!(choice.accountant, Accountant::Switch, "{machine:?}");
            assert!(choice.reason.starts_with(reason), "{}", choice.reason);
        }
    }

    #[test]
    fn otherwise_the_cheaper_one_is_taken() {
        use Accountant::{Scheduler, Switch};
        // switches a second, threads, tick in ms -> who (x 100 ns against x 550 ns / tick)
        let table = [
            (20_000, 1_000, 1_000, Scheduler),  // 2 ms, 0.55 ms
            (1_000, 1_000, 1_000, Switch),      // 0.1 ms, 0.55 ms
            (2_000, 1_000, 5_000, Scheduler),   // 0.2 ms, 0.11 ms
            (80_000, 10_000, 1_000, Scheduler), // 8 ms, 5.5 ms
            (80_000, 10_000, 500, Switch),      // 8 ms, 11 ms
            (0, 1_000, 60_000, Switch),
            (u64::MAX, u64::MAX, 1_000, Switch),
        ];
        for (switches_per_second, threads, tick, accountant) in table {
            let machine = Machine {
                switches_per_second,
                threads,
                tick: Duration::from_millis(tick),
                ..QUIET
            };
            assert_eq!(cheaper(&machine).accountant, accountant, "{machine:?}");
        }
    }

    #[test]
    fn the_reason_says_what_both_would_cost() {
        assert_eq!(
            cheaper(&QUIET).reason,
            "scheduler is the cheaper one here: about 2000 us a second for 20000 switches a second by switch, 550 us a \
             second for 1000 threads every 1s by scheduler"
        );
        assert_eq!(Accountant::Switch.name(), "switch");
    }
}
