// SPDX-License-Identifier: Apache-2.0
//! The second accountant of CPU time: what the scheduler itself has written down, read once a tick. Nothing runs at a
//! context switch.
//!
//! Puts the pure parts ([`Threads`], [`Graves`], [`Processes`], [`Capacity`]) and the kernel's object together, and
//! reads the clock. Gives the same report as [`crate::Probe`]; [`choice`] says which of the two is cheaper. What it does
//! not know: the last few milliseconds of a thread that is running (the scheduler writes them down at its next tick), on
//! which package a thread ran before the last move, and anything but time and switches.

pub(crate) mod abi;
mod capacity;
mod choice;
mod graves;
mod object;
mod processes;
mod threads;

pub use choice::{Accountant, Choice, Machine, cheaper};

use crate::clock::monotonic;
use crate::cost::ProgramCost;
use crate::error::{ProbeError, in_batch};
use crate::listing::Moment;
use crate::packages::Packages;
use crate::places::Place;
use crate::preflight;
use crate::settings::Settings;
use abi::{Burials, DeadCgroupKey, DeadRowKey, ThreadRecord};
use attribution::model::{
    Event, EventSet, LostEvents, MonotonicNanos, ProbeState, Section, TaskUsage, TickId, Usage,
};
use capacity::Capacity;
use graves::{Graves, Stir};
use object::{LIVING, Object, Sizes};
use processes::Processes;
use std::fs;
use std::path::Path;
use threads::Threads;

/// How much more than the CPUs' time the threads that died unseen may have had, by rounding of clocks and figures that
/// the scheduler wrote down late.
const ROUNDING_NS: u64 = 1_000_000_000;

/// The loaded and attached programs. Dropping it detaches them.
pub struct SchedulerProbe {
    object: Object,
    threads: Threads,
    graves: Graves,
    processes: Processes,
    capacity: Capacity,
    online: Vec<u32>,
    /// Why the figures are not of the whole machine; empty when they are.
    blind: String,
    /// Whether there is news in `dead_threads` and `dead_rows`.
    reported: Stir,
    added: Stir,
    burials: Burials,
    /// Entries in `dead_rows` when it was last read.
    entries: u32,
    read_ns: u64,
    /// Records of the last pass, and dead threads that were taken from the kernel and not yet charged: these must
    /// outlive a drain that fails.
    living: Vec<u8>,
    deaths: Vec<ThreadRecord>,
    forgotten: Vec<DeadRowKey>,
    /// Rows without a process that left the report and are still in the kernel's map.
    left: Vec<Place>,
    /// Entries of rows of living processes that left the report.
    left_rows: Vec<DeadRowKey>,
}

impl SchedulerProbe {
    /// Loads and attaches the programs and begins to count. `Settings::max_tasks` is the room for processes that begin
    /// and end between two drains.
    ///
    /// # Errors
    /// [`ProbeError::NoBtf`] when the kernel has no types, [`ProbeError::NotPermitted`] with the capability's name when
    /// it refuses, and others when a map or a program does not load or the first pass fails.
    pub fn open(settings: &Settings) -> Result<Self, ProbeError> {
        let root = Path::new("/");
        let opened = Self::open_any(settings);
        crate::sys::give_back_memory();
        opened.map_err(|error| {
            error.or_not_permitted(
                "load the eBPF programs of the scheduler's accountant",
                preflight::capabilities(root),
            )
        })
    }

    fn open_any(settings: &Settings) -> Result<Self, ProbeError> {
        let cpus = aya::util::nr_cpus().map_err(|(path, source)| ProbeError::Cpus { path, source })?;
        let cpus = u32::try_from(cpus).unwrap_or(u32::MAX);
        let mut object = Object::load(Sizes {
            threads: max_deaths_for(count_threads(Path::new("/"))),
            rows: settings.max_tasks.max(1),
            cgroups: settings.max_unnamed.max(1),
            cpus,
        })?;
        let opened = monotonic().as_nanos();
        let packages = Packages::new(settings.packages_of_cpu.clone(), settings.cpus.clone());
        for cpu in 0..cpus {
            object.place(cpu, packages.of(cpu))?;
        }
        object.attach()?;
        let mut probe = Self {
            object,
            threads: Threads::new(opened),
            graves: Graves::default(),
            processes: Processes::new(settings.unnamed(), settings.patience()),
            capacity: Capacity::new(packages, opened),
            online: settings.packages_of_cpu.iter().map(|(cpu, _)| *cpu).collect(),
            blind: blindness(preflight::inspect(Path::new("/")).host_pids),
            reported: Stir::default(),
            added: Stir::default(),
            burials: Burials::default(),
            entries: 0,
            read_ns: opened,
            living: Vec::new(),
            deaths: Vec::new(),
            forgotten: Vec::new(),
            left: Vec::new(),
            left_rows: Vec::new(),
        };
        // What the living did before is not ours.
        probe.read()?;
        Ok(probe)
    }

    /// Reads everything, and forgets the processes that are dead and paid for; with the words of [`crate::Probe::drain`],
    /// which it stands in for.
    ///
    /// # Errors
    /// When the threads cannot be listed or a map cannot be read. Nothing is lost: the next drain says it all.
    pub fn drain(
        &mut self,
        tick: TickId,
        acked: TickId,
        recycled: Vec<TaskUsage>,
    ) -> Result<(Section, Usage), ProbeError> {
        let began = self.read()?;
        let mut tasks = recycled;
        tasks.clear();
        let mut usage = Usage {
            counted: EventSet::NONE.with(Event::Switches),
            lost: self.lost(),
            ..Usage::default()
        };
        self.capacity.report(&mut usage.packages);
        let section = Section {
            began,
            ended: monotonic(),
        };
        let now = Moment {
            tick,
            acked,
            at: began,
        };
        self.processes
            .report(&now, &mut tasks, &mut self.forgotten, &mut self.left_rows);
        self.processes.unnamed.report(&now, &mut tasks, &mut self.left);
        // All threads of a forgotten process are freed, so nobody adds to its rows now. A row that could not be deleted
        // stays known, and is tried again.
        self.object
            .dead_rows
            .delete(&self.forgotten)
            .map_err(in_batch("prune", "dead_rows"))?;
        self.graves.forget(&self.forgotten);
        self.forgotten.clear();
        self.take_left(began)?;
        usage.tasks = tasks;
        Ok((section, usage))
    }

    /// Whether it measures, and what it does without.
    #[must_use]
    pub fn states(&self) -> Vec<ProbeState> {
        vec![ProbeState {
            probe: LIVING,
            up: true,
            reason: self.blind.clone(),
        }]
    }

    /// What the programs cost so far, by program: a run of `iter_task` is one thread of one pass. Zeros unless the
    /// kernel's statistics are on ([`crate::enable_stats`]).
    #[must_use]
    pub fn cost(&self) -> Vec<ProgramCost> {
        self.object.cost()
    }

    /// Rows that the last drain with news of the dead found in the kernel's hash, before it forgot any; to be compared
    /// with [`Settings::max_tasks`].
    #[must_use]
    pub const fn entries(&self) -> u32 {
        self.entries
    }

    /// Threads that were seen alive and are not known to be dead.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    /// A pass over the living, then all news of the dead. Returns when the pass began.
    fn read(&mut self) -> Result<MonotonicNanos, ProbeError> {
        if let Err(error) = self.read_online() {
            tracing::debug!(%error, "the list of CPUs is the one of the last drain");
        }
        let began = monotonic();
        self.object.pass_begins()?;
        self.object.read_living(&mut self.living)?;
        self.object.pass_ends(monotonic().as_nanos())?;
        let burials = self.read_burials()?;
        if self.reported.stirred(burials.reported) {
            let deaths = &mut self.deaths;
            let taken = self
                .object
                .dead_threads
                .take_each(|_key, record| deaths.push(*record));
            if taken.is_err() {
                self.reported = Stir::default();
            }
            taken.map_err(in_batch("read", "dead_threads"))?;
        }
        // From here on nothing fails that has been taken.
        let (sightings, rest) = ThreadRecord::parse(&self.living);
        if rest > 0 {
            tracing::debug!(rest, "the list of threads ends in the middle of a record");
        }
        self.threads
            .record(began.as_nanos(), sightings, &mut self.deaths, &mut self.processes);
        self.read_rows(began.as_nanos(), &burials)?;
        self.capacity
            .record(began.as_nanos(), &self.online, self.processes.busy_ns());
        Ok(began)
    }

    fn read_burials(&mut self) -> Result<Burials, ProbeError> {
        self.burials = graves::sum(&self.object.burials()?);
        Ok(self.burials)
    }

    /// The dead that nobody saw alive.
    fn read_rows(&mut self, now_ns: u64, burials: &Burials) -> Result<(), ProbeError> {
        let cpus = u64::try_from(self.online.len()).unwrap_or(u64::MAX).max(1);
        let elapsed = now_ns.saturating_sub(self.read_ns).saturating_mul(cpus);
        if !self.added.stirred(burials.added) {
            return Ok(());
        }
        let (graves, processes) = (&mut self.graves, &mut self.processes);
        graves.begin(elapsed.saturating_add(ROUNDING_NS));
        let mut entries = 0_u32;
        let rows = self.object.dead_rows.for_each(|key, row| {
            entries = entries.saturating_add(1);
            graves.record_row(key, row, processes);
        });
        let cgroups = self
            .object
            .dead_cgroups
            .for_each(|key, cgroup| graves.record_cgroup(key, cgroup, processes));
        let package = self.capacity.cpus.of(0);
        graves.record_unplaced(burials, u32::from(package.0), processes);
        self.entries = entries;
        if rows.is_err() || cgroups.is_err() {
            self.added = Stir::default();
        }
        rows.map_err(in_batch("read", "dead_rows"))?;
        cgroups.map_err(in_batch("read", "dead_cgroups"))?;
        self.read_ns = now_ns;
        Ok(())
    }

    /// Deletes the entries of rows that left. A thread may be added to one at any time: what the entry holds by then is
    /// charged.
    fn take_left(&mut self, began: MonotonicNanos) -> Result<(), ProbeError> {
        if self.left.is_empty() && self.left_rows.is_empty() {
            return Ok(());
        }
        let cpus = u64::try_from(self.online.len()).unwrap_or(u64::MAX).max(1);
        let passed = monotonic().as_nanos().saturating_sub(began.as_nanos());
        self.graves
            .begin(passed.saturating_mul(cpus).saturating_add(ROUNDING_NS));
        while let Some(key) = self.left_rows.last().copied() {
            let last = self.object.dead_rows.take(&key);
            let last = last.map_err(in_batch("prune", "dead_rows"))?;
            self.graves.take_row(&key, last.as_ref(), &mut self.processes);
            self.left_rows.pop();
        }
        while let Some(place) = self.left.last() {
            let key = DeadCgroupKey {
                cgroup_id: place.cgroup,
                package: place.package,
                ..DeadCgroupKey::default()
            };
            let last = self.object.dead_cgroups.take(&key);
            let last = last.map_err(in_batch("prune", "dead_cgroups"))?;
            self.graves.take_cgroup(&key, last.as_ref(), &mut self.processes);
            self.left.pop();
        }
        Ok(())
    }

    fn lost(&self) -> Vec<LostEvents> {
        let refused = self.threads.refused();
        [
            // The same words as the other accountant's: the names of processes, then of cgroups, found no room.
            ("map_full", self.burials.rows_full),
            ("overflow_full", self.burials.cgroups_full),
            // What a dead thread did after it was last seen was not taken down.
            ("last_words_full", self.burials.threads_full),
            ("stranger_died", refused.strangers),
            ("unknown_package", self.capacity.cpus.unknown()),
            (
                "implausible_slice",
                refused.implausible.saturating_add(self.graves.implausible()),
            ),
        ]
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(reason, count)| LostEvents {
            probe: LIVING,
            reason,
            count,
        })
        .collect()
    }

    fn read_online(&mut self) -> Result<(), ProbeError> {
        let online = aya::util::online_cpus().map_err(|(path, source)| ProbeError::Cpus { path, source })?;
        if online == self.online {
            return Ok(());
        }
        let packages = &mut self.capacity.cpus;
        for cpu in packages.strangers(&online) {
            match packages.find(cpu) {
                Some(package) => {
                    self.object.place(cpu, package)?;
                    packages.add(cpu, package);
                }
                None => packages.add_unknown(cpu, "the kernel does not say on which package it is"),
            }
        }
        self.online = online;
        Ok(())
    }
}

/// Room for threads that were seen alive and die between two drains, on a machine that has `threads` now: all of them
/// and as many that come later; 8,192 at least, 65,536 at most. An entry is 152 bytes and 16 of a bucket, so 1.4 MiB to
/// 10.5 MiB. When more die at once, what they did since they were last seen is lost, and counted.
const fn max_deaths_for(threads: u32) -> u32 {
    match threads.saturating_mul(2) {
        ..8_192 => 8_192,
        65_536.. => 65_536,
        wanted => wanted,
    }
}

/// All threads of the machine; 0 where `/proc/loadavg` does not say.
fn count_threads(root: &Path) -> u32 {
    fs::read_to_string(root.join("proc/loadavg"))
        .ok()
        .and_then(|text| threads_in(&text))
        .unwrap_or(0)
}

/// Out of the text of `/proc/loadavg`: `0.25 0.24 0.23 1/89 14692`, threads that can run and threads that there are.
fn threads_in(loadavg: &str) -> Option<u32> {
    let (_, all) = loadavg.split_whitespace().nth(3)?.split_once('/')?;
    all.parse().ok()
}

fn blindness(host_pids: bool) -> String {
    if host_pids {
        return String::new();
    }
    "not in the host's pid namespace: threads outside of it are not seen alive, and only the short-lived of them are \
     counted (run with hostPID: true, --pid=host)"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_for_the_dead_follows_the_machine_between_its_bounds() {
        assert_eq!(max_deaths_for(0), 8_192);
        assert_eq!(max_deaths_for(5_000), 10_000);
        assert_eq!(max_deaths_for(u32::MAX), 65_536);
    }

    #[test]
    fn the_threads_of_the_machine_are_counted_in_loadavg() {
        assert_eq!(threads_in("0.25 0.24 0.23 1/89 14692\n"), Some(89));
        assert_eq!(threads_in("0.25 0.24 0.23"), None);
        assert!(count_threads(Path::new("/")) > 1);
        assert_eq!(count_threads(Path::new("/nowhere")), 0);
    }

    #[test]
    fn a_probe_may_move_to_the_thread_that_drains_it() {
        fn takes_send<T: Send>(probe: Option<T>) -> bool {
            probe.is_none()
        }
        assert!(takes_send::<SchedulerProbe>(None));
    }

    #[test]
    fn a_namespace_of_pids_that_is_not_the_hosts_is_named() {
        assert_eq!(blindness(true), "");
        assert!(blindness(false).contains("hostPID"));
    }
}
