// SPDX-License-Identifier: Apache-2.0
//! Runs targets under libFuzzer, one after the other, and writes the page. `fuzzing ENGINE BUILD SECONDS FOLDER PAGE [TARGET...]`: the
//! folder keeps what is found from run to run. Exit code 1 when an input does not hold.

use fuzz::page::{Build, Run, page};
use fuzz::{TARGETS, Target, corpus};
use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Longest input, in bytes.
const LONGEST: u32 = 64 << 10;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [engine, build, seconds, folder, to, wanted @ ..] = arguments.as_slice() else {
        return Err("usage: fuzzing ENGINE all|own SECONDS FOLDER PAGE [TARGET...]".into());
    };
    let (seconds, folder) = (seconds.parse()?, Path::new(folder));
    let engine = (
        Path::new(engine),
        Build::named(build).ok_or("a build is all or own")?,
    );
    if let Some(unknown) = wanted.iter().find(|name| fuzz::targets::named(name).is_none()) {
        return Err(format!("there is no target {unknown}").into());
    }
    for part in ["results", "crashes", "words"] {
        fs::create_dir_all(folder.join(part))?;
    }
    let mut failed = false;
    for target in TARGETS {
        if wanted.is_empty() || wanted.iter().any(|name| name == target.name) {
            let run = try_out(target, engine, seconds, folder)?;
            failed |= run.failed;
            fs::write(folder.join("results").join(target.name), run.line())?;
        }
    }
    let mut runs = BTreeMap::new();
    for Target { name, .. } in TARGETS {
        let line = fs::read_to_string(folder.join("results").join(name)).unwrap_or_default();
        runs.extend(Run::of_line(&line).map(|run| (*name, run)));
    }
    fs::write(to, page(&runs))?;
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn try_out(
    target: &Target,
    (engine, build): (&Path, Build),
    seconds: u64,
    folder: &Path,
) -> Result<Run, Box<dyn Error>> {
    let (grown, words) = (
        folder.join("corpus").join(target.name),
        folder.join("words").join(target.name),
    );
    fs::create_dir_all(&grown)?;
    fs::write(&words, dictionary(target))?;
    let crashes = folder.join("crashes").join(format!("{}-", target.name));
    let answer = Command::new(engine)
        .env("FUZZ_TARGET", target.name)
        .args([&grown, &corpus::folder(target.name)])
        .arg(format!("-dict={}", words.display()))
        .arg(format!("-artifact_prefix={}", crashes.display()))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={LONGEST}"))
        .args(["-timeout=25", "-rss_limit_mb=4096", "-print_final_stats=1"])
        .output()?;
    let log = String::from_utf8_lossy(&answer.stderr);
    let failed = !answer.status.success();
    if failed {
        fs::write(
            folder.join("crashes").join(format!("{}.log", target.name)),
            log.as_bytes(),
        )?;
    }
    let run = Run::read(&log, seconds, failed, build).ok_or_else(|| format!("{}: {log}", target.name))?;
    #[expect(clippy::print_stdout, reason = "whoever waits for hours sees how far it is")]
    {
        println!("{}: {}", target.name, run.line().trim_end());
    }
    Ok(run)
}

/// The words of the format, as libFuzzer reads them.
fn dictionary(target: &Target) -> String {
    let hex = |word: &&str| {
        let bytes = word.bytes().map(|byte| format!("\\x{byte:02x}"));
        format!("\"{}\"\n", bytes.collect::<String>())
    };
    target.words.iter().map(hex).collect()
}
