// SPDX-License-Identifier: Apache-2.0
//! What a drain reads, map by map, and what it deletes afterwards. Each function reads one thing; their order, which
//! decides what is exact, is the drain's.

use super::{Part, Probe, SWITCH};
use crate::abi::{HardwareValue, OverflowKey, TASK_ENDED, TaskMapKey};
use crate::clock::monotonic;
use crate::counters;
use crate::error::{ProbeError, in_batch};
use crate::places::Place;
use crate::totals::Total;
use attribution::model::{LostEvents, TaskKey, TaskUsage, Usage};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use std::time::Duration;

impl Probe {
    pub(super) fn read_seats(&mut self) {
        let accounts = &mut self.accounts;
        self.seats.read(self.object.seats.words(), |sitting| {
            accounts.record_sitting(sitting);
        });
    }

    /// The hash: who has no seat, and who may get one.
    pub(super) fn read_tasks(&mut self) -> Result<(), ProbeError> {
        let mut entries = 0_u32;
        let (accounts, seats, seated) = (&mut self.accounts, &mut self.seats, &mut self.seated);
        let (words, drain) = (self.object.seats.words(), self.drain);
        let room = accounts.rows() < self.most_rows;
        self.object
            .tasks
            .for_each(|key, value| {
                entries = entries.saturating_add(1);
                accounts.record(key, value);
                if room && value.flags & TASK_ENDED == 0 && seats.seat(words, key, drain) {
                    seated.push(*key);
                }
            })
            .map_err(in_batch("read", "tasks"))?;
        self.entries = entries;
        Ok(())
    }

    /// Hardware counts, which have a hash of their own.
    pub(super) fn read_hardware(&mut self) -> Result<(), ProbeError> {
        if self.counters.mask() == 0 {
            return Ok(());
        }
        let (accounts, unnamed, open) = (&mut self.accounts, &mut self.unnamed, &self.counters.counters);
        let overflow = &mut self.overflow;
        let mut entries = 0_u32;
        self.object
            .hardware
            .for_each(|key, value: &HardwareValue| {
                entries = entries.saturating_add(1);
                if key.tgid != 0 {
                    accounts.record_hardware(key, value, open);
                    return;
                }
                let place = Place {
                    cgroup: key.cgroup_id,
                    package: key.package,
                };
                let entry = overflow.entry(place).or_default();
                unnamed.add(place, 0, &counters::counts(open, entry.tally.advance(value)));
            })
            .map_err(in_batch("read", "hardware"))?;
        self.hardware_entries = entries;
        Ok(())
    }

    /// Time that has a cgroup and no process.
    pub(super) fn read_unnamed(&mut self) -> Result<(), ProbeError> {
        let (unnamed, overflow) = (&mut self.unnamed, &mut self.overflow);
        self.object
            .overflow
            .for_each(|key, value| {
                let place = Place {
                    cgroup: key.cgroup_id,
                    package: key.package,
                };
                let entry = overflow.entry(place).or_default();
                let rise = entry.total.advance(value.cpu_ns, &value.events);
                unnamed.see(place);
                unnamed.add(place, rise.cpu_ns, &rise.events);
            })
            .map_err(in_batch("read", "overflow"))
    }

    /// Deletes the entries of rows without a process that left, from both hashes. Somebody may run there again at any
    /// time: what an entry holds by then is added. Who could not be deleted is tried again in the next drain.
    pub(super) fn take_left(&mut self) -> Result<(), ProbeError> {
        while let Some(place) = self.left.last().copied() {
            let entry = self.overflow.entry(place).or_default();
            let last = self.object.overflow.take(&OverflowKey {
                cgroup_id: place.cgroup,
                package: place.package,
                ..OverflowKey::default()
            });
            if let Some(last) = last.map_err(in_batch("prune", "overflow"))? {
                let rise = entry.total.advance(last.cpu_ns, &last.events);
                self.unnamed.add(place, rise.cpu_ns, &rise.events);
            }
            // The next one begins at zero.
            entry.total = Total::default();
            if self.counters.mask() != 0 {
                let last = self.object.hardware.take(&TaskMapKey {
                    cgroup_id: place.cgroup,
                    package: place.package,
                    ..TaskMapKey::default()
                });
                if let Some(last) = last.map_err(in_batch("prune", "hardware"))? {
                    let rises = entry.tally.advance(&last);
                    let counts = counters::counts(&self.counters.counters, rises);
                    self.unnamed.add(place, 0, &counts);
                }
            }
            self.overflow.remove(&place);
            self.left.pop();
        }
        Ok(())
    }

    /// Deletes the entries of rows of living processes that left, from both hashes and from their seats. The process may
    /// come back at any time: what an entry holds by then is kept back for the row. The seat goes last: until its key is
    /// gone nobody makes a new entry.
    pub(super) fn take_left_rows(&mut self) -> Result<(), ProbeError> {
        while let Some(key) = self.left_rows.last().copied() {
            let last = self.object.tasks.take(&key);
            let last = last.map_err(in_batch("prune", "tasks"))?;
            self.accounts.entry_taken(&key, last.as_ref());
            if self.counters.mask() != 0 {
                let last = self.object.hardware.take(&key);
                let last = last.map_err(in_batch("prune", "hardware"))?;
                self.accounts
                    .hardware_taken(&key, last.as_ref(), &self.counters.counters);
            }
            self.seats.leave(self.object.seats.words(), &key);
            self.left_rows.pop();
        }
        Ok(())
    }

    /// Opens the hardware counters anew on CPUs whose events stand still or cannot be read: those that were offline
    /// between two drains, as all but the first are while a machine sleeps. Returns how many readings failed in all.
    fn mend_counters(&mut self) -> Result<u64, ProbeError> {
        if self.counters.mask() == 0 {
            return Ok(0);
        }
        let failed = self.object.failed_readings()?;
        self.failed_readings.resize(failed.len(), 0);
        for ((cpu, now), before) in (0_u32..).zip(&failed).zip(&mut self.failed_readings) {
            if *now > *before && self.online.contains(&cpu) {
                tracing::debug!(cpu, "hardware counters are opened again");
                if let Err(error) = self.counters.place_again(&self.object.perf_events(), cpu) {
                    tracing::warn!(cpu, %error, "hardware counters are missing on a CPU");
                }
            }
            *before = *now;
        }
        Ok(failed.iter().sum())
    }

    /// Busy and idle time, softirqs, what was lost, and rows for time that has not even a cgroup.
    pub(super) fn read_cpus(
        &mut self,
        usage: &mut Usage,
        rows: &mut Vec<TaskUsage>,
        most: Duration,
    ) -> Result<(), ProbeError> {
        // Before the slots: an idle slice that began after this reading adds nothing yet.
        let now = monotonic();
        let slots = self.object.slots()?;
        let lost = self.cpus.record(&slots, &self.online, now.as_nanos(), most);
        self.cpus.packages(&mut usage.packages);
        usage.cpus.extend(self.cpus.cpus());
        self.cpus.unplaced_rows(rows);
        let mut unmeasured = 0;
        if self.softirqs == Part::Up {
            self.cpus.softirq_rows(rows);
            let softirqs = self.object.softirqs()?;
            self.cpus.softirq_times(&softirqs, &mut usage.softirqs);
            unmeasured = softirqs.iter().map(|cpu| cpu.unmeasured).sum();
        }
        if lost.map_full > self.lost.map_full {
            self.bury_silent();
        }
        self.lost = lost;
        let refused_readings = self.mend_counters()?;
        let implausible = lost.implausible.saturating_add(self.accounts.refused());
        usage.lost.extend(
            [
                (SWITCH, "map_full", lost.map_full),
                (SWITCH, "overflow_full", lost.overflow_full),
                (SWITCH, "implausible_slice", implausible),
                (SWITCH, "unseen_switch", lost.unseen),
                (SWITCH, "flush_failed", self.flush_failures),
                (SWITCH, "unknown_package", self.packages.unknown()),
                ("softirq", "unmeasured", unmeasured),
                ("hw_counters", "map_full", lost.counters_full),
                ("hw_counters", "reading_refused", refused_readings),
            ]
            .into_iter()
            .filter(|(.., count)| *count > 0)
            .map(|(probe, reason, count)| LostEvents { probe, reason, count }),
        );
        Ok(())
    }

    /// Deletes the forgotten, from both hashes and from their seats: whoever has a row in one may have one in the others.
    /// They are remembered until that has worked: nobody else knows any more that they are paid for.
    pub(super) fn delete_forgotten(&mut self) -> Result<(), ProbeError> {
        if self.forgotten.is_empty() {
            return Ok(());
        }
        for key in &self.forgotten {
            self.seats.forget(self.object.seats.words(), key);
        }
        let tasks = self.object.tasks.delete(&self.forgotten);
        tasks.map_err(in_batch("prune", "tasks"))?;
        if self.counters.mask() != 0 {
            let hardware = self.object.hardware.delete(&self.forgotten);
            hardware.map_err(in_batch("prune", "hardware"))?;
        }
        self.forgotten.clear();
        Ok(())
    }

    /// Deletes from the hash of times those who have a seat. After an error they are found again in the next drain.
    pub(super) fn delete_seated(&mut self) -> Result<(), ProbeError> {
        let seated = self.object.tasks.delete(&self.seated);
        seated.map_err(in_batch("prune", "tasks"))?;
        for key in &self.seated {
            self.accounts.entry_deleted(key);
        }
        Ok(())
    }

    fn bury_silent(&mut self) {
        // In another pid namespace every pid looks dead.
        if self.host_pids {
            self.accounts.bury_silent(exists);
        }
    }
}

/// Whether there is a process with this pid. One that took the pid over counts as well: then the row stays a while.
fn exists(task: TaskKey) -> bool {
    i32::try_from(task.tgid)
        .ok()
        .and_then(Pid::from_raw)
        .is_some_and(|pid| test_kill_process(pid) != Err(Errno::SRCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_a_pid_that_nobody_has() {
        let task = |tgid| TaskKey { tgid, start_ticks: 0 };
        assert!(exists(task(std::process::id())));
        // Above the largest pid that a kernel can be told to give (PID_MAX_LIMIT, 4 Mi).
        assert!(!exists(task(0x7fff_fff0)));
    }
}
