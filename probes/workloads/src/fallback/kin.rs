// SPDX-License-Identifier: Apache-2.0
//! Whose child time will show the dead: what is known of them is booked with those who waited for them. Reads no file.

use super::processes::Process;
use attribution::model::{CgroupId, CpuNanos, TaskKey};
use std::collections::HashMap;

/// Generations that are followed. Shells in build systems in containers nest some twenty; beyond it all are told.
const GENERATIONS: usize = 64;

/// A process's parent as of the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parent {
    /// It has none in this pid namespace: an init, or one that was put in from outside.
    None,
    /// This one.
    Known(TaskKey),
    /// One that is not in the book, or has the pid of one that is dead.
    Unknown,
}

/// Books what is known of `dead` in the child time of the living. `may_wait` says whether a process still has all children
/// that it did not wait for; `counts` whether a counter pays for a cgroup.
///
/// The one who waited is the parent, if it still may. Else it is either the parent before its own end, and then the time is
/// part of what the nearest living ancestor is shown when it waits in its turn; or the process that inherited the orphan: a
/// subreaper further up, or the init of the pid namespace. So the nearest one and all above it have it booked. Where the
/// line breaks off all processes have: one too many loses at most until its next reading, one too few pays twice.
pub(super) fn tell(
    processes: &mut HashMap<u32, Process>,
    dead: &[Process],
    counts: impl Fn(CgroupId) -> bool,
    mut may_wait: impl FnMut(&Process) -> bool,
) {
    let parents: HashMap<TaskKey, Parent> = dead.iter().map(|dead| (dead.key, dead.parent)).collect();
    let mut waiting: HashMap<TaskKey, bool> = HashMap::new();
    let mut of_no_line = CpuNanos::ZERO;
    for dead in dead {
        let known = dead.accounted(counts(dead.cgroup));
        let mut at = dead.parent;
        let mut is_whole = false;
        for generation in 0..GENERATIONS {
            let Parent::Known(key) = at else {
                is_whole = at == Parent::None;
                break;
            };
            if let Some(parent) = living(processes, key) {
                parent.children.credit(known);
                at = parent.parent;
                if generation == 0 && *waiting.entry(key).or_insert_with(|| may_wait(parent)) {
                    is_whole = true;
                    break;
                }
            } else {
                at = parents.get(&key).copied().unwrap_or(Parent::Unknown);
            }
        }
        if !is_whole {
            of_no_line += known;
        }
    }
    if !of_no_line.is_zero() {
        for process in processes.values_mut() {
            process.children.credit(of_no_line);
        }
    }
}

fn living(processes: &mut HashMap<u32, Process>, key: TaskKey) -> Option<&mut Process> {
    processes.get_mut(&key.tgid).filter(|process| process.key == key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fallback::children::ChildTime;
    use crate::procfs::PidStat;

    const START: u64 = 100;

    fn key(pid: u32) -> TaskKey {
        TaskKey {
            tgid: pid,
            start_ticks: START,
        }
    }

    /// A process that ran as many nanoseconds as its pid says.
    fn process(pid: u32, start: u64, parent: Parent) -> Process {
        let line = format!(
            "{pid} (p) S 0 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {start} {}0",
            "0 ".repeat(16)
        );
        let stat = PidStat::parse(line.as_bytes()).unwrap();
        let mut process = Process::new(&stat, ChildTime::from_birth());
        process.parent = parent;
        process.advance(&stat, CpuNanos::from_nanos(u64::from(pid)), 1);
        process
    }

    /// 1 has the children 2 and 9, 2 has 30, 30 has 400. Of these `dead` have died and `exiting` have begun to.
    /// Who has how much booked.
    fn told(
        dead: &[u32],
        exiting: &[u32],
        change: impl FnOnce(&mut HashMap<u32, Process>),
    ) -> Vec<(u32, u64)> {
        let line = [
            (1, None),
            (2, Some(1)),
            (9, Some(1)),
            (30, Some(2)),
            (400, Some(30)),
        ];
        let mut processes: HashMap<u32, Process> = line
            .into_iter()
            .map(|(pid, parent)| {
                let parent = parent.map_or(Parent::None, |parent| Parent::Known(key(parent)));
                (pid, process(pid, START, parent))
            })
            .collect();
        change(&mut processes);
        let dead: Vec<Process> = dead.iter().filter_map(|pid| processes.remove(pid)).collect();
        tell(
            &mut processes,
            &dead,
            |_| false,
            |process| !exiting.contains(&process.key.tgid),
        );
        let mut told: Vec<(u32, u64)> = processes
            .values()
            .map(|process| (process.key.tgid, process.children.accounted().as_nanos()))
            .filter(|(_, nanos)| *nanos > 0)
            .collect();
        told.sort_unstable();
        told
    }

    #[test]
    fn a_parent_that_may_wait_has_it_alone() {
        assert_eq!(told(&[400], &[], |_| {}), [(30, 400)]);
    }

    #[test]
    fn of_a_parent_that_exits_all_above_may_have_inherited_and_nobody_beside() {
        assert_eq!(told(&[400], &[30], |_| {}), [(1, 400), (2, 400), (30, 400)]);
    }

    #[test]
    fn over_a_dead_parent_the_nearest_that_lives_has_both_and_those_above_the_orphan() {
        assert_eq!(told(&[30, 400], &[], |_| {}), [(1, 400), (2, 430)]);
    }

    #[test]
    fn where_the_line_breaks_off_everybody_has_it() {
        let unknown = |book: &mut HashMap<u32, Process>| {
            book.get_mut(&400).unwrap().parent = Parent::Unknown;
        };
        let all = [(1, 400), (2, 400), (9, 400), (30, 400)];
        assert_eq!(told(&[400], &[], unknown), all);
        let in_new_hands = |book: &mut HashMap<u32, Process>| {
            book.insert(30, process(30, START + 5, Parent::Known(key(9))));
        };
        assert_eq!(told(&[400], &[], in_new_hands), all);
    }

    #[test]
    fn a_line_that_never_ends_is_told_to_all_and_ends() {
        let circle = |book: &mut HashMap<u32, Process>| {
            book.get_mut(&1).unwrap().parent = Parent::Known(key(2));
        };
        let told = told(&[400], &[30], circle);
        assert_eq!((told.len(), told[2].0), (4, 9));
    }
}
