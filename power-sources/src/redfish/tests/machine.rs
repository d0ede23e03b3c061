// SPDX-License-Identifier: Apache-2.0
//! What is asked when, and what answers come to, in a time that the test makes.

use super::super::access::Mode;
use super::super::config::Preference;
use super::super::failure::{Failure, Kind};
use super::super::machine::Machine;
use super::super::policy::{Outcome, Policy, Step};
use super::{Drive, Tree, link, policy, seconds};
use attribution::model::{ErrorReason, Provenance};
use proptest::prelude::*;
use serde_json::json;
use std::time::Duration;

const ENVIRONMENT: &str = "/redfish/v1/Chassis/1U/EnvironmentMetrics";

/// One chassis with so many watts.
fn one(watts: u64) -> Tree {
    let mut tree = Tree::with_chassis(&["1U"]);
    tree.watts("1U", json!(watts));
    tree
}

fn basic() -> Policy {
    Policy {
        mode: Mode::Basic,
        ..policy()
    }
}

fn session() -> Policy {
    Policy {
        mode: Mode::Session,
        ..policy()
    }
}

#[test]
fn power_is_asked_for_at_each_interval_and_integrated_over_the_time_between_two_answers() {
    let mut drive = Drive::new(one(300), policy());
    drive.until(101);
    // The walk takes four requests of 100 ms; then a reading every ten seconds.
    assert_eq!(drive.asked("/redfish/v1/"), 1);
    let times: Vec<_> = drive
        .steps
        .iter()
        .filter(|(_, step)| matches!(step, Step::Get(path) if **path == *ENVIRONMENT))
        .map(|(second, _)| *second)
        .collect();
    assert_eq!(times, [0, 0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100]);
    assert_eq!(drive.joules(), [("1U".to_owned(), 30_000)]);
    let (reading, answered) = drive.machine.readings().remove(0);
    assert_eq!(reading.provenance, Provenance::Integrated);
    // The middle of a request that began at 100.4 s and took 0.1 s.
    assert_eq!(reading.at.as_nanos(), 100_450_000_000);
    assert_eq!(answered, reading.at);
}

#[test]
fn a_slow_bmc_is_read_on_while_its_tree_is_walked_again() {
    let parts: Vec<_> = (0..40).map(|number| format!("GPU{number}")).collect();
    let mut ids: Vec<_> = parts.iter().map(String::as_str).collect();
    ids.push("1U");
    let mut tree = Tree::with_chassis(&ids);
    for part in &parts {
        tree.chassis(part, json!({ "ChassisType": "Module" }));
    }
    tree.watts("1U", json!(300));
    let mut drive = Drive::new(tree, policy());
    // A walk takes a minute and a half.
    drive.each = Duration::from_secs(2);
    drive.until(3_600);
    let before = drive.joules()[0].1;
    drive.until(4_200);
    assert_eq!(drive.asked("/redfish/v1/"), 2, "it was walked again");
    assert_eq!(drive.errors(), []);
    let joules = drive.joules()[0].1 - before;
    assert!((174_000..=186_000).contains(&joules), "{joules} J in ten minutes");
    let times: Vec<_> = drive
        .steps
        .iter()
        .filter(|(_, step)| matches!(step, Step::Get(path) if **path == *ENVIRONMENT))
        .map(|(second, _)| *second)
        .skip(2)
        .collect();
    assert!(times.windows(2).all(|two| two[1] - two[0] <= 14), "{times:?}");
    // One whose rounds take longer than the interval still comes to the end of a walk.
    drive.each = Duration::from_secs(11);
    drive.until(9_000);
    assert_eq!(drive.asked("/redfish/v1/"), 3);
}

#[test]
fn a_counter_is_counted_and_a_long_silence_is_paid_when_it_ends() {
    let mut tree = Tree::with_chassis(&["1U"]);
    let counter = |joules: u64| json!({ "EnergyJoules": { "Reading": joules } });
    tree.resource("1U", "EnvironmentMetrics", counter(1_000));
    let mut drive = Drive::new(tree, policy());
    drive.until(5);
    drive.tree.failures.insert("*".to_owned(), Kind::Unreachable);
    drive.until(1_000);
    drive.tree.failures.clear();
    drive.tree.resource("1U", "EnvironmentMetrics", counter(301_000));
    drive.until(1_100);
    assert_eq!(drive.joules(), [("1U".to_owned(), 300_000)]);
    assert_eq!(drive.machine.readings()[0].0.provenance, Provenance::Counted);
}

#[test]
fn a_counter_is_paid_for_a_night_in_which_nobody_asked_it() {
    // Asleep before the question, and between question and answer.
    for before in [Duration::from_secs(3_600), Duration::ZERO] {
        let mut tree = Tree::with_chassis(&["1U"]);
        let counter = |joules: u64| json!({ "EnergyJoules": { "Reading": joules } });
        tree.resource("1U", "EnvironmentMetrics", counter(1_000));
        let mut drive = Drive::new(tree, policy());
        drive.until(5);
        drive
            .tree
            .resource("1U", "EnvironmentMetrics", counter(3_601_000));
        drive.slept = (before, Duration::from_secs(3_600));
        drive.until(15);
        assert_eq!(drive.joules(), [("1U".to_owned(), 3_600_000)]);
        assert_eq!(drive.errors(), []);
    }
}

#[test]
fn watts_of_a_long_silence_are_not_made_up() {
    let mut drive = Drive::new(one(300), policy());
    drive.until(11);
    let before = drive.joules();
    drive.tree.failures.insert("*".to_owned(), Kind::Unreachable);
    drive.until(1_000);
    assert_eq!(drive.joules(), before);
    drive.tree.failures.clear();
    // Unreachable at the most for another minute.
    drive.until(1_061);
    let after = drive.joules()[0].1;
    assert!(after <= before[0].1 + 61 * 300, "{after} J after {before:?}");
    assert!(
        drive
            .errors()
            .contains(&("platform/1U".to_owned(), ErrorReason::Timeout, 1)),
        "{:?}",
        drive.errors()
    );
}

#[test]
fn a_bmc_that_cannot_be_reached_is_asked_with_back_off_and_jitter() {
    let mut tree = one(300);
    tree.failures.insert("*".to_owned(), Kind::Unreachable);
    let mut drive = Drive::new(tree, policy());
    drive.until(600);
    let tries: Vec<_> = drive.steps.iter().map(|(second, _)| *second).collect();
    // At least half of 1, 2, 4, 8, 16, 32, 60, 60 ... s lies between two, and not more than all.
    assert!((14..=30).contains(&tries.len()), "{tries:?}");
    let last = tries.windows(2).map(|two| two[1] - two[0]).skip(7);
    assert!(last.clone().all(|gap| (30..=61).contains(&gap)), "{tries:?}");
    assert!(last.min() < Some(55), "jitter: {tries:?}");
    assert_eq!(
        drive.errors(),
        [(String::new(), ErrorReason::Io, tries.len() as u64)]
    );
    drive.tree.failures.clear();
    drive.until(661);
    assert_eq!(
        drive.joules().len(),
        1,
        "it came back and nobody had to do anything"
    );
}

#[test]
fn one_chassis_that_fails_costs_itself_only() {
    let mut tree = Tree::with_chassis(&["A", "B"]);
    tree.watts("A", json!(100));
    tree.watts("B", json!(200));
    let mut drive = Drive::new(tree, policy());
    drive.until(5);
    for kind in [
        Kind::Timeout,
        Kind::Failing,
        Kind::Broken,
        Kind::Garbled,
        Kind::Forbidden,
    ] {
        let before = drive.joules();
        let now = drive.now.as_nanos() / 1_000_000_000;
        drive
            .tree
            .failures
            .insert("/redfish/v1/Chassis/A/EnvironmentMetrics".to_owned(), kind);
        drive.until(now + 30);
        drive.tree.failures.clear();
        let after = drive.joules();
        assert_eq!(after[0], before[0], "{kind:?}");
        assert!(after[1].1 > before[1].1, "{kind:?}");
        drive.until(now + 50);
        assert!(drive.joules()[0].1 > before[0].1, "{kind:?}: it came back");
    }
}

#[test]
fn bad_figures_are_counted_and_never_billed() {
    for (watts, reason) in [
        (json!(null), ErrorReason::Parse),
        (json!("N/A"), ErrorReason::Parse),
        (json!(-5), ErrorReason::Implausible),
        (json!(0), ErrorReason::Implausible),
        (json!(4_294_967.295), ErrorReason::Implausible),
    ] {
        let mut drive = Drive::new(one(300), policy());
        drive.until(11);
        let before = drive.joules();
        drive.tree.watts("1U", watts.clone());
        drive.until(31);
        assert_eq!(drive.joules(), before, "{watts}");
        assert_eq!(drive.errors(), [("platform/1U".to_owned(), reason, 2)], "{watts}");
        let words = drive.machine.errors()[0].latest.to_string();
        assert!(words.starts_with(ENVIRONMENT), "{words}");
        drive.tree.watts("1U", json!("300"));
        drive.until(41);
        // The gap is a short one, so it is billed by what is known of its ends.
        assert_eq!(drive.joules(), [("1U".to_owned(), 12_000)], "{watts}");
    }
}

#[test]
fn a_resource_that_gives_nothing_six_times_or_vanishes_is_looked_for_elsewhere() {
    let mut drive = Drive::new(one(300), policy());
    drive.until(5);
    drive.tree.resource(
        "1U",
        "Power",
        json!({ "PowerControl": [{ "PowerConsumedWatts": 200 }] }),
    );
    drive.tree.watts("1U", json!(null));
    drive.until(59);
    assert!(drive.machine.chosen().contains("PowerWatts"));
    drive.until(70);
    assert!(drive.machine.chosen().contains("PowerControl/0"));
    drive.tree.documents.remove("/redfish/v1/Chassis/1U/Power");
    drive.tree.watts("1U", json!(300));
    drive.until(82);
    assert!(drive.machine.chosen().contains("PowerWatts"));
    assert_eq!(drive.joules().len(), 1);
}

#[test]
fn a_counter_that_stands_still_is_left_for_power() {
    let mut tree = Tree::with_chassis(&["1U"]);
    let both = json!({ "EnergyJoules": { "Reading": 5_000 }, "PowerWatts": { "Reading": 300 } });
    tree.resource("1U", "EnvironmentMetrics", both.clone());
    let mut drive = Drive::new(tree, policy());
    drive.until(100);
    assert!(drive.machine.chosen().contains("PowerWatts"));
    assert!(drive.joules()[0].1 >= 15_000, "{:?}", drive.joules());
    assert_eq!(
        drive.errors(),
        [("platform/1U".to_owned(), ErrorReason::Implausible, 1)]
    );

    let mut tree = Tree::with_chassis(&["1U"]);
    tree.resource("1U", "EnvironmentMetrics", both);
    let energy = Policy {
        reading: Preference::Energy,
        ..policy()
    };
    let mut drive = Drive::new(tree, energy);
    drive.until(100);
    assert!(
        drive.machine.chosen().contains("EnergyJoules"),
        "who asks for it gets it"
    );
    assert_eq!(drive.errors(), []);
}

#[test]
fn supplies_are_asked_one_after_the_other_and_their_sum_is_of_the_middle_of_that_time() {
    let mut tree = Tree::with_chassis(&["1U"]);
    let base = "/redfish/v1/Chassis/1U/PowerSubsystem";
    tree.set(
        base,
        json!({ "PowerSupplies": link(&format!("{base}/PowerSupplies")) }),
    );
    let bays = [
        format!("{base}/PowerSupplies/1"),
        format!("{base}/PowerSupplies/2"),
    ];
    tree.set(
        &format!("{base}/PowerSupplies"),
        super::members(&[&bays[0], &bays[1]]),
    );
    for (bay, watts) in bays.iter().zip([100, 200]) {
        tree.set(bay, json!({ "Metrics": link(&format!("{bay}/Metrics")) }));
        tree.set(
            &format!("{bay}/Metrics"),
            json!({ "InputPowerWatts": { "Reading": watts } }),
        );
    }
    let mut drive = Drive::new(tree, policy());
    drive.until(15);
    assert_eq!(drive.joules(), [("1U".to_owned(), 3_000)]);
    let at = drive.machine.readings()[0].0.at.as_nanos() / 1_000_000;
    assert_eq!(
        at % 1_000,
        (at - 100) % 1_000 + 100,
        "0.1 s after the first of both began"
    );
}

#[test]
fn with_basic_authentication_the_credentials_are_read_first() {
    let mut drive = Drive::new(one(300), basic());
    drive.until(25);
    assert_eq!(drive.steps[0].1, Step::Credentials);
    let reads = drive.steps.iter().filter(|(_, step)| *step == Step::Credentials);
    assert_eq!(reads.count(), 1);
    assert_eq!(drive.joules(), [("1U".to_owned(), 6_000)]);
}

#[test]
fn a_session_is_made_where_the_root_says_and_made_again_when_it_ended() {
    let mut tree = one(300);
    let root = json!({ "Chassis": link("/redfish/v1/Chassis"), "Links": { "Sessions": link("/sessions") } });
    tree.set("/redfish/v1/", root);
    let mut drive = Drive::new(tree, session());
    drive.until(15);
    let log_ins = |drive: &Drive| {
        let is_it = |(_, step): &&(u64, Step)| *step == Step::LogIn("/sessions".into());
        drive.steps.iter().filter(is_it).count()
    };
    assert_eq!(log_ins(&drive), 1);
    // One 401, and the next answer is good again.
    let step = loop {
        match drive.machine.next(drive.now) {
            Step::Wait(until) => drive.now = until,
            step => break step,
        }
    };
    let failure = Failure::new(Kind::Unauthorized, "401");
    drive
        .machine
        .take(&step, (drive.now, drive.now).into(), Outcome::Failed(failure));
    drive.until(35);
    assert_eq!(log_ins(&drive), 2);
    assert_eq!(drive.joules(), [("1U".to_owned(), 9_000)]);
    assert_eq!(drive.errors(), [], "a session that ends is no failure");
}

#[test]
fn a_refused_password_waits_long_and_is_counted_as_auth() {
    for policy in [basic(), session()] {
        let mut tree = one(300);
        tree.failures
            .insert("/redfish/v1/Chassis".to_owned(), Kind::Unauthorized);
        let mut drive = Drive::new(tree, policy);
        drive.until(3_600);
        let tries = drive.asked("/redfish/v1/Chassis");
        // 5, 10, 20, 40 min, each less up to a half.
        assert!((4..=6).contains(&tries), "{tries} tries in an hour");
        assert_eq!(drive.errors(), [(String::new(), ErrorReason::Auth, tries as u64)]);
        assert!(drive.machine.readings().is_empty());
        drive.tree.failures.clear();
        drive.until(3_600 * 3);
        assert_eq!(drive.joules().len(), 1, "the account was allowed again");
    }
}

#[test]
fn a_new_password_is_tried_at_once() {
    let mut tree = one(300);
    tree.failures
        .insert("/redfish/v1/Chassis".to_owned(), Kind::Unauthorized);
    let mut drive = Drive::new(tree, basic());
    drive.until(50);
    assert_eq!(drive.asked("/redfish/v1/Chassis"), 1);
    let looks = drive.steps.iter().filter(|(_, step)| *step == Step::Credentials);
    assert_eq!(looks.count(), 6, "the file is looked at every ten seconds");
    drive.tree.failures.clear();
    let mut now = drive.now;
    while drive.machine.next(now) != Step::Credentials {
        now = now.after(Duration::from_millis(100));
    }
    drive.machine.take(
        &Step::Credentials,
        (now, now).into(),
        Outcome::Credentials { changed: true },
    );
    drive.now = now;
    drive.until(75);
    assert_eq!(drive.joules().len(), 1);
}

#[test]
fn where_even_the_root_is_closed_a_session_is_made_first() {
    let mut machine = Machine::new(session(), 1);
    let now = seconds(1);
    let mut asked = Vec::new();
    for _ in 0..4 {
        let step = machine.next(now);
        let outcome = match &step {
            Step::Credentials => Outcome::Credentials { changed: true },
            Step::LogIn(_) => Outcome::LoggedIn,
            _ => Outcome::Failed(Failure::new(Kind::Unauthorized, "401")),
        };
        machine.take(&step, (now, now).into(), outcome);
        asked.push(step);
    }
    let root = Step::Get("/redfish/v1/".into());
    let log_in = Step::LogIn("/redfish/v1/SessionService/Sessions".into());
    assert_eq!(asked, [Step::Credentials, root, Step::Credentials, log_in]);
}

#[test]
fn a_password_file_that_cannot_be_read_is_waited_for() {
    let mut machine = Machine::new(basic(), 1);
    let mut now = seconds(1);
    let failure = Failure::new(Kind::Failing, "password_file /p: No such file");
    for _ in 0..3 {
        let step = machine.next(now);
        assert_eq!(step, Step::Credentials);
        machine.take(&step, (now, now).into(), Outcome::Failed(failure.clone()));
        let Step::Wait(until) = machine.next(now) else {
            panic!("it does not wait");
        };
        now = until;
    }
    assert_eq!(machine.errors()[0].count, 3);
}

/// Anything that can come of a request.
fn outcome() -> impl Strategy<Value = Outcome> {
    let kinds = prop_oneof![
        Just(Kind::Unreachable),
        Just(Kind::Timeout),
        Just(Kind::Broken),
        Just(Kind::Unauthorized),
        Just(Kind::Forbidden),
        Just(Kind::Missing),
        Just(Kind::Unsupported),
        Just(Kind::Failing),
        Just(Kind::Garbled),
    ];
    let figure = |text: String| {
        let document = format!(
            "{{\"EnergyJoules\":{{\"Reading\":{text}}},\"PowerWatts\":{{\"Reading\":{text}}},\"PowerControl\":[{{\"PowerConsumedWatts\":{text}}}]}}"
        );
        Outcome::Body(document.into_bytes())
    };
    prop_oneof![
        4 => (0_u32..25_000).prop_map(move |watts| figure(watts.to_string())),
        1 => any::<f64>().prop_map(move |number| figure(json!(number).to_string())),
        1 => prop_oneof![Just("null"), Just("\"N/A\""), Just("-1"), Just("\"12.5\""), Just("{}"), Just("1e400"), Just("tru")]
            .prop_map(move |text| figure(text.to_owned())),
        2 => kinds.prop_map(|kind| Outcome::Failed(Failure::new(kind, "a test"))),
        1 => prop::collection::vec(any::<u8>(), 0..60).prop_map(Outcome::Body),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_sequence_of_answers_makes_a_total_fall_or_more_than_the_most_that_is_plausible(
        outcomes in prop::collection::vec((outcome(), 1_u64..20_000), 1..120),
        mode in 0..3_u8,
    ) {
        let mode = [Mode::Open, Mode::Basic, Mode::Session][usize::from(mode)];
        let mut machine = Machine::new(Policy { mode, ..policy() }, 7);
        let tree = one(300);
        let mut now = seconds(1);
        let mut before = 0;
        for (outcome, milliseconds) in outcomes {
            // The way to the next figure is free; what figures come to is what is tried.
            for _ in 0..40 {
                match machine.next(now) {
                    Step::Wait(until) => now = until.max(now),
                    step @ Step::Credentials => {
                        machine.take(&step, (now, now).into(), Outcome::Credentials { changed: true });
                    }
                    step @ Step::LogIn(_) => machine.take(&step, (now, now).into(), Outcome::LoggedIn),
                    Step::Get(path) if *path == *ENVIRONMENT => break,
                    step @ Step::Get(_) => {
                        let Step::Get(path) = &step else { unreachable!() };
                        let answer = tree.answer(path);
                        machine.take(&step, (now, now).into(), answer);
                    }
                }
            }
            let began = now;
            now = now.after(Duration::from_millis(milliseconds));
            let step = machine.next(began);
            machine.take(&step, (began, now).into(), outcome);
            let total: u64 = machine.readings().iter().map(|(reading, _)| reading.total.as_micro()).sum();
            prop_assert!(total >= before, "fell from {} to {}", before, total);
            before = total;
            // 20 kW from the first second on, and the slack of each of a counter's steps: 20 ms of that and 2 J.
            let most = u128::from(now.as_nanos()) * 20 + 402_000_000 * 121;
            prop_assert!(u128::from(total) <= most, "{} of {}", total, most);
            for (reading, answered) in machine.readings() {
                prop_assert!(reading.at <= answered && answered <= now);
            }
        }
    }
}
