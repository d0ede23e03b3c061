// SPDX-License-Identifier: Apache-2.0
//! Nanoseconds per context switch: an empty program, the classic pattern of LRU maps, and our probe, each attached alone
//! and in turn, so that the machine's drift hits all alike. `cargo bench -p probe-ebpf --bench switch`
//!
//! The figures are the kernel's BPF statistics (run time by run count). They contain the statistics' own two readings of
//! the clock, which the empty program shows; `net` is what is left without. Paths of further objects on the command line
//! are measured too: a trial needs a program `sched_switch` in `tp_btf/sched_switch`, and no rebuilding here.
#![allow(clippy::print_stdout, reason = "a program that prints a table")]

mod support;

use attribution::model::TickId;
use aya::programs::{BtfTracePoint, ProgramInfo};
use aya::{Btf, Ebpf, EbpfLoader};
use probe_ebpf::{Probe, enable_stats};
use std::error::Error;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use support::{may_run, median, settings};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Measurements of each program under each load.
const ROUNDS: usize = 7;

/// Time between two drains of our probe.
const TICK: Duration = Duration::from_millis(100);

/// What switches: its name in the table, and the arguments of perf, perhaps with what comes before it. Two seconds each.
///
/// A ping-pong on one CPU never meets the idle task, so each switch is charged to somebody, out of a warm cache. The
/// messages are of 400 processes that fill the caches between one switch and the next.
const LOADS: [(&str, &[&str], &str); 2] = [
    ("pipe", &["taskset", "-c", "0"], "bench sched pipe -l 200000"),
    ("messaging", &[], "bench sched messaging -g 10 -l 1000"),
];

const EMPTY: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/empty.bpf.o"));
const LRU: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lru_pattern.bpf.o"));

fn main() -> Result<()> {
    if !may_run() {
        return Ok(());
    }
    if EMPTY.is_empty() {
        println!("skipped: built without clang, and the programs to compare with are not committed");
        return Ok(());
    }
    let Some(perf) = perf() else {
        println!("skipped: no perf or no taskset that works (Debian: apt-get install linux-perf util-linux)");
        return Ok(());
    };
    let btf = Btf::from_sys_fs()?;
    let mut contenders = vec![
        Contender::object("empty program", EMPTY, &btf, 0)?,
        Contender::object("LRU pattern", LRU, &btf, 0)?,
        Contender::object("LRU pattern, reading 3 absent counters", LRU, &btf, 1)?,
        Contender::new("this probe", Kind::Probe),
    ];
    for path in std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
    {
        contenders.push(Contender::object(&path, &std::fs::read(&path)?, &btf, 0)?);
    }
    let _statistics = enable_stats()?;
    for _ in 0..ROUNDS {
        for contender in &mut contenders {
            contender.measure(&perf)?;
        }
    }
    print(&contenders);
    Ok(())
}

/// The first perf that works. Some distributions have a `perf` that only looks for the running kernel's own version, and
/// any version does for its benchmarks.
fn perf() -> Option<PathBuf> {
    let inside = |folder: &str| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let versions = inside("/usr/bin").into_iter().filter(|path| {
        let name = path.file_name().unwrap_or_default();
        name.as_encoded_bytes().starts_with(b"perf_")
    });
    let tools = inside("/usr/lib/linux-tools")
        .into_iter()
        .map(|folder| folder.join("perf"));
    std::iter::once(PathBuf::from("perf"))
        .chain(versions)
        .chain(tools)
        .find(|perf| load(perf, &["taskset", "-c", "0"], "bench sched pipe -l 1"))
}

/// Runs perf to its end.
fn load(perf: &Path, before: &[&str], arguments: &str) -> bool {
    let mut words = before.iter().map(OsStr::new).chain([perf.as_os_str()]);
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).args(arguments.split(' '));
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn print(contenders: &[Contender]) {
    println!("| program | pipe, ns per run | net | messaging, ns per run | net |");
    println!("|---|---|---|---|---|");
    let Some(empty) = contenders.first() else { return };
    for contender in contenders {
        print!("| {} |", contender.name);
        for (samples, base) in contender.samples.iter().zip(&empty.samples) {
            let all: Vec<f64> = samples.iter().map(Cost::each).collect();
            let net: Vec<f64> = samples
                .iter()
                .zip(base)
                .map(|(one, base)| one.each() - base.each())
                .collect();
            let (low, high) = all.iter().fold((f64::MAX, 0.0_f64), |(low, high), &each| {
                (low.min(each), high.max(each))
            });
            print!(
                " {:.0} ({low:.0} to {high:.0}) | {:.0} |",
                median(&all),
                median(&net)
            );
        }
        println!();
    }
    println!();
    for ((name, before, arguments), samples) in LOADS.iter().zip(&empty.samples) {
        let runs: Vec<f64> = samples.iter().map(Cost::runs).collect();
        println!(
            "- {name}: `{}perf {arguments}`, {:.0} runs of the program",
            before.iter().fold(String::new(), |text, word| text + word + " "),
            median(&runs)
        );
    }
    println!(
        "- median of {ROUNDS} measurements (lowest to highest); net of the empty program's in the same round"
    );
}

/// A program, and what was measured of it under each load.
struct Contender {
    name: String,
    kind: Kind,
    samples: [Vec<Cost>; LOADS.len()],
}

enum Kind {
    /// An object with a program `sched_switch`, loaded for good.
    Object(Box<Ebpf>),
    /// Ours, opened anew for each measurement.
    Probe,
}

impl Contender {
    /// `counters` is the flag of that name, for objects that have one.
    fn object(name: &str, bytes: &[u8], btf: &Btf, counters: i32) -> Result<Self> {
        let mut loader = EbpfLoader::new();
        loader
            .btf(Some(btf))
            .override_global("counters", &counters, false);
        let mut ebpf = loader.allow_unsupported_maps().load(bytes)?;
        tracepoint(&mut ebpf)?.load("sched_switch", btf)?;
        Ok(Self::new(name, Kind::Object(Box::new(ebpf))))
    }

    fn new(name: &str, kind: Kind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            samples: [const { Vec::new() }; LOADS.len()],
        }
    }

    fn measure(&mut self, perf: &Path) -> Result<()> {
        match &mut self.kind {
            Kind::Object(ebpf) => {
                let program = tracepoint(ebpf)?;
                let link = program.attach()?;
                under_loads(perf, &mut self.samples, || Ok(Cost::of(&program.info()?)))?;
                program.detach(link)?;
            }
            Kind::Probe => {
                let probe = Mutex::new(Probe::open(&settings(16_384))?);
                drained(&probe, || {
                    under_loads(perf, &mut self.samples, || cost_of(&probe))
                })?;
            }
        }
        Ok(())
    }
}

/// Does `work` while the probe is drained as the daemon drains it: who lives on has a seat from the second drain on.
fn drained<T>(probe: &Mutex<Probe>, work: impl FnOnce() -> T) -> T {
    std::thread::scope(|scope| {
        let (done, wait) = channel::<()>();
        scope.spawn(move || {
            let mut tick = 0;
            let mut tasks = Vec::new();
            while wait.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                tick += 1;
                let mut probe = probe.lock().unwrap_or_else(PoisonError::into_inner);
                let drained = probe.drain(TickId(tick), TickId(tick - 1), std::mem::take(&mut tasks));
                tasks = drained.map(|(_, usage)| usage.tasks).unwrap_or_default();
            }
        });
        let result = work();
        drop(done);
        result
    })
}

fn cost_of(probe: &Mutex<Probe>) -> Result<Cost> {
    let cost = probe.lock().unwrap_or_else(PoisonError::into_inner).cost();
    let switch = cost.iter().find(|cost| cost.program == "sched_switch");
    let switch = switch.ok_or("the probe names no program sched_switch")?;
    Ok(Cost {
        time: switch.run_time,
        count: switch.run_count,
    })
}

fn under_loads(perf: &Path, samples: &mut [Vec<Cost>], cost: impl Fn() -> Result<Cost>) -> Result<()> {
    for (samples, (_, before, arguments)) in samples.iter_mut().zip(LOADS) {
        let then = cost()?;
        if !load(perf, before, arguments) {
            return Err(format!("failed: perf {arguments}").into());
        }
        samples.push(cost()?.since(&then));
    }
    Ok(())
}

fn tracepoint(ebpf: &mut Ebpf) -> Result<&mut BtfTracePoint> {
    let program = ebpf
        .program_mut("sched_switch")
        .ok_or("no program sched_switch")?;
    Ok(program.try_into()?)
}

/// The kernel's figures of a program.
struct Cost {
    time: Duration,
    count: u64,
}

impl Cost {
    fn of(info: &ProgramInfo) -> Self {
        Self {
            time: info.run_time(),
            count: info.run_count(),
        }
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            time: self.time.saturating_sub(before.time),
            count: self.count.saturating_sub(before.count),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of a second are far below 2^53")]
    fn runs(&self) -> f64 {
        self.count as f64
    }

    /// Nanoseconds of a run.
    fn each(&self) -> f64 {
        self.time.as_secs_f64() * 1e9 / self.runs().max(1.0)
    }
}
