// SPDX-License-Identifier: Apache-2.0
//! The verdict what a step of one counter of a GPU file means. Pure; knows no file, process or card.
//!
//! | what a file shows                                        | what is taken                                        |
//! |----------------------------------------------------------|------------------------------------------------------|
//! | a file that was open before we looked for the first time | a base to count from                                 |
//! | a file that the process did not have at an earlier look  | all it shows, if that fits into the time since then; |
//! |                                                          | else it is older than that: a base                   |
//! | more than before, within elapsed time x engines          | the step                                             |
//! | more than that                                           | elapsed time x engines; up to 20 ms of the rest next |
//! |                                                          | time (the moments of two reads differ that much)     |
//! | sixteen times as much and a second                       | nothing, and it is told as implausible; a new base   |
//! | less than before                                         | nothing until it has caught up, as the kernel's      |
//! |                                                          | documentation asks                                   |

use super::fdinfo::{Busy, Engine};
use std::time::Duration;

/// By how much the moments of two reads of one file may differ from the moments that they are taken for: a tick's own
/// reading takes that long at most (see `CounterTrack`, which allows the same).
const JITTER: u64 = 20_000_000;
/// What no step exceeds is so many times what fits into the time, and a second. amdgpu bills a job from the moment that
/// its ring takes it, a ring holds two, and kernels before 6.10 did not tell that there are eight rings for compute.
const OVERLAP: u64 = 16;
const SLACK: u64 = 1_000_000_000;
/// A counter of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Base {
    /// Nanoseconds or cycles that are dealt with.
    pub(super) used: u64,
    /// The GPU's clock at that moment, where it counts cycles.
    pub(super) clock: u64,
}

/// What a step of a counter means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Nanoseconds on all engines of the kind.
    pub(super) paid: u64,
    /// Where the next step begins.
    pub(super) base: Base,
    /// No engine can have made it.
    pub(super) implausible: bool,
}

/// The verdict on a step from `base` to what a counter shows `elapsed` nanoseconds later, on `capacity` engines.
pub(super) fn step(base: Base, busy: Busy, elapsed: u64, capacity: u64) -> Verdict {
    let allowed = elapsed.saturating_mul(capacity);
    let (shown, by, tolerated) = match busy {
        Busy::Nanos(nanos) => {
            let shown = Base {
                used: nanos.max(base.used),
                clock: 0,
            };
            (
                shown,
                nanos.saturating_sub(base.used),
                JITTER.saturating_mul(capacity),
            )
        }
        // A clock that went back is another clock: the card was off.
        Busy::Cycles { used, clock } if clock < base.clock => (Base { used, clock }, 0, 0),
        Busy::Cycles { used, clock } => {
            let ticks = clock - base.clock;
            let by = scaled(used.saturating_sub(base.used), elapsed, ticks);
            let shown = Base {
                used: used.max(base.used),
                clock,
            };
            // Nothing to measure by: neither paid nor passed over.
            (if ticks == 0 { base } else { shown }, by, 0)
        }
    };
    if by > allowed.saturating_mul(OVERLAP).saturating_add(SLACK) {
        return Verdict {
            paid: 0,
            base: shown,
            implausible: true,
        };
    }
    let paid = by.min(allowed);
    let later = (by - paid).min(tolerated);
    Verdict {
        paid,
        base: Base {
            used: shown.used - later.min(shown.used),
            ..shown
        },
        implausible: false,
    }
}

/// `part` x `nanos` / `whole`; nothing of nothing.
pub(super) fn scaled(part: u64, nanos: u64, whole: u64) -> u64 {
    if whole == 0 {
        return 0;
    }
    u64::try_from(u128::from(part) * u128::from(nanos) / u128::from(whole)).unwrap_or(u64::MAX)
}

/// The base of a file that was opened within the last `elapsed` nanoseconds; `None` when it shows more than fits, so that
/// it must be older. A counter of cycles gets a clock as it was `elapsed` ago, by the pace of the card's clock.
pub(super) fn opened_since(engine: &Engine, elapsed: u64, rate: Option<(u64, u64)>) -> Option<Base> {
    let fits = elapsed.saturating_add(JITTER).saturating_mul(engine.capacity);
    match engine.busy {
        Busy::Nanos(nanos) => (nanos <= fits).then_some(zero(engine.busy)),
        Busy::Cycles { used, clock } => {
            let (ticks, nanos) = rate?;
            let ago = scaled(ticks, elapsed, nanos);
            (scaled(used, nanos, ticks) <= fits).then_some(Base {
                used: 0,
                clock: clock.saturating_sub(ago),
            })
        }
    }
}

pub(super) const fn shown(busy: Busy) -> Base {
    match busy {
        Busy::Nanos(used) => Base { used, clock: 0 },
        Busy::Cycles { used, clock } => Base { used, clock },
    }
}

/// Nothing used up to now.
pub(super) const fn zero(busy: Busy) -> Base {
    match busy {
        Busy::Nanos(_) => Base { used: 0, clock: 0 },
        Busy::Cycles { clock, .. } => Base { used: 0, clock },
    }
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
