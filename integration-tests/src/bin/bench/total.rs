// SPDX-License-Identifier: Apache-2.0
//! All the CPU time that measuring takes, under a load of many processes and many switches: the daemon's threads by the
//! scheduler's account, and its programs by the kernel's BPF statistics.
//!
//! The statistics read the clock twice around each run. What that costs is measured with an empty program under the
//! same load and subtracted. Not in the figures: the interrupts by which a drain reaches other CPUs, a few microseconds
//! each, and the call of a hook, some nanoseconds.

use crate::crowd::{Crowd, Pairs};
use crate::{cpu, nap, read};
use integration_tests::daemon::Daemon;
use integration_tests::is_root;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

const PROCESSES: usize = 1_000;
const SWITCHES: u64 = 50_000;
const TICK: &str = "100ms";
/// Seconds that are measured for each accountant.
const SECONDS: u64 = 20;

/// Prints the table, with a row for each accountant.
pub(crate) fn table(accountants: &[String]) {
    if !is_root() {
        println!("skipped: what the programs cost needs root");
        return;
    }
    let Some(empty) = Empty::start() else {
        println!("skipped: the empty program that is subtracted does not run here (it needs clang to build)");
        return;
    };
    let _statistics = Statistics::on();
    let mut crowd = Crowd::new(PROCESSES);
    let mut load = Governor::new();
    load.hold(10);
    let before = programs(empty.0.id());
    load.hold(5);
    let per_run = Spent::between(&before, &programs(empty.0.id())).each();
    drop(empty);
    println!("| accountant | switches a second | hooks, net | of a core: hooks | flush | daemon | all |");
    println!("|---|---|---|---|---|---|---|");
    for accountant in accountants {
        row(accountant, per_run, &mut crowd, &mut load);
    }
    println!();
    println!(
        "tick {TICK}, {PROCESSES} processes; means of {SECONDS} s; net of the statistics' own {per_run:.1} ns per run"
    );
}

fn row(accountant: &str, per_run: f64, crowd: &mut Crowd, load: &mut Governor) {
    let accounting = format!("probes.cpu_time={accountant}");
    let daemon = Daemon::start(&["--tick", TICK, "--set", &accounting]);
    // As on a node that has been up for long: every process is one that ran since the start, and is too old for the
    // resolver to look at it again.
    crowd.stir();
    daemon.wait_for_tick(150);
    load.hold(5);
    let (before, (cpu_before, _), switches) = (programs(daemon.pid()), cpu(daemon.pid()), switches());
    let began = Instant::now();
    load.hold(SECONDS);
    let (after, (cpu_after, _)) = (programs(daemon.pid()), cpu(daemon.pid()));
    let (seconds, switches) = (began.elapsed().as_secs_f64(), self::switches() - switches);

    let (mut hooks, mut flush) = (Spent::default(), Spent::default());
    let mut each = Vec::new();
    for (id, program) in &after {
        let spent = Spent::of(before.get(id), program);
        match &program.role {
            Role::Hook(name) => {
                hooks.add(&spent);
                if spent.count > 0 {
                    each.push(format!(
                        "{name} {:.0} ns x {:.0}/s",
                        spent.each() - per_run,
                        float(spent.count) / seconds
                    ));
                }
            }
            Role::Called => flush.add(&spent),
            // Runs inside a call of the daemon, so it is in the daemon's own time.
            Role::Iterator => {}
        }
    }
    let share = |nanos: f64| nanos / 1e7 / seconds;
    let net = |spent: &Spent| share(float(spent.nanos) - float(spent.count) * per_run);
    let daemon = share(float(cpu_after - cpu_before));
    let each = if each.is_empty() {
        "none".to_owned()
    } else {
        each.join(", ")
    };
    println!(
        "| {accountant} | {:.0} | {each} | {:.2} % | {:.2} % | {daemon:.2} % | {:.2} % |",
        float(switches) / seconds,
        net(&hooks),
        net(&flush),
        net(&hooks) + net(&flush) + daemon
    );
}

/// Holds the whole machine, with whatever else runs on it, to `SWITCHES` a second.
struct Governor {
    pairs: Pairs,
    /// Switches a second that the pairs make.
    own: u64,
}

impl Governor {
    /// With pairs that make half of it at first.
    fn new() -> Self {
        let mut governor = Self {
            pairs: Pairs::new(),
            own: SWITCHES / 2,
        };
        governor.pairs.set_rate(governor.own);
        governor
    }

    /// Waits, and sees to the rate once a second.
    fn hold(&mut self, seconds: u64) {
        for _ in 0..seconds {
            let (before, began) = (switches(), Instant::now());
            nap(1);
            let made = integer(float(switches() - before) / began.elapsed().as_secs_f64());
            // Half of the way, so that one second's whim does not make the next one's.
            self.own = (self.own + SWITCHES / 2).saturating_sub(made / 2);
            self.pairs.set_rate(self.own);
        }
    }
}

/// Context switches of all CPUs since boot (proc(5): `ctxt`).
fn switches() -> u64 {
    let text = read("/proc/stat");
    let line = text.lines().find_map(|line| line.strip_prefix("ctxt "));
    line.and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// When a program runs.
enum Role {
    /// At a tracepoint, in whatever happens there.
    Hook(String),
    /// When the daemon calls it, mostly on other CPUs.
    Called,
    /// While the daemon reads it.
    Iterator,
}

struct Program {
    role: Role,
    spent: Spent,
}

/// Run time and count, since the program was loaded or between two readings.
#[derive(Clone, Copy, Default)]
struct Spent {
    nanos: u64,
    count: u64,
}

impl Spent {
    fn add(&mut self, other: &Self) {
        self.nanos += other.nanos;
        self.count += other.count;
    }

    fn of(before: Option<&Program>, after: &Program) -> Self {
        let before = before.map_or_else(Self::default, |program| program.spent);
        Self {
            nanos: after.spent.nanos - before.nanos,
            count: after.spent.count - before.count,
        }
    }

    /// All programs together.
    fn between(before: &BTreeMap<u32, Program>, after: &BTreeMap<u32, Program>) -> Self {
        let mut sum = Self::default();
        for (id, program) in after {
            sum.add(&Self::of(before.get(id), program));
        }
        sum
    }

    fn each(&self) -> f64 {
        float(self.nanos) / float(self.count.max(1))
    }
}

/// The eBPF programs that a process holds, by id: what /proc/PID/fdinfo says of programs and of links.
fn programs(pid: u32) -> BTreeMap<u32, Program> {
    const TRACING: u32 = 26;
    let files = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("it lives");
    let texts: Vec<String> = files.flatten().map(|file| read(file.path())).collect();
    let mut programs = BTreeMap::new();
    for text in &texts {
        let (Some(id), Some(nanos), Some(count)) = (
            number(text, "prog_id:"),
            field(text, "run_time_ns:"),
            field(text, "run_cnt:"),
        ) else {
            continue;
        };
        let (nanos, count) = (nanos.parse().unwrap_or(0), count.parse().unwrap_or(0));
        let role = match number(text, "prog_type:") {
            Some(TRACING) => Role::Iterator,
            _ => Role::Called,
        };
        programs.insert(
            id,
            Program {
                role,
                spent: Spent { nanos, count },
            },
        );
    }
    for text in &texts {
        let linked = number(text, "prog_id:").and_then(|id| programs.get_mut(&id));
        if let (Some(program), Some(tracepoint)) = (linked, field(text, "tp_name:")) {
            program.role = Role::Hook(tracepoint.to_owned());
        }
    }
    programs
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}

fn number(text: &str, name: &str) -> Option<u32> {
    field(text, name)?.parse().ok()
}

/// A process that holds an empty program at `sched_switch`.
struct Empty(Child);

impl Empty {
    fn start() -> Option<Self> {
        const NAME: &str = "empty_switch";
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
        let mut build = Command::new(option_env!("CARGO").unwrap_or("cargo"));
        build.args([
            "build",
            "--quiet",
            "--locked",
            "--release",
            "-p",
            "probe-ebpf",
            "--example",
            NAME,
        ]);
        let built = build.current_dir(root).status().ok()?;
        // This program lies in the folder of the profile, the examples in one below.
        let own = std::env::current_exe().ok()?;
        let mut command = Command::new(own.parent()?.join("examples").join(NAME));
        let child = command
            .stdin(Stdio::piped())
            .spawn()
            .ok()
            .filter(|_| built.success())?;
        let mut empty = Self(child);
        for _ in 0..10 {
            nap(1);
            if programs(empty.0.id())
                .values()
                .any(|program| matches!(program.role, Role::Hook(_)))
            {
                return Some(empty);
            }
            if empty.0.try_wait().ok()?.is_some() {
                return None;
            }
        }
        None
    }
}

impl Drop for Empty {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Keeps the kernel's BPF statistics on.
struct Statistics {
    before: String,
}

impl Statistics {
    const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

    fn on() -> Self {
        let before = read(Self::SWITCH);
        fs::write(Self::SWITCH, "1").expect("root may");
        Self { before }
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        drop(fs::write(Self::SWITCH, self.before.trim()));
    }
}

fn float(count: u64) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate of switches, positive and far below 2^53"
)]
fn integer(rate: f64) -> u64 {
    rate as u64
}
