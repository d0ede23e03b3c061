// SPDX-License-Identifier: Apache-2.0
//! Turns what is seen of the living and the dead into rises, so that no time is charged twice and none is left out.
//!
//! Pure: no system call, no clock. For each thread that was seen alive it keeps the last figures; a later sighting is
//! charged by the difference, and so are the final figures that the dead thread left. Threads that were never seen are
//! charged in whole, by [`super::graves`] or here.
//!
//! A thread is known by the address of its `task_struct`. Its tid and its start would not do: a thread that calls exec
//! takes them over from its leader, and the leader dies under the thread's tid. An address has another owner after each
//! death, so sightings and deaths are taken in the order of their time.

use super::abi::{THREAD_KTHREAD, THREAD_NAMELESS, ThreadRecord};
use super::processes::{Counts, Look, Processes};
use crate::places::Place;
use attribution::model::{TaskKey, TaskKind};
use std::collections::HashMap;

const SECOND_NS: u64 = 1_000_000_000;

/// How much more than the time that passed a figure may rise: the scheduler writes down a running thread's time at its
/// ticks, which are 10 ms apart at most, and a second on a CPU that is kept free of ticks (`nohz_full`).
const STALE_NS: u64 = SECOND_NS;

/// How long a thread that is seen no more may wait for its last word, which comes with the end of an RCU grace period:
/// two of the longest ticks (60 s), and a stall of RCU that the kernel itself would complain of. After that it is
/// forgotten: only when the kernel's list of the dead was full, no word comes. So whoever is not known and began before
/// such a time may be one of the forgotten; whoever began after it was never seen.
const MOURNING_NS: u64 = 180 * SECOND_NS;

/// All threads that were seen alive.
#[derive(Debug)]
pub(crate) struct Threads {
    living: HashMap<u64, Thread>,
    opened_ns: u64,
    /// Who began before and is not known was there before the probe, or was forgotten.
    known_since_ns: u64,
    /// When the last whole pass began.
    pass_began_ns: u64,
    refused: Refused,
}

/// What could not be charged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Rises that are longer than the time in which they came.
    pub(crate) implausible: u64,
    /// Dead threads that ought to have been seen alive and are not known.
    pub(crate) strangers: u64,
}

#[derive(Debug)]
struct Thread {
    tgid: u32,
    started_ns: u64,
    counts: Counts,
    at_ns: u64,
}

impl Threads {
    /// Begins to count now: what threads did before `opened_ns` is not charged.
    pub(crate) fn new(opened_ns: u64) -> Self {
        Self {
            living: HashMap::new(),
            opened_ns,
            known_since_ns: opened_ns,
            pass_began_ns: opened_ns,
            refused: Refused::default(),
        }
    }

    /// Takes in a whole pass over the living, which began at `began_ns`, and the dead that were found after it. Leaves
    /// `deaths` empty.
    pub(crate) fn record(
        &mut self,
        began_ns: u64,
        sightings: impl Iterator<Item = ThreadRecord>,
        deaths: &mut Vec<ThreadRecord>,
        processes: &mut Processes,
    ) {
        deaths.sort_unstable_by_key(|death| death.at_ns);
        let mut deaths = deaths.drain(..).peekable();
        for sighting in sightings {
            while let Some(death) = deaths.next_if(|death| death.at_ns < sighting.at_ns) {
                self.bury(&death, processes);
            }
            self.see(&sighting, processes);
        }
        for death in deaths {
            self.bury(&death, processes);
        }
        processes.pass_ended();
        self.forget(began_ns, processes);
        self.pass_began_ns = began_ns;
        self.known_since_ns = self.opened_ns.max(began_ns.saturating_sub(MOURNING_NS));
    }

    /// Threads that were seen and have not said their last word.
    pub(crate) fn len(&self) -> usize {
        self.living.len()
    }

    /// What could not be charged so far.
    pub(crate) const fn refused(&self) -> Refused {
        self.refused
    }

    fn see(&mut self, record: &ThreadRecord, processes: &mut Processes) {
        let (task, look) = (task_of(record), look_of(record));
        let known = self.living.get_mut(&record.task);
        match known.and_then(|thread| thread.advance(record)) {
            Some((rise, since_ns)) => self.charge(Some(task), record, rise, since_ns, processes),
            None => {
                let whole = self.began_unseen(record, processes);
                // Somebody else was here and died without a word.
                if let Some(thread) = self.living.insert(record.task, Thread::new(record)) {
                    processes.died(thread.task(), record.task);
                }
                processes.came(task, look);
                if let Some(since_ns) = whole {
                    self.charge(Some(task), record, counts_of(record), since_ns, processes);
                }
            }
        }
        if record.is_leader() {
            processes.led(task, record.task, look);
        }
    }

    fn bury(&mut self, record: &ThreadRecord, processes: &mut Processes) {
        let nameless = record.flags & THREAD_NAMELESS != 0;
        let mut task = (!nameless).then(|| task_of(record));
        let mut rise = None;
        if let Some(mut thread) = self.living.remove(&record.task) {
            processes.died(thread.task(), record.task);
            rise = thread.advance(record);
            if rise.is_some() {
                task = Some(thread.task());
            }
        }
        let rise = rise.or_else(|| {
            self.began_unseen(record, processes)
                .map(|since_ns| (counts_of(record), since_ns))
        });
        match rise {
            Some((rise, since_ns)) => self.charge(task, record, rise, since_ns, processes),
            None if record.start_ns >= self.opened_ns => {
                self.refused.strangers = self.refused.strangers.saturating_add(1);
            }
            None => {}
        }
        if let Some(task) = task.filter(|_| record.is_leader()) {
            processes.leader_went(task, look_of(record));
        }
    }

    /// For a thread that is not known: since when all it did is new, or `None` when it is not.
    fn began_unseen(&self, record: &ThreadRecord, processes: &Processes) -> Option<u64> {
        if record.start_ns >= self.known_since_ns {
            return Some(record.start_ns);
        }
        // It began after the last pass and took over its leader's name, which is older, by exec.
        let took_over = record.is_leader()
            && processes
                .leader_of(task_of(record))
                .is_some_and(|leader| leader != record.task);
        took_over.then_some(self.pass_began_ns)
    }

    fn charge(
        &mut self,
        task: Option<TaskKey>,
        record: &ThreadRecord,
        rise: Counts,
        since_ns: u64,
        processes: &mut Processes,
    ) {
        if rise.cpu_ns > record.at_ns.saturating_sub(since_ns).saturating_add(STALE_NS) {
            self.refused.implausible = self.refused.implausible.saturating_add(1);
            return;
        }
        match task {
            Some(task) => processes.charge(task, place_of(record), rise, look_of(record)),
            None => processes.charge_unnamed(place_of(record), rise),
        }
    }

    fn forget(&mut self, began_ns: u64, processes: &mut Processes) {
        self.living.retain(|_, thread| {
            let mourned = thread.at_ns.saturating_add(MOURNING_NS) < began_ns;
            if mourned {
                processes.went(thread.task());
            }
            !mourned
        });
    }
}

impl Thread {
    const fn new(record: &ThreadRecord) -> Self {
        Self {
            tgid: record.tgid,
            started_ns: record.started_ns,
            counts: counts_of(record),
            at_ns: record.at_ns,
        }
    }

    const fn task(&self) -> TaskKey {
        TaskKey::from_boot_nanos(self.tgid, self.started_ns)
    }

    /// What it did since it was last seen, and when that was; `None` if `record` is of somebody else at the same address.
    fn advance(&mut self, record: &ThreadRecord) -> Option<(Counts, u64)> {
        let rise = counts_of(record).since(self.counts)?;
        if !self.is(record) {
            return None;
        }
        let since_ns = self.at_ns;
        *self = Self {
            started_ns: self.started_ns,
            ..Self::new(record)
        };
        Some((rise, since_ns))
    }

    /// Every owner of an address but the last has said a last word, unless the kernel's list of the dead was full. Then
    /// this tells them apart: the next owner is of another process, or began after this one was seen.
    const fn is(&self, record: &ThreadRecord) -> bool {
        let nameless = record.flags & THREAD_NAMELESS != 0;
        self.tgid == record.tgid
            && (nameless || self.started_ns == record.started_ns)
            && record.start_ns <= self.at_ns
    }
}

const fn counts_of(record: &ThreadRecord) -> Counts {
    Counts {
        cpu_ns: record.cpu_ns,
        switches: record.switches,
    }
}

const fn task_of(record: &ThreadRecord) -> TaskKey {
    TaskKey::from_boot_nanos(record.tgid, record.started_ns)
}

const fn place_of(record: &ThreadRecord) -> Place {
    Place {
        cgroup: record.cgroup_id,
        package: record.package,
    }
}

const fn look_of(record: &ThreadRecord) -> Look {
    Look {
        comm: record.comm,
        at_ns: record.at_ns,
        kind: if record.flags & THREAD_KTHREAD == 0 {
            TaskKind::User
        } else {
            TaskKind::Kernel
        },
    }
}

#[cfg(test)]
mod tests;
