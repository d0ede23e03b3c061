// SPDX-License-Identifier: Apache-2.0
//! Rows of the machine: stopped, starved, out of descriptors, short of memory.

use integration_tests::child::Killed;
use integration_tests::daemon::{Daemon, bare, behind, pause};
use integration_tests::http;
use integration_tests::trial::{Plan, START, Trial};
use integration_tests::{in_guest, is_root, skip};
use rustix::fs::{Advice, fadvise};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use std::fs;
use std::io::{Seek as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const ZONE: &str = "intel-rapl:0";

fn pid(daemon: &Daemon) -> Pid {
    let pid = i32::try_from(daemon.pid()).ok().and_then(Pid::from_raw);
    pid.expect("a pid")
}

/// For as long as the fault lasts: there is nothing to wait for.
fn rest(length: Duration) {
    let end = Instant::now() + length;
    while Instant::now() < end {
        pause();
    }
}

#[test]
fn a_daemon_that_is_stopped_for_half_a_minute() {
    let plan = Plan {
        name: "stopped",
        thing: "the daemon itself",
        injected: "SIGSTOP, 30 s, SIGCONT",
        must: "the meter's energy of the gap is paid in full, once; windows go on at their beat, and the first one is late by the gap",
    };
    let mut trial = Trial::begin(plan, &[]);
    trial.daemon.signal(Signal::STOP);
    rest(Duration::from_secs(30));
    trial.meter.set(ZONE, START + 30_000_000);
    trial.daemon.signal(Signal::CONT);
    trial.wait_for_paid("package", 0, 30_000_000);
    trial.wait_for_rise_by("kepler_window_lateness_seconds_sum", &[], 20.0);
    trial.saw("30 J of the gap are paid");
    trial.end();
}

#[test]
fn a_machine_that_is_full() {
    let plan = Plan {
        name: "starved",
        thing: "CPU time",
        injected: "four busy loops for each CPU at nice -20, for 50 windows",
        must: "windows may be late and say so; not a joule is lost",
    };
    if !is_root() {
        return skip("needs root for nice -20");
    }
    let mut trial = Trial::begin(plan, &[]);
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let loops: Vec<Killed> = (0..4 * cpus)
        .map(|_| Killed::start(bare("nice").args(["-n", "-20", "sh", "-c", "while :; do :; done"])))
        .collect();
    for step in 1..=5 {
        trial.meter.set(ZONE, START + step * 1_000_000);
        trial.windows(10);
    }
    drop(loops);
    trial.wait_for_paid("package", 0, 5_000_000);
    trial.wait_for_rise("kepler_window_lateness_seconds_sum", &[]);
    trial.saw("5 J of 5 J paid");
    trial.end();
}

#[test]
fn no_descriptor_left() {
    let plan = Plan {
        name: "descriptors",
        thing: "file descriptors",
        injected: "the limit falls below what is open, and connections come; then it rises again",
        must: "nothing ends; nobody new is served until there are descriptors again; the meter's energy of that time is paid",
    };
    let mut trial = Trial::begin(plan, &[]);
    let target = Some(pid(&trial.daemon));
    let none = Rlimit {
        current: Some(4),
        maximum: getrlimit(Resource::Nofile).maximum,
    };
    let Ok(before) = prlimit(target, Resource::Nofile, none) else {
        return skip("needs the right to set another process's limits");
    };
    let waits: Vec<_> = (0..20)
        .filter_map(|_| TcpStream::connect(trial.daemon.address).ok())
        .collect();
    trial.daemon.wait_for_log("cannot accept a connection");
    trial.meter.set(ZONE, START + 3_000_000);
    // No page can be read that would tell how many windows pass.
    rest(Duration::from_secs(2));
    prlimit(target, Resource::Nofile, before).expect("as it was");
    drop(waits);
    trial.wait_for_rise(
        "kepler_exporter_connections_closed_total",
        &[("reason", "accept")],
    );
    trial.wait_for_paid("package", 0, 3_000_000);
    trial.saw("3 J of the time without descriptors are paid");
    trial.end();
}

/// Rounds of load, and how much each is.
const ROUNDS: u32 = 4;
const CROWD: u32 = 250;
const SCRAPES: u32 = 15;
const MIB: u64 = 1 << 20;
/// What may come and go beside what is held: an allocator's slack and the pages that are being written.
const SLACK: u64 = 4 * MIB;

#[test]
fn little_memory() {
    let plan = Plan {
        name: "memory",
        thing: "memory",
        injected: "after a round of 250 processes that come and go and 15 scrapes of each page, its control group leaves it what that round took (4 MiB at least), and a file and `/sys` are read in the group until memory is asked back; then three rounds more",
        must: "it is not ended by the kernel: what it holds is bounded; nothing is wrong for the daemon, so nothing has a name",
    };
    let Some(group) = Limited::new() else { return };
    let levels = "exporter.levels=[\"node\",\"container\",\"process\"]";
    let mut trial = Trial::begin_with(plan, &[levels], |command| {
        let words = format!("{} && exec \"$@\"", group.enter());
        behind(command, "sh", &["-c", &words, "sh"]);
    });
    let begin = group.held();
    let most = round(&trial, &group);
    let bound = most + most.saturating_sub(begin).max(SLACK);
    group.bound(bound);
    group.fill(bound);
    for _ in 1..ROUNDS {
        round(&trial, &group);
    }
    trial.meter.set(ZONE, START + 3_000_000);
    trial.wait_for_paid("package", 0, 3_000_000);
    let (asked, held) = (group.failures(), group.held());
    assert!(asked > 0, "the bound was never near: {held} bytes of {bound}");
    let mib = |bytes: u64| format!("{}.{} MiB", bytes / MIB, bytes % MIB * 10 / MIB);
    trial.saw(format!(
        "it held {} after one round and {} after four, of {}; memory was asked back {asked} times",
        mib(most),
        mib(held),
        mib(bound)
    ));
    trial.end_unnamed();
}

/// A crowd comes and goes beside scrapes of each page. Gives the most that the group held meanwhile.
fn round(trial: &Trial, group: &Limited) -> u64 {
    let loops = format!("for one in $(seq {CROWD}); do sh -c :; done");
    let mut crowd = Killed::start(bare("sh").args(["-c", &loops]));
    let mut most = 0;
    for path in ["/metrics", "/api/v1/snapshot", "/api/v1/history", "/"] {
        for _ in 0..SCRAPES {
            drop(http::get(trial.daemon.address, path, &[]));
            most = most.max(group.held());
        }
    }
    let gone = crowd.0.wait().expect("our own child");
    assert!(gone.success(), "the crowd came to another end: {gone}");
    trial.windows(2);
    most.max(group.held())
}

/// A control group with a bound on memory, of either version.
struct Limited {
    folder: PathBuf,
    files: Files,
}

/// What its files are called.
#[derive(Clone, Copy)]
struct Files {
    root: &'static str,
    bound: &'static str,
    usage: &'static str,
    /// In `memory.stat`: pages of files, and those among them that are in memory alone.
    cache: [&'static str; 2],
}

const VERSIONS: [Files; 2] = [
    Files {
        root: "/sys/fs/cgroup/memory",
        bound: "memory.limit_in_bytes",
        usage: "memory.usage_in_bytes",
        cache: ["total_cache ", "total_shmem "],
    },
    Files {
        root: "/sys/fs/cgroup",
        bound: "memory.max",
        usage: "memory.current",
        cache: ["file ", "shmem "],
    },
];

impl Limited {
    fn new() -> Option<Self> {
        let name = format!("kepler-faults-memory-{}", std::process::id());
        let here = is_root()
            .then_some(VERSIONS)
            .into_iter()
            .flatten()
            .find_map(|files| {
                let folder = Path::new(files.root).join(&name);
                fs::create_dir(&folder).ok()?;
                let here = Self { folder, files };
                here.folder.join(files.bound).exists().then_some(here)
            });
        if here.is_none() {
            skip("needs root and a memory controller whose groups can be made");
        }
        here
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.folder.join(name)).ok()
    }

    /// Shell words that put the shell that runs them into the group: what it and all after it use is charged to it.
    fn enter(&self) -> String {
        format!("echo $$ > {}/cgroup.procs", self.folder.display())
    }

    /// How often the bound was hit.
    fn failures(&self) -> u64 {
        let first = self.read("memory.failcnt");
        let second = self.read("memory.events");
        let second = second.as_deref().and_then(|text| field(text, "max "));
        let first = first.and_then(|text| text.trim().parse().ok());
        first.or(second).expect("the kernel counts it")
    }

    /// Bytes that it holds, without pages of files: those the kernel takes back by itself.
    fn held(&self) -> u64 {
        let usage = self.read(self.files.usage).expect("the kernel counts it");
        let usage: u64 = usage.trim().parse().expect("a number");
        let stat = self.read("memory.stat").expect("the kernel counts it");
        let [cache, shared] = self.files.cache.map(|name| field(&stat, name).unwrap_or(0));
        usage.saturating_sub(cache.saturating_sub(shared))
    }

    fn bound(&self, bytes: u64) {
        fs::write(self.folder.join(self.files.bound), bytes.to_string()).expect("a bound");
    }

    /// Has the group hold all that it may, with what the kernel can take back: pages of a file of so many bytes, and where there
    /// is no disk, what it remembers of `/sys`. From then on each page more is asked back from somebody.
    fn fill(&self, bytes: u64) {
        let mut file = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).expect("a file");
        let pages = vec![1_u8; usize::try_from(bytes).expect("it fits")];
        file.write_all(&pages).expect("room");
        file.sync_all().expect("a disk");
        // Read again by the group, so that it is the one who pays.
        fadvise(&file, 0, None, Advice::DontNeed).expect("a plain file");
        file.rewind().expect("a plain file");
        // Where there is no room after all, this goes before the daemon does, and the row fails.
        let words = "echo 1000 > /proc/self/oom_score_adj; cat > /dev/null && { find /sys > /dev/null 2>&1; [ $? -lt 128 ]; }";
        let words = format!("{} && {words}", self.enter());
        let filled = bare("sh").args(["-c", &words]).stdin(file).status();
        let filled = filled.expect("a shell");
        assert!(filled.success(), "{filled}");
        if in_guest() {
            // Kernels up to 6.1 do not take back fast enough what they remember of /sys, and end the daemon for it.
            fs::write("/proc/sys/vm/drop_caches", "2").expect("it forgets");
        }
    }
}

/// A number by its name in a file of the kernel's.
fn field(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

impl Drop for Limited {
    fn drop(&mut self) {
        // The daemon is gone before: values of a function are dropped last to first.
        drop(fs::remove_dir(&self.folder));
    }
}
