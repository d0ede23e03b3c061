// SPDX-License-Identifier: Apache-2.0
//! Snapshots in, folders out.

use super::plan::{Kind, RANGE, advanced, folder};
use super::share::{ASIDE, ENERGY, MARK};
use super::{PassthroughConfig, PassthroughDir, Writer};
use crate::sample;
use crate::text::writer::Format;
use attribution::model::snapshot::{Charge, GroupRow, Ledger, Names, ZoneAccount};
use attribution::model::*;
use rustix::fs::{CWD, FileType, FlockOperation, Mode, flock, mknodat};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

const WEB: &str = "6f1c0a52-8e0b-4b1a-9c53-1d2f3a4b5c6d";
const ESTIMATED: Provenance = Provenance::Estimated {
    relative_error_p90: Permille(250),
};

fn at(seconds: u64) -> MonotonicNanos {
    MonotonicNanos::from_nanos(seconds * 1_000_000_000)
}

fn zone(component: Component, socket: u16, provenance: Provenance) -> ZoneAccount {
    let mut account = sample::snapshot().zones[0].clone();
    account.zone = Zone {
        component,
        place: Place::socket(PackageId(socket)),
    };
    account.provenance = provenance;
    account
}

/// Two sockets, with memory at each, and the whole.
fn zones(provenance: Provenance) -> Vec<ZoneAccount> {
    [
        (Component::Package, 0),
        (Component::Dram, 0),
        (Component::Package, 1),
        (Component::Dram, 1),
        (Component::Platform, 0),
    ]
    .map(|(component, socket)| zone(component, socket, provenance))
    .into()
}

/// A machine with these microjoules, dynamic and idle, by zone.
fn vm(id: &str, charges: &[(u64, u64)], ended: bool) -> GroupRow<VmId> {
    let charge = |(dynamic, idle): &(u64, u64)| Charge {
        dynamic: Microjoules::from_micro(*dynamic),
        idle: Microjoules::from_micro(*idle),
        ..Charge::default()
    };
    GroupRow {
        began: MonotonicNanos::default(),
        key: VmId::new(id),
        owner: None,
        names: Names::default(),
        ledger: Ledger {
            charges: charges.iter().map(charge).collect(),
            ..Ledger::default()
        },
        ended,
    }
}

fn snapshot(zones: Vec<ZoneAccount>, vms: Vec<GroupRow<VmId>>) -> Snapshot {
    Snapshot {
        zones,
        vms,
        ..Snapshot::default()
    }
}

struct Scene {
    folder: TempDir,
    render: Arc<crate::RenderSettings>,
}

impl Scene {
    fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            render: Arc::new(sample::settings()),
        }
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("vms")
    }

    fn writer(&self, estimates: bool) -> Writer {
        let config = PassthroughConfig {
            dir: PassthroughDir(self.dir()),
            estimates,
        };
        Writer::new(&config, Duration::from_secs(180), &self.render).unwrap()
    }

    fn zone(&self, id: &str, zone: &str) -> PathBuf {
        self.dir().join(id).join(zone)
    }

    fn read(&self, id: &str, zone: &str, file: &str) -> String {
        fs::read_to_string(self.zone(id, zone).join(file)).unwrap_or_else(|error| error.kind().to_string())
    }

    /// The counters of package, memory and platform.
    fn counters(&self, id: &str) -> [String; 3] {
        Kind::ALL.map(|kind| self.read(id, kind.folder(), ENERGY).trim_end().to_owned())
    }

    /// A sample about the feeding itself.
    fn said(&self, series: &str) -> u64 {
        let lines = self.render.observer.lines(0, Format::Text, None);
        let line = lines.lines().find(|line| line.starts_with(series)).unwrap();
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    }
}

const CHARGES: &[(u64, u64)] = &[
    (10, 1),
    (200, 20),
    (3_000, 300),
    (40_000, 4_000),
    (500_000, 50_000),
];

#[test]
fn a_machine_has_its_whole_energy_in_the_shape_of_powercap() {
    let scene = Scene::new();
    let mut writer = scene.writer(false);
    writer.write(
        &snapshot(zones(Provenance::Counted), vec![vm(WEB, CHARGES, false)]),
        at(1),
    );
    assert_eq!(scene.counters(WEB), ["3311", "44220", "550000"]);
    for (folder, name) in [
        ("intel-rapl:0", "package-0\n"),
        ("intel-rapl:0:0", "dram\n"),
        ("intel-rapl:1", "psys\n"),
    ] {
        assert_eq!(scene.read(WEB, folder, "name"), name);
        assert_eq!(
            scene.read(WEB, folder, "max_energy_range_uj"),
            "9223372036854775807\n"
        );
        assert_eq!(scene.read(WEB, folder, "provenance"), "counted\n");
        let facts = |file: &str| fs::metadata(scene.zone(WEB, folder).join(file)).unwrap();
        assert_eq!(facts(ENERGY).mode() & 0o777, 0o644);
        assert_eq!(facts(".").mode() & 0o777, 0o755);
    }
    assert_eq!(scene.said("kepler_vm_passthrough_trees"), 1);
    assert_eq!(scene.said("kepler_vm_passthrough_writes_total"), 3);
}

#[test]
fn what_was_opened_before_goes_on_and_what_is_opened_is_whole_and_new() {
    let scene = Scene::new();
    let mut writer = scene.writer(false);
    let package = vec![zone(Component::Package, 0, Provenance::Counted)];
    let mut write = |total, second| {
        let machine = vm(WEB, &[(total, 0)], false);
        writer.write(&snapshot(package.clone(), vec![machine]), at(second));
    };
    write(9, 1);
    write(10, 2);
    let path = scene.zone(WEB, "intel-rapl:0").join(ENERGY);
    let held = File::open(&path).unwrap();
    let before = held.metadata().unwrap().ino();
    let shown = |file: &File| {
        let mut bytes = [0; 32];
        let length = file.read_at(&mut bytes, 0).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    };
    assert_eq!(shown(&held), "10\n");
    write(1_000, 3);
    // The one who keeps it open has the other file's turn, and nobody writes into it at that time.
    assert_eq!(
        (shown(&held), fs::read_to_string(&path).unwrap()),
        ("10\n".into(), "1000\n".into())
    );
    assert_ne!(fs::metadata(&path).unwrap().ino(), before);
    write(1_001, 4);
    assert_eq!(shown(&held), "1001\n");
    assert_eq!(fs::metadata(&path).unwrap().ino(), before);
    assert_eq!(held.metadata().unwrap().nlink(), 1);
}

#[test]
fn a_counter_goes_on_over_a_new_start_of_the_daemon_and_a_new_row() {
    let scene = Scene::new();
    let write = |writer: &mut Writer, machines, second| {
        writer.write(&snapshot(zones(Provenance::Counted), machines), at(second));
    };
    let mut first = scene.writer(false);
    write(&mut first, vec![vm(WEB, &[(500, 0)], false)], 1);
    drop(first);
    let mut second = scene.writer(false);
    write(&mut second, vec![vm(WEB, &[(70, 0)], false)], 1);
    assert_eq!(scene.counters(WEB)[0], "570");
    write(&mut second, vec![vm(WEB, &[(100, 0)], false)], 2);
    assert_eq!(scene.counters(WEB)[0], "600");
    // The row went, and another one of the same machine begins from nothing, although it shows more at once.
    let later = |micro| GroupRow {
        began: at(3),
        ..vm(WEB, &[(micro, 0)], false)
    };
    write(&mut second, vec![], 3);
    write(&mut second, vec![later(150)], 4);
    assert_eq!(scene.counters(WEB)[0], "750");
    // And one that fell without ever having been away.
    write(&mut second, vec![later(5)], 5);
    assert_eq!(scene.counters(WEB)[0], "755");
}

#[test]
fn a_machine_that_starts_again_after_its_row_had_left_is_not_charged_twice() {
    // `ended.keep` of 10 s: the row leaves then, with its total, and is the same one when the machine starts again.
    let scene = Scene::new();
    let mut writer = Writer::new(
        &PassthroughConfig {
            dir: PassthroughDir(scene.dir()),
            estimates: false,
        },
        Duration::from_secs(10),
        &scene.render,
    )
    .unwrap();
    let mut write = |machines, second| {
        writer.write(&snapshot(zones(Provenance::Counted), machines), at(second));
    };
    write(vec![vm(WEB, &[(5_000, 0)], false)], 1);
    write(vec![vm(WEB, &[(5_000, 0)], true)], 2);
    for second in 12..30 {
        write(vec![], second);
    }
    write(vec![vm(WEB, &[(5_010, 0)], false)], 30);
    assert_eq!(scene.counters(WEB)[0], "5010");
    // Nor when its time is over, but its folder cannot go.
    let name = scene.zone(WEB, "intel-rapl:0").join("name");
    fs::remove_file(&name).unwrap();
    fs::create_dir(&name).unwrap();
    for second in 31..120 {
        write(vec![], second);
    }
    assert!(scene.said("kepler_vm_passthrough_errors_total{reason=\"io\"}") > 0);
    write(vec![vm(WEB, &[(5_030, 0)], false)], 120);
    assert_eq!(scene.counters(WEB)[0], "5030");
}

#[test]
fn the_end_of_the_range_is_followed_by_zero() {
    let micro = Microjoules::from_micro;
    assert_eq!(advanced(RANGE, micro(0), micro(0)), RANGE);
    assert_eq!(advanced(RANGE, micro(5), micro(6)), 0);
    assert_eq!(advanced(RANGE - 2, micro(5), micro(15)), 7);
    assert_eq!(advanced(0, micro(0), micro(u64::MAX)), RANGE);
    let scene = Scene::new();
    let place = scene.zone(WEB, "intel-rapl:0");
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join(ENERGY), format!("{RANGE}\n")).unwrap();
    let machine = vm(WEB, &[(3, 0)], false);
    scene
        .writer(false)
        .write(&snapshot(zones(Provenance::Counted), vec![machine]), at(1));
    assert_eq!(scene.counters(WEB)[0], "2");
}

#[test]
fn an_estimate_is_no_meter_and_says_so_where_it_is_asked_for() {
    let scene = Scene::new();
    let one = |provenances: [Provenance; 3]| {
        let components = [Component::Package, Component::Dram, Component::Platform];
        let zones = components
            .into_iter()
            .zip(provenances)
            .map(|(component, provenance)| zone(component, 0, provenance))
            .collect();
        snapshot(zones, vec![vm(WEB, &[(1, 0), (2, 0), (3, 0)], false)])
    };
    let counted = Provenance::Counted;
    let mut writer = scene.writer(false);
    writer.write(&one([counted, ESTIMATED, counted]), at(1));
    assert_eq!(scene.counters(WEB), ["1", "entity not found", "3"]);
    let refused = |component: &str| {
        scene.said(&format!(
            "kepler_vm_passthrough_refused{{component=\"{component}\"}}"
        ))
    };
    assert_eq!(
        [refused("package"), refused("dram"), refused("platform")],
        [0, 1, 0]
    );
    drop(writer);
    // Memory is a part of the package: without it there is none.
    let other = Scene::new();
    other
        .writer(false)
        .write(&one([ESTIMATED, counted, ESTIMATED]), at(1));
    assert!(!other.dir().join(WEB).exists());
    let mut writer = scene.writer(true);
    writer.write(&one([counted, ESTIMATED, Provenance::Integrated]), at(2));
    let words = || Kind::ALL.map(|kind| scene.read(WEB, kind.folder(), "provenance"));
    assert_eq!(words(), ["counted\n", "estimated 0.250\n", "integrated\n"]);
    writer.write(&one([ESTIMATED, ESTIMATED, Provenance::Integrated]), at(3));
    assert_eq!(words()[0], "estimated 0.250\n");
}

#[test]
fn of_several_sockets_the_least_sure_one_speaks_for_all() {
    let scene = Scene::new();
    let zones = vec![
        zone(Component::Package, 0, Provenance::Counted),
        zone(Component::Package, 1, ESTIMATED),
        zone(Component::Package, 2, Provenance::Integrated),
    ];
    let machine = || vec![vm(WEB, &[(1, 0), (1, 0), (1, 0)], false)];
    scene
        .writer(false)
        .write(&snapshot(zones.clone(), machine()), at(1));
    assert!(!scene.dir().join(WEB).exists());
    scene.writer(true).write(&snapshot(zones, machine()), at(1));
    assert_eq!(scene.read(WEB, "intel-rapl:0", "provenance"), "estimated 0.250\n");
}

#[test]
fn an_id_that_leads_elsewhere_is_no_folder() {
    for (id, named) in [
        (WEB, true),
        ("123-4567", true),
        ("qemu-1.web_2", true),
        ("", false),
        (".", false),
        ("..", false),
        (".hidden", false),
        ("-rf", false),
        ("../../etc", false),
        ("a/b", false),
        ("a\nb", false),
        ("a\0b", false),
        ("a b", false),
        ("ä", false),
        (&"a".repeat(128), true),
        (&"a".repeat(129), false),
    ] {
        assert_eq!(folder(&VmId::new(id)), named.then_some(id), "{id:?}");
    }
    let scene = Scene::new();
    let machines = vec![vm("../out", CHARGES, false), vm(WEB, CHARGES, false)];
    scene
        .writer(false)
        .write(&snapshot(zones(Provenance::Counted), machines), at(1));
    assert!(!scene.folder.path().join("out").exists());
    assert_eq!(scene.counters(WEB)[0], "3311");
    assert_eq!(
        scene.said("kepler_vm_passthrough_errors_total{reason=\"unnameable\"}"),
        1
    );
}

/// Puts something there.
type Put<'a> = &'a dyn Fn(&Path);

/// What a guest with a share that it may write into can put there.
#[test]
fn nothing_that_was_put_into_a_folder_is_followed_or_waited_for() {
    let scene = Scene::new();
    let precious = scene.folder.path().join("precious");
    fs::write(&precious, "1\n").unwrap();
    let put: [(&str, Put<'_>); 6] = [
        ("a link", &|path| symlink(&precious, path).unwrap()),
        ("a second name", &|path| fs::hard_link(&precious, path).unwrap()),
        ("a pipe", &|path| {
            mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        }),
        ("a folder", &|path| fs::create_dir(path).unwrap()),
        ("words", &|path| fs::write(path, "12 apples\n").unwrap()),
        ("too much", &|path| {
            fs::write(path, "9223372036854775808\n").unwrap()
        }),
    ];
    for (what, put) in put {
        for file in [ENERGY, "energy_uj.other", ".fresh"] {
            drop(fs::remove_dir_all(scene.dir()));
            let place = scene.zone(WEB, "intel-rapl:0");
            fs::create_dir_all(&place).unwrap();
            put(&place.join(file));
            let mut writer = scene.writer(false);
            for second in 1..=3 {
                let machine = vm(WEB, &[(second, 0)], false);
                writer.write(
                    &snapshot(
                        vec![zone(Component::Package, 0, Provenance::Counted)],
                        vec![machine],
                    ),
                    at(second),
                );
            }
            // What has a value that could be ours is gone on from.
            let expected = if what == "a second name" && file == ENERGY {
                "4"
            } else {
                "3"
            };
            assert_eq!(scene.counters(WEB)[0], expected, "{what} as {file}");
            assert_eq!(fs::read_to_string(&precious).unwrap(), "1\n", "{what} as {file}");
            let aside = place.join(ASIDE).symlink_metadata().is_ok();
            assert_eq!(
                aside,
                file == ENERGY && what != "a second name",
                "{what} as {file}"
            );
        }
    }
    assert_eq!(
        scene.said("kepler_vm_passthrough_errors_total{reason=\"damaged\"}"),
        5
    );
    // A link in the place of a folder, too.
    for deep in [false, true] {
        fs::remove_dir_all(scene.dir()).unwrap();
        let elsewhere = TempDir::new().unwrap();
        let place = match deep {
            true => scene.zone(WEB, "intel-rapl:0"),
            false => scene.dir().join(WEB),
        };
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        symlink(elsewhere.path(), place).unwrap();
        let machine = vm(WEB, &[(1, 0)], false);
        scene.writer(false).write(
            &snapshot(
                vec![zone(Component::Package, 0, Provenance::Counted)],
                vec![machine],
            ),
            at(1),
        );
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }
    assert_eq!(scene.said("kepler_vm_passthrough_errors_total{reason=\"io\"}"), 2);
}

#[test]
fn a_folder_outlives_its_machine_and_then_goes_with_all_that_is_ours() {
    let scene = Scene::new();
    let other = "00000000-8e0b-4b1a-9c53-1d2f3a4b5c6d";
    // The share of a machine has to be there before it starts, so somebody made it, and it is not ours to remove.
    fs::create_dir_all(scene.dir().join(other)).unwrap();
    fs::create_dir_all(scene.dir().join("somebody's")).unwrap();
    let mut writer = scene.writer(false);
    let mut write = |ended: Option<bool>, second| {
        let machines = ended.map(|ended| vec![vm(WEB, CHARGES, ended), vm(other, CHARGES, ended)]);
        writer.write(
            &snapshot(zones(Provenance::Counted), machines.unwrap_or_default()),
            at(second),
        );
    };
    write(Some(false), 1_000);
    write(Some(true), 1_010);
    write(Some(true), 1_179);
    assert_eq!(scene.counters(WEB)[0], "3311");
    write(None, 1_180);
    assert!(!scene.dir().join(WEB).exists());
    let left: Vec<_> = fs::read_dir(scene.dir().join(other)).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(scene.dir().join("somebody's").exists());
    // It does not come again with what is only left of it.
    write(Some(true), 1_181);
    assert!(!scene.dir().join(WEB).exists());
}

#[test]
fn a_folder_that_could_not_be_marked_the_first_time_goes_with_its_machine_all_the_same() {
    let scene = Scene::new();
    let fresh = scene.dir().join(".fresh-machine");
    let mut second = 0;
    for put in [".fed-by-kepler", ".fresh", "notes"] {
        // A daemon was killed while it made a folder; what somebody else put there is in the way until it is gone.
        fs::create_dir_all(&fresh).unwrap();
        fs::write(fresh.join(put), "made\n").unwrap();
        let mut writer = scene.writer(false);
        let mut write = |machines, more| {
            second += more;
            writer.write(&snapshot(zones(Provenance::Counted), machines), at(second));
        };
        let alive = || vec![vm(WEB, CHARGES, false)];
        write(alive(), 1);
        if put == "notes" {
            assert!(!scene.dir().join(WEB).exists());
            fs::remove_file(fresh.join(put)).unwrap();
            write(alive(), 1);
        }
        assert_eq!(scene.counters(WEB)[0], "3311", "{put}");
        assert!(!fresh.exists(), "{put}");
        write(vec![], 180);
        assert!(!scene.dir().join(WEB).exists(), "{put}");
    }
    assert_eq!(scene.said("kepler_vm_passthrough_errors_total{reason=\"io\"}"), 1);
}

#[test]
fn no_room_for_the_mark_leaves_no_folder_behind_that_would_pass_for_somebody_elses() {
    let scene = Scene::new();
    fs::create_dir(scene.dir()).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k", "kepler-test"])
        .arg(scene.dir())
        .stderr(std::process::Stdio::null())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("skipped: needs root and the right to mount");
        return;
    }
    let full = scene.dir().join("full");
    assert!(fs::write(&full, vec![0_u8; 128 << 10]).is_err());
    let mut writer = scene.writer(false);
    let mut write = |machines, second| {
        writer.write(&snapshot(zones(Provenance::Counted), machines), at(second));
    };
    let alive = || vec![vm(WEB, CHARGES, false)];
    write(alive(), 1);
    let names = || {
        fs::read_dir(scene.dir())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
    };
    let left: Vec<_> = names().collect();
    fs::remove_file(&full).unwrap();
    write(alive(), 2);
    let fed = scene.counters(WEB);
    write(vec![], 200);
    let at_last = names().count();
    drop(
        std::process::Command::new("umount")
            .arg("-l")
            .arg(scene.dir())
            .status(),
    );
    assert_eq!(left, ["full"]);
    assert_eq!((&*fed[0], at_last), ("3311", 0));
}

#[test]
fn what_an_earlier_run_has_left_goes_in_its_time_and_what_is_nobodys_stays() {
    let scene = Scene::new();
    let counted = || zones(Provenance::Counted);
    scene
        .writer(false)
        .write(&snapshot(counted(), vec![vm(WEB, CHARGES, false)]), at(1));
    let of_others = scene.zone(WEB, "intel-rapl:0").join("notes");
    fs::write(&of_others, "").unwrap();
    let mut writer = scene.writer(false);
    writer.write(&snapshot(counted(), vec![]), at(5_000));
    writer.write(&snapshot(counted(), vec![]), at(5_179));
    assert_eq!(scene.counters(WEB)[0], "3311");
    writer.write(&snapshot(counted(), vec![]), at(5_180));
    assert_eq!(scene.counters(WEB)[0], "entity not found");
    assert!(of_others.exists() && !scene.dir().join(WEB).join(MARK).exists());
}

#[test]
fn a_failure_costs_itself_and_comes_with_the_next_time() {
    let scene = Scene::new();
    let package = || vec![zone(Component::Package, 0, Provenance::Counted)];
    let mut writer = scene.writer(false);
    let mut write = |total, second| {
        let machines = vec![vm(WEB, &[(total, 0)], false), vm("b", &[(total, 0)], false)];
        writer.write(&snapshot(package(), machines), at(second));
    };
    write(1, 1);
    let place = scene.zone(WEB, "intel-rapl:0");
    fs::rename(&place, scene.folder.path().join("away")).unwrap();
    fs::write(&place, "in the way").unwrap();
    write(10, 2);
    assert_eq!(scene.counters("b")[0], "10");
    assert_eq!(scene.said("kepler_vm_passthrough_trees"), 1);
    assert_eq!(scene.said("kepler_vm_passthrough_errors_total{reason=\"io\"}"), 1);
    fs::remove_file(&place).unwrap();
    write(11, 3);
    assert_eq!(scene.counters(WEB)[0], "11");
    assert_eq!(scene.read(WEB, "intel-rapl:0", "name"), "package-0\n");
    // The whole folder vanishes, and comes again where it stood.
    fs::remove_dir_all(scene.dir()).unwrap();
    write(12, 4);
    assert_eq!(
        (&scene.counters(WEB)[0], &scene.counters("b")[0]),
        (&"12".into(), &"12".into())
    );
    fs::remove_dir_all(scene.dir()).unwrap();
    fs::write(scene.dir(), "a file in its place").unwrap();
    write(13, 5);
    assert_eq!(scene.said("kepler_vm_passthrough_trees"), 0);
}

#[test]
fn two_daemons_do_not_count_into_one_folder() {
    let scene = Scene::new();
    let package = || vec![zone(Component::Package, 0, Provenance::Counted)];
    fs::create_dir(scene.dir()).unwrap();
    let other = File::open(scene.dir()).unwrap();
    flock(&other, FlockOperation::NonBlockingLockExclusive).unwrap();
    let mut writer = scene.writer(false);
    writer.write(&snapshot(package(), vec![vm(WEB, &[(1, 0)], false)]), at(1));
    assert!(!scene.dir().join(WEB).exists());
    assert_eq!(
        scene.said("kepler_vm_passthrough_errors_total{reason=\"busy\"}"),
        1
    );
    drop(other);
    // What was charged until then the other one has written.
    writer.write(&snapshot(package(), vec![vm(WEB, &[(2, 0)], false)]), at(2));
    assert_eq!(scene.counters(WEB)[0], "0");
    writer.write(&snapshot(package(), vec![vm(WEB, &[(5, 0)], false)]), at(3));
    assert_eq!(scene.counters(WEB)[0], "3");
}

#[test]
fn a_machine_that_was_away_when_a_folder_was_taken_again_is_not_charged_for_before() {
    let scene = Scene::new();
    let write = |writer: &mut Writer, ended, machines| {
        let snapshot = Snapshot {
            window: Section {
                began: at(ended - 1),
                ended: at(ended),
            },
            ..snapshot(zones(Provenance::Counted), machines)
        };
        writer.write(&snapshot, at(ended));
    };
    let row = |micro, began| GroupRow {
        began: at(began),
        ..vm(WEB, &[(micro, 0)], false)
    };
    let mut first = scene.writer(false);
    write(&mut first, 1, vec![row(5_000, 0)]);
    // Another folder was fed for a while; the row came back from where it was kept when this one had begun again.
    let mut again = scene.writer(false).after(None);
    drop(first);
    write(&mut again, 10, vec![]);
    write(&mut again, 11, vec![row(5_010, 0)]);
    write(&mut again, 12, vec![row(5_013, 0)]);
    assert_eq!(scene.counters(WEB)[0], "5003");
    // One that began since then is paid whole.
    let mut whole = scene.writer(false).after(None);
    drop(again);
    write(&mut whole, 20, vec![]);
    write(&mut whole, 21, vec![row(7, 20)]);
    assert_eq!(scene.counters(WEB)[0], "5010");
}

#[test]
fn there_are_no_more_folders_than_are_written_in_a_window() {
    let scene = Scene::new();
    let machines = (0..1_026)
        .map(|n| vm(&format!("m{n}"), &[(1, 0)], false))
        .collect();
    scene.writer(false).write(
        &snapshot(vec![zone(Component::Package, 0, Provenance::Counted)], machines),
        at(1),
    );
    assert_eq!(scene.said("kepler_vm_passthrough_trees"), 1_024);
    assert_eq!(
        scene.said("kepler_vm_passthrough_errors_total{reason=\"crowded\"}"),
        2
    );
}

#[test]
fn where_nobody_is_fed_nothing_is_said_of_it() {
    let scene = Scene::new();
    let off = PassthroughConfig::default();
    assert!(Writer::new(&off, Duration::ZERO, &scene.render).is_none());
    assert!(
        !scene
            .render
            .observer
            .lines(0, Format::Text, None)
            .contains("passthrough")
    );
}

#[test]
fn a_writer_that_takes_over_goes_on_and_one_that_comes_late_pays_nothing_for_before() {
    let scene = Scene::new();
    let said = |micro: u64| snapshot(zones(Provenance::Counted), vec![vm(WEB, &[(micro, 0)], false)]);
    let package = || scene.counters(WEB)[0].clone();
    let mut first = scene.writer(false);
    first.write(&said(100), at(1));
    // In the same folder it is the same counter.
    let mut second = scene.writer(true).after(Some(first));
    second.write(&said(130), at(2));
    assert_eq!(package(), "130");
    second.end();
    // Nobody fed it while it used 70; from then on it is fed again.
    let mut third = scene.writer(false).after(None);
    third.write(&said(200), at(3));
    assert_eq!(package(), "130");
    third.write(&said(205), at(4));
    assert_eq!(package(), "135");
}
