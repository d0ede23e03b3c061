// SPDX-License-Identifier: Apache-2.0
//! Splits an integer amount by weights so that the parts add up to the amount, exactly.
//!
//! The method of largest remainders: everybody gets the rounded-down share, and the units that are left go one each
//! to those who lost most by rounding. Nothing is dropped, nothing invented, and no part is off by more than one unit.

/// Splits `amount` over `weights` into `parts` (cleared first; same order). Returns what could be given to nobody:
/// all of it when the weights are all zero, else nothing.
pub(crate) fn largest_remainder(
    amount: u64,
    weights: &[u64],
    parts: &mut Vec<u64>,
    scratch: &mut Vec<(u64, u32)>,
) -> u64 {
    parts.clear();
    let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
    if total == 0 {
        parts.resize(weights.len(), 0);
        return amount;
    }
    let mut given: u64 = 0;
    scratch.clear();
    for (index, weight) in weights.iter().enumerate() {
        let product = u128::from(amount) * u128::from(*weight);
        // A share of a u64 is a u64, so neither conversion can fail.
        let share = u64::try_from(product / total).unwrap_or(amount);
        given = given.saturating_add(share);
        parts.push(share);
        // Remainders are compared only with each other; 64 bits of them decide well enough when `total` is wider.
        let remainder = product % total;
        let shift = 128_u32.saturating_sub(total.leading_zeros()).saturating_sub(64);
        if let (Ok(remainder), Ok(index)) = (u64::try_from(remainder >> shift), u32::try_from(index))
            && *weight > 0
        {
            scratch.push((remainder, index));
        }
    }
    hand_out(amount.saturating_sub(given), parts, scratch);
    0
}

/// Gives `left` single units to the largest remainders. `left` is smaller than the number of non-zero weights.
fn hand_out(left: u64, parts: &mut [u64], remainders: &mut [(u64, u32)]) {
    let left = usize::try_from(left).unwrap_or(usize::MAX).min(remainders.len());
    if left == 0 {
        return;
    }
    // Ties go to the earlier one, so that the same input gives the same split.
    let order = |a: &(u64, u32), b: &(u64, u32)| b.0.cmp(&a.0).then(a.1.cmp(&b.1));
    if left < remainders.len() {
        remainders.select_nth_unstable_by(left, order);
    }
    for (_, index) in remainders.iter().take(left) {
        if let Some(part) = usize::try_from(*index)
            .ok()
            .and_then(|index| parts.get_mut(index))
        {
            *part += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(amount: u64, weights: &[u64]) -> (Vec<u64>, u64) {
        let (mut parts, mut scratch) = (Vec::new(), Vec::new());
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
    }
}
