// SPDX-License-Identifier: Apache-2.0
//! `budgets FOLDER FILE`: counts instructions of what must not creep, and holds them to the budgets in the file. `make budgets`
//! builds what is in the folder. With `UPDATE_GOLDEN=1` the file is written instead: a commit that makes something dearer says so
//! by that.

#![forbid(unsafe_code)]

use integration_tests::budgets::{Budgets, Counts, Row, Verdict, collected, table};
use integration_tests::{has_command, say};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use tempfile::TempDir;

/// Programs that name cases, each of which callgrind counts.
const COUNTED: [&str; 3] = ["budget_window", "budget_page", "budget_drain"];
/// Says how long the eBPF programs are.
const PROGRAMS: &str = "budget_programs";

const INSTRUCTIONS: &str = "instructions";
const OBJECTS: &str = "eBPF instructions, as shipped";
/// How sections begin that are of one kernel.
const IN_KERNEL: &str = "eBPF instructions, in the kernel,";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.as_slice() {
        [folder, file] => budgets(Path::new(folder), Path::new(file)),
        _ => Err("usage: budgets FOLDER FILE".to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            say(&why);
            ExitCode::FAILURE
        }
    }
}

fn budgets(folder: &Path, file: &Path) -> Result<(), String> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let budgets = Budgets::parse(&text).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut counted = vec![(INSTRUCTIONS.to_owned(), instructions(folder)?)];
    counted.extend(programs(&folder.join(PROGRAMS))?);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        return write(file, &text, budgets, counted);
    }
    let (mut failed, mut fell) = (0, 0);
    for (section, counts) in &counted {
        let Some(known) = budgets.section(section) else {
            say(&table(
                &format!("{section} (not judged: no budget for this kernel)"),
                &Row::all(counts, counts),
            ));
            continue;
        };
        let mut rows = Row::all(counts, known);
        if section.starts_with(IN_KERNEL) {
            // Two kernels of one version may be built so that one takes a program and the other does not.
            rows.retain(|row| !matches!(row.verdict(), Verdict::Unknown | Verdict::Missing));
        }
        failed += rows.iter().filter(|row| row.verdict().fails()).count();
        fell += rows.iter().filter(|row| row.verdict() == Verdict::Fell).count();
        say(&table(section, &rows));
    }
    let update = "UPDATE_GOLDEN=1 make budgets";
    if fell > 0 {
        say(&format!(
            "{fell} take less than their budgets by more than 5 %: `{update}` keeps the gain"
        ));
    }
    if failed > 0 {
        return Err(format!(
            "{failed} do not keep to {}. Make them cheaper; or, where the change is worth it, run `{update}`, commit the file \
             with it, and say why in the commit.",
            file.display()
        ));
    }
    Ok(())
}

/// The file's own words, and the counts.
fn write(
    file: &Path,
    text: &str,
    mut budgets: Budgets,
    counted: Vec<(String, Counts)>,
) -> Result<(), String> {
    for (section, counts) in counted {
        budgets.put(&section, counts);
    }
    let head: Vec<&str> = text.lines().take_while(|line| line.starts_with('#')).collect();
    fs::write(file, format!("{}\n{budgets}", head.join("\n")))
        .map_err(|error| format!("{}: {error}", file.display()))?;
    say(&format!("{} is written", file.display()));
    Ok(())
}

fn output(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{program}: {}\n{said}", output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn instructions(folder: &Path) -> Result<Counts, String> {
    if !has_command("valgrind") {
        return Err("valgrind is not installed (Debian: apt-get install valgrind)".to_owned());
    }
    let scratch = TempDir::new().map_err(|error| format!("a folder for callgrind: {error}"))?;
    let mut counts = Counts::new();
    for name in COUNTED {
        let program = folder.join(name);
        for case in output(&mut Command::new(&program))?.lines() {
            let count = callgrind(&program, case, scratch.path().join("out"))
                .map_err(|error| format!("{name}, {case:?}: {error}"))?;
            counts.insert(case.to_owned(), count);
        }
    }
    Ok(counts)
}

fn callgrind(program: &Path, case: &str, out: PathBuf) -> Result<u64, String> {
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .arg("--toggle-collect=*collected_by_callgrind*")
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .arg(case);
    output(&mut command)?;
    collected(&fs::read_to_string(&out).map_err(|error| format!("{}: {error}", out.display()))?)
}

/// By section. What a kernel made of them has its version in the section's name, and is judged there alone.
fn programs(program: &Path) -> Result<Vec<(String, Counts)>, String> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let kernel = release.split('.').take(2).collect::<Vec<_>>().join(".");
    let mut sections = BTreeMap::<String, Counts>::new();
    for line in output(&mut Command::new(program))?.lines() {
        let words: Vec<&str> = line.split('\t').collect();
        let (section, name, count) = match words.as_slice() {
            ["object", name, count] => (OBJECTS.to_owned(), name, count),
            [kind @ ("translated" | "verified"), name, count] => {
                (format!("{IN_KERNEL} {kind} on {kernel}"), name, count)
            }
            ["note", name, words] => {
                say(&format!("{name}: {words}"));
                continue;
            }
            _ => {
                say(line);
                continue;
            }
        };
        let count = count.parse().map_err(|error| format!("{line:?}: {error}"))?;
        sections
            .entry(section)
            .or_default()
            .insert((*name).to_owned(), count);
    }
    Ok(sections.into_iter().collect())
}
