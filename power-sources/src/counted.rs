// SPDX-License-Identifier: Apache-2.0
//! One zone with an energy counter: owns its total, its waiting time after failures, and what an answer means. Reads
//! nothing itself; where a counter is and how it is asked is each source's own matter.

use crate::backoff::Backoff;
use crate::counter::{CounterTrack, Step};
use crate::files::Fault;
use crate::moment::Moment;
use attribution::model::{ErrorReason, Microwatts, MonotonicNanos, Provenance, Zone, ZoneReading};
use std::fmt::Display;

/// What an answer of a counter meant: a reading, a complaint, or both.
pub(crate) type Outcome = (Option<ZoneReading>, Option<(ErrorReason, String)>);

/// One counter of one zone.
#[derive(Clone, Debug)]
pub(crate) struct Counted {
    pub(crate) zone: Zone,
    track: CounterTrack,
    backoff: Backoff,
}

impl Counted {
    /// A counter that runs from 0 to `modulus - 1` microjoules, of a zone that uses `max_power` at most.
    pub(crate) fn new(zone: Zone, modulus: u64, max_power: Microwatts) -> Self {
        Self {
            zone,
            track: CounterTrack::new(modulus, max_power),
            backoff: Backoff::default(),
        }
    }

    /// The counter was found again; see [`CounterTrack::found_again`].
    pub(crate) fn found_again(&mut self, modulus: u64, max_power: Microwatts) {
        self.track.found_again(modulus, max_power);
    }

    /// Goes on where another reader of the same counter stopped; `false` where that one read another range.
    pub(crate) fn follow(&mut self, before: Self) -> bool {
        let follows = self.track.follow(before.track);
        if follows {
            self.backoff = before.backoff;
        }
        follows
    }

    /// Whether it is time to ask.
    pub(crate) fn is_due(&self, now: MonotonicNanos) -> bool {
        self.backoff.is_due(now)
    }

    /// Takes what the counter at `place` answered: microjoules, or why there are none.
    pub(crate) fn take(&mut self, answer: Result<u64, Fault>, now: Moment, place: &dyn Display) -> Outcome {
        let raw = match answer {
            Ok(raw) => raw,
            Err(fault) => {
                self.backoff.failed(now.at);
                return (None, Some((fault.reason, fault.words)));
            }
        };
        let step = self.track.advance(raw, now);
        let complaint = step.complaint(place, raw);
        if step == Step::OutOfRange {
            self.backoff.failed(now.at);
            return (None, complaint);
        }
        self.backoff.succeeded();
        let reading = ZoneReading {
            zone: self.zone.clone(),
            total: self.track.total(),
            idle: None,
            provenance: Provenance::Counted,
            at: now.at,
            device: None,
        };
        (Some(reading), complaint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::at;
    use attribution::model::{Component, PackageId, Place};

    #[test]
    fn failures_are_waited_for_and_what_went_by_meanwhile_is_paid() {
        let zone = Zone {
            component: Component::Package,
            place: Place::socket(PackageId(0)),
        };
        let mut counted = Counted::new(zone, 1_000_000_000, Microwatts::from_watts(100));
        let (reading, complaint) = counted.take(Ok(5_000_000), at(1).into(), &"r");
        assert!(reading.is_some_and(|reading| reading.total.is_zero() && reading.at == at(1)));
        assert_eq!(complaint, None);
        let broken = Fault {
            reason: ErrorReason::Io,
            words: "r: broken".to_owned(),
        };
        let (reading, complaint) = counted.take(Err(broken), at(2).into(), &"r");
        assert_eq!(reading, None);
        assert_eq!(complaint, Some((ErrorReason::Io, "r: broken".to_owned())));
        assert!(!counted.is_due(at(2)));
        assert!(counted.is_due(at(3)));
        let (reading, _) = counted.take(Ok(1_000_000_000), at(3).into(), &"r");
        assert_eq!(reading, None);
        assert!(!counted.is_due(at(4)));
        let (reading, complaint) = counted.take(Ok(25_000_000), at(5).into(), &"r");
        assert_eq!(reading.map(|reading| reading.total.as_micro()), Some(20_000_000));
        assert_eq!(complaint, None);
        // After a success the next failure waits 1 s again, and not 4.
        let broken = Fault {
            reason: ErrorReason::Io,
            words: "r: broken".to_owned(),
        };
        counted.take(Err(broken), at(6).into(), &"r");
        assert!(counted.is_due(at(7)));
    }
}
