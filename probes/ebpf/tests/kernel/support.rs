// SPDX-License-Identifier: Apache-2.0
//! What the tests share: a consumer of reports, processes that burn, a cgroup of our own, and the kernel's figures
//! (figures.rs).

pub(crate) use crate::figures::{comm_of, schedstat, stolen, task_of, undisturbed};
use attribution::model::{CgroupId, LostEvents, PackageId, Section, TaskKey, TaskUsage, TickId, Usage};
use probe_ebpf::{Probe, ProbeError, SchedulerProbe, Settings};
use rustix::fs::{FlockOperation, flock};
use rustix::thread::{CpuSet, Timespec, nanosleep, sched_setaffinity};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Holds the machine for one test, over all test processes. `None`, with a word on stderr, when we are not root.
pub(crate) fn machine() -> Option<File> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root (CAP_BPF, CAP_PERFMON)");
        return None;
    }
    let lock = File::create(Path::new(env!("CARGO_TARGET_TMPDIR")).join("probe-ebpf.lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    Some(lock)
}

/// Whether this is a guest that was booted to be tested in (integration-tests/guest/init): tests may change the machine.
/// It is emulated, too, instruction by instruction.
pub(crate) fn guest() -> bool {
    std::env::var_os("IN_GUEST").is_some()
}

/// As [`machine`], for a test that unplugs CPUs, sets clocks or shrinks limits.
pub(crate) fn machine_to_change() -> Option<File> {
    if !guest() {
        eprintln!("skipped: changes the machine; `make test-kernels` runs it in a guest");
        return None;
    }
    machine()
}

/// How many processes a storm has: an emulator takes 20 ms and more for each, twenty times as long as a real machine.
/// What is held against them is a share, or that each is a row, which 250 show as well. No fewer than 60: a map that is to
/// overflow between two drains needs that many.
pub(crate) fn storm_of(count: u32) -> u32 {
    if guest() {
        count.min((count / 20).clamp(60, 250))
    } else {
        count
    }
}

pub(crate) fn pause(milliseconds: u32) {
    let time = Timespec {
        tv_sec: i64::from(milliseconds / 1_000),
        tv_nsec: i64::from(milliseconds % 1_000) * 1_000_000,
    };
    // A signal may end it early; no test relies on the length.
    drop(nanosleep(&time));
}

pub(crate) fn settings(max_tasks: u32) -> Settings {
    let packages_of_cpu = aya::util::online_cpus()
        .unwrap()
        .into_iter()
        .map(|cpu| (cpu, PackageId(0)))
        .collect();
    Settings {
        packages_of_cpu,
        max_tasks,
        ..Settings::default()
    }
}

/// A row's name.
type Name = (Option<TaskKey>, CgroupId, PackageId);

/// Either accountant of CPU time.
pub(crate) trait Drained {
    fn drained(
        &mut self,
        tick: TickId,
        acked: TickId,
        recycled: Vec<TaskUsage>,
    ) -> Result<(Section, Usage), ProbeError>;
}

impl Drained for Probe {
    fn drained(
        &mut self,
        tick: TickId,
        acked: TickId,
        recycled: Vec<TaskUsage>,
    ) -> Result<(Section, Usage), ProbeError> {
        self.drain(tick, acked, recycled)
    }
}

impl Drained for SchedulerProbe {
    fn drained(
        &mut self,
        tick: TickId,
        acked: TickId,
        recycled: Vec<TaskUsage>,
    ) -> Result<(Section, Usage), ProbeError> {
        self.drain(tick, acked, recycled)
    }
}

/// Drains a probe and charges the rises, as the attribution engine would: a row that was not in the last report is new.
pub(crate) struct Consumer<P = Probe> {
    pub(crate) probe: P,
    pub(crate) usage: Usage,
    pub(crate) section: Section,
    /// The newest tick that is acknowledged at the next drain: the one before the last, as with a real window.
    pub(crate) acks: bool,
    tick: u64,
    seen: HashMap<Name, u64>,
    charged: HashMap<Name, u64>,
}

impl Consumer {
    pub(crate) fn open(max_tasks: u32) -> Self {
        Self::with(&settings(max_tasks))
    }

    pub(crate) fn with(settings: &Settings) -> Self {
        Self::of(Probe::open(settings).unwrap())
    }
}

impl Consumer<SchedulerProbe> {
    pub(crate) fn open_scheduler(max_tasks: u32) -> Self {
        Self::with_scheduler(&settings(max_tasks))
    }

    pub(crate) fn with_scheduler(settings: &Settings) -> Self {
        Self::of(SchedulerProbe::open(settings).unwrap())
    }
}

impl<P: Drained> Consumer<P> {
    fn of(probe: P) -> Self {
        Self {
            probe,
            usage: Usage::default(),
            section: Section::default(),
            acks: true,
            tick: 0,
            seen: HashMap::new(),
            charged: HashMap::new(),
        }
    }

    pub(crate) fn drain(&mut self) {
        self.tick += 1;
        let acked = TickId(if self.acks { self.tick - 1 } else { 0 });
        let recycled = std::mem::take(&mut self.usage.tasks);
        (self.section, self.usage) = self.probe.drained(TickId(self.tick), acked, recycled).unwrap();
        let mut now = HashMap::new();
        for row in &self.usage.tasks {
            let name = (row.task, row.cgroup, row.package);
            let cpu = row.cpu.as_nanos();
            let before = self.seen.get(&name).copied().unwrap_or(0);
            assert!(cpu >= before, "{row:?} fell from {before}");
            assert!(now.insert(name, cpu).is_none(), "two rows of {name:?}");
            *self.charged.entry(name).or_default() += cpu - before;
        }
        self.seen = now;
    }

    /// Charged so far to rows that `which` takes, in nanoseconds.
    pub(crate) fn charged(&self, which: impl Fn(&Name) -> bool) -> u64 {
        let rows = self.charged.iter().filter(|(name, _)| which(name));
        rows.map(|(_, nanos)| nanos).sum()
    }

    pub(crate) fn charged_to(&self, task: TaskKey) -> u64 {
        self.charged(|name| name.0 == Some(task))
    }

    /// Different tasks that were ever charged in a cgroup.
    pub(crate) fn tasks_in(&self, cgroup: CgroupId) -> usize {
        let names = self.charged.keys();
        names.filter(|name| name.0.is_some() && name.1 == cgroup).count()
    }

    pub(crate) fn rows_of(&self, task: TaskKey) -> impl Iterator<Item = &TaskUsage> {
        self.usage.tasks.iter().filter(move |row| row.task == Some(task))
    }

    /// Runs `count` processes in `cgroup`, draining ten times a second, and on until the last of them are marked, reported,
    /// acknowledged and forgotten. Returns what they were charged, and what the kernel accounts for them: without what
    /// their shell ran before, of which the slice in which it moved is charged where it ended.
    pub(crate) fn weather(&mut self, cgroup: &Cgroup, count: u32) -> (u64, u64) {
        let mut storm = cgroup.storm_to_come(count);
        let before = self.before_storm(cgroup);
        storm.go();
        while storm.0.try_wait().unwrap().is_none() {
            pause(100);
            self.drain();
        }
        for _ in 0..4 {
            pause(20);
            self.drain();
        }
        let after = (self.charged_in(cgroup), cgroup.cpu_stat());
        (after.0 - before.0, after.1 - before.1)
    }

    /// Waits until a shell rests in `cgroup`. Returns what is charged there and what the kernel accounts.
    pub(crate) fn before_storm(&mut self, cgroup: &Cgroup) -> (u64, u64) {
        wait_until("the shell waits in its cgroup", || {
            cgroup.cpu_stat() > 0 && cgroup.rests()
        });
        self.drain();
        (self.charged_in(cgroup), cgroup.cpu_stat())
    }

    /// Charged so far in a cgroup.
    pub(crate) fn charged_in(&self, cgroup: &Cgroup) -> u64 {
        self.charged(|name| name.1 == cgroup.id())
    }

    /// What was lost. Not that a switch went by unseen: some kernels of virtual machines run no program while a thread of
    /// their own has the CPU, and its time goes to who comes next.
    pub(crate) fn lost(&self) -> Vec<LostEvents> {
        let lost = self.usage.lost.iter().copied();
        lost.filter(|lost| lost.reason != "unseen_switch").collect()
    }

    pub(crate) fn busy(&self) -> u64 {
        self.usage.packages.iter().map(|row| row.busy.as_nanos()).sum()
    }

    pub(crate) fn idle(&self) -> u64 {
        self.usage.packages.iter().map(|row| row.idle.as_nanos()).sum()
    }
}

/// A process that is killed at the end of its test.
pub(crate) struct Guarded(pub(crate) Child);

impl Guarded {
    pub(crate) fn sh(script: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).args(arguments);
        Self(
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .unwrap(),
        )
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Writes the line that it waits for.
    pub(crate) fn go(&self) {
        self.0.stdin.as_ref().unwrap().write_all(b"\n").unwrap();
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // It may be dead already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A shell that never rests, on one CPU: it has long become that when this returns. Before, it is `taskset`, which takes
/// its time in an emulator, and which fails when the CPU goes away first.
pub(crate) fn burner_on(cpu: u32) -> Guarded {
    burner(&format!("taskset -c {cpu}"))
}

/// Likewise, on any CPU. `prefix`: a command that starts it.
pub(crate) fn burner(prefix: &str) -> Guarded {
    let burner = Guarded::sh(&format!("exec {prefix} sh -c 'while :; do :; done'"), &[]);
    let pid = burner.pid();
    wait_until("the loop is there", || {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"sh\0-c\0while"))
    });
    let before = schedstat(pid);
    wait_until("the loop runs", || schedstat(pid) > before + 30_000_000);
    burner
}

/// Keeps the calling thread, and what it starts, on one CPU.
pub(crate) fn pin(cpu: u32) {
    let mut set = CpuSet::new();
    set.set(usize::try_from(cpu).unwrap());
    sched_setaffinity(None, &set).unwrap();
}

/// A cgroup in the unified hierarchy, removed at the end of its test.
pub(crate) struct Cgroup {
    pub(crate) path: PathBuf,
}

impl Cgroup {
    pub(crate) fn new(name: &str) -> Self {
        let path = unified_mount().join(format!("kepler-test-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self { path }
    }

    pub(crate) fn id(&self) -> CgroupId {
        CgroupId(fs::metadata(&self.path).unwrap().ino())
    }

    /// What the kernel charged to it, in nanoseconds.
    pub(crate) fn cpu_stat(&self) -> u64 {
        let text = fs::read_to_string(self.path.join("cpu.stat")).unwrap();
        let usage = text
            .lines()
            .find_map(|line| line.strip_prefix("usage_usec "))
            .unwrap();
        usage.parse::<u64>().unwrap() * 1_000
    }

    /// Starts a shell in it that runs `count` short processes, one after the other, once it has read a line.
    pub(crate) fn storm_to_come(&self, count: u32) -> Guarded {
        let script = r#"echo $$ > "$1/cgroup.procs"; read go; i=0;
            while [ $i -lt "$2" ]; do /bin/true; i=$((i+1)); done"#;
        Guarded::sh(script, &[self.path.to_str().unwrap(), &count.to_string()])
    }

    /// Whether nothing in it runs for a tenth of a second.
    pub(crate) fn rests(&self) -> bool {
        let before = self.cpu_stat();
        pause(100);
        self.cpu_stat() == before
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The last process may still be on its way out.
        for _ in 0..100 {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            pause(20);
        }
        eprintln!("left behind: {}", self.path.display());
    }
}

/// How many cgroups there are in the unified hierarchy.
pub(crate) fn cgroups() -> u32 {
    let mut folders = vec![unified_mount()];
    let mut count = 0;
    while let Some(folder) = folders.pop() {
        count += 1;
        // One that is removed meanwhile counts as well.
        let inside = fs::read_dir(folder).into_iter().flatten().flatten();
        folders.extend(
            inside
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
    }
    count
}

pub(crate) fn unified_mount() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = mounts.lines().find(|line| line.contains(" - cgroup2 ")).unwrap();
    PathBuf::from(line.split(' ').nth(4).unwrap())
}

/// Waits until `done`, for 20 s at most.
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if done() {
            return;
        }
        pause(10);
    }
    panic!("waited in vain: {what}");
}

/// `part` in thousandths of `whole`.
pub(crate) fn permille(part: u64, whole: u64) -> u64 {
    part * 1_000 / whole.max(1)
}

pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap()
}
