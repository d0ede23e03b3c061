// SPDX-License-Identifier: Apache-2.0
//! Which object and which program this kernel takes, each on its own, with the kernel's reason where it does not: for the
//! table of kernels. Whether the probe lives with what is missing is for the other tests to say.

use crate::support::machine;
use aya::programs::{Program, ProgramError};
use aya::{Btf, EbpfLoader};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Without these there is no probe at all.
const NEEDED: [&str; 2] = ["cpu_time/sched_switch", "cpu_time/flush"];

/// Section of each program, by its name: says what it attaches to.
fn sections(bytes: &[u8]) -> BTreeMap<String, String> {
    let file = object::File::parse(bytes).unwrap();
    let functions = file
        .symbols()
        .filter(|symbol| symbol.kind() == object::SymbolKind::Text);
    functions
        .filter_map(|symbol| {
            let section = file.section_by_index(symbol.section_index()?).ok()?;
            let place = section.name().ok()?;
            // In .text are functions that programs call.
            (place != ".text").then_some((symbol.name().ok()?.to_owned(), place.to_owned()))
        })
        .collect()
}

/// Where else the probe attaches a program, on kernels that do not have the place in its section (src/object.rs: the two
/// of the page cache, before folios).
const ELSEWHERE: [(&str, &str); 2] = [
    ("folio_mark_accessed", "mark_page_accessed"),
    ("writeback_dirty_folio", "writeback_dirty_page"),
];

/// Loads and, where that means something on its own, attaches: at the place in its section, or else at the one before
/// that. Says where when it is the latter; the error is the first one's, as the probe's is.
fn try_program(program: &mut Program, section: &str, btf: &Btf) -> Result<String, ProgramError> {
    let place = section.rsplit('/').next().unwrap_or_default();
    let first = try_place(program, place, btf).map(str::to_owned);
    let elsewhere = ELSEWHERE.iter().find(|(newer, _)| *newer == place);
    match (first, elsewhere) {
        (Err(error), Some((_, older))) => try_place(program, older, btf)
            .map(|done| format!("{done} to {older}"))
            .or(Err(error)),
        (first, _) => first,
    }
}

fn try_place(program: &mut Program, place: &str, btf: &Btf) -> Result<&'static str, ProgramError> {
    match program {
        Program::BtfTracePoint(program) => {
            program.load(place, btf)?;
            program.attach().map(|_link| "attached")
        }
        Program::FEntry(program) => {
            program.load(place, btf)?;
            program.attach().map(|_link| "attached")
        }
        Program::Iter(program) => {
            program.load(place, btf)?;
            program.attach().map(|_link| "attached")
        }
        // Run by hand, or attached to what user space opens.
        Program::RawTracePoint(program) => program.load().map(|()| "loaded"),
        Program::PerfEvent(program) => program.load().map(|()| "loaded"),
        other => panic!("this test does not know how to load {:?}", other.prog_type()),
    }
}

/// The kernel's word: its error, and the last line of the verifier's log that is not a statistic.
fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let mut texts = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        let (head, log) = text.split_once('\n').unwrap_or((&text, ""));
        texts.push(head.trim_end_matches(". Verifier output:").to_owned());
        let verdict = log
            .lines()
            .rfind(|line| !line.is_empty() && !line.starts_with("processed "));
        texts.extend(verdict.map(|line| line.trim_start_matches("Verifier output: ").to_owned()));
        next = error.source();
    }
    texts.dedup();
    texts.join(": ")
}

#[test]
fn each_program_is_taken_by_this_kernel_or_its_reason_is_said() {
    let Some(_machine) = machine() else { return };
    let btf = Btf::from_sys_fs().unwrap();
    let mut refused = Vec::new();
    for name in env!("SHIPPED_OBJECTS").split(' ') {
        let bytes = fs::read(Path::new(env!("OUT_DIR")).join(format!("{name}.bpf.o"))).unwrap();
        let sections = sections(&bytes);
        let mut loader = EbpfLoader::new();
        let loaded = loader.btf(Some(&btf)).allow_unsupported_maps().load(&bytes);
        let mut ebpf = match loaded {
            Ok(ebpf) => ebpf,
            Err(error) => {
                // One map that the kernel lacks costs the whole object.
                for program in sections.keys() {
                    eprintln!("program {name}/{program}: {}", reason(&error));
                    refused.push(format!("{name}/{program}"));
                }
                continue;
            }
        };
        for (program, section) in &sections {
            let outcome = try_program(ebpf.program_mut(program).unwrap(), section, &btf);
            if outcome.is_err() {
                refused.push(format!("{name}/{program}"));
            }
            let outcome = outcome.unwrap_or_else(|error| reason(&error));
            eprintln!("program {name}/{program}: {outcome}");
        }
    }
    let missing: Vec<_> = refused
        .iter()
        .filter(|program| NEEDED.contains(&program.as_str()))
        .collect();
    assert!(missing.is_empty(), "needed and refused: {missing:?}");
}
