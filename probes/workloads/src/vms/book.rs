// SPDX-License-Identifier: Apache-2.0
//! Which processes are looked at, and when.
//!
//! A process is looked at when it is first seen; and, because that may have been between its fork and its exec, again when
//! it is a second and when it is ten seconds old, if its command name is another one by then, as it is after an exec. A
//! hypervisor is looked at each time, since libvirt's files may come after it. Once more, at any age, when the name
//! becomes that of a hypervisor. So most processes cost one look of some 10 µs in their lives, and none costs more than
//! four.

use super::command::Program;
use attribution::model::{Comm, TaskKey};
use foldhash::HashMap;

/// Ages in clock ticks at which a process is looked at again: 1 s and 10 s.
const AGAIN_AT: [u64; 2] = [100, 1_000];

/// Looks in one call: 10 ms at 10 µs each, only ever reached at start-up and in a storm of forks. The rest waits for the
/// next call; those with a hypervisor's name come first.
pub(super) const LOOKS_PER_CALL: usize = 1_024;

/// A process of the newest report: 24 bytes with its key, for tens of thousands of them.
struct State {
    /// The call that last saw it. Who is not seen is dropped in the same call, so it may wrap.
    round: u8,
    /// How many of the three looks are done.
    looks: u8,
    /// Whether it was looked at under a hypervisor's name.
    hinted: bool,
    /// Whether it is a machine's.
    member: bool,
    /// A hash of the command name that it was looked at under.
    name: u32,
}

/// The user processes of the newest report: as many as its rows at most, which the probe bounds. Others are dropped.
#[derive(Default)]
pub(super) struct Book {
    states: HashMap<TaskKey, State>,
    round: u8,
    noted: usize,
    /// Those with a hypervisor's name, and others; both empty between calls, kept for their room.
    hinted: Vec<(TaskKey, Comm)>,
    due: Vec<(TaskKey, Comm)>,
}

impl Book {
    /// Begins a call.
    pub(super) fn begin(&mut self) {
        self.round = self.round.wrapping_add(1);
        self.noted = 0;
    }

    /// Marks a process of the report. `now` is on the clock of start times. The dead are not looked at a second time: they
    /// cannot change any more. Says whether it is a machine's.
    pub(super) fn note(&mut self, task: TaskKey, comm: Comm, ended: bool, now: u64) -> bool {
        let round = self.round;
        let state = self.states.entry(task).or_insert_with(|| State {
            round: round.wrapping_sub(1),
            looks: 0,
            hinted: false,
            member: false,
            name: 0,
        });
        let member = state.member;
        if state.round == round {
            return member;
        }
        state.round = round;
        self.noted += 1;
        let hint = !state.hinted && Program::of(name_of(&comm)).is_some();
        let looks = looks_at(now.saturating_sub(task.start_ticks));
        let mut is_due = state.looks < looks;
        if is_due && state.looks > 0 && !state.hinted && !member && state.name == hash(&comm) {
            state.looks = looks;
            is_due = false;
        }
        if (ended && state.looks > 0) || !(is_due || hint) {
            return member;
        }
        if hint {
            self.hinted.push((task, comm));
        } else {
            self.due.push((task, comm));
        }
        member
    }

    /// Remembers whether it is a machine's.
    pub(super) fn mark(&mut self, task: TaskKey, member: bool) {
        if let Some(state) = self.states.get_mut(&task) {
            state.member = member;
        }
    }

    /// A look found nothing: perhaps in the middle of an exec, so the next one that is due is made whatever it is called.
    pub(super) fn doubt(&mut self, task: TaskKey) {
        if let Some(state) = self.states.get_mut(&task) {
            state.name = 0;
        }
    }

    /// Drops those that this call did not note; whether there were any.
    pub(super) fn forget(&mut self) -> bool {
        let any = self.noted < self.states.len();
        if any {
            let round = self.round;
            self.states.retain(|_, state| state.round == round);
        }
        any
    }

    /// How many processes the newest report has.
    pub(super) fn len(&self) -> usize {
        self.states.len()
    }

    /// Whether the newest report has it.
    pub(super) fn has(&self, task: TaskKey) -> bool {
        self.states.contains_key(&task)
    }

    /// Takes those to look at now, and how many have to wait.
    pub(super) fn take_due(&mut self, now: u64) -> (Vec<(TaskKey, Comm)>, usize) {
        let waiting = (self.hinted.len() + self.due.len()).saturating_sub(LOOKS_PER_CALL);
        let mut due = Vec::new();
        for (tasks, hinted) in [(&mut self.hinted, true), (&mut self.due, false)] {
            for (task, comm) in tasks.drain(..) {
                let Some(state) = self.states.get_mut(&task).filter(|_| due.len() < LOOKS_PER_CALL) else {
                    continue;
                };
                state.looks = looks_at(now.saturating_sub(task.start_ticks));
                state.hinted |= hinted;
                state.name = hash(&comm);
                due.push((task, comm));
            }
        }
        (due, waiting)
    }
}

/// A command name without the NULs behind it.
fn name_of(comm: &Comm) -> &[u8] {
    comm.0.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Of a command name (FNV-1a), to see whether it is another one.
fn hash(comm: &Comm) -> u32 {
    comm.0.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

/// Looks that a process of this age has had.
fn looks_at(age: u64) -> u8 {
    AGAIN_AT.iter().fold(1, |looks, at| looks + u8::from(age >= *at))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: TaskKey = TaskKey {
        tgid: 7,
        start_ticks: 10_000,
    };

    fn comm(hint: bool) -> Comm {
        Comm::from_bytes(if hint { b"qemu-system-x86" } else { b"sh" })
    }

    /// Ages at which it is looked at when a report comes each `step` ticks and it is called so.
    fn looks(step: usize, name: impl Fn(u64) -> &'static str) -> Vec<u64> {
        let mut book = Book::default();
        let mut ages = Vec::new();
        for age in (10..2_500).step_by(step) {
            book.begin();
            let comm = Comm::from_bytes(name(age).as_bytes());
            book.note(TASK, comm, false, TASK.start_ticks + age);
            if !book.take_due(TASK.start_ticks + age).0.is_empty() {
                ages.push(age);
            }
            book.forget();
        }
        ages
    }

    #[test]
    fn a_process_is_looked_at_once_and_again_while_it_is_young_if_it_has_another_name() {
        let renamed = |at| move |age| if age < at { "sh" } else { "web" };
        assert_eq!(looks(10, |_| "sh"), [10]);
        assert_eq!(looks(10, renamed(50)), [10, 100]);
        assert_eq!(looks(10, renamed(100)), [10, 100]);
        assert_eq!(looks(10, renamed(500)), [10, 1_000]);
        assert_eq!(looks(10, renamed(1_010)), [10]);
        let always = |age| ["a", "b", "c"][usize::from(age >= 50) + usize::from(age >= 500)];
        assert_eq!(looks(10, always), [10, 100, 1_000], "however short the tick");
        assert_eq!(looks(100, renamed(50)), [10, 110]);
        assert_eq!(looks(2_000, renamed(50)), [10, 2_010]);
    }

    #[test]
    fn a_hypervisors_name_is_looked_at_at_once_and_when_it_is_due() {
        let qemu = |at| move |age| if age < at { "sh" } else { "qemu-system-x86" };
        assert_eq!(looks(10, qemu(310)), [10, 310, 1_000]);
        assert_eq!(looks(10, qemu(2_000)), [10, 2_000]);
        assert_eq!(looks(10, qemu(0)), [10, 100, 1_000]);
    }

    #[test]
    fn a_machine_under_another_name_is_looked_at_when_it_is_due() {
        let mut book = Book::default();
        let looks = [10, 50, 100, 500, 1_000].map(|age| {
            book.begin();
            book.note(TASK, comm(false), false, TASK.start_ticks + age);
            book.mark(TASK, true);
            !book.take_due(TASK.start_ticks + age).0.is_empty()
        });
        assert_eq!(looks, [true, false, true, false, true]);
    }

    #[test]
    fn the_dead_are_looked_at_only_if_nobody_did_and_leave_with_the_report() {
        let mut book = Book::default();
        book.begin();
        book.note(TASK, comm(false), true, 10_010);
        assert_eq!(book.take_due(10_010).0, [(TASK, comm(false))]);
        book.begin();
        book.note(TASK, comm(true), true, 12_000);
        assert_eq!(book.take_due(12_000).0, []);
        assert!(!book.forget() && book.has(TASK));
        book.begin();
        assert!(book.forget() && !book.has(TASK));
    }

    #[test]
    fn looks_in_one_call_are_bounded_and_hypervisors_come_first() {
        let mut book = Book::default();
        let task = |tgid| TaskKey { tgid, start_ticks: 1 };
        let report = |book: &mut Book| {
            book.begin();
            for tgid in 0..2_000 {
                book.note(task(tgid), comm(tgid == 1_999), false, 5_000);
            }
            book.take_due(5_000)
        };
        let (first, waiting) = report(&mut book);
        assert_eq!(
            (first.len(), waiting, first.first().map(|(task, _)| *task)),
            (1_024, 976, Some(task(1_999)))
        );
        assert_eq!((report(&mut book).0.len(), report(&mut book).0.len()), (976, 0));
    }

    #[test]
    fn an_entry_is_small() {
        assert_eq!(size_of::<(TaskKey, State)>(), 24);
    }
}
