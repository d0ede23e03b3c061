// SPDX-License-Identifier: Apache-2.0
//! `kepler calibrate --from`: the real binary over recordings of a simulated machine, whose curve comes back.

#![expect(clippy::tests_outside_test_module, reason = "this whole crate is tests")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use attribution::model::{
    Component, CpuNanos, Energy, Microjoules, MonotonicNanos, NodeFacts, PackageId, PackageTime, Permille,
    Place, Provenance, Report, ReporterId, Section, SourceId, TickId, Usage, Zone, ZoneReading,
};
use attribution::recording::{Beginning, Encoder, Entry};
use power_sources::estimator::calibration::Model;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

const CPUS: u32 = 16;
const LEVELS: [f64; 13] = [0.01, 1.0, 0.5, 0.2, 0.8, 0.05, 0.6, 0.1, 0.9, 0.3, 0.7, 0.02, 0.4];

/// Watts of a package that leaves its sleep with the first work and pays more for the last.
fn package(busy: f64) -> f64 {
    11.0 + 7.0 * (1.0 - (-busy / 0.05).exp()) + 70.0 * busy.powf(0.9) + 20.0 * (busy - 0.75).max(0.0)
}

/// Watts of the machine as a controller sees it.
fn wall(busy: f64) -> f64 {
    45.0 + 1.15 * package(busy)
}

fn seconds(moment: f64) -> MonotonicNanos {
    MonotonicNanos::ZERO.after(Duration::from_secs_f64(1_000.0 + moment))
}

fn joules(joules: f64) -> Microjoules {
    // A counter in units of 2^-14 J.
    let counted = (joules * 16_384.0).floor() / 16_384.0;
    Microjoules::from_micro(u64::try_from(Duration::from_secs_f64(counted).as_micros()).unwrap())
}

struct Recorded {
    folder: TempDir,
}

impl Recorded {
    /// A machine under these loads, second by second. `source` is what its figures are called.
    fn new(loads: &[f64], source: &'static str, provenance: Provenance) -> Self {
        let facts = NodeFacts {
            memory: Some(64 << 30),
            ..NodeFacts::default()
        };
        let beginning = Beginning {
            program: "kepler 0.1.0".to_owned(),
            tick: Duration::from_secs(1),
            facts,
            ..Beginning::default()
        };
        let (mut encoder, mut bytes) = (Encoder::new(), Encoder::head());
        encoder.write(&Entry::Begin(Arc::new(beginning))).unwrap();
        let (mut busy, mut used, mut walled) = (0.0, 0.0, (0.0, 0.0, 0.0));
        for (tick, load) in (0_u32..).zip(loads) {
            let now = f64::from(tick);
            // A second's own noise, the same each time: 1 % of the power, and half a percent of the load.
            let noise = ((now * 12.9898).sin() * 43_758.547).fract();
            let load = (load + 0.005 * noise).clamp(0.0, 1.0);
            if tick % 20 == 0 {
                walled = (now, walled.2, walled.2);
            }
            let id = TickId(u64::from(tick) + 1);
            let report = |reporter, at| {
                (
                    id,
                    ReporterId::new(reporter),
                    Section {
                        began: seconds(at),
                        ended: seconds(at + 0.001),
                    },
                )
            };
            let rows = vec![PackageTime {
                package: PackageId(0),
                cpus: CPUS,
                busy: CpuNanos::from_nanos(u64::try_from(Duration::from_secs_f64(busy).as_nanos()).unwrap()),
                idle: CpuNanos::ZERO,
            }];
            let zone = |component, place, total, at| ZoneReading {
                zone: Zone { component, place },
                total: joules(total),
                idle: None,
                provenance,
                at: seconds(at),
                device: None,
            };
            let zones = vec![
                zone(Component::Package, Place::socket(PackageId(0)), used, now),
                zone(
                    Component::Platform,
                    Place::Named(Arc::from("chassis")),
                    walled.1,
                    walled.0,
                ),
            ];
            let (tick_id, reporter, section) = report("usage", now);
            let usage = Report {
                tick: tick_id,
                reporter,
                section,
                body: Arc::new(Usage {
                    packages: rows,
                    ..Usage::default()
                }),
            };
            let (tick_id, reporter, section) = report("meter", now);
            let energy = Report {
                tick: tick_id,
                reporter,
                section,
                body: Energy {
                    zones,
                    errors: Vec::new(),
                },
            };
            let entries = [
                Entry::Open {
                    tick: id,
                    at: seconds(now),
                    deadline: seconds(now + 0.8),
                },
                Entry::Usage(usage),
                Entry::Energy {
                    source: SourceId(source),
                    report: energy,
                },
                Entry::Close {
                    at: seconds(now + 0.01),
                    dropped: Vec::new(),
                },
            ];
            entries.iter().for_each(|entry| encoder.write(entry).unwrap());
            encoder.finish_frame(&mut bytes).unwrap();
            busy += load * f64::from(CPUS);
            used += package(load) * (1.0 + 0.01 * noise);
            walled.2 += wall(load) * (1.0 + 0.01 * noise);
        }
        encoder.write(&Entry::End).unwrap();
        encoder.finish_frame(&mut bytes).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("node.keplrec"), bytes).unwrap();
        Self { folder }
    }

    /// Each level for two minutes, three times.
    fn walk() -> Vec<f64> {
        let held = |level: &f64| std::iter::repeat_n(*level, 120);
        (0..3).flat_map(|_| LEVELS.iter().flat_map(held)).collect()
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("node.keplrec")
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("model.json")
    }

    fn calibrate(&self, further: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kepler"));
        command
            .arg("calibrate")
            .arg("--from")
            .arg(self.file())
            .arg("--out")
            .arg(self.out());
        command.args(further).output().unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn model(path: &Path) -> Model {
    Model::parse(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_recording_gives_the_machine_back_and_says_how_sure_it_is() {
    let recorded = Recorded::new(&Recorded::walk(), "rapl-sysfs", Provenance::Counted);
    let output = recorded.calibrate(&["--cpu", "Example CPU 9000"]);
    let (said, told) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert_eq!(told, "");
    assert!(
        said.starts_with(
            "Example CPU 9000, 1 chip(s), 16 hardware thread(s)\npackage/socket0 (rapl-sysfs): "
        ),
        "{said}"
    );
    assert!(
        said.contains("\nplatform/chassis (rapl-sysfs): ") && said.contains("   MAPE"),
        "{said}"
    );
    assert!(
        said.ends_with(&format!("written to {}\n", recorded.out().display())),
        "{said}"
    );
    let model = model(&recorded.out());
    assert_eq!(model.machine.threads, CPUS);
    assert_eq!(model.machine.memory_gib, Some(64.0));
    for level in LEVELS {
        for (component, truth) in [
            (Component::Package, package as fn(f64) -> f64),
            (Component::Platform, wall),
        ] {
            let estimate = model.estimate(component, 0, level).unwrap();
            let found = Duration::from_micros((estimate.idle + estimate.dynamic).as_micro()).as_secs_f64();
            assert!(
                (found / truth(level) - 1.0).abs() < 0.03,
                "{component:?} {level}: {found} {}\n{said}",
                truth(level)
            );
            assert!(estimate.within < Permille(50), "{estimate:?}");
        }
    }
    assert_eq!(recorded.names(), ["model.json", "node.keplrec"]);

    let again = recorded.calibrate(&[]);
    assert_eq!(again.status.code(), Some(1));
    assert!(
        text(&again.stderr).contains("model.json: is there already; name another file"),
        "{}",
        text(&again.stderr)
    );
}

#[test]
fn without_a_name_the_model_is_for_any_processor_and_that_is_said() {
    let recorded = Recorded::new(&Recorded::walk(), "rapl-sysfs", Provenance::Counted);
    let output = recorded.calibrate(&[]);
    assert_eq!(output.status.code(), Some(0));
    assert!(
        text(&output.stderr).contains("--cpu \"NAME\" says it"),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(model(&recorded.out()).machine.cpu, None);
}

#[test]
fn a_recording_that_no_model_can_be_made_of_is_refused_with_the_reason_and_leaves_no_file() {
    let still = vec![0.03; 300];
    let estimated = Provenance::Estimated {
        relative_error_p90: Permille(300),
    };
    let cases = [
        (
            Recorded::new(&still, "rapl-sysfs", Provenance::Counted),
            "package/socket0: the load was between ",
        ),
        (
            Recorded::new(&Recorded::walk()[..6], "rapl-sysfs", Provenance::Counted),
            "3 readings, and 10 are needed",
        ),
        (
            Recorded::new(&Recorded::walk(), "replay", Provenance::Counted),
            "no meter said anything",
        ),
        (
            Recorded::new(&Recorded::walk(), "trained_power_model", estimated),
            "no meter said anything",
        ),
    ];
    for (recorded, words) in cases {
        let output = recorded.calibrate(&[]);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains(words), "{told}");
        assert_eq!(recorded.names(), ["node.keplrec"]);
    }
}

#[test]
fn what_is_no_recording_and_flags_without_use_are_refused() {
    let recorded = Recorded::new(&[0.0; 2], "rapl-sysfs", Provenance::Counted);
    for (flags, code, words) in [
        (
            ["--set", "tick=2s"],
            2,
            "--set: --from takes load and watts as they were recorded",
        ),
        (["--tick", "2s"], 2, "--tick: --from takes"),
        (["--for", "1m"], 2, "cannot be used with"),
    ] {
        let output = recorded.calibrate(&flags);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains(words), "{}", text(&output.stderr));
    }
    fs::write(recorded.file(), "no recording").unwrap();
    let output = recorded.calibrate(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("is no recording"),
        "{}",
        text(&output.stderr)
    );
}
