// SPDX-License-Identifier: Apache-2.0
//! Simulated zones whose truth is known: what is learned of them, and when it is not believed.

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const WHOLE: Smt = Smt::PLAIN;

/// Numbers from 0 to 99 that look like chance and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % 100
    }
}

/// A spinner (many cycles, no misses) and a streamer (few instructions, many misses) that run for hundredths of a second.
fn pair(spin: u64, stream: u64) -> [Rise; 2] {
    let ms = 10_000_000;
    [
        Rise {
            time: spin * ms,
            cycles: spin * ms * 3,
            instructions: spin * ms * 9,
            misses: 0,
            ..Rise::default()
        },
        Rise {
            time: stream * ms,
            cycles: stream * ms * 3,
            instructions: stream * ms,
            misses: stream * 100_000,
            ..Rise::default()
        },
    ]
}

fn paid(joules: f64, elapsed: Duration, plain: Feature) -> Paid {
    let micro = Microjoules::from_micro(nanojoules(joules) / 1_000);
    Paid {
        dynamic: micro,
        elapsed,
        teaches: true,
        plain,
        smt: WHOLE,
    }
}

/// Lets a window pass; the weights, if the learned ones are used.
fn window(learner: &mut Learner, paid: Paid, rises: &[Rise]) -> Option<Vec<u64>> {
    let (mut ids, mut weights) = (Vec::new(), Vec::new());
    let rises = rises.iter().map(|rise| (AccountId::default(), *rise));
    learner
        .weigh(paid, rises, &Rise::default(), &mut ids, &mut weights)
        .map(|_| weights)
}

/// The spinner draws 20 W and the streamer `stream` W; `windows` of a second.
fn taught(stream_watts: f64, windows: u32) -> (Learner, Option<Vec<u64>>) {
    let (mut learner, mut dice, mut last) = (Learner::default(), Dice(1), None);
    for _ in 0..windows {
        let (spin, stream) = (dice.roll(), dice.roll());
        let joules = float(spin) / 100.0 * 20.0 + float(stream) / 100.0 * stream_watts;
        last = window(
            &mut learner,
            paid(joules, SECOND, Feature::CpuCycles),
            &pair(spin, stream),
        );
    }
    let now = window(
        &mut learner,
        paid((20.0 + stream_watts) / 2.0, SECOND, Feature::CpuCycles),
        &pair(50, 50),
    );
    (learner, last.and(now))
}

#[test]
fn what_cycles_do_not_tell_is_learned_and_the_split_comes_near_the_truth() {
    let (learner, weights) = taught(5.0, 200);
    let weights = weights.expect("learned weights are better");
    let share = float(weights[0]) / float(weights[0] + weights[1]);
    assert!((share - 0.8).abs() < 0.02, "20 of 25 W: {share}");
    let fit = learner.fit().expect("believed");
    assert_eq!(fit.plain, Feature::CpuCycles);
    assert!(
        fit.learned_error < Permille(30) && fit.plain_error > Permille(150),
        "{fit:?}"
    );
}

#[test]
fn weights_that_foretell_no_better_than_the_plain_feature_are_not_used() {
    // Both draw the same per cycle: nothing to learn.
    let (learner, weights) = taught(20.0, 200);
    assert_eq!(weights, None);
    let fit = learner.fit().expect("believed");
    assert!(fit.plain_error < Permille(5), "{fit:?}");
}

#[test]
fn weights_that_one_jump_of_the_load_suited_are_not_used() {
    let (mut learner, mut dice, mut used) = (Learner::default(), Dice(1), 0);
    // Rest, and then a load that stays: power only wavers, and nothing tells why.
    for tick in 0..200_u64 {
        let (spin, stream) = if tick < 40 { (0, 1) } else { (50, 50) };
        let watts = if tick < 40 { 0.2 } else { 12.5 } + float(dice.roll()) / 1e3;
        let weights = window(
            &mut learner,
            paid(watts, SECOND, Feature::CpuCycles),
            &pair(spin, stream),
        );
        used += u32::from(weights.is_some());
    }
    assert_eq!(used, 0);
}

#[test]
fn nothing_is_believed_before_there_were_enough_windows() {
    let (learner, weights) = taught(5.0, 20);
    assert_eq!((weights, learner.fit()), (None, None));
}

#[test]
fn a_zone_that_no_longer_does_what_was_learned_falls_back() {
    let (mut learner, weights) = taught(5.0, 200);
    assert!(weights.is_some());
    // From now on power has nothing to do with anything: both are wrong, and the plain one is not worse.
    let (mut dice, mut used) = (Dice(9), 0);
    for tick in 0..400 {
        let watts = float(dice.roll());
        let is_used = window(
            &mut learner,
            paid(watts, SECOND, Feature::CpuCycles),
            &pair(30, 30),
        )
        .is_some();
        used += u32::from(is_used && tick > 100);
    }
    assert_eq!(used, 0);
}

#[test]
fn short_windows_gaps_and_wild_ones_teach_nothing_until_they_are_the_rule() {
    let (mut learner, _) = taught(5.0, 200);
    let before = *learner.all.weights();
    let truth = paid(12.5, SECOND, Feature::CpuCycles);
    window(
        &mut learner,
        paid(5_000.0, Duration::from_millis(49), Feature::CpuCycles),
        &pair(50, 50),
    );
    window(
        &mut learner,
        paid(5_000.0, Duration::from_secs(20), Feature::CpuCycles),
        &pair(50, 50),
    );
    for _ in 0..4 {
        window(
            &mut learner,
            paid(5_000.0, SECOND, Feature::CpuCycles),
            &pair(50, 50),
        );
    }
    assert_eq!(before, *learner.all.weights());
    window(&mut learner, truth, &pair(50, 50));
    for _ in 0..5 {
        window(
            &mut learner,
            paid(5_000.0, SECOND, Feature::CpuCycles),
            &pair(50, 50),
        );
    }
    assert_ne!(before, *learner.all.weights(), "five in a row are no accident");
}

#[test]
fn a_window_with_rows_that_are_not_known_any_more_teaches_nothing() {
    let mut learner = Learner::default();
    let unknown = Rise {
        time: 1,
        ..Rise::default()
    };
    for _ in 0..100 {
        let rises = pair(50, 20).map(|rise| (AccountId::default(), rise));
        let (mut ids, mut weights) = (Vec::new(), Vec::new());
        let paid = paid(9.0, SECOND, Feature::CpuCycles);
        assert_eq!(
            learner.weigh(paid, rises.into_iter(), &unknown, &mut ids, &mut weights),
            None
        );
    }
    assert_eq!(learner.all.samples(), 0);
}

#[test]
fn another_plain_feature_has_errors_of_its_own() {
    let (mut learner, _) = taught(5.0, 200);
    window(&mut learner, paid(12.5, SECOND, Feature::CpuTime), &pair(50, 50));
    assert_eq!(learner.fit(), None, "until the other one is believed");
}

/// Somebody who runs for hundredths of a second at so many tenths of a GHz.
fn at_a_pace(run: u64, tenths: u64) -> Rise {
    Rise {
        time: run * 10_000_000,
        cycles: run * 1_000_000 * tenths,
        ..Rise::default()
    }
}

/// Teaches windows of chance, whose energy `joules` says by seconds and GHz; how many of them the learned weights split.
fn teach(
    learner: &mut Learner,
    dice: &mut Dice,
    plain: Feature,
    windows: u32,
    joules: fn(f64, f64) -> f64,
) -> u32 {
    let used = (0..windows).filter(|_| {
        let (run, tenths) = (dice.roll(), 10 + dice.roll() % 40);
        let joules = joules(float(run) / 100.0, float(tenths) / 10.0);
        let rises = [at_a_pace(run, tenths)];
        window(learner, paid(joules, SECOND, plain), &rises).is_some()
    });
    u32::try_from(used.count()).unwrap()
}

#[test]
fn with_another_plain_feature_nothing_is_left_of_the_order_that_the_features_had() {
    let by_time = |seconds: f64, _: f64| 10.0 * seconds;
    let (mut learner, mut dice) = (Learner::default(), Dice(1));
    teach(&mut learner, &mut dice, Feature::CpuTime, 400, by_time);
    let mut fresh = (Learner::default(), Dice(dice.0));
    let used = teach(&mut learner, &mut dice, Feature::CpuCycles, 60, by_time);
    let expected = teach(&mut fresh.0, &mut fresh.1, Feature::CpuCycles, 60, by_time);
    assert_eq!(used, expected, "as if cycles had been counted from the beginning");
    assert!(expected > 20);
}

#[test]
fn many_cycles_in_no_time_are_no_clock_and_take_nobodys_place() {
    // Who runs faster pays more for each cycle.
    let by_frequency = |seconds: f64, gigahertz: f64| 2.0 * seconds * gigahertz * gigahertz;
    let (mut learner, mut dice) = (Learner::default(), Dice(1));
    teach(&mut learner, &mut dice, Feature::CpuCycles, 200, by_frequency);
    // The probe read the clock and then the counter: 100,000 cycles, 0.00007 of all, and a nanosecond.
    let odd = Rise {
        time: 1,
        cycles: 100_000,
        ..Rise::default()
    };
    for _ in 0..20 {
        let weights = window(
            &mut learner,
            paid(9.0, SECOND, Feature::CpuCycles),
            &[at_a_pace(50, 30), odd],
        );
        let weights = weights.expect("the learned ones");
        assert!(weights[1] < weights[0] / 1_000, "{weights:?}");
    }
}

/// Teaches an [`SmtLearner`] windows of (hundredths of a second alone, beside a sibling), at 10 W and `beside_watts`.
fn siblings(beside_watts: f64, windows: impl Iterator<Item = (u64, u64)>, cycles: bool) -> Option<Permille> {
    let mut learner = SmtLearner::default();
    for (alone, beside) in windows {
        let rise = Rise {
            time: (alone + beside) * 10_000_000,
            overlap: beside * 10_000_000,
            cycles: if cycles { (alone + beside) * 30_000_000 } else { 0 },
            ..Rise::default()
        };
        // And 3 W that the floor missed.
        let joules = float(alone) / 10.0 + float(beside) / 100.0 * beside_watts + 3.0;
        learner.learn(
            Microjoules::from_micro(nanojoules(joules) / 1_000),
            SECOND,
            [rise].into_iter(),
        );
    }
    learner.weight()
}

fn chance(windows: u32) -> impl Iterator<Item = (u64, u64)> {
    let mut dice = Dice(3);
    (0..windows).map(move |_| (dice.roll(), dice.roll()))
}

#[test]
fn what_siblings_cost_is_learned_from_a_nodes_own_power() {
    for cycles in [false, true] {
        assert_eq!(siblings(6.2, chance(300), cycles), Some(Permille(620)));
    }
    assert_eq!(
        siblings(10.5, chance(300), false),
        Some(Permille(1_000)),
        "no more than a core"
    );
    assert_eq!(
        siblings(4.5, chance(300), false),
        Some(Permille(500)),
        "no less than nothing"
    );
}

#[test]
fn what_siblings_cost_is_not_believed_without_reason() {
    assert_eq!(siblings(6.2, chance(59), false), None, "too few windows");
    assert_eq!(
        siblings(2.0, chance(300), false),
        None,
        "no hardware is like that"
    );
    let same = (0..300).map(|_| (50, 50));
    assert_eq!(siblings(6.2, same, false), None, "always the same");
    let as_one = chance(300).map(|(load, _)| (load, load));
    assert_eq!(siblings(6.2, as_one, false), None, "as one");
    let never = chance(300).map(|(load, _)| (load, 0));
    assert_eq!(siblings(6.2, never, false), None, "never beside");
}
