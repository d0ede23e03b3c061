// SPDX-License-Identifier: Apache-2.0
//! Ridge regression: owns the normal equations and their solution, and knows nothing of machines.
//!
//! Why not a crate: what is asked for is `(X'X + D) w = X'y` with a penalty of its own for each column (none for the constant) in thirty
//! columns. smartcore's ridge penalises a column by its spread and knows one penalty; linfa's elastic net walks down by coordinates to a
//! tolerance and brings ndarray; both are larger than the forty lines below, and neither result is the same to the last bit by promise.

/// Minimises `sum (y - w x)^2 + sum penalty w^2`; rows of `x` are as long as `penalty`.
pub(super) fn ridge(x: &[Vec<f64>], y: &[f64], penalty: &[f64]) -> Vec<f64> {
    let n = penalty.len();
    let mut left = vec![vec![0.0; n]; n];
    let mut right = vec![0.0; n];
    for (row, target) in x.iter().zip(y) {
        for i in 0..n {
            right[i] += row[i] * target;
            for j in 0..=i {
                left[i][j] += row[i] * row[j];
            }
        }
    }
    for (i, penalty) in penalty.iter().enumerate() {
        left[i][i] += penalty;
    }
    cholesky(&mut left);
    substitute(&left, right)
}

/// The lower factor in place. The matrix is positive definite: a penalty is on every diagonal but the constant's, which counts rows.
fn cholesky(matrix: &mut [Vec<f64>]) {
    for i in 0..matrix.len() {
        for j in 0..=i {
            let dot: f64 = (0..j).map(|k| matrix[i][k] * matrix[j][k]).sum();
            let rest = matrix[i][j] - dot;
            matrix[i][j] = if i == j { rest.sqrt() } else { rest / matrix[j][j] };
        }
    }
}

fn substitute(factor: &[Vec<f64>], mut right: Vec<f64>) -> Vec<f64> {
    let n = right.len();
    for i in 0..n {
        let known: f64 = (0..i).map(|k| factor[i][k] * right[k]).sum();
        right[i] = (right[i] - known) / factor[i][i];
    }
    for i in (0..n).rev() {
        let known: f64 = (i + 1..n).map(|k| factor[k][i] * right[k]).sum();
        right[i] = (right[i] - known) / factor[i][i];
    }
    right
}
