// SPDX-License-Identifier: Apache-2.0
//! The least squares that the fit needs: quadratic forms of a dozen unknowns, none of them negative.
//!
//! The active-set method of C. L. Lawson and R. J. Hanson, "Solving Least Squares Problems" (1974), chapter 23, on the
//! products of the columns: exact up to rounding, where a descent along the axes would crawl over columns that rise
//! together, as those of a curve that never falls do.

/// A square matrix by rows.
pub(super) type Rows = Vec<Vec<f64>>;

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The `x` without negative parts for which `x products x / 2 - x target` is least. `products` is symmetric and positive.
pub(super) fn nonnegative(products: &Rows, target: &[f64]) -> Vec<f64> {
    let mut free = vec![false; target.len()];
    let mut found = vec![0.0; target.len()];
    // Each round frees one unknown, and one that is freed again has made the form smaller: twice the unknowns is plenty.
    for _ in 0..3 * target.len() {
        let Some(place) = worth_freeing(products, target, &found, &free) else {
            break;
        };
        if let Some(free) = free.get_mut(place) {
            *free = true;
        }
        settle(products, target, &mut found, &mut free);
    }
    found
}

/// The unknown at zero whose growth helps most.
fn worth_freeing(products: &Rows, target: &[f64], found: &[f64], free: &[bool]) -> Option<usize> {
    let mut best = None;
    for (place, ((row, target), free)) in products.iter().zip(target).zip(free).enumerate() {
        let scale = row.get(place).copied().unwrap_or(0.0).sqrt();
        let help = target - dot(row, found);
        // What rounding leaves of a sum of such size is no help.
        let noise = 1e-10 * (target.abs() + 1e-300);
        if !free && scale > 0.0 && help > noise && best.is_none_or(|(most, _)| help / scale > most) {
            best = Some((help / scale, place));
        }
    }
    best.map(|(_, place)| place)
}

/// Moves to where the form is least for the free unknowns; those that would turn negative on the way stay at zero.
fn settle(products: &Rows, target: &[f64], found: &mut Vec<f64>, free: &mut [bool]) {
    for _ in 0..=target.len() {
        let Some(best) = least(products, target, free) else {
            return;
        };
        let blocked = |((from, to), free): ((&f64, &f64), &bool)| {
            (*free && *to <= 0.0)
                .then(|| from / (from - to))
                .filter(|step| step.is_finite())
        };
        let step = found.iter().zip(&best).zip(free.iter()).filter_map(blocked);
        let step = step.fold(None, |least: Option<f64>, step| {
            Some(least.map_or(step, |least| least.min(step)))
        });
        let Some(step) = step else {
            *found = best;
            found.iter_mut().for_each(|value| *value = value.max(0.0));
            return;
        };
        for ((value, best), free) in found.iter_mut().zip(&best).zip(free.iter_mut()) {
            let moved = *value + step * (best - *value);
            // Who set the length of the step is at zero but for rounding.
            *free = *free && !(*best <= 0.0 && moved <= 1e-12 * (value.abs() + best.abs()));
            *value = if *free { moved.max(0.0) } else { 0.0 };
        }
    }
}

/// Where the form is least when only the free unknowns may differ from zero.
fn least(products: &Rows, target: &[f64], free: &[bool]) -> Option<Vec<f64>> {
    let chosen = |row: &[f64]| -> Vec<f64> {
        let values = row.iter().zip(free);
        values
            .filter_map(|(value, free)| free.then_some(*value))
            .collect()
    };
    let rows = products.iter().zip(target).zip(free).filter(|(_, free)| **free);
    let rows = rows.map(|((row, target), _)| {
        let mut row = chosen(row);
        row.push(*target);
        row
    });
    let mut solved = eliminate(&rows.collect())?.into_iter();
    Some(
        free.iter()
            .map(|free| if *free { solved.next().unwrap_or(0.0) } else { 0.0 })
            .collect(),
    )
}

/// Solves a system whose rows end with their right sides, one unknown a level. Deep as there are unknowns: a dozen.
fn eliminate(rows: &Rows) -> Option<Vec<f64>> {
    let Some((first, others)) = rows.split_first() else {
        return Some(Vec::new());
    };
    let (pivot, tail) = first.split_first()?;
    // A symmetric positive matrix keeps positive pivots.
    if !(pivot.is_finite() && *pivot > 0.0) {
        return None;
    }
    let reduced: Option<Rows> = others
        .iter()
        .map(|row| {
            let (head, rest) = row.split_first()?;
            let factor = head / pivot;
            Some(
                rest.iter()
                    .zip(tail)
                    .map(|(value, above)| value - factor * above)
                    .collect(),
            )
        })
        .collect();
    let rest = eliminate(&reduced?)?;
    let (right, coefficients) = tail.split_last()?;
    let mut solved = vec![(right - dot(coefficients, &rest)) / pivot];
    solved.extend(rest);
    Some(solved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Products and targets of a least-squares problem with these rows.
    fn normal(rows: &[Vec<f64>], figures: &[f64]) -> (Rows, Vec<f64>) {
        let columns = rows[0].len();
        let column = |at: usize| -> Vec<f64> { rows.iter().map(|row| row[at]).collect() };
        let products = (0..columns).map(|one| {
            (0..columns)
                .map(|other| dot(&column(one), &column(other)))
                .collect()
        });
        (
            products.collect(),
            (0..columns).map(|one| dot(&column(one), figures)).collect(),
        )
    }

    #[test]
    fn an_unknown_that_would_be_negative_is_zero_and_the_others_make_the_best_of_it() {
        // Figures 1, 2 of columns (1, 1) and (0, -1): without a sign it is 1 and -1.
        let (products, target) = normal(&[vec![1.0, 0.0], vec![1.0, -1.0]], &[1.0, 2.0]);
        let found = nonnegative(&products, &target);
        assert!((found[0] - 1.5).abs() < 1e-9 && found[1] == 0.0, "{found:?}");
    }

    proptest! {
        #[test]
        fn nothing_nearby_is_better(
            rows in prop::collection::vec(prop::collection::vec(0.0..1.0_f64, 5), 8..30),
            figures in prop::collection::vec(-5.0..50.0_f64, 30),
        ) {
            let (mut products, target) = normal(&rows, &figures[..rows.len()]);
            products.iter_mut().enumerate().for_each(|(at, row)| row[at] += 1e-6);
            let form = |x: &[f64]| {
                let moved: Vec<_> = products.iter().map(|row| dot(row, x)).collect();
                dot(&moved, x) / 2.0 - dot(&target, x)
            };
            let found = nonnegative(&products, &target);
            prop_assert!(found.iter().all(|value| value.is_finite() && *value >= 0.0));
            let best = form(&found);
            for place in 0..found.len() {
                for step in [-1.0, -0.1, -1e-3, 1e-3, 0.1, 1.0] {
                    let mut other = found.clone();
                    other[place] = (other[place] + step).max(0.0);
                    prop_assert!(form(&other) >= best - 1e-7 * (1.0 + best.abs()), "{place} {step}");
                }
            }
        }
    }
}
