// SPDX-License-Identifier: Apache-2.0
//! Compiles bpf/*.bpf.c with clang into `OUT_DIR`. Needs no kernel headers and no libbpf.

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Newest first: 14 is what Debian 12 has, 22 the newest that was tried.
const CLANG_VERSIONS: std::ops::RangeInclusive<u32> = 14..=22;

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            for line in error.to_string().lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed=CLANG");
    println!("cargo::rerun-if-env-changed=PATH");
    // The folder itself: every file in it counts.
    println!("cargo::rerun-if-changed=bpf");
    let home = required("CARGO_MANIFEST_DIR")?;
    let out = PathBuf::from(required("OUT_DIR")?);
    for program in ["cpu_time", "task_time"] {
        let object = out.join(format!("{program}.bpf.o"));
        compile(
            &find_clang()?,
            Path::new(&home),
            &format!("{program}.bpf.c"),
            &object,
        )?;
        strip(&object);
    }
    Ok(())
}

fn required(name: &str) -> Result<OsString, String> {
    env::var_os(name).ok_or_else(|| format!("{name} is not set: run this through cargo"))
}

/// `CLANG`, or the first of clang, clang-22 .. clang-14 that starts.
fn find_clang() -> Result<OsString, String> {
    if let Some(named) = env::var_os("CLANG") {
        return Ok(named);
    }
    std::iter::once("clang".to_owned())
        .chain(CLANG_VERSIONS.rev().map(|version| format!("clang-{version}")))
        .find(|name| {
            Command::new(name)
                .arg("--version")
                .output()
                .is_ok_and(|output| output.status.success())
        })
        .map(OsString::from)
        .ok_or_else(|| {
            "no clang found, which compiles the eBPF programs: install clang (Debian: apt-get install clang) \
             or name it in CLANG"
                .to_owned()
        })
}

fn compile(clang: &OsString, home: &Path, source: &str, object: &Path) -> Result<(), Box<dyn Error>> {
    // The object must have the byte order of the machine that loads it.
    let target = match required("CARGO_CFG_TARGET_ENDIAN")?.to_str() {
        Some("big") => "bpfeb",
        _ => "bpfel",
    };
    // Paths relative to the folder: the same source gives the same bytes wherever it lies.
    let mut prefix_map = OsString::from("-ffile-prefix-map=");
    prefix_map.push(home);
    prefix_map.push("=.");
    let output = Command::new(clang)
        .current_dir(home)
        .args([
            "-target", target, "-mcpu=v3", "-O2", "-g", "-Wall", "-Wextra", "-Werror",
        ])
        .arg(prefix_map)
        .args(["-fdebug-compilation-dir=.", "-c"])
        .arg(Path::new("bpf").join(source))
        .arg("-o")
        .arg(object)
        .output()
        .map_err(|error| start_error(clang, &error))?;
    if !output.status.success() {
        return Err(format!(
            "{} could not compile bpf/{source} (clang 14 or newer with the bpf target is needed):\n{}",
            Path::new(clang).display(),
            String::from_utf8_lossy(&output.stderr)
        )
        .into());
    }
    Ok(())
}

fn start_error(clang: &OsString, error: &io::Error) -> String {
    format!(
        "cannot start {}: {error}; install clang (Debian: apt-get install clang)",
        Path::new(clang).display()
    )
}

/// DWARF is four fifths of the object, and nobody reads it; BTF stays. Without llvm-strip the object is only larger.
fn strip(object: &Path) {
    let names = std::iter::once("llvm-strip".to_owned()).chain(
        CLANG_VERSIONS
            .rev()
            .map(|version| format!("llvm-strip-{version}")),
    );
    for name in names {
        let stripped = Command::new(name).arg("-g").arg(object).output();
        if stripped.is_ok_and(|output| output.status.success()) {
            return;
        }
    }
}
