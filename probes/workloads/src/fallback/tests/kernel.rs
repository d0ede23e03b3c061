// SPDX-License-Identifier: Apache-2.0
//! A small kernel that forks, runs, kills, waits, lets orphans be inherited, and makes and removes cgroups, also in the middle
//! of a scan: whatever it does, no time is paid twice, no row falls, and what ran in a cgroup that was watched all along is
//! paid to the microsecond.

use super::*;
use std::collections::{BTreeMap, HashSet};

/// The root and a cgroup that stay: places in [`Kernel::cgroups`].
const ROOT: usize = 0;
const COUNTED: usize = 1;
/// Cgroups that come and go, and what those that are there at boot ran before.
const PATHS: [&str; 5] = ["/a.service/x", "/a.service/x/y", "/b", "/b/x", "/c"];
const OLD: [(&str, u64); 2] = [("/old", 7_000_000_000), ("/old/x", 3_000_000_000)];
/// The init of the root cgroup, and of the counted one, where the orphans of all others go.
const INITS: [u32; 2] = [1, 2];
const PF_EXITING: u32 = 4;
/// Pids come round soon.
const PIDS: u32 = 12;

/// What happens next; numbers pick among those that it can happen to.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// Into the parent's cgroup, or, out of one that counts, straight into another (`CLONE_INTO_CGROUP`).
    Fork(usize, Option<usize>),
    Run(usize, u64),
    Exit(usize),
    Wait(usize),
    IgnoreChildren(usize),
    /// A new one, in which somebody may be born that runs so long.
    MakeCgroup(usize, Option<u64>),
    /// Everybody in it is killed, and waited for or not.
    RemoveCgroup(usize, bool),
    Scan,
}

fn event() -> impl Strategy<Value = Event> {
    let any = 0_usize..64;
    prop_oneof![
        4 => (any.clone(), proptest::option::weighted(0.7, any.clone())).prop_map(|(whom, into)| Event::Fork(whom, into)),
        6 => (any.clone(), 0_u64..60_000_000).prop_map(|(whom, nanos)| Event::Run(whom, nanos)),
        3 => any.clone().prop_map(Event::Exit),
        4 => any.clone().prop_map(Event::Wait),
        1 => any.clone().prop_map(Event::IgnoreChildren),
        3 => (any.clone(), proptest::option::weighted(0.7, 1..60_000_000_u64)).prop_map(|(which, run)| Event::MakeCgroup(which, run)),
        3 => (any, proptest::bool::ANY).prop_map(|(which, wait)| Event::RemoveCgroup(which, wait)),
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

/// One that was there, or is.
struct Cgroup {
    path: String,
    id: CgroupId,
    above: Option<usize>,
    before: u64,
    /// What really ran in it since boot, and what its counter has of that and of all below.
    own: u64,
    ran: u64,
    gone: bool,
}

struct Kernel {
    root: PathBuf,
    cgroups: Vec<Cgroup>,
    tasks: BTreeMap<u32, Task>,
    next_pid: u32,
    forks: u64,
    /// The clock of start times, and when each pid was last given away.
    now: u64,
    given: HashMap<u32, u64>,
    /// Happens in the middle of the next scan, one at each clock that is read.
    meanwhile: Vec<Event>,
    /// Given back in the middle of a scan. The kernel's counter would have to come by in that moment to give one of these
    /// away again; here there are so few that it would.
    resting: Option<HashSet<u32>>,
}

impl Kernel {
    fn boot(node: &Node) -> Self {
        let root = Cgroup {
            path: String::new(),
            id: CgroupId::ROOT,
            above: None,
            before: 0,
            own: 0,
            ran: 0,
            gone: false,
        };
        let mut kernel = Self {
            root: node.dir.path().to_owned(),
            cgroups: vec![root],
            tasks: BTreeMap::new(),
            next_pid: 3,
            forks: 0,
            now: 200,
            given: HashMap::new(),
            meanwhile: Vec::new(),
            resting: None,
        };
        kernel.make("/a.service", 0);
        for (path, before) in OLD {
            kernel.make(path, before);
        }
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
        let cgroup = &self.cgroups[task.cgroup];
        let path = if task.cgroup == ROOT { "/" } else { &cgroup.path };
        let deleted = if cgroup.gone { " (deleted)" } else { "" };
        fs::write(folder.join("cgroup"), format!("0::{path}{deleted}\n")).unwrap();
    }

    fn folder(&self, path: &str) -> PathBuf {
        self.root.join(format!("cgroup{path}"))
    }

    /// Where a path is now.
    fn find(&self, path: &str) -> Option<usize> {
        let mut cgroups = self.cgroups.iter();
        cgroups.position(|cgroup| !cgroup.gone && cgroup.path == path)
    }

    /// Makes a cgroup if what it is in is there.
    fn make(&mut self, path: &str, before: u64) -> Option<usize> {
        let above = self.find(path.rsplit_once('/').unwrap().0)?;
        let folder = self.folder(path);
        fs::create_dir(&folder).unwrap();
        self.cgroups.push(Cgroup {
            path: path.to_owned(),
            id: CgroupId(fs::metadata(folder).unwrap().ino()),
            above: Some(above),
            before,
            own: 0,
            ran: 0,
            gone: false,
        });
        let made = self.cgroups.len() - 1;
        self.count(made);
        Some(made)
    }

    /// Writes a cgroup's counter.
    fn count(&self, at: usize) {
        let cgroup = &self.cgroups[at];
        let usage = format!("usage_usec {}\n", (cgroup.before + cgroup.ran) / 1_000);
        fs::write(self.folder(&cgroup.path).join("cpu.stat"), usage).unwrap();
    }

    /// Removes a cgroup that has none below it. Zombies stay in it. Moved aside, so that none made later has its inode.
    fn remove(&mut self, which: usize, wait: bool) {
        let is_leaf = |at: &usize| {
            let below = |cgroup: &Cgroup| cgroup.above == Some(*at) && !cgroup.gone;
            !self.cgroups[*at].gone && !self.cgroups.iter().any(below)
        };
        let leaves: Vec<usize> = (COUNTED + 1..self.cgroups.len()).filter(is_leaf).collect();
        let Some(at) = which.checked_rem(leaves.len()).map(|which| leaves[which]) else {
            return;
        };
        while let Some(pid) = self.pick(0, |_, task| task.cgroup == at && !task.zombie) {
            self.exit(pid);
        }
        while wait && let Some(pid) = self.pick(0, |_, task| task.cgroup == at) {
            self.wait_for(pid);
        }
        let aside = self.root.join(format!("gone{at}"));
        fs::rename(self.folder(&self.cgroups[at].path), aside).unwrap();
        self.cgroups[at].gone = true;
        let zombies = self.tasks.iter().filter(|(_, task)| task.cgroup == at);
        zombies.for_each(|(pid, _)| self.write(*pid));
    }

    /// What is charged to all cgroups that have or had a path, and to all below it, and what really ran in them. By path: which
    /// of them a zombie was in that nobody saw alive is nowhere to be read.
    fn charged_and_ran(&self, usage: &Usage, path: &str) -> (u64, u64) {
        let is_within = |cgroup: &&Cgroup| {
            let below = cgroup.path.strip_prefix(path);
            below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
        };
        let within: HashMap<CgroupId, u64> = self
            .cgroups
            .iter()
            .filter(is_within)
            .map(|cgroup| (cgroup.id, cgroup.own))
            .collect();
        let rows = usage.tasks.iter().filter(|row| within.contains_key(&row.cgroup));
        let charged = rows.map(|row| row.cpu.as_nanos()).sum();
        (charged, within.values().sum())
    }

    /// What can be in the rows of the root: what ran there, and what a zombie ran that outlived all cgroups it was in.
    fn ran_in_root(&self) -> u64 {
        let outlived = self
            .cgroups
            .iter()
            .filter(|cgroup| cgroup.gone && cgroup.above == Some(ROOT));
        self.cgroups[ROOT].own + outlived.map(|cgroup| cgroup.ran).sum::<u64>()
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
            Event::Fork(whom, into) => {
                if let Some(parent) = self.pick(whom, |_, task| !task.zombie) {
                    let cgroup = self.tasks[&parent].cgroup;
                    let live: Vec<usize> = (COUNTED..self.cgroups.len())
                        .filter(|at| !self.cgroups[*at].gone)
                        .collect();
                    let into = into.filter(|_| cgroup != ROOT);
                    self.fork(parent, into.map_or(cgroup, |into| live[into % live.len()]));
                }
            }
            Event::MakeCgroup(which, run) => {
                let free: Vec<&str> = PATHS
                    .into_iter()
                    .filter(|path| self.find(path).is_none())
                    .collect();
                let path = which.checked_rem(free.len()).map(|which| free[which]);
                if let Some(made) = path.and_then(|path| self.make(path, 0))
                    && let Some(run) = run
                    && let Some(pid) = self.fork(INITS[COUNTED], made)
                {
                    self.run(pid, run);
                }
            }
            Event::RemoveCgroup(which, wait) => self.remove(which, wait),
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

    fn fork(&mut self, parent: u32, cgroup: usize) -> Option<u32> {
        let free = (0..PIDS).map(|add| 3 + (self.next_pid - 3 + add) % PIDS);
        let rests = |pid: &u32| self.resting.as_ref().is_some_and(|resting| resting.contains(pid));
        let pid = free
            .into_iter()
            .find(|pid| !self.tasks.contains_key(pid) && !rests(pid))?;
        self.next_pid = 3 + (pid - 2) % PIDS;
        self.forks += 1;
        // Parent and child often begin in one clock tick; all pids cannot come round in one.
        if self.forks.is_multiple_of(3) || self.given.get(&pid) == Some(&self.now) {
            self.now += 1;
        }
        self.given.insert(pid, self.now);
        self.add(pid, parent, self.now, cgroup);
        Some(pid)
    }

    fn run(&mut self, pid: u32, nanos: u64) {
        let task = self.tasks.get_mut(&pid).unwrap();
        task.own += nanos;
        let cgroup = task.cgroup;
        self.cgroups[cgroup].own += nanos;
        let mut at = Some(cgroup);
        while let Some(inside) = at {
            self.cgroups[inside].ran += nanos;
            if inside != ROOT {
                self.count(inside);
            }
            at = self.cgroups[inside].above;
        }
    }

    fn exit(&mut self, pid: u32) {
        self.run(pid, 100_000);
        let init = INITS[self.tasks[&pid].cgroup.min(COUNTED)];
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
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn whoever_forks_dies_and_waits_and_whatever_cgroups_come_and_go_no_time_is_paid_twice_or_lost(
        events in proptest::collection::vec(event(), 1..120),
        meanwhile in proptest::collection::vec(event(), 0..60),
        room in prop_oneof![1_usize..4, Just(64)],
    ) {
        let mut node = Node::new();
        let kernel = Kernel::boot(&node);
        let live = Live(Arc::new(Mutex::new(kernel)));
        let clock = Box::new(live.clone());
        let mut reader = ProcReader::open_with(&node.roots(true), &two_packages(), Ok(clock)).unwrap();
        reader.keep_room_for(room);
        let mut meanwhile = meanwhile.into_iter();
        let mut before: HashMap<_, u64> = HashMap::new();
        let (mut busy, mut usage) = (0, Usage::default());
        let closing = [(Event::Scan, 0); 2];
        for (event, at_once) in events.into_iter().map(|event| (event, 4)).chain(closing) {
            live.0.lock().unwrap().happen(event);
            if !matches!(event, Event::Scan) {
                continue;
            }
            {
                let mut kernel = live.0.lock().unwrap();
                kernel.meanwhile = meanwhile.by_ref().take(at_once).collect();
                kernel.resting = Some(HashSet::new());
            }
            // More than could be unseen, so that nothing but what is known holds child times.
            busy += 1_000_000;
            node.cpu(&format!("cpu0 {busy} 0 0 0 0 0 0 0\n"));
            usage = node.drain_acked(&mut reader, TickId(0));
            let mut kernel = live.0.lock().unwrap();
            kernel.resting = None;
            // A counter that is a base is cut to microseconds.
            let cut = 1_000 * u64::try_from(kernel.cgroups.len()).unwrap();
            for path in ["", "/a.service", "/old", "/old/x"].into_iter().chain(PATHS) {
                let (charged, ran) = kernel.charged_and_ran(&usage, path);
                prop_assert!(charged <= ran + cut, "{path}: {charged} of {ran}");
            }
            let rows = usage.tasks.iter().filter(|row| row.cgroup == CgroupId::ROOT);
            let charged: u64 = rows.map(|row| row.cpu.as_nanos()).sum();
            let ran = kernel.ran_in_root();
            prop_assert!(charged <= ran, "root: {charged} of {ran}");
            for row in &usage.tasks {
                let last = before
                    .insert((row.task, row.cgroup, row.package), row.cpu.as_nanos())
                    .unwrap_or(0);
                prop_assert!(row.cpu.as_nanos() >= last);
            }
        }
        let kernel = live.0.lock().unwrap();
        let (charged, ran) = kernel.charged_and_ran(&usage, "/a.service");
        prop_assert!(charged >= ran / 1_000 * 1_000, "{charged} of {ran}");
    }
}
