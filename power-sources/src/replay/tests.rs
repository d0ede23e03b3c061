// SPDX-License-Identifier: Apache-2.0
//! A recording as a meter: what it tells when, at its end, and round and round.

use super::*;
use crate::testing::{ask, at_ms, errors, totals};
use attribution::model::facts::SourceFacts;
use attribution::model::*;
use attribution::recording::{Beginning, Encoder, Entry};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

const RAPL: SourceId = SourceId("rapl-sysfs");
const BMC: SourceId = SourceId("redfish");

fn package() -> Zone {
    Zone {
        component: Component::Package,
        place: Place::socket(PackageId(0)),
    }
}

fn platform() -> Zone {
    Zone {
        component: Component::Platform,
        place: Place::Named(Arc::from("bmc")),
    }
}

/// A report that was read at `millis`, with the totals of its zones and the moments that they are about.
fn report(source: SourceId, millis: u64, zones: &[(Zone, u64, u64)]) -> Entry {
    let reading = |(zone, joules, moment): &(Zone, u64, u64)| ZoneReading {
        zone: zone.clone(),
        total: Microjoules::from_milli(joules * 1_000),
        idle: None,
        provenance: Provenance::Integrated,
        at: at_ms(*moment),
        device: None,
    };
    Entry::Energy {
        source,
        report: Report {
            tick: TickId(1),
            reporter: ReporterId::new(source.0),
            section: Section {
                began: at_ms(millis),
                ended: at_ms(millis),
            },
            body: Energy {
                zones: zones.iter().map(reading).collect(),
                errors: Vec::new(),
            },
        },
    }
}

struct File {
    folder: TempDir,
}

impl File {
    fn of(entries: &[Entry]) -> Self {
        let mut encoder = Encoder::new();
        let mut bytes = Encoder::head();
        let source = |source, component| SourceFacts {
            source,
            components: vec![component],
            detail: String::new(),
        };
        let beginning = Beginning {
            program: "kepler 9".to_owned(),
            facts: NodeFacts {
                sources: vec![source(RAPL, Component::Package), source(BMC, Component::Platform)],
                ..NodeFacts::default()
            },
            ..Beginning::default()
        };
        encoder.write(&Entry::Begin(Arc::new(beginning))).unwrap();
        for entry in entries {
            encoder.write(entry).unwrap();
            encoder.finish_frame(&mut bytes).unwrap();
        }
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("a"), bytes).unwrap();
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("a")
    }

    fn section(&self, further: Value) -> Value {
        let mut section = further;
        section["file"] = json!(self.path());
        section
    }

    fn open(&self, further: Value) -> Box<dyn PowerSource> {
        let opened = open(&ask(&self.section(further), COMPONENTS)).unwrap();
        match opened {
            Opened::Source(source) => source,
            Opened::Absent { reason } => panic!("{reason}"),
        }
    }
}

fn absent(section: &Value, wanted: &[Component]) -> String {
    match open(&ask(section, wanted)).unwrap() {
        Opened::Absent { reason } => reason,
        Opened::Source(source) => panic!("{}", source.detail()),
    }
}

/// 10 W in the package, read at each second from 100 s on; a BMC that is asked every other second and tells 30 W.
fn three_seconds() -> Vec<Entry> {
    let mut entries = Vec::new();
    for second in 0..=3_u64 {
        let now = 100_000 + second * 1_000;
        entries.push(report(RAPL, now, &[(package(), 500 + second * 10, now)]));
        let asked = second / 2 * 2;
        let moment = 100_000 + asked * 1_000;
        entries.push(report(BMC, now + 5, &[(platform(), 7 + asked * 30, moment)]));
    }
    entries.push(Entry::End);
    entries
}

fn joules(read: &Energy) -> Vec<(String, u64)> {
    totals(read)
        .into_iter()
        .map(|(zone, micro)| (zone, micro / 1_000_000))
        .collect()
}

fn expected(package: u64, platform: u64) -> Vec<(String, u64)> {
    vec![
        ("package/socket0".to_owned(), package),
        ("platform/bmc".to_owned(), platform),
    ]
}

#[test]
fn totals_begin_at_zero_and_rise_at_the_recorded_pace_from_the_first_reading_on() {
    let file = File::of(&three_seconds());
    let mut replay = file.open(json!({}));
    assert_eq!(replay.id().0, "replay");
    assert_eq!(replay.components(), [Component::Package, Component::Platform]);
    assert!(
        replay.detail().contains("rapl-sysfs, redfish of kepler 9"),
        "{}",
        replay.detail()
    );
    // today | package | platform (asked every other second, and told with its own moment)
    let table = [
        (0, vec![("package/socket0".to_owned(), 0)]),
        (5, expected(0, 0)),
        (999, expected(0, 0)),
        (1_000, expected(10, 0)),
        (2_500, expected(20, 60)),
        (3_000, expected(30, 60)),
    ];
    for (millis, totals) in table {
        let read = replay.read(at_ms(7_000 + millis));
        assert_eq!(joules(&read), totals, "after {millis} ms");
        assert!(
            read.zones
                .iter()
                .all(|zone| zone.provenance == Provenance::Integrated)
        );
    }
    let read = replay.read(at_ms(10_004));
    let moments: Vec<_> = read.zones.iter().map(|zone| zone.at).collect();
    assert_eq!(moments, [at_ms(10_000), at_ms(9_000)]);
}

#[test]
fn at_the_end_of_the_file_the_zones_are_down_and_it_is_said_once_with_what_to_do() {
    let file = File::of(&three_seconds());
    let mut replay = file.open(json!({}));
    replay.read(at_ms(0));
    // However late it is asked: what the last report said is told, and then nothing any more.
    assert_eq!(joules(&replay.read(at_ms(5_000))), expected(30, 60));
    for millis in [6_000, 7_000, 60_000] {
        let read = replay.read(at_ms(millis));
        assert_eq!(read.zones, []);
        assert_eq!(errors(&read), [(String::new(), ErrorReason::Gone, 1)]);
        let words = &read.errors[0].latest;
        assert!(
            words.contains("has ended") && words.contains("sources.replay.loop = true"),
            "{words}"
        );
    }
}

#[test]
fn in_a_loop_it_goes_round_without_a_total_or_a_moment_that_falls() {
    let file = File::of(&three_seconds());
    let mut replay = file.open(json!({"loop": true}));
    let mut before = replay.read(at_ms(0));
    for step in 1..2_000_u64 {
        let read = replay.read(at_ms(step * 7));
        for zone in &before.zones {
            let now = read
                .zones
                .iter()
                .find(|now| now.zone == zone.zone)
                .expect("never down");
            assert!(now.total >= zone.total && now.at >= zone.at, "{zone:?} {now:?}");
            assert!(now.at <= at_ms(step * 7));
        }
        before = read;
    }
    // A round of 3.005 s has 30 J of the package and 60 J of the platform; 13.993 s are four rounds and a second and more.
    assert_eq!(joules(&before), expected(4 * 30 + 10, 4 * 60));
    assert_eq!(errors(&before), []);
    // Far too late: as much as a thousand rounds are made up for, then it goes on from here.
    let read = replay.read(at_ms(14_000 + 3_600_000));
    assert_eq!(errors(&read), [(String::new(), ErrorReason::Timeout, 1)]);
    let later = replay.read(at_ms(14_000 + 3_602_000));
    assert_eq!(joules(&later)[0].1, joules(&read)[0].1 + 20);
}

#[test]
fn speed_makes_recorded_seconds_shorter_or_longer() {
    let file = File::of(&three_seconds());
    for (speed, millis) in [(2.0, 500), (0.5, 2_000), (100.0, 10)] {
        let mut replay = file.open(json!({"speed": speed}));
        replay.read(at_ms(50));
        assert_eq!(joules(&replay.read(at_ms(50 + millis)))[0].1, 10, "{speed}");
    }
    for wrong in [0.0, -1.0, 1_000.0] {
        let error = open(&ask(&file.section(json!({"speed": wrong})), COMPONENTS))
            .err()
            .unwrap();
        let words = error.to_string();
        assert!(
            words.contains("sources.replay.speed") && words.contains("0.01 to 100"),
            "{words}"
        );
    }
}

#[test]
fn a_zone_that_was_down_in_the_recording_is_down_now_and_its_return_pays_the_gap() {
    let file = File::of(&[
        report(RAPL, 0, &[(package(), 5, 0)]),
        report(RAPL, 1_000, &[]),
        report(RAPL, 2_000, &[(package(), 25, 2_000)]),
        report(RAPL, 3_000, &[(package(), 26, 3_000)]),
    ]);
    let mut replay = file.open(json!({}));
    let read = |replay: &mut Box<dyn PowerSource>, millis| joules(&replay.read(at_ms(millis)));
    assert_eq!(read(&mut replay, 0), [("package/socket0".to_owned(), 0)]);
    assert_eq!(read(&mut replay, 1_000), []);
    assert_eq!(read(&mut replay, 2_000), [("package/socket0".to_owned(), 20)]);
}

#[test]
fn a_zone_that_two_meters_had_counts_once_and_an_unwanted_one_not_at_all() {
    let file = File::of(&[
        report(RAPL, 0, &[(package(), 0, 0)]),
        report(BMC, 0, &[(package(), 0, 0), (platform(), 0, 0)]),
        report(RAPL, 1_000, &[(package(), 3, 1_000)]),
        report(BMC, 1_000, &[(package(), 9, 1_000), (platform(), 9, 1_000)]),
        report(RAPL, 2_000, &[]),
    ]);
    let section = file.section(json!({}));
    let Opened::Source(mut replay) = open(&ask(&section, &[Component::Package])).unwrap() else {
        panic!();
    };
    replay.read(at_ms(0));
    assert_eq!(
        joules(&replay.read(at_ms(1_000))),
        [("package/socket0".to_owned(), 3)]
    );
}

#[test]
fn what_cannot_be_replayed_is_passed_over_with_its_reason() {
    let none = absent(&json!({}), COMPONENTS);
    assert!(
        none.contains("sources.replay.file") && none.contains("kepler record"),
        "{none}"
    );
    let missing = absent(&json!({"file": "/no/such"}), COMPONENTS);
    assert!(missing.starts_with("/no/such: No such file"), "{missing}");
    let file = File::of(&three_seconds());
    let other = absent(&file.section(json!({})), &[Component::Dram]);
    assert!(
        other.contains("none of the wanted components in its first 1000 reports, only package, platform"),
        "{other}"
    );
    std::fs::write(file.path(), "no recording at all").unwrap();
    let garbage = absent(&file.section(json!({})), COMPONENTS);
    assert!(
        garbage.ends_with("is no recording of `kepler record`"),
        "{garbage}"
    );
}

#[test]
fn a_pipe_is_passed_over_and_not_waited_for() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("pipe");
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
    rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).unwrap();
    let words = absent(&json!({"file": path}), COMPONENTS);
    assert!(words.ends_with("pipe is no plain file"), "{words}");
}

#[test]
fn a_component_that_never_comes_is_not_looked_for_through_days() {
    let quiet = |at| report(RAPL, at, &[(package(), at, at)]);
    let late = |reports: u64| {
        let platform = report(BMC, reports, &[(platform(), 1, reports)]);
        let file = File::of(&(0..reports).map(quiet).chain([platform]).collect::<Vec<_>>());
        file.open(json!({})).components()
    };
    assert_eq!(late(999), [Component::Package, Component::Platform]);
    assert_eq!(late(1_000), [Component::Package]);
}

#[test]
fn a_file_that_is_cut_off_is_used_up_to_the_cut() {
    let file = File::of(&three_seconds());
    let bytes = std::fs::read(file.path()).unwrap();
    std::fs::write(file.path(), &bytes[..bytes.len() - 15]).unwrap();
    let mut replay = file.open(json!({"loop": false}));
    replay.read(at_ms(0));
    assert_eq!(joules(&replay.read(at_ms(2_999)))[0].1, 20);
    replay.read(at_ms(9_000));
    let read = replay.read(at_ms(10_000));
    assert!(
        read.errors[0].latest.contains("cut off after"),
        "{}",
        read.errors[0].latest
    );
}

#[test]
fn what_is_shorter_than_a_tick_does_not_go_round_for_ever() {
    let file = File::of(&[
        report(RAPL, 5, &[(package(), 1, 5)]),
        report(RAPL, 104, &[(package(), 2, 104)]),
    ]);
    let mut replay = file.open(json!({"loop": true}));
    replay.read(at_ms(0));
    assert_eq!(replay.read(at_ms(5_000)).zones.len(), 1);
    let read = replay.read(at_ms(6_000));
    assert!(
        read.errors[0].latest.contains("too short to go round"),
        "{:?}",
        read.errors
    );
}
