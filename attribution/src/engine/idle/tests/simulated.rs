// SPDX-License-Identifier: Apache-2.0
//! Machines whose power at rest is known: how near the learned floor comes, and how soon. Windows of one second; noise is
//! deterministic, so that a failure repeats.

use super::*;

const REST: f64 = 20.0;

/// A linear congruential generator (the constants of Numerical Recipes): enough for noise, and the same on every run.
struct Noise(u32);

impl Noise {
    /// Even in 0 to 1.
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(self.0 >> 8) / f64::from(1_u32 << 24)
    }

    /// Nearly normal, standard deviation 1.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.share()).sum::<f64>() - 6.0
    }
}

struct Machine {
    curve: fn(f64) -> f64,
    /// Standard deviation of a window's power, as a part of it.
    noise: f64,
    random: Noise,
    floor: Floor,
}

impl Machine {
    fn new(curve: fn(f64) -> f64) -> Self {
        Self {
            curve,
            noise: 0.02,
            random: Noise(1),
            floor: Floor::default(),
        }
    }

    fn window(&mut self, share: f64, rest: f64) {
        let power = rest - REST + (self.curve)(share);
        let power = power * (1.0 + self.noise * self.random.normal());
        learn(&mut self.floor, power, share);
    }

    /// `windows` of any load between two shares, which wanders as real load does and jumps now and then.
    fn wander(&mut self, windows: u32, from: f64, to: f64) {
        let mut share = (from + to) / 2.0;
        for _ in 0..windows {
            if self.random.share() < 0.1 {
                share = from + (to - from) * self.random.share();
            }
            share = (share + 0.02 * self.random.normal()).clamp(from, to);
            self.window(share, REST);
        }
    }
}

fn line(share: f64) -> f64 {
    REST + 80.0 * share
}

/// The first cores wake their socket.
fn concave(share: f64) -> f64 {
    REST + 15.0 * (1.0 - (-share / 0.05).exp()) + 60.0 * share
}

/// Turbo.
fn convex(share: f64) -> f64 {
    REST + 30.0 * share + 70.0 * share.powi(3)
}

#[test]
fn with_quiet_windows_the_floor_is_right_to_a_few_percent_whatever_the_curve() {
    for (name, curve, percent) in [
        ("line", line as fn(f64) -> f64, 2.0),
        ("concave", concave, 5.0),
        ("convex", convex, 2.0),
    ] {
        let mut machine = Machine::new(curve);
        for round in 0..20 {
            machine.wander(60, 0.002, 0.05);
            machine.wander(60, 0.0, 1.0);
            let watts = watts(&machine.floor).expect(name);
            let error = (watts - REST).abs() / REST * 100.0;
            assert!(error <= percent, "{name}, round {round}: {watts} W");
        }
        assert_eq!(now(&machine.floor).origin, FloorOrigin::Measured, "{name}");
        let told = now(&machine.floor).error.expect("an error").0;
        assert!(told < 100, "{name}: {told}");
    }
}

/// A hundred tasks that wake once a second: the first core that is awake wakes its socket, so a third of a percent of CPU
/// time draws two watts, always. How the count wavers tells them from rest.
#[test]
fn a_little_work_that_is_always_there_is_not_rest() {
    let mut machine = Machine::new(|share| REST + 600.0 * share);
    machine.noise = 0.000_5;
    for window in 0..600 {
        let share = 0.003 + 0.000_07 * machine.random.normal();
        machine.window(share, REST);
        if window >= 40 {
            near(&machine.floor, REST, 3.0);
        }
    }
    // On a meter that is noisier than that nobody can tell.
    let mut machine = Machine::new(|share| REST + 600.0 * share);
    for _ in 0..600 {
        let share = 0.003 + 0.000_07 * machine.random.normal();
        machine.window(share, REST);
    }
    near(&machine.floor, REST + 600.0 * 0.003, 2.0);
}

#[test]
fn a_node_that_is_busy_from_its_first_second_converges_to_within_15_percent() {
    let mut machine = Machine::new(line);
    let mut since = None;
    for window in 0..3_600 {
        machine.wander(1, 0.3, 1.0);
        let share = 0.3 + 0.7 * machine.random.share();
        machine.window(share, REST);
        let found = watts(&machine.floor).is_some_and(|watts| (watts - REST).abs() < 0.15 * REST);
        since = found.then(|| since.unwrap_or(window));
    }
    assert_eq!(now(&machine.floor).origin, FloorOrigin::Extrapolated);
    let since = since.expect("it converged and stayed");
    assert!(since < 300, "after {since} windows");
}

#[test]
fn a_busy_node_is_never_called_idle() {
    let mut machine = Machine::new(line);
    for window in 0..3_600 {
        let share = 0.5 + 0.5 * machine.random.share();
        machine.window(share, REST);
        let energy = joules(line(share));
        let idle = now(&machine.floor).idle_part(energy, SECOND, busy(share));
        let part = idle.as_micro() as f64 / energy.as_micro() as f64;
        assert!(part < 0.6, "window {window}: {part} of the energy at {share}");
    }
}

/// A curve that was never seen below 40 % is not known there: the floor is nearer than without it, and the error that
/// is told covers half of what is wrong at least.
#[test]
fn a_bent_curve_without_quiet_windows_gives_a_floor_of_its_order_or_none() {
    for (name, curve) in [("concave", concave as fn(f64) -> f64), ("convex", convex)] {
        let mut machine = Machine::new(curve);
        machine.wander(3_600, 0.4, 1.0);
        let found = now(&machine.floor);
        if let Some(watts) = watts(&machine.floor) {
            let lowest = curve(0.4);
            assert!(
                watts < lowest * 0.85,
                "{name}: {watts} W, all of the lowest {lowest} W"
            );
            assert!((watts - REST).abs() < REST, "{name}: {watts} W, {found:?}");
        } else {
            assert_eq!(found.origin, FloorOrigin::BusyRatio, "{name}");
        }
    }
}

#[test]
fn constant_full_load_falls_back_to_what_servers_usually_draw_at_rest_and_says_so() {
    let mut machine = Machine::new(line);
    for _ in 0..7_200 {
        machine.window(1.0, REST);
    }
    let found = now(&machine.floor);
    assert_eq!(found.origin, FloorOrigin::Typical);
    near(&machine.floor, 100.0 / 3.67, 2.0);
    // Of this machine a fifth is idle; the error that is told covers what is wrong.
    let error = f64::from(found.error.expect("an error").0) / 1e3;
    let watts = watts(&machine.floor).expect("a floor");
    assert!((watts - REST).abs() <= watts * error, "{found:?}");
}

#[test]
fn from_idle_to_full_load_idle_stays_the_floor_for_hours() {
    let mut machine = Machine::new(line);
    machine.noise = 0.01;
    for step in 0..=10 {
        let share = f64::from(step) / 10.0;
        for _ in 0..600 {
            let jitter = share + 0.004 * machine.random.share();
            machine.window(jitter, REST);
            if watts(&machine.floor).is_some() {
                near(&machine.floor, REST, 2.0);
            }
        }
    }
    for _ in 0..12 * 3_600 {
        machine.window(1.0, REST);
    }
    near(&machine.floor, REST, 2.0);
    assert_eq!(now(&machine.floor).origin, FloorOrigin::Measured);
}

#[test]
fn the_floor_follows_temperature() {
    let mut machine = Machine::new(line);
    // 20 W cold, 26 W warm, over four hours, and back; a minute of rest every ten minutes.
    for minute in 0..480_u32 {
        let warmth = f64::from(if minute < 240 { minute } else { 480 - minute }) / 240.0;
        let rest = REST + 6.0 * warmth;
        for _ in 0..60 {
            let share = if minute % 10 == 0 {
                0.01
            } else {
                0.1 + 0.6 * machine.random.share()
            };
            machine.window(share, rest);
        }
        if minute > 60 && minute % 10 == 0 {
            near(&machine.floor, rest, 7.0);
        }
    }
}

#[test]
fn three_torn_intervals_at_any_time_move_it_by_no_more_than_noise() {
    for hit in [0, 3, 6, 7, 20, 100] {
        let mut machine = Machine::new(line);
        let mut torn = [0.0, 400.0, 5.0].into_iter();
        for window in 0..200 {
            if window >= hit
                && let Some(power) = torn.next()
            {
                learn(&mut machine.floor, power, 0.005);
            }
            let share = 0.01 * machine.random.share();
            machine.window(share, REST);
            if watts(&machine.floor).is_some() {
                near(&machine.floor, REST, 6.0);
            }
        }
        near(&machine.floor, REST, 3.0);
    }
}
