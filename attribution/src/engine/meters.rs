// SPDX-License-Identifier: Apache-2.0
//! Sources' reports become zones: those that answer, those that are new, those that are down.
//!
//! A zone that was heard of once stays, for its totals must not vanish. So there is a bound: a source that has other names
//! for its meters after each of its restarts would fill the memory otherwise, in every row of every level.

use super::window::Window;
use super::zones::ZoneState;
use crate::model::{Energy, MonotonicNanos, SourceId, Zone};

/// Zones at most: sixteen sockets of four zones and four hundred accelerators are half of it. Beyond, a zone that is new is
/// refused and counted: it was in nobody's totals before and is in nobody's after. (Those that are derived come on top, at
/// most one for each platform.)
pub(super) const MOST: usize = 1_024;

/// Enters a source's report; returns how many of its readings found no room.
pub(super) fn enter(zones: &mut Vec<ZoneState>, source: SourceId, energy: &Energy) -> u64 {
    let mut refused = 0;
    for state in zones.iter_mut().filter(|state| is_of(state, source)) {
        state.account.up = false;
    }
    for reading in &energy.zones {
        let known = zones.iter_mut().find(|state| is(state, source, &reading.zone));
        if let Some(state) = known {
            state.take(reading);
        } else if zones.len() < MOST {
            zones.push(ZoneState::new(source, reading));
        } else {
            refused += 1;
        }
    }
    refused
}

/// A window was closed at `now`: what a source said last is not so any more when nothing is heard of it. Its thread may hang in a
/// file, and then no report comes that leaves a zone out. What is derived goes with its platform.
pub(super) fn silence(zones: &mut [ZoneState], window: &Window, now: MonotonicNanos) {
    for state in zones.iter_mut().filter(|state| !state.is_derived()) {
        if state.account.up && window.is_silent(state.account.source.0, now) {
            state.account.up = false;
        }
    }
}

fn is(state: &ZoneState, source: SourceId, zone: &Zone) -> bool {
    is_of(state, source) && state.account.zone == *zone
}

/// What is derived has its platform's source, and is none of its readings.
fn is_of(state: &ZoneState, source: SourceId) -> bool {
    state.account.source == source && !state.is_derived()
}
