// SPDX-License-Identifier: Apache-2.0
//! The one clock of this crate: CLOCK_MONOTONIC, in which `bpf_ktime_get_ns` and the kernel's stamps of threads are.

use attribution::model::MonotonicNanos;
use rustix::time::{ClockId, clock_gettime};

/// Now.
pub(crate) fn monotonic() -> MonotonicNanos {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(now.tv_nsec).unwrap_or_default();
    MonotonicNanos::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}
