// SPDX-License-Identifier: Apache-2.0
//! The probe: opened once, drained at each tick by one thread.
//!
//! Puts the pure parts ([`Accounts`], [`Cpus`]) and the kernel's object together, and reads the clock. What it reads
//! is cumulative since [`Probe::open`]; a drain that fails loses nothing, the next one says it all.

use crate::abi::TaskMapKey;
use crate::accounts::{Accounts, package_id};
use crate::error::ProbeError;
use crate::object::{Object, ProgramCost, RENAME, SWITCH};
use crate::packages::{Cpus, Lost, unnamed, unplaced};
use crate::preflight;
use attribution::model::{
    CgroupId, LostEvents, MonotonicNanos, PackageId, ProbeState, Section, TaskKey, TaskUsage, TickId, Usage,
};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use rustix::time::{ClockId, clock_gettime};
use std::path::Path;

/// What the probe must be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Package of each CPU that is online (`/sys/devices/system/cpu/cpuN/topology/physical_package_id`).
    pub packages_of_cpu: Vec<(u32, PackageId)>,
    /// Size of the kernel's hash: rows of process, cgroup and package. See [`Settings::max_tasks_for`].
    pub max_tasks: u32,
}

impl Settings {
    /// A size for a machine that has `processes` now: four rows for each, so that forks between two drains, several
    /// packages and growth find room. 16,384 at least, 65,536 at most.
    ///
    /// The hash is allocated at once: 112 bytes an entry and 16 a bucket (as many buckets as entries, rounded up to a
    /// power of two), so 2 MiB to 8 MiB. Beyond that, time is kept by cgroup (map `overflow`) and not by process.
    #[must_use]
    pub const fn max_tasks_for(processes: u32) -> u32 {
        match processes.saturating_mul(4) {
            ..16_384 => 16_384,
            65_536.. => 65_536,
            wanted => wanted,
        }
    }
}

/// The loaded and attached programs. Dropping it detaches them.
pub struct Probe {
    object: Object,
    accounts: Accounts,
    cpus: Cpus,
    online: Vec<u32>,
    lost: Lost,
    flush_failures: u64,
    /// Whether a pid of the kernel is a pid to us.
    host_pids: bool,
    /// Why the optional program is missing; empty when it is there.
    without_renames: String,
    /// Entries in the hash `tasks` at the last drain.
    entries: u32,
    /// Reused from drain to drain.
    forgotten: Vec<TaskMapKey>,
}

impl Probe {
    /// Loads and attaches the programs and begins to count.
    ///
    /// # Errors
    /// [`ProbeError::NoBtf`] when the kernel has no types, [`ProbeError::NotPermitted`] with the capability's name when
    /// it refuses, and others when a map or a program that is needed does not load.
    pub fn open(settings: &Settings) -> Result<Self, ProbeError> {
        let root = Path::new("/");
        let opened = Self::open_any(settings);
        crate::sys::give_back_memory();
        opened
            .map_err(|error| error.or_not_permitted("load the eBPF programs", preflight::capabilities(root)))
    }

    fn open_any(settings: &Settings) -> Result<Self, ProbeError> {
        let (mut object, renames) = Object::load(settings.max_tasks.max(1))?;
        object.place(&settings.packages_of_cpu)?;
        object.attach(SWITCH)?;
        let renames = renames.and_then(|()| object.attach(RENAME));
        let mut probe = Self {
            object,
            accounts: Accounts::default(),
            cpus: Cpus::default(),
            online: settings.packages_of_cpu.iter().map(|(cpu, _)| *cpu).collect(),
            lost: Lost::default(),
            flush_failures: 0,
            host_pids: preflight::inspect(Path::new("/")).host_pids,
            without_renames: renames.err().map(|error| reason(&error)).unwrap_or_default(),
            entries: 0,
            forgotten: Vec::new(),
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
    /// is a new row that begins at zero.
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
        self.flush_running()?;
        let mut entries = 0_u32;
        let accounts = &mut self.accounts;
        self.object
            .tasks
            .for_each(|key, value| {
                entries = entries.saturating_add(1);
                accounts.record(key, value);
            })
            .map_err(batch("read", "tasks"))?;
        self.entries = entries;

        let mut tasks = recycled;
        tasks.clear();
        let mut usage = Usage::default();
        self.read_unnamed(&mut tasks)?;
        self.read_packages(&mut usage, &mut tasks)?;
        let section = Section {
            began,
            ended: monotonic(),
        };

        self.accounts.report(tick, acked, &mut tasks, &mut self.forgotten);
        // A task that is forgotten did nothing for a whole tick after its last thread began to exit, so nobody adds to
        // its entries now, and the kernel may give them to another task at once. A thread that wakes up out of a
        // blocked exit in this very millisecond would lose one slice.
        let pruned = self.object.tasks.delete(&self.forgotten);
        self.forgotten.clear();
        pruned.map_err(batch("prune", "tasks"))?;
        usage.tasks = tasks;
        Ok((section, usage))
    }

    /// Whether it measures, and what it does without.
    #[must_use]
    pub fn states(&self) -> Vec<ProbeState> {
        vec![ProbeState {
            probe: SWITCH,
            up: true,
            reason: self.without_renames.clone(),
        }]
    }

    /// What the programs cost so far, by program. Zeros unless the kernel's statistics are on ([`crate::enable_stats`]).
    #[must_use]
    pub fn cost(&self) -> Vec<ProgramCost> {
        self.object.cost()
    }

    /// Entries that the last drain found in the kernel's hash, before it forgot any; to be compared with
    /// [`Settings::max_tasks`].
    #[must_use]
    pub const fn entries(&self) -> u32 {
        self.entries
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
            let sleeps = slot.is_some_and(|slot| slot.idle != 0 && slot.since != 0);
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

    /// Rows for time that has a cgroup and no process.
    fn read_unnamed(&mut self, rows: &mut Vec<TaskUsage>) -> Result<(), ProbeError> {
        self.object
            .overflow
            .for_each(|key, value| {
                rows.push(unnamed(
                    CgroupId(key.cgroup_id),
                    package_id(key.package),
                    value.cpu_ns,
                ));
            })
            .map_err(batch("read", "overflow"))
    }

    /// Busy and idle time, what was lost, and rows for time that has not even a cgroup.
    fn read_packages(&mut self, usage: &mut Usage, rows: &mut Vec<TaskUsage>) -> Result<(), ProbeError> {
        // Before the slots: an idle slice that began after this reading adds nothing yet.
        let now = monotonic();
        let slots = self.object.slots()?;
        let lost = self.cpus.record(&slots, &self.online, now.as_nanos());
        self.cpus.report(&mut usage.packages);
        unplaced(&slots, rows);
        if lost.map_full > self.lost.map_full {
            self.bury_silent();
        }
        self.lost = lost;
        usage.lost.extend(
            [
                ("map_full", lost.map_full),
                ("overflow_full", lost.overflow_full),
                ("implausible_slice", lost.implausible),
                ("flush_failed", self.flush_failures),
            ]
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(reason, count)| LostEvents {
                probe: SWITCH,
                reason,
                count,
            }),
        );
        Ok(())
    }

    fn bury_silent(&mut self) {
        // In another pid namespace every pid looks dead.
        if self.host_pids {
            self.accounts.bury_silent(exists);
        }
    }

    fn read_online(&mut self) -> Result<(), ProbeError> {
        self.online = aya::util::online_cpus().map_err(|(path, source)| ProbeError::Cpus { path, source })?;
        Ok(())
    }
}

/// Whether there is a process with this pid. One that took the pid over counts as well: then the row stays a while.
fn exists(task: TaskKey) -> bool {
    i32::try_from(task.tgid)
        .ok()
        .and_then(Pid::from_raw)
        .is_some_and(|pid| test_kill_process(pid) != Err(Errno::SRCH))
}

fn batch(doing: &'static str, map: &'static str) -> impl FnOnce(std::io::Error) -> ProbeError {
    move |source| ProbeError::Batch { doing, map, source }
}

fn reason(error: &ProbeError) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    format!(
        "command names may be old: {error}: {}",
        cause.unwrap_or_default().lines().next().unwrap_or_default()
    )
}

/// CLOCK_MONOTONIC: the clock of bpf_ktime_get_ns.
fn monotonic() -> MonotonicNanos {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(now.tv_nsec).unwrap_or_default();
    MonotonicNanos::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_follows_the_machine_between_its_bounds() {
        assert_eq!(Settings::max_tasks_for(0), 16_384);
        assert_eq!(Settings::max_tasks_for(5_000), 20_000);
        assert_eq!(Settings::max_tasks_for(u32::MAX), 65_536);
    }

    #[test]
    fn a_probe_may_move_to_the_thread_that_drains_it() {
        fn takes_send<T: Send>(probe: Option<T>) -> bool {
            probe.is_none()
        }
        assert!(takes_send::<Probe>(None));
    }

    #[test]
    fn a_process_is_told_from_a_pid_that_nobody_has() {
        let task = |tgid| TaskKey { tgid, start_ticks: 0 };
        assert!(exists(task(std::process::id())));
        // Above the largest pid that a kernel can be told to give (PID_MAX_LIMIT, 4 Mi).
        assert!(!exists(task(0x7fff_fff0)));
    }
}
