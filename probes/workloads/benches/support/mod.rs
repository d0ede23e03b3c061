// SPDX-License-Identifier: Apache-2.0
//! A crowd of processes in cgroups that come and go, and a node that counts it.

use attribution::engine::{Engine, RESOLVER, Settings, USAGE};
use attribution::model::snapshot::ContainerKey;
use attribution::model::{
    CgroupId, Comm, Component, CpuNanos, Energy, EventCounts, Microjoules, MonotonicNanos, PackageId,
    PackageTime, Place, Provenance, Report, ReporterId, Section, SourceId, TaskKey, TaskKind, TaskUsage,
    TickId, Usage, Zone, ZoneReading,
};
use probe_workloads::cgroup::{CgroupMount, CgroupMounts, Version1Mount};
use probe_workloads::{Resolver, Roots};
use rustix::time::{ClockId, clock_gettime};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;
use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const METER: SourceId = SourceId("meter");
const POD: &str = "/kubepods/burstable/pod0f7a4c1e-9d3b-4e55-8a21-0123456789ab";

/// Bytes asked for and not given back.
pub(crate) fn memory() -> usize {
    // Both counts include what reallocations added and took.
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated.saturating_sub(stats.bytes_deallocated)
}

/// What the kernel says that this process has of the machine's memory.
pub(crate) fn rss_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// CPU time of this thread in nanoseconds.
pub(crate) fn thread_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap()
}

pub(crate) fn median(figures: &[u64]) -> u64 {
    let mut sorted = figures.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

/// A place for cgroups, cleared away at the end.
pub(crate) struct Cgroups {
    /// Where the hierarchy is, and where in it this bench is.
    mount: PathBuf,
    inside: String,
    folder: Option<tempfile::TempDir>,
}

impl Cgroups {
    /// In the machine's own hierarchy; `None` where the kernel does not tell what comes and goes.
    pub(crate) fn real() -> Option<Self> {
        let roots = Roots::detect(Path::new("/proc")).ok()?;
        let mount = roots
            .cgroup_mounts
            .unified
            .clone()
            .filter(|mount| mount.root == "/")?;
        let mut resolver = Resolver::new(roots);
        resolver.resolve(&Usage::default(), Duration::from_secs(1));
        let inside = format!("/bench-{}", std::process::id());
        let place = Self {
            mount: mount.point,
            inside,
            folder: None,
        };
        (resolver.held().paths > 0 && fs::create_dir_all(place.path(POD)).is_ok()).then_some(place)
    }

    /// Folders in memory, as many beside ours as a node has of its own.
    pub(crate) fn in_memory() -> Self {
        let shm = Path::new("/dev/shm");
        let folder = if shm.is_dir() {
            tempfile::tempdir_in(shm)
        } else {
            tempfile::tempdir()
        };
        let folder = folder.unwrap();
        let place = Self {
            mount: folder.path().join("cgroup"),
            inside: String::new(),
            folder: Some(folder),
        };
        fs::create_dir_all(place.path(POD)).unwrap();
        for unit in 0..100 {
            fs::create_dir_all(place.path(&format!("/system.slice/unit-{unit}.service"))).unwrap();
        }
        place
    }

    fn path(&self, path: &str) -> PathBuf {
        self.mount
            .join(format!("{}{path}", self.inside).trim_start_matches('/'))
    }

    fn container(number: u64) -> String {
        format!("{POD}/{number:064x}")
    }

    fn make(&self, number: u64) -> CgroupId {
        let folder = self.path(&Self::container(number));
        fs::create_dir(&folder).unwrap();
        CgroupId(fs::metadata(folder).unwrap().ino())
    }

    fn remove(&self, number: u64) {
        fs::remove_dir(self.path(&Self::container(number))).unwrap();
    }

    pub(crate) fn roots(&self, unified: bool) -> Roots {
        let mount = CgroupMount {
            point: self.mount.clone(),
            root: "/".to_owned(),
        };
        let version1 = Version1Mount {
            controllers: vec!["cpuacct".to_owned()],
            mount: mount.clone(),
        };
        let proc = self
            .folder
            .as_ref()
            .map_or_else(|| PathBuf::from("/proc"), |folder| folder.path().join("proc"));
        Roots {
            proc,
            cgroup_mounts: CgroupMounts {
                unified: unified.then_some(mount),
                version1: if unified { Vec::new() } else { vec![version1] },
                notes: Vec::new(),
            },
        }
    }

    /// Writes what the kernel shows of a process in version 1.
    fn write_process(&self, task: TaskKey, container: u64) {
        let Some(folder) = &self.folder else { return };
        let folder = folder.path().join(format!("proc/{}", task.tgid));
        fs::create_dir_all(&folder).unwrap();
        let stat = format!(
            "{} (sh) S 1 1 1 0 -1 0 0 0 0 0 7 3 0 0 20 0 1 0 {} {}0 0\n",
            task.tgid,
            task.start_ticks,
            "0 ".repeat(16)
        );
        fs::write(folder.join("stat"), stat).unwrap();
        let path = Self::container(container);
        let lines = ["pids", "memory", "cpu,cpuacct", "name=systemd"]
            .map(|controllers| format!("4:{controllers}:{path}\n"));
        fs::write(folder.join("cgroup"), lines.concat()).unwrap();
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        // Folders of cgroups hold files that cannot be removed, and go all the same.
        let mut folders = vec![self.mount.join(self.inside.trim_start_matches('/'))];
        let mut at = 0;
        while let Some(folder) = folders.get(at).filter(|_| self.folder.is_none()).cloned() {
            let inside = fs::read_dir(folder).into_iter().flatten().flatten();
            folders.extend(inside.map(|entry| entry.path()).filter(|path| path.is_dir()));
            at += 1;
        }
        for folder in folders.iter().rev().filter(|_| self.folder.is_none()) {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// Processes and the containers that they are in.
pub(crate) struct Crowd {
    rows: VecDeque<TaskUsage>,
    /// Number and id, the oldest first.
    containers: VecDeque<(u64, CgroupId)>,
    containers_ever: u64,
    processes_ever: u64,
    since_boot: Duration,
    busy: u64,
    /// Containers of the last storm whose folders still have to go.
    doomed: Vec<u64>,
    /// Processes that no storm takes: the first rows.
    residents: usize,
}

impl Crowd {
    pub(crate) fn new(containers: u32, processes: u32, cgroups: &Cgroups) -> Self {
        let mut crowd = Self {
            rows: VecDeque::new(),
            containers: VecDeque::new(),
            containers_ever: 0,
            processes_ever: 0,
            since_boot: Duration::from_secs(86_400),
            busy: 0,
            doomed: Vec::new(),
            residents: usize::try_from(processes).unwrap(),
        };
        (0..containers).for_each(|_| crowd.open(cgroups));
        (0..processes).for_each(|_| crowd.birth());
        crowd.since_boot += Duration::from_secs(86_400);
        crowd
    }

    fn open(&mut self, cgroups: &Cgroups) {
        self.containers_ever += 1;
        self.containers
            .push_back((self.containers_ever, cgroups.make(self.containers_ever)));
    }

    fn birth(&mut self) {
        self.processes_ever += 1;
        let at = usize::try_from(self.processes_ever).unwrap() % self.containers.len();
        self.born_in(self.containers[at].1);
    }

    fn born_in(&mut self, cgroup: CgroupId) {
        let pid = 100 + self.processes_ever % 4_000_000;
        let start = u64::try_from(self.since_boot.as_millis() / 10).unwrap();
        self.rows.push_back(TaskUsage {
            task: Some(TaskKey {
                tgid: u32::try_from(pid).unwrap(),
                start_ticks: start,
            }),
            cgroup,
            package: PackageId(0),
            cpu: CpuNanos::from_nanos(1_000_000),
            events: EventCounts::ZERO,
            comm: Comm::from_bytes(b"work"),
            kind: TaskKind::User,
            ended: false,
        });
        self.busy += 1_000_000;
    }

    pub(crate) const fn now(&self) -> Duration {
        self.since_boot
    }

    pub(crate) fn tick(&mut self) {
        self.tick_of(Duration::from_secs(1));
    }

    pub(crate) fn tick_of(&mut self, time: Duration) {
        self.since_boot += time;
    }

    /// The oldest go, new ones come; with `containers` as many of these.
    pub(crate) fn births_and_deaths(
        &mut self,
        processes: u32,
        containers: u32,
        cgroups: &Cgroups,
        unified: bool,
    ) {
        for _ in 0..containers {
            self.open(cgroups);
            let (number, id) = self.containers.pop_front().unwrap();
            cgroups.remove(number);
            self.rows.retain(|row| row.cgroup != id);
        }
        for _ in 0..processes {
            self.rows.pop_front();
            self.birth();
            if !unified {
                let (task, number) = (self.rows.back().unwrap().task.unwrap(), self.containers[0].0);
                cgroups.write_process(task, number);
            }
        }
    }

    /// Containers that are gone when the report is made, and processes that live in it, are dead in the next, and then in
    /// none any more.
    pub(crate) fn storm(&mut self, processes: u32, containers: u32, cgroups: &Cgroups) {
        self.rows.retain(|row| !row.ended);
        for row in self.rows.iter_mut().skip(self.residents) {
            row.ended = true;
        }
        self.doomed.drain(..).for_each(|number| cgroups.remove(number));
        for _ in 0..containers {
            self.containers_ever += 1;
            let (number, id) = (self.containers_ever, cgroups.make(self.containers_ever));
            for _ in 0..processes / containers {
                self.processes_ever += 1;
                self.born_in(id);
            }
            // The walk sees only what is still there.
            if cgroups.folder.is_none() {
                cgroups.remove(number);
            } else {
                self.doomed.push(number);
            }
        }
    }

    /// As a probe would report it. Where there is no unified hierarchy all processes are in its root.
    pub(crate) fn usage(&self, unified: bool) -> Usage {
        let row = |row: &TaskUsage| TaskUsage {
            cgroup: if unified { row.cgroup } else { CgroupId::ROOT },
            ..*row
        };
        let time = u64::try_from(self.since_boot.as_nanos()).unwrap();
        Usage {
            tasks: self.rows.iter().map(row).collect(),
            packages: vec![PackageTime {
                package: PackageId(0),
                cpus: 1,
                busy: CpuNanos::from_nanos(self.busy),
                idle: CpuNanos::from_nanos(time.saturating_sub(self.busy)),
            }],
            ..Usage::default()
        }
    }
}

/// Files for all of them.
pub(crate) fn process_files(cgroups: &Cgroups, crowd: &Crowd) {
    for (index, row) in crowd.rows.iter().enumerate() {
        let (number, _) = crowd.containers[index % crowd.containers.len()];
        cgroups.write_process(row.task.unwrap(), number);
    }
}

/// A resolver and an engine.
pub(crate) struct Node {
    pub(crate) resolver: Resolver,
    pub(crate) engine: Engine,
    tick: u64,
    system: CpuNanos,
}

impl Node {
    pub(crate) fn new(roots: Roots, settings: Settings) -> Self {
        let mut engine = Engine::new(settings, Arc::default());
        engine.expect(&ReporterId::new(USAGE));
        engine.expect(&ReporterId::new(RESOLVER));
        engine.expect_source(METER);
        Self {
            resolver: Resolver::new(roots),
            engine,
            tick: 0,
            system: CpuNanos::ZERO,
        }
    }

    /// One window; gives what the resolver's part of it took, in nanoseconds.
    pub(crate) fn window(&mut self, usage: Usage, boot: Duration) -> u64 {
        self.tick += 1;
        let now = MonotonicNanos::from_nanos(u64::try_from(boot.as_nanos()).unwrap());
        self.engine
            .open(TickId(self.tick), now, now.after(Duration::from_millis(800)));
        let began = thread_time();
        let identity = self.resolver.resolve(&usage, boot);
        let took = thread_time() - began;
        let (zone, total) = (
            Zone {
                component: Component::Package,
                place: Place::socket(PackageId(0)),
            },
            Microjoules::from_micro(self.tick * 1_000_000),
        );
        let reading = ZoneReading {
            zone,
            total,
            idle: None,
            provenance: Provenance::Counted,
            at: now,
            device: None,
        };
        let energy = Energy {
            zones: vec![reading],
            errors: Vec::new(),
        };
        self.engine.on_identity(self.report(RESOLVER, now, identity));
        self.engine.on_usage(self.report(USAGE, now, Arc::new(usage)));
        self.engine.on_energy(METER, self.report(METER.0, now, energy));
        let closed = self.engine.close(now.after(Duration::from_millis(100))).unwrap();
        let system = closed
            .snapshot
            .containers
            .iter()
            .find(|row| row.key == ContainerKey::System);
        self.system = system.map_or(CpuNanos::ZERO, |row| row.ledger.cpu);
        took
    }

    /// CPU time of processes of whom nobody knew whose they were.
    pub(crate) const fn system(&self) -> CpuNanos {
        self.system
    }

    fn report<T>(&self, reporter: &str, at: MonotonicNanos, body: T) -> Report<T> {
        Report {
            tick: TickId(self.tick),
            reporter: ReporterId::new(reporter),
            section: Section { began: at, ended: at },
            body,
        }
    }
}
