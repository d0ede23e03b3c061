// SPDX-License-Identifier: Apache-2.0
//! A row of the wall clock: it is set, and every figure is by the clock that nobody can set.

use super::{burner, first_bill, joules, may_change_the_machine, runs_on};
use integration_tests::http;
use integration_tests::trial::{Plan, Trial};
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

/// Puts the wall clock right again, however the test ends.
struct Moved(i64);

impl Moved {
    /// By so many seconds from where it is.
    fn by(&mut self, seconds: i64) {
        let now = clock_gettime(ClockId::Realtime);
        let time = Timespec {
            tv_sec: now.tv_sec + seconds,
            tv_nsec: now.tv_nsec,
        };
        clock_settime(ClockId::Realtime, time).expect("root may set it");
        self.0 += seconds;
    }
}

impl Drop for Moved {
    fn drop(&mut self) {
        self.by(-self.0);
    }
}

#[test]
fn the_wall_clock_is_set_forward_and_back() {
    let plan = Plan {
        name: "clock-set",
        thing: "wall clock (`CLOCK_REALTIME`)",
        injected: "set 2 h forward, then 4 h back, while a busy loop runs",
        must: "windows go on at their beat, each joule is paid once, CPU time goes on; moments are by `CLOCK_MONOTONIC`, and since when counters count (`_created`) does not move",
    };
    if !may_change_the_machine() {
        return;
    }
    let mut trial = Trial::begin(plan, &[]);
    let burner = burner("1");
    let mut ran = first_bill(&trial, burner.0.id());
    let (created, before) = (created(&trial), moment(&trial));
    let mut moved = Moved(0);
    for (paid, seconds, direction) in [(2, 7_200, "forward"), (5, -14_400, "back")] {
        moved.by(seconds);
        joules(&trial, paid, 3);
        ran = runs_on(&trial, burner.0.id(), ran);
        let direction = [("direction", direction)];
        trial.wait_for_about("kepler_clock_shift_seconds", &direction, 7_200.0, 30.0);
    }
    assert_eq!(self::created(&trial), created);
    let passed = (moment(&trial) - before) / 1_000_000_000;
    assert!(passed < 1_800, "{passed} s by the windows' clock");
    trial.saw("8 J of 8 J paid; moments and `_created` did not move");
    drop(moved);
    trial.end();
}

/// When the newest window ended, nanoseconds of the windows' clock.
fn moment(trial: &Trial) -> u64 {
    let ended = trial.windows(1)["window"]["ended_ns"].as_u64();
    ended.expect("a moment")
}

/// Since when windows are counted, as OpenMetrics tells it.
fn created(trial: &Trial) -> String {
    let accept = [("Accept", "application/openmetrics-text; version=1.0.0")];
    let page = http::get(trial.daemon.address, "/metrics", &accept).expect("an answer");
    let text = page.text();
    let line = text
        .lines()
        .find(|line| line.starts_with("kepler_windows_created"));
    line.expect("the moment since which it counts").to_owned()
}
