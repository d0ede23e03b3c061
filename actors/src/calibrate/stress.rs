// SPDX-License-Identifier: Apache-2.0
//! Makes load, level by level: threads that work for a part of each tenth of a second and rest for the other.
//!
//! Changes nothing of the machine but that: no governor, no limit, no affinity. The threads have the lowest priority, so
//! whoever else wants to work is hardly held up; the load that counts is what the probe measures, and not what was asked for.

use super::listener::Look;
use crate::clock;
use attribution::model::{MonotonicNanos, SourceId, Zone};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rustix::process::setpriority_process;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// Levels in percent, in an order in which a walk that is cut short has seen the ends and the middle first, and in which
/// temperature does not rise with the level. Close together at the bottom, where the first work wakes a package and most nodes are.
pub(super) const LEVELS: [u32; 13] = [0, 100, 50, 20, 80, 5, 60, 10, 90, 30, 70, 2, 40];
/// Times that all levels are walked: each block of the cross-validation has seen most levels elsewhere.
pub(super) const PASSES: u32 = 3;
/// Readings that each zone has on a level before it is left. The first may cover the level before it.
const READINGS: usize = 4;
/// A level is held this long where nothing is said: some readings of a counter at one a second.
pub(super) const HELD: Duration = Duration::from_secs(10);
/// The longest that a level is held for a meter that has stopped to speak, and the walk waits for one that has not begun:
/// the slowest controllers say something every few minutes.
pub(super) const PATIENCE: Duration = Duration::from_secs(900);
/// One round of work and rest. Short against any reading, long against the scheduler's slices.
const ROUND: Duration = Duration::from_millis(100);
/// Threads at most; Linux runs on 8,192 CPUs.
const MOST_THREADS: usize = 8_192;
/// Stack of a thread, which calls nothing deep.
const STACK: usize = 128 * 1024;
/// Words that a thread walks through: 256 KiB, beyond the first cache.
const WORDS: usize = 32 * 1024;

/// What the walk does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    Stay,
    /// Goes to this level, in percent.
    To(u32),
    /// It has seen them all.
    Done,
}

/// The walk through the levels. Knows no thread.
#[derive(Debug)]
pub(super) struct Walk {
    held: Duration,
    awaited: Vec<SourceId>,
    /// Levels that were begun.
    begun: u32,
    began: MonotonicNanos,
    /// Samples of each zone when the level began.
    before: BTreeMap<Zone, usize>,
}

impl Walk {
    /// A walk that begins at `now`, once each of the awaited meters has spoken, and holds each level for so long at least.
    pub(super) const fn new(held: Duration, awaited: Vec<SourceId>, now: MonotonicNanos) -> Self {
        Self {
            held,
            awaited,
            begun: 0,
            began: now,
            before: BTreeMap::new(),
        }
    }

    /// Levels that are walked in all.
    pub(super) fn all() -> u32 {
        u32::try_from(LEVELS.len()).unwrap_or(0) * PASSES
    }

    /// Levels that were begun.
    pub(super) const fn begun(&self) -> u32 {
        self.begun
    }

    /// What to do at `now`, with what was seen by then.
    pub(super) fn step(&mut self, now: MonotonicNanos, look: &Look) -> Step {
        let held = now.since(self.began);
        let is_over = match self.begun {
            0 => self
                .awaited
                .iter()
                .all(|source| look.zones.values().any(|(of, _)| of == source)),
            _ => {
                held >= self.held
                    && look
                        .zones
                        .iter()
                        .all(|(zone, (_, samples))| self.has_enough(zone, *samples))
            }
        };
        if !is_over && held < PATIENCE {
            return Step::Stay;
        }
        let level = usize::try_from(self.begun).unwrap_or(0) % LEVELS.len();
        let next = LEVELS.get(level).filter(|_| self.begun < Self::all());
        let Some(next) = next else {
            return Step::Done;
        };
        self.begun += 1;
        self.began = now;
        self.before = look
            .zones
            .iter()
            .map(|(zone, (_, samples))| (zone.clone(), *samples))
            .collect();
        Step::To(*next)
    }

    fn has_enough(&self, zone: &Zone, samples: usize) -> bool {
        samples >= self.before.get(zone).copied().unwrap_or(0) + READINGS
    }
}

/// Threads that work. They end when this is dropped.
#[derive(Debug)]
pub(super) struct Workers {
    permille: Arc<AtomicU32>,
    stop: Option<Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// So many, at rest.
    ///
    /// # Errors
    /// When the kernel gives no thread.
    pub(super) fn start(threads: usize) -> anyhow::Result<Self> {
        let permille = Arc::<AtomicU32>::default();
        let (stop, stopped) = bounded(0);
        let mut workers = Self {
            permille,
            stop: Some(stop),
            threads: Vec::new(),
        };
        for number in 0..threads.clamp(1, MOST_THREADS) {
            let (permille, stopped) = (Arc::clone(&workers.permille), stopped.clone());
            let thread = Builder::new().name(format!("stress-{number}")).stack_size(STACK);
            workers
                .threads
                .push(thread.spawn(move || work(&permille, &stopped))?);
        }
        Ok(workers)
    }

    /// How many there are.
    pub(super) const fn number(&self) -> usize {
        self.threads.len()
    }

    /// From now on each works for so many percent of the time.
    pub(super) fn set(&self, percent: u32) {
        self.permille.store(percent.min(100) * 10, Ordering::Relaxed);
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.set(0);
        self.stop = None;
        for thread in self.threads.drain(..) {
            // One that panicked has ended, which is what is wanted.
            drop(thread.join());
        }
    }
}

/// Works and rests until nobody wants it any more.
fn work(permille: &AtomicU32, stopped: &Receiver<()>) {
    // Of the calling thread, on Linux. Where it is not allowed, the load is as welcome as any other.
    if let Err(error) = setpriority_process(None, 19) {
        tracing::debug!(%error, "the load has the usual priority");
    }
    let mut words: Vec<u64> = (0..u64::try_from(WORDS).unwrap_or(0)).collect();
    loop {
        let began = clock::monotonic();
        let busy = ROUND * permille.load(Ordering::Relaxed) / 1_000;
        while clock::monotonic().since(began) < busy {
            churn(&mut words);
        }
        let rest = ROUND.saturating_sub(clock::monotonic().since(began));
        if stopped.recv_timeout(rest) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
}

/// Some microseconds of work for the integer and floating-point units and for the caches.
fn churn(words: &mut [u64]) {
    let mut mixed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut sum = 1.0_f64;
    for word in words.iter_mut().step_by(8) {
        mixed = (mixed ^ *word)
            .rotate_left(23)
            .wrapping_mul(0xff51_afd7_ed55_8ccd);
        sum = sum.mul_add(0.999_999, 1e-6);
        *word = mixed;
    }
    black_box((mixed, sum));
}

#[cfg(test)]
mod tests {
    use super::*;
    use attribution::model::{Component, PackageId, Place};

    const METER: SourceId = SourceId("meter");
    const SLOW: SourceId = SourceId("slow");

    fn at(seconds: u64) -> MonotonicNanos {
        MonotonicNanos::from_nanos(seconds * 1_000_000_000)
    }

    fn look(fast: usize, slow: Option<usize>) -> Look {
        let zone = |component| Zone {
            component,
            place: Place::socket(PackageId(0)),
        };
        let mut zones = BTreeMap::from([(zone(Component::Package), (METER, fast))]);
        zones.extend(slow.map(|slow| (zone(Component::Platform), (SLOW, slow))));
        Look {
            zones,
            newest: BTreeMap::new(),
        }
    }

    #[test]
    fn a_level_is_left_when_its_time_is_over_and_the_slowest_meter_has_spoken_often_enough() {
        let mut walk = Walk::new(HELD, vec![METER, SLOW], at(0));
        //  s    fast  slow   step
        //  1    1     -      waits for the slow meter
        //  60   60    0      begins
        //  69   69    9      not long enough
        //  70   70    3      too few of the slow one's
        //  70   70    4      on
        assert_eq!(walk.step(at(1), &look(1, None)), Step::Stay);
        assert_eq!(walk.step(at(60), &look(60, Some(0))), Step::To(0));
        assert_eq!(walk.step(at(69), &look(69, Some(9))), Step::Stay);
        assert_eq!(walk.step(at(70), &look(70, Some(3))), Step::Stay);
        assert_eq!(walk.step(at(70), &look(70, Some(4))), Step::To(100));
        // It speaks no more: the walk goes on without it.
        assert_eq!(walk.step(at(969), &look(900, Some(4))), Step::Stay);
        assert_eq!(walk.step(at(970), &look(900, Some(4))), Step::To(50));
    }

    #[test]
    fn a_meter_that_never_speaks_holds_the_walk_up_for_a_while_and_not_for_good() {
        let mut walk = Walk::new(HELD, vec![METER, SLOW], at(0));
        assert_eq!(walk.step(at(899), &look(899, None)), Step::Stay);
        assert_eq!(walk.step(at(900), &look(900, None)), Step::To(0));
    }

    #[test]
    fn every_level_is_walked_in_every_pass() {
        let mut walk = Walk::new(HELD, vec![METER], at(0));
        let steps =
            (0..).map(|step: usize| walk.step(at(10 * u64::try_from(step).unwrap()), &look(10 * step, None)));
        let mut seen = BTreeMap::<u32, u32>::new();
        for step in steps.take_while(|step| *step != Step::Done) {
            match step {
                Step::To(level) => *seen.entry(level).or_default() += 1,
                other => panic!("{other:?}"),
            }
        }
        let all = [0, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100].map(|level| (level, PASSES));
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), all);
        assert_eq!(walk.begun(), Walk::all());
    }

    #[test]
    fn workers_end_with_their_owner() {
        let workers = Workers::start(3).unwrap();
        assert_eq!(workers.number(), 3);
        workers.set(100);
        let level = Arc::clone(&workers.permille);
        assert_eq!(level.load(Ordering::Relaxed), 1_000);
        drop(workers);
        assert_eq!(level.load(Ordering::Relaxed), 0);
        assert_eq!(Arc::strong_count(&level), 1, "no thread holds it any more");
    }
}
