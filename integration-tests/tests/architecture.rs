// SPDX-License-Identifier: Apache-2.0
//! The walls of the house, as ARCHITECTURE.md draws them, checked against what cargo and the tree say.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_precision_loss,
    reason = "helpers of tests fail as tests do"
)]

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Who may depend on whom inside the workspace. Everybody else: on nothing but `attribution`'s model.
const ARROWS: [(&str, &[&str]); 10] = [
    ("attribution", &[]),
    ("config", &[]),
    ("probe-ebpf", &["attribution"]),
    ("probe-workloads", &["attribution"]),
    ("power-sources", &["attribution"]),
    ("exporter", &["attribution"]),
    (
        "actors",
        &[
            "attribution",
            "config",
            "exporter",
            "power-sources",
            "probe-ebpf",
            "probe-workloads",
        ],
    ),
    ("integration-tests", &[]),
    // It feeds every parser, wherever it is; in builds of its own these say what has to hold (their feature `fuzzing`).
    (
        "fuzz",
        &[
            "actors",
            "attribution",
            "config",
            "exporter",
            "power-sources",
            "probe-workloads",
        ],
    ),
    // It holds the engine against a simulated node, through the meter's own source.
    ("lab", &["attribution", "power-sources"]),
];

/// Crates that only these rooms may name.
const CONFINED: [(&str, &[&str]); 16] = [
    ("actix", &["actors"]),
    ("crossbeam-channel", &["actors"]),
    ("aya", &["probe-ebpf"]),
    ("figment", &["config"]),
    ("indicatif", &["actors"]),
    ("ipmi-rs", &["power-sources"]),
    ("k8s-openapi", &["probe-workloads"]),
    ("kube", &["probe-workloads"]),
    ("libfuzzer-sys", &["fuzz"]),
    ("nvml-wrapper", &["power-sources"]),
    ("perf-event2", &["power-sources"]),
    ("plotters", &["lab"]),
    ("ratatui", &["actors"]),
    // Meters are asked over it, daemons by `kepler top` and its like, and receivers are pushed to.
    ("reqwest", &["actors", "exporter", "power-sources"]),
    ("warp", &["exporter"]),
    ("prometheus", &["exporter"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .to_owned()
}

fn metadata() -> Value {
    let cargo = env!("CARGO");
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1", "--locked"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}

/// Normal and build dependencies of each package.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    let names = |package: &Value| {
        let dependencies = package["dependencies"].as_array().expect("dependencies").clone();
        let shipped = dependencies
            .into_iter()
            .filter(|dependency| dependency["kind"] != "dev");
        shipped
            .filter_map(|dependency| dependency["name"].as_str().map(str::to_owned))
            .collect()
    };
    packages
        .iter()
        .map(|package| {
            (
                package["name"].as_str().expect("a name").to_owned(),
                names(package),
            )
        })
        .collect()
}

/// Files under version control whose name ends so.
fn tracked(endings: &[&str]) -> Vec<PathBuf> {
    let output = Command::new("git")
        .arg("ls-files")
        .current_dir(root())
        .output()
        .expect("git runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let wanted = text
        .lines()
        .filter(|path| endings.iter().any(|ending| path.ends_with(ending)));
    wanted
        .map(|path| root().join(path))
        .filter(|path| path.exists())
        .collect()
}

#[test]
fn arrows_inside_the_house_go_only_where_they_are_drawn() {
    let all = dependencies();
    let rooms: BTreeSet<&str> = ARROWS.iter().map(|(room, _)| *room).collect();
    assert_eq!(
        all.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        rooms,
        "a room that is not on the drawing"
    );
    for (room, allowed) in ARROWS {
        let inside: BTreeSet<&str> = all[room]
            .iter()
            .map(String::as_str)
            .filter(|name| rooms.contains(name))
            .collect();
        assert_eq!(inside, allowed.iter().copied().collect(), "arrows of {room}");
    }
}

#[test]
fn the_core_depends_on_the_standard_library_alone() {
    assert_eq!(dependencies()["attribution"], BTreeSet::new());
}

#[test]
fn frameworks_stay_in_their_rooms() {
    for (room, names) in dependencies() {
        for (framework, homes) in CONFINED {
            assert!(
                homes.contains(&room.as_str()) || !names.contains(framework),
                "{room} names {framework}, which belongs to {homes:?}"
            );
        }
    }
}

#[test]
fn only_the_wiring_drives_the_engine() {
    for file in tracked(&[".rs"]) {
        let path = file.strip_prefix(root()).expect("inside").to_owned();
        // What ships. A test or a benchmark may hold the engine against its own room.
        let ships =
            |part: std::path::Component<'_>| part.as_os_str() != "tests" && part.as_os_str() != "benches";
        if !path.components().all(ships)
            || path.starts_with("attribution")
            || path.starts_with("actors")
            || path.starts_with("integration-tests")
        {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("readable");
        assert!(
            !text.contains("attribution::engine"),
            "{} imports the engine",
            path.display()
        );
    }
}

#[test]
fn every_source_file_names_its_licence() {
    for file in tracked(&[".rs", ".c", ".h", ".sh", ".py", "Makefile", "Cargo.toml"]) {
        let text = std::fs::read_to_string(&file).expect("readable");
        let head: String = text.lines().take(3).collect::<Vec<_>>().join("\n");
        let is_below = |folder| file.starts_with(root().join(folder));
        let licence = if is_below("probes/ebpf/bpf") {
            "GPL-2.0-only OR BSD-2-Clause"
        } else if is_below("integration-tests/guest/meters/modules") {
            "GPL-2.0-only"
        } else {
            "Apache-2.0"
        };
        assert!(
            head.contains(&format!("SPDX-License-Identifier: {licence}")),
            "{}",
            file.display()
        );
    }
}

#[test]
fn files_stay_readable_in_one_sitting() {
    for file in tracked(&[".rs"]) {
        let text = std::fs::read_to_string(&file).expect("readable");
        let production = text
            .lines()
            .take_while(|line| line.trim() != "#[cfg(test)]")
            .count();
        let is_test = file.components().any(|part| part.as_os_str() == "tests")
            || file.to_string_lossy().ends_with("tests.rs");
        assert!(
            is_test || production <= 400,
            "{}: {production} lines before its tests",
            file.display()
        );
    }
}

/// Where unsafe code may be: seams to calls of the kernel that have no safe wrapper.
const UNSAFE: [&str; 4] = [
    "probes/ebpf/src/perf.rs",
    "probes/ebpf/src/sys.rs",
    "probes/ebpf/src/sys/mapped.rs",
    "probes/ebpf/tests/kernel/figures.rs",
];

/// Lines of code, without comments and with nothing in string literals, with their numbers from 0.
fn code(text: &str) -> impl Iterator<Item = (usize, String)> {
    let plain = |line: &str| {
        let code = line.split("//").next().unwrap_or_default();
        code.split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
    };
    text.lines()
        .map(plain)
        .enumerate()
        .collect::<Vec<_>>()
        .into_iter()
}

fn is_unsafe(line: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
        .any(|word| word == "unsafe")
}

#[test]
fn unsafe_code_is_where_it_is_drawn_and_each_says_why_it_is_sound() {
    let mut found = BTreeSet::new();
    for file in tracked(&[".rs"]) {
        let text = std::fs::read_to_string(&file).expect("readable");
        let name = file
            .strip_prefix(root())
            .expect("inside")
            .to_string_lossy()
            .into_owned();
        let lines: Vec<&str> = text.lines().collect();
        for (number, _) in code(&text).filter(|(_, line)| is_unsafe(line)) {
            // The comment over the statement or the item that it is in: SAFETY, or what a caller must keep.
            let above: Vec<&str> = lines[..number]
                .iter()
                .rev()
                .map(|line| line.trim_start())
                .collect();
            let gap = above
                .iter()
                .position(|line| line.starts_with("//"))
                .unwrap_or(usize::MAX);
            let comment = above.iter().skip(gap).take_while(|line| line.starts_with("//"));
            let says = |line: &&str| line.starts_with("// SAFETY:") || line.starts_with("/// # Safety");
            assert!(
                gap <= 2 && comment.into_iter().any(says),
                "{name}:{}: unsafe, and no SAFETY line says why it is sound",
                number + 1
            );
            found.insert(name.clone());
        }
    }
    assert_eq!(
        found,
        UNSAFE.map(str::to_owned).into_iter().collect(),
        "files with unsafe code"
    );
}

#[test]
fn every_room_but_the_probe_forbids_unsafe_code() {
    for package in metadata()["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("a name");
        for target in package["targets"].as_array().expect("targets") {
            let is_library = target["kind"]
                .as_array()
                .is_some_and(|kinds| kinds.iter().any(|kind| kind == "lib"));
            if !is_library || name == "probe-ebpf" {
                continue;
            }
            let path = target["src_path"].as_str().expect("a path");
            let text = std::fs::read_to_string(path).expect("readable");
            assert!(
                text.contains("\n#![forbid(unsafe_code)]\n"),
                "{path}: #![forbid(unsafe_code)] is missing"
            );
        }
    }
}
