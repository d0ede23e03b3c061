// SPDX-License-Identifier: Apache-2.0
//! Puts one object per bpf/*.bpf.c into `OUT_DIR`: compiled by clang, or, where there is none, the committed one from
//! prebuilt/. Needs no kernel headers, no libbpf and no crate.
//!
//! An object depends on the byte order of the machine that loads it and on nothing else of it: the kernel's structs are
//! declared by hand, and the loader relocates what differs. So one set of little-endian objects serves amd64 and arm64.

use std::collections::BTreeSet;
use std::env;
use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

type Failed = Box<dyn Error>;

/// 14 is what Debian 12 has; older ones were never tried.
const OLDEST_CLANG: u32 = 14;

/// The newest that is looked for by name; plain `clang` may be newer.
const NEWEST_CLANG: u32 = 22;

/// Value of `CLANG` that asks for the committed objects.
const NO_CLANG: &str = "none";

const INSTALL: &str = "install clang (Debian: apt-get install clang) or name it in CLANG";

/// v2 and not v3: from clang 20 on an atomic add whose result nobody wants is compiled for v3 into one that fetches, which
/// Linux before 5.12 refuses.
const FLAGS: [&str; 6] = ["-mcpu=v2", "-O2", "-g", "-Wall", "-Wextra", "-Werror"];

/// What names the sources that the committed objects were compiled from, and the compiler.
const MANIFEST: &str = "MANIFEST";

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

fn build() -> Result<(), Failed> {
    println!("cargo::rerun-if-env-changed=CLANG");
    println!("cargo::rerun-if-env-changed=PATH");
    // The folders themselves: every file in them counts.
    println!("cargo::rerun-if-changed=bpf");
    println!("cargo::rerun-if-changed=prebuilt");
    let home = PathBuf::from(required("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(required("OUT_DIR")?);
    let sources = Sources::list(&home)?;
    // For the test that tries each of them.
    println!("cargo::rustc-env=SHIPPED_OBJECTS={}", sources.shipped_names());
    let Some(clang) = find_clang()? else {
        return take_prebuilt(&home, &out, &sources);
    };
    for source in sources.shipped.iter().chain(&sources.benches) {
        let object = out.join(object_name(source));
        compile(&clang, &home, source, &object)?;
        strip(&clang, &object);
    }
    // `make objects` commits it beside the objects.
    let manifest = format!(
        "clang {}\nsources {}\n",
        clang.version,
        sources.fingerprint(&home)?
    );
    fs::write(out.join(MANIFEST), manifest)?;
    Ok(())
}

fn required(name: &str) -> Result<OsString, String> {
    env::var_os(name).ok_or_else(|| format!("{name} is not set: run this through cargo"))
}

/// Paths relative to the crate, sorted.
struct Sources {
    headers: BTreeSet<PathBuf>,
    /// One object each, in the daemon.
    shipped: BTreeSet<PathBuf>,
    /// One object each, for benchmarks: there is no committed one, and without clang the object is an empty file.
    benches: BTreeSet<PathBuf>,
}

impl Sources {
    fn list(home: &Path) -> Result<Self, Failed> {
        let sources = Self {
            headers: files(home, "bpf", ".h")?,
            shipped: files(home, "bpf", ".bpf.c")?,
            benches: files(home, "bpf/bench", ".bpf.c")?,
        };
        let mut taken = BTreeSet::new();
        for source in sources.shipped.iter().chain(&sources.benches) {
            let name = object_name(source);
            if !taken.insert(name.clone()) {
                return Err(format!("two sources make {}: rename bpf/bench's", name.display()).into());
            }
        }
        Ok(sources)
    }

    /// `cpu_time task_time`
    fn shipped_names(&self) -> String {
        let names = self
            .shipped
            .iter()
            .filter_map(|source| source.file_name()?.to_str());
        let stems: Vec<_> = names.map(|name| name.trim_end_matches(".bpf.c")).collect();
        stems.join(" ")
    }

    /// Tells whether the committed objects belong to these sources. FNV-1a, which is no protection against malice: who
    /// can change the sources can change this file as well.
    fn fingerprint(&self, home: &Path) -> Result<String, Failed> {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut take = |bytes: &[u8]| {
            // The length keeps the borders between names and texts.
            for byte in bytes.len().to_le_bytes().iter().chain(bytes) {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        FLAGS.iter().for_each(|flag| take(flag.as_bytes()));
        for path in self.headers.iter().chain(&self.shipped) {
            take(path.as_os_str().as_encoded_bytes());
            take(
                &fs::read(home.join(path))
                    .map_err(|error| format!("cannot read {}: {error}", path.display()))?,
            );
        }
        Ok(format!("{hash:016x}"))
    }
}

/// The files in `folder` whose name ends so; none where there is no such folder.
fn files(home: &Path, folder: &str, ending: &str) -> Result<BTreeSet<PathBuf>, Failed> {
    let entries = match fs::read_dir(home.join(folder)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries.map_err(|error| format!("cannot read folder {folder}: {error}"))?,
    };
    let mut found = BTreeSet::new();
    for entry in entries {
        let name = entry?.file_name();
        if name.as_encoded_bytes().ends_with(ending.as_bytes()) {
            found.insert(Path::new(folder).join(name));
        }
    }
    Ok(found)
}

/// `bpf/cpu_time.bpf.c` makes `cpu_time.bpf.o`.
fn object_name(source: &Path) -> PathBuf {
    PathBuf::from(source.with_extension("o").file_name().unwrap_or_default())
}

fn byte_order() -> Result<&'static str, String> {
    Ok(match required("CARGO_CFG_TARGET_ENDIAN")?.to_str() {
        Some("big") => "bpfeb",
        _ => "bpfel",
    })
}

/// A clang that is new enough and has the bpf target.
struct Clang {
    program: OsString,
    /// First line of `--version`.
    version: String,
    major: u32,
}

/// `CLANG`, or the first of clang, clang-22 .. clang-14 that will do. `None`: take the committed objects.
fn find_clang() -> Result<Option<Clang>, String> {
    if let Some(named) = env::var_os("CLANG").filter(|named| !named.is_empty()) {
        if named == NO_CLANG {
            return Ok(None);
        }
        let in_clang = |error: String| format!("CLANG names {}: {error}", Path::new(&named).display());
        return match Clang::ask(&named).map_err(in_clang)? {
            Some(clang) => Ok(Some(clang)),
            None => Err(in_clang(format!("it cannot be started; {INSTALL}"))),
        };
    }
    let versions = (OLDEST_CLANG..=NEWEST_CLANG).rev();
    let names = std::iter::once("clang".to_owned()).chain(versions.map(|version| format!("clang-{version}")));
    for name in names {
        match Clang::ask(name.as_ref()) {
            Ok(Some(clang)) => return Ok(Some(clang)),
            Ok(None) => {}
            Err(reason) => println!("cargo::warning={name} is passed over: {reason}"),
        }
    }
    Ok(None)
}

impl Clang {
    /// `None`: there is no such program. An error says why this one will not do.
    fn ask(program: &OsStr) -> Result<Option<Self>, String> {
        let Ok(output) = Command::new(program).arg("--version").output() else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.lines().next().unwrap_or_default().trim().to_owned();
        let Some(major) = major_of(&version) else {
            return Err(format!("its --version says no version: {version:?}"));
        };
        if major < OLDEST_CLANG {
            return Err(format!(
                "it is clang {major}, and {OLDEST_CLANG} or newer is needed"
            ));
        }
        // Some are built for their own machine alone.
        let order = byte_order()?;
        let tried = Command::new(program)
            .args(["-target", order, "-x", "c", "-c", "-o", "/dev/null", "/dev/null"])
            .output();
        if !tried.is_ok_and(|output| output.status.success()) {
            return Err(format!("it cannot compile for target {order}"));
        }
        Ok(Some(Self {
            program: program.to_owned(),
            version,
            major,
        }))
    }
}

/// `Debian clang version 14.0.6` is 14.
fn major_of(version: &str) -> Option<u32> {
    let (_, number) = version.split_once("clang version ")?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn compile(clang: &Clang, home: &Path, source: &Path, object: &Path) -> Result<(), Failed> {
    // Paths relative to the folder: the same source gives the same bytes wherever it lies.
    let mut prefix_map = OsString::from("-ffile-prefix-map=");
    prefix_map.push(home);
    prefix_map.push("=.");
    let output = Command::new(&clang.program)
        .current_dir(home)
        .args(["-target", byte_order()?])
        .args(FLAGS)
        .arg(prefix_map)
        .args(["-fdebug-compilation-dir=.", "-Ibpf", "-c"])
        .arg(source)
        .arg("-o")
        .arg(object)
        .output()
        .map_err(|error| format!("cannot start {}: {error}; {INSTALL}", clang.version))?;
    if !output.status.success() {
        return Err(format!(
            "{} could not compile {}:\n{}",
            clang.version,
            source.display(),
            String::from_utf8_lossy(&output.stderr)
        )
        .into());
    }
    Ok(())
}

/// DWARF is four fifths of the object, and nobody reads it; BTF stays. Without llvm-strip the object is only larger.
fn strip(clang: &Clang, object: &Path) {
    // The one that belongs to this clang: by its name, or in its folder, which clang knows.
    let beside = Command::new(&clang.program)
        .arg("-print-prog-name=llvm-strip")
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default();
    for name in [format!("llvm-strip-{}", clang.major), beside] {
        let stripped = Command::new(name).arg("-g").arg(object).output();
        if stripped.is_ok_and(|output| output.status.success()) {
            return;
        }
    }
}

/// Copies the committed objects, when they are of the byte order and of the sources that are wanted.
fn take_prebuilt(home: &Path, out: &Path, sources: &Sources) -> Result<(), Failed> {
    if byte_order()? == "bpfeb" {
        return Err(format!(
            "the committed eBPF objects are little-endian, which serves amd64, arm64 and riscv64, and this target is \
             big-endian: {INSTALL}"
        )
        .into());
    }
    let folder = home.join("prebuilt");
    let manifest = fs::read_to_string(folder.join(MANIFEST))
        .map_err(|error| format!("cannot read prebuilt/{MANIFEST}: {error}; {INSTALL}"))?;
    let entry = |name: &str| {
        let value = manifest
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_default().to_owned()
    };
    if entry("sources") != sources.fingerprint(home)? {
        return Err(format!(
            "the committed eBPF objects were compiled from other sources than those in bpf/: {INSTALL}; \
             whoever changes bpf/ runs `make objects`"
        )
        .into());
    }
    for source in &sources.shipped {
        let name = object_name(source);
        let object = fs::read(folder.join(&name))
            .map_err(|error| format!("cannot read prebuilt/{}: {error}", name.display()))?;
        fs::write(out.join(&name), object)?;
    }
    for source in &sources.benches {
        fs::write(out.join(object_name(source)), [])?;
    }
    println!(
        "cargo::warning=no clang is used: the eBPF objects are the committed ones, by {}",
        entry("clang")
    );
    Ok(())
}
