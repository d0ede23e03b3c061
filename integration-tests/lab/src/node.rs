// SPDX-License-Identifier: Apache-2.0
//! The simulated node: owns time, the run queues, everybody's counters, and the truth.
//!
//! Driven by events and exact between them: powers only change when somebody starts, stops or is switched, so a stretch
//! between two events is one multiplication. Knows no rule and no reader; whoever reads, reads through [`Node`]'s public
//! fields at a moment that was reached with [`Node::run_until`].

use crate::gpu::Gpu;
use crate::ledgers::{Done, Process, ProcessId, Switch, True};
use crate::meters::Rapl;
use crate::physics::{Machine, Running, SocketPower, solve};
use crate::rng::Rng;
use crate::tasks::{Burst, MS, Nanos, Plan, Run, Work, Workload, WorkloadId};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// A thread's place in the node's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ThreadId(usize);

struct Thread {
    process: ProcessId,
    cpu: usize,
    weight: u64,
    work: Work,
    plan: Plan,
    next: Option<Burst>,
    left: Run,
    since: Nanos,
    /// Counts its turns on the CPU, so that an event of an earlier turn is known as such.
    turn: u64,
}

#[derive(Default)]
struct Queue {
    running: Option<ThreadId>,
    waiting: VecDeque<ThreadId>,
}

/// One socket.
pub struct Socket {
    slots: Vec<Option<Running>>,
    threads: Vec<Option<ThreadId>>,
    pinned: Vec<Option<f64>>,
    power: SocketPower,
    since: Nanos,
    /// Busy time of each of its CPUs.
    pub busy: Vec<Nanos>,
    /// RAPL of the package.
    pub package: Rapl,
    /// RAPL of its memory.
    pub dram: Rapl,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Wake(ThreadId),
    Done(ThreadId, u64),
    Slice(ThreadId, u64),
    Gpu,
}

/// See the module's head.
pub struct Node {
    /// Its figures.
    pub machine: Machine,
    /// Now.
    pub now: Nanos,
    /// Sockets.
    pub sockets: Vec<Socket>,
    /// Everybody who pays.
    pub workloads: Vec<Workload>,
    /// True dynamic energy by workload.
    pub truth: Vec<True>,
    /// All processes that ever were.
    pub processes: Vec<Process>,
    /// Context switches since somebody took them.
    pub switches: Vec<Switch>,
    /// Its GPU, if it has one.
    pub gpu: Option<Gpu>,
    /// Chance for whoever builds the scenario.
    pub rng: Rng,
    threads: Vec<Thread>,
    queues: Vec<Queue>,
    events: BinaryHeap<Reverse<(Nanos, u64, What)>>,
    sequence: u64,
}

/// What a thread may run before another of its CPU gets its turn, times its weight (the order of Linux' base slice).
const SLICE: Nanos = 3 * MS;

impl Node {
    /// A node on which nothing runs.
    #[must_use]
    pub fn new(machine: Machine, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let socket = |rng: &mut Rng| Socket {
            slots: vec![None; machine.threads()],
            threads: vec![None; machine.threads()],
            pinned: vec![None; machine.cores],
            power: SocketPower::default(),
            since: 0,
            busy: vec![0; machine.threads()],
            package: Rapl::package(machine.package_idle, rng.fork()),
            dram: Rapl::dram(machine.dram_idle, rng.fork()),
        };
        Self {
            now: 0,
            sockets: (0..machine.sockets).map(|_| socket(&mut rng)).collect(),
            workloads: Vec::new(),
            truth: Vec::new(),
            processes: Vec::new(),
            switches: Vec::new(),
            gpu: None,
            threads: Vec::new(),
            queues: (0..machine.cpus()).map(|_| Queue::default()).collect(),
            events: BinaryHeap::new(),
            sequence: 0,
            rng,
            machine,
        }
    }

    /// Adds somebody who pays.
    pub fn workload(&mut self, workload: Workload) -> WorkloadId {
        self.workloads.push(workload);
        self.truth.push(True::default());
        WorkloadId(self.workloads.len() - 1)
    }

    /// Adds a process without threads, which begins at `began`.
    pub fn process(&mut self, workload: WorkloadId, began: Nanos) -> ProcessId {
        let id = ProcessId(self.processes.len());
        self.processes.push(Process {
            pid: 100 + u32::try_from(id.0).unwrap_or(u32::MAX - 100),
            workload,
            began,
            ended: None,
            done: vec![Done::default(); self.sockets.len()],
            threads: 0,
        });
        id
    }

    /// Adds a thread that stays on `cpu` and follows `plan`.
    pub fn thread(&mut self, process: ProcessId, cpu: usize, weight: u64, work: Work, plan: Plan) {
        self.processes[process.0].threads += 1;
        self.threads.push(Thread {
            process,
            cpu,
            weight,
            work,
            plan,
            next: None,
            left: Run::For(0),
            since: 0,
            turn: 0,
        });
        self.await_burst(ThreadId(self.threads.len() - 1));
    }

    /// Becomes another machine, on which everybody works differently. Before any time has passed.
    pub fn vary(&mut self, machine: Machine, work: impl Fn(Work) -> Work, rng: Rng) {
        for socket in &mut self.sockets {
            socket.package.rest_at(machine.package_idle);
            socket.dram.rest_at(machine.dram_idle);
        }
        for thread in &mut self.threads {
            thread.work = work(thread.work);
        }
        self.machine = machine;
        self.rng = rng;
    }

    /// Fixes the frequency of a core (`core` counts through all sockets), as a user-space governor does.
    pub fn pin_frequency(&mut self, core: usize, ghz: f64) {
        let cores = self.machine.cores;
        self.sockets[core / cores].pinned[core % cores] = Some(ghz);
    }

    /// Gives it a GPU.
    pub fn install(&mut self, gpu: Gpu) {
        for at in gpu.changes() {
            self.push(at, What::Gpu);
        }
        self.gpu = Some(gpu);
    }

    /// Lets time pass until `to`; all totals are then those of `to`.
    pub fn run_until(&mut self, to: Nanos) {
        while let Some(Reverse((at, _, what))) = self.events.peek().copied()
            && at <= to
        {
            self.events.pop();
            self.now = self.now.max(at);
            self.happen(what);
        }
        self.now = self.now.max(to);
        for socket in 0..self.sockets.len() {
            self.settle(socket);
        }
        self.settle_gpu();
    }

    /// Time that the CPUs of a socket were busy and idle since the beginning.
    #[must_use]
    pub fn busy_idle(&self, socket: usize) -> (Nanos, Nanos) {
        let busy = self.sockets[socket].busy.iter().sum();
        (busy, self.now * self.machine.threads() as Nanos - busy)
    }

    fn push(&mut self, at: Nanos, what: What) {
        self.sequence += 1;
        self.events.push(Reverse((at, self.sequence, what)));
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Wake(id) => self.wake(id),
            What::Done(id, turn) if self.threads[id.0].turn == turn => {
                self.switch(self.threads[id.0].cpu);
                self.await_burst(id);
            }
            What::Slice(id, turn) if self.threads[id.0].turn == turn => {
                let cpu = self.threads[id.0].cpu;
                self.queues[cpu].waiting.push_back(id);
                self.switch(cpu);
            }
            What::Done(..) | What::Slice(..) => {}
            What::Gpu => self.settle_gpu(),
        }
    }

    /// Waits for the next burst, or exits.
    fn await_burst(&mut self, id: ThreadId) {
        let thread = &mut self.threads[id.0];
        thread.next = thread.plan.next();
        match thread.next {
            Some(burst) if burst.at < Nanos::MAX => self.push(burst.at.max(self.now), What::Wake(id)),
            Some(_) => {}
            None => {
                let process = &mut self.processes[thread.process.0];
                process.threads -= 1;
                if process.threads == 0 {
                    process.ended = Some(self.now);
                }
            }
        }
    }

    /// Who wakes goes first, and whoever ran continues afterwards.
    fn wake(&mut self, id: ThreadId) {
        let thread = &mut self.threads[id.0];
        let Some(burst) = thread.next.take() else { return };
        thread.left = burst.run;
        let queue = &mut self.queues[thread.cpu];
        let cpu = thread.cpu;
        if let Some(running) = queue.running {
            queue.waiting.push_front(running);
        }
        queue.waiting.push_front(id);
        self.switch(cpu);
    }

    /// Whoever ran leaves the CPU, the first of those who wait comes.
    fn switch(&mut self, cpu: usize) {
        let (socket, slot) = (cpu / self.machine.threads(), cpu % self.machine.threads());
        self.settle(socket);
        let queue = &mut self.queues[cpu];
        let came = queue.waiting.pop_front();
        let left = std::mem::replace(&mut queue.running, came);
        let is_contended = !queue.waiting.is_empty();
        let left = left.map(|id| {
            let thread = &mut self.threads[id.0];
            let ran = self.now - thread.since;
            thread.turn += 1;
            if let Run::For(left) = &mut thread.left {
                *left = left.saturating_sub(ran);
            }
            (thread.process, ran)
        });
        self.switches.push(Switch {
            at: self.now,
            left,
            came: came.is_some(),
        });
        let running = came.map(|id| {
            let thread = &mut self.threads[id.0];
            thread.since = self.now;
            let (turn, slice) = (thread.turn, SLICE * thread.weight);
            let done = match thread.left {
                Run::For(left) => self.now + left,
                Run::Until(at) => at.max(self.now),
            };
            let running = Running {
                work: thread.work,
                workload: self.processes[thread.process.0].workload,
            };
            self.push(done, What::Done(id, turn));
            if is_contended {
                self.push(self.now + slice, What::Slice(id, turn));
            }
            running
        });
        let socket = &mut self.sockets[socket];
        socket.slots[slot] = running;
        socket.threads[slot] = came;
        solve(&self.machine, &socket.slots, &socket.pinned, &mut socket.power);
    }

    /// Enters what happened on a socket since it last changed.
    fn settle(&mut self, index: usize) {
        let socket = &mut self.sockets[index];
        let time = self.now - socket.since;
        if time == 0 {
            return;
        }
        socket.since = self.now;
        let seconds = time as f64 / 1e9;
        for rates in &socket.power.rates {
            socket.busy[rates.slot] += time;
            let Some(id) = socket.threads[rates.slot] else {
                continue;
            };
            let process = &mut self.processes[self.threads[id.0].process.0];
            let done = &mut process.done[index];
            done.cpu += time;
            done.overlap += if rates.overlaps { time } else { 0 };
            done.cycles += rates.cycles * seconds;
            done.instructions += rates.instructions * seconds;
            done.misses += rates.misses * seconds;
            let truth = &mut self.truth[rates.workload.0];
            for (truth, watts) in truth.package.iter_mut().zip(rates.package) {
                *truth += watts * seconds;
            }
            truth.dram += rates.dram * seconds;
        }
        socket.package.draw(self.now, socket.power.package * seconds);
        socket.dram.draw(self.now, socket.power.dram * seconds);
    }

    fn settle_gpu(&mut self) {
        if let Some(gpu) = &mut self.gpu {
            for (process, joules) in gpu.settle(self.now) {
                let workload = self.processes[process.0].workload;
                self.truth[workload.0].gpu += joules;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::physics::SERVER;
    use crate::tasks::{COMPUTE, Place, S, busy, duty, once};

    fn node() -> (Node, WorkloadId) {
        let mut node = Node::new(SERVER, 1);
        let a = node.workload(Workload {
            name: "a".to_owned(),
            place: Place::Container,
        });
        (node, a)
    }

    #[test]
    fn weights_decide_how_a_cpu_is_shared_and_all_of_it_is_somebodys() {
        let (mut node, a) = node();
        let [three, one] = [3, 1].map(|weight| {
            let process = node.process(a, 0);
            node.thread(process, 0, weight, COMPUTE, busy(0, 10 * S));
            process
        });
        node.run_until(8 * S);
        let [three, one] = [three, one].map(|process| node.processes[process.0].cpu());
        assert_eq!(three + one, 8 * S);
        assert!((three as f64 / one as f64 - 3.0).abs() < 0.05, "{three} {one}");
        assert_eq!(node.busy_idle(0), (8 * S, 8 * S * 31));
    }

    #[test]
    fn who_wakes_runs_at_once_and_gets_the_cpu_time_it_wants() {
        let (mut node, a) = node();
        let long = node.process(a, 0);
        node.thread(long, 0, 1, COMPUTE, busy(0, S));
        let short = node.process(a, 0);
        node.thread(short, 0, 1, COMPUTE, once(300 * MS, 2 * MS));
        node.run_until(303 * MS);
        assert_eq!(node.processes[short.0].ended, Some(302 * MS));
        node.run_until(2 * S);
        assert_eq!(node.processes[long.0].cpu(), 998 * MS);
        assert_eq!(node.processes[long.0].ended, Some(S));
        let ran: Vec<Nanos> = node
            .switches
            .iter()
            .filter_map(|switch| Some(switch.left?.1))
            .collect();
        assert_eq!(ran, [300 * MS, 2 * MS, 698 * MS]);
    }

    #[test]
    fn siblings_overlap_and_retire_less() {
        let (mut node, a) = node();
        let [left, right] = [0, 1].map(|cpu| {
            let process = node.process(a, 0);
            node.thread(process, cpu, 1, COMPUTE, busy(0, S + cpu as Nanos * S));
            process
        });
        node.run_until(3 * S);
        let [left, right] = [left, right].map(|process| node.processes[process.0].done[0]);
        assert_eq!((left.overlap, right.overlap), (S, S));
        assert!((right.cycles / left.cycles - 2.0).abs() < 1e-9);
        assert!((right.instructions / left.instructions - 1.65 / 0.65).abs() < 1e-9);
    }

    #[test]
    fn what_the_meters_count_is_the_floor_and_everybodys_truth() {
        let (mut node, a) = node();
        let process = node.process(a, 0);
        for cpu in [0, 1, 5, 40] {
            let rng = node.rng.fork();
            node.thread(process, cpu, 1, COMPUTE, duty(rng, 0, 5 * S, 20 * MS, 7 * MS));
        }
        node.run_until(5 * S);
        let counted: f64 = node
            .sockets
            .iter()
            .map(|it| it.package.total() + it.dram.total())
            .sum();
        for way in 0..3 {
            let truth: f64 = node
                .truth
                .iter()
                .map(|truth| truth.package[way] + truth.dram)
                .sum();
            assert!((counted - truth - 48.0 * 5.0).abs() < 1e-6);
        }
    }
}
