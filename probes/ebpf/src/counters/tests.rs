// SPDX-License-Identifier: Apache-2.0
//! Scaling, and the words for what is missing.

use super::*;
use std::io::Write as _;

fn reading(enabled_ns: u64, count: u64, missed_ns: u64) -> HardwareValue {
    HardwareValue {
        enabled_ns: [enabled_ns, 0, 0, 0],
        count: [count, 0, 0, 0],
        missed_ns: [missed_ns, 0, 0, 0],
    }
}

/// What the first counter rose by at each reading.
fn rises<const N: usize>(readings: [HardwareValue; N]) -> [u64; N] {
    let mut tally = Tally::default();
    readings.map(|reading| tally.advance(&reading)[0])
}

#[test]
fn a_counter_that_always_ran_is_taken_as_it_is() {
    assert_eq!(rises([reading(100, 7, 0), reading(300, 8, 0)]), [7, 1]);
}

#[test]
fn a_counter_that_took_turns_speaks_for_the_time_it_missed() {
    // ran 100, of it 75 missed: 10 in a quarter of the time; then 100 more with nothing missed
    assert_eq!(rises([reading(100, 10, 75), reading(200, 20, 75)]), [40, 10]);
}

#[test]
fn a_counter_without_a_turn_waits_and_is_paid_with_the_next() {
    // 100 ns without a turn, then 100 ns of which half
    assert_eq!(
        rises([reading(100, 0, 100), reading(200, 5, 150), reading(300, 6, 150)]),
        [0, 20, 1]
    );
    // one part in a hundred is too little to speak for the rest
    assert_eq!(rises([reading(10_000, 1, 9_900)]), [0]);
}

#[test]
fn a_row_that_began_again_counts_whole() {
    assert_eq!(rises([reading(100, 7, 0), reading(50, 3, 0)]), [7, 3]);
}

#[test]
fn a_place_without_a_counter_counts_nothing() {
    let mut counters = [None; COUNTERS];
    counters[2] = Some(GENERIC[2]);
    let counts = counts(&counters, [1, 2, 3, 4]);
    assert_eq!(counts, EventCounts::ZERO.with(Event::Instructions, 3));
}

#[test]
fn a_refusal_says_what_to_do() {
    let text = |code| explain(&io::Error::from_raw_os_error(code));
    assert!(text(libc::EACCES).contains("perf_event_paranoid"));
    assert!(text(libc::ENOENT).contains("virtual machine"));
    assert!(text(libc::EMFILE).contains("LimitNOFILE"));
}

#[test]
fn a_machine_without_a_pmu_has_no_counter_and_says_so() {
    // No PMU has an event of this number, so that it is refused everywhere.
    let never = Counter {
        event: Event::CpuCycles,
        source: PerfEvent {
            kind: HARDWARE,
            config: 0xffff,
        },
    };
    let open = Open::on(&[never], &[0]);
    assert_eq!((open.mask(), open.events()), (0, EventSet::NONE));
    assert!(open.missing[0].starts_with("cpu_cycles: "), "{:?}", open.missing);
}

/// Reads as a perf event that has counted so much.
fn event(counted: u64) -> OwnedFd {
    let (event, mut kernel) = io::pipe().unwrap();
    let mut reading = [0; 24];
    reading[..8].copy_from_slice(&counted.to_ne_bytes());
    kernel.write_all(&reading).unwrap();
    event.into()
}

/// Two counters, in the first and the last place, on two CPUs.
fn two_counters(first: [u64; 2], last: [u64; 2]) -> Open {
    let mut open = Open::default();
    for (place, counted) in [(0, first), (COUNTERS - 1, last)] {
        open.counters[place] = Some(GENERIC[place]);
        let on_cpu = |(cpu, counted)| (place, cpu, event(counted));
        open.descriptors.extend((0_u32..).zip(counted).map(on_cpu));
    }
    open
}

#[test]
fn a_counter_that_no_cpu_moves_is_dropped_and_named_and_one_that_any_cpu_moves_stays() {
    let mut open = two_counters([0, 5], [0, 0]);
    open.drop_dead();
    assert_eq!(open.mask(), 1);
    assert_eq!(open.events(), EventSet::NONE.with(Event::CpuCycles));
    assert_eq!(open.missing.len(), 1, "{:?}", open.missing);
    assert!(
        open.missing[0].starts_with("cache_miss: opens but does not count"),
        "{:?}",
        open.missing
    );
    let places: Vec<_> = open
        .descriptors
        .iter()
        .map(|(place, cpu, _)| (*place, *cpu))
        .collect();
    assert_eq!(places, [(0, 0), (0, 1)]);
}

#[test]
fn an_event_that_cannot_be_read_counts_nothing() {
    let (event, _) = io::pipe().unwrap();
    assert_eq!(count_of(&event.into()), 0);
}

#[test]
fn counters_that_are_given_up_are_closed_and_the_reason_is_said() {
    let mut open = two_counters([1, 1], [1, 1]);
    assert_eq!(open.mask(), 0b1001);
    open.give_up("the map has no room");
    assert_eq!((open.mask(), open.events()), (0, EventSet::NONE));
    assert!(open.descriptors.is_empty());
    assert_eq!(open.missing, ["the map has no room"]);
}
