// SPDX-License-Identifier: Apache-2.0
//! The probe: opened once, drained at each tick by one thread.
//!
//! Puts the pure parts ([`Accounts`], [`Cpus`]) and the kernel's object together, and reads the clock. What it reads
//! is cumulative since [`Probe::open`]; a drain that fails loses nothing, the next one says it all.

mod reading;

use crate::abi::TaskMapKey;
use crate::accounts::Accounts;
use crate::clock::monotonic;
use crate::cost::ProgramCost;
use crate::counters::{Open, Tally};
use crate::cpus::{Cpus, Lost};
use crate::error::ProbeError;
use crate::listing::Moment;
use crate::object::{Object, SWITCH, kernel_types};
use crate::packages::Packages;
use crate::parts::{self, Part, counted, in_words, load};
use crate::places::Place;
use crate::preflight;
use crate::seats::Seats;
use crate::settings::Settings;
use crate::totals::Total;
use crate::unnamed::Unnamed;
use attribution::model::{EventSet, MonotonicNanos, ProbeState, Section, TaskUsage, TickId, Usage};
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

/// The loaded and attached programs. Dropping it detaches them.
pub struct Probe {
    object: Object,
    accounts: Accounts,
    seats: Seats,
    cpus: Cpus,
    online: Vec<u32>,
    packages: Packages,
    lost: Lost,
    flush_failures: u64,
    /// Whether a pid of the kernel is a pid to us.
    host_pids: bool,
    /// Why command names may be old; empty when they are not.
    without_renames: String,
    softirqs: Part,
    page_cache: Part,
    counters: Open,
    unnamed: Unnamed,
    /// Entries of `overflow` as last read, with those of `hardware` that belong to them.
    overflow: HashMap<Place, Entry>,
    /// Rows without a process that left the report and are still in the kernel's maps.
    left: Vec<Place>,
    /// Readings of hardware counters that failed, by CPU.
    failed_readings: Vec<u64>,
    counted: EventSet,
    /// Until when everything was read, and so from when the next rise counts.
    read_at: MonotonicNanos,
    /// Entries in the hash `tasks` at the last drain.
    entries: u32,
    /// Rows from which on nobody is seated any more: every row is in the hash then, which bounds them.
    most_rows: usize,
    /// Number of the drain.
    drain: u64,
    /// Entries in the hash `hardware` at the last drain.
    hardware_entries: u32,
    /// Who left the report and is still in the kernel's maps.
    forgotten: Vec<TaskMapKey>,
    /// Rows of living processes that left the report and are still in the kernel's maps.
    left_rows: Vec<TaskMapKey>,
    /// Entries of the hash whose task has a seat. Reused from drain to drain.
    seated: Vec<TaskMapKey>,
}

/// An entry of `overflow`, and the one of `hardware` without a process.
#[derive(Default)]
struct Entry {
    total: Total,
    tally: Tally,
}

/// What clocks and copies that are not taken at one moment may add to a rise.
const SLACK: Duration = Duration::from_millis(100);

impl Probe {
    /// Loads and attaches the programs and begins to count.
    ///
    /// # Errors
    /// [`ProbeError::NoBtf`] when the kernel has no types, [`ProbeError::NotPermitted`] with the capability's name when
    /// it refuses, and others when a map or a program that is needed does not load. What is optional and missing is in
    /// [`Probe::states`].
    pub fn open(settings: &Settings) -> Result<Self, ProbeError> {
        let root = Path::new("/");
        let opened = Self::open_any(settings);
        crate::sys::give_back_memory();
        opened
            .map_err(|error| error.or_not_permitted("load the eBPF programs", preflight::capabilities(root)))
    }

    fn open_any(settings: &Settings) -> Result<Self, ProbeError> {
        let read_at = monotonic();
        let online: Vec<u32> = settings.packages_of_cpu.iter().map(|(cpu, _)| *cpu).collect();
        let mut counters = Open::on(&settings.counters, &online);
        let btf = kernel_types()?;
        let mut object = load(settings, &mut counters, &btf)?;
        object.place(&settings.packages_of_cpu, &settings.siblings)?;
        if let Err(error) = counters.place(&object.perf_events()) {
            return Err(ProbeError::Batch {
                doing: "fill",
                map: "perf_events",
                source: error,
            });
        }
        let softirqs = Part::of(settings.softirqs, || object.attach_softirqs(&btf));
        let page_cache = Part::of(settings.page_cache, || object.attach_page_cache(&btf));
        let renames = object.attach_renames(&btf);
        object.attach(SWITCH)?;
        let mut probe = Self {
            counted: counted(&softirqs, &page_cache, &counters, !settings.siblings.is_empty()),
            seats: Seats::new(object.seat_count()),
            object,
            accounts: Accounts::new(settings.patience()),
            cpus: Cpus::default(),
            online,
            packages: Packages::new(settings.packages_of_cpu.clone(), settings.cpus.clone()),
            lost: Lost::default(),
            flush_failures: 0,
            host_pids: preflight::inspect(Path::new("/")).host_pids,
            without_renames: renames
                .err()
                .map(|error| format!("command names may be old: {}", in_words(&error)))
                .unwrap_or_default(),
            softirqs,
            page_cache,
            counters,
            unnamed: settings.unnamed(),
            overflow: HashMap::new(),
            left: Vec::new(),
            failed_readings: Vec::new(),
            read_at,
            entries: 0,
            most_rows: usize::try_from(settings.max_tasks.max(1)).unwrap_or(usize::MAX),
            drain: 0,
            hardware_entries: 0,
            forgotten: Vec::new(),
            left_rows: Vec::new(),
            seated: Vec::new(),
        };
        // Says when each CPU's first slice began, also where nothing switches. This one must work: without it a task
        // that never switches is never charged.
        probe.read_online()?;
        for cpu in probe.online.clone() {
            probe.object.flush(cpu)?;
        }
        Ok(probe)
    }

    /// Reads everything, and forgets the tasks that are dead and paid for. `recycled` is the list of an earlier report
    /// whose memory may be used again.
    ///
    /// `acked` is the newest tick whose window has closed with this probe's report in it: a dead task leaves the report
    /// once the last one that had news of it is acknowledged. What runs after that (a thread that was stuck in its exit)
    /// is a new row that begins at zero. So does the row of a cgroup that its process has left, a while later
    /// ([`Settings::keep_resting`]).
    ///
    /// # Errors
    /// When a map cannot be read. Nothing is lost: totals go on in the kernel.
    pub fn drain(
        &mut self,
        tick: TickId,
        acked: TickId,
        recycled: Vec<TaskUsage>,
    ) -> Result<(Section, Usage), ProbeError> {
        let began = monotonic();
        // Of a drain that failed.
        self.seated.clear();
        self.delete_forgotten()?;
        self.flush_running()?;
        let most = monotonic().since(self.read_at) + SLACK;
        let cpus = u32::try_from(self.online.len()).unwrap_or(u32::MAX).max(1);
        self.accounts.expect_at_most(most.saturating_mul(cpus));
        // Also of a drain that failed: before a row may be forgotten its entries must be gone, or they would be paid twice.
        self.take_left_rows()?;
        self.drain += 1;
        self.read_seats();
        self.read_tasks()?;
        self.read_hardware()?;

        let mut tasks = recycled;
        tasks.clear();
        let mut usage = Usage {
            counted: self.counted,
            ..Usage::default()
        };
        self.read_unnamed()?;
        let now = Moment {
            tick,
            acked,
            at: began,
        };
        self.unnamed.report(&now, &mut tasks, &mut self.left);
        self.read_cpus(&mut usage, &mut tasks, most)?;
        let section = Section {
            began,
            ended: monotonic(),
        };
        self.read_at = began;

        self.accounts
            .report(&now, &mut tasks, &mut self.forgotten, &mut self.left_rows);
        // A task that is forgotten did nothing for a whole tick after its last thread began to exit, so nobody adds to
        // its entries now, and the kernel may give them to another task at once. A thread that wakes up out of a
        // blocked exit in this very millisecond would lose one slice.
        self.delete_forgotten()?;
        self.delete_seated()?;
        self.take_left_rows()?;
        self.take_left()?;
        usage.tasks = tasks;
        Ok((section, usage))
    }

    /// Whether it measures, and what it does without.
    #[must_use]
    pub fn states(&self) -> Vec<ProbeState> {
        vec![
            ProbeState {
                probe: SWITCH,
                up: true,
                reason: self.without_renames.clone(),
            },
            self.softirqs.state("softirq"),
            self.page_cache.state("page_cache"),
            parts::of_counters(&self.counters),
        ]
    }

    /// What the programs cost so far, by program. Zeros unless the kernel's statistics are on ([`crate::enable_stats`]).
    #[must_use]
    pub fn cost(&self) -> Vec<ProgramCost> {
        self.object.cost()
    }

    /// Rows that the last drain found in the kernel, in the hash and in seats, before it forgot any.
    #[must_use]
    pub fn entries(&self) -> u32 {
        self.entries.saturating_add(self.seats.taken())
    }

    /// Entries that it found in the hash of hardware counts; 0 without hardware counters.
    #[must_use]
    pub const fn hardware_entries(&self) -> u32 {
        self.hardware_entries
    }

    /// Charges what runs, CPU by CPU. A CPU that is idle is left asleep: its slice is added in user space, exactly,
    /// because the slot says since when (see [`Cpus`]).
    fn flush_running(&mut self) -> Result<(), ProbeError> {
        if let Err(error) = self.read_online() {
            tracing::debug!(%error, "the list of CPUs is the one of the last drain");
        }
        let slots = self.object.slots()?;
        for cpu in &self.online {
            let slot = usize::try_from(*cpu).ok().and_then(|cpu| slots.get(cpu));
            let sleeps = slot.is_some_and(|slot| slot.idle_since != 0);
            if sleeps {
                continue;
            }
            // What is not charged now is charged at the next switch: that costs resolution only.
            if let Err(error) = self.object.flush(*cpu) {
                self.flush_failures = self.flush_failures.saturating_add(1);
                tracing::debug!(cpu, %error, "a running task is charged late");
            }
        }
        Ok(())
    }

    /// Takes the list of CPUs that are online. One that came back has lost its perf events.
    fn read_online(&mut self) -> Result<(), ProbeError> {
        let online = aya::util::online_cpus().map_err(|(path, source)| ProbeError::Cpus { path, source })?;
        if online == self.online {
            return Ok(());
        }
        for cpu in online.iter().filter(|cpu| !self.online.contains(cpu)) {
            if let Err(error) = self.counters.place_again(&self.object.perf_events(), *cpu) {
                tracing::warn!(cpu, %error, "hardware counters are missing on a CPU that came online");
            }
        }
        for cpu in self.packages.strangers(&online) {
            self.place_later(cpu);
        }
        self.online = online;
        Ok(())
    }

    /// Tells a CPU that came online its package. It may have run for a moment, a tick at most: that is the first one's.
    /// Not tried again: what a CPU has done cannot be moved to another package, and totals must not fall.
    fn place_later(&mut self, cpu: u32) {
        let Some(package) = self.packages.find(cpu) else {
            self.packages
                .add_unknown(cpu, "the kernel does not say on which package it is");
            return;
        };
        match self.object.place_later(cpu, package) {
            Ok(true) => self.packages.add(cpu, package),
            Ok(false) => self
                .packages
                .add_unknown(cpu, "went before it could be told its package"),
            Err(error) => {
                let why = format!("cannot be told its package ({})", in_words(&error));
                self.packages.add_unknown(cpu, &why);
            }
        }
    }
}

/// It is opened on one thread and drained on another.
const _: () = {
    const fn moves<T: Send>() {}
    moves::<Probe>();
};
