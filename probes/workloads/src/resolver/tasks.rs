// SPDX-License-Identifier: Apache-2.0
//! Processes that have to be asked for their cgroups themselves, through `/proc/PID/cgroup`.
//!
//! When they are asked: at first sight, then each time that they are twice as old; but at least once a second until they
//! are ten seconds old, and at least every five minutes from then on. A runtime forks its child in its own cgroup and
//! moves it some milliseconds later; whoever asked once would keep the wrong answer for ever. An administrator may move
//! an old one, too. Who is in a container has arrived, also when it was born in it a moment ago: it is asked again after
//! five minutes. Cost: two small files, some 13 to 20 µs. A node that starts 100 processes a second in its containers pays
//! 2 ms a second; each one of the host that lives for ten seconds is asked some 14 times, however short a tick is. 10,000
//! old ones, which are asked one after the other and not all at once, cost 0.8 ms a second.

use super::ResolverCounters;
use crate::cgroup::owner_of;
use crate::error::WorkloadError;
use crate::procfs::{CgroupLine, ProcFs};
use attribution::model::{CgroupOwner, TaskKey};
use foldhash::{HashMap, HashSet};
use std::sync::Arc;

/// Age in clock ticks from which a process counts as settled: 10 s. Moving it takes a runtime well under one second;
/// the rest is for a loaded node.
const SETTLED_AFTER: u64 = 1_000;

/// Longest time in clock ticks from one question to the next: 1 s for the young and 5 min for the settled.
const ASK_YOUNG_WITHIN: u64 = 100;
const ASK_WITHIN: u64 = 30_000;

/// Processes asked in one call: some 80 ms at 20 µs each, only ever reached at start-up and in a storm of forks. The rest
/// waits for the next call.
const READS_PER_CALL: usize = 4_096;

/// What is new about a process.
pub(super) struct Finding {
    pub(super) task: TaskKey,
    /// `None` when it is to be forgotten.
    pub(super) owner: Option<Arc<CgroupOwner>>,
}

pub(super) struct TaskState {
    round: u64,
    owner: Option<Arc<CgroupOwner>>,
    /// Whether its cgroup of version 2 is known and no container.
    beside: bool,
    /// From when on to ask it, on the clock of start times; `None` when nothing will be asked again.
    due: Option<u64>,
}

/// One owner for all that have the same: 10,000 processes are in some hundred cgroups.
#[derive(Default)]
struct Owners(HashSet<Arc<CgroupOwner>>);

impl Owners {
    fn the_same(&mut self, owner: CgroupOwner) -> Arc<CgroupOwner> {
        if let Some(known) = self.0.get(&owner) {
            return Arc::clone(known);
        }
        let owner = Arc::new(owner);
        self.0.insert(Arc::clone(&owner));
        owner
    }

    /// Lets those go that nobody has any more. What was handed out a moment ago goes next time.
    fn forget(&mut self) {
        self.0.retain(|owner| Arc::strong_count(owner) > 1);
    }
}

/// The processes.
#[derive(Default)]
pub(super) struct TaskBook {
    /// Those in the newest report: as many as its rows at most, which the probe bounds. Others are dropped.
    pub(super) tasks: HashMap<TaskKey, TaskState>,
    /// Known ones to ask again, and new ones; both empty between calls, kept for their room.
    owners: Owners,
    again: Vec<TaskKey>,
    new: Vec<TaskKey>,
    /// Processes noted in this round.
    noted: usize,
}

impl TaskBook {
    /// Marks a process of the report. `now` is on the clock of start times; `beside` says that its cgroup of version 2 is
    /// known and no container, so that only a container or a pod of version 1 is news.
    pub(super) fn note(&mut self, task: TaskKey, beside: bool, ended: bool, round: u64, now: u64) {
        let due = match self.tasks.get_mut(&task) {
            Some(state) if state.round == round => return,
            Some(state) => {
                state.round = round;
                state.beside = beside;
                let due = state.due.is_some_and(|due| due <= now);
                (due && !ended).then_some(&mut self.again)
            }
            None => {
                let state = TaskState {
                    round,
                    owner: None,
                    beside,
                    due: Some(now),
                };
                self.tasks.insert(task, state);
                // A dead process may still be a zombie, which no longer tells; nothing is lost by trying.
                Some(&mut self.new)
            }
        };
        self.noted += 1;
        if let Some(due) = due {
            due.push(task);
        }
    }

    /// Different owners that are kept to be shared.
    pub(super) fn distinct(&self) -> usize {
        self.owners.0.len()
    }

    /// Drops the processes that this round did not note; those that had an owner are returned.
    pub(super) fn forget(&mut self, round: u64) -> Vec<TaskKey> {
        let mut left = Vec::new();
        if self.noted < self.tasks.len() {
            self.tasks.retain(|task, state| {
                let kept = state.round == round;
                if !kept && state.owner.is_some() {
                    left.push(*task);
                }
                kept
            });
            self.owners.forget();
        }
        self.noted = 0;
        left
    }

    /// Asks the processes that are due, new ones first, and says what changed.
    pub(super) fn read_due(
        &mut self,
        proc: &mut ProcFs,
        now: u64,
        counters: &mut ResolverCounters,
    ) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut due = std::mem::take(&mut self.new);
        due.append(&mut self.again);
        let put_off = due.len().saturating_sub(READS_PER_CALL);
        counters.tasks_deferred += u64::try_from(put_off).unwrap_or(u64::MAX);
        for task in due.iter().take(READS_PER_CALL) {
            let Some(state) = self.tasks.get_mut(task) else {
                continue;
            };
            counters.tasks_read += 1;
            let answer = ask(proc, *task, state.beside, counters);
            let age = now.saturating_sub(task.start_ticks);
            // Who is gone or refuses will not answer later either.
            let has_arrived = match &answer {
                Some(Some(owner)) => owner.container.is_some(),
                // A zombie's root says nothing new.
                _ => state
                    .owner
                    .as_ref()
                    .is_some_and(|owner| owner.container.is_some()),
            };
            state.due = answer.is_some().then(|| now + patience(*task, age, has_arrived));
            // A dying process shows `/` in version 1 and so names nobody: what it was stays true.
            let Some(owner) = answer.flatten() else {
                continue;
            };
            let owner =
                Some(owner).filter(|owner| !state.beside || owner.container.is_some() || owner.pod.is_some());
            if state.owner.as_deref() != owner.as_ref() {
                state.owner = owner.map(|owner| self.owners.the_same(owner));
                findings.push(Finding {
                    task: *task,
                    owner: state.owner.clone(),
                });
            }
        }
        due.clear();
        self.new = due;
        findings
    }
}

/// Clock ticks until a process of this age is asked again. The settled are asked up to a quarter earlier, by pid, so that
/// those that were all met at our own start do not come in one crowd for ever.
fn patience(task: TaskKey, age: u64, has_arrived: bool) -> u64 {
    let longest = match (has_arrived, age < SETTLED_AFTER) {
        (true, _) => ASK_WITHIN,
        (false, true) => return age.min(ASK_YOUNG_WITHIN),
        (false, false) => age.min(ASK_WITHIN),
    };
    longest - longest * u64::from(task.tgid % 64) / 256
}

/// The owner that a process's own file names, if any; `None` when the process gives no answer. Counts why.
fn ask(
    proc: &mut ProcFs,
    task: TaskKey,
    beside: bool,
    counters: &mut ResolverCounters,
) -> Option<Option<CgroupOwner>> {
    match read(proc, task) {
        Ok(Some(mut lines)) => {
            // Version 2 has been asked by the cgroup's number; of a dying process it alone would still tell.
            lines.retain(|line| !(beside && line.unified()));
            Some(best_owner(&lines))
        }
        Ok(None) => {
            counters.tasks_vanished += 1;
            None
        }
        Err(WorkloadError::Denied { .. }) => {
            counters.tasks_denied += 1;
            None
        }
        Err(_) => {
            counters.tasks_unparsable += 1;
            None
        }
    }
}

/// The lines of exactly this process. The start time is read **after** them: if it is still ours then, the pid was ours
/// all along.
fn read(proc: &mut ProcFs, task: TaskKey) -> Result<Option<Vec<CgroupLine>>, WorkloadError> {
    let Some(lines) = proc.cgroups(task.tgid)? else {
        return Ok(None);
    };
    let stat = proc.stat(task.tgid)?;
    Ok(stat.filter(|stat| stat.key() == task).map(|_| lines))
}

/// The line that knows best: a container in any hierarchy before a pod, a pod before a unit, and among equals the
/// hierarchy that counts CPU time. Runtimes without a certain controller leave processes in its root, and systemd keeps
/// units in its own hierarchy only, so no single line may be trusted alone.
fn best_owner(lines: &[CgroupLine]) -> Option<CgroupOwner> {
    let mut owners: Vec<(u8, CgroupOwner)> = lines
        .iter()
        .map(|line| (rank(line), owner_of(&line.path)))
        .collect();
    owners.sort_by_key(|(rank, _)| *rank);
    let best = |names: fn(&CgroupOwner) -> bool| owners.iter().position(|(_, owner)| names(owner));
    let at = best(|owner| owner.container.is_some())
        .or_else(|| best(|owner| owner.pod.is_some()))
        .or_else(|| best(|owner| owner.unit.is_some()))?;
    Some(owners.swap_remove(at).1)
}

fn rank(line: &CgroupLine) -> u8 {
    const ORDER: [&str; 7] = [
        "cpuacct",
        "cpu",
        "pids",
        "devices",
        "freezer",
        "memory",
        "name=systemd",
    ];
    if line.unified() {
        return u8::MAX;
    }
    let at = ORDER.iter().position(|controller| line.has(controller));
    at.and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_wins_over_a_unit_and_the_first_line_has_no_right() {
        let id = "ab".repeat(32);
        let owner = |text: String| best_owner(&CgroupLine::parse_all(text.as_bytes()));
        // path by hierarchy                                             -> owner
        let cases = [
            (
                format!("9:name=systemd:/system.slice/docker.service\n3:memory:/docker/{id}\n0::/\n"),
                "c",
            ),
            (
                format!(
                    "5:cpuset:/\n4:cpu,cpuacct:/docker/{id}\n3:pids:/docker/{}\n",
                    "cd".repeat(32)
                ),
                "c",
            ),
            (
                "9:name=systemd:/system.slice/ssh.service\n4:cpu,cpuacct:/\n0::/\n".to_owned(),
                "ssh.service",
            ),
            (
                "9:name=systemd:/system.slice/a.service\n4:cpu:/b.service\n".to_owned(),
                "b.service",
            ),
            (
                "8:net_cls:/b.service\n9:freezer:/a.service\n".to_owned(),
                "a.service",
            ),
            (
                "0::/system.slice/a.service\n8:net_cls:/b.service\n".to_owned(),
                "b.service",
            ),
            (
                "0::/system.slice/a.service\n8:net_cls:/\n".to_owned(),
                "a.service",
            ),
        ];
        for (text, expected) in cases {
            let found = owner(text.clone()).unwrap();
            let name = match &found.container {
                Some(container) => {
                    assert_eq!(container.as_str(), id, "{text}");
                    "c"
                }
                None => found.unit.as_deref().unwrap(),
            };
            assert_eq!(name, expected, "{text}");
        }
        let monitor = owner("4:cpu:/crio.service\n9:name=systemd:/kubepods/pod1-2\n".to_owned());
        assert_eq!(monitor.unwrap().pod.unwrap().as_str(), "1-2");
        assert_eq!(owner("4:memory:/own/7fd8cdab\n1:cpu:/\n0::/\n".to_owned()), None);
    }
}
