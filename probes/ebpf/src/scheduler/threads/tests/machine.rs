// SPDX-License-Identifier: Apache-2.0
//! A machine that forks, runs, execs, dies and reuses tids and addresses in any order, with the two programs of
//! bpf/task_time.bpf.c, whose passes are interrupted at every thread. What is charged must be what ran.

mod accountant;
mod programs;

use super::super::super::abi::{Burials, DeadCgroup, DeadCgroupKey, DeadRow, DeadRowKey, ROW_LEADER_GONE};
use super::super::super::graves::{self, Graves, Stir};
use super::*;
use crate::listing::Patience;
use crate::unnamed::Unnamed;
use attribution::model::TaskUsage;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

/// Every step takes as long, so that a whole run is shorter than [`MOURNING_NS`].
const STEP_NS: u64 = SECOND_NS / 2;

/// How long rows are listed after their last rise that have no process, or are of a cgroup that it has left: shorter than
/// most runs.
const PATIENCE: Patience = Patience {
    keep: Duration::from_nanos(4 * STEP_NS),
    most: 1_000,
};

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A new process.
    Fork,
    /// A new thread; like the rest of them by any number, which picks one of those that can.
    Clone(usize),
    Run(usize, u64),
    Move(usize),
    /// A thread is released: nobody can see it any more.
    Exit(usize),
    Exec(usize),
    /// A thread that was released is freed, and says its last word.
    Free(usize),
    /// The pass goes on by one thread, begins, or ends with a drain.
    Pass,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => Just(Step::Fork),
        2 => any::<usize>().prop_map(Step::Clone),
        6 => (any::<usize>(), 1..STEP_NS).prop_map(|(who, ns)| Step::Run(who, ns)),
        1 => any::<usize>().prop_map(Step::Move),
        3 => any::<usize>().prop_map(Step::Exit),
        1 => any::<usize>().prop_map(Step::Exec),
        3 => any::<usize>().prop_map(Step::Free),
        8 => Just(Step::Pass),
    ];
    proptest::collection::vec(step, 1..150)
}

#[derive(Clone, Debug)]
struct Task {
    record: ThreadRecord,
    /// Which process, whatever its ids.
    process: usize,
    leads: bool,
    released: bool,
    /// A leader that exited before its threads.
    zombie: bool,
}

/// Room in the maps.
#[derive(Clone, Copy, Debug)]
struct Room {
    threads: usize,
    rows: usize,
    cgroups: usize,
}

const AMPLE: Room = Room {
    threads: 1_000,
    rows: 1_000,
    cgroups: 1_000,
};

struct Machine {
    now_ns: u64,
    room: Room,
    tasks: Vec<Task>,
    processes: usize,
    ran: Counts,
    // The maps.
    pass_ended: u64,
    dead_threads: Vec<ThreadRecord>,
    dead_rows: BTreeMap<(u64, u32, u64), (DeadRowKey, DeadRow)>,
    dead_cgroups: BTreeMap<u64, DeadCgroup>,
    burials: Burials,
    /// All that threads ever did whose last word found no room.
    silenced: u64,
    // The pass that runs: when it began, the tid it came to, what it saw.
    pass: Option<(u64, u32, Vec<ThreadRecord>)>,
    // User space.
    threads: Threads,
    graves: Graves,
    rows: Processes,
    reported: Stir,
    added: Stir,
    tick: u64,
    seen: HashMap<(Option<TaskKey>, u64), Counts>,
    charged: Counts,
    /// Process rows of the last report.
    listed: usize,
    /// Nobody is born any more.
    ends: bool,
}

impl Machine {
    fn new(room: Room) -> Self {
        Self {
            now_ns: OPENED,
            room,
            tasks: Vec::new(),
            processes: 0,
            ran: Counts::default(),
            pass_ended: u64::MAX,
            dead_threads: Vec::new(),
            dead_rows: BTreeMap::new(),
            dead_cgroups: BTreeMap::new(),
            burials: Burials::default(),
            silenced: 0,
            pass: None,
            threads: Threads::new(OPENED),
            graves: Graves::default(),
            rows: Processes::new(Unnamed::new(1_000, PATIENCE.keep), PATIENCE),
            reported: Stir::default(),
            added: Stir::default(),
            tick: 0,
            seen: HashMap::new(),
            charged: Counts::default(),
            listed: 0,
            ends: false,
        }
    }

    /// One of the tasks that `can`, by any number.
    fn pick(&self, which: usize, can: impl Fn(&Self, &Task) -> bool) -> Option<usize> {
        let able: Vec<usize> = (0..self.tasks.len())
            .filter(|index| can(self, &self.tasks[*index]))
            .collect();
        (!able.is_empty()).then(|| able[which % able.len()])
    }

    fn others(&self, task: &Task) -> usize {
        let group = self.tasks.iter().filter(|other| other.process == task.process);
        group.filter(|other| !other.leads && !other.released).count()
    }

    fn step(&mut self, step: Step) {
        self.now_ns += STEP_NS;
        match step {
            Step::Fork => {
                let tid = self.free_tid();
                let started_ns = self.now_ns;
                self.processes += 1;
                self.born(tid, tid, started_ns, self.processes);
            }
            Step::Clone(which) => {
                if let Some(parent) = self.pick(which, |_, task| !task.released && !task.zombie) {
                    let Task { record, process, .. } = self.tasks[parent].clone();
                    let tid = self.free_tid();
                    self.born(tid, record.tgid, record.started_ns, process);
                }
            }
            Step::Run(which, ns) => {
                if let Some(index) = self.pick(which, |_, task| !task.released && !task.zombie) {
                    let did = Counts {
                        cpu_ns: ns,
                        switches: 1,
                    };
                    self.ran.add(did);
                    self.tasks[index].record.cpu_ns += ns;
                    self.tasks[index].record.switches += 1;
                }
            }
            Step::Move(which) => {
                if let Some(index) = self.pick(which, |_, task| !task.released) {
                    self.tasks[index].record.cgroup_id ^= 1;
                }
            }
            Step::Exit(which) => self.exit(which),
            Step::Exec(which) => self.exec(which),
            Step::Free(which) => {
                if let Some(index) = self.pick(which, |_, task| task.released) {
                    self.free(index);
                }
            }
            Step::Pass => self.go_on(),
        }
    }

    fn free_tid(&self) -> u32 {
        let taken = |tid| {
            self.tasks
                .iter()
                .any(|task| !task.released && (task.record.tid == tid || task.record.tgid == tid))
        };
        (2..).find(|tid| !taken(*tid)).unwrap()
    }

    fn born(&mut self, tid: u32, tgid: u32, started_ns: u64, process: usize) {
        let taken = |address| self.tasks.iter().any(|task| task.record.task == address);
        let address = (1..).map(|slot| slot * 0x1000).find(|address| !taken(*address));
        self.tasks.push(Task {
            record: ThreadRecord {
                task: address.unwrap(),
                start_ns: self.now_ns,
                started_ns,
                cgroup_id: 40,
                tid,
                tgid,
                ..ThreadRecord::default()
            },
            process,
            leads: tid == tgid,
            released: false,
            zombie: false,
        });
    }

    fn exit(&mut self, which: usize) {
        let Some(index) = self.pick(which, |_, task| !task.released && !task.zombie) else {
            return;
        };
        if self.tasks[index].leads && self.others(&self.tasks[index]) > 0 {
            self.tasks[index].zombie = true;
            return;
        }
        self.tasks[index].released = true;
        // The last thread takes a leader along that waited for it.
        let process = self.tasks[index].process;
        let waiting = self.pick(0, |machine, task| {
            task.process == process && task.zombie && !task.released && machine.others(task) == 0
        });
        if let Some(leader) = waiting {
            self.tasks[leader].released = true;
        }
    }

    fn exec(&mut self, which: usize) {
        let Some(heir) = self.pick(which, |_, task| !task.released && !task.zombie && !task.leads) else {
            return;
        };
        let process = self.tasks[heir].process;
        let leader = self
            .pick(0, |_, task| {
                task.process == process && task.leads && !task.released
            })
            .unwrap();
        for index in 0..self.tasks.len() {
            if index != heir && self.tasks[index].process == process {
                self.tasks[index].released = true;
            }
        }
        let (new, old) = (self.tasks[heir].record, self.tasks[leader].record);
        self.tasks[heir].record.tid = old.tid;
        self.tasks[heir].record.start_ns = old.start_ns;
        self.tasks[leader].record.tid = new.tid;
        self.tasks[heir].leads = true;
        self.tasks[leader].leads = false;
    }

    /// A whole pass, and the drain after it.
    fn pass(&mut self) {
        let tick = self.tick;
        while self.tick == tick {
            self.step(Step::Pass);
        }
    }

    /// Everybody dies, and user space hears of it.
    fn end(&mut self) {
        self.ends = true;
        // All at once: the order of these is nothing that anybody sees.
        self.tasks.iter_mut().for_each(|task| task.released = true);
        while !self.tasks.is_empty() {
            self.step(Step::Free(0));
        }
        // Two steps each, at least.
        for _ in 0..8 {
            self.pass();
        }
    }
}

fn played(room: Room, steps: Vec<Step>) -> Machine {
    let mut machine = Machine::new(room);
    for step in steps {
        machine.step(step);
    }
    machine.end();
    machine
}

proptest! {
    #[test]
    fn what_ran_is_charged_once_and_the_dead_are_forgotten(steps in steps()) {
        let machine = played(AMPLE, steps);
        prop_assert_eq!(machine.charged, machine.ran);
        prop_assert_eq!(machine.listed, 0);
        prop_assert_eq!(machine.threads.len(), 0);
        prop_assert_eq!(machine.threads.refused(), Refused::default());
        prop_assert_eq!(machine.dead_rows.len(), 0);
    }

    #[test]
    fn rows_that_found_no_room_lose_their_names_and_no_time(steps in steps(), rows in 0..2_usize, cgroups in 0..2_usize) {
        let machine = played(Room { rows, cgroups, ..AMPLE }, steps);
        prop_assert_eq!(machine.charged, machine.ran);
        prop_assert_eq!(machine.dead_cgroups.len(), 0);
    }

    #[test]
    fn last_words_that_found_no_room_cost_no_more_than_their_threads_time(steps in steps(), threads in 0..2_usize) {
        let machine = played(Room { threads, ..AMPLE }, steps);
        prop_assert!(machine.charged.cpu_ns <= machine.ran.cpu_ns);
        prop_assert!(machine.charged.cpu_ns + machine.silenced >= machine.ran.cpu_ns);
    }
}
