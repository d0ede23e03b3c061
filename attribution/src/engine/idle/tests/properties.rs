// SPDX-License-Identifier: Apache-2.0
//! What holds for every history.

use super::*;
use proptest::prelude::*;

/// Watts and busy share of a window.
fn window() -> impl Strategy<Value = (f64, f64)> {
    (0.0..500.0, prop_oneof![0.0..0.05, 0.0..=1.0])
}

fn windows(most: usize) -> impl Strategy<Value = Vec<(f64, f64)>> {
    prop::collection::vec(window(), 0..most)
}

fn learned(windows: &[(f64, f64)]) -> Floor {
    let mut floor = Floor::default();
    for (power, share) in windows {
        learn(&mut floor, *power, *share);
    }
    floor
}

proptest! {
    #[test]
    fn idle_is_never_more_than_the_energy_whatever_was_learned(
        seen in windows(200),
        (energy, share) in window(),
        elapsed in 0_u64..10_000,
    ) {
        let floor = learned(&seen);
        let (energy, elapsed) = (joules(energy), Duration::from_millis(elapsed));
        prop_assert!(now(&floor).idle_part(energy, elapsed, busy(share)) <= energy);
    }

    /// Of machines without noise: between nothing and the lowest power that was seen, or none.
    #[test]
    fn a_floor_is_no_more_than_the_lowest_power_of_a_machine_without_noise(
        rest in 0.0..100.0, slope in 0.0..300.0, bend in 0.4..3.0,
        shares in prop::collection::vec(0.0..=1.0, 1..300),
    ) {
        let mut floor = Floor::default();
        let mut lowest = f64::INFINITY;
        for share in shares {
            let power = rest + slope * f64::powf(share, bend);
            lowest = lowest.min(power);
            // Each load is held for long enough to be believed.
            (0..7).for_each(|_| learn(&mut floor, power, share));
        }
        if let Some(watts) = watts(&floor) {
            prop_assert!(watts >= 0.0);
            // Of a bin with many loads the median counts.
            prop_assert!(watts <= lowest + slope * 0.05 + 0.001, "{watts} over {lowest}");
        }
    }

    /// Three wild windows, anywhere in the history, of any power and load.
    #[test]
    fn three_arbitrary_windows_leave_the_floor_within_the_honest_ones(
        seen in prop::collection::vec(19.0..21.0, 8..80),
        wild in prop::collection::vec((window(), any::<prop::sample::Index>()), 0..=3),
    ) {
        let mut history: Vec<(f64, f64)> = seen.iter().map(|power| (*power, 0.0)).collect();
        for (window, at) in wild {
            history.insert(at.index(history.len()), window);
        }
        let floor = learned(&history);
        let watts = watts(&floor).expect("a floor");
        // A wild window at 0.1 % is in the bin of rest; its own work is corrected for at most.
        prop_assert!((18.9..=21.0).contains(&watts), "{watts}");
    }

    /// More power at every window is never a lower floor, and a part of it more is that part more.
    #[test]
    fn the_floor_of_a_machine_that_draws_more_is_not_lower(
        shares in prop::collection::vec(prop_oneof![0.0..0.05, 0.0..=1.0], 1..200),
        // The work of 5 % is no more than the rest: beyond that it is not believed to be work, and with more power it may be.
        rest in 10.0..100.0, slope in 0.0..200.0, more in 0.1..50.0,
    ) {
        let of = |rest: f64| {
            let powers: Vec<_> = shares.iter().map(|share| (rest + slope * share, *share)).collect();
            watts(&learned(&powers))
        };
        // What is extrapolated is refused with another spread of noise, so only the order of what both know counts.
        if let (Some(less), Some(greater)) = (of(rest), of(rest + more)) {
            prop_assert!(greater >= less - 0.002, "{less} then {greater}");
        }
    }

    #[test]
    fn what_was_saved_gives_the_same_floor_again(seen in windows(400)) {
        let floor = learned(&seen);
        let saved = floor.save();
        let mut again = Floor::default();
        again.restore(&saved, Trust::Full);
        prop_assert_eq!(watts(&again), watts(&floor));
        prop_assert!(saved.is_sorted_by_key(|point| point.busy_ppm));
        prop_assert!(saved.len() <= 27);
    }

    #[test]
    fn anything_may_be_restored(
        points in prop::collection::vec(
            (any::<u32>(), any::<u64>(), any::<u64>(), any::<u32>(), any::<u64>()), 0..60),
        seen in windows(50), (energy, share) in window(),
    ) {
        let points: Vec<_> = points
            .into_iter()
            .map(|(busy_ppm, power, error, samples, age)| LearnedPoint {
                busy_ppm: if busy_ppm % 2 == 0 { busy_ppm % 1_000_001 } else { busy_ppm },
                power: Microwatts::from_micro(power),
                error: Microwatts::from_micro(error),
                samples,
                age: Duration::from_secs(age),
            })
            .collect();
        let mut floor = Floor::default();
        floor.restore(&points, Trust::Prior);
        seen.iter().for_each(|(power, share)| learn(&mut floor, *power, *share));
        floor.restore(&points, Trust::Full);
        let energy = joules(energy);
        prop_assert!(now(&floor).idle_part(energy, SECOND, busy(share)) <= energy);
    }
}
