// SPDX-License-Identifier: Apache-2.0
//! Rows of the machine: stopped, starved, out of descriptors, short of memory.

use integration_tests::child::Killed;
use integration_tests::daemon::{Daemon, bare, pause};
use integration_tests::http;
use integration_tests::trial::{Plan, START, Trial};
use integration_tests::{is_root, skip};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use std::fs;
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

#[test]
fn little_memory() {
    let plan = Plan {
        name: "memory",
        thing: "memory",
        injected: "a control group that leaves 8 MiB beside what the daemon has; 1,000 processes that come and go, 50 scrapes of each page",
        must: "it is not ended by the kernel: what it holds is bounded",
    };
    let Some(group) = Limited::new() else { return };
    let mut trial = Trial::begin(plan, &["exporter.levels=[\"node\",\"container\",\"process\"]"]);
    group.hold(trial.daemon.pid(), 8 << 20);
    let crowd = Killed::start(bare("sh").args(["-c", "for one in $(seq 1000); do sh -c :; done"]));
    for path in ["/metrics", "/api/v1/snapshot", "/api/v1/history", "/"] {
        for _ in 0..50 {
            drop(http::get(trial.daemon.address, path, &[]));
        }
    }
    trial.meter.set(ZONE, START + 3_000_000);
    trial.wait_for_paid("package", 0, 3_000_000);
    drop(crowd);
    trial.wait_for_rise("kepler_windows_total", &[]);
    trial.saw(format!(
        "nothing to name: it had to be asked {} times to give memory back, and goes on",
        group.failures()
    ));
    trial.end();
}

/// A control group with a bound on memory, of either version.
struct Limited {
    folder: PathBuf,
    bound: &'static str,
}

impl Limited {
    fn new() -> Option<Self> {
        let name = format!("kepler-faults-memory-{}", std::process::id());
        let places = [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
        ];
        let here = is_root()
            .then_some(places)
            .into_iter()
            .flatten()
            .find_map(|(root, bound)| {
                let folder = Path::new(root).join(&name);
                fs::create_dir(&folder).ok()?;
                let here = Self { folder, bound };
                here.folder.join(bound).exists().then_some(here)
            });
        if here.is_none() {
            skip("needs root and a memory controller whose groups can be made");
        }
        here
    }

    /// How often the bound was hit.
    fn failures(&self) -> u64 {
        let read = |name: &str| fs::read_to_string(self.folder.join(name)).ok();
        let first = read("memory.failcnt");
        let events = read("memory.events");
        let second = events
            .as_deref()
            .and_then(|text| text.lines().find_map(|line| line.strip_prefix("max ")));
        let count = first
            .as_deref()
            .or(second)
            .and_then(|text| text.trim().parse().ok());
        count.expect("the kernel counts it")
    }

    /// Puts the process in; it may have so many bytes more than it has.
    fn hold(&self, pid: u32, more: u64) {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
        let kibibytes = status.lines().find_map(|line| {
            line.strip_prefix("VmRSS:")?
                .trim()
                .strip_suffix(" kB")?
                .parse::<u64>()
                .ok()
        });
        let bytes = kibibytes.expect("a size") * 1024 + more;
        fs::write(self.folder.join(self.bound), bytes.to_string()).expect("a bound");
        fs::write(self.folder.join("cgroup.procs"), pid.to_string()).expect("a member");
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        // The daemon is gone before: values of a function are dropped last to first.
        drop(fs::remove_dir(&self.folder));
    }
}
