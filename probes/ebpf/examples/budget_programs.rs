// SPDX-License-Identifier: Apache-2.0
//! How long the eBPF programs are, for `make budgets`: a line for each, of three words that tabs part.
//!
//! `object` is of the object that is shipped, the same everywhere. `translated` is what the running kernel made of it, and
//! `verified` how many instructions its verifier walked: with all counters on, whatever this machine has. `note` is what a
//! context switch takes here, beside an empty program in the same round: time, so nobody is held to it.

#![expect(clippy::print_stdout, reason = "a program that prints what it measures")]

#[path = "../benches/support/mod.rs"]
mod support;

use attribution::model::TickId;
use aya::programs::{BtfTracePoint, Program, ProgramError, ProgramInfo};
use aya::{Btf, Ebpf, EbpfLoader};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
use probe_ebpf::{Probe, enable_stats};
use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io::{PipeReader, PipeWriter, Read as _, Write as _};
use std::path::Path;
use support::{may_run, median, pin, settings};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Bytes of an instruction.
const INSTRUCTION: u64 = 8;
const ROUNDS: usize = 7;
/// Messages there and back in a round: four switches each at most, a tenth of a second.
const MESSAGES: usize = 10_000;
const EMPTY: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/empty.bpf.o"));

fn main() -> Result<()> {
    let mut objects = Vec::new();
    for name in env!("SHIPPED_OBJECTS").split(' ') {
        let bytes = fs::read(Path::new(env!("OUT_DIR")).join(format!("{name}.bpf.o")))?;
        let functions = functions(&bytes)?;
        for (function, (_, instructions)) in &functions {
            println!("object\t{name}/{function}\t{instructions}");
        }
        objects.push((name, bytes, functions));
    }
    if !may_run() {
        return Ok(());
    }
    let btf = Btf::from_sys_fs()?;
    for (name, bytes, functions) in &objects {
        in_the_kernel(name, bytes, functions, &btf)?;
    }
    switches(&btf)
}

/// Section and instructions of each function.
fn functions(bytes: &[u8]) -> Result<BTreeMap<String, (String, u64)>> {
    let file = object::File::parse(bytes)?;
    let mut functions = BTreeMap::new();
    for symbol in file
        .symbols()
        .filter(|symbol| symbol.kind() == object::SymbolKind::Text)
    {
        if let Some(index) = symbol.section_index() {
            let place = file.section_by_index(index)?.name()?.to_owned();
            functions.insert(symbol.name()?.to_owned(), (place, symbol.size() / INSTRUCTION));
        }
    }
    Ok(functions)
}

fn in_the_kernel(
    name: &str,
    bytes: &[u8],
    functions: &BTreeMap<String, (String, u64)>,
    btf: &Btf,
) -> Result<()> {
    let mut loader = EbpfLoader::new();
    loader
        .btf(Some(btf))
        .override_global("counters", &u32::MAX, false)
        .override_global("smt", &1_u32, false);
    let mut ebpf = loader.allow_unsupported_maps().load(bytes)?;
    for (function, (section, _)) in functions {
        let Some(program) = ebpf.program_mut(function) else {
            continue;
        };
        match load(program, section, btf) {
            Ok(info) => {
                let translated = u64::from(info.size_translated().unwrap_or(0)) / INSTRUCTION;
                println!("translated\t{name}/{function}\t{translated}");
                let verified = info.verified_instruction_count().unwrap_or(0);
                println!("verified\t{name}/{function}\t{verified}");
            }
            Err(error) => println!("note\t{name}/{function}\tthis kernel does not take it: {error}"),
        }
    }
    Ok(())
}

fn load(program: &mut Program, section: &str, btf: &Btf) -> std::result::Result<ProgramInfo, ProgramError> {
    let place = section.rsplit('/').next().unwrap_or_default();
    match program {
        Program::BtfTracePoint(program) => {
            program.load(place, btf)?;
            program.info()
        }
        Program::FEntry(program) => {
            program.load(place, btf)?;
            program.info()
        }
        Program::Iter(program) => {
            program.load(place, btf)?;
            program.info()
        }
        Program::RawTracePoint(program) => {
            program.load()?;
            program.info()
        }
        Program::PerfEvent(program) => {
            program.load()?;
            program.info()
        }
        _ => Err(ProgramError::NotLoaded),
    }
}

/// Nanoseconds of a context switch in an empty program and in ours, one after the other in each round.
fn switches(btf: &Btf) -> Result<()> {
    if EMPTY.is_empty() {
        println!("note\tsched_switch\tno time: built without clang, and the empty program is not committed");
        return Ok(());
    }
    let _statistics = enable_stats()?;
    let mut ebpf = Ebpf::load(EMPTY)?;
    let program = ebpf
        .program_mut("sched_switch")
        .ok_or("no program sched_switch")?;
    let empty: &mut BtfTracePoint = program.try_into()?;
    empty.load("sched_switch", btf)?;
    let (mut base, mut net) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let link = empty.attach()?;
        let before = figures(&empty.info()?);
        ping_pong()?;
        let alone = each(before, figures(&empty.info()?));
        empty.detach(link)?;
        let mut probe = Probe::open(&settings(16_384))?;
        let mut drain = |tick| probe.drain(TickId(tick), TickId(tick - 1), Vec::new());
        // Who lives on has a seat from the second one on.
        drain(1)?;
        drain(2)?;
        let before = ours(&probe);
        ping_pong()?;
        base.push(alone);
        net.push(each(before, ours(&probe)) - alone);
    }
    println!(
        "note\tsched_switch\t{:.0} ns a switch more than the {:.0} ns of an empty program, medians of {ROUNDS} rounds",
        median(&net),
        median(&base)
    );
    Ok(())
}

/// Time in nanoseconds, and runs.
type Figures = (u128, u64);

fn figures(info: &ProgramInfo) -> Figures {
    (info.run_time().as_nanos(), info.run_count())
}

fn ours(probe: &Probe) -> Figures {
    let cost = probe.cost();
    let switch = cost.iter().find(|cost| cost.program == "sched_switch");
    switch.map_or((0, 0), |cost| (cost.run_time.as_nanos(), cost.run_count))
}

#[expect(clippy::cast_precision_loss, reason = "of a second, far below 2^53")]
fn each(before: Figures, after: Figures) -> f64 {
    (after.0 - before.0) as f64 / (after.1 - before.1).max(1) as f64
}

/// Two threads on one CPU that write to each other.
fn ping_pong() -> Result<()> {
    let ((mut there, mut heard), (mut back, mut answered)) = (pipe()?, pipe()?);
    std::thread::scope(|scope| {
        let echo = scope.spawn(move || {
            pin(0);
            let mut byte = [0];
            while heard.read(&mut byte)? == 1 {
                back.write_all(&byte)?;
            }
            Ok::<(), std::io::Error>(())
        });
        let caller = scope.spawn(move || {
            pin(0);
            let mut byte = [0];
            for _ in 0..MESSAGES {
                there.write_all(&byte)?;
                answered.read_exact(&mut byte)?;
            }
            Ok::<(), std::io::Error>(())
        });
        for thread in [caller, echo] {
            thread.join().map_err(|_panicked| "a thread panicked")??;
        }
        Ok(())
    })
}

fn pipe() -> Result<(PipeWriter, PipeReader)> {
    let (reader, writer) = std::io::pipe()?;
    Ok((writer, reader))
}
