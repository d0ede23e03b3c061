// SPDX-License-Identifier: Apache-2.0
//! A row of a machine that sleeps.

use super::{JOULE, ZONE, burner, first_bill, may_change_the_machine, row_of};
use integration_tests::figures::{integer, rows};
use integration_tests::trial::{Plan, START, Trial};
use integration_tests::{say, skip};
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;
use std::fs;
use std::time::Duration;

/// Seconds that the machine has slept since it was booted.
fn slept() -> i64 {
    clock_gettime(ClockId::Boottime).tv_sec - clock_gettime(ClockId::Monotonic).tv_sec
}

#[test]
fn the_machine_sleeps_and_wakes() {
    let plan = Plan {
        name: "sleep",
        thing: "the machine",
        injected: "it sleeps (ACPI S3) for some seconds and is woken; the meter of a zone of 20 W at most counted 60 J meanwhile, which are more than a second can have",
        must: "the 60 J are paid once, and the night's part of them is idle energy; nobody is charged CPU time for the night; windows go on",
    };
    if !may_change_the_machine() {
        return;
    }
    // Deep sleep, out of which the emulator can wake the guest; out of s2idle it cannot.
    if !fs::read_to_string("/sys/power/mem_sleep").is_ok_and(|modes| modes.contains("[deep]")) {
        return skip("this kernel knows no deep sleep");
    }
    // In a window of half a second, and what going to sleep and waking takes, 12 to 30 J are believed.
    let mut trial = Trial::begin(plan, &["sources.rapl.max_watts.package=20"]);
    let burner = burner("1");
    first_bill(&trial, burner.0.id());
    let before = trial.windows(1);
    let ran = integer(row_of(&before, burner.0.id()).expect("its row"), "cpu_ns");
    let began = slept();
    trial.meter.set(ZONE, START + 62 * JOULE);
    // Whoever reads this (guest/lib.sh) wakes the guest.
    say("@asleep");
    fs::write("/sys/power/state", "mem").expect("it sleeps");
    say("@awake");
    let night = slept() - began;
    assert!(night >= 4, "it slept for {night} s, in which 20 W are no 60 J");
    trial.wait_for_paid("package", 0, 62 * JOULE);
    let after = trial.windows(3);
    let row = row_of(&after, burner.0.id()).expect("its row");
    let moment = |snapshot: &Value| snapshot["window"]["ended_ns"].as_u64().expect("a moment");
    let (passed, charged) = (moment(&after) - moment(&before), integer(row, "cpu_ns") - ran);
    assert!(charged <= passed + 1_000_000_000, "{charged} ns in {passed} ns");
    let told = f64::from(u32::try_from(night).expect("a short night"));
    trial.wait_for_about("kepler_suspended_seconds_total", &[], told, 1.5);
    // The reading before the night and the one after it lie within these windows.
    let nights = 60.0 * told / (told + Duration::from_nanos(passed).as_secs_f64());
    let idle = idle_joules(&after);
    assert!(idle >= nights * 0.9, "{idle} J of {nights} J are idle energy");
    trial.saw(format!(
        "60 J of 60 J paid after {night} s of sleep, {idle:.0} J of them as idle energy"
    ));
    trial.end();
}

/// Idle energy of the zone that the tests move; there is no floor.
fn idle_joules(snapshot: &Value) -> f64 {
    let mut zones = rows(snapshot, "zones").iter();
    let zone = zones.find(|zone| zone["component"] == "package" && zone["place"] == "socket0");
    zone.expect("the zone")["idle_uj"].as_f64().expect("a number") / 1e6
}
