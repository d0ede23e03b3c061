// SPDX-License-Identifier: Apache-2.0
//! Energy over the slots of the time that it was used in.

use std::time::Duration;

/// The part of `energy`, used evenly over `whole`, that falls between `from` and `to` of it. Parts that follow each other
/// add up to the whole, because each is a difference of what was used until then.
pub(super) fn part(energy: u64, whole: Duration, from: Duration, to: Duration) -> u64 {
    until(energy, whole, to).saturating_sub(until(energy, whole, from))
}

fn until(energy: u64, whole: Duration, moment: Duration) -> u64 {
    if moment >= whole {
        return energy;
    }
    // Below 2^64 times 2^64; `whole` is above `moment`, so it is not zero.
    let used = u128::from(energy).saturating_mul(moment.as_nanos()) / whole.as_nanos();
    u64::try_from(used).unwrap_or(energy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn energy_is_spread_by_time() {
        let [zero, three, four] = [0, 3, 4].map(Duration::from_secs);
        assert_eq!(part(400, four, zero, three), 300);
        assert_eq!(part(400, four, three, four), 100);
        assert_eq!(
            part(7, zero, zero, zero),
            0,
            "no time, no part before the end of it"
        );
        assert_eq!(part(u64::MAX, four, zero, four), u64::MAX);
    }

    proptest! {
        #[test]
        fn parts_add_up_to_the_microjoule(energy: u64, cuts in prop::collection::vec(1..10_000_000_000_u64, 1..40)) {
            let whole = Duration::from_nanos(cuts.iter().sum());
            let mut from = Duration::ZERO;
            let mut sum = 0_u64;
            for cut in cuts {
                let to = from + Duration::from_nanos(cut);
                sum += part(energy, whole, from, to);
                from = to;
            }
            prop_assert_eq!(sum, energy);
        }
    }
}
