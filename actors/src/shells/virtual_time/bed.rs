// SPDX-License-Identifier: Apache-2.0
//! A machine that sleeps between two windows: the paused clock stands still meanwhile, as `CLOCK_MONOTONIC` does.

use super::*;
use exporter::Clocks;
use std::cell::Cell;

thread_local! {
    static SLEPT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// All actors of a test are on its own thread.
pub(super) fn clocks() -> Clocks {
    Clocks {
        boot: SLEPT.get(),
        ..Clocks::default()
    }
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
