// SPDX-License-Identifier: Apache-2.0
//! Splits an integer amount by weights so that the parts add up to the amount, exactly.
//!
//! The method of largest remainders: everybody gets the rounded-down share, and the units that are left go one each
//! to those who lost most by rounding. Nothing is dropped, nothing invented, and no part is off by more than one unit.

/// Buffers of a split, which live on so that it allocates nothing.
#[derive(Debug)]
pub(crate) struct Scratch {
    remainders: Vec<u64>,
    /// How many remainders there are of each size, in [`SIZES`] sizes.
    sizes: Vec<u32>,
    /// Remainders of the one size that only some get a unit of, with their places.
    rivals: Vec<(u64, u32)>,
}

/// Sizes of remainders that are told apart before any are compared: two to the power of [`SIZE_BITS`].
const SIZES: usize = 1 << SIZE_BITS;
const SIZE_BITS: u32 = 10;

impl Default for Scratch {
    fn default() -> Self {
        Self {
            remainders: Vec::new(),
            sizes: vec![0; SIZES],
            rivals: Vec::new(),
        }
    }
}

/// Splits `amount` over `weights` into `parts` (cleared first; same order). Returns what could be given to nobody:
/// all of it when the weights are all zero, else nothing.
pub(crate) fn largest_remainder(
    amount: u64,
    weights: &[u64],
    parts: &mut Vec<u64>,
    scratch: &mut Scratch,
) -> u64 {
    parts.clear();
    let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
    if total == 0 {
        parts.resize(weights.len(), 0);
        return amount;
    }
    // A remainder that was found one unit too low is still below 2^64 then.
    let narrow = u64::try_from(total).ok().filter(|total| *total < 1 << 63);
    match narrow {
        Some(total) => {
            let left = by_reciprocal(amount, total, weights, parts, scratch);
            hand_out(left, total, parts, scratch);
        }
        None => by_division(amount, total, weights, parts, scratch),
    }
    0
}

/// Shares rounded down, and their remainders; returns what is left. Instead of one wide division for each weight there is
/// one for all: each share is the weight times the amount per unit of weight, which is cut off after 64 binary places and
/// so at most one too small. The remainder tells whether it is.
fn by_reciprocal(
    amount: u64,
    total: u64,
    weights: &[u64],
    parts: &mut Vec<u64>,
    scratch: &mut Scratch,
) -> u64 {
    let (whole, rest) = (amount / total, amount % total);
    // `rest` is less than `total`, so this is less than 2^64.
    let fraction = u64::try_from((u128::from(rest) << 64) / u128::from(total)).unwrap_or(u64::MAX);
    let mut given = 0_u64;
    scratch.remainders.clear();
    scratch.remainders.reserve(weights.len());
    parts.reserve(weights.len());
    for weight in weights {
        let (_, high) = weight.carrying_mul(fraction, 0);
        let low = weight.wrapping_mul(whole).wrapping_add(high);
        // Both products may be wider than 64 bits; their difference is not.
        let remainder = amount.wrapping_mul(*weight).wrapping_sub(low.wrapping_mul(total));
        let is_low = u64::from(remainder >= total);
        let share = low.wrapping_add(is_low);
        given = given.wrapping_add(share);
        parts.push(share);
        scratch.remainders.push(remainder.wrapping_sub(is_low * total));
    }
    amount.wrapping_sub(given)
}

/// Gives `left` single units to the largest remainders; ties go to the earlier one, so that the same input gives the same
/// split. Remainders add up to `left` times `total` and are each less than `total`, so more than `left` are not zero, and
/// who has no weight gets nothing.
fn hand_out(left: u64, total: u64, parts: &mut [u64], scratch: &mut Scratch) {
    if left == 0 {
        return;
    }
    let Scratch {
        remainders,
        sizes,
        rivals,
    } = scratch;
    let shift = total.leading_zeros();
    let size = |remainder: u64| usize::try_from((remainder << shift) >> (64 - SIZE_BITS)).unwrap_or(0);
    sizes.fill(0);
    for remainder in remainders.iter() {
        if let Some(count) = sizes.get_mut(size(*remainder)) {
            *count += 1;
        }
    }
    let mut left = left;
    let mut rival = 0;
    for (size, count) in sizes.iter().enumerate().rev() {
        rival = size;
        match left.checked_sub(u64::from(*count)) {
            Some(after) => left = after,
            None => break,
        }
    }
    rivals.clear();
    for ((place, part), remainder) in (0_u32..).zip(parts.iter_mut()).zip(remainders.iter()) {
        let size = size(*remainder);
        *part += u64::from(size > rival);
        if size == rival {
            rivals.push((*remainder, place));
        }
    }
    give_to_largest(left, parts, rivals);
}

/// Gives `left` single units to the largest of `rivals`.
fn give_to_largest(left: u64, parts: &mut [u64], rivals: &mut [(u64, u32)]) {
    let left = usize::try_from(left).unwrap_or(usize::MAX).min(rivals.len());
    if left == 0 {
        return;
    }
    let order = |a: &(u64, u32), b: &(u64, u32)| b.0.cmp(&a.0).then(a.1.cmp(&b.1));
    if left < rivals.len() {
        rivals.select_nth_unstable_by(left, order);
    }
    for (_, place) in rivals.iter().take(left) {
        if let Some(part) = usize::try_from(*place)
            .ok()
            .and_then(|place| parts.get_mut(place))
        {
            *part += 1;
        }
    }
}

/// The same for weights that add up to more than 63 bits: centuries of nanoseconds, but a count may be anything.
fn by_division(amount: u64, total: u128, weights: &[u64], parts: &mut Vec<u64>, scratch: &mut Scratch) {
    let mut given = 0_u64;
    scratch.rivals.clear();
    for (place, weight) in (0_u32..).zip(weights) {
        let product = u128::from(amount) * u128::from(*weight);
        // A share of a u64 is a u64, so neither conversion can fail.
        let share = u64::try_from(product / total).unwrap_or(amount);
        given = given.saturating_add(share);
        parts.push(share);
        // Remainders are compared only with each other; 64 bits of them decide well enough when `total` is wider.
        let remainder = product % total;
        let shift = 128_u32.saturating_sub(total.leading_zeros()).saturating_sub(64);
        if let Ok(remainder) = u64::try_from(remainder >> shift)
            && *weight > 0
        {
            scratch.rivals.push((remainder, place));
        }
    }
    give_to_largest(amount.saturating_sub(given), parts, &mut scratch.rivals);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(amount: u64, weights: &[u64]) -> (Vec<u64>, u64) {
        let (mut parts, mut scratch) = (Vec::new(), Scratch::default());
        let left = largest_remainder(amount, weights, &mut parts, &mut scratch);
        (parts, left)
    }

    #[test]
    fn units_left_by_rounding_go_to_the_largest_remainders() {
        // 10 by 3:3:1 is 4.28, 4.28, 1.43: floors 4+4+1, one unit left, the largest remainder is the last one's.
        assert_eq!(split(10, &[3, 3, 1]), (vec![4, 4, 2], 0));
        // 1 by 1:1:1: a tie goes to the first.
        assert_eq!(split(1, &[1, 1, 1]), (vec![1, 0, 0], 0));
    }

    #[test]
    fn without_weights_nobody_is_charged() {
        assert_eq!(split(10, &[0, 0]), (vec![0, 0], 10));
        assert_eq!(split(10, &[]), (vec![], 10));
    }

    proptest! {
        #[test]
        fn parts_add_up_and_are_off_by_less_than_one_unit(
            amount in any::<u64>(),
            weights in prop::collection::vec(prop_oneof![Just(0_u64), 0..1_000_u64, any::<u64>()], 0..50),
        ) {
            let (parts, left) = split(amount, &weights);
            let sum: u128 = parts.iter().map(|part| u128::from(*part)).sum();
            prop_assert_eq!(sum + u128::from(left), u128::from(amount));
            let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
            for (part, weight) in parts.iter().zip(&weights) {
                if let Some(exact) = (u128::from(amount) * u128::from(*weight)).checked_div(total) {
                    prop_assert!(u128::from(*part) == exact || u128::from(*part) == exact + 1);
                    prop_assert!(*weight > 0 || *part == 0);
                }
            }
        }

        #[test]
        fn the_quick_way_and_the_wide_one_split_alike(
            amount in prop_oneof![0..1_000_u64, any::<u64>()],
            weights in prop::collection::vec(prop_oneof![Just(0_u64), 0..1_000_u64, 0..1_u64 << 56], 1..100),
        ) {
            let total: u64 = weights.iter().sum();
            prop_assume!(total > 0);
            let (quick, left) = split(amount, &weights);
            prop_assert_eq!(left, 0);
            let (mut parts, mut scratch) = (Vec::new(), Scratch::default());
            by_division(amount, u128::from(total), &weights, &mut parts, &mut scratch);
            prop_assert_eq!(quick, parts);
        }
    }
}
