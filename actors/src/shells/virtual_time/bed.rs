// SPDX-License-Identifier: Apache-2.0
//! A machine that sleeps between two windows: the paused clock stands still meanwhile, as `CLOCK_MONOTONIC` does.

use super::*;
use exporter::Clocks;
use power_sources::{Ask, Opened, PowerSource, rapl};
use std::cell::{Cell, RefCell};
use std::fs;
use std::path::Path;

thread_local! {
    static SLEPT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static LAPTOP: RefCell<Option<Box<dyn PowerSource>>> = const { RefCell::new(None) };
}

/// All actors of a test are on its own thread.
pub(super) fn clocks() -> Clocks {
    Clocks {
        boot: SLEPT.get(),
        ..Clocks::default()
    }
}

/// What a real meter reads, where a test has one.
pub(super) fn reads(now: MonotonicNanos) -> Option<Energy> {
    LAPTOP.with_borrow_mut(|meter| meter.as_mut().map(|meter| meter.read(now)))
}

/// A laptop's package in this folder, of 15 W, whose counter turns after 262 kJ and stands here.
fn laptop(root: &Path, microjoules: u64) {
    let zone = root.join("intel-rapl:0");
    fs::create_dir_all(&zone).expect("a folder");
    for (file, text) in [
        ("name", "package-0"),
        ("max_energy_range_uj", "262143328850"),
        ("constraint_0_name", "long_term"),
        ("constraint_0_max_power_uw", "15000000"),
        ("energy_uj", &microjoules.to_string()),
    ] {
        fs::write(zone.join(file), format!("{text}\n")).expect("a file");
    }
    let section = serde_json::json!({ "root": root });
    let ask = Ask {
        section: &section,
        wanted: &[Component::Package],
        clock: crate::clock::monotonic,
        slept: || clocks().slept(),
    };
    match rapl::open(&ask).expect("a section") {
        Opened::Source(source) => LAPTOP.set(Some(source)),
        Opened::Absent { reason } => panic!("{reason}"),
    }
}

#[test]
fn a_night_that_a_real_counter_went_on_in_is_paid_once_also_over_its_end() {
    const NIGHT: Duration = Duration::from_secs(8 * 3_600);
    const TURN: u64 = 262_143_328_911;
    const JOULE: u64 = 1_000_000;
    let folder = tempfile::tempdir().expect("a folder");
    let mut shown = TURN - 1_000 * JOULE;
    laptop(folder.path(), shown);
    let file = folder.path().join("intel-rapl:0/energy_uj");
    let plan = move |reporter: &str, tick: u64| {
        if reporter == METER.0 {
            if tick == 10 {
                SLEPT.set(NIGHT);
                // Half a watt; in a second awake 124 J are believed.
                shown += 14_400 * JOULE;
            }
            shown = (shown + 5 * JOULE) % TURN;
            fs::write(&file, format!("{shown}\n")).expect("a file");
        }
        Some(Duration::ZERO)
    };
    let plan = RefCell::new(plan);
    let ran = run(
        20,
        None,
        Box::new(move |reporter, tick| (plan.borrow_mut())(reporter, tick)),
    );
    LAPTOP.set(None);
    let at = |tick: u64| {
        let found = ran
            .snapshots
            .iter()
            .find(|snapshot| snapshot.tick == TickId(tick));
        let zone = found.and_then(|snapshot| snapshot.zones.first()).expect("a zone");
        (
            (zone.idle + zone.dynamic).as_micro() / JOULE,
            zone.idle.as_micro() / JOULE,
        )
    };
    // The first reading is the base. Of 14,405 J in 28,801 s half a joule is the day's.
    assert_eq!(
        [at(9), at(10), at(19)],
        [(40, 0), (14_445, 14_404), (14_490, 14_404)]
    );
    assert_eq!(ran.deaths, None);
}

#[test]
fn what_the_meter_counted_while_the_machine_slept_is_idle_energy_of_one_window() {
    const NIGHT: Duration = Duration::from_secs(99);
    let plan = |reporter: &str, tick: u64| {
        if reporter == METER.0 && tick == 10 {
            SLEPT.set(NIGHT);
        }
        Some(Duration::ZERO)
    };
    let ran = run(20, None, Box::new(plan));
    let idle = |snapshot: &Snapshot| snapshot.zones.first().map_or(0, |zone| zone.idle.as_micro());
    let at = |tick: u64| {
        let found = ran
            .snapshots
            .iter()
            .find(|snapshot| snapshot.tick == TickId(tick));
        found.map(|snapshot| idle(snapshot)).expect("a window")
    };
    // 10 J in one second awake and 99 asleep.
    assert_eq!([at(9), at(10), at(19)], [0, 9_900_000, 9_900_000]);
    assert_eq!(ran.deaths, None);
}
