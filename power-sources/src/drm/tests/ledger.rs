// SPDX-License-Identifier: Apache-2.0
//! From sightings to totals.

use super::at;
use crate::drm::fdinfo::{Busy, Engine};
use crate::drm::usage::{FileId, Ledger, MOST_FILES, Settled, Sighting};
use attribution::model::MonotonicNanos;
use proptest::prelude::*;

const MS: u64 = 1_000_000;

/// Engines of i915 or amdgpu: name, milliseconds, how many.
fn nanos(engines: &[(&str, u64, u64)]) -> Option<Vec<Engine>> {
    let engine = |(name, milliseconds, capacity): &(&str, u64, u64)| Engine {
        name: Box::from(*name),
        capacity: *capacity,
        busy: Busy::Nanos(milliseconds * MS),
    };
    Some(engines.iter().map(engine).collect())
}

/// Engines of xe: name, cycles, how many; and the clock.
fn cycles(clock: u64, engines: &[(&str, u64, u64)]) -> Option<Vec<Engine>> {
    let engine = |(name, used, capacity): &(&str, u64, u64)| Engine {
        name: Box::from(*name),
        capacity: *capacity,
        busy: Busy::Cycles { used: *used, clock },
    };
    Some(engines.iter().map(engine).collect())
}

fn seen(pid: u32, id: u64, since: Option<MonotonicNanos>, engines: Option<Vec<Engine>>) -> Sighting {
    Sighting {
        pid,
        file: FileId { card: 0, id },
        since,
        engines,
    }
}

/// Rows as `(pid, milliseconds)`.
fn rows(ledger: &mut Ledger) -> Vec<(u32, u64)> {
    let row = |user: attribution::model::DeviceUser| (user.pid, user.used.as_nanos() / MS);
    ledger.users(0).into_iter().map(row).collect()
}

/// What one file of one process, known from the start, adds up to after each of these readings a second apart.
fn alone(readings: &[Option<Vec<Engine>>]) -> Vec<u64> {
    let mut ledger = Ledger::default();
    let mut totals = Vec::new();
    for (second, engines) in (0..).zip(readings) {
        ledger.settle(at(second * 1_000), vec![seen(7, 1, None, engines.clone())]);
        totals.push(rows(&mut ledger)[0].1);
    }
    totals
}

#[test]
fn what_a_file_showed_before_we_looked_is_a_base() {
    assert_eq!(
        alone(&[
            nanos(&[("gfx", 90_000, 1)]),
            nanos(&[("gfx", 90_300, 1)]),
            nanos(&[("gfx", 90_900, 1)])
        ]),
        [0, 300, 900]
    );
}

#[test]
fn the_busiest_kind_of_engine_counts_and_kinds_are_divided_by_how_many_they_are() {
    // Reading by reading the busiest: 500 of render, then 1800 / 2 of video.
    assert_eq!(
        alone(&[
            nanos(&[("render", 0, 1), ("video", 0, 2)]),
            nanos(&[("render", 500, 1), ("video", 800, 2)]),
            nanos(&[("render", 600, 1), ("video", 2_600, 2)]),
        ]),
        [0, 500, 1_400]
    );
}

#[test]
fn an_engine_that_was_not_shown_before_was_not_used_before() {
    // amdgpu leaves out engines that were never used.
    assert_eq!(
        alone(&[
            nanos(&[]),
            nanos(&[("dec", 250, 1)]),
            nanos(&[("dec", 300, 1), ("gfx", 700, 1)])
        ]),
        [0, 250, 950]
    );
}

#[test]
fn a_counter_that_went_back_stands_until_it_has_caught_up() {
    assert_eq!(
        alone(&[
            nanos(&[("gfx", 1_000, 1)]),
            nanos(&[("gfx", 1_400, 1)]),
            nanos(&[("gfx", 1_100, 1)]),
            nanos(&[("gfx", 1_350, 1)]),
            nanos(&[("gfx", 1_600, 1)])
        ]),
        [0, 400, 400, 400, 600]
    );
}

#[test]
fn a_step_beyond_the_time_is_cut_and_twenty_milliseconds_of_it_come_later() {
    // 1010 in the first second: 1000 now, 10 with the next. 1500 in the third: 1000, 20 with the next, the rest never.
    assert_eq!(
        alone(&[
            nanos(&[("gfx", 0, 1)]),
            nanos(&[("gfx", 1_010, 1)]),
            nanos(&[("gfx", 2_000, 1)]),
            nanos(&[("gfx", 3_500, 1)]),
            nanos(&[("gfx", 3_500, 1)])
        ]),
        [0, 1_000, 2_000, 3_000, 3_020]
    );
}

#[test]
fn a_step_that_no_engine_can_make_is_told_and_dropped() {
    let mut ledger = Ledger::default();
    let mut at_second = |second: u64, milliseconds: u64| {
        let engines = nanos(&[("gfx", milliseconds, 1)]);
        let settled = ledger.settle(at(second * 1_000), vec![seen(7, 1, None, engines)]);
        (settled.implausible, rows(&mut ledger)[0].1)
    };
    assert_eq!(at_second(0, 0), (0, 0));
    // Sixteen times the time and a second are the most that is cut instead of refused.
    assert_eq!(at_second(1, 17_000), (0, 1_000));
    assert_eq!(at_second(2, 17_000 + 17_001), (1, 1_000));
    assert_eq!(at_second(3, 34_001 + 100), (0, 1_100));
}

#[test]
fn cycles_are_a_share_of_the_cards_own_clock() {
    // 19.2 MHz; half of the second second, a quarter of one of two in the third.
    let clock = 7_655_183_225;
    assert_eq!(
        alone(&[
            cycles(clock, &[("rcs", 5_000, 1), ("vcs", 0, 2)]),
            cycles(
                clock + 19_200_000,
                &[("rcs", 5_000 + 9_600_000, 1), ("vcs", 0, 2)]
            ),
            cycles(
                clock + 38_400_000,
                &[("rcs", 5_000 + 9_600_000, 1), ("vcs", 9_600_000, 2)]
            ),
        ]),
        [0, 500, 750]
    );
}

#[test]
fn a_clock_that_begins_again_is_a_new_base_and_one_that_stands_still_measures_nothing() {
    assert_eq!(
        alone(&[
            cycles(1_000, &[("rcs", 100, 1)]),
            cycles(2_000, &[("rcs", 600, 1)]),
            cycles(50, &[("rcs", 650, 1)]),
            cycles(50, &[("rcs", 650, 1)]),
            // Two seconds for a thousand ticks.
            cycles(1_050, &[("rcs", 1_150, 1)]),
        ]),
        [0, 500, 500, 500, 1_000]
    );
}

#[test]
fn a_file_that_was_opened_between_two_looks_is_paid_from_its_first_nanosecond() {
    let mut ledger = Ledger::default();
    ledger.settle(at(0), Vec::new());
    // The process was not there at 9.0 s, and has used 600 ms at 10.0 s.
    let engines = nanos(&[("gfx", 600, 1)]);
    ledger.settle(at(10_000), vec![seen(7, 1, Some(at(9_000)), engines)]);
    assert_eq!(rows(&mut ledger), [(7, 600)]);
}

#[test]
fn a_file_that_shows_more_than_fits_is_older_than_it_seemed_and_a_base() {
    let mut ledger = Ledger::default();
    let engines = |milliseconds| nanos(&[("gfx", milliseconds, 1)]);
    ledger.settle(at(10_000), vec![seen(7, 1, Some(at(9_000)), engines(1_100))]);
    assert_eq!(rows(&mut ledger), [(7, 0)]);
    ledger.settle(at(11_000), vec![seen(7, 1, Some(at(9_000)), engines(1_300))]);
    assert_eq!(rows(&mut ledger), [(7, 200)]);
}

#[test]
fn a_new_file_that_counts_cycles_waits_for_the_pace_of_its_clock_and_is_then_paid_whole() {
    let mut ledger = Ledger::default();
    // 1000 ticks a second. Opened after 9.5 s; busy for 300 ticks by 10 s, and for 700 by 11 s.
    ledger.settle(
        at(10_000),
        vec![seen(7, 1, Some(at(9_500)), cycles(10_000, &[("ccs", 300, 1)]))],
    );
    assert_eq!(rows(&mut ledger), [(7, 0)]);
    ledger.settle(
        at(11_000),
        vec![seen(7, 1, Some(at(9_500)), cycles(11_000, &[("ccs", 700, 1)]))],
    );
    assert_eq!(rows(&mut ledger), [(7, 700)]);
    // The pace is known now, so the next new file does not wait.
    let old = seen(7, 1, Some(at(9_500)), cycles(12_000, &[("ccs", 700, 1)]));
    let new = seen(8, 2, Some(at(11_000)), cycles(12_000, &[("ccs", 400, 1)]));
    ledger.settle(at(12_000), vec![old, new]);
    assert_eq!(rows(&mut ledger), [(7, 700), (8, 400)]);
}

#[test]
fn a_file_in_several_processes_counts_once_in_equal_parts() {
    let mut ledger = Ledger::default();
    let both = |milliseconds| {
        let engines = nanos(&[("render", milliseconds, 1)]);
        // The second holder was not even asked, as one of several duplicates is not.
        vec![
            seen(900, 1, None, engines),
            seen(1_200, 1, None, None),
            seen(1_200, 1, None, None),
        ]
    };
    ledger.settle(at(0), both(50));
    ledger.settle(at(1_000), both(451));
    let used: Vec<_> = ledger
        .users(0)
        .iter()
        .map(|user| (user.pid, user.used.as_nanos()))
        .collect();
    assert_eq!(used, [(900, 401 * MS / 2), (1_200, 401 * MS / 2)]);
}

#[test]
fn what_does_not_divide_goes_to_the_lowest_pids() {
    let mut ledger = Ledger::default();
    let engines = |nanos| {
        Some(vec![Engine {
            name: Box::from("gfx"),
            capacity: 1,
            busy: Busy::Nanos(nanos),
        }])
    };
    let three = |nanos| [3, 1, 2].map(|pid| seen(pid, 1, None, engines(nanos))).to_vec();
    ledger.settle(at(0), three(0));
    ledger.settle(at(1_000), three(5));
    let used: Vec<_> = ledger
        .users(0)
        .iter()
        .map(|user| (user.pid, user.used.as_nanos()))
        .collect();
    assert_eq!(used, [(1, 2), (2, 2), (3, 1)]);
}

#[test]
fn files_of_one_process_add_up_by_kind_and_never_beyond_the_time() {
    let mut ledger = Ledger::default();
    let two = |one, other, video| {
        vec![
            seen(7, 1, None, nanos(&[("gfx", one, 1)])),
            seen(7, 2, None, nanos(&[("gfx", other, 1), ("dec", video, 1)])),
        ]
    };
    ledger.settle(at(0), two(0, 0, 0));
    ledger.settle(at(1_000), two(200, 300, 400));
    assert_eq!(rows(&mut ledger), [(7, 500)]);
    // amdgpu bills jobs that wait behind each other: both files say 0.9 s of one second.
    ledger.settle(at(2_000), two(1_100, 1_200, 400));
    assert_eq!(rows(&mut ledger), [(7, 1_500)]);
}

#[test]
fn a_file_that_is_found_late_is_paid_for_its_own_time_beside_one_that_was_known() {
    let mut ledger = Ledger::default();
    let engines = |milliseconds| nanos(&[("gfx", milliseconds, 1)]);
    ledger.settle(at(9_000), vec![seen(7, 2, None, engines(0))]);
    // Known not to have it at 5 s; 3 s used since.
    let late = seen(7, 1, Some(at(5_000)), engines(3_000));
    ledger.settle(at(10_000), vec![late, seen(7, 2, Some(at(5_000)), engines(0))]);
    assert_eq!(rows(&mut ledger), [(7, 3_000)]);
}

#[test]
fn a_file_that_nobody_has_held_for_ten_minutes_is_forgotten_and_its_number_is_anothers() {
    let mut ledger = Ledger::default();
    let engines = |milliseconds| nanos(&[("gfx", milliseconds, 1)]);
    ledger.settle(at(0), vec![seen(7, 1, None, engines(500))]);
    rows(&mut ledger);
    ledger.settle(at(600_000), Vec::new());
    rows(&mut ledger);
    ledger.settle(at(601_000), vec![seen(8, 1, Some(at(600_000)), engines(300))]);
    assert_eq!(rows(&mut ledger), [(8, 300)]);
}

#[test]
fn cards_are_apart() {
    let mut ledger = Ledger::default();
    let on = |card, milliseconds| Sighting {
        file: FileId { card, id: 1 },
        ..seen(7, 1, None, nanos(&[("gfx", milliseconds, 1)]))
    };
    ledger.settle(at(0), vec![on(0, 0), on(1, 0)]);
    ledger.settle(at(1_000), vec![on(0, 100), on(1, 700)]);
    let used = |card, ledger: &mut Ledger| ledger.users(card)[0].used.as_nanos() / MS;
    assert_eq!((used(0, &mut ledger), used(1, &mut ledger)), (100, 700));
}

#[test]
fn who_holds_nothing_any_more_is_told_once_more_and_leaves() {
    let mut ledger = Ledger::default();
    let engines = |milliseconds| nanos(&[("gfx", milliseconds, 1)]);
    ledger.settle(at(0), vec![seen(7, 1, None, engines(0))]);
    ledger.settle(at(1_000), vec![seen(7, 1, None, engines(300))]);
    // Nobody asked at 1 s (the meter did not answer), so it is told now, although it has gone.
    ledger.settle(at(2_000), Vec::new());
    assert_eq!(rows(&mut ledger), [(7, 300)]);
    ledger.settle(at(3_000), Vec::new());
    assert_eq!(rows(&mut ledger), []);
}

#[test]
fn a_file_that_is_found_again_goes_on_where_it_was() {
    let mut ledger = Ledger::default();
    let engines = |milliseconds| nanos(&[("gfx", milliseconds, 1)]);
    ledger.settle(at(0), vec![seen(7, 1, Some(at(0)), engines(0))]);
    ledger.settle(at(1_000), vec![seen(7, 1, Some(at(0)), engines(500))]);
    assert_eq!(rows(&mut ledger), [(7, 500)]);
    // Its number was closed while a duplicate was not known yet; or another process has it now.
    ledger.settle(at(2_000), Vec::new());
    ledger.settle(at(3_000), Vec::new());
    ledger.settle(at(4_000), vec![seen(8, 1, Some(at(0)), engines(900))]);
    assert_eq!(rows(&mut ledger), [(8, 400)]);
}

#[test]
fn while_a_card_sleeps_its_users_stay_and_use_nothing() {
    assert_eq!(
        alone(&[
            cycles(1_000, &[("rcs", 0, 1)]),
            cycles(2_000, &[("rcs", 500, 1)]),
            None,
            None,
            // One second awake of three: the ticks are about that second.
            cycles(3_000, &[("rcs", 1_000, 1)]),
        ]),
        [0, 500, 500, 500, 1_000]
    );
}

#[test]
fn the_pace_of_a_clock_is_not_taken_across_a_sleep() {
    let mut ledger = Ledger::default();
    let old = |engines| seen(7, 1, None, engines);
    ledger.settle(at(0), vec![old(cycles(1_000, &[("rcs", 0, 1)]))]);
    ledger.settle(at(1_000), vec![old(None)]);
    // 1000 ticks a second, of which the clock saw none in the sleep of 9 s; 8 is new and was busy for 300 of them.
    let new = |clock, used| seen(8, 2, Some(at(10_000)), cycles(clock, &[("rcs", used, 1)]));
    ledger.settle(
        at(10_500),
        vec![old(cycles(1_500, &[("rcs", 0, 1)])), new(1_500, 300)],
    );
    assert_eq!(rows(&mut ledger), [(7, 0), (8, 0)]);
    ledger.settle(
        at(11_500),
        vec![old(cycles(2_500, &[("rcs", 0, 1)])), new(2_500, 300)],
    );
    assert_eq!(rows(&mut ledger), [(7, 0), (8, 300)]);
}

#[test]
fn a_file_of_cycles_that_shows_more_than_fits_is_a_base_too() {
    let mut ledger = Ledger::default();
    let old = |clock| seen(7, 1, None, cycles(clock, &[("rcs", 0, 1)]));
    ledger.settle(at(0), vec![old(1_000)]);
    // 1000 ticks a second: 5 s of use cannot be of the last second.
    let new = |clock, used| seen(8, 2, Some(at(0)), cycles(clock, &[("rcs", used, 1)]));
    ledger.settle(at(1_000), vec![old(2_000), new(2_000, 5_000)]);
    assert_eq!(rows(&mut ledger), [(7, 0), (8, 0)]);
    ledger.settle(at(2_000), vec![old(3_000), new(3_000, 5_400)]);
    assert_eq!(rows(&mut ledger), [(7, 0), (8, 400)]);
}

#[test]
fn nobody_has_used_a_card_for_longer_than_he_can_have_held_a_file_on_it() {
    let mut ledger = Ledger::default();
    let first = |milliseconds| seen(7, 1, Some(at(9_000)), nanos(&[("gfx", milliseconds, 1)]));
    ledger.settle(at(10_000), vec![first(1_000)]);
    // Another file of those two seconds, on another kind of engine: one second of it is paid already.
    let second = seen(7, 2, Some(at(9_000)), nanos(&[("dec", 2_000, 1)]));
    ledger.settle(at(11_000), vec![first(2_000), second]);
    assert_eq!(rows(&mut ledger), [(7, 2_000)]);
}

#[test]
fn a_file_that_may_be_older_than_the_one_that_was_found_first_counts_from_then() {
    let mut ledger = Ledger::default();
    let first = seen(7, 1, None, nanos(&[("gfx", 90_000, 1)]));
    ledger.settle(at(10_000), vec![first.clone()]);
    let second = seen(7, 2, Some(at(9_000)), nanos(&[("gfx", 1_500, 1)]));
    ledger.settle(at(11_000), vec![first, second]);
    assert_eq!(rows(&mut ledger), [(7, 1_500)]);
}

#[test]
fn two_readings_of_one_moment_lose_nothing() {
    let mut ledger = Ledger::default();
    let engines = |milliseconds| nanos(&[("gfx", milliseconds, 1)]);
    for (moment, milliseconds) in [(0, 0), (1_000, 400), (1_000, 450), (900, 460), (2_000, 900)] {
        ledger.settle(at(moment), vec![seen(7, 1, None, engines(milliseconds))]);
    }
    assert_eq!(rows(&mut ledger), [(7, 900)]);
}

#[test]
fn files_are_bounded_and_those_beyond_are_told() {
    let mut ledger = Ledger::default();
    let many = (0..MOST_FILES as u64 + 3)
        .map(|id| seen(7, id, None, nanos(&[])))
        .collect();
    let too_many = Settled {
        implausible: 0,
        too_many: 3,
    };
    assert_eq!(ledger.settle(at(0), many), too_many);
}

/// What is seen at one reading: up to four files with any counters, in any of three processes.
fn reading() -> impl Strategy<Value = Vec<(u32, u64, Option<u64>, u64, u64, bool)>> {
    let counter = prop_oneof![0..20_000_u64, any::<u64>()];
    let file = (
        1..4_u32,
        0..4_u64,
        prop::option::of(0..5_000_u64),
        counter,
        any::<u64>(),
        any::<bool>(),
    );
    prop::collection::vec(file, 0..6)
}

proptest! {
    #[test]
    fn no_counters_lower_a_total_or_make_it_longer_than_the_time(
        readings in prop::collection::vec((1..5_000_u64, reading()), 1..30),
        capacity in 1..5_u64,
    ) {
        let mut ledger = Ledger::default();
        let mut totals = std::collections::HashMap::new();
        let mut now = 5_000;
        for (passed, files) in readings {
            now += passed;
            let sightings = files
                .into_iter()
                .map(|(pid, id, ago, milliseconds, clock, asleep)| {
                    let engines = if id % 2 == 0 {
                        nanos(&[("a", milliseconds % (u64::MAX / MS), capacity), ("b", 3, 1)])
                    } else {
                        cycles(clock, &[("a", milliseconds, capacity)])
                    };
                    let since = ago.map(|ago| at(now - ago));
                    seen(pid, id, since, engines.filter(|_| !asleep))
                })
                .collect();
            ledger.settle(at(now), sightings);
            let told: std::collections::HashMap<u32, u64> =
                ledger.users(0).iter().map(|user| (user.pid, user.used.as_nanos())).collect();
            for (pid, used) in &told {
                prop_assert!(totals.get(pid).is_none_or(|before| used >= before));
                // The clock began at 0 ms, and nobody was there before.
                prop_assert!(*used <= now * MS);
            }
            // Who is not told any more begins again.
            totals = told;
        }
    }

    #[test]
    fn steady_use_is_paid_to_the_nanosecond_however_uneven_the_readings_are(
        steps in prop::collection::vec((100..3_000_u64, 0..=1_000_u64), 1..40),
    ) {
        let mut ledger = Ledger::default();
        let (mut now, mut used) = (0, 77);
        ledger.settle(at(now), vec![seen(7, 1, None, nanos(&[("gfx", used, 1)]))]);
        for (passed, permille) in steps {
            now += passed;
            used += passed * permille / 1_000;
            ledger.settle(at(now), vec![seen(7, 1, None, nanos(&[("gfx", used, 1)]))]);
        }
        prop_assert_eq!(rows(&mut ledger), [(7, used - 77)]);
    }

    #[test]
    fn however_many_hold_a_file_their_parts_are_the_whole(
        pids in prop::collection::btree_set(1..50_u32, 1..20),
        nanoseconds in 0..1_000_000_000_u64,
    ) {
        let mut ledger = Ledger::default();
        let engines = |nanos| Some(vec![Engine { name: Box::from("gfx"), capacity: 1, busy: Busy::Nanos(nanos) }]);
        let all = |nanos| pids.iter().map(|pid| seen(*pid, 1, None, engines(nanos))).collect();
        ledger.settle(at(0), all(0));
        ledger.settle(at(1_000), all(nanoseconds));
        let sum: u64 = ledger.users(0).iter().map(|user| user.used.as_nanos()).sum();
        prop_assert_eq!(sum, nanoseconds);
    }
}
