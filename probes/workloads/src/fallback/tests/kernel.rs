// SPDX-License-Identifier: Apache-2.0
//! A small kernel that forks, runs, kills, waits and lets orphans be inherited, also in the middle of a scan: whatever it
//! does, no time is paid twice and no row falls.

use super::*;
use std::collections::{BTreeMap, HashSet};

const COUNTED: &str = "/a.service";
const CGROUPS: [&str; 2] = ["/", COUNTED];
/// The init of the root cgroup, and of the counted one, where orphans of that cgroup go.
const INITS: [u32; 2] = [1, 2];
const PF_EXITING: u32 = 4;
/// Pids come round soon.
const PIDS: u32 = 12;

/// What happens next; numbers pick among those that it can happen to.
#[derive(Clone, Copy, Debug)]
enum Event {
    Fork(usize),
    Run(usize, u64),
    Exit(usize),
    Wait(usize),
    IgnoreChildren(usize),
    Scan,
}

fn event() -> impl Strategy<Value = Event> {
    let any = 0_usize..64;
    prop_oneof![
        4 => any.clone().prop_map(Event::Fork),
        6 => (any.clone(), 0_u64..60_000_000).prop_map(|(whom, nanos)| Event::Run(whom, nanos)),
        3 => any.clone().prop_map(Event::Exit),
        4 => any.clone().prop_map(Event::Wait),
        1 => any.prop_map(Event::IgnoreChildren),
        4 => Just(Event::Scan),
    ]
}

struct Task {
    parent: u32,
    start: u64,
    own: u64,
    children: u64,
    cgroup: usize,
    zombie: bool,
    ignores_children: bool,
}

struct Kernel {
    root: PathBuf,
    tasks: BTreeMap<u32, Task>,
    next_pid: u32,
    forks: u64,
    /// The clock of start times, and when each pid was last given away.
    now: u64,
    given: HashMap<u32, u64>,
    /// What really ran, by cgroup.
    ran: [u64; 2],
    /// Happens in the middle of the next scan, one at each clock that is read.
    meanwhile: Vec<Event>,
    /// Given back in the middle of a scan. The kernel's counter would have to come by in that moment to give one of these
    /// away again; here there are so few that it would.
    resting: Option<HashSet<u32>>,
}

impl Kernel {
    fn boot(node: &Node) -> Self {
        let mut kernel = Self {
            root: node.dir.path().to_owned(),
            tasks: BTreeMap::new(),
            next_pid: 3,
            forks: 0,
            now: 200,
            given: HashMap::new(),
            ran: [0; 2],
            meanwhile: Vec::new(),
            resting: None,
        };
        for (cgroup, pid) in INITS.into_iter().enumerate() {
            kernel.add(pid, pid - 1, 100, cgroup);
        }
        kernel
    }

    fn add(&mut self, pid: u32, parent: u32, start: u64, cgroup: usize) {
        let task = Task {
            parent,
            start,
            own: 0,
            children: 0,
            cgroup,
            zombie: false,
            ignores_children: false,
        };
        self.tasks.insert(pid, task);
        self.write(pid);
    }

    /// Puts a task's files in place; user and system time of children are each cut to ticks.
    fn write(&self, pid: u32) {
        let task = &self.tasks[&pid];
        let folder = self.root.join(format!("proc/{pid}"));
        fs::create_dir_all(&folder).unwrap();
        let (parent, start) = (task.parent, task.start);
        let (user, system) = (task.children / 3, task.children - task.children / 3);
        let (user, system) = (user / TICK, system / TICK);
        let flags = if task.zombie { PF_EXITING } else { 0 };
        let zeros = "0 ".repeat(16);
        let stat = format!(
            "{pid} (p) S {parent} 1 1 0 -1 {flags} 0 0 0 0 0 0 {user} {system} 20 0 1 0 {start} {zeros}0 0\n"
        );
        fs::write(folder.join("stat"), stat).unwrap();
        fs::write(folder.join("cgroup"), format!("0::{}\n", CGROUPS[task.cgroup])).unwrap();
    }

    fn pick(&self, whom: usize, fits: impl Fn(u32, &Task) -> bool) -> Option<u32> {
        let fit: Vec<u32> = self
            .tasks
            .iter()
            .filter(|(pid, task)| fits(**pid, task))
            .map(|(pid, _)| *pid)
            .collect();
        fit.get(whom.checked_rem(fit.len())?).copied()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Fork(whom) => self.fork(whom),
            Event::Run(whom, nanos) => {
                if let Some(pid) = self.pick(whom, |_, task| !task.zombie) {
                    self.run(pid, nanos);
                }
            }
            Event::Exit(whom) => {
                if let Some(pid) = self.pick(whom, |pid, task| !task.zombie && !INITS.contains(&pid)) {
                    self.exit(pid);
                }
            }
            Event::Wait(whom) => {
                if let Some(pid) = self.pick(whom, |_, task| task.zombie) {
                    self.wait_for(pid);
                }
            }
            Event::IgnoreChildren(whom) => {
                if let Some(pid) = self.pick(whom, |_, task| !task.zombie) {
                    let task = self.tasks.get_mut(&pid).unwrap();
                    task.ignores_children = !task.ignores_children;
                }
            }
            Event::Scan => {}
        }
    }

    fn fork(&mut self, whom: usize) {
        let Some(parent) = self.pick(whom, |_, task| !task.zombie) else {
            return;
        };
        let free = (0..PIDS).map(|add| 3 + (self.next_pid - 3 + add) % PIDS);
        let rests = |pid: &u32| self.resting.as_ref().is_some_and(|resting| resting.contains(pid));
        let Some(pid) = free
            .into_iter()
            .find(|pid| !self.tasks.contains_key(pid) && !rests(pid))
        else {
            return;
        };
        self.next_pid = 3 + (pid - 2) % PIDS;
        self.forks += 1;
        // Parent and child often begin in one clock tick; all pids cannot come round in one.
        if self.forks.is_multiple_of(3) || self.given.get(&pid) == Some(&self.now) {
            self.now += 1;
        }
        self.given.insert(pid, self.now);
        self.add(pid, parent, self.now, self.tasks[&parent].cgroup);
    }

    fn run(&mut self, pid: u32, nanos: u64) {
        let task = self.tasks.get_mut(&pid).unwrap();
        task.own += nanos;
        self.ran[task.cgroup] += nanos;
        let folder = self.root.join("cgroup").join(&COUNTED[1..]);
        fs::write(
            folder.join("cpu.stat"),
            format!("usage_usec {}\n", self.ran[1] / 1_000),
        )
        .unwrap();
    }

    fn exit(&mut self, pid: u32) {
        self.run(pid, 100_000);
        let init = INITS[self.tasks[&pid].cgroup];
        let orphans: Vec<u32> = self
            .tasks
            .iter()
            .filter(|(_, task)| task.parent == pid)
            .map(|(pid, _)| *pid)
            .collect();
        for orphan in orphans {
            self.tasks.get_mut(&orphan).unwrap().parent = init;
            self.write(orphan);
        }
        let task = self.tasks.get_mut(&pid).unwrap();
        task.zombie = true;
        self.write(pid);
        if self.tasks[&self.tasks[&pid].parent].ignores_children {
            self.release(pid);
        }
    }

    fn wait_for(&mut self, pid: u32) {
        let (parent, time) = {
            let task = &self.tasks[&pid];
            (task.parent, task.own + task.children)
        };
        self.run(parent, 50_000);
        self.tasks.get_mut(&parent).unwrap().children += time;
        self.write(parent);
        self.release(pid);
    }

    fn release(&mut self, pid: u32) {
        self.tasks.remove(&pid);
        if let Some(resting) = &mut self.resting {
            resting.insert(pid);
        }
        fs::remove_dir_all(self.root.join(format!("proc/{pid}"))).unwrap();
    }
}

#[derive(Clone)]
struct Live(Arc<Mutex<Kernel>>);

impl ProcessClock for Live {
    fn read(&self, pid: u32) -> ClockReading {
        let mut kernel = self.0.lock().unwrap();
        let found = kernel.tasks.get(&pid).map_or(ClockReading::Gone, |task| {
            ClockReading::Time(CpuNanos::from_nanos(task.own))
        });
        if let Some(event) = kernel.meanwhile.pop() {
            kernel.happen(event);
        }
        found
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn no_time_is_paid_twice_whoever_forks_dies_and_waits_while_the_scan_looks(
        events in proptest::collection::vec(event(), 1..120),
        meanwhile in proptest::collection::vec(event(), 0..60),
    ) {
        let mut node = Node::new();
        let counted = node.cgroup(COUNTED, 0);
        let kernel = Kernel::boot(&node);
        let live = Live(Arc::new(Mutex::new(kernel)));
        let clock = Box::new(live.clone());
        let mut reader = ProcReader::open_with(&node.roots(true), &two_packages(), Ok(clock)).unwrap();
        let mut meanwhile = meanwhile.into_iter();
        let mut before: HashMap<_, u64> = HashMap::new();
        let mut busy = 0;
        for event in events.into_iter().chain([Event::Scan, Event::Scan]) {
            live.0.lock().unwrap().happen(event);
            if !matches!(event, Event::Scan) {
                continue;
            }
            {
                let mut kernel = live.0.lock().unwrap();
                kernel.meanwhile = meanwhile.by_ref().take(4).collect();
                kernel.resting = Some(HashSet::new());
            }
            // More than could be unseen, so that nothing but what is known holds child times.
            busy += 1_000_000;
            node.cpu(&format!("cpu0 {busy} 0 0 0 0 0 0 0\n"));
            let usage = node.drain_acked(&mut reader, TickId(0));
            let ran = {
                let mut kernel = live.0.lock().unwrap();
                kernel.resting = None;
                kernel.ran
            };
            for (at, id) in [CgroupId::ROOT, counted].into_iter().enumerate() {
                let rows = usage.tasks.iter().filter(|row| row.cgroup == id);
                let charged: u64 = rows.map(|row| row.cpu.as_nanos()).sum();
                prop_assert!(charged <= ran[at], "{}: {charged} of {}", CGROUPS[at], ran[at]);
            }
            for row in &usage.tasks {
                let last = before
                    .insert((row.task, row.cgroup, row.package), row.cpu.as_nanos())
                    .unwrap_or(0);
                prop_assert!(row.cpu.as_nanos() >= last);
            }
        }
    }
}
