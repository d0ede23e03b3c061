// SPDX-License-Identifier: Apache-2.0
//! Units as types: a bare number crosses no border of a crate.
//!
//! All are unsigned 64-bit integers. Sums saturate: 2^64 µJ is 18 TJ, five centuries at 1 GW, so reaching the end
//! means a broken input, and a counter that stops is a smaller lie than one that starts again at zero. Differences are
//! checked, because "went back" is a fact that the caller must decide about.

use std::iter::Sum;
use std::ops::{Add, AddAssign};
use std::time::Duration;

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// Nothing at all.
            pub const ZERO: Self = Self(0);

            /// `self - earlier`, or `None` when the value went back.
            #[must_use]
            pub const fn checked_sub(self, earlier: Self) -> Option<Self> {
                match self.0.checked_sub(earlier.0) {
                    Some(difference) => Some(Self(difference)),
                    None => None,
                }
            }

            /// `self - other`, or zero where that would be negative.
            #[must_use]
            pub const fn saturating_sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }

            /// Whether there is nothing.
            #[must_use]
            pub const fn is_zero(self) -> bool {
                self.0 == 0
            }
        }

        impl Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0.saturating_add(other.0))
            }
        }

        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                *self = *self + other;
            }
        }

        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(values: I) -> Self {
                values.fold(Self::ZERO, Add::add)
            }
        }
    };
}

unit! {
    /// Energy in microjoules. The unit of the powercap interface (`energy_uj`), kept as an integer so that shares of it
    /// can be made to add up exactly.
    Microjoules
}
unit! {
    /// Power in microwatts. The unit of hwmon (`power1_average`).
    Microwatts
}
unit! {
    /// Time on a CPU, in nanoseconds.
    CpuNanos
}
unit! {
    /// Time on a device (a GPU), in nanoseconds: a second of it is one device used wholly for one second.
    DeviceNanos
}
unit! {
    /// A moment on `CLOCK_MONOTONIC`, in nanoseconds: the clock of `bpf_ktime_get_ns`, so stamps from the kernel and
    /// from user space compare. It does not run while the machine is suspended.
    MonotonicNanos
}

impl Microjoules {
    /// From whole microjoules.
    #[must_use]
    pub const fn from_micro(microjoules: u64) -> Self {
        Self(microjoules)
    }

    /// From whole millijoules (NVML counts in these).
    #[must_use]
    pub const fn from_milli(millijoules: u64) -> Self {
        Self(millijoules.saturating_mul(1_000))
    }

    /// As whole microjoules.
    #[must_use]
    pub const fn as_micro(self) -> u64 {
        self.0
    }

    /// Mean power over `elapsed`, rounded down; zero when no time passed.
    #[must_use]
    pub fn mean_power(self, elapsed: Duration) -> Microwatts {
        let nanos = elapsed.as_nanos();
        if nanos == 0 {
            return Microwatts::ZERO;
        }
        Microwatts(clamp(u128::from(self.0) * 1_000_000_000 / nanos))
    }
}

impl Microwatts {
    /// From whole microwatts.
    #[must_use]
    pub const fn from_micro(microwatts: u64) -> Self {
        Self(microwatts)
    }

    /// From whole watts.
    #[must_use]
    pub const fn from_watts(watts: u64) -> Self {
        Self(watts.saturating_mul(1_000_000))
    }

    /// As whole microwatts.
    #[must_use]
    pub const fn as_micro(self) -> u64 {
        self.0
    }

    /// The energy of this power held for `elapsed`, rounded down.
    #[must_use]
    pub fn energy_over(self, elapsed: Duration) -> Microjoules {
        Microjoules(clamp(u128::from(self.0) * elapsed.as_nanos() / 1_000_000_000))
    }
}

impl CpuNanos {
    /// From nanoseconds.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// As nanoseconds.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }
}

impl DeviceNanos {
    /// From nanoseconds.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// As nanoseconds.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }
}

impl MonotonicNanos {
    /// From nanoseconds since the clock's own zero (boot, on Linux).
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// As nanoseconds since the clock's own zero.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time from `earlier` to `self`; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This moment moved on by `time`.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

/// The part of a wide product that fits: saturates like every sum here.
fn clamp(wide: u128) -> u64 {
    u64::try_from(wide).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_uses_the_measured_time_not_a_nominal_one() {
        let energy = Microjoules::from_micro(30_000_000);
        assert_eq!(
            energy.mean_power(Duration::from_millis(1_500)),
            Microwatts::from_watts(20)
        );
        assert_eq!(energy.mean_power(Duration::ZERO), Microwatts::ZERO);
    }

    #[test]
    fn energy_of_a_held_power_survives_long_gaps() {
        let day = Duration::from_secs(86_400);
        assert_eq!(
            Microwatts::from_watts(4_000).energy_over(day).as_micro(),
            4_000 * 86_400 * 1_000_000
        );
        assert_eq!(
            Microwatts::from_micro(u64::MAX).energy_over(day).as_micro(),
            u64::MAX
        );
    }

    #[test]
    fn a_difference_that_goes_back_is_none_and_a_sum_never_wraps() {
        let (one, two) = (CpuNanos::from_nanos(1), CpuNanos::from_nanos(2));
        assert_eq!(two.checked_sub(one), Some(one));
        assert_eq!(one.checked_sub(two), None);
        assert_eq!(
            CpuNanos::from_nanos(u64::MAX) + one,
            CpuNanos::from_nanos(u64::MAX)
        );
        assert_eq!(
            MonotonicNanos::from_nanos(5).since(MonotonicNanos::from_nanos(9)),
            Duration::ZERO
        );
    }
}
