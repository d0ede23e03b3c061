// SPDX-License-Identifier: Apache-2.0
//! The ledger over plain values; processes and whole sources over trees of our own, and the walk over this machine's
//! own `/proc`. What is told of each vendor's cards is tested beside the vendor.

mod ledger;
mod processes;

use attribution::model::MonotonicNanos;

/// Milliseconds on the clock, so that 0 is not the first moment.
fn at(milliseconds: u64) -> MonotonicNanos {
    MonotonicNanos::from_nanos(1_000_000_000_000 + milliseconds * 1_000_000)
}
